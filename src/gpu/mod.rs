//! The engine: device, buffers and their pool, recording and submitting, pipelines, timestamps,
//! errors.

pub(crate) mod command;
mod deprecated;
pub(crate) mod device;
mod dtype;
pub(crate) mod kernel;
mod latest;
pub(crate) mod lock;
pub(crate) mod memory;
mod self_test;
mod texture;

pub use command::calls::Call;
pub(crate) use command::clock;
pub use command::profile::Span;
pub use command::slices::SliceProgress;
pub use command::stream::{Counters, Submission};
pub use command::waiting::{DEVICE_TIMEOUT, LOST_WHILE_POLLED};
#[cfg(not(target_arch = "wasm32"))]
pub use device::adapter::adapters;
pub use device::adapter::{AdapterReport, Core};
pub use device::class::DeviceClass;
pub use device::coopmat::Coopmat;
pub use device::features::{FeatureRequest, MissingFeature, required_features, required_limits};
pub use device::robust::RobustAccess;
pub use dtype::DType;
pub use kernel::compiled::Compiled;
pub use kernel::gemm::Tile;
pub use kernel::groups::groups_for;
pub(crate) use kernel::groups::{ROW_GROUPS, chunks, row_chunks, row_group};
pub use kernel::pipelines::{Kernel, Pipeline};
pub use kernel::reflect::{Elements, Reflection, StorageBinding, reflect};
pub use kernel::source::{Source, preprocess};
#[cfg(all(feature = "cli", any(windows, all(unix, not(target_vendor = "apple")))))]
pub use kernel::statistics;
pub use kernel::tuning::{
    FEW_CHANNELS, Rule, TUNING_FORMAT, Tuning, default_few_channels, default_rules,
};
pub use kernel::work::Work;
pub use lock::locks_taken;
pub use memory::fill::{fill, fill_bits};
pub use memory::guard::GUARD_BAND;
pub use memory::ledger::MemoryReport;
pub use memory::readback::Readback;
pub use memory::tensor::{Element, POISON, Tensor};
pub use texture::{ColorSpace, ImageTexture, texture_shaders};

use crate::{Error, Result};
use device::{adapter, coopmat, features, robust};
use lock::Mutex;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A map whose keys are our own, so that its hash need not withstand anybody.
pub(crate) type FastMap<K, V> = HashMap<K, V, BuildHasherDefault<rustc_hash::FxHasher>>;

/// Options of an engine.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The adapter: an index of [`adapters`], part of a name, or a backend. `None` takes the most
    /// capable.
    pub adapter: Option<String>,
    /// Use only this matrix core, where the device can run it. [`Core::Coopmat`] is used only when
    /// asked for here, and asking for it where it cannot run is an error.
    pub core: Option<Core>,
    /// Keep naga's bounds checks and loop guards in every kernel. For tests: the bits are the same
    /// without.
    pub shader_checks: bool,
    /// Fill every fresh buffer with [`POISON`]. For tests: a kernel that does not write its output
    /// is found.
    pub poison: bool,
    /// Place each tensor between two bands of a NaN, in a buffer of its own that is filled
    /// with it, see [`Gpu::check_guard_bands`]. For tests: a kernel that leaves its tensors is
    /// found.
    pub guard: bool,
    /// Let this many invocations share a row, 8, 64 or 256, where a kernel has such variants and
    /// rows are short enough. For tests: every device can run what the others choose.
    pub row_group: Option<u32>,
    /// Lay kernels out as for this class of devices. For tests: every device can run what the
    /// others choose.
    pub device_class: Option<DeviceClass>,
    /// Take the device's subgroups to have these sizes, largest and smallest, and try them. For
    /// tests: sizes that it has not are found out.
    pub subgroup_sizes: Option<[u32; 2]>,
    /// Emulate cooperative matrices of as many rows and columns, on subgroups of as many lanes, in
    /// plain WGSL: [`Core::Coopmat`] then runs wherever kernels have f16, slowly. (16, 32),
    /// (16, 64), (8, 32) and (8, 8) are known. For tests.
    pub emulated_matrices: Option<(u32, u32)>,
    /// Ask for none of the optional features, as on a browser's default device. For tests.
    pub no_features: bool,
    /// Let the driver check accesses to buffers, or not. A host's device stays as the host made it.
    pub robust_access: RobustAccess,
    /// Bytes of device memory that the engine may hold, see [`Gpu::set_memory_budget`].
    pub memory_budget: Option<u64>,
    /// The time for which the device may finish nothing while it is waited for, before that is
    /// [`Error::DeviceHung`]: 10 minutes unless it is said here, and no end for `Duration::MAX`. A
    /// browser waits for itself.
    pub device_timeout: Option<Duration>,
    /// Bytes of a model's parameters that lie in one buffer at most; what one storage binding
    /// holds by default. A larger model has them in several, and so all that its optimiser keeps.
    /// The bits are the same.
    pub parameter_part: Option<u64>,
    /// Read this file of `shaders/` in place of the embedded one of its name. For tests: a fault
    /// that is planted in a kernel is found.
    pub planted: Option<&'static Source>,
}

