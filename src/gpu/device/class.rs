//! Classes of devices: how wide kernels are laid out that move bytes more than they compute.

/// The class of a device, which decides how many invocations keep it busy, as far as the adapter's
/// kind tells. Sums that are split by it have an order that depends on their shape and on the
/// class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceClass {
    /// A processor: software Vulkan.
    Processor,
    /// A GPU that shares the host's memory, or of an unknown kind.
    Integrated,
    /// A GPU with memory of its own.
    Discrete,
}

impl DeviceClass {
    /// All of them.
    pub const ALL: [DeviceClass; 3] = [
        DeviceClass::Processor,
        DeviceClass::Integrated,
        DeviceClass::Discrete,
    ];

    /// The class of an adapter.
    pub(in crate::gpu) fn of(info: &wgpu::AdapterInfo) -> Self {
        match info.device_type {
            wgpu::DeviceType::Cpu => DeviceClass::Processor,
            wgpu::DeviceType::DiscreteGpu => DeviceClass::Discrete,
            _ => DeviceClass::Integrated,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            DeviceClass::Processor => "processor",
            DeviceClass::Integrated => "integrated",
            DeviceClass::Discrete => "discrete",
        }
    }

    /// Is it a GPU? There, loads of four values are the widest, and invocations of a workgroup add
    /// up what one would walk alone.
    pub(crate) fn is_gpu(self) -> bool {
        self != DeviceClass::Processor
    }

    /// Invocations that fill it: some two for each lane of a GPU's multiprocessors, so that loads
    /// overlap. A processor has no use for more than `few`.
    pub(crate) fn invocations(self, few: usize) -> usize {
        match self {
            DeviceClass::Processor => few,
            DeviceClass::Integrated => 1 << 15,
            DeviceClass::Discrete => 1 << 17,
        }
    }
}
