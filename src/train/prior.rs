//! Training a prior over the tokens of a data set.

mod passes;
mod rows;
#[cfg(not(target_arch = "wasm32"))]
mod stage;

pub use rows::{PriorEvaluation, PriorRow};
#[cfg(not(target_arch = "wasm32"))]
pub use stage::{PriorStage, TokenSource, level_of, made};

#[cfg(not(target_arch = "wasm32"))]
use super::jobs::Job;
use super::{Observer, Outcome, Schedule, Start, Trainer, train_loop};
use crate::autograd::accumulate::add_assign;
use crate::codes::tokens::{Split, Tokens};
use crate::config::prior::PriorConfig;
use crate::config::{DottedConfig, Resolved};
use crate::config::{Precision, Resumable};
use crate::data::{ClassOrder, ClassWeights, spread};
use crate::gpu::{Gpu, Tensor};
use crate::inference::prior_measure::{CODE_ORDER, Conditioning, build, measure, with_order_of};
use crate::metrics::{Reduce, Steps};
use crate::models::prior::{Prior, TextKind, Vocabulary};
use crate::nn::{GradientSum, Parameters};
use crate::ops::optim::adam::{Decay, Hyper};
use crate::pace::MeasurementCost;
use crate::parallel::Ranks;
use crate::storage::checkpoint::LazyCheckpoint;
use crate::storage::metrics_log::Record;
use crate::storage::run_folder::RunFolder;
use crate::trainer::optimizer_state::{OptimizerOptions, OptimizerState};
use crate::trainer::ranks::pass_of_rank;
use crate::trainer::run::configured;
use crate::trainer::task::{StepMetrics, Task, check_loss_scale, check_losses, descend, skipped};
use crate::{Error, Result, memory};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Under what a checkpoint keeps the best weights so far.
const BEST: &str = "best.";
/// The place of the loss scale in the metrics of a step: behind the others, as the report of the
/// gradients has it.
const LOSS_SCALE: usize = StepMetrics::slot("finite") + 1;

/// Advice where training diverges.
const ADVICE: &str = "Lower train.lr, or clip gradients by train.grad_clip = 1";

/// The best measurement so far, and the weights that reached it.
struct Best {
    nats: f64,
    step: u64,
    weights: Parameters,
}

/// Checks that such a prior can be trained, over the codes and texts of this vocabulary, before
/// there is any.
///
/// # Errors
/// If the configuration makes no model, or the device or this process cannot hold it or a batch.
pub fn check(gpu: &Gpu, config: &Resolved<PriorConfig>, vocabulary: &Vocabulary) -> Result<()> {
    let mut builder = Parameters::builder();
    let prior = Prior::new(gpu, &mut builder, &config.prior, vocabulary)?;
    builder.check(gpu)?;
    let (p, batch) = (&config.prior, config.train.batch_size);
    batch_fits(
        gpu,
        "the prior's codes and texts",
        [batch, prior.rows(), p.dim],
    )?;
    match vocabulary.text {
        Some(text) if p.text == TextKind::Encoder => batch_fits(
            gpu,
            "the texts that the prior reads",
            [batch, text.length, p.dim],
        ),
        _ => Ok(()),
    }
}

/// Checks that the device can bind the activations of a batch, of so many rows each of so many
/// channels, and that there is memory for them.
pub(super) fn batch_fits(gpu: &Gpu, what: &str, [batch, rows, channels]: [usize; 3]) -> Result<()> {
    let what = format!("{what}: {batch} in a batch, of {rows} rows of {channels} channels each");
    // They may be kept in 16 bits.
    let (asked, limit) = (
        memory::product(&[batch, rows, channels, 2]),
        gpu.limits().max_storage_buffer_binding_size,
    );
    match asked {
        Some(asked) if asked > limit => Err(Error::Limit { what, asked, limit }),
        // A device with memory of its own takes none of this process's.
        _ if gpu.info().device_type == wgpu::DeviceType::Cpu => {
            memory::check_available(what, asked)
        }
        _ => Ok(()),
    }
}

/// A prior in training.
pub struct PriorTask {
    gpu: Gpu,
    config: Resolved<PriorConfig>,
    tokens: Tokens,
    prior: Prior,
    /// The order of the training images by their classes' weights.
    classes: Option<Arc<ClassOrder>>,
    best: Option<Best>,
    ranks: Ranks,
}

/// The trainer of a prior.
pub type PriorTrainer = Trainer<PriorTask>;