/// An engine on one device. Clones share it; several may live in a process, and nothing is global.
///
/// Operations over its tensors record work. It is submitted when enough has gathered, by
/// [`Gpu::flush`], or when a result is read.
///
/// ```
/// use wgvq::gpu::{Gpu, Options, Tensor};
/// use wgvq::ops::linalg::matmul::{Transpose, matmul};
///
/// # fn main() -> wgvq::Result<()> {
/// let gpu = Gpu::new(Options::default())?; // the most capable adapter
/// let x = Tensor::from_slice(&gpu, &[2, 2], &[1.0f32, 2.0, 3.0, 4.0])?;
/// let y = matmul(&x, &x, Transpose::B, None)?; // recorded
/// assert_eq!(y.read::<f32>()?, [5.0, 11.0, 11.0, 25.0]); // submitted, and waited for
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Gpu {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) info: wgpu::AdapterInfo,
    pub(crate) limits: wgpu::Limits,
    /// Bytes of the host's memory that there were at the start, where the device has none of its
    /// own.
    pub(crate) host_memory: u64,
    /// Bytes of the device's own memory, where the driver tells.
    pub(crate) heap: Option<u64>,
    pub(crate) options: Options,
    pub(crate) immediates: bool,
    /// The variant of the `coopmat` core, where that is the core and has passed its test.
    pub(crate) coopmat: OnceLock<Coopmat>,
    /// The lanes of the `subgroup` core, where it can run.
    lanes: OnceLock<u32>,
    pub(crate) memory: memory::Memory,
    pub(crate) command: command::Commands,
    pub(crate) kernel: kernel::Kernels,
    /// The pipelines that textures go through.
    textures: Mutex<texture::Pipelines>,
    /// The number of the next buffer, pipeline or arena.
    ids: AtomicU64,
    failure: Arc<Mutex<Option<Error>>>,
    /// Why the device is gone, once it is.
    gone: Arc<OnceLock<String>>,
    /// The batch after the last that was finished when the device was found to hang; 0 if it never
    /// was.
    hung: AtomicU64,
    /// Whether the device is the engine's, and not a host's.
    own: bool,
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Gpu({})", self.inner.info.name)
    }
}

