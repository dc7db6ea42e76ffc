//! Halving by averages: each square of four pixels becomes one. The transpose of
//! [`super::upsample`], a quarter of it.

use super::upsample::{self, upsample, upsample_grad};
use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::ops::elementwise::scale::scale;
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Real, Rng, Tolerance, case, cases, refused,
};

/// f32 x [N, H, W, C] to the means of its squares of four [N, H / 2, W / 2, C].
///
/// # Errors
/// If x is no f32 [N, H, W, C] of even H and W.
pub fn downsample(x: &Tensor) -> Result<Tensor> {
    scale(&upsample_grad(x)?, 0.25, 0.0)
}

impl Tape {
    /// See [`downsample`].
    ///
    /// # Errors
    /// As [`downsample`].
    pub fn downsample(&self, x: &Var) -> Result<Var> {
        let y = downsample(x.tensor())?;
        Ok(self.record(y, &[x], |g, _| {
            Ok(vec![Some(upsample(&scale(g, 0.25, 0.0)?)?)])
        }))
    }
}

mod reference {
    use super::Real;
    pub fn downsample<T: Real>(x: &[T], [n, h, w, c]: [usize; 4]) -> Vec<T> {
        let mut y = vec![T::zero(); n * h / 2 * (w / 2) * c];
        for (i, v) in x.iter().enumerate() {
            let (channel, column, row) = (i % c, i / c % w, i / c / w);
            y[(row / 2 * (w / 2) + column / 2) * c + channel] += *v / T::of(4.0);
        }
        y
    }
    pub fn gradient<T: Real>(dy: &[T], [n, h, w, c]: [usize; 4]) -> Vec<T> {
        let at = |i: usize| {
            let (channel, column, row) = (i % c, i / c % w, i / c / w);
            (row / 2 * (w / 2) + column / 2) * c + channel
        };
        (0..n * h * w * c).map(|i| dy[at(i)] / T::of(4.0)).collect()
    }
}

/// The registry's row.
pub struct Downsample;

fn shape(case: &Case) -> [usize; 4] {
    ["n", "h", "w", "c"].map(|size| case.get(size))
}

impl Operation for Downsample {
    fn name(&self) -> &'static str {
        "downsample"
    }
    fn cases(&self) -> Vec<Case> {
        cases(
            ["n", "h", "w", "c"],
            &[[1, 2, 2, 1], [2, 6, 10, 4], [3, 14, 2, 3], [1, 18, 26, 5]],
        )
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 16), ("h", 64), ("w", 64), ("c", 3)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        vec![rng.normals(&shape(case))]
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![downsample(&t[0])?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let [n, h, w, c] = shape(case);
        vec![HostTensor::f64(
            &[n, h / 2, w / 2, c],
            reference::downsample(inputs[0].as_f64(), [n, h, w, c]),
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::sum(4)
    }
    fn work(&self, case: &Case) -> Work {
        let n: usize = shape(case).iter().product();
        Work {
            flops: n as f64,
            bytes: 7.0 * n as f64,
        }
    }
    fn kernels(&self) -> Vec<Kernel> {
        let mut all = Operation::kernels(&upsample::Upsample);
        all.extend(Operation::kernels(&crate::ops::elementwise::scale::Scale));
        all
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let zeros = |shape: &[usize]| Tensor::zeros(gpu, shape, DType::F32);
        Ok(vec![
            refused("an odd height", downsample(&zeros(&[1, 3, 4, 2])?)),
            refused("an odd width", downsample(&zeros(&[1, 4, 3, 2])?)),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for Downsample {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, _: &Case, v: &[Var]) -> Result<Var> {
        tape.downsample(&v[0])
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        vec![HostTensor::f64(
            &inputs[0].shape,
            reference::gradient(upstream.as_f64(), shape(case)),
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
}
