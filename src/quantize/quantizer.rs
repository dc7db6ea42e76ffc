//! The trait of all quantizers, and what they return.

use super::latents::{interleaved, squared_distances};
use super::options::Options;
use super::scale_tables::ScaleTables;
use super::state;
use crate::autograd::{Tape, Var};
use crate::gpu::{Gpu, Tensor};
use crate::nn::{Builder, ForwardContext, HostTensors, Parameters};
use crate::parallel::Ranks;
use crate::{Error, Result};

/// The purpose of a call of [`Quantizer::quantize`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Quantize as training does; `step` keys the random numbers.
    Train {
        /// The training step, from 0.
        step: u64,
    },
    /// Quantize alone.
    Eval,
}

/// The kind of a loss term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// Draws latents to their codes.
    Commitment,
    /// Draws codes to their latents.
    Codebook,
    /// Keeps codes in use, or apart: entropies, divergences, orthogonality.
    Regularizer,
}

/// Latents and the codes that they were given, as [`Quantizer::learn`] takes them.
#[derive(Clone, Debug)]
pub struct CodebookBatch {
    /// Index of the quantizer's codebook.
    pub codebook: usize,
    /// f32 [N, D] as the codebook met them.
    pub latents: Tensor,
    /// u32 `[N]`.
    pub index: Tensor,
    /// Moments by which a quantizer that normalises its latents did so: (mean, inverse deviation)
    /// of each channel, f32 [D, 2].
    pub moments: Option<Tensor>,
}

/// Latents, quantized.
#[derive(Debug)]
pub struct Quantized {
    /// The quantized latents [N, D], through which the gradient reaches the latents.
    pub z_q: Var,
    /// The codes of each latent, one from each codebook: u32 [N, Q].
    pub indices: Tensor,
    /// Number of uses of each code: u32 [Q, K].
    pub counts: Tensor,
    /// Weighted terms that the quantizer adds to the loss: `[1]` each.
    pub losses: Vec<(Term, Var)>,
    /// Latents and codes that a codebook learns from outside the optimiser.
    pub seen: Vec<CodebookBatch>,
}

impl Quantized {
    /// Computes the sum of the losses of a kind; `None` where there is none.
    ///
    /// # Errors
    /// If the device fails.
    pub fn loss(&self, tape: &Tape, term: Term) -> Result<Option<Var>> {
        sum(
            tape,
            self.losses
                .iter()
                .filter(|(t, _)| *t == term)
                .map(|(_, v)| v),
        )
    }

    /// Computes the sum of all losses; `None` where there is none.
    ///
    /// # Errors
    /// If the device fails.
    pub fn total(&self, tape: &Tape) -> Result<Option<Var>> {
        sum(tape, self.losses.iter().map(|(_, v)| v))
    }
}

fn sum<'a>(tape: &Tape, parts: impl Iterator<Item = &'a Var>) -> Result<Option<Var>> {
    parts
        .map(|v| Ok(v.clone()))
        .reduce(|a, b| tape.add(&a?, &b?))
        .transpose()
}

