//! The entropy of a distribution, in nats: what keeps codes in use when it is raised.

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Real, Rng, Tolerance, case, refused,
};
use crate::{Error, Result, shader};

/// Probabilities below count as this in the logarithm, as in vector-quantize-pytorch.
const EPS: f32 = 1e-5;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    k: u32,
    eps: f32,
}

fn kernel(grad: bool) -> Kernel {
    Kernel::new(shader!("quantize/entropy")).flag("GRAD", grad)
}

fn work(k: usize) -> Work {
    Work {
        flops: 3.0 * k as f64,
        bytes: 4.0 * k as f64,
    }
}

/// Computes `- sum of p ln max(p, 1e-5)` of a distribution of any shape: `[1]`.
///
/// # Errors
/// If p is empty or not f32.
pub fn entropy(p: &Tensor) -> Result<Tensor> {
    if p.dtype() != DType::F32 || p.is_empty() {
        return Err(Error::shape(
            "entropy",
            "probabilities of f32",
            format!("{p:?}"),
        ));
    }
    let y = Tensor::empty(p.gpu(), &[1], DType::F32)?;
    let params = Params {
        k: p.len() as u32,
        eps: EPS,
    };
    p.gpu().dispatch(
        "entropy",
        &kernel(false),
        &[p, &y],
        &params,
        [1, 1, 1],
        work(p.len()),
    )?;
    Ok(y)
}

impl Tape {
    /// Computes the entropy of a distribution of any shape, see [`entropy`].
    ///
    /// # Errors
    /// As [`entropy`].
    pub fn entropy(&self, p: &Var) -> Result<Var> {
        let y = entropy(p.tensor())?;
        let saved = p.tensor().clone();
        Ok(self.record(y, &[p], move |g, _| {
            let dp = Tensor::empty(g.gpu(), saved.shape(), DType::F32)?;
            let params = Params {
                k: saved.len() as u32,
                eps: EPS,
            };
            let (groups, work) = (groups_for(saved.len(), 64), work(saved.len()));
            g.gpu().dispatch(
                "entropy",
                &kernel(true),
                &[&saved, g, &dp],
                &params,
                groups,
                work,
            )?;
            Ok(vec![Some(dp)])
        }))
    }
}

mod reference {
    use super::Real;
    pub fn entropy<T: Real>(p: &[T], eps: T) -> T {
        p.iter().map(|p| -*p * p.max(eps).ln()).sum()
    }
    pub fn entropy_grad<T: Real>(p: &[T], eps: T, g: T) -> Vec<T> {
        let slope = |p: &T| p.max(eps).ln() + if *p > eps { T::one() } else { T::zero() };
        p.iter().map(|p| -g * slope(p)).collect()
    }
}

/// The registry's row.
pub struct Entropy;

impl Operation for Entropy {
    fn name(&self) -> &'static str {
        "entropy"
    }
    fn cases(&self) -> Vec<Case> {
        [1, 3, 64, 65, 512, 8_191]
            .map(|k| case(&[("k", k)]))
            .to_vec()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("k", 8_192)])]
    }
    /// A distribution in which some have no share at all.
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let k = case.get("k");
        let mut p: Vec<f32> = (0..k)
            .map(|i| {
                if i % 5 == 3 {
                    0.0
                } else {
                    0.1 + rng.uniform() as f32
                }
            })
            .collect();
        let total: f32 = p.iter().sum();
        p.iter_mut().for_each(|v| *v /= total);
        vec![HostTensor::f32(&[k], p)]
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![entropy(&t[0])?])
    }
    fn reference(&self, _: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        vec![HostTensor::f64(
            &[1],
            vec![reference::entropy(inputs[0].as_f64(), EPS as f64)],
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance {
            abs: 2e-6,
            rel: 1e-5,
        }
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("k"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![kernel(false), kernel(true)]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let empty = Tensor::zeros(gpu, &[0], DType::F32)?;
        Ok(vec![refused("no probability", entropy(&empty))])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for Entropy {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, _: &Case, v: &[Var]) -> Result<Var> {
        tape.entropy(&v[0])
    }
    fn reference(&self, _: &Case, inputs: &[HostTensor], upstream: &HostTensor) -> Vec<HostTensor> {
        let dp = reference::entropy_grad(inputs[0].as_f64(), EPS as f64, upstream.as_f64()[0]);
        vec![HostTensor::f64(&inputs[0].shape, dp)]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance {
            abs: 2e-6,
            rel: 1e-5,
        }
    }
}
