//! Elementwise product of two tensors of equal shape: scales that differ from place to place.

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Rng, Tolerance, case, refused,
};
use crate::{Error, Result, shader};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
}

fn kernel() -> Kernel {
    Kernel::new(shader!("elementwise/multiply"))
}

fn work(n: usize) -> Work {
    Work {
        flops: n as f64,
        bytes: 12.0 * n as f64,
    }
}

/// Computes `a b`, elementwise, f32 of equal shape.
///
/// # Errors
/// If the shapes differ, or one is not f32.
pub fn multiply(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.shape() != b.shape() || [a, b].iter().any(|t| t.dtype() != DType::F32) {
        return Err(Error::shape(
            "multiply",
            "two f32 tensors of equal shape",
            format!("{a:?} and {b:?}"),
        ));
    }
    let y = Tensor::empty(a.gpu(), a.shape(), DType::F32)?;
    let params = Params { n: a.len() as u32 };
    a.gpu().dispatch(
        "multiply",
        &kernel(),
        &[a, b, &y],
        &params,
        groups_for(a.len(), 256),
        work(a.len()),
    )?;
    a.gpu().note_call("multiply", &y, [("n", a.len())]);
    Ok(y)
}

impl Tape {
    /// Computes `a b`, elementwise, shapes equal.
    ///
    /// # Errors
    /// As [`multiply`].
    pub fn multiply(&self, a: &Var, b: &Var) -> Result<Var> {
        let y = multiply(a.tensor(), b.tensor())?;
        let [of_a, of_b] = [a, b].map(|v| v.tensor().clone());
        Ok(self.record(y, &[a, b], move |g, needs| {
            let part = |needed: bool, other: &Tensor| -> Result<Option<Tensor>> {
                needed.then(|| multiply(g, other)).transpose()
            };
            Ok(vec![part(needs[0], &of_b)?, part(needs[1], &of_a)?])
        }))
    }
}

fn products(a: &HostTensor, b: &HostTensor) -> HostTensor {
    let (x, y) = (a.as_f64(), b.as_f64());
    HostTensor::f64(&a.shape, x.iter().zip(y).map(|(x, y)| x * y).collect())
}

/// The registry's row.
pub struct Multiply;

impl Operation for Multiply {
    fn name(&self) -> &'static str {
        "multiply"
    }
    fn cases(&self) -> Vec<Case> {
        [1, 61, 257, 10_007].map(|n| case(&[("n", n)])).to_vec()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 1 << 20)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let n = case.get("n");
        vec![rng.normals(&[n]), rng.normals(&[n])]
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![multiply(&t[0], &t[1])?])
    }
    fn reference(&self, _: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        vec![products(&inputs[0], &inputs[1])]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![kernel()]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let zeros = |n: usize, dtype| Tensor::zeros(gpu, &[n], dtype);
        let (a, b) = (zeros(3, DType::F32)?, zeros(4, DType::F32)?);
        let integers = zeros(3, DType::U32)?;
        Ok(vec![
            refused("shapes differ", multiply(&a, &b)),
            refused("integers", multiply(&a, &integers)),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for Multiply {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0, 1]
    }
    fn record(&self, tape: &Tape, _: &Case, v: &[Var]) -> Result<Var> {
        tape.multiply(&v[0], &v[1])
    }
    fn reference(&self, _: &Case, inputs: &[HostTensor], upstream: &HostTensor) -> Vec<HostTensor> {
        vec![
            products(upstream, &inputs[1]),
            products(upstream, &inputs[0]),
        ]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
}
