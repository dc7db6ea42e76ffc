//! The part of a checkpoint that an [`Adam`] keeps there.

use super::{Adam, AdamState, Moments};
use crate::Result;
use crate::nn::arena::{self, SavedTensor, TensorSource, on_the_host};
use crate::ops::optim::adam_bf16::{first_moment, join, second_moment};

/// Names of the moments in errors.
const M: &str = "the optimiser's first moments";
const V: &str = "the optimiser's second moments";

impl Adam {
    /// All that goes on from here needs, beside the weights. Waits for the device.
    pub fn save(&self) -> Result<AdamState> {
        let [m, v] = self.saved()?.map(on_the_host);
        Ok(AdamState {
            step: self.step,
            m: m?,
            v: v?,
        })
    }

    /// Returns the first and the second moments, each to be read when it is saved; from all ranks,
    /// where they share them ([`Adam::read_by`]).
    ///
    /// # Errors
    /// If the device cannot hold the moments.
    pub(crate) fn saved(&self) -> Result<[Vec<SavedTensor>; 2]> {
        Ok(match (&self.shard, self.moments()?) {
            (None, Moments::F32 { m, v }) => [m, v].map(|arena| arena.saved(false, f32::from_bits)),
            (None, Moments::Bf16 { words, .. }) => {
                [first_moment, second_moment].map(|moment| words.saved(true, moment))
            }
            (Some(shard), Moments::F32 { m, v }) => {
                [(0, m), (1, v)].map(|(i, a)| shard.saved(i, a.parts(), false, f32::from_bits))
            }
            (Some(shard), Moments::Bf16 { words, .. }) => {
                let own = words.parts();
                [first_moment, second_moment].map(|moment| shard.saved(0, own, true, moment))
            }
        })
    }

    /// Goes on from a saved state: with equal weights and gradients, to the bit as if it had never
    /// stopped. Moments of the other type are rounded to the nearest.
    ///
    /// # Errors
    /// If a tensor is missing, unexpected or of another shape; nothing is changed then.
    pub fn load(&mut self, state: &AdamState) -> Result<()> {
        self.load_moments(state.step, &state.m, &state.v)
    }

    /// Checks that [`Adam::load_moments`] takes these tensors, and that there is room for them.
    ///
    /// # Errors
    /// If a tensor is missing, unexpected or of another shape, or the device cannot hold the
    /// moments.
    pub(crate) fn check_moments(&self, m: &dyn TensorSource, v: &dyn TensorSource) -> Result<()> {
        arena::check(&self.layout, M, m)?;
        arena::check(&self.layout, V, v)?;
        self.moments().map(drop)
    }

    /// [`Adam::load`] of moments that are read one at a time.
    ///
    /// # Errors
    /// As [`Adam::load`], and if one cannot be read.
    pub(crate) fn load_moments(
        &mut self,
        step: u64,
        m: &dyn TensorSource,
        v: &dyn TensorSource,
    ) -> Result<()> {
        self.check_moments(m, v)?;
        match (&self.shard, self.moments()?) {
            (None, Moments::F32 { m: own, v: squares }) => {
                own.load(M, m)?;
                squares.load(V, v)?;
            }
            (None, Moments::Bf16 { words, .. }) => {
                words.load_joined([(M, m), (V, v)], join)?;
            }
            (Some(shard), Moments::F32 { m: own, v: squares }) => {
                shard.load(own.parts(), &[m], |values| values[0].to_bits())?;
                shard.load(squares.parts(), &[v], |values| values[0].to_bits())?;
            }
            (Some(shard), Moments::Bf16 { words, .. }) => {
                shard.load(words.parts(), &[m, v], |values| join(values[0], values[1]))?;
            }
        }
        self.step = step;
        Ok(())
    }
}