impl Trainer<PriorTask> {
    /// Returns a trainer of a prior over these tokens, at step 0.
    ///
    /// # Errors
    /// If the configuration makes no model, or the device cannot hold it.
    pub fn prior(
        gpu: &Gpu,
        config: &Resolved<PriorConfig>,
        tokens: Tokens,
    ) -> Result<PriorTrainer> {
        let config = &config.on(gpu)?;
        let (mut prior, params) = build(gpu, config, &tokens.info)?;
        if let Some(tables) = &tokens.scales {
            prior = prior.with_scale_tables(tables.clone())?;
        }
        if let Some(order) = &tokens.order {
            prior = prior.with_code_order(gpu, order.clone())?;
        }
        let t = &config.train;
        let hyper = Hyper {
            lr: t.rate(0),
            beta1: t.beta1.into(),
            beta2: t.beta2.into(),
            eps: t.adam_eps.into(),
            weight_decay: t.weight_decay.into(),
            decay: Decay::Decoupled,
        };
        let options = OptimizerOptions {
            hyper,
            moments: t.moments(),
            sharded: t.shard_optimizer,
            ema_decay: t.ema_decay,
            metrics: match t.precision {
                Precision::Mixed => LOSS_SCALE + 1,
                Precision::F32 | Precision::Auto => StepMetrics::WIDTH,
            },
            log_every: t.log_every,
            loss_scale: t.first_scale(),
        };
        let state = OptimizerState::new(gpu, params, options)?;
        let classes = class_order(config, &tokens)?;
        let task = PriorTask {
            gpu: gpu.clone(),
            classes,
            config: config.clone(),
            tokens,
            prior,
            best: None,
            ranks: Ranks::alone(),
        };
        Ok(Trainer::of(gpu, task, state))
    }
}

/// Returns the order of the training images by their classes' weights.
fn class_order(config: &Resolved<PriorConfig>, tokens: &Tokens) -> Result<Option<Arc<ClassOrder>>> {
    let weights = &config.train.class_weights;
    if *weights == ClassWeights::None {
        return Ok(None);
    }
    let (about, class_of) = (&tokens.info, tokens.train.classes()?);
    let (names, count) = (&about.classes, about.vocabulary.classes);
    weights.order("train.class_weights", &about.data, names, count, &class_of)
}

impl PriorTask {
    /// Returns the tokens that it is trained on.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    fn is_mixed(&self) -> bool {
        self.config.train.precision == Precision::Mixed
    }

    /// Goes over this rank's share of a step's batch: its share of the loss, and of the gradients.
    fn passes(&self, state: &OptimizerState) -> Result<(Tensor, GradientSum)> {
        let (step, passes) = (state.number(), self.config.train.accumulate as u64);
        let (own, places) = self.share();
        let (mut loss, mut sum): (Option<Tensor>, _) = (None, GradientSum::default());
        for pass in own.clone() {
            let (is_first, is_last) = (pass == own.start, pass + 1 == own.end);
            let number = step * passes + pass;
            let part = self.pass(state, number, &places, (is_first, is_last), &mut sum)?;
            match &loss {
                Some(loss) => {
                    add_assign(loss, &part)?;
                    self.gpu.flush()?;
                }
                None => loss = Some(part),
            }
        }
        let none = || Error::invalid("step", "it has no passes");
        let loss = loss.ok_or_else(none)?;
        Ok((loss, sum))
    }

    /// Mean cross-entropy of images of a side, in nats per token.
    fn measure(&self, weights: &Parameters, side: &Split, images: &[u32]) -> Result<f64> {
        measure(
            &self.prior,
            weights,
            side,
            images,
            self.config.train.batch_size,
            Conditioning::Matched,
        )
    }

    fn evaluation(
        &self,
        step: u64,
        weights_step: u64,
        nats: f64,
        images: usize,
    ) -> PriorEvaluation {
        let (bits, [w, h, c]) = (nats / std::f64::consts::LN_2, self.tokens.info.image);
        PriorEvaluation {
            step,
            weights_step,
            nats_per_token: nats,
            bits_per_token: bits,
            bits_per_dim: bits * self.prior.vocabulary().tokens() as f64 / (w * h * c) as f64,
            images,
        }
    }
}

/// Returns what a checkpoint says of the best measurement: its bits, and its step.
fn best_of(checkpoint: &LazyCheckpoint) -> Result<Option<(u64, u64)>> {
    let best = serde_json::from_value(checkpoint.state["best"].clone());
    best.map_err(|e| {
        let what = format!("the checkpoint's best measurement cannot be used: {e}");
        Error::data(what)
    })
}

