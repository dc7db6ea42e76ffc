//! Elementwise sum of two tensors of equal shape: residual connections, and gradients that meet.

use super::{Case, ErrorInputs, Gradient, Host, Operation, Rng, Tolerance, case, groups_for};
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::{Error, Result, shader};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
}

fn kernel(in_place: bool) -> Kernel {
    Kernel::new(shader!("add")).flag("IN_PLACE", in_place)
}

fn check(a: &Tensor, b: &Tensor) -> Result<()> {
    if a.shape() != b.shape() || a.dtype() != DType::F32 || b.dtype() != DType::F32 {
        return Err(Error::shape("add", "two f32 tensors of equal shape", format!("{a:?} and {b:?}")));
    }
    Ok(())
}

fn work(n: usize) -> Work {
    Work { flops: n as f64, bytes: 12.0 * n as f64 }
}

/// `a + b`, shapes equal.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    check(a, b)?;
    let y = Tensor::empty(a.gpu(), a.shape(), DType::F32)?;
    let params = Params { n: a.len() as u32 };
    a.gpu().dispatch("add", &kernel(false), &[a, b, &y], &params, groups_for(a.len(), 256), work(a.len()))?;
    Ok(y)
}

/// `a += b`, shapes equal, over different buffers.
pub fn add_assign(a: &Tensor, b: &Tensor) -> Result<()> {
    check(a, b)?;
    let params = Params { n: a.len() as u32 };
    a.gpu().dispatch("add", &kernel(true), &[a, b], &params, groups_for(a.len(), 256), work(a.len()))
}

/// `a + b`, in one of the two buffers where nobody else holds it.
pub fn accumulate(a: Tensor, b: Tensor) -> Result<Tensor> {
    if a.is_sole() {
        add_assign(&a, &b)?;
        Ok(a)
    } else if b.is_sole() {
        add_assign(&b, &a)?;
        Ok(b)
    } else {
        add(&a, &b)
    }
}

impl Tape {
    /// `a + b`, shapes equal.
    pub fn add(&self, a: &Var, b: &Var) -> Result<Var> {
        let y = add(a.tensor(), b.tensor())?;
        Ok(self.record(y, &[a, b], |g, _| Ok(vec![Some(g.clone()), Some(g.clone())])))
    }
}

/// The registry's row.
pub struct Add;

impl Operation for Add {
    fn name(&self) -> &'static str {
        "add"
    }
    fn cases(&self) -> Vec<Case> {
        [1, 13, 255, 257, 10_007].into_iter().map(|n| case(&[("n", n)])).collect()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 1 << 20)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<Host> {
        let n = case.get("n");
        vec![rng.normals(&[n]), rng.normals(&[n])]
    }
    fn run(&self, _: &Gpu, _: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let sum = inputs[0].duplicate()?;
        add_assign(&sum, &inputs[1])?;
        Ok(vec![add(&inputs[0], &inputs[1])?, sum])
    }
    fn time(&self, _: &Gpu, _: &Case, inputs: &[Tensor]) -> Result<()> {
        add(&inputs[0], &inputs[1]).map(drop)
    }
    fn twin(&self, case: &Case, inputs: &[Host]) -> Vec<Host> {
        let y: Vec<f64> = inputs[0].as_f64().iter().zip(inputs[1].as_f64()).map(|(a, b)| a + b).collect();
        vec![Host::f64(&[case.get("n")], y.clone()), Host::f64(&[case.get("n")], y)]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![kernel(false), kernel(true)]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let (a, b) = (Tensor::zeros(gpu, &[3], DType::F32)?, Tensor::zeros(gpu, &[4], DType::F32)?);
        Ok(vec![("shapes differ", add(&a, &b).map(drop)), ("one buffer twice", add_assign(&a, &a))])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for Add {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0, 1]
    }
    fn record(&self, tape: &Tape, _: &Case, inputs: &[Var]) -> Result<Var> {
        tape.add(&inputs[0], &inputs[1])
    }
    fn twin(&self, _: &Case, _: &[Host], upstream: &Host) -> Vec<Host> {
        vec![upstream.clone(), upstream.clone()]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
}