impl Gpu {
    /// Opens the adapter that `options` names and makes a device on it. Blocks until the driver
    /// answers; browsers, where nothing may block, have [`Gpu::new_async`] alone.
    ///
    /// # Errors
    /// If there is no such adapter (what there is, is listed), or the driver refuses.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn new(options: Options) -> Result<Gpu> {
        pollster::block_on(Gpu::new_async(options))
    }

    /// Opens the adapter that `options` names and makes a device on it, without blocking. A browser
    /// chooses the adapter itself.
    ///
    /// # Errors
    /// If there is no such adapter (what there is, is listed), or the driver refuses.
    pub async fn new_async(options: Options) -> Result<Gpu> {
        if options.shader_checks && options.robust_access == RobustAccess::Off {
            return Err(Error::invalid(
                "robust access",
                "the checks of `shader_checks` are in part the driver's; leave it on with them",
            ));
        }
        let adapter = adapter::choose(options.adapter.as_deref()).await?;
        let mut features = if options.no_features {
            wgpu::Features::empty()
        } else {
            required_features(&adapter, FeatureRequest::ALL)
        };
        let coopmat = match options.core {
            Some(Core::Coopmat) if options.no_features => Err(coopmat::lacking(
                &adapter.get_info(),
                "the features that this engine was told not to ask for",
            ))?,
            Some(Core::Coopmat) => adapter::coopmat(&adapter, options.emulated_matrices)?,
            _ => Vec::new(),
        };
        let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
        if coopmat.iter().any(|c| !c.emulated) {
            features |= coopmat::FEATURES;
            // SAFETY: wgpu's experiment may have bugs. The user asked for it by name, every module
            // that uses it is validated, its accesses stay inside its tiles, and a self-test has to
            // pass below.
            experimental_features = unsafe { wgpu::ExperimentalFeatures::enabled() };
        }
        let limits = if options.no_features {
            wgpu::Limits::default()
        } else {
            adapter.limits()
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("wgvq"),
            required_features: features,
            required_limits: limits,
            experimental_features,
            memory_hints: wgpu::MemoryHints::Performance,
            ..Default::default()
        };
        let (device, queue) = match options.robust_access {
            RobustAccess::On => {
                let made = adapter.request_device(&descriptor).await;
                made.map_err(|e| Error::NoAdapter {
                    what: format!("{} refused a device: {e}", adapter.get_info().name),
                })?
            }
            RobustAccess::Off => robust::device_without(&adapter, &descriptor)?,
        };
        let heap = adapter::heap(&adapter);
        let gpu = Gpu::assemble(adapter.get_info(), device, queue, options, heap, true);
        // The device is ours, so its handlers are too: errors become values at the next call that
        // can return one.
        let failure = gpu.inner.failure.clone();
        gpu.inner
            .device
            .on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
                failure.lock().get_or_insert(match &error {
                    wgpu::Error::OutOfMemory { .. } => Error::OutOfMemory {
                        what: "the driver".into(),
                        asked: 0,
                        in_use: 0,
                        has: None,
                    },
                    other => Error::Gpu {
                        op: "device".into(),
                        what: other.to_string(),
                    },
                });
            }));
        let gone = gpu.inner.gone.clone();
        gpu.inner
            .device
            .set_device_lost_callback(move |reason, message| {
                let _ = gone.set(format!("{reason:?}: {message}"));
            });
        if coopmat.is_empty() {
            gpu.find_lanes();
        } else {
            let _ = gpu.inner.coopmat.set(gpu.passing(&coopmat)?);
        }
        Ok(gpu)
    }

    /// Creates an engine on a host's device and queue: any device that has compute, WebGPU's
    /// default one without features too.
    ///
    /// The host keeps its error and device-lost handlers; kernels are chosen from what the device
    /// has, whatever the adapter could do. [`Gpu::missing_features`] says what it goes without, and
    /// [`required_features`] and [`required_limits`] what to ask an adapter for. Several engines
    /// may share a device; each has its own memory and its own recording.
    pub fn from_wgpu(info: wgpu::AdapterInfo, device: wgpu::Device, queue: wgpu::Queue) -> Gpu {
        Gpu::from_wgpu_with(info, device, queue, Options::default())
    }

    /// [`Gpu::from_wgpu`] under options, of which those about choosing an adapter and its features
    /// do not apply. A core that the device cannot run is passed over, and [`Core::Coopmat`]
    /// always.
    pub fn from_wgpu_with(
        info: wgpu::AdapterInfo,
        device: wgpu::Device,
        queue: wgpu::Queue,
        options: Options,
    ) -> Gpu {
        let core = options.core.filter(|core| *core != Core::Coopmat);
        let options = Options {
            core,
            robust_access: RobustAccess::On,
            ..options
        };
        Gpu::assemble(info, device, queue, options, None, false)
    }

    fn assemble(
        info: wgpu::AdapterInfo,
        device: wgpu::Device,
        queue: wgpu::Queue,
        options: Options,
        heap: Option<u64>,
        own: bool,
    ) -> Gpu {
        let limits = device.limits();
        let immediates = features::has_immediates(device.features(), &limits);
        let guess = match info.device_type {
            wgpu::DeviceType::Cpu => 1e10,
            wgpu::DeviceType::DiscreteGpu => 1e12,
            _ => 1e11,
        };
        let memory = memory::Memory::new(options.memory_budget);
        // Where there are several sizes, or some are planted, a test decides (`Gpu::new`).
        let one_size = adapter::subgroup_size(device.features(), &info);
        let lanes = match (one_size, options.subgroup_sizes) {
            (Some(lanes), None) => OnceLock::from(lanes),
            _ => OnceLock::new(),
        };
        // Where the processor is the device, its memory is the host's.
        let host_memory =
            (info.device_type == wgpu::DeviceType::Cpu).then(crate::memory::available);
        let inner = Inner {
            device,
            queue,
            info,
            limits,
            options,
            immediates,
            coopmat: OnceLock::new(),
            lanes,
            memory,
            command: command::Commands::new(guess),
            kernel: kernel::Kernels::default(),
            textures: Default::default(),
            host_memory: host_memory.unwrap_or(u64::MAX),
            heap,
            ids: AtomicU64::new(1),
            failure: Default::default(),
            gone: Default::default(),
            hung: Default::default(),
            own,
        };
        Gpu {
            inner: Arc::new(inner),
        }
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.inner.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether the device is still there. One that is lost stays lost.
    pub(crate) fn check_lost(&self) -> Result<()> {
        match self.inner.gone.get() {
            Some(reason) => Err(Error::DeviceLost {
                reason: reason.clone(),
            }),
            None => Ok(()),
        }
    }

    /// The loss of the device, or the first thing that went wrong on it since the last call.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_lost()?;
        let Some(error) = self.inner.failure.lock().take() else {
            return Ok(());
        };
        // A device that is gone refuses whatever comes, and says that it is gone when it is asked,
        // once it has ended what it was at.
        match self.inner.wait_for(None, "the cause of an error") {
            Err(lost @ Error::DeviceLost { .. }) => Err(lost),
            _ => self.check_lost().and(Err(error)),
        }
    }

    /// The adapter's name, driver and kind.
    pub fn info(&self) -> &wgpu::AdapterInfo {
        &self.inner.info
    }
    /// Returns the device, for hosts that share it.
    pub fn device(&self) -> &wgpu::Device {
        &self.inner.device
    }
    /// Returns the queue, for hosts that share it.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }
    /// Returns the device's limits.
    pub fn limits(&self) -> &wgpu::Limits {
        &self.inner.limits
    }

    /// Returns the bytes of a model's parameters that lie in one buffer at most.
    pub(crate) fn parameter_part_bytes(&self) -> u64 {
        let limits = &self.inner.limits;
        let binding = limits.max_storage_buffer_binding_size;
        let part = self.inner.options.parameter_part.unwrap_or(binding);
        part.min(limits.max_buffer_size)
    }

    /// Returns the lanes of a subgroup, where the `subgroup` core can run: the device has subgroups
    /// of one known size, or several, of which one has passed a test when the device was made.
    pub fn subgroup_size(&self) -> Option<u32> {
        self.inner.lanes.get().copied()
    }

    /// Returns the class that decides how wide kernels are laid out, and in which order split sums
    /// are added.
    pub fn class(&self) -> DeviceClass {
        let inner = &self.inner;
        (inner.options.device_class).unwrap_or_else(|| DeviceClass::of(&inner.info))
    }

    /// Whether the driver checks accesses to buffers, as [`Options::robust_access`] has it. A
    /// host's device is taken to be as wgpu makes them.
    pub fn robust_access(&self) -> RobustAccess {
        self.inner.options.robust_access
    }

    /// Whether kernels can read and write f16 themselves. Where they cannot, what is stored as f16
    /// is widened before and narrowed after.
    pub fn shader_f16(&self) -> bool {
        self.inner
            .device
            .features()
            .contains(wgpu::Features::SHADER_F16)
    }

    /// Returns the variant of the `coopmat` core, where that is the core.
    pub(crate) fn coopmat(&self) -> Option<Coopmat> {
        self.inner.coopmat.get().copied()
    }

    /// The cores that a table of tiles may choose among: those that the device runs and
    /// [`Options::core`] allows.
    pub fn cores(&self) -> Vec<Core> {
        match self.inner.options.core {
            Some(_) => vec![self.core()],
            None if self.subgroup_size().is_some() => vec![Core::Subgroup, Core::Tiled],
            None => vec![Core::Tiled],
        }
    }

    /// Returns the matrix core that heavy kernels use on this device.
    pub fn core(&self) -> Core {
        if self.inner.coopmat.get().is_some() {
            return Core::Coopmat;
        }
        if let Some(tiles) = self.inner.kernel.tiles.get() {
            return tiles.core;
        }
        adapter::pick_core(
            self.inner.options.core,
            self.subgroup_size(),
            &self.inner.info,
        )
    }
}

/// Renamed to [`SliceProgress`].
#[deprecated(since = "0.2.0", note = "renamed to `SliceProgress`")]
pub type Worked = SliceProgress;
/// Renamed to [`MissingFeature`].
#[deprecated(since = "0.2.0", note = "renamed to `MissingFeature`")]
pub type Lost = MissingFeature;
/// Renamed to [`FeatureRequest`].
#[deprecated(since = "0.2.0", note = "renamed to `FeatureRequest`")]
pub type Wanted = FeatureRequest;
/// Renamed to [`ColorSpace`].
#[deprecated(since = "0.2.0", note = "renamed to `ColorSpace`")]
pub type Light = ColorSpace;
/// Renamed to [`ImageTexture`].
#[deprecated(since = "0.2.0", note = "renamed to `ImageTexture`")]
pub type Picture<'a> = ImageTexture<'a>;
