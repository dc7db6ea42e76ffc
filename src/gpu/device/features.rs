//! Features and limits: those that a host requests of its adapter so that the engine can use the
//! device, and those that a device lacks.

use super::coopmat;
use crate::gpu::{Core, Gpu};
use std::fmt;

/// The capabilities that a host requests for the engine. [`required_features`] and
/// [`required_limits`] turn it into what to ask an adapter for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureRequest {
    /// The fastest exact kernels that the adapter can run, and parameters as immediates: less work
    /// for the processor per dispatch.
    pub speed: bool,
    /// Kernels that read and write f16 themselves.
    pub f16: bool,
    /// The device's clock, for [`Gpu::timed`].
    pub timestamps: bool,
    /// Bytes of the largest tensor. WebGPU's default device binds 128 MiB.
    pub largest_tensor: u64,
}

impl Default for FeatureRequest {
    /// Speed, and no tensor past WebGPU's default of 128 MiB.
    fn default() -> Self {
        FeatureRequest {
            speed: true,
            f16: false,
            timestamps: false,
            largest_tensor: 128 << 20,
        }
    }
}

impl FeatureRequest {
    /// No feature and default limits: what a browser gives unasked. Everything works, some of it
    /// slower.
    pub const NOTHING: FeatureRequest = FeatureRequest {
        speed: false,
        f16: false,
        timestamps: false,
        largest_tensor: 128 << 20,
    };
    /// All that some kernel can use, and tensors as large as the adapter binds.
    pub const ALL: FeatureRequest = FeatureRequest {
        speed: true,
        f16: true,
        timestamps: true,
        largest_tensor: u64::MAX,
    };

    /// The optional features that serve it, on any adapter.
    pub(in crate::gpu) fn features(self) -> wgpu::Features {
        let mut features = wgpu::Features::empty();
        if self.speed {
            features |= wgpu::Features::SUBGROUP | wgpu::Features::IMMEDIATES;
        }
        if self.f16 {
            features |= wgpu::Features::SHADER_F16;
        }
        if self.timestamps {
            features |=
                wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS;
        }
        features
    }
}

/// Returns the features to ask `adapter` for: those of what is wanted that it has, so that it does
/// not refuse.
pub fn required_features(adapter: &wgpu::Adapter, wanted: FeatureRequest) -> wgpu::Features {
    adapter.features() & wanted.features()
}

/// Returns the limits to ask `adapter` for: WebGPU's defaults, raised where what is wanted needs
/// more, and never past what the adapter has, so that it does not refuse. A host that needs more of
/// its own raises them further.
pub fn required_limits(adapter: &wgpu::Adapter, wanted: FeatureRequest) -> wgpu::Limits {
    limits_for(
        &adapter.limits(),
        required_features(adapter, wanted),
        wanted,
    )
}

fn limits_for(
    has: &wgpu::Limits,
    features: wgpu::Features,
    wanted: FeatureRequest,
) -> wgpu::Limits {
    let mut limits = wgpu::Limits::default().or_worse_values_from(has);
    if features.contains(wgpu::Features::IMMEDIATES) {
        limits.max_immediate_size = has.max_immediate_size.min(IMMEDIATE_BYTES);
    }
    let binding = &mut limits.max_storage_buffer_binding_size;
    *binding = wanted
        .largest_tensor
        .max(*binding)
        .min(has.max_storage_buffer_binding_size);
    // A tensor's buffer is of a size class, up to a quarter larger.
    let buffer = wanted
        .largest_tensor
        .saturating_add(wanted.largest_tensor / 4);
    limits.max_buffer_size = buffer.max(limits.max_buffer_size).min(has.max_buffer_size);
    limits
}

/// Bytes of parameters that the largest kernel takes.
pub(in crate::gpu) const IMMEDIATE_BYTES: u32 = 128;
/// Storage buffers that the hungriest kernel binds, and what WebGPU's default device has.
const STORAGE_BUFFERS: u32 = 8;
/// Workgroup memory and invocations of the largest tile: WebGPU's defaults.
const WORKGROUP_MEMORY: u32 = 16_384;
const INVOCATIONS: u32 = 256;

