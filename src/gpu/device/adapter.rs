//! Finding adapters, choosing one, and saying what of the engine each can run.

use super::coopmat::{self, Coopmat};
#[cfg(not(target_arch = "wasm32"))]
use super::robust;
use crate::{Error, Result};

/// The lanes that the `subgroup` core is built and tested for.
pub(crate) const LANES: [u32; 4] = [8, 16, 32, 64];

/// The matrix cores: the inner loops that every heavy kernel shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Core {
    /// One operand in registers across a subgroup's lanes, handed round by broadcast. No workgroup
    /// memory, no barrier.
    Subgroup,
    /// Tiles in workgroup memory, several outputs per invocation. Runs everywhere.
    Tiled,
    /// Cooperative matrices: operands rounded to f16, sums in f32. Changes results, so it is used
    /// only when asked for, and never on a host's device.
    Coopmat,
}

impl Core {
    /// Its name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Core::Subgroup => "subgroup",
            Core::Tiled => "tiled",
            Core::Coopmat => "coopmat",
        }
    }
}

impl std::str::FromStr for Core {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        match s {
            "subgroup" => Ok(Core::Subgroup),
            "tiled" => Ok(Core::Tiled),
            "coopmat" => Ok(Core::Coopmat),
            _ => Err(Error::invalid(
                "core",
                format!("`{s}` is none of subgroup, tiled, coopmat"),
            )),
        }
    }
}

/// An adapter as `wgvq info` shows it.
#[derive(Clone, Debug)]
pub struct AdapterReport {
    /// Its number for `--adapter`.
    pub index: usize,
    /// Name, driver, kind, backend.
    pub info: wgpu::AdapterInfo,
    /// Its limits.
    pub limits: wgpu::Limits,
    /// Bytes of the largest heap of the device's own memory, where the driver tells. On a software
    /// adapter that is the host's.
    pub memory: Option<u64>,
    /// Its features.
    pub features: wgpu::Features,
    /// The matrix cores that can run on it, the preferred one first.
    pub cores: Vec<Core>,
    /// Whether a device without robust buffer access can be made on it, see
    /// [`RobustAccess`](crate::gpu::RobustAccess).
    pub robust_access_optional: bool,
}

fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = match cfg!(target_arch = "wasm32") {
        true => wgpu::Backends::BROWSER_WEBGPU,
        false => wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12,
    };
    // WGPU_DEBUG=1 gives kernels their names in the tools of drivers.
    descriptor.flags = descriptor.flags.with_env();
    wgpu::Instance::new(descriptor)
}

/// Returns every adapter on this machine, hardware first, in a stable order.
async fn enumerate() -> Vec<wgpu::Adapter> {
    let mut all = instance().enumerate_adapters(wgpu::Backends::all()).await;
    all.sort_by_key(|a| rank(a.get_info().device_type));
    all
}

