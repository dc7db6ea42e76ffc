//! Group normalisation with an activation behind it, as one operation: nothing is stored between
//! the two, neither for the forward pass nor for the gradient, which computes it anew.

mod spec;

pub use spec::GroupNormActivation;

use super::group_norm::wide::{self, Stored};
use super::group_norm::{Layout, layout};
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Kernel, Tensor};
use crate::ops::elementwise::activation::Function;
use crate::ops::elementwise::cast::cast;
use crate::{Error, Result};

const OP: &str = "group_norm_activation";

/// The activations that there are kernels for.
const FUNCTIONS: [Function; 2] = [Function::Silu, Function::Leaky];

/// The options of [`group_norm_activation`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormActivation {
    /// Groups of channels; they divide the channels.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
    /// The activation: SiLU or leaky ReLU.
    pub function: Function,
    /// The type of the result, f32 or f16. The gradients are f32.
    pub dtype: DType,
}

impl NormActivation {
    fn check(&self) -> Result<()> {
        if !FUNCTIONS.contains(&self.function) {
            let what = format!(
                "{:?} behind a norm: it is SiLU or leaky ReLU; use `group_norm` and `activation`",
                self.function
            );
            return Err(Error::invalid(OP, what));
        }
        if !matches!(self.dtype, DType::F32 | DType::F16) {
            let got = self.dtype.name();
            return Err(Error::shape(OP, "a result in f32 or f16", got));
        }
        Ok(())
    }

    fn layout(&self, x: &Tensor) -> Result<Layout> {
        self.check()?;
        layout(OP, x, self.groups, self.eps)
    }

    /// How the kernel stores the result. It writes f16 four channels at a time.
    fn stored(&self, l: &Layout) -> Stored {
        Stored {
            activation: Some(self.function),
            half: self.dtype == DType::F16 && l.c.is_multiple_of(4),
        }
    }
}

fn kernels() -> Vec<Kernel> {
    wide::kernels(&FUNCTIONS.map(Some))
}

/// Computes `f(w (x - mean) / sqrt(var + eps) + b)`, mean and variance over each image's positions
/// and each group's channels: x f32 [N, H, W, C], weight and bias `[C]`.
///
/// # Errors
/// If the groups do not divide the channels, the shapes do not fit, or there is no such kernel.
pub fn group_norm_activation(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    options: NormActivation,
) -> Result<Tensor> {
    let l = options.layout(x)?;
    let (y, _) = l.forward_wide(OP, [x, weight, bias], options.stored(&l))?;
    cast(&y, options.dtype)
}

impl Tape {
    /// Group normalisation with an activation behind it, see [`group_norm_activation`].
    ///
    /// # Errors
    /// As there.
    pub fn group_norm_activation(
        &self,
        x: &Var,
        weight: &Var,
        bias: &Var,
        options: NormActivation,
    ) -> Result<Var> {
        let l = options.layout(x.tensor())?;
        let (inputs, stored) = ([x, weight, bias], options.stored(&l));
        let (y, _) = l.record_with_moments(OP, self, inputs, stored)?;
        self.cast(&y, options.dtype)
    }
}
