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
}

/// The features without which there are no cooperative matrices of f16. The second is wgpu's
/// experiment.
pub(in crate::gpu) const FEATURES: wgpu::Features = wgpu::Features::SHADER_F16
    .union(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX)
    .union(wgpu::Features::SUBGROUP);
/// The lanes that the core is built for.
const LANES: [u32; 4] = [8, 16, 32, 64];
/// Workgroup memory of the hungriest variant, the search on subgroups of 64 lanes.
const MEMORY: u32 = 28_672;

impl Coopmat {
    /// Every variant that a device can get.
    pub(crate) fn all() -> Vec<Coopmat> {
        LANES
            .iter()
            .flat_map(|lanes| {
                [8, 16].map(|side| Coopmat {
                    side,
                    lanes: *lanes,
                })
            })
            .collect()
    }

    /// Returns the variants to try on an adapter, in turn, or the first thing that it lacks.
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
        Ok(lanes
            .map(|lanes| Coopmat {
                side,
                lanes: *lanes,
            })
            .collect())
    }

    /// Rows per invocation; it has four columns of each.
    pub fn v(self) -> u32 {
        256 / self.lanes
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
        assert!(
            of(FEATURES - wgpu::Features::SHADER_F16, &[32], &[])
                .unwrap_err()
                .contains("SHADER_F16")
        );
        assert!(
            of(
                wgpu::Features::all() - wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX,
                &[32],
                &[]
            )
            .unwrap_err()
            .contains("COOPERATIVE_MATRIX")
        );
        assert!(
            of(FEATURES, &[128], &[matrix(16, F16)])
                .unwrap_err()
                .contains("64 lanes")
        );
        assert!(
            of(FEATURES, &[32], &[matrix(16, F32)])
                .unwrap_err()
                .contains("f16")
        );
        assert!(
            Coopmat::of(
                FEATURES,
                &wgpu::Limits::default(),
                &[32],
                &[matrix(16, F16)]
            )
            .is_err()
        );
        assert_eq!(
            of(FEATURES, &[32], &[matrix(8, F16), matrix(16, F16)]),
            Ok(vec![Coopmat {
                side: 16,
                lanes: 32
            }])
        );
        assert_eq!(
            of(FEATURES, &[8], &[matrix(8, F16)]),
            Ok(vec![Coopmat { side: 8, lanes: 8 }])
        );
        // As on Radeon: both are tried, the largest first.
        let tried = of(FEATURES, &[64, 32], &[matrix(16, F16)]).unwrap();
        assert_eq!(tried.iter().map(|c| c.lanes).collect::<Vec<_>>(), [64, 32]);
    }

    /// Every output of the tile belongs to one invocation: the layout that tile_row and tile_col
    /// spell in WGSL.
    #[test]
    fn invocations_share_the_tile_without_overlap() {
        for c in Coopmat::all() {
            let mut owners = vec![0; 64 * 64];
            for (lane, v, col) in (0..4 * c.lanes)
                .flat_map(|l| (0..c.v()).flat_map(move |v| [0, 1, 2, 3].map(|q| (l, v, q))))
            {
                let row = v / 4 * c.lanes + lane / 16 * 4 + v % 4;
                owners[(row * 64 + lane % 16 * 4 + col) as usize] += 1;
            }
            assert!(owners.iter().all(|n| *n == 1), "{c:?}");
            // A stage is whole blocks of all four subgroups, whole rows of all invocations, and
            // divides the tile.
            let stage = c.lanes.max(2 * c.side);
            assert!(
                stage % (2 * c.side) == 0 && stage % c.lanes == 0 && 64 % stage == 0,
                "{c:?}"
            );
        }
    }
}
