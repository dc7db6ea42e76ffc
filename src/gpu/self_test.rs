//! The test that a device has to pass before kernels that rest on its subgroups are used on it: the
//! `coopmat` core always, and the `subgroup` core where there are several sizes of subgroups.

use super::device::adapter::lanes_to_try;
use super::device::coopmat::lacking;
use super::kernel::coopmat::TILE_K;
use super::kernel::gemm::OperandLayout;
use super::{Coopmat, Core, DType, Gpu, Kernel, Tensor, Tile, Work};
use crate::{Result, shader};

/// A product: its rows, columns and steps, how its operands are read, and so whether its tiles are
/// whole and leave matrices for memory at once.
struct Product {
    m: usize,
    n: usize,
    k: usize,
    layout: OperandLayout,
}

/// Ragged for every tile, and read element by element.
const RAGGED: Product = Product {
    m: 193,
    n: 135,
    k: 161,
    layout: OperandLayout::Scalar,
};

/// Tiles that lie inside beside some that do not, over several steps along k.
const WHOLE: Product = Product {
    m: 131,
    n: 260,
    k: 3 * TILE_K,
    layout: OperandLayout::K,
};

impl Gpu {
    /// Returns the first variant of the `coopmat` core whose every tile multiplies right: drivers
    /// list matrices that they get wrong, and naga leaves out the operands by which one lane's
    /// writes become visible to another's matrix (gfx-rs/wgpu#8805). Where a device has several
    /// sizes of subgroups, it also says which the driver compiles a kernel for.
    ///
    /// # Errors
    /// Says what went wrong in the last one, if none does.
    pub(in crate::gpu) fn passing(&self, variants: &[Coopmat]) -> Result<Coopmat> {
        let lacks = |what: &str| {
            let what = format!("cooperative matrices that multiply right ({what})");
            lacking(&self.inner.info, &what)
        };
        let mut failed = lacks("none was tried");
        for variant in variants {
            match self.tiles_multiply_wrong(*variant) {
                Ok(None) => return Ok(*variant),
                Ok(Some(what)) => failed = lacks(&what),
                // One that the driver refuses has not passed either.
                Err(error) => failed = error,
            }
            let _ = self.check();
        }
        Err(failed)
    }

    fn tiles_multiply_wrong(&self, variant: Coopmat) -> Result<Option<String>> {
        for tile in variant.tiles() {
            for product in [RAGGED, WHOLE] {
                if let Some(what) = self.multiplies_wrong(tile, &product)? {
                    return Ok(Some(format!("{tile}: {what}")));
                }
            }
        }
        self.sums_come_back_wrong(variant)
    }

    /// Adds products of whole numbers, one by each subgroup of a workgroup, to sums that come from
    /// workgroup memory, and returns what is wrong, if they are not exact.
    fn sums_come_back_wrong(&self, variant: Coopmat) -> Result<Option<String>> {
        let Some(kernel) = variant.product_sum_kernel() else {
            return Ok(None);
        };
        let side = variant.side as usize;
        let rows = (variant.group() / variant.lanes) as usize * side;
        let of = |mul: usize| -> Vec<f32> {
            let one = |at: usize| (at * mul % 61) as f32 - 30.0;
            (0..rows * side).map(one).collect()
        };
        let (a, b, c) = (of(37), of(23), of(53));
        let upload = |x: &[f32]| Tensor::from_slice(self, &[rows, side], x);
        let y = Tensor::empty(self, &[rows, side], DType::F32)?;
        let bindings = [&upload(&a)?, &upload(&b)?, &upload(&c)?, &y];
        let work = Work::default();
        self.dispatch("self-test", &kernel, &bindings, &(), [1, 1, 1], work)?;
        let wrong = y
            .read::<f32>()?
            .into_iter()
            .enumerate()
            .find_map(|(at, got)| {
                let (row, col) = (at / side, at % side);
                let own = row / side * side;
                let product: f32 = (0..side)
                    .map(|s| a[row * side + s] * b[(own + s) * side + col])
                    .sum();
                let want = product + c[at];
                (got != want).then(|| {
                    format!("row {row}, column {col} of a product and a sum is {got}, not {want}")
                })
            });
        Ok(wrong)
    }

