//! Parameters in training: the optimiser's steps along the gradients of one loss, the moving
//! average of the weights, and the metrics that each step leaves.

use crate::autograd::{Tape, Var};
use crate::gpu::command::in_flight::{InFlight, STEPS_IN_FLIGHT};
use crate::gpu::{Gpu, Tensor};
use crate::metrics::{MetricsBuffer, Steps};
use crate::nn::{
    Adam, Ema, GradientSum, HalfWeights, Handle, HostTensors, LossScale, MomentRequest, MomentType,
    Parameters, Reading,
};
use crate::ops::optim::adam::Hyper;
use crate::ops::optim::clip::Squares;
use crate::parallel::Ranks;
use crate::storage::checkpoint::{Checkpoint, HostTensor, LazyCheckpoint};
use crate::storage::weights;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// Prefixes of the tensors that a checkpoint keeps of it; the parameters have none.
const PREFIXES: [&str; 3] = [MOMENTS[0], MOMENTS[1], EMA];
const MOMENTS: [&str; 2] = ["adam.m.", "adam.v."];
const EMA: &str = "ema.";

/// Parameters in training, with their optimiser, their average and their metrics.
pub struct OptimizerState {
    gpu: Gpu,
    params: Parameters,
    ema: Option<Ema>,
    adam: Adam,
    mixed: Option<MixedPrecision>,
    step: u64,
    metrics: MetricsBuffer,
    in_flight: InFlight,
    ranks: Ranks,
    sharded: bool,
}

/// The numbers of a checkpoint.
pub(crate) struct Numbers {
    step: u64,
    adam_step: u64,
    /// The state of the loss scale; unused in f32.
    scale: [u32; 2],
}

/// The state that mixed precision keeps beside the parameters.
struct MixedPrecision {
    halves: HalfWeights,
    scale: LossScale,
}

/// Options of the optimizer, and of the metrics kept of each step.
pub struct OptimizerOptions {
    /// Hyperparameters of Adam; its learning rate is given at each step.
    pub hyper: Hyper,
    /// The type in which the optimiser keeps its moments.
    pub moments: MomentType,
    /// Whether each of several ranks keeps a share of the moments alone.
    pub sharded: bool,
    /// Decay of the weights' moving average; 0 for none.
    pub ema_decay: f32,
    /// Metrics of a step.
    pub metrics: usize,
    /// Steps of a row of the log.
    pub log_every: u64,
    /// The loss scale that mixed precision begins with; `None` trains in f32.
    pub loss_scale: Option<f32>,
}

impl OptimizerState {
    /// Creates the state at step 0.
    ///
    /// # Errors
    /// If the device cannot hold the moments, the average or the metrics.
    pub fn new(gpu: &Gpu, params: Parameters, options: OptimizerOptions) -> Result<OptimizerState> {
        let adam = match options.sharded {
            true => Adam::without_moments(&params, options.hyper, options.moments)?,
            false => Adam::with_moments(&params, options.hyper, options.moments)?,
        };
        let ema = (options.ema_decay > 0.0)
            .then(|| Ema::new(&params, options.ema_decay.into()))
            .transpose()?;
        let mixed = |first| -> Result<MixedPrecision> {
            Ok(MixedPrecision {
                halves: HalfWeights::new(&params)?,
                scale: LossScale::new(gpu, first)?,
            })
        };
        Ok(OptimizerState {
            gpu: gpu.clone(),
            mixed: options.loss_scale.map(mixed).transpose()?,
            ema,
            adam,
            step: 0,
            metrics: MetricsBuffer::new(gpu, options.log_every, options.metrics)?,
            in_flight: InFlight::new(STEPS_IN_FLIGHT),
            ranks: Ranks::alone(),
            sharded: options.sharded,
            params,
        })
    }

    /// The weights that learn.
    pub fn params(&self) -> &Parameters {
        &self.params
    }

    /// The weights to measure and keep: their average where there is one.
    pub fn weights(&self) -> &Parameters {
        self.ema.as_ref().map_or(&self.params, Ema::weights)
    }

    /// Returns the ranks that train together.
    pub(crate) fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// Trains with other ranks from here on, before the first step.
    pub(crate) fn join(&mut self, ranks: Ranks) {
        if self.sharded {
            self.adam.shard(&ranks);
        }
        self.ranks = ranks;
    }

    /// Tells the other ranks from here on what it reads of their shares.
    pub(crate) fn lead(&self) {
        self.adam.read_by(Reading::Asking);
    }

    /// Trains without the others from here on.
    pub(crate) fn part(&mut self) {
        self.adam.read_by(Reading::Over);
        self.ranks = Ranks::alone();
    }

    /// Gives this rank's part of what rank 0 reads.
    ///
    /// # Errors
    /// If this rank has no such thing, a rank is gone, or the device fails.
    pub(crate) fn answer(&self, request: MomentRequest) -> Result<()> {
        self.adam.answer(request)
    }

    /// Whether a tensor of a checkpoint is one of which ranks keep shares.
    pub(crate) fn is_shared(&self, name: &str) -> bool {
        let shared = self.sharded && !self.ranks.is_alone();
        shared && MOMENTS.iter().any(|prefix| name.starts_with(prefix))
    }

