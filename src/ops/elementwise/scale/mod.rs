//! A tensor times a number, plus a number.

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::spec::{
    Case, ErrorInputs, Extremes, Gradient, HostTensor, Operation, Rng, Tolerance, case, refused,
};
use crate::{Error, Result, shader};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
    a: f32,
    b: f32,
}

fn kernel() -> Kernel {
    Kernel::new(shader!("elementwise/scale"))
}

/// Computes `a x + b`, elementwise, any shape.
///
/// # Errors
/// If x is not f32.
pub fn scale(x: &Tensor, a: f32, b: f32) -> Result<Tensor> {
    if x.dtype() != DType::F32 {
        return Err(Error::shape("scale", "a tensor of f32", format!("{x:?}")));
    }
    let y = Tensor::empty(x.gpu(), x.shape(), DType::F32)?;
    let params = Params {
        n: x.len() as u32,
        a,
        b,
    };
    x.gpu().dispatch(
        "scale",
        &kernel(),
        &[x, &y],
        &params,
        groups_for(x.len(), 256),
        work(x.len()),
    )?;
    x.gpu().note_call("scale", &y, [("n", x.len())]);
    Ok(y)
}

fn work(n: usize) -> Work {
    Work {
        flops: 2.0 * n as f64,
        bytes: 8.0 * n as f64,
    }
}

impl Tape {
    /// Computes `a x + b`, elementwise.
    pub fn scale(&self, x: &Var, a: f32, b: f32) -> Result<Var> {
        let y = scale(x.tensor(), a, b)?;
        Ok(self.record(y, &[x], move |g, _| Ok(vec![Some(scale(g, a, 0.0)?)])))
    }
}

/// The registry's row.
pub struct Scale;

impl Operation for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }
    fn cases(&self) -> Vec<Case> {
        [1, 61, 257, 10_007].map(|n| case(&[("n", n)])).to_vec()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 1 << 20)])]
    }
    fn extremes(&self) -> Extremes {
        Extremes::huge(&[0])
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        vec![rng.normals(&[case.get("n")])]
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![scale(&t[0], -1.5, 0.25)?])
    }
    fn reference(&self, _: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        vec![HostTensor::f64(
            &inputs[0].shape,
            inputs[0].as_f64().iter().map(|x| -1.5 * x + 0.25).collect(),
        )]
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
        let integers = Tensor::zeros(gpu, &[4], DType::U32)?;
        Ok(vec![refused("integers", scale(&integers, 1.0, 0.0))])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for Scale {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, _: &Case, v: &[Var]) -> Result<Var> {
        tape.scale(&v[0], -1.5, 0.25)
    }
    fn reference(&self, _: &Case, inputs: &[HostTensor], upstream: &HostTensor) -> Vec<HostTensor> {
        vec![HostTensor::f64(
            &inputs[0].shape,
            upstream.as_f64().iter().map(|g| -1.5 * g).collect(),
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
}