    /// Finds the lanes of the `subgroup` core where the device has several sizes of subgroups, if
    /// that core may be used. None may pass: then the others do the same work.
    pub(in crate::gpu) fn find_lanes(&self) {
        // Nothing may wait for the device in a browser.
        let used = !matches!(self.inner.options.core, Some(Core::Tiled | Core::Coopmat));
        if self.subgroup_size().is_some() || !used || cfg!(target_arch = "wasm32") {
            return;
        }
        let planted = self.inner.options.subgroup_sizes;
        for lanes in lanes_to_try(self.inner.device.features(), &self.inner.info, planted) {
            let tile = Tile::candidates(Core::Subgroup, Some(lanes))[0];
            // A kernel that the driver refuses has not passed either.
            if let Ok(None) = self.multiplies_wrong(tile, &RAGGED) {
                let _ = self.inner.lanes.set(lanes);
                break;
            }
            let _ = self.check();
        }
    }

    /// Multiplies matrices of whole numbers that f16 holds, and whose sums f32 holds but f16 does
    /// not, and returns what is wrong in the product, if it is not exact.
    fn multiplies_wrong(&self, tile: Tile, product: &Product) -> Result<Option<String>> {
        let Product { m, n, k, layout } = *product;
        let vec = layout == OperandLayout::K;
        let whole = |i: usize, j: usize, mul: usize, span: usize| {
            ((i * mul + j * 29) % (2 * span + 1)) as f32 - span as f32
        };
        let a: Vec<f32> = (0..m * k).map(|at| whole(at / k, at % k, 37, 60)).collect();
        // Columns of the second operand lie side by side along k.
        let b: Vec<f32> = (0..n * k).map(|at| whole(at / k, at % k, 23, 40)).collect();
        let y = Tensor::empty(self, &[m, n], DType::F32)?;
        let bindings = [
            &Tensor::from_slice(self, &[m, k], &a)?,
            &Tensor::from_slice(self, &[n, k], &b)?,
            &y,
        ];
        let (groups, tiles, col_tiles) = tile.grid(m, n, 1);
        let [m32, n32, k32] = [m, n, k].map(|size| size as u32);
        // As in shaders/linalg/matmul.wgsl: the product of two matrices, the second transposed.
        let (of_a, of_b) = (m32 * k32, k32 * n32);
        let params = [
            m32, n32, k32, col_tiles, tiles, of_a, of_b, 1, k32, k32, 1, k32, 1,
        ];
        let kernel = Kernel::new(shader!("linalg/matmul"))
            .flag("OUT_VEC", vec)
            .flag("WHOLE", tile.whole(layout, layout, k))
            .flag("DIRECT", tile.direct(vec));
        let kernel = tile.define(kernel, layout, layout);
        let work = Work::default();
        self.dispatch("self-test", &kernel, &bindings, &params, groups, work)?;
        let wrong = y
            .read::<f32>()?
            .into_iter()
            .enumerate()
            .find_map(|(at, got)| {
                let (row, col) = (at / n, at % n);
                let want: f32 = (0..k).map(|s| a[row * k + s] * b[col * k + s]).sum();
                // NaN is as wrong as any other.
                (got != want)
                    .then(|| format!("row {row}, column {col} of a product is {got}, not {want}"))
            });
        Ok(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Options;
    use crate::gpu::device::adapter::LANES;
    use crate::ops::conv::Conv;
    use crate::ops::conv::conv2d::conv2d;
    use crate::ops::linalg::matmul::{Transpose, matmul};
    use crate::ops::quantize::vq_search::nearest;
    use crate::registry::find;
    use crate::spec::Rng;
    use crate::verify::upload;

    fn planted(sizes: [u32; 2]) -> Gpu {
        Gpu::new(Options {
            core: Some(Core::Subgroup),
            subgroup_sizes: Some(sizes),
            ..Default::default()
        })
        .unwrap()
    }

    /// The lanes of this device's subgroups, and the next size that it has not.
    fn sizes() -> Option<[u32; 2]> {
        let lanes = Gpu::new(Options::default()).unwrap().subgroup_size()?;
        let wrong = LANES.into_iter().find(|size| *size > lanes)?;
        Some([wrong, lanes])
    }

    fn product(gpu: &Gpu) -> Vec<f32> {
        let x: Vec<f32> = (0..40 * 24).map(|i| (i % 13) as f32).collect();
        let x = Tensor::from_slice(gpu, &[40, 24], &x).unwrap();
        let y = matmul(&x, &x, Transpose::B, None).unwrap();
        y.read::<f32>().unwrap()
    }

    #[test]
    fn a_planted_wrong_size_is_found_out() {
        let Some([wrong, right]) = sizes() else {
            return;
        };
        let tiled = Gpu::new(Options {
            core: Some(Core::Tiled),
            ..Default::default()
        });
        let expected = product(&tiled.unwrap());
        // The largest first, and the smallest where that is wrong.
        let gpu = planted([wrong, right]);
        assert_eq!(
            (gpu.subgroup_size(), gpu.core()),
            (Some(right), Core::Subgroup)
        );
        assert_eq!(product(&gpu), expected);
        // Where none is right, another core does the work.
        let gpu = planted([wrong, wrong]);
        assert_eq!((gpu.subgroup_size(), gpu.core()), (None, Core::Tiled));
        assert_eq!(product(&gpu), expected);
        let missing = gpu.missing_features();
        assert!(
            missing
                .iter()
                .any(|m| m.to_string().contains("a product was right")),
            "{missing:?}"
        );
    }

    #[test]
    fn every_tile_for_another_size_writes_nan() {
        let Some([wrong, _]) = sizes() else { return };
        let gpu = planted([wrong, wrong]);
        for tile in Tile::candidates(Core::Subgroup, Some(wrong)) {
            let what = gpu
                .multiplies_wrong(tile, &RAGGED)
                .unwrap()
                .expect("it is wrong");
            assert!(
                what.contains("row 0, column 0 of a product is NaN"),
                "{tile}: {what}"
            );
        }
    }

    /// As if the test had been passed by mistake: nothing that rests on subgroups gives a number
    /// that could be taken for a result.
    #[test]
    fn every_kernel_for_another_size_writes_nan() {
        let Some([wrong, _]) = sizes() else { return };
        let gpu = planted([wrong, wrong]);
        gpu.inner.lanes.set(wrong).unwrap();
        let of = |shape: &[usize]| {
            let values: Vec<f32> = (0..shape.iter().product())
                .map(|i| (i % 7) as f32)
                .collect();
            Tensor::from_slice(&gpu, shape, &values).unwrap()
        };
        let nan = |what: &str, y: &Tensor| {
            let y = y.read::<f32>().unwrap();
            assert!(y.iter().all(|v| v.is_nan()), "{what}: {y:?}");
        };
        assert!(product(&gpu).iter().all(|v| v.is_nan()));
        let index = nearest(&of(&[70, 16]), &of(&[33, 16])).unwrap();
        assert!(index.read::<u32>().unwrap().iter().all(|i| *i == u32::MAX));
        // Large enough for the kernel that goes along rows.
        let (x, w) = (of(&[8, 32, 32, 32]), of(&[32, 3, 3, 32]));
        let conv = Conv {
            stride: 1,
            pad: 1,
            after: 0,
            relu: false,
        };
        nan("conv2d", &conv2d(&x, &w, None, None, conv).unwrap());
        for name in ["attention", "attention_decode"] {
            let op = find(name).unwrap();
            // The kernels of subgroups take whole vec4.
            let cases = op.cases();
            let small = cases
                .iter()
                .filter(|case| case.get("d").is_multiple_of(4))
                .min_by(|a, b| op.work(a).flops.total_cmp(&op.work(b).flops));
            let case = small.unwrap();
            let inputs = op.inputs(case, &mut Rng::new(3));
            let inputs = upload(&gpu, op, case, &inputs).unwrap();
            nan(name, &op.run(&gpu, case, &inputs).unwrap()[0]);
        }
        let used = gpu.kernels_in_use();
        let own = used.iter().filter(|label| label.contains("LANES=")).count();
        assert!(own >= 4, "{used:?}");
    }
}
