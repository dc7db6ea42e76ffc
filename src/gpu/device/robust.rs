//! Robust buffer access, by which a driver keeps a kernel's loads and stores inside their buffers,
//! and devices of the engine's own without it.

use crate::{Error, Result};

/// Checks of each access of a kernel to a buffer by the driver, on or off.
///
/// wgpu always asks drivers for it, and some pay with twice the instructions. Kernels stay in
/// bounds by themselves: the tests run each between guard bands, on such a device too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RobustAccess {
    /// As wgpu's devices have it.
    #[default]
    On,
    /// Without, on a device of the engine's own. Vulkan alone lets an application choose.
    Off,
}

impl RobustAccess {
    /// Its name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            RobustAccess::On => "on",
            RobustAccess::Off => "off",
        }
    }
}

impl std::str::FromStr for RobustAccess {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        match s {
            "on" => Ok(RobustAccess::On),
            "off" => Ok(RobustAccess::Off),
            _ => Err(Error::invalid(
                "robust access",
                format!("`{s}` is neither on nor off"),
            )),
        }
    }
}

/// The error for an adapter on which the choice is not the application's.
fn lacking(info: &wgpu::AdapterInfo) -> Error {
    Error::Feature {
        op: "a device without robust access",
        feature: format!(
            "Vulkan, which {} is not reached through ({}); leave robust access on",
            info.name, info.backend
        ),
    }
}

/// Whether a device without robust access can be made on the adapter.
#[cfg(not(target_arch = "wasm32"))]
pub(in crate::gpu) fn optional(info: &wgpu::AdapterInfo) -> bool {
    cfg!(any(windows, all(unix, not(target_vendor = "apple"))))
        && info.backend == wgpu::Backend::Vulkan
}

/// Makes a device with all that `request_device` would give it, and no robust buffer access.
///
/// # Errors
/// If the adapter is not Vulkan's, or the driver refuses.
#[cfg(any(windows, all(unix, not(target_vendor = "apple"))))]
pub(in crate::gpu) fn device_without(
    adapter: &wgpu::Adapter,
    descriptor: &wgpu::DeviceDescriptor<'_>,
) -> Result<(wgpu::Device, wgpu::Queue)> {
    use ash::{ext, vk};
    let info = adapter.get_info();
    let refused = |e: &dyn std::fmt::Display| Error::NoAdapter {
        what: format!("{} refused a device without robust access: {e}", info.name),
    };
    let (features, limits) = (descriptor.required_features, &descriptor.required_limits);
    // Below, wgpu takes for granted what `request_device` checks first.
    let missing = features - adapter.features();
    if !missing.is_empty() || !limits.check_limits(&adapter.limits()) {
        return Err(refused(&format!(
            "it lacks what was asked for ({missing:?}, or limits)"
        )));
    }
    // SAFETY: the adapter is borrowed for as long as its handle is used, and nothing is destroyed
    // through it.
    let hal = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() };
    let hal = hal.ok_or_else(|| lacking(&info))?;
    // The list that wgpu would make. What turns the checks on are two features: one of Vulkan's
    // first version, one of this extension. The extension may stay without its features.
    let extensions = hal.required_device_extensions(features);
    let others: Vec<_> = (extensions.iter().copied())
        .filter(|name| *name != ext::robustness2::NAME)
        .collect();
    let mut enabled = hal.physical_device_features(&others, features);
    let mut core = enabled.get_core();
    core.robust_buffer_access = vk::FALSE;
    let names: Vec<_> = extensions.iter().map(|name| name.as_ptr()).collect();
    // wgpu takes the first queue of the first family too.
    let (family, priorities) = (0, [1.0]);
    let queues = [vk::DeviceQueueCreateInfo::default()
        .queue_family_index(family)
        .queue_priorities(&priorities)];
    let create = vk::DeviceCreateInfo::default()
        .queue_create_infos(&queues)
        .enabled_extension_names(&names);
    let create = enabled.add_to_device_create(create).enabled_features(&core);
    // SAFETY: the physical device is this instance's, and all that `create` points to outlives the
    // call. The device is made on this adapter with its extensions and features but for the two
    // above: wgpu's promise that a shader cannot leave its buffers rests on those, and here on the
    // kernels, which guard every index by hand. `tests/ops.rs` runs every case of the registry on
    // such a device, between guard bands (`gpu/memory/guard.rs`). The device belongs to the engine
    // alone (`Gpu::new`): no shader of a host's is given to it, unless the host takes it from
    // `Gpu::device`. It goes to wgpu, which destroys it, with the descriptor that it was made by.
    unsafe {
        let instance = hal.shared_instance().raw_instance();
        let raw = instance
            .create_device(hal.raw_physical_device(), &create, None)
            .map_err(|e| refused(&e))?;
        let open = hal
            .device_from_raw(
                raw,
                None,
                &extensions,
                features,
                limits,
                &descriptor.memory_hints,
                family,
                0,
            )
            .map_err(|e| refused(&e))?;
        adapter
            .create_device_from_hal(open, descriptor)
            .map_err(|e| refused(&e))
    }
}

/// No driver lets an application choose here.
#[cfg(not(any(windows, all(unix, not(target_vendor = "apple")))))]
pub(in crate::gpu) fn device_without(
    adapter: &wgpu::Adapter,
    _: &wgpu::DeviceDescriptor<'_>,
) -> Result<(wgpu::Device, wgpu::Queue)> {
    Err(lacking(&adapter.get_info()))
}
