//! The gated unit SwiGLU (Shazeer 2020, "GLU variants improve transformer").

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Real, Rng, Tolerance, case, cases, refused,
};
use crate::{Error, Result, shader};

fn forward(vec: bool) -> Kernel {
    Kernel::new(shader!("elementwise/swiglu")).flag("VEC", vec)
}
fn backward(vec: bool) -> Kernel {
    Kernel::new(shader!("elementwise/swiglu_grad")).flag("VEC", vec)
}

fn work(n: usize, f: usize, tensors: usize) -> Work {
    Work {
        flops: 8.0 * (n * f) as f64,
        bytes: 4.0 * (tensors * n * f) as f64,
    }
}

/// x [.., 2 F] as (rows, F).
fn halves(x: &Tensor) -> Result<[usize; 2]> {
    match x.shape().split_last() {
        Some((c, rest)) if c.is_multiple_of(2) && *c > 0 && x.dtype() == DType::F32 => {
            Ok([rest.iter().product(), c / 2])
        }
        _ => Err(Error::shape("swiglu", "f32 [.., 2 F]", format!("{x:?}"))),
    }
}

fn params([n, f]: [usize; 2]) -> (bool, [u32; 2], usize) {
    let vec = f.is_multiple_of(4);
    let units = if vec { f / 4 } else { f };
    (vec, [n as u32, units as u32], n * units)
}

/// Computes `silu(a) b`, where a is the first and b the second half of each row: x [.., 2 F] to
/// [.., F].
///
/// # Errors
/// If the last dimension is odd or 0, or x is not f32.
pub fn swiglu(x: &Tensor) -> Result<Tensor> {
    let [n, f] = halves(x)?;
    let mut shape = x.shape().to_vec();
    shape.pop();
    shape.push(f);
    let y = Tensor::empty(x.gpu(), &shape, DType::F32)?;
    let (vec, params, units) = params([n, f]);
    x.gpu().dispatch(
        "swiglu",
        &forward(vec),
        &[x, &y],
        &params,
        groups_for(units, 64),
        work(n, f, 3),
    )?;
    Ok(y)
}

fn swiglu_grad(x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let [n, f] = halves(x)?;
    let dx = Tensor::empty(x.gpu(), x.shape(), DType::F32)?;
    let (vec, params, units) = params([n, f]);
    x.gpu().dispatch(
        "swiglu",
        &backward(vec),
        &[x, dy, &dx],
        &params,
        groups_for(units, 64),
        work(n, f, 5),
    )?;
    Ok(dx)
}

impl Tape {
    /// See [`swiglu`].
    ///
    /// # Errors
    /// As [`swiglu`].
    pub fn swiglu(&self, x: &Var) -> Result<Var> {
        let y = swiglu(x.tensor())?;
        let saved = x.tensor().clone();
        Ok(self.record(y, &[x], move |g, _| Ok(vec![Some(swiglu_grad(&saved, g)?)])))
    }
}

mod reference {
    use super::Real;

    fn sigmoid<T: Real>(x: T) -> T {
        T::one() / (T::one() + (-x).exp())
    }
    pub fn forward<T: Real>(x: &[T], f: usize) -> Vec<T> {
        x.chunks(2 * f)
            .flat_map(|row| {
                (0..f)
                    .map(|i| row[i] * sigmoid(row[i]) * row[f + i])
                    .collect::<Vec<T>>()
            })
            .collect()
    }
    pub fn backward<T: Real>(x: &[T], dy: &[T], f: usize) -> Vec<T> {
        let row = |(x, dy): (&[T], &[T])| -> Vec<T> {
            let slope = |a: T| sigmoid(a) * (T::one() + a * (T::one() - sigmoid(a)));
            let da = (0..f).map(|i| dy[i] * x[f + i] * slope(x[i]));
            da.chain((0..f).map(|i| dy[i] * x[i] * sigmoid(x[i])))
                .collect()
        };
        x.chunks(2 * f).zip(dy.chunks(f)).flat_map(row).collect()
    }
}

/// The registry's row.
pub struct Swiglu;

impl Operation for Swiglu {
    fn name(&self) -> &'static str {
        "swiglu"
    }
    fn cases(&self) -> Vec<Case> {
        cases(["n", "f"], &[[1, 1], [7, 3], [65, 4], [131, 33], [67, 172]])
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 4_096), ("f", 688)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        // Wide, so that the gates' flat tails are met too.
        let (n, f) = (case.get("n"), case.get("f"));
        vec![HostTensor::f32(
            &[n, 2 * f],
            (0..2 * n * f).map(|_| 3.0 * rng.normal() as f32).collect(),
        )]
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![swiglu(&t[0])?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let (n, f) = (case.get("n"), case.get("f"));
        vec![HostTensor::f64(
            &[n, f],
            reference::forward(inputs[0].as_f64(), f),
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        // Products of numbers around 10.
        Tolerance {
            abs: 4e-6,
            rel: 4e-6,
        }
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"), case.get("f"), 3)
    }
    fn kernels(&self) -> Vec<Kernel> {
        [false, true]
            .into_iter()
            .flat_map(|vec| [forward(vec), backward(vec)])
            .collect()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let zeros = |shape: &[usize], dtype| Tensor::zeros(gpu, shape, dtype);
        Ok(vec![
            refused(
                "an odd number of columns",
                swiglu(&zeros(&[3, 5], DType::F32)?),
            ),
            refused("no column", swiglu(&zeros(&[3, 0], DType::F32)?)),
            refused(
                "a tensor without dimensions",
                swiglu(&zeros(&[], DType::F32)?),
            ),
            refused("integers", swiglu(&zeros(&[3, 4], DType::U32)?)),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for Swiglu {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, _: &Case, v: &[Var]) -> Result<Var> {
        tape.swiglu(&v[0])
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let dx = reference::backward(inputs[0].as_f64(), upstream.as_f64(), case.get("f"));
        vec![HostTensor::f64(&inputs[0].shape, dx)]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance {
            abs: 1e-5,
            rel: 4e-6,
        }
    }
}
