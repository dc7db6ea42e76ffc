//! Adam over a parameter store: gradients gathered in one buffer, their norm clipped, one dispatch
//! for the step.

use super::parameters::Layout;
use super::{HalfWeights, Handle, HostTensors, LossScale, Parameters};
use crate::autograd::Place;
use crate::gpu::{Tensor, fill};
use crate::ops::optim::adam::{Hyper, State, adam_with};
use crate::ops::optim::clip;
use crate::parallel::Ranks;
use crate::{Error, Result};
use std::sync::Arc;

/// Adam or AdamW, for one [`Parameters`].
#[derive(Debug)]
pub struct Adam {
    /// Rates and decays; may be changed between steps, as schedules do.
    pub hyper: Hyper,
    /// The norm to which the gradient of all parameters together is clipped. [`f32::INFINITY`]
    /// only measures; `None` does neither.
    pub max_norm: Option<f32>,
    layout: Arc<Layout>,
    m: Tensor,
    v: Tensor,
    gradients: Tensor,
    /// The gradient arena by parameter.
    places: Arc<[Place]>,
    step: u64,
}

/// The state of an [`Adam`] in a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamState {
    /// Steps done.
    pub step: u64,
    /// Running means of the gradients, by parameter.
    pub m: HostTensors,
    /// Running means of their squares.
    pub v: HostTensors,
}

impl Adam {
    /// An optimiser that has done no step yet.
    ///
    /// # Errors
    /// If a hyperparameter is out of range, or the device cannot hold three more copies of the
    /// parameters.
    pub fn new(params: &Parameters, hyper: Hyper) -> Result<Adam> {
        hyper.check()?;
        let gradients = params.zeros()?;
        let parts = params.layout().views(&gradients)?;
        let places = parts.into_iter().map(Place::new).collect();
        Ok(Adam {
            hyper,
            max_norm: None,
            layout: params.layout().clone(),
            m: params.zeros()?,
            v: params.zeros()?,
            gradients,
            places,
            step: 0,
        })
    }

    /// Returns where the gradient of each parameter should be written, see
    /// [`ForwardContext::with_gradients_of`](super::ForwardContext).
    pub(super) fn places(&self) -> &Arc<[Place]> {
        &self.places
    }

    /// Whether a gradient lies where that of this parameter should be written.
    pub(super) fn holds(&self, handle: Handle, gradient: &Tensor) -> bool {
        let place = self.places.get(handle.index());
        place.is_some_and(|place| place.holds(gradient))
    }

    /// Adds up the gradients of all ranks, and with them `others`, in one message; returns the
    /// sums, as [`Adam::step`] takes them.
    ///
    /// # Errors
    /// If a gradient has another shape than its parameter, a rank is gone, or the device fails.
    pub(crate) fn sum_over(
        &self,
        ranks: &Ranks,
        gradients: Vec<(Handle, Tensor)>,
        others: &[&Tensor],
    ) -> Result<Vec<(Handle, Tensor)>> {
        if ranks.is_alone() {
            return Ok(gradients);
        }
        let gather = |(handle, gradient): (Handle, Tensor)| {
            let place = &self.places[handle.index()];
            if !place.holds(&gradient) {
                place.offer().copy_from(&gradient)?;
            }
            Ok((handle, place.tensor().clone()))
        };
        let gathered = gradients.into_iter().map(gather).collect::<Result<_>>()?;
        // Parameters without a gradient are among them; their sums are not used.
        ranks.sum_tensors(&[&[&self.gradients], others].concat())?;
        Ok(gathered)
    }

