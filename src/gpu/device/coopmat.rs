//! The `coopmat` core's conditions: what a device must have for it, the variant it gets, and the
//! test that it has to pass.

use crate::{Error, Result};

/// A variant of the `coopmat` core: the matrices and the subgroups that a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coopmat {
    /// Rows, columns and depth of one matrix.
    pub(in crate::gpu) side: u32,
    /// Lanes of a subgroup.
    pub(in crate::gpu) lanes: u32,
    /// Whether plain WGSL stands for the matrices.
    pub(in crate::gpu) emulated: bool,
}

/// The features without which there are no cooperative matrices of f16. The second is wgpu's
/// experiment.
pub(in crate::gpu) const FEATURES: wgpu::Features = wgpu::Features::SHADER_F16
    .union(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX)
    .union(wgpu::Features::SUBGROUP);
/// The lanes that the core is built for.
const LANES: [u32; 4] = [8, 16, 32, 64];
/// Workgroup memory of the hungriest kernels: tiles of 128 x 128 and a stage of their sums take
/// 29,184 bytes, attention's up to 29,956.
pub(crate) const MEMORY: u32 = 30_720;
/// The variants whose matrices are emulated, for tests: matrices and lanes as NVIDIA's, AMD's and
/// Apple's GPUs have them, and as Mesa's software Vulkan does.
const EMULATED: [(u32, u32); 4] = [(16, 32), (16, 64), (8, 32), (8, 8)];

impl Coopmat {
    /// Every variant that a device can get.
    pub(crate) fn all() -> Vec<Coopmat> {
        let real = LANES
            .iter()
            .flat_map(|lanes| [8, 16].map(|side| (side, *lanes, false)));
        let emulated = EMULATED.map(|(side, lanes)| (side, lanes, true));
        real.chain(emulated)
            .map(|(side, lanes, emulated)| Coopmat {
                side,
                lanes,
                emulated,
            })
            .collect()
    }

    /// Returns the variant that emulates matrices of `side` x `side` on subgroups of `lanes`.
    pub(in crate::gpu) fn emulating(
        features: wgpu::Features,
        (side, lanes): (u32, u32),
    ) -> Result<Coopmat, String> {
        if !features.contains(wgpu::Features::SHADER_F16) {
            return Err("SHADER_F16".into());
        }
        if !EMULATED.contains(&(side, lanes)) {
            let known = EMULATED.map(|(side, lanes)| format!("{side}x{lanes}"));
            return Err(format!(
                "an emulation of matrices of {side} x {side} on {lanes} lanes (there are {})",
                known.join(", ")
            ));
        }
        Ok(Coopmat {
            side,
            lanes,
            emulated: true,
        })
    }

    /// Returns the variants to try on an adapter whose subgroups may have these sizes, in turn, or
    /// the first thing that it lacks.
    pub(in crate::gpu) fn of(
        features: wgpu::Features,
        limits: &wgpu::Limits,
        sizes: &[u32],
        matrices: &[wgpu::CooperativeMatrixProperties],
    ) -> Result<Vec<Coopmat>, String> {
        if let Some((name, _)) = (FEATURES - features).iter_names().next() {
            return Err(name.to_string());
        }
        let lanes = sizes.iter().filter(|lanes| LANES.contains(lanes));
        if lanes.clone().next().is_none() {
            return Err("subgroups of 8 to 64 lanes".into());
        }
        if limits.max_compute_workgroup_storage_size < MEMORY {
            return Err(format!("{MEMORY} bytes of workgroup memory"));
        }
        use wgpu::CooperativeScalarType::{F16, F32};
        let usable = |side: u32| {
            let square =
                |p: &wgpu::CooperativeMatrixProperties| [p.m_size, p.n_size, p.k_size] == [side; 3];
            matrices
                .iter()
                .any(|p| square(p) && (p.ab_type, p.cr_type) == (F16, F32))
        };
        let side = [16, 8].into_iter().find(|side| usable(*side));
        let side = side.ok_or("cooperative matrices of 16 x 16 or 8 x 8, f16 summed in f32")?;
        let variant = |lanes: &u32| Coopmat {
            side,
            lanes: *lanes,
            emulated: false,
        };
        Ok(lanes.map(variant).collect())
    }
}

/// The error for an adapter that cannot run the core.
pub(in crate::gpu) fn lacking(info: &wgpu::AdapterInfo, what: &str) -> Error {
    let feature = format!(
        "{what}, which {} lacks; choose another core, or leave the choice to the engine",
        info.name
    );
    Error::Feature {
        op: "the coopmat core",
        feature,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpu::CooperativeScalarType::{F16, F32};

    fn matrix(side: u32, ab: wgpu::CooperativeScalarType) -> wgpu::CooperativeMatrixProperties {
        wgpu::CooperativeMatrixProperties {
            m_size: side,
            n_size: side,
            k_size: side,
            ab_type: ab,
            cr_type: F32,
            saturating_accumulation: false,
        }
    }

    #[test]
    fn what_an_adapter_lacks_is_named() {
        let limits = wgpu::Limits {
            max_compute_workgroup_storage_size: 32_768,
            ..Default::default()
        };
        let of = |features, lanes: &[u32], matrices: &[_]| {
            Coopmat::of(features, &limits, lanes, matrices)
        };
        let lacks = |features, lanes, matrices: &[_]| of(features, lanes, matrices).unwrap_err();
        let most: &[u32] = &[32];
        assert!(lacks(FEATURES - wgpu::Features::SHADER_F16, most, &[]).contains("SHADER_F16"));
        let without = wgpu::Features::all() - wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
        assert!(lacks(without, most, &[]).contains("COOPERATIVE_MATRIX"));
        assert!(lacks(FEATURES, &[128], &[matrix(16, F16)]).contains("64 lanes"));
        assert!(lacks(FEATURES, most, &[matrix(16, F32)]).contains("f16"));
        let small = wgpu::Limits::default();
        let found = Coopmat::of(FEATURES, &small, most, &[matrix(16, F16)]);
        assert!(found.unwrap_err().contains("workgroup memory"));
    }

    #[test]
    fn the_largest_matrices_and_most_lanes_come_first() {
        let limits = wgpu::Limits {
            max_compute_workgroup_storage_size: 32_768,
            ..Default::default()
        };
        let of = |lanes: &[u32], matrices: &[_]| {
            let found = Coopmat::of(FEATURES, &limits, lanes, matrices).unwrap();
            found.iter().map(|c| (c.side, c.lanes)).collect::<Vec<_>>()
        };
        let both = [matrix(8, F16), matrix(16, F16)];
        assert_eq!(of(&[32], &both), [(16, 32)]);
        assert_eq!(of(&[64, 32], &both), [(16, 64), (16, 32)]);
        assert_eq!(of(&[128, 64], &both), [(16, 64)]);
        assert_eq!(of(&[8], &both[..1]), [(8, 8)]);
    }
}
