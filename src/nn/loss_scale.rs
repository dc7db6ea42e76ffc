//! The scale of a loss in mixed precision (Micikevicius et al. 2018, section 3.2): gradients are
//! multiplied by it, so that they do not vanish where they are rounded to f16, and it is taken off
//! them before they move anything. It stays on the device.

use crate::gpu::{Gpu, Tensor};
use crate::ops::optim::clip::Scaled;
use crate::{Error, Result};

/// Steps with finite gradients after which the scale doubles.
const GROWTH: u32 = 2000;
/// The scale up to which it doubles.
const MOST: f32 = (1u32 << 24) as f32;
/// The largest scale that it may begin with.
pub(crate) const MOST_AT_FIRST: f32 = (1u128 << 100) as f32;

/// A loss scale that follows what it leads to: it halves after a step whose gradients were not
/// finite, which is passed over, and doubles after 2,000 in a row that were, up to 2^24.
#[derive(Debug)]
pub(crate) struct LossScale {
    state: Tensor,
    growth: u32,
}

impl LossScale {
    /// Creates a scale that begins at `first`.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn new(gpu: &Gpu, first: f32) -> Result<LossScale> {
        Ok(LossScale {
            state: Tensor::from_slice(gpu, &[2], &[first, 0.0])?,
            growth: GROWTH,
        })
    }

    /// Returns the scale [1], as it is on the device when what is recorded comes to it.
    ///
    /// # Errors
    /// None today; a view may fail.
    pub(crate) fn now(&self) -> Result<Tensor> {
        self.state.view(0, &[1])
    }

    /// Returns it as a step takes it.
    pub(super) fn scaled(&self) -> Scaled<'_> {
        Scaled {
            state: &self.state,
            growth: self.growth,
            most: MOST,
        }
    }

    /// Returns its state for a checkpoint, as whole numbers: the bits of the scale, and the steps
    /// in a row that were finite. Waits for the device.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn save(&self) -> Result<[u32; 2]> {
        match self.state.read::<f32>()?[..] {
            [scale, run] => Ok([scale.to_bits(), run as u32]),
            _ => Err(Error::invalid("loss scale", "its state has two numbers")),
        }
    }

    /// Checks that a state is one that [`LossScale::save`] gives.
    ///
    /// # Errors
    /// If it is none.
    pub(crate) fn check(&self, [bits, run]: [u32; 2]) -> Result<()> {
        let scale = f32::from_bits(bits);
        if !(1.0..=MOST_AT_FIRST).contains(&scale) || run > self.growth {
            return Err(Error::data(format!(
                "the checkpoint's loss scale of {scale} after {run} steps is none"
            )));
        }
        Ok(())
    }

    /// Goes on from a state that [`LossScale::save`] gave.
    ///
    /// # Errors
    /// If it is none.
    pub(crate) fn load(&self, state: [u32; 2]) -> Result<()> {
        self.check(state)?;
        let [bits, run] = state;
        self.state.write(&[f32::from_bits(bits), run as f32])
    }
}
