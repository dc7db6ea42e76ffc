//! Adam over a parameter store: gradients gathered in one buffer, or as many as the parameters lie
//! in, their norm clipped, one dispatch for the step of each.

mod saved;

use super::arena::Arena;
use super::layout::Layout;
use super::pieces::Pieces;
use super::shard::{MomentRequest, Piece, Reading, Shard};
use super::{GradientSum, HalfWeights, Handle, HostTensors, LossScale, Parameters};
use crate::autograd::Place;
use crate::gpu::{DType, Tensor, fill};
use crate::ops::optim::adam::{self, Hyper, adam_with};
use crate::ops::optim::adam_bf16::{self, Noise, adam_bf16};
use crate::ops::optim::clip::{self, Squares};
use crate::parallel::Ranks;
use crate::{Error, Result};
use std::sync::{Arc, OnceLock};

/// Adam or AdamW, for one [`Parameters`].
#[derive(Debug)]
pub struct Adam {
    /// Rates and decays; may be changed between steps, as schedules do.
    pub hyper: Hyper,
    /// The norm to which the gradient of all parameters together is clipped. [`f32::INFINITY`]
    /// only measures; `None` does neither.
    pub max_norm: Option<f32>,
    layout: Arc<Layout>,
    kind: MomentType,
    /// By the parts of the arena, or by the pieces that this rank has of it.
    moments: OnceLock<Moments>,
    shard: Option<Shard>,
    gradients: Arena,
    /// The gradient arena by parameter.
    places: Arc<[Place]>,
    step: u64,
}

/// The type in which an [`Adam`] keeps its moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MomentType {
    /// In 32 bits.
    #[default]
    F32,
    /// In bfloat16, half the memory, rounded by noise of this seed: each is kept on average, and
    /// moves where it would stand still otherwise.
    Bf16 {
        /// The seed of the noise.
        seed: u64,
    },
}

