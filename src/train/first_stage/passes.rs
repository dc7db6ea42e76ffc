//! The passes of a step: forward and backward over parts of its batch, whose gradients, metrics and
//! codes add up to those of the whole.
//!
//! Losses are means over images, so that those of equal parts are averaged. What is of all images
//! of a step together is found of all passes: the weight of what the discriminator says, the codes
//! that a codebook learns from, how often each was used. Where a model has more than that, several
//! passes are refused (`spanning`).

use super::{FirstStageTask, GAN_SLOT, level_slot, record};
use crate::autograd::Tape;
use crate::autograd::accumulate::{add_assign, add_counts};
use crate::gpu::Tensor;
use crate::inference::first_stage::Coded;
use crate::metrics::{CodeMetrics, MeanOfParts};
use crate::nn::{ForwardContext, GradientSum, Handle};
use crate::objective::Judged;
use crate::ops::quantize::codebook_use::codebook_use;
use crate::quantize::{CodebookBatch, Mode};
use crate::trainer::optimizer_state::OptimizerState;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// The results of a step's passes.
pub(super) struct Passes {
    pub(super) gradients: Vec<(Handle, Tensor)>,
    /// Metrics by their slots.
    pub(super) metrics: BTreeMap<usize, Tensor>,
    /// The batches that each level's codebooks saw.
    pub(super) seen: Vec<Vec<CodebookBatch>>,
    /// Images and reconstructions of each pass, where a discriminator learns from them.
    pub(super) judged: Vec<(Tensor, Tensor)>,
}

impl FirstStageTask {
    fn context<'a>(&self, tape: &'a Tape, state: &'a OptimizerState) -> ForwardContext<'a> {
        let pass = ForwardContext::new(tape, state.params())
            .with_activation_dtype(self.config.train.activations())
            .with_half_weights(state.half_weights())
            .with_checkpointing(self.config.train.gradient_checkpointing);
        // What is watched stays in memory for the whole step.
        if self.objective.watches() {
            pass.with_watched(self.stage.model.last_weight())
        } else {
            pass
        }
    }

    /// Judges the reconstructions of all passes, and weighs what the discriminator says of them,
    /// where that takes all of them; `None` where each pass does so by itself. The passes that
    /// follow compute the reconstructions again: to keep what leads to them would take the memory
    /// of the whole batch.
    fn judge_together(
        &self,
        state: &OptimizerState,
        parts: &[Tensor],
        step: u64,
        scale: Option<&Tensor>,
    ) -> Result<Option<(Vec<Judged>, Tensor)>> {
        let (ranks, size) = (state.ranks(), state.ranks().size());
        if parts.len() * size == 1 || !self.objective.weighs_together(step) {
            return Ok(None);
        }
        let (mut all, mut compared): (_, Option<[Tensor; 2]>) = (Vec::new(), None);
        for x in parts {
            let tape = Tape::no_grad(&self.gpu);
            let pass = self.context(&tape, state);
            let (_, y) = self
                .stage
                .reconstruct(&pass, &tape.constant(x), Mode::Train { step })?;
            let judged = self.objective.look(x, y.tensor(), step, scale)?;
            let own = self.objective.compared(&pass, &judged, scale)?;
            match &compared {
                Some(sums) => {
                    let mut pairs = sums.iter().zip(&own);
                    pairs.try_for_each(|(sum, own)| add_assign(sum, own))?;
                }
                None => compared = Some(own),
            }
            all.push(judged);
            self.gpu.flush()?;
        }
        let missing = || Error::invalid("step", "it has no images");
        let compared = compared.ok_or_else(missing)?;
        ranks.sum_tensors(&[&compared[0], &compared[1]])?;
        let weight = self
            .objective
            .weight_of(compared, parts.len() * size, step)?;
        Ok(Some((all, weight)))
    }

