//! The `coopmat` core's conditions: what a device must have for it, the variant it gets, and the test that it has to pass.

use super::{DType, Gpu, Kernel, Tensor, Work};
use crate::{Error, Result, shader};

/// A variant of the `coopmat` core: the matrices and the subgroups that a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coopmat {
    /// Rows, columns and depth of one matrix.
    side: u32,
    /// Lanes of a subgroup.
    lanes: u32,
}

/// The features without which there are no cooperative matrices of f16. The second is wgpu's experiment.
pub(super) const FEATURES: wgpu::Features =
    wgpu::Features::SHADER_F16.union(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX).union(wgpu::Features::SUBGROUP);
/// The lanes that the core is built for.
const LANES: [u32; 4] = [8, 16, 32, 64];
/// Workgroup memory of the hungriest variant, the search on subgroups of 64 lanes.
const MEMORY: u32 = 28_672;

impl Coopmat {
    /// Every variant that a device can get.
    pub(crate) fn all() -> Vec<Coopmat> {
        LANES.iter().flat_map(|lanes| [8, 16].map(|side| Coopmat { side, lanes: *lanes })).collect()
    }

    /// The variant for an adapter, or the first thing that it lacks.
    pub(super) fn of(
        features: wgpu::Features,
        limits: &wgpu::Limits,
        lanes: Option<u32>,
        matrices: &[wgpu::CooperativeMatrixProperties],
    ) -> Result<Coopmat, String> {
        if let Some((name, _)) = (FEATURES - features).iter_names().next() {
            return Err(name.to_string());
        }
        let lanes = lanes.filter(|l| LANES.contains(l)).ok_or("subgroups of one size, 8 to 64 lanes")?;
        if limits.max_compute_workgroup_storage_size < MEMORY {
            return Err(format!("{MEMORY} bytes of workgroup memory"));
        }
        use wgpu::CooperativeScalarType::{F16, F32};
        let usable = |side: u32| {
            let square = |p: &wgpu::CooperativeMatrixProperties| [p.m_size, p.n_size, p.k_size] == [side; 3];
            matrices.iter().any(|p| square(p) && (p.ab_type, p.cr_type) == (F16, F32))
        };
        let side = [16, 8].into_iter().find(|side| usable(*side));
        let side = side.ok_or("cooperative matrices of 16 x 16 or 8 x 8, f16 summed in f32")?;
        Ok(Coopmat { side, lanes })
    }

    /// Rows per invocation; it has four columns of each.
    pub fn v(self) -> u32 {
        256 / self.lanes
    }

    /// The defines of `shaders/gemm/coopmat.wgsl`, for a tile of 64 x 64.
    pub(crate) fn define(self, kernel: Kernel) -> Kernel {
        let Coopmat { side, lanes } = self;
        let kernel = kernel.define("V", self.v()).define("NC", 4).define("TILE_ROWS", 64).define("TILE_COLS", 64);
        let kernel = kernel.define("GROUP", 4 * lanes).define("SIDE", side).define("SUBGROUP", lanes);
        kernel
            .define("STAGE", lanes.max(2 * side))
            .define("ROW_LANES", (lanes / 16).max(1))
            .define("ROW_EACH", (16 / lanes).max(1))
    }

    /// A product of whole numbers that f16 holds, and whose sums f32 holds but f16 does not, must come out exact: drivers list
    /// matrices that they get wrong, and naga leaves out the operands by which one lane's writes become visible to
    /// another's matrix (gfx-rs/wgpu#8805).
    pub(super) fn check(self, gpu: &Gpu) -> Result<()> {
        let (m, k, n) = (193, 161, 135);
        let whole =
            |i: usize, j: usize, mul: usize, span: usize| ((i * mul + j * 29) % (2 * span + 1)) as f32 - span as f32;
        let a: Vec<f32> = (0..m * k).map(|at| whole(at / k, at % k, 37, 60)).collect();
        let b: Vec<f32> = (0..k * n).map(|at| whole(at / n, at % n, 23, 40)).collect();
        let y = Tensor::empty(gpu, &[m, n], DType::F32)?;
        let bindings = [&Tensor::from_slice(gpu, &[m, k], &a)?, &Tensor::from_slice(gpu, &[k, n], &b)?, &y];
        let (col_tiles, tiles) = (n.div_ceil(64), m.div_ceil(64) * n.div_ceil(64));
        // As in shaders/matmul.wgsl: the product of two matrices, element by element.
        let params = [m, n, k, col_tiles, tiles, m * k, k * n, 1, k].map(|v| v as u32);
        let kernel = self.define(Kernel::new(shader!("matmul")));
        gpu.dispatch("coopmat check", &kernel, &bindings, &params, [tiles as u32, 1, 1], Work::default())?;
        for (at, got) in y.read::<f32>()?.into_iter().enumerate() {
            let want: f32 = (0..k).map(|s| a[at / n * k + s] * b[s * n + at % n]).sum();
            if got != want {
                let what = format!("row {}, column {} of a product is {got}, not {want}", at / n, at % n);
                return Err(lacking(&gpu.inner.info, &format!("cooperative matrices that multiply right ({what})")));
            }
        }
        Ok(())
    }
}

/// The error for an adapter that cannot run the core.
pub(super) fn lacking(info: &wgpu::AdapterInfo, what: &str) -> Error {
    let feature = format!("{what}, which {} lacks; choose another core, or leave the choice to the engine", info.name);
    Error::Feature { op: "the coopmat core", feature }
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
        let limits = wgpu::Limits { max_compute_workgroup_storage_size: 32_768, ..Default::default() };
        let of = |features, lanes, matrices: &[_]| Coopmat::of(features, &limits, lanes, matrices);
        assert!(of(FEATURES - wgpu::Features::SHADER_F16, Some(32), &[]).unwrap_err().contains("SHADER_F16"));
        assert!(
            of(wgpu::Features::all() - wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, Some(32), &[])
                .unwrap_err()
                .contains("COOPERATIVE_MATRIX")
        );
        assert!(of(FEATURES, None, &[matrix(16, F16)]).unwrap_err().contains("one size"));
        assert!(of(FEATURES, Some(32), &[matrix(16, F32)]).unwrap_err().contains("f16"));
        assert!(Coopmat::of(FEATURES, &wgpu::Limits::default(), Some(32), &[matrix(16, F16)]).is_err());
        assert_eq!(of(FEATURES, Some(32), &[matrix(8, F16), matrix(16, F16)]), Ok(Coopmat { side: 16, lanes: 32 }));
        assert_eq!(of(FEATURES, Some(8), &[matrix(8, F16)]), Ok(Coopmat { side: 8, lanes: 8 }));
    }

    /// Every output of the tile belongs to one invocation: the layout that tile_row and tile_col spell in WGSL.
    #[test]
    fn invocations_share_the_tile_without_overlap() {
        for c in Coopmat::all() {
            let mut owners = vec![0; 64 * 64];
            for (lane, v, col) in
                (0..4 * c.lanes).flat_map(|l| (0..c.v()).flat_map(move |v| [0, 1, 2, 3].map(|q| (l, v, q))))
            {
                let row = v / 4 * c.lanes + lane / 16 * 4 + v % 4;
                owners[(row * 64 + lane % 16 * 4 + col) as usize] += 1;
            }
            assert!(owners.iter().all(|n| *n == 1), "{c:?}");
            // A stage is whole blocks of all four subgroups, whole rows of all invocations, and divides the tile.
            let stage = c.lanes.max(2 * c.side);
            assert!(stage % (2 * c.side) == 0 && stage % c.lanes == 0 && 64 % stage == 0, "{c:?}");
        }
    }
}