#[derive(Debug)]
enum Moments {
    F32 { m: Arena, v: Arena },
    Bf16 { words: Arena, seed: u64 },
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
        Adam::with_moments(params, hyper, MomentType::F32)
    }

    /// [`Adam::new`] with moments of a type.
    ///
    /// # Errors
    /// As [`Adam::new`].
    pub fn with_moments(params: &Parameters, hyper: Hyper, moments: MomentType) -> Result<Adam> {
        let adam = Adam::without_moments(params, hyper, moments)?;
        adam.moments()?;
        Ok(adam)
    }

    /// [`Adam::with_moments`] whose moments are made when they are needed: ranks that share them
    /// make their shares alone.
    ///
    /// # Errors
    /// As [`Adam::new`].
    pub(crate) fn without_moments(
        params: &Parameters,
        hyper: Hyper,
        moments: MomentType,
    ) -> Result<Adam> {
        hyper.check()?;
        let gradients = params.zeros(DType::F32)?;
        let places = gradients.views()?.into_iter().map(Place::new).collect();
        Ok(Adam {
            hyper,
            max_norm: None,
            layout: params.layout().clone(),
            kind: moments,
            moments: OnceLock::new(),
            shard: None,
            gradients,
            places,
            step: 0,
        })
    }

    /// Leaves moments to all of the ranks, of which each keeps a share from here on and moves the
    /// parameters of it; no step was done yet. The bits are those of one that keeps all.
    pub(crate) fn shard(&mut self, ranks: &Ranks) {
        if !ranks.is_alone() {
            self.shard = Some(Shard::new(ranks, &self.layout));
            self.moments = OnceLock::new();
        }
    }

    /// Returns the moments; the first time they are made.
    fn moments(&self) -> Result<&Moments> {
        if let Some(moments) = self.moments.get() {
            return Ok(moments);
        }
        let (gpu, layout) = (self.gradients.parts()[0].gpu(), &self.layout);
        let zeros = |dtype| -> Result<Arena> {
            match &self.shard {
                Some(shard) => Ok(Arena::over(layout.clone(), shard.zeros(gpu, dtype)?)),
                None => Arena::zeros(gpu, layout, dtype),
            }
        };
        let made = match self.kind {
            MomentType::F32 => Moments::F32 {
                m: zeros(DType::F32)?,
                v: zeros(DType::F32)?,
            },
            MomentType::Bf16 { seed } => Moments::Bf16 {
                words: zeros(DType::U32)?,
                seed,
            },
        };
        Ok(self.moments.get_or_init(|| made))
    }

    /// Has moments that lie on several ranks read in another way from here on. At first all ranks
    /// read the same at the same time.
    pub(crate) fn read_by(&self, reading: Reading) {
        if let Some(shard) = &self.shard {
            shard.read_by(reading);
        }
    }

    /// Gives this rank's part of a moment that another rank reads.
    ///
    /// # Errors
    /// If there is no such moment, a rank is gone, or the device fails.
    pub(crate) fn answer(&self, request: MomentRequest) -> Result<()> {
        let arenas: &[&[Tensor]] = match self.moments()? {
            Moments::F32 { m, v } => &[m.parts(), v.parts()],
            Moments::Bf16 { words, .. } => &[words.parts()],
        };
        match &self.shard {
            Some(shard) => shard.answer(request, arenas),
            None => Err(Error::invalid("adam", "this rank keeps all moments")),
        }
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

    /// Returns the pieces in which the gradients go to the other ranks; `None` where there are no
    /// ranks, or they go as one.
    pub(super) fn pieces(&self, ranks: &Ranks) -> Result<Option<Pieces>> {
        match ranks.is_alone() {
            true => Ok(None),
            false => Pieces::of(&self.layout, self.gradients.parts(), ranks.size()),
        }
    }

    /// Returns a parameter's gradient where it should lie; it is copied there if it lies elsewhere.
    pub(super) fn place(&self, handle: Handle, gradient: &Tensor) -> Result<Tensor> {
        let place = &self.places[handle.index()];
        if !place.holds(gradient) {
            place.offer().copy_from(gradient)?;
        }
        Ok(place.tensor().clone())
    }

    /// Adds up the gradients of all ranks, and with them `others`; returns the sums, as
    /// [`Adam::step`] takes them.
    ///
    /// # Errors
    /// If a gradient has another shape than its parameter, a rank is gone, or the device fails.
    pub(crate) fn sum_over(
        &self,
        ranks: &Ranks,
        gradients: GradientSum,
        others: &[&Tensor],
    ) -> Result<Vec<(Handle, Tensor)>> {
        let (gradients, pieces) = gradients.into_parts();
        if ranks.is_alone() {
            return Ok(gradients);
        }
        let gather =
            |(handle, gradient): (Handle, Tensor)| Ok((handle, self.place(handle, &gradient)?));
        let gathered = gradients.into_iter().map(gather).collect::<Result<_>>()?;
        match pieces {
            Some(pieces) => pieces.sum(ranks, others)?,
            // Parameters without a gradient are among them; their sums are not used.
            None => {
                let all: Vec<&Tensor> = self.gradients.parts().iter().collect();
                ranks.sum_tensors(&[&all[..], others].concat())?;
            }
        }
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
        self.step_with(params, gradients, None, None, None)
    }

    /// [`Adam::step`] of gradients that were multiplied by a loss scale, where there is one, and
    /// which writes copies of the parameters, where there are some. With a scale the report has it
    /// as a fourth number; either measures the norm, with [`Adam::max_norm`] or without. Where
    /// there are gradients of another optimiser `beside`, a step moves nothing where these are not
    /// finite either.
    ///
    /// # Errors
    /// As [`Adam::step`].
    pub(crate) fn step_with(
        &mut self,
        params: &Parameters,
        gradients: &[(Handle, Tensor)],
        scale: Option<&LossScale>,
        copies: Option<&HalfWeights>,
        beside: Option<&Squares>,
    ) -> Result<Option<Tensor>> {
        self.gather(params, gradients)?;
        let measured = scale.is_some() || copies.is_some();
        let max_norm = self.max_norm.or(measured.then_some(f32::INFINITY));
        let gradients = self.gradients.parts();
        let norm = |max_norm| match scale {
            Some(scale) => clip::scaled_norm_over(gradients, max_norm, scale.scaled(), beside),
            None => clip::global_norm_over(gradients, max_norm),
        };
        let report = max_norm.map(norm).transpose()?;
        self.move_along(params, report.as_ref(), copies)?;
        Ok(report)
    }

    /// Gathers gradients at a loss scale, for a step beside another optimiser's: returns their
    /// squares, which that one's [`Adam::step_with`] takes in. [`Adam::step_beside`] is next.
    ///
    /// # Errors
    /// As [`Adam::step`].
    pub(crate) fn squares(
        &self,
        params: &Parameters,
        gradients: &[(Handle, Tensor)],
    ) -> Result<Squares> {
        self.gather(params, gradients)?;
        clip::squares_over(self.gradients.parts())
    }

    /// Takes the step of the gradients that [`Adam::squares`] gathered, by the report of the other
    /// optimiser's: where that one moved nothing, this one does not either. Returns the report of
    /// these gradients.
    ///
    /// # Errors
    /// As [`Adam::step`].
    pub(crate) fn step_beside(
        &mut self,
        params: &Parameters,
        squares: &Squares,
        first: &Tensor,
        copies: Option<&HalfWeights>,
    ) -> Result<Tensor> {
        self.check(params)?;
        let report = clip::following_norm(squares, first)?;
        self.move_along(params, Some(&report), copies)?;
        Ok(report)
    }

    /// Brings gradients to where they should lie, with zeros for those that are not named.
    fn gather(&self, params: &Parameters, gradients: &[(Handle, Tensor)]) -> Result<()> {
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
        Ok(())
    }

    /// Moves the parameters along the gradients that were gathered, by their report.
    fn move_along(
        &mut self,
        params: &Parameters,
        report: Option<&Tensor>,
        copies: Option<&HalfWeights>,
    ) -> Result<()> {
        let gradients = self.gradients.parts();
        let clipping = report.map(|r| r.view(0, &[3])).transpose()?;
        let Some(shard) = &self.shard else {
            for (i, (weights, gradient)) in params.parts().iter().zip(gradients).enumerate() {
                let with = (clipping.as_ref(), copies.map(|copies| copies.copies(i)));
                let (start, len) = (0, weights.len());
                let piece = Piece {
                    part: i,
                    start,
                    len,
                };
                self.step_piece(i, piece, [weights, gradient], with)?;
            }
            self.step += 1;
            return Ok(());
        };
        for (i, piece) in shard.pieces().iter().enumerate() {
            let view = |parts: &[Tensor]| parts[piece.part].view(piece.start, &[piece.len]);
            let (weights, gradient) = (view(params.parts())?, view(gradients)?);
            self.step_piece(i, *piece, [&weights, &gradient], (clipping.as_ref(), None))?;
        }
        shard.share(params.parts())?;
        if let Some(copies) = copies {
            copies.refresh(params)?;
        }
        self.step += 1;
        Ok(())
    }

    /// Moves a piece of the parameters, of which the `i`-th moments are.
    fn step_piece(
        &self,
        i: usize,
        piece: Piece,
        [weights, gradient]: [&Tensor; 2],
        with: (Option<&Tensor>, Option<adam::Copies>),
    ) -> Result<()> {
        let (hyper, step) = (&self.hyper, self.step + 1);
        let decays = self.layout.decay_len_of(piece.part);
        let decay_len = decays.saturating_sub(piece.start).min(piece.len);
        match self.moments()? {
            Moments::F32 { m, v } => {
                let state = adam::State {
                    weights,
                    m: &m.parts()[i],
                    v: &v.parts()[i],
                };
                adam_with(hyper, step, state, gradient, with, decay_len)
            }
            Moments::Bf16 { words, seed } => {
                let state = adam_bf16::State {
                    weights,
                    moments: &words.parts()[i],
                };
                let noise = Noise {
                    seed: *seed,
                    first: self.layout.parts[piece.part].start + piece.start,
                };
                adam_bf16(hyper, step, state, gradient, with, decay_len, noise)
            }
        }
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
}

#[cfg(test)]
mod tests;