/// Something of the engine that a device goes without. `Display` says it in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissingFeature {
    /// A matrix core does not run; the others do the same work.
    Core {
        /// The core that does not run.
        core: Core,
        /// The features that it needs and the device lacks.
        missing: String,
    },
    /// Kernels do not read f16: what is stored so is widened before and narrowed after. Asked for
    /// by `SHADER_F16`.
    F16,
    /// Parameters travel in a uniform buffer: some microseconds more per dispatch. Asked for by
    /// `IMMEDIATES` and 128 bytes of them.
    Immediates,
    /// [`Gpu::timed`] has no clock. Asked for by `TIMESTAMP_QUERY` and
    /// `TIMESTAMP_QUERY_INSIDE_ENCODERS`.
    Timestamps,
    /// A limit lies below WebGPU's default: kernels that need more are errors, the rest works.
    Limit {
        /// The limit, by wgpu's name.
        limit: &'static str,
        /// The value that the device allows.
        allows: u64,
        /// The value that the most demanding kernel needs.
        needs: u64,
    },
}

impl fmt::Display for MissingFeature {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            MissingFeature::Core { core, missing } => {
                write!(
                    f,
                    "the {} core does not run: the device lacks {missing}",
                    core.name()
                )
            }
            MissingFeature::F16 => write!(
                f,
                "f16 is widened and narrowed around kernels: the device lacks SHADER_F16"
            ),
            MissingFeature::Immediates => {
                write!(
                    f,
                    "parameters travel in uniform buffers: the device lacks IMMEDIATES of \
                     {IMMEDIATE_BYTES} bytes"
                )
            }
            MissingFeature::Timestamps => write!(
                f,
                "nothing is timed on the device: it lacks TIMESTAMP_QUERY_INSIDE_ENCODERS"
            ),
            MissingFeature::Limit {
                limit,
                allows,
                needs,
            } => {
                write!(
                    f,
                    "kernels that need more do not run: {limit} is {allows}, the hungriest needs \
                     {needs}"
                )
            }
        }
    }
}

/// Returns what a device with these features and limits goes without.
fn missing_features(
    features: wgpu::Features,
    limits: &wgpu::Limits,
    info: &wgpu::AdapterInfo,
    lanes: Option<u32>,
    coopmat: bool,
) -> Vec<MissingFeature> {
    let mut missing_features = Vec::new();
    if lanes.is_none() {
        let missing = match features.contains(wgpu::Features::SUBGROUP) {
            false => "SUBGROUP".into(),
            true => format!(
                "subgroups of one size, 8, 16, 32 or 64 lanes, or of sizes with which a product \
                 was right when a device was made for the engine (it has {} to {})",
                info.subgroup_min_size, info.subgroup_max_size
            ),
        };
        missing_features.push(MissingFeature::Core {
            core: Core::Subgroup,
            missing,
        });
    }
    if !coopmat {
        let missing = match (coopmat::FEATURES - features).iter_names().next() {
            Some((name, _)) => name.to_string(),
            None => "being asked for: it changes results, so only an engine that makes its own \
                     device uses it"
                .into(),
        };
        missing_features.push(MissingFeature::Core {
            core: Core::Coopmat,
            missing,
        });
    }
    if !features.contains(wgpu::Features::SHADER_F16) {
        missing_features.push(MissingFeature::F16);
    }
    if !has_immediates(features, limits) {
        missing_features.push(MissingFeature::Immediates);
    }
    if !features
        .contains(wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS)
    {
        missing_features.push(MissingFeature::Timestamps);
    }
    let needed = [
        (
            "max_storage_buffers_per_shader_stage",
            limits.max_storage_buffers_per_shader_stage,
            STORAGE_BUFFERS,
        ),
        (
            "max_compute_workgroup_storage_size",
            limits.max_compute_workgroup_storage_size,
            WORKGROUP_MEMORY,
        ),
        (
            "max_compute_invocations_per_workgroup",
            limits.max_compute_invocations_per_workgroup,
            INVOCATIONS,
        ),
        (
            "max_compute_workgroup_size_x",
            limits.max_compute_workgroup_size_x,
            INVOCATIONS,
        ),
    ];
    let short = needed
        .into_iter()
        .filter(|(_, allows, needs)| allows < needs);
    missing_features.extend(short.map(|(limit, allows, needs)| MissingFeature::Limit {
        limit,
        allows: allows.into(),
        needs: needs.into(),
    }));
    missing_features
}