    /// Adds up the gradients of all ranks, and with them `others`.
    ///
    /// # Errors
    /// If a rank is gone, or the device fails.
    pub(crate) fn sum_over_ranks(
        &self,
        gradients: GradientSum,
        others: &[&Tensor],
    ) -> Result<Vec<(Handle, Tensor)>> {
        self.adam.sum_over(&self.ranks, gradients, others)
    }

    /// Makes the parameters those of rank 0.
    ///
    /// # Errors
    /// If a rank is gone, or the device fails.
    pub(crate) fn copy_parameters(&self) -> Result<()> {
        if self.ranks.is_alone() {
            return Ok(());
        }
        self.ranks
            .copy_tensors(&self.params.parts().iter().collect::<Vec<_>>())?;
        match &self.mixed {
            Some(mixed) => mixed.halves.refresh(&self.params),
            None => Ok(()),
        }
    }

    /// Steps done.
    pub fn number(&self) -> u64 {
        self.step
    }

    /// Returns the metrics of the step at hand and of those before it.
    pub fn metrics(&self) -> &MetricsBuffer {
        &self.metrics
    }

    /// Returns the metrics, to read rows from.
    pub(crate) fn metrics_mut(&mut self) -> &mut MetricsBuffer {
        &mut self.metrics
    }

    /// Returns the optimiser, whose buffer a pass may write gradients into.
    pub(crate) fn adam(&self) -> &Adam {
        &self.adam
    }

    /// Returns the copies of the parameters that mixed precision computes with.
    pub(crate) fn half_weights(&self) -> Option<HalfWeights> {
        self.mixed.as_ref().map(|mixed| mixed.halves.clone())
    }

    /// Returns a loss `[1]` on a tape as gradients are to be computed of it: in mixed precision
    /// times the loss scale, which [`OptimizerState::update`] takes off them.
    ///
    /// # Errors
    /// If the device fails.
    pub fn scaled(&self, tape: &Tape, loss: Var) -> Result<Var> {
        match &self.mixed {
            Some(mixed) => tape.scale_by(&loss, &tape.constant(&mixed.scale.now()?)),
            None => Ok(loss),
        }
    }

