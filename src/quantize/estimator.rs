//! Gradient estimators of a choice that has no gradient of its own.

use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Tensor};
use crate::ops::sampling::random::{self, Key};

/// The stream of random directions.
const DIRECTIONS: u32 = 0x4449_5651;

impl Tape {
    /// Computes the straight-through estimator (Bengio et al. 2013): the value of `z_q`, and for
    /// `z_e` the gradient that arrives, as if quantizing were the identity.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn straight_through(&self, z_e: &Var, z_q: &Tensor) -> Result<Var> {
        if z_e.shape() != z_q.shape() {
            let (expected, got) = (format!("{:?}", z_e.shape()), format!("{:?}", z_q.shape()));
            return Err(crate::Error::shape("straight_through", expected, got));
        }
        Ok(self.record(z_q.clone(), &[z_e], |g, _| Ok(vec![Some(g.clone())])))
    }

    /// Computes what [`Tape::diveq`] makes of latents `z_e` and their codes `z_q`, with noise of
    /// this variance: close to `z_q`, and with a gradient for both.
    ///
    /// # Errors
    /// If the shapes differ, or the variance is below 0.
    pub fn directional(
        &self,
        z_e: &Var,
        z_q: &Var,
        variance: f32,
        [seed, step]: [u64; 2],
    ) -> Result<Var> {
        let noise = Tensor::empty(self.gpu(), z_e.shape(), DType::F32)?;
        let stream = DIRECTIONS;
        random::normal(&noise, Key { seed, step, stream })?;
        self.diveq(z_e, z_q, &noise, variance.sqrt())
    }

    /// Computes the value of `z_q` with the gradient of [`Tape::rotate`] or
    /// [`Tape::straight_through`].
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn estimate(&self, z_e: &Var, z_q: &Tensor, rotation_trick: bool) -> Result<Var> {
        if rotation_trick {
            self.rotate(z_e, z_q)
        } else {
            self.straight_through(z_e, z_q)
        }
    }
}