/// Whether kernels can take their parameters as immediates.
pub(in crate::gpu) fn has_immediates(features: wgpu::Features, limits: &wgpu::Limits) -> bool {
    features.contains(wgpu::Features::IMMEDIATES) && limits.max_immediate_size >= IMMEDIATE_BYTES
}

impl Gpu {
    /// Returns the cores, features and limits that this device lacks. All else works.
    pub fn missing_features(&self) -> Vec<MissingFeature> {
        let inner = &self.inner;
        missing_features(
            inner.device.features(),
            &inner.limits,
            &inner.info,
            self.subgroup_size(),
            self.coopmat().is_some(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::device::adapter;

    #[test]
    fn limits_are_raised_to_what_is_wanted_and_no_further_than_there_is() {
        let has = wgpu::Limits {
            max_immediate_size: 256,
            max_storage_buffer_binding_size: 1 << 30,
            max_buffer_size: 1 << 30,
            max_texture_dimension_2d: 4096,
            ..Default::default()
        };
        let nothing = limits_for(&has, wgpu::Features::empty(), FeatureRequest::NOTHING);
        assert_eq!(
            nothing,
            wgpu::Limits {
                max_texture_dimension_2d: 4096,
                ..Default::default()
            }
        );
        let wanted = FeatureRequest {
            largest_tensor: 512 << 20,
            ..Default::default()
        };
        let limits = limits_for(&has, wgpu::Features::IMMEDIATES, wanted);
        assert_eq!(
            (
                limits.max_immediate_size,
                limits.max_storage_buffer_binding_size
            ),
            (128, 512 << 20)
        );
        assert_eq!(limits.max_buffer_size, 640 << 20);
        let all = limits_for(&has, wgpu::Features::all(), FeatureRequest::ALL);
        assert_eq!(
            (all.max_storage_buffer_binding_size, all.max_buffer_size),
            (1 << 30, 1 << 30)
        );
        assert!(all.check_limits(&has));
    }

    #[test]
    fn what_a_device_lacks_is_said_by_name() {
        let info = Gpu::new(Default::default()).unwrap().info().clone();
        let info = wgpu::AdapterInfo {
            subgroup_min_size: 16,
            subgroup_max_size: 16,
            ..info
        };
        let of = |features, limits: &wgpu::Limits| {
            let lanes = adapter::subgroup_size(features, &info);
            missing_features(features, limits, &info, lanes, false)
        };
        let words = |missing_features: &[MissingFeature]| {
            missing_features
                .iter()
                .map(MissingFeature::to_string)
                .collect::<Vec<_>>()
                .join("; ")
        };
        let bare = of(wgpu::Features::empty(), &wgpu::Limits::default());
        let expected = [
            "subgroup core does not run: the device lacks SUBGROUP",
            "SHADER_F16",
            "IMMEDIATES",
            "TIMESTAMP",
        ];
        assert!(
            expected.iter().all(|part| words(&bare).contains(part)),
            "{}",
            words(&bare)
        );
        assert!(
            !bare
                .iter()
                .any(|l| matches!(l, MissingFeature::Limit { .. }))
        );
        // All features, but immediates too small to be of use.
        let small = wgpu::Limits {
            max_immediate_size: 64,
            ..Default::default()
        };
        let full = of(FeatureRequest::ALL.features(), &small);
        assert_eq!(full[1..], [MissingFeature::Immediates], "{full:?}");
        let downlevel = of(
            FeatureRequest::ALL.features(),
            &wgpu::Limits::downlevel_defaults(),
        );
        assert!(
            words(&downlevel)
                .contains("max_storage_buffers_per_shader_stage is 4, the hungriest needs 8")
        );
    }
}