    /// Returns the loss scale [1] of mixed precision.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn loss_scale(&self) -> Result<Option<Tensor>> {
        let mixed = self.mixed.as_ref();
        mixed.map(|mixed| mixed.scale.now()).transpose()
    }

    /// Moves the parameters along gradients of a loss that [`OptimizerState::scaled`] gave, at a
    /// learning rate, their norm clipped to `max_norm`; infinity measures it alone. Returns the
    /// norm, the factor of the clipping and whether all were finite, f32 `[3]`, where the norm was
    /// measured; in mixed precision it always is, and the scale is a fourth number. A step whose
    /// gradients were not finite moves nothing.
    ///
    /// # Errors
    /// If a gradient has another shape than its parameter, or the device fails.
    pub fn update(
        &mut self,
        gradients: &[(Handle, Tensor)],
        rate: f64,
        max_norm: Option<f32>,
    ) -> Result<Option<Tensor>> {
        self.update_beside(gradients, rate, max_norm, None)
    }

    /// [`OptimizerState::update`], where in mixed precision another optimiser moves at the same
    /// step, of whose gradients at the same scale these are the squares: neither moves where those
    /// of either are not finite.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn update_beside(
        &mut self,
        gradients: &[(Handle, Tensor)],
        rate: f64,
        max_norm: Option<f32>,
        others: Option<&Squares>,
    ) -> Result<Option<Tensor>> {
        self.adam.hyper.lr = rate;
        self.adam.max_norm = max_norm;
        let (scale, halves) = match &self.mixed {
            Some(mixed) => (Some(&mixed.scale), Some(&mixed.halves)),
            None => (None, None),
        };
        self.adam
            .step_with(&self.params, gradients, scale, halves, others)
    }

    /// Ends the step at hand: the average follows, and what was recorded is submitted. Waits for
    /// the step before the last.
    pub(crate) fn finish_step(&mut self) -> Result<()> {
        self.end_step()?;
        self.in_flight.submit(&self.gpu)
    }

    /// [`OptimizerState::finish_step`] without blocking the thread.
    pub(crate) async fn finish_step_async(&mut self) -> Result<()> {
        self.end_step()?;
        self.in_flight.submit_async(&self.gpu).await
    }

    fn end_step(&mut self) -> Result<()> {
        if let Some(ema) = &self.ema {
            ema.update(&self.params, self.step)?;
        }
        self.step += 1;
        self.metrics.end(self.step)
    }

    /// Exchanges the weights that learn and their average; again, and both are as they were.
    pub(crate) fn exchange_average(&self) -> Result<()> {
        match &self.ema {
            Some(ema) => {
                let mut parts = self.params.parts().iter().zip(ema.weights().parts());
                parts.try_for_each(|(part, average)| exchange(part, average))
            }
            None => Ok(()),
        }
    }

    /// Returns all of it, and the number of the step. Waits for the device.
    ///
    /// # Errors
    /// If the device fails.
    pub fn save(&self) -> Result<Checkpoint> {
        self.saved()?.in_memory()
    }

    /// [`OptimizerState::save`] of tensors that are read one at a time: what they hold then is what
    /// is saved.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn saved(&self) -> Result<LazyCheckpoint> {
        let mut all = LazyCheckpoint::default();
        all.add_saved("", self.params.saved());
        let [m, v] = self.adam.saved()?;
        all.add_saved(MOMENTS[0], m);
        all.add_saved(MOMENTS[1], v);
        if let Some(ema) = &self.ema {
            all.add_saved(EMA, ema.weights().saved());
        }
        all.state = serde_json::json!({
            "step": self.step,
            "adam_step": self.adam.steps(),
            "window": crate::metrics::as_json(&self.metrics.save()?),
        });
        if let Some(mixed) = &self.mixed {
            all.state["loss_scale"] = serde_json::json!(mixed.scale.save()?);
        }
        Ok(all)
    }

    /// Checks that [`OptimizerState::load`] takes a checkpoint. Returns its numbers.
    ///
    /// # Errors
    /// If something is missing, or does not fit the model.
    pub(crate) fn check(
        &self,
        checkpoint: &LazyCheckpoint,
        others: &[&'static str],
    ) -> Result<Numbers> {
        let number = |key: &str| match checkpoint.state[key].as_u64() {
            Some(steps) if steps < u64::from(u32::MAX) << 16 => Ok(steps),
            Some(steps) => {
                let what = format!("the checkpoint's `{key}` of {steps} is more than any run has");
                Err(Error::data(what))
            }
            None => {
                let what = format!("the checkpoint's state has no `{key}`");
                Err(Error::data(what))
            }
        };
        let (step, adam_step) = (number("step")?, number("adam_step")?);
        let scale = &checkpoint.state["loss_scale"];
        let kept: [u32; 2] = match &self.mixed {
            Some(_) if scale.is_null() => {
                let what = "the checkpoint is of a run in f32, which goes on with \
                            train.precision = f32";
                return Err(Error::data(what));
            }
            Some(_) => serde_json::from_value(scale.clone()).map_err(|e| {
                Error::data(format!("the checkpoint's loss scale cannot be used: {e}"))
            })?,
            None => [0; 2],
        };
        if let Some(mixed) = &self.mixed {
            mixed.scale.check(kept)?;
        }
        self.metrics.check(&checkpoint.state["window"])?;
        let prefixes = prefixes(others);
        let part = |prefix: &'static str| checkpoint.source(prefix, &prefixes);
        self.params.check(&part(""))?;
        self.adam
            .check_moments(&part(MOMENTS[0]), &part(MOMENTS[1]))?;
        if let Some(ema) = &self.ema {
            ema.weights().check(&part(EMA))?;
        }
        Ok(Numbers {
            step,
            adam_step,
            scale: kept,
        })
    }

    /// Goes on from a checkpoint, in which tensors of others stand under the prefixes `others`.
    ///
    /// # Errors
    /// If something is missing, or does not fit the model; nothing is changed then.
    pub(crate) fn load(
        &mut self,
        checkpoint: &LazyCheckpoint,
        others: &[&'static str],
    ) -> Result<()> {
        let numbers = self.check(checkpoint, others)?;
        let prefixes = prefixes(others);
        let part = |prefix: &'static str| checkpoint.source(prefix, &prefixes);
        self.params.load(&part(""))?;
        let (m, v) = (part(MOMENTS[0]), part(MOMENTS[1]));
        self.adam.load_moments(numbers.adam_step, &m, &v)?;
        if let Some(ema) = &self.ema {
            ema.load(&part(EMA))?;
        }
        if let Some(mixed) = &self.mixed {
            mixed.scale.load(numbers.scale)?;
            mixed.halves.refresh(&self.params)?;
        }
        self.step = numbers.step;
        self.metrics.load(&checkpoint.state["window"])?;
        Ok(())
    }

    /// The steps of a checkpoint's row that is not full yet.
    pub(crate) fn open_row(&self, state: &serde_json::Value) -> Steps {
        let step = state["step"].as_u64().unwrap_or(self.step);
        self.metrics.open(&state["window"], step)
    }
}

/// Returns all prefixes under which a checkpoint has tensors. Those of others may begin like one of
/// the state's.
fn prefixes(others: &[&'static str]) -> Vec<&'static str> {
    others.iter().copied().chain(PREFIXES).collect()
}

/// Exchanges the values of two tensors.
pub(crate) fn exchange(a: &Tensor, b: &Tensor) -> Result<()> {
    let kept = a.duplicate()?;
    a.copy_from(b)?;
    b.copy_from(&kept)
}

/// Tensors as a file has them, each name behind a prefix.
pub(crate) fn named(prefix: &str, tensors: HostTensors) -> BTreeMap<String, HostTensor> {
    tensors
        .into_iter()
        .map(|(name, t)| (format!("{prefix}{name}"), weights::export(t)))
        .collect()
}