    /// One step. A parameter that `gradients` does not name has a gradient of 0: its moments fade,
    /// and it moves by what is left of them.
    ///
    /// With [`Adam::max_norm`] the result is the report `[norm, factor, finite]`, f32 `[3]`, on the
    /// device. Where it says that the gradient was not finite, weights and moments stay as they
    /// are; the step counts all the same, since nobody waits for the result.
    ///
    /// # Errors
    /// If `params` are another model's, a gradient has another shape than its parameter or is named
    /// twice. The optimiser can go on after any of these.
    pub fn step(
        &mut self,
        params: &Parameters,
        gradients: &[(Handle, Tensor)],
    ) -> Result<Option<Tensor>> {
        self.step_with(params, gradients, None, None)
    }

    /// [`Adam::step`] of gradients that were multiplied by a loss scale, where there is one, and
    /// which writes copies of the parameters, where there are some. With a scale the report has it
    /// as a fourth number; either measures the norm, with [`Adam::max_norm`] or without.
    ///
    /// # Errors
    /// As [`Adam::step`].
    pub(crate) fn step_with(
        &mut self,
        params: &Parameters,
        gradients: &[(Handle, Tensor)],
        scale: Option<&LossScale>,
        copies: Option<&HalfWeights>,
    ) -> Result<Option<Tensor>> {
        self.check(params)?;
        let mut named = vec![false; self.places.len()];
        for (handle, gradient) in gradients {
            let parameter = params.get(*handle)?;
            if gradient.shape() != parameter.shape() || gradient.dtype() != parameter.dtype() {
                let expected = format!("a gradient like `{}`, {parameter:?}", params.name(*handle));
                return Err(Error::shape("adam", expected, format!("{gradient:?}")));
            }
            if std::mem::replace(&mut named[handle.index()], true) {
                return Err(Error::invalid(
                    "adam",
                    format!("`{}` has two gradients", params.name(*handle)),
                ));
            }
        }
        for (handle, gradient) in gradients {
            let place = &self.places[handle.index()];
            if !place.holds(gradient) {
                place.offer().copy_from(gradient)?;
            }
        }
        for (place, _) in self.places.iter().zip(named).filter(|(_, named)| !named) {
            if place.take_filled() {
                fill(place.tensor(), 0.0)?;
            }
        }
        let measured = scale.is_some() || copies.is_some();
        let max_norm = self.max_norm.or(measured.then_some(f32::INFINITY));
        let norm = |max_norm| match scale {
            Some(scale) => clip::scaled_norm(&self.gradients, max_norm, scale.scaled()),
            None => clip::global_norm(&self.gradients, max_norm),
        };
        let report = max_norm.map(norm).transpose()?;
        let clipping = report.as_ref().map(|r| r.view(0, &[3])).transpose()?;
        let state = State {
            weights: params.arena(),
            m: &self.m,
            v: &self.v,
        };
        adam_with(
            &self.hyper,
            self.step + 1,
            state,
            &self.gradients,
            (clipping.as_ref(), copies.map(HalfWeights::copies)),
            self.layout.decay_len,
        )?;
        self.step += 1;
        Ok(report)
    }

    fn check(&self, params: &Parameters) -> Result<()> {
        if Arc::ptr_eq(&self.layout, params.layout()) {
            return Ok(());
        }
        Err(Error::invalid(
            "adam",
            "these parameters are not those that it was made for",
        ))
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// All that goes on from here needs, beside the weights. Waits for the device.
    pub fn save(&self) -> Result<AdamState> {
        Ok(AdamState {
            step: self.step,
            m: self.layout.unpack(&self.m)?,
            v: self.layout.unpack(&self.v)?,
        })
    }

    /// Goes on from a saved state: with equal weights and gradients, to the bit as if it had never
    /// stopped.
    ///
    /// # Errors
    /// If a tensor is missing, unexpected or of another shape; nothing is changed then.
    pub fn load(&mut self, state: &AdamState) -> Result<()> {
        let m = self
            .layout
            .pack("the optimiser's first moments", &state.m)?;
        let v = self
            .layout
            .pack("the optimiser's second moments", &state.v)?;
        self.m.write(&m)?;
        self.v.write(&v)?;
        self.step = state.step;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
