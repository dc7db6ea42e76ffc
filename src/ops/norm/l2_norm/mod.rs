//! Rows brought to length 1: codes and latents on the sphere (Yu et al. 2021, "Vector-quantized
//! image modeling with improved VQGAN", section 3.2).

mod reference;

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Rng, Tolerance, case, cases, refused,
};
use crate::{Error, Result, shader};

/// Rows shorter than this are divided by it.
const EPS: f32 = 1e-6;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
    units: u32,
    eps: f32,
}

fn forward(vec: bool) -> Kernel {
    Kernel::new(shader!("norm/l2_norm")).flag("VEC", vec)
}
fn backward(vec: bool) -> Kernel {
    Kernel::new(shader!("norm/l2_norm_grad")).flag("VEC", vec)
}

fn params(n: usize, d: usize) -> (bool, Params) {
    let vec = d.is_multiple_of(4);
    (
        vec,
        Params {
            n: n as u32,
            units: if vec { d / 4 } else { d } as u32,
            eps: EPS,
        },
    )
}

fn work(n: usize, d: usize, tensors: usize) -> Work {
    Work {
        flops: 3.0 * (n * d) as f64,
        bytes: 4.0 * (tensors * n * d) as f64,
    }
}

/// Computes `y[n, :] = x[n, :] / max(|x[n, :]|, 1e-6)`: x, y [N, D].
///
/// # Errors
/// If x is no matrix of f32.
pub fn l2_norm(x: &Tensor) -> Result<Tensor> {
    let [n, d] = x.dims("l2_norm")?;
    if x.dtype() != DType::F32 {
        return Err(Error::shape("l2_norm", "a matrix of f32", format!("{x:?}")));
    }
    let y = Tensor::empty(x.gpu(), x.shape(), DType::F32)?;
    let (vec, params) = params(n, d);
    x.gpu().dispatch(
        "l2_norm",
        &forward(vec),
        &[x, &y],
        &params,
        groups_for(n, 64),
        work(n, d, 3),
    )?;
    Ok(y)
}

fn l2_norm_grad(x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let [n, d] = x.dims("l2_norm")?;
    let dx = Tensor::empty(x.gpu(), x.shape(), DType::F32)?;
    let (vec, params) = params(n, d);
    x.gpu().dispatch(
        "l2_norm",
        &backward(vec),
        &[x, dy, &dx],
        &params,
        groups_for(n, 64),
        work(n, d, 5),
    )?;
    Ok(dx)
}

impl Tape {
    /// Rows of x [N, D] at length 1, see [`l2_norm`].
    ///
    /// # Errors
    /// As [`l2_norm`].
    pub fn l2_norm(&self, x: &Var) -> Result<Var> {
        let y = l2_norm(x.tensor())?;
        let saved = x.tensor().clone();
        Ok(self.record(y, &[x], move |g, _| {
            Ok(vec![Some(l2_norm_grad(&saved, g)?)])
        }))
    }
}

/// The registry's row.
pub struct L2Norm;

impl Operation for L2Norm {
    fn name(&self) -> &'static str {
        "l2_norm"
    }
    fn cases(&self) -> Vec<Case> {
        cases(
            ["n", "d"],
            &[[1, 1], [7, 3], [65, 4], [1_031, 17], [130, 64]],
        )
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 16_384), ("d", 64)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        vec![rng.normals(&[case.get("n"), case.get("d")])]
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![l2_norm(&t[0])?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        vec![HostTensor::f64(
            &inputs[0].shape,
            reference::l2_norm(inputs[0].as_f64(), case.get("d")),
        )]
    }
    fn tolerance(&self, case: &Case, _: usize) -> Tolerance {
        Tolerance {
            abs: 1e-6,
            rel: 2e-7 * case.get("d") as f64 + 4e-6,
        }
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"), case.get("d"), 3)
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![
            forward(false),
            forward(true),
            backward(false),
            backward(true),
        ]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let vector = Tensor::zeros(gpu, &[4], DType::F32)?;
        let words = Tensor::zeros(gpu, &[4, 2], DType::U32)?;
        Ok(vec![
            refused("a vector", l2_norm(&vector)),
            refused("integers", l2_norm(&words)),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for L2Norm {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, _: &Case, v: &[Var]) -> Result<Var> {
        tape.l2_norm(&v[0])
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let dx = reference::l2_norm_grad(inputs[0].as_f64(), upstream.as_f64(), case.get("d"));
        vec![HostTensor::f64(&inputs[0].shape, dx)]
    }
    /// A short row's gradient is as large as its inverse: of a million normals one lies at 1e-6.
    fn tolerance(&self, case: &Case, _: usize) -> Tolerance {
        let abs = if case.get("d") == 1 { 1e-3 } else { 2e-5 };
        Tolerance {
            abs,
            rel: 2e-7 * case.get("d") as f64 + 2e-5,
        }
    }
}
