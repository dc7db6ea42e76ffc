//! Gradients of several passes over parts of a batch, added up.

use super::{Adam, Handle};
use crate::Result;
use crate::autograd::accumulate::{accumulate, add_assign};
use crate::gpu::Tensor;
use std::collections::BTreeMap;

/// The sum of the gradients of several passes, by parameter. What the first pass wrote into the
/// optimiser's buffer ([`ForwardContext::with_gradients_of`](super::ForwardContext)) is added up
/// there, so that no more than one further pass's gradients take memory.
#[derive(Default)]
pub(crate) struct GradientSum {
    sums: BTreeMap<Handle, Tensor>,
}

impl GradientSum {
    /// Adds the gradients of a pass; `adam` is the optimiser that will take the sum.
    ///
    /// # Errors
    /// If a gradient has another shape than those before it, or the device fails.
    pub(crate) fn add(&mut self, adam: &Adam, gradients: Vec<(Handle, Tensor)>) -> Result<()> {
        for (handle, gradient) in gradients {
            let sum = match self.sums.remove(&handle) {
                Some(sum) if adam.holds(handle, &sum) => {
                    add_assign(&sum, &gradient)?;
                    sum
                }
                Some(sum) => accumulate(sum, gradient)?,
                None => gradient,
            };
            self.sums.insert(handle, sum);
        }
        Ok(())
    }

    /// Returns the sums, as [`Adam::step`] takes them.
    pub(crate) fn into_gradients(self) -> Vec<(Handle, Tensor)> {
        self.sums.into_iter().collect()
    }
}
