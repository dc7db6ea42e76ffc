//! One forward pass: a tape, the parameters, and the leaves that the parameters are on it.

use super::{Handle, Parameters};
use crate::Result;
use crate::autograd::{Gradients, Tape, Var};
use crate::gpu::{DType, Tensor};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// What layers compute with. A parameter becomes a leaf of the tape at its first use.
pub struct Pass<'a> {
    /// The tape.
    pub tape: &'a Tape,
    params: &'a Parameters,
    activations: DType,
    leaves: RefCell<BTreeMap<Handle, Var>>,
}

impl<'a> Pass<'a> {
    /// A pass of `params` over `tape`.
    pub fn new(tape: &'a Tape, params: &'a Parameters) -> Self {
        Pass { tape, params, activations: DType::F32, leaves: RefCell::default() }
    }

    /// The same with activations between layers stored as `dtype`, f32 or f16. Parameters, sums and gradients stay f32.
    pub fn storing(self, dtype: DType) -> Self {
        Pass { activations: dtype, ..self }
    }

    /// What layers store their activations as.
    pub fn activations(&self) -> DType {
        self.activations
    }

    /// The leaf of a parameter.
    pub fn param(&self, handle: Handle) -> Result<Var> {
        if let Some(var) = self.leaves.borrow().get(&handle) {
            return Ok(var.clone());
        }
        let var = self.tape.leaf(self.params.get(handle)?);
        self.leaves.borrow_mut().insert(handle, var.clone());
        Ok(var)
    }

    /// The gradients of the parameters that this pass used, as [`super::Adam::step`] takes them.
    pub fn gradients(&self, mut gradients: Gradients) -> Vec<(Handle, Tensor)> {
        let leaves = self.leaves.borrow();
        leaves.iter().filter_map(|(handle, var)| Some((*handle, gradients.take(var)?))).collect()
    }
}