impl Task for PriorTask {
    type Row = PriorRow;
    type Evaluation = PriorEvaluation;
    const PREFIXES: &'static [&'static str] = &[BEST];
    const OF_RANK_0: &'static [&'static str] = &[BEST];

    fn columns(&self) -> (String, String) {
        let scale = if self.is_mixed() { ",loss_scale" } else { "" };
        (PriorRow::header() + scale, PriorEvaluation::header())
    }

    fn relocate(&mut self, from: &Path, to: &Path) {
        self.tokens.relocate(from, to);
    }

    fn join(&mut self, ranks: &Ranks) -> Result<()> {
        if !self.prior.scales().is_empty() && ranks.size() > 1 {
            let what = "`next-scale` needs the first stage's quantizer, which other processes do \
                        not have: train it in one";
            return Err(Error::config("prior.kind", what));
        }
        let t = &self.config.train;
        pass_of_rank(ranks.size(), t.batch_size, t.accumulate)?;
        let parts = !t.accumulate.is_multiple_of(ranks.size());
        if parts && self.prior.learns_texts() {
            let what = format!(
                "{} passes do not fall into equal shares of {} ranks, and this prior learns its \
                 texts, whose lengths differ: let it be a multiple of {}",
                t.accumulate,
                ranks.size(),
                ranks.size()
            );
            return Err(Error::config("train.accumulate", what));
        }
        self.ranks = ranks.clone();
        Ok(())
    }

    fn per_step(&self) -> (usize, &'static str) {
        let t = &self.config.train;
        (t.images() * self.prior.vocabulary().tokens(), "tokens")
    }

    fn rate(&self, step: u64) -> f64 {
        self.config.train.rate(step)
    }

    fn step(&mut self, state: &mut OptimizerState) -> Result<()> {
        // Tokens are read from files, and the others would wait for a rank that cannot.
        let (loss, sum) = self.ranks.agree_on(self.passes(state))?;
        let gradients = state.sum_over_ranks(sum, &[&loss])?;
        // Measured in any case; what is not finite is then passed over.
        let max_norm = match self.config.train.grad_clip {
            clip if clip > 0.0 => clip,
            _ => f32::INFINITY,
        };
        let rate = self.rate(state.number());
        descend(state, &loss, &gradients, rate, max_norm)
    }

    fn check(&self, steps: &Steps) -> Result<()> {
        check_losses(steps, ADVICE)?;
        if self.is_mixed() {
            let scale = steps.reduce(LOSS_SCALE, Reduce::Mean);
            let most = self.config.train.log_every.min(steps.step);
            check_loss_scale(steps.step, scale, skipped(steps) as f64, most)?;
        }
        Ok(())
    }

    fn diverged(&self, step: u64, what: &str) -> Error {
        let what = format!("{what}. {ADVICE}");
        Error::Diverged { step, what }
    }

    fn row(&self, steps: &Steps) -> PriorRow {
        let means = StepMetrics::of(steps, 0);
        PriorRow {
            step: steps.step,
            loss: means.loss,
            gradient_norm: means.gradient_norm,
            lr: self.rate(steps.step.saturating_sub(1)),
            skipped: skipped(steps),
            loss_scale: self
                .is_mixed()
                .then(|| steps.reduce(LOSS_SCALE, Reduce::Mean)),
        }
    }

    fn evaluate(&mut self, state: &mut OptimizerState, last: bool) -> Result<PriorEvaluation> {
        let (t, test) = (&self.config.train, &self.tokens.test);
        let all: Vec<u32> = (0..test.len() as u32).collect();
        let some: Vec<u32> = match t.eval_images {
            0 => all.clone(),
            n => spread(&all, n),
        };
        let (now, weights) = (state.number(), state.weights());
        let nats = self.measure(weights, test, &some)?;
        if t.keep_best && self.best.as_ref().is_none_or(|best| nats < best.nats) {
            self.best = Some(Best {
                nats,
                step: now,
                weights: weights.duplicate()?,
            });
        }
        if !last {
            return Ok(self.evaluation(now, now, nats, some.len()));
        }
        let (step, kept, known) = match &self.best {
            Some(best) => (best.step, &best.weights, best.nats),
            None => (now, weights, nats),
        };
        // What was measured on all images is not measured again: the same weights give the same.
        let nats = match some.len() == all.len() {
            true => known,
            false => self.measure(kept, test, &all)?,
        };
        Ok(self.evaluation(now, step, nats, all.len()))
    }

    fn measurement_cost(&self) -> MeasurementCost {
        let (t, all) = (&self.config.train, self.tokens.test.len());
        let some = match t.eval_images {
            0 => all,
            n => n.min(all),
        };
        let last = if some < all { some + all } else { all };
        MeasurementCost::of_images(some, last, t.images())
    }

    fn save(&self, checkpoint: &mut LazyCheckpoint) -> Result<()> {
        if let Some(best) = &self.best {
            checkpoint.add_saved(BEST, best.weights.saved());
        }
        checkpoint.state["tokens"] = serde_json::json!(self.tokens.info);
        // As bits: a decimal number may come back as its neighbour.
        let best = self.best.as_ref();
        let best = best.map(|best| (best.nats.to_bits(), best.step));
        checkpoint.state["best"] = serde_json::json!(best);
        if let Some(order) = self.prior.code_order() {
            checkpoint.state[CODE_ORDER] = serde_json::json!(order);
        }
        Ok(())
    }

    fn check_checkpoint(&self, checkpoint: &LazyCheckpoint) -> Result<()> {
        let about = serde_json::from_value(checkpoint.state["tokens"].clone()).map_err(|e| {
            Error::data(format!(
                "the checkpoint does not say which tokens it was trained on: {e}"
            ))
        })?;
        self.tokens.check(&about)
    }

    fn check_state(&self, state: &OptimizerState, checkpoint: &LazyCheckpoint) -> Result<()> {
        if best_of(checkpoint)?.is_some() {
            state.params().check(&checkpoint.source(BEST, &[BEST]))?;
        }
        with_order_of(&self.gpu, self.prior.clone(), &checkpoint.state).map(drop)
    }

    fn load(&mut self, state: &mut OptimizerState, checkpoint: &LazyCheckpoint) -> Result<()> {
        self.best = match best_of(checkpoint)? {
            Some((nats, step)) => {
                let weights = state.params().duplicate()?;
                weights.load(&checkpoint.source(BEST, &[BEST]))?;
                Some(Best {
                    nats: f64::from_bits(nats),
                    step,
                    weights,
                })
            }
            None => None,
        };
        self.prior = with_order_of(&self.gpu, self.prior.clone(), &checkpoint.state)?;
        Ok(())
    }

    fn trained(&mut self, state: &mut OptimizerState) -> Result<LazyCheckpoint> {
        let best = self.best.as_ref();
        let kept = best.map_or(state.weights(), |best| &best.weights);
        let mut trained = LazyCheckpoint::default();
        trained.add_saved("", kept.saved());
        let mut about = serde_json::json!({ "config": self.config, "tokens": self.tokens.info });
        if let Some(order) = self.prior.code_order() {
            about[CODE_ORDER] = serde_json::json!(order);
        }
        trained.state = serde_json::json!({ "prior": about });
        Ok(trained)
    }
}

