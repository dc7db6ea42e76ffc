//! Activation functions: ReLU, SiLU, GELU, leaky ReLU, softplus and tanh.

pub(crate) mod reference;

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::ops::elementwise::cast::cast;
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

/// The function whose kernels read f16 themselves: that of discriminators, whose activations are
/// stored so in mixed precision. Others are widened before and narrowed after.
const OF_HALVES: Function = Function::Leaky;

fn forward(f: Function, half: bool) -> Kernel {
    let kernel = Kernel::new(shader!("elementwise/activation")).define(f.define(), 1);
    kernel.flag("X_HALF", half)
}
fn backward(f: Function, half: bool) -> Kernel {
    let kernel = Kernel::new(shader!("elementwise/activation_grad")).define(f.define(), 1);
    kernel.flag("X_HALF", half)
}

/// `halves` of the tensors are f16.
fn work(n: usize, tensors: usize, halves: usize) -> Work {
    Work {
        flops: 8.0 * n as f64,
        bytes: (n * (4 * tensors - 2 * halves)) as f64,
    }
}

/// Returns whether kernels read and write `x`, which is f16, as it is. They do so four elements at
/// a time.
fn reads_halves(f: Function, x: &Tensor) -> bool {
    f == OF_HALVES && x.gpu().shader_f16() && x.len().is_multiple_of(4)
}

/// Computes `f(x)`, elementwise, any shape, f32 or f16; the result is stored as x is.
///
/// # Errors
/// If x is neither.
pub fn activation(f: Function, x: &Tensor) -> Result<Tensor> {
    if !matches!(x.dtype(), DType::F32 | DType::F16) {
        return Err(Error::shape(
            "activation",
            "a tensor of f32 or f16",
            format!("{x:?}"),
        ));
    }
    let half = x.dtype() == DType::F16;
    if half && !reads_halves(f, x) {
        return cast(&activation(f, &cast(x, DType::F32)?)?, DType::F16);
    }
    let y = Tensor::empty(x.gpu(), x.shape(), x.dtype())?;
    let params = Params { n: x.len() as u32 };
    x.gpu().dispatch(
        "activation",
        &forward(f, half),
        &[x, &y],
        &params,
        groups_for(x.len(), 256),
        work(x.len(), 2, 2 * usize::from(half)),
    )?;
    // Others are no cases of the registry.
    if !half {
        let number = Function::ALL.iter().position(|one| *one == f);
        let sizes = [("f", number.unwrap_or(0)), ("n", x.len())];
        x.gpu().note_call("activation", &y, sizes);
    }
    Ok(y)
}

/// Computes `dy f'(x)`, elementwise, shapes equal: x f32 or f16, dy and the result f32.
///
/// # Errors
/// If the shapes differ.
pub fn activation_grad(f: Function, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    if x.shape() != dy.shape() {
        return Err(Error::shape(
            "activation gradient",
            format!("{:?}", x.shape()),
            format!("{:?}", dy.shape()),
        ));
    }
    let half = x.dtype() == DType::F16;
    if half && !reads_halves(f, x) {
        return activation_grad(f, &cast(x, DType::F32)?, dy);
    }
    let dx = Tensor::empty(x.gpu(), x.shape(), DType::F32)?;
    let params = Params { n: x.len() as u32 };
    x.gpu().dispatch(
        "activation",
        &backward(f, half),
        &[x, dy, &dx],
        &params,
        groups_for(x.len(), 256),
        work(x.len(), 3, usize::from(half)),
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
        let of = |f, n| case(&[("f", f), ("n", n)]);
        let cases = (0..6).flat_map(|f| [1, 61, 257, 4_099].map(|n| of(f, n)));
        // Of f16 four at a time, in several workgroups, and what does not come in fours.
        let halves = [of(3, 4), of(3, 61), of(3, 1_028), of(1, 260)];
        let halves = halves.iter().filter_map(|c| self.in_f16(c));
        cases.chain(halves.collect::<Vec<_>>()).collect()
    }
    fn halves(&self) -> &'static [usize] {
        &[0]
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
        work(case.get("n"), 2, 2 * case.get("half"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        let both = |(f, half)| [forward(f, half), backward(f, half)];
        let of_f32 = Function::ALL.into_iter().map(|f| (f, false));
        of_f32.chain([(OF_HALVES, true)]).flat_map(both).collect()
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
