//! Operations that are fused into a convolution's loads and stores, and the defines that they
//! become.

use crate::gpu::{DType, Kernel, Tensor};

/// Operations that are fused into a convolution's loads and stores.
#[derive(Clone, Copy, Default)]
pub(crate) struct Fused<'a> {
    /// Rectify the operand that the rows load.
    pub relu: bool,
    /// Add a value per column.
    pub bias: Option<&'a Tensor>,
    /// Add a tensor of the output's shape (forward only).
    pub residual: Option<&'a Tensor>,
    /// Zero the output where this tensor, of the output's shape, is not above 0.
    pub mask: Option<&'a Tensor>,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Flags {
    pub relu: bool,
    pub bias: bool,
    pub residual: bool,
    pub mask: bool,
    /// Whether tensors are f16: those that the rows load; the output and with it the residual; the
    /// mask.
    pub lhs_half: bool,
    pub out_half: bool,
    pub mask_half: bool,
    /// Whether the weight is f16.
    pub weight_half: bool,
}

impl Flags {
    pub(super) fn define(self, kernel: Kernel) -> Kernel {
        let kernel = kernel
            .flag("BIAS", self.bias)
            .flag("RESIDUAL", self.residual)
            .flag("RELU_MASK", self.mask);
        let kernel = kernel
            .flag("LHS_RELU", self.relu)
            .flag("LHS_HALF", self.lhs_half)
            .flag("RHS_HALF", self.weight_half);
        kernel
            .flag("OUT_HALF", self.out_half)
            .flag("MASK_HALF", self.mask_half)
    }

    /// Whether the output is the sum alone, as f32.
    pub(super) fn adds_nothing(self) -> bool {
        !(self.bias || self.residual || self.mask || self.out_half)
    }

    /// Returns the variants over f16 of one without: activations in or out, or a mask on a
    /// gradient.
    pub(super) fn halves(self) -> Vec<Flags> {
        if self.mask {
            return vec![Flags {
                mask_half: true,
                ..self
            }];
        }
        [(true, true), (true, false), (false, true)]
            .map(|(lhs_half, out_half)| Flags {
                lhs_half,
                out_half,
                ..self
            })
            .to_vec()
    }
}

impl Fused<'_> {
    pub(super) fn flags(&self, lhs: &Tensor, weight: &Tensor, out: DType) -> Flags {
        Flags {
            relu: self.relu,
            bias: self.bias.is_some(),
            residual: self.residual.is_some(),
            mask: self.mask.is_some(),
            lhs_half: lhs.dtype().is_half(),
            out_half: out.is_half(),
            mask_half: self.mask.is_some_and(|m| m.dtype().is_half()),
            weight_half: weight.dtype().is_half(),
        }
    }

    pub(super) fn any_half(&self) -> bool {
        [self.residual, self.mask]
            .into_iter()
            .flatten()
            .any(|t| t.dtype().is_half())
    }
}
