//! The test that a device has to pass before the `coopmat` core is used on it.

use super::device::coopmat::lacking;
use super::{Coopmat, DType, Gpu, Kernel, Tensor, Work};
use crate::{Result, shader};

impl Coopmat {
    /// A product of whole numbers that f16 holds, and whose sums f32 holds but f16 does not, must
    /// come out exact: drivers list matrices that they get wrong, and naga leaves out the operands
    /// by which one lane's writes become visible to another's matrix (gfx-rs/wgpu#8805).
    pub(in crate::gpu) fn check(self, gpu: &Gpu) -> Result<()> {
        let (m, k, n) = (193, 161, 135);
        let whole = |i: usize, j: usize, mul: usize, span: usize| {
            ((i * mul + j * 29) % (2 * span + 1)) as f32 - span as f32
        };
        let a: Vec<f32> = (0..m * k).map(|at| whole(at / k, at % k, 37, 60)).collect();
        let b: Vec<f32> = (0..k * n).map(|at| whole(at / n, at % n, 23, 40)).collect();
        let y = Tensor::empty(gpu, &[m, n], DType::F32)?;
        let bindings = [
            &Tensor::from_slice(gpu, &[m, k], &a)?,
            &Tensor::from_slice(gpu, &[k, n], &b)?,
            &y,
        ];
        let (col_tiles, tiles) = (n.div_ceil(64), m.div_ceil(64) * n.div_ceil(64));
        // As in shaders/linalg/matmul.wgsl: the product of two matrices, element by element.
        let params = [m, n, k, col_tiles, tiles, m * k, k * n, 1, k, k, 1, 1, n].map(|v| v as u32);
        let kernel = self.define(Kernel::new(shader!("linalg/matmul")));
        gpu.dispatch(
            "coopmat check",
            &kernel,
            &bindings,
            &params,
            [tiles as u32, 1, 1],
            Work::default(),
        )?;
        for (at, got) in y.read::<f32>()?.into_iter().enumerate() {
            let want: f32 = (0..k).map(|s| a[at / n * k + s] * b[s * n + at % n]).sum();
            if got != want {
                let what = format!(
                    "row {}, column {} of a product is {got}, not {want}",
                    at / n,
                    at % n
                );
                return Err(lacking(
                    &gpu.inner.info,
                    &format!("cooperative matrices that multiply right ({what})"),
                ));
            }
        }
        Ok(())
    }
}
