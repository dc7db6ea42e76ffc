//! Gradients of several passes over parts of a batch, added up, and those of several ranks.

use super::pieces::Pieces;
use super::{Adam, ForwardContext, Handle};
use crate::Result;
use crate::autograd::Var;
use crate::autograd::accumulate::{accumulate, add_assign};
use crate::gpu::Tensor;
use crate::parallel::Ranks;
use std::collections::BTreeMap;

/// The sum of the gradients of several passes, by parameter. What the first pass wrote into the
/// optimiser's buffer ([`ForwardContext::with_gradients_of`]) is added up there, so that no more
/// than one further pass's gradients take memory.
#[derive(Default)]
pub(crate) struct GradientSum {
    sums: BTreeMap<Handle, Tensor>,
    /// Those that are on their way to other ranks already.
    pieces: Option<Pieces>,
}

impl GradientSum {
    /// Adds the gradients of a pass; `adam` is the optimiser that will take the sum.
    ///
    /// # Errors
    /// If a gradient has another shape than those before it, or the device fails.
    pub(crate) fn add(&mut self, adam: &Adam, gradients: Vec<(Handle, Tensor)>) -> Result<()> {
        let mut gradients = gradients.into_iter();
        gradients.try_for_each(|(handle, gradient)| self.add_one(adam, handle, gradient))
    }

    /// Walks back from the loss of the last pass and adds its gradients: the sums that are whole
    /// begin their way to the other ranks, while the device goes on.
    ///
    /// # Errors
    /// As [`GradientSum::add`].
    pub(crate) fn add_last(
        &mut self,
        adam: &Adam,
        pass: &ForwardContext,
        loss: &Var,
        ranks: &Ranks,
    ) -> Result<()> {
        let Some(mut pieces) = adam.pieces(ranks)? else {
            return self.add(adam, pass.backward(loss)?);
        };
        pass.walk_back(loss, |handle, gradient| {
            self.add_one(adam, handle, gradient)?;
            if let Some(sum) = self.sums.get_mut(&handle) {
                *sum = adam.place(handle, sum)?;
            }
            pieces.pass(handle, ranks)
        })?;
        self.pieces = Some(pieces);
        Ok(())
    }

    fn add_one(&mut self, adam: &Adam, handle: Handle, gradient: Tensor) -> Result<()> {
        let sum = match self.sums.remove(&handle) {
            Some(sum) if adam.holds(handle, &sum) => {
                add_assign(&sum, &gradient)?;
                sum
            }
            Some(sum) => accumulate(sum, gradient)?,
            None => gradient,
        };
        self.sums.insert(handle, sum);
        Ok(())
    }

    /// Returns how many pieces are on their way.
    #[cfg(test)]
    pub(super) fn begun(&self) -> usize {
        self.pieces.as_ref().map_or(0, Pieces::begun)
    }

    /// Returns the sums, as [`Adam::step`] takes them.
    pub(crate) fn into_gradients(self) -> Vec<(Handle, Tensor)> {
        self.into_parts().0
    }

    /// Returns the sums, as [`Adam::step`] takes them, and what of them is on its way.
    pub(super) fn into_parts(self) -> (Vec<(Handle, Tensor)>, Option<Pieces>) {
        (self.sums.into_iter().collect(), self.pieces)
    }
}