    /// Goes over the batch of a step.
    pub(super) fn passes(&self, state: &OptimizerState, step: u64) -> Result<Passes> {
        let parts = self.parts(state.ranks(), step)?;
        let scale = state.loss_scale()?;
        let scale = scale.as_ref();
        let together = self.judge_together(state, &parts, step, scale)?;
        let (judged, weight) = together.unzip();
        let mut judged = judged.unwrap_or_default().into_iter();
        // Those of other ranks count as further passes.
        let all = parts.len() * state.ranks().size();
        let (several, share) = (all > 1, 1.0 / all as f32);
        let (mut gradients, mut metrics) = (GradientSum::default(), MeanOfParts::new(share));
        let mut levels: Vec<LevelParts> = Vec::new();
        let mut learned = Vec::new();
        let last = parts.len().saturating_sub(1);
        for (part, x) in parts.into_iter().enumerate() {
            let tape = Tape::new(&self.gpu);
            let mut pass = self.context(&tape, state);
            // Those of the passes that follow are added to what the first one writes.
            if part == 0 {
                pass = pass.with_gradients_of(state.adam());
            }
            let x = tape.constant(&x);
            let (coded, y) = self.stage.reconstruct(&pass, &x, Mode::Train { step })?;
            let (mut loss, reconstruction, gan) = match judged.next() {
                Some(judged) => self.objective.hand_on(&pass, &y, judged, weight.clone())?,
                None => self.objective.judge(&pass, &x, &y, step, scale)?,
            };
            if self.objective.adversary.is_some() {
                learned.push((x.tensor().clone(), y.tensor().clone()));
            }
            drop((x, y));
            for part in &coded {
                if let Some(part) = part.quantized.total(&tape)? {
                    loss = tape.add(&loss, &part)?;
                }
            }
            record(&mut metrics, &loss, &reconstruction, &coded)?;
            for (slot, value) in gan {
                metrics.add(GAN_SLOT + slot, &value)?;
            }
            levels.resize_with(coded.len(), LevelParts::default);
            for (level, coded) in levels.iter_mut().zip(coded) {
                level.add(coded)?;
            }
            if several {
                loss = tape.scale(&loss, share, 0.0)?;
            }
            let loss = state.scaled(&tape, loss)?;
            match part == last {
                true => gradients.add_last(state.adam(), &pass, &loss, state.ranks())?,
                false => gradients.add(state.adam(), pass.backward(&loss)?)?,
            }
            if several {
                self.gpu.flush()?;
            }
        }
        let mut metrics = metrics.finish()?;
        let counts = levels.iter().filter_map(|level| level.counts.as_ref());
        let others: Vec<&Tensor> = metrics.values().chain(counts).collect();
        let gradients = state.sum_over_ranks(gradients, &others)?;
        let mut seen = Vec::new();
        for (i, level) in levels.into_iter().enumerate() {
            if let Some(counts) = &level.counts {
                // Perplexity, entropy and codes used lie one behind the other.
                let slot = level_slot(i) + const { CodeMetrics::slot("perplexity") };
                metrics.insert(slot, codebook_use(counts)?);
            }
            seen.push(level.seen()?);
        }
        Ok(Passes {
            gradients,
            metrics,
            seen,
            judged: learned,
        })
    }
}

/// Codes of a level, gathered over the passes of a step.
#[derive(Default)]
struct LevelParts {
    /// Uses of each code.
    counts: Option<Tensor>,
    /// The batches that the codebooks saw in each pass.
    seen: Vec<Vec<CodebookBatch>>,
}

impl LevelParts {
    fn add(&mut self, coded: Coded) -> Result<()> {
        let quantized = coded.quantized;
        match &mut self.counts {
            Some(sum) => {
                if !sum.is_sole() {
                    *sum = sum.duplicate()?;
                }
                add_counts(sum, &quantized.counts)?;
            }
            None => self.counts = Some(quantized.counts),
        }
        self.seen.push(quantized.seen);
        Ok(())
    }

    /// Returns what the codebooks saw in all passes, in the order of one pass over all images.
    fn seen(self) -> Result<Vec<CodebookBatch>> {
        let mut passes = self.seen.into_iter();
        let Some(first) = passes.next() else {
            return Ok(Vec::new());
        };
        let rest: Vec<Vec<CodebookBatch>> = passes.collect();
        if rest.is_empty() {
            return Ok(first);
        }
        let same = |seen: &Vec<CodebookBatch>| {
            seen.len() == first.len() && seen.iter().all(|one| one.moments.is_none())
        };
        if !same(&first) || !rest.iter().all(same) {
            let what = "the quantizer takes statistics of all latents of a step, or gives other \
                        parts in each pass; leave it 1";
            return Err(Error::config("train.accumulate", what));
        }
        let joined = |(i, first): (usize, CodebookBatch)| {
            let of = |part: fn(&CodebookBatch) -> &Tensor| {
                let rest = rest.iter().filter_map(|seen| seen.get(i));
                let all: Vec<Tensor> = std::iter::once(&first)
                    .chain(rest)
                    .map(|seen| part(seen).clone())
                    .collect();
                Tensor::joined(&all)
            };
            Ok(CodebookBatch {
                codebook: first.codebook,
                latents: of(|seen| &seen.latents)?,
                index: of(|seen| &seen.index)?,
                moments: None,
            })
        };
        first.into_iter().enumerate().map(joined).collect()
    }
}