/// Trains a prior in `folder` until the configured steps are done or `stop` is set, as
/// [`super::run`] trains a first stage.
///
/// # Errors
/// As [`super::run`].
pub fn run_prior(
    gpu: &Gpu,
    config: &Resolved<PriorConfig>,
    tokens: Tokens,
    folder: &RunFolder,
    start: Start,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome<PriorTask>> {
    let config = folder.or_nothing(config.on(gpu))?;
    let (config, earlier) = configured(&config, folder, start)?;
    let ranks = Ranks::world();
    #[cfg(not(target_arch = "wasm32"))]
    let (place, order) = (tokens.folder(), tokens.order.clone());
    let trainer = Trainer::prior(gpu, &config, tokens);
    let trainer = trainer.and_then(|trainer| trainer.among(ranks.clone()));
    let trainer = folder.or_nothing(trainer)?;
    let t = &config.train;
    let schedule = Schedule {
        steps: t.steps,
        eval_every: t.eval_every,
        checkpoint_every: t.checkpoint_every,
        keep_checkpoints: t.keep_checkpoints,
        toml: config.to_toml()?,
        identity: config.identity()?,
        earlier,
    };
    #[cfg(not(target_arch = "wasm32"))]
    Job::Prior(schedule.toml.clone(), place, order).begin(&ranks)?;
    train_loop(trainer, &schedule, folder, start, observer, stop)
}

/// Moved and renamed to [`wgvq::inference::Conditioning`](crate::inference::Conditioning).
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::Conditioning`")]
pub type Told = Conditioning;
