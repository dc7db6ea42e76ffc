//! Activation functions: ReLU, SiLU, GELU, leaky ReLU, softplus and tanh.

pub(crate) mod reference;

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::spec::{
    Case, ErrorInputs, Extremes, Gradient, HostTensor, Operation, Rng, Tolerance, case, refused,
};
use crate::{Error, Result, shader};

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `max(x, 0)`.
    Relu,
    /// `x / (1 + exp(-x))`, also called swish.
    Silu,
    /// `x/2 (1 + erf(x / sqrt 2))`, the exact form (Hendrycks and Gimpel 2016).
    Gelu,
    /// `x`, below 0 `x / 5`: the discriminators' (Radford et al. 2015).
    Leaky,
    /// `ln(1 + exp(x))`: minus the logarithm of the logistic function of `-x`.
    Softplus,
    /// The hyperbolic tangent.
    Tanh,
}

impl Function {
    const ALL: [Function; 6] = [
        Function::Relu,
        Function::Silu,
        Function::Gelu,
        Function::Leaky,
        Function::Softplus,
        Function::Tanh,
    ];
    pub(crate) fn define(self) -> &'static str {
        match self {
            Function::Relu => "RELU",
            Function::Silu => "SILU",
            Function::Gelu => "GELU",
            Function::Leaky => "LEAKY",
            Function::Softplus => "SOFTPLUS",
            Function::Tanh => "TANH",
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
}

fn forward(f: Function) -> Kernel {
    Kernel::new(shader!("elementwise/activation")).define(f.define(), 1)
}
fn backward(f: Function) -> Kernel {
    Kernel::new(shader!("elementwise/activation_grad")).define(f.define(), 1)
}

fn work(n: usize, tensors: usize) -> Work {
    Work {
        flops: 8.0 * n as f64,
        bytes: 4.0 * (n * tensors) as f64,
    }
}

/// Computes `f(x)`, elementwise, any shape.
pub fn activation(f: Function, x: &Tensor) -> Result<Tensor> {
    if x.dtype() != DType::F32 {
        return Err(Error::shape(
            "activation",
            "a tensor of f32",
            format!("{x:?}"),
        ));
    }
    let y = Tensor::empty(x.gpu(), x.shape(), DType::F32)?;
    let params = Params { n: x.len() as u32 };
    x.gpu().dispatch(
        "activation",
        &forward(f),
        &[x, &y],
        &params,
        groups_for(x.len(), 256),
        work(x.len(), 2),
    )?;
    let number = Function::ALL.iter().position(|one| *one == f);
    let sizes = [("f", number.unwrap_or(0)), ("n", x.len())];
    x.gpu().note_call("activation", &y, sizes);
    Ok(y)
}

/// Computes `dy f'(x)`, elementwise, shapes equal.
pub fn activation_grad(f: Function, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    if x.shape() != dy.shape() {
        return Err(Error::shape(
            "activation gradient",
            format!("{:?}", x.shape()),
            format!("{:?}", dy.shape()),
        ));
    }
    let dx = Tensor::empty(x.gpu(), x.shape(), DType::F32)?;
    let params = Params { n: x.len() as u32 };
    x.gpu().dispatch(
        "activation",
        &backward(f),
        &[x, dy, &dx],
        &params,
        groups_for(x.len(), 256),
        work(x.len(), 3),
    )?;
    Ok(dx)
}

impl Tape {
    /// Computes `f(x)`, elementwise.
    pub fn activation(&self, f: Function, x: &Var) -> Result<Var> {
        let y = activation(f, x.tensor())?;
        let saved = x.tensor().clone();
        Ok(self.record(y, &[x], move |g, _| {
            Ok(vec![Some(activation_grad(f, &saved, g)?)])
        }))
    }
}

/// The registry's row.
pub struct Activation;

fn function(case: &Case) -> Function {
    Function::ALL[case.get("f").min(5)]
}

impl Operation for Activation {
    fn name(&self) -> &'static str {
        "activation"
    }
    fn cases(&self) -> Vec<Case> {
        (0..6)
            .flat_map(|f| [1, 61, 257, 4_099].map(|n| case(&[("f", f), ("n", n)])))
            .collect()
    }
    fn bench(&self) -> Vec<Case> {
        (0..6).map(|f| case(&[("f", f), ("n", 1 << 20)])).collect()
    }
    fn extremes(&self) -> Extremes {
        Extremes::huge(&[0])
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        // Four deviations wide, so that the flat tails are met too.
        let n = case.get("n");
        vec![HostTensor::f32(
            &[n],
            (0..n).map(|_| 3.0 * rng.normal() as f32).collect(),
        )]
    }
    fn run(&self, _: &Gpu, case: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![activation(function(case), &inputs[0])?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let y = inputs[0]
            .as_f64()
            .iter()
            .map(|x| reference::activate(function(case), *x))
            .collect();
        vec![HostTensor::f64(&inputs[0].shape, y)]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"), 2)
    }
    fn kernels(&self) -> Vec<Kernel> {
        Function::ALL
            .into_iter()
            .flat_map(|f| [forward(f), backward(f)])
            .collect()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let indices = Tensor::zeros(gpu, &[4], DType::U32)?;
        Ok(vec![refused(
            "integers",
            activation(Function::Relu, &indices),
        )])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for Activation {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, case: &Case, inputs: &[Var]) -> Result<Var> {
        tape.activation(function(case), &inputs[0])
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let pairs = inputs[0].as_f64().iter().zip(upstream.as_f64());
        vec![HostTensor::f64(
            &inputs[0].shape,
            pairs
                .map(|(x, g)| g * reference::slope(function(case), *x))
                .collect(),
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
}
