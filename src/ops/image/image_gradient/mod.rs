//! ImageGradient of neighbouring pixels: edges, as a loss compares them (Mathieu et al. 2015, "Deep
//! multi-scale video prediction beyond mean square error", section 3.3).

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Real, Rng, Tolerance, case, cases, refused,
};
use crate::{Error, Result, shader};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
    h: u32,
    w: u32,
    c: u32,
}

fn kernel(grad: bool) -> Kernel {
    Kernel::new(shader!("image/image_gradient")).flag("GRAD", grad)
}

fn work(n: usize) -> Work {
    Work {
        flops: 4.0 * n as f64,
        bytes: 20.0 * n as f64,
    }
}

fn dispatch(from: &Tensor, to: &Tensor, [n, h, w, c]: [usize; 4], grad: bool) -> Result<()> {
    let all = n * h * w * c;
    let params = Params {
        n: all as u32,
        h: h as u32,
        w: w as u32,
        c: c as u32,
    };
    from.gpu().dispatch(
        "image_gradient",
        &kernel(grad),
        &[from, to],
        &params,
        groups_for(all, 64),
        work(all),
    )
}

/// Computes forward differences along both axes, the pixel to the right and the pixel below less
/// the pixel itself: f32 x [N, H, W, C] to [N, H, W, 2 C], those to the right first, 0 where there
/// is no such pixel.
///
/// # Errors
/// If x is no f32 [N, H, W, C].
pub fn image_gradient(x: &Tensor) -> Result<Tensor> {
    let [n, h, w, c] = x.dims("image_gradient")?;
    if x.dtype() != DType::F32 {
        return Err(Error::shape(
            "image_gradient",
            "f32 [N, H, W, C]",
            format!("{x:?}"),
        ));
    }
    let y = Tensor::empty(x.gpu(), &[n, h, w, 2 * c], DType::F32)?;
    dispatch(x, &y, [n, h, w, c], false)?;
    Ok(y)
}

fn image_gradient_grad(dy: &Tensor) -> Result<Tensor> {
    let [n, h, w, c] = dy.dims("image_gradient gradient")?;
    let dx = Tensor::empty(dy.gpu(), &[n, h, w, c / 2], DType::F32)?;
    dispatch(dy, &dx, [n, h, w, c / 2], true)?;
    Ok(dx)
}

impl Tape {
    /// See [`image_gradient`].
    ///
    /// # Errors
    /// As [`image_gradient`].
    pub fn image_gradient(&self, x: &Var) -> Result<Var> {
        let y = image_gradient(x.tensor())?;
        Ok(self.record(y, &[x], |g, _| Ok(vec![Some(image_gradient_grad(g)?)])))
    }
}

mod reference {
    use super::Real;
    /// Returns the two differences of each element, as (place in y, place of the larger, place of
    /// the smaller).
    fn pairs([n, h, w, c]: [usize; 4]) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..n * h * w * c).flat_map(move |i| {
            let (channel, pixel) = (i % c, i / c);
            let (column, row) = (pixel % w, pixel / w % h);
            let at = 2 * c * pixel + channel;
            let right = (column + 1 < w).then_some((at, i + c, i));
            let below = (row + 1 < h).then_some((at + c, i + c * w, i));
            right.into_iter().chain(below)
        })
    }
    pub fn image_gradient<T: Real>(x: &[T], shape: [usize; 4]) -> Vec<T> {
        let mut y = vec![T::zero(); 2 * x.len()];
        pairs(shape).for_each(|(at, a, b)| y[at] = x[a] - x[b]);
        y
    }
    pub fn gradient<T: Real>(dy: &[T], shape: [usize; 4]) -> Vec<T> {
        let mut dx = vec![T::zero(); dy.len() / 2];
        pairs(shape).for_each(|(at, a, b)| {
            dx[a] += dy[at];
            dx[b] += -dy[at];
        });
        dx
    }
}

/// The registry's row.
pub struct ImageGradient;

fn shape(case: &Case) -> [usize; 4] {
    ["n", "h", "w", "c"].map(|size| case.get(size))
}

impl Operation for ImageGradient {
    fn name(&self) -> &'static str {
        "image_gradient"
    }
    fn cases(&self) -> Vec<Case> {
        cases(
            ["n", "h", "w", "c"],
            &[
                [1, 1, 1, 1],
                [1, 1, 7, 2],
                [2, 5, 1, 3],
                [3, 13, 17, 3],
                [1, 9, 31, 4],
            ],
        )
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 16), ("h", 64), ("w", 64), ("c", 3)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        vec![rng.normals(&shape(case))]
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![image_gradient(&t[0])?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let [n, h, w, c] = shape(case);
        vec![HostTensor::f64(
            &[n, h, w, 2 * c],
            reference::image_gradient(inputs[0].as_f64(), [n, h, w, c]),
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
    fn work(&self, case: &Case) -> Work {
        work(shape(case).iter().product())
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![kernel(false), kernel(true)]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let zeros = |shape: &[usize], dtype| Tensor::zeros(gpu, shape, dtype);
        Ok(vec![
            refused("a matrix", image_gradient(&zeros(&[4, 4], DType::F32)?)),
            refused(
                "integers",
                image_gradient(&zeros(&[1, 2, 2, 4], DType::U32)?),
            ),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for ImageGradient {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, _: &Case, v: &[Var]) -> Result<Var> {
        tape.image_gradient(&v[0])
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
        Tolerance::sum(4)
    }
}