fn rank(kind: wgpu::DeviceType) -> u32 {
    match kind {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

/// Reports every adapter on this machine, hardware first. Blocks until the drivers answer, and so
/// is not there in a browser.
#[cfg(not(target_arch = "wasm32"))]
pub fn adapters() -> Vec<AdapterReport> {
    pollster::block_on(enumerate())
        .into_iter()
        .enumerate()
        .map(|(index, adapter)| {
            let (info, features) = (adapter.get_info(), adapter.features());
            // Where there are several sizes, the test at opening decides.
            let subgroup = lanes_to_try(features, &info, None).first().copied();
            let preferred = pick_core(None, subgroup, &info);
            let mut cores = vec![preferred];
            cores.extend(
                [Core::Subgroup, Core::Tiled]
                    .into_iter()
                    .filter(|c| *c != preferred && (*c == Core::Tiled || subgroup.is_some())),
            );
            cores.extend(coopmat(&adapter, None).ok().map(|_| Core::Coopmat));
            AdapterReport {
                index,
                limits: adapter.limits(),
                memory: heap(&adapter),
                features,
                cores,
                robust_access_optional: robust::optional(&info),
                info,
            }
        })
        .collect()
}

/// Bytes of the largest heap of the device's own memory, where the driver tells: Vulkan's does.
#[cfg(any(target_os = "linux", target_os = "android", windows))]
pub(in crate::gpu) fn heap(adapter: &wgpu::Adapter) -> Option<u64> {
    /// `VK_MEMORY_HEAP_DEVICE_LOCAL_BIT`.
    const DEVICE_LOCAL: u32 = 1;
    // SAFETY: what is borrowed is asked and not changed.
    let own = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }?;
    let instance = own.shared_instance().raw_instance();
    // SAFETY: the physical device is this instance's, and both outlive the call.
    let memory =
        unsafe { instance.get_physical_device_memory_properties(own.raw_physical_device()) };
    let heaps = memory
        .memory_heaps
        .iter()
        .take(memory.memory_heap_count as usize);
    let own = heaps.filter(|heap| heap.flags.as_raw() & DEVICE_LOCAL != 0);
    own.map(|heap| heap.size).max()
}

/// No driver is asked here.
#[cfg(not(any(target_os = "linux", target_os = "android", windows)))]
pub(in crate::gpu) fn heap(_: &wgpu::Adapter) -> Option<u64> {
    None
}

pub(in crate::gpu) async fn choose(wanted: Option<&str>) -> Result<wgpu::Adapter> {
    let mut all = enumerate().await;
    if all.is_empty() {
        if cfg!(target_arch = "wasm32") {
            let what = "this browser offers none: WebGPU is switched off, or it has no driver for \
                        this machine's GPU";
            return Err(Error::NoAdapter { what: what.into() });
        }
        return Err(Error::NoAdapter {
            what: "this machine offers none; install a GPU driver, or Mesa's software Vulkan \
                   (Debian and Ubuntu: apt-get install mesa-vulkan-drivers libvulkan1)"
                .into(),
        });
    }
    let Some(wanted) = wanted.filter(|w| !w.is_empty()) else {
        return Ok(all.remove(0));
    };
    let matches = |a: &wgpu::Adapter| {
        let (info, w) = (a.get_info(), wanted.to_lowercase());
        info.name.to_lowercase().contains(&w) || info.backend.to_string().to_lowercase() == w
    };
    let found = match wanted.parse::<usize>() {
        Ok(index) => (index < all.len()).then_some(index),
        Err(_) => all.iter().position(matches),
    };
    match found {
        Some(index) => Ok(all.swap_remove(index)),
        None => {
            let names: Vec<String> = all
                .iter()
                .enumerate()
                .map(|(i, a)| format!("{i}: {} ({})", a.get_info().name, a.get_info().backend))
                .collect();
            Err(Error::NoAdapter {
                what: format!("`{wanted}` names none of: {}", names.join("; ")),
            })
        }
    }
}

/// Lanes of a subgroup, if there is just one size it can have.
pub(in crate::gpu) fn subgroup_size(
    features: wgpu::Features,
    info: &wgpu::AdapterInfo,
) -> Option<u32> {
    match sizes(features, info)[..] {
        [lanes] => Some(lanes).filter(|lanes| LANES.contains(lanes)),
        _ => None,
    }
}

/// The sizes that a workgroup's subgroups may be taken to have, the likeliest first: the one that
/// there is, or the largest and the smallest of several. Which of them a driver compiles a kernel
/// for cannot be asked or told: it is tried.
fn sizes(features: wgpu::Features, info: &wgpu::AdapterInfo) -> Vec<u32> {
    let mut sizes = Vec::new();
    if features.contains(wgpu::Features::SUBGROUP) {
        sizes.extend([info.subgroup_max_size, info.subgroup_min_size]);
        sizes.dedup();
    }
    sizes
}

/// The lanes of the `subgroup` core to try on an adapter, in turn. `planted` stands for its sizes,
/// largest and smallest.
pub(in crate::gpu) fn lanes_to_try(
    features: wgpu::Features,
    info: &wgpu::AdapterInfo,
    planted: Option<[u32; 2]>,
) -> Vec<u32> {
    let mut lanes = match planted {
        Some(sizes) if features.contains(wgpu::Features::SUBGROUP) => sizes.to_vec(),
        _ => sizes(features, info),
    };
    lanes.retain(|lanes| LANES.contains(lanes));
    lanes
}

/// Returns the variants of the `coopmat` core to try on an adapter, the best first; or the one
/// that emulates such matrices.
///
/// # Errors
/// Names what the adapter lacks.
pub(in crate::gpu) fn coopmat(
    adapter: &wgpu::Adapter,
    emulated: Option<(u32, u32)>,
) -> Result<Vec<Coopmat>> {
    let (info, features) = (adapter.get_info(), adapter.features());
    let found = match emulated {
        Some(matrices) => Coopmat::emulating(features, matrices).map(|c| vec![c]),
        None => Coopmat::of(
            features,
            &adapter.limits(),
            &sizes(features, &info),
            &adapter.cooperative_matrix_properties(),
        ),
    };
    found.map_err(|what| coopmat::lacking(&info, &what))
}

/// On a processor a load is a gather, lane by lane, and a broadcast one instruction: registers win.
/// On a GPU workgroup memory does.
pub(in crate::gpu) fn pick_core(
    forced: Option<Core>,
    subgroup: Option<u32>,
    info: &wgpu::AdapterInfo,
) -> Core {
    let subgroup_wins = subgroup.is_some() && info.device_type == wgpu::DeviceType::Cpu;
    match forced {
        Some(Core::Subgroup) if subgroup.is_some() => Core::Subgroup,
        Some(Core::Tiled) => Core::Tiled,
        _ if subgroup_wins => Core::Subgroup,
        _ => Core::Tiled,
    }
}