/// A quantizer. What the optimiser trains of it are parameters of the model, under names that begin
/// with `quantize.`; state that moves outside the optimiser (an EMA codebook) is its own, saved by
/// name.
pub trait Quantizer: Send {
    /// Its name in configurations: `ema`, `fsq`, ..
    fn name(&self) -> &str;
    /// Codes of one codebook, K.
    fn codebook_size(&self) -> usize;
    /// Codes that each latent gets, Q: one from each codebook.
    fn codebooks(&self) -> usize {
        1
    }
    /// Sides of the square grids on which an image's codes lie, the coarsest first and the last
    /// that of its latents, where it quantizes maps of latents over and over; empty where each
    /// latent has codes of its own. What speaks of codes [N, Q] is of images then: [B, codes of an
    /// image], grid behind grid.
    fn scales(&self) -> &[usize] {
        &[]
    }
    /// Numbers of its codebooks, whether an optimiser trains them, an average moves them or they
    /// stay; 0 where codes follow from a rule.
    fn codebook_numbers(&self) -> usize {
        0
    }
    /// Channels of a latent.
    fn dim(&self) -> usize;
    /// Whether it needs latents of the first batches before it can quantize. See
    /// [`Quantizer::initialize`].
    fn wants_init(&self) -> bool {
        false
    }
    /// Names the part of this quantizer that depends on all latents of a step jointly, and the key
    /// that disables it; gradient accumulation (`train.accumulate`) is then refused. `None` if
    /// latents are quantized independently and losses are means.
    /// [`Quantizer::learn`] gets a step's latents together, however many passes there were.
    fn spans_latents(&self) -> Option<String> {
        None
    }
    /// Places the codes among `latents` [N, D], those of the first batches; a training step will
    /// bring `per_step` of them.
    ///
    /// # Errors
    /// If the latents have another size.
    fn initialize(
        &mut self,
        pass: &ForwardContext,
        latents: &Tensor,
        per_step: usize,
    ) -> Result<()> {
        let _ = (pass, latents, per_step);
        Ok(())
    }
    /// Quantizes latents [N, D].
    ///
    /// # Errors
    /// If the latents have another size.
    fn quantize(&self, pass: &ForwardContext, z_e: &Var, mode: Mode) -> Result<Quantized>;
    /// Quantizes latents [N, D] scale by scale: with [`Quantizer::scales`], of each what the
    /// latents have become with it [N, D], its codes [B side side, 1], their counts [1, K], its
    /// losses and what the codebook saw; the last has the gradient. Without, what
    /// [`Quantizer::quantize`] gives.
    ///
    /// # Errors
    /// If the latents have another size.
    fn quantize_scales(
        &self,
        pass: &ForwardContext,
        z_e: &Var,
        mode: Mode,
    ) -> Result<Vec<Quantized>> {
        Ok(vec![self.quantize(pass, z_e, mode)?])
    }
    /// Returns what turns codes of its scales into maps of latents, as it is now; `None` without
    /// scales.
    ///
    /// # Errors
    /// If the device fails.
    fn scale_tables(&self, pass: &ForwardContext) -> Result<Option<ScaleTables>> {
        let _ = pass;
        Ok(None)
    }
    /// Learns outside the optimiser, after it: moves averages, revives dead codes. Returns how many
    /// it revived, f32 `[1]`, where it revives any.
    ///
    /// # Errors
    /// If the device fails.
    fn learn(
        &mut self,
        params: &Parameters,
        seen: &[CodebookBatch],
        step: u64,
    ) -> Result<Option<Tensor>> {
        let _ = (params, seen, step);
        Ok(None)
    }
    /// Learns with other ranks from here on: [`Quantizer::learn`] is given the latents of this rank
    /// alone, and adds up over all ranks what it counts of them. Returns whether it does so. One
    /// that does not, as by default, is given the latents of all ranks: longer messages.
    fn join(&mut self, ranks: &Ranks) -> bool {
        let _ = ranks;
        false
    }
    /// Computes the quantized latents [N, D] of codes u32 [N, Q].
    ///
    /// # Errors
    /// If there are more or fewer codes to a latent.
    fn decode(&self, pass: &ForwardContext, indices: &Tensor) -> Result<Tensor>;
    /// Computes the latents [N, D] that codes u32 [N, Q] stand for, each on its own; with
    /// [`Quantizer::scales`], of codes [N, 1].
    ///
    /// # Errors
    /// As [`Quantizer::decode`].
    fn code_vectors(&self, pass: &ForwardContext, indices: &Tensor) -> Result<Tensor> {
        self.decode(pass, indices)
    }
    /// Computes the distance of each of the latents [N, D] to the codes that it takes, in the
    /// measure by which this quantizer chooses: [N, Q], row-major; smaller is nearer. The default
    /// is the squared distance from the quantized latents. Waits for the device.
    ///
    /// # Errors
    /// If the latents have another size.
    fn distances(&self, pass: &ForwardContext, z_e: &Var) -> Result<Vec<f32>> {
        let q = self.quantize(pass, z_e, Mode::Eval)?;
        Ok(interleaved(&vec![
            squared_distances(
                z_e.tensor(),
                q.z_q.tensor()
            )?;
            self.codebooks()
        ]))
    }
    /// Its state on the host, by name. Waits for the device.
    ///
    /// # Errors
    /// If the device fails.
    fn save(&self) -> Result<HostTensors> {
        Ok(HostTensors::new())
    }
    /// Checks that [`Quantizer::load`] would take a state; nothing is changed. By default its
    /// tensors have to be those of [`Quantizer::save`], by name and shape, which waits for the
    /// device: a quantizer with a state that is to load in a browser says itself what it takes.
    ///
    /// # Errors
    /// If a tensor is missing, unexpected or of another shape.
    fn check_state(&self, state: &HostTensors) -> Result<()> {
        let own = self.save()?;
        let own = own.iter().map(|(name, (shape, _))| (&**name, &**shape));
        state::check(self.name(), state, &own.collect::<Vec<_>>())
    }
    /// Takes a state that [`Quantizer::save`] gave.
    ///
    /// # Errors
    /// If a tensor is missing, unexpected or of another shape.
    fn load(&mut self, state: &HostTensors) -> Result<()> {
        match state.keys().next() {
            Some(name) => Err(Error::data(format!(
                "the quantizer `{}` has no state `{name}`",
                self.name()
            ))),
            None => Ok(()),
        }
    }
    /// The part of [`Quantizer::save`] that [`Quantizer::decode`] reads: no averages that only
    /// training needs.
    ///
    /// # Errors
    /// If the device fails.
    fn save_codes(&self) -> Result<HostTensors> {
        self.save()
    }
    /// Takes what [`Quantizer::save_codes`] gave. It then decodes and quantizes, and is not trained
    /// further.
    ///
    /// # Errors
    /// As [`Quantizer::load`].
    fn load_codes(&mut self, codes: &HostTensors) -> Result<()> {
        self.load(codes)
    }
    /// Resets all state except tensors: stops a started revival and, if `placed` is false, requests
    /// initialisation again ([`Quantizer::wants_init`]). Called when a run returns to a checkpoint.
    fn reset(&mut self, placed: bool) {
        let _ = placed;
    }
    /// Returns the codes that [`Quantizer::learn`] moves, and no optimiser: what a moving average
    /// of the model averages beside its weights.
    fn learned(&self) -> Vec<&Tensor> {
        Vec::new()
    }
    /// Begins to revive dead codes, where it has codes that can die and does not revive them yet.
    /// Returns whether it did. A training run that recovers from a collapse calls it.
    fn begin_revival(&mut self) -> bool {
        false
    }
}

/// Makes a quantizer: its parameters are declared with the model's.
pub type Build = fn(&Gpu, &mut Builder, &Options) -> Result<Box<dyn Quantizer>>;

/// One way to quantize, as configurations, benchmarks and lists of choices name it.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its [`Quantizer::name`].
    pub name: &'static str,
    /// A description in one line.
    pub about: &'static str,
    /// Makes it.
    pub build: Build,
}
