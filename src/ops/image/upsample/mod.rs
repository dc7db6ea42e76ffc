//! Nearest upsampling by two: each pixel becomes a square of four.

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::spec::{
    Case, ErrorInputs, Extremes, Gradient, HostTensor, Operation, Real, Rng, Tolerance, case,
    cases, refused,
};
use crate::{Error, Result, shader};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    units: u32,
    height: u32,
    width: u32,
    c: u32,
}

fn kernel(vec: bool, grad: bool) -> Kernel {
    let kernel = Kernel::new(shader!("image/upsample"));
    let kernel = if vec { kernel.define("VEC", 1) } else { kernel };
    if grad {
        kernel.define("GRAD", 1)
    } else {
        kernel
    }
}

/// Elements of the large tensor.
fn work(elements: usize) -> Work {
    Work {
        flops: 0.0,
        bytes: 5.0 * elements as f64,
    }
}

fn dispatch(
    op: &'static str,
    from: &Tensor,
    to: &Tensor,
    [height, width, c]: [usize; 3],
    grad: bool,
) -> Result<()> {
    let vec = c.is_multiple_of(4);
    let lanes = if vec { 4 } else { 1 };
    let units = to.len() / lanes;
    let params = Params {
        units: units as u32,
        height: height as u32,
        width: width as u32,
        c: (c / lanes) as u32,
    };
    let work = work(from.len().max(to.len()));
    from.gpu().dispatch(
        op,
        &kernel(vec, grad),
        &[from, to],
        &params,
        groups_for(units, 64),
        work,
    )
}

/// Computes `y[n, h, w, c] = x[n, h / 2, w / 2, c]`: f32 x [N, H, W, C] to y [N, 2 H, 2 W, C].
///
/// # Errors
/// If x is no f32 [N, H, W, C].
pub fn upsample(x: &Tensor) -> Result<Tensor> {
    let [n, h, w, c] = x.dims("upsample")?;
    if x.dtype() != DType::F32 {
        return Err(Error::shape(
            "upsample",
            "f32 [N, H, W, C]",
            format!("{x:?}"),
        ));
    }
    let y = Tensor::empty(x.gpu(), &[n, 2 * h, 2 * w, c], DType::F32)?;
    dispatch("upsample", x, &y, [h, w, c], false)?;
    Ok(y)
}

/// Computes the gradient of [`upsample`] with respect to x [N, H, W, C], of dy [N, 2 H, 2 W, C]:
/// sums over squares of four.
///
/// # Errors
/// If dy is no f32 [N, 2 H, 2 W, C].
pub fn upsample_grad(dy: &Tensor) -> Result<Tensor> {
    let [n, h, w, c] = dy.dims("upsample gradient")?;
    if dy.dtype() != DType::F32 || !h.is_multiple_of(2) || !w.is_multiple_of(2) {
        return Err(Error::shape(
            "upsample gradient",
            "f32 [N, 2 H, 2 W, C]",
            format!("{dy:?}"),
        ));
    }
    let dx = Tensor::empty(dy.gpu(), &[n, h / 2, w / 2, c], DType::F32)?;
    dispatch("upsample gradient", dy, &dx, [h / 2, w / 2, c], true)?;
    Ok(dx)
}

impl Tape {
    /// See [`upsample`].
    ///
    /// # Errors
    /// As [`upsample`].
    pub fn upsample(&self, x: &Var) -> Result<Var> {
        let y = upsample(x.tensor())?;
        Ok(self.record(y, &[x], move |g, _| Ok(vec![Some(upsample_grad(g)?)])))
    }
}

mod reference {
    use super::Real;
    /// x [N, H, W, C] row by row: `rows` of N H.
    pub fn upsample<T: Real>(x: &[T], rows: usize, [w, c]: [usize; 2]) -> Vec<T> {
        let at = |row: usize, column: usize| &x[(row / 2 * w + column / 2) * c..][..c];
        (0..2 * rows)
            .flat_map(|row| (0..2 * w).flat_map(move |column| at(row, column).iter().copied()))
            .collect()
    }
    pub fn gradient<T: Real>(dy: &[T], rows: usize, [w, c]: [usize; 2]) -> Vec<T> {
        let mut dx = vec![T::zero(); rows * w * c];
        for (i, g) in dy.iter().enumerate() {
            let (channel, column, row) = (i % c, i / c % (2 * w), i / c / (2 * w));
            let place = (row / 2 * w + column / 2) * c + channel;
            dx[place] += *g;
        }
        dx
    }
}

/// The registry's row.
pub struct Upsample;

fn sizes(case: &Case) -> [usize; 4] {
    ["n", "h", "w", "c"].map(|size| case.get(size))
}

impl Operation for Upsample {
    fn name(&self) -> &'static str {
        "upsample"
    }
    fn cases(&self) -> Vec<Case> {
        cases(
            ["n", "h", "w", "c"],
            &[
                [1, 1, 1, 1],
                [2, 3, 5, 4],
                [3, 7, 1, 3],
                [1, 9, 13, 20],
                [5, 4, 4, 61],
            ],
        )
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 8), ("h", 32), ("w", 32), ("c", 128)])]
    }
    fn extremes(&self) -> Extremes {
        Extremes::any(&[0])
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        vec![rng.normals(&sizes(case))]
    }
    fn run(&self, _: &Gpu, _: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![upsample(&inputs[0])?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let [n, h, w, c] = sizes(case);
        vec![HostTensor::f64(
            &[n, 2 * h, 2 * w, c],
            reference::upsample(inputs[0].as_f64(), n * h, [w, c]),
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::EXACT
    }
    fn work(&self, case: &Case) -> Work {
        work(4 * sizes(case).iter().product::<usize>())
    }
    fn kernels(&self) -> Vec<Kernel> {
        [false, true]
            .into_iter()
            .flat_map(|vec| [kernel(vec, false), kernel(vec, true)])
            .collect()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let zeros = |shape: &[usize], dtype| Tensor::zeros(gpu, shape, dtype);
        Ok(vec![
            refused("a matrix", upsample(&zeros(&[4, 4], DType::F32)?)),
            refused("integers", upsample(&zeros(&[1, 2, 2, 4], DType::U32)?)),
            refused(
                "a gradient of odd height",
                upsample_grad(&zeros(&[1, 3, 2, 4], DType::F32)?),
            ),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for Upsample {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, _: &Case, inputs: &[Var]) -> Result<Var> {
        tape.upsample(&inputs[0])
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let [n, h, w, c] = sizes(case);
        vec![HostTensor::f64(
            &inputs[0].shape,
            reference::gradient(upstream.as_f64(), n * h, [w, c]),
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::sum(4)
    }
}
