//! Training a first stage over vectors: one step, and a run in a folder.

mod evaluation;

pub use evaluation::VectorsEvaluation;

use super::first_stage::{INIT_LATENTS, level_slot, record};
use super::{Observer, Outcome, Schedule, Start, Trainer, train_loop};
use crate::autograd::Tape;
use crate::config::vectors::VectorsConfig;
use crate::config::{DottedConfig, Resolved};
use crate::data::batch_indices;
use crate::gpu::{DType, Gpu, Tensor};
use crate::inference::vectors_model::{VectorsStage, build};
use crate::metrics::{CodeMetrics, LevelRow, LossMetrics, MeanOfParts, Row, Steps};
use crate::models::Level;
use crate::nn::ForwardContext;
use crate::ops::loss::loss::Loss;
use crate::ops::optim::adam::{Decay, Hyper};
use crate::ops::quantize::codebook_use::codebook_use;
use crate::pace::MeasurementCost;
use crate::quantize::{Mode, Registry};
use crate::storage::checkpoint::LazyCheckpoint;
use crate::storage::run_folder::RunFolder;
use crate::trainer::optimizer_state::{OptimizerOptions, OptimizerState};
use crate::trainer::task::Task;
use crate::vectors::{HeldOut, Standard};
use crate::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Advice where training diverges.
const ADVICE: &str = "Lower train.lr, or set train.grad_clip = 1";
/// Metrics of a step.
const WIDTH: usize = level_slot(1);
/// Latents for each code that the first placement of codes sees, where there are so many vectors.
const PER_CODE: usize = 4;

/// A first stage over vectors in training.
pub struct VectorsTask {
    gpu: Gpu,
    config: Resolved<VectorsConfig>,
    data: Arc<HeldOut>,
    model: VectorsStage,
}

/// The trainer of a first stage over vectors.
pub type VectorsTrainer = Trainer<VectorsTask>;

impl Trainer<VectorsTask> {
    /// Returns a trainer of a first stage over vectors at step 0.
    ///
    /// # Errors
    /// If the configuration makes no model for them, they cannot be read, or the device cannot hold
    /// the model.
    pub fn vectors(
        gpu: &Gpu,
        config: &Resolved<VectorsConfig>,
        data: Arc<HeldOut>,
        registry: &Registry,
    ) -> Result<VectorsTrainer> {
        let t = &config.train;
        let standard = Standard::find(config.model.scaling, &data)?;
        let (model, params) = build(gpu, config, standard, registry)?;
        let hyper = Hyper {
            weight_decay: t.weight_decay.into(),
            decay: Decay::Decoupled,
            ..Hyper::default()
        };
        let options = OptimizerOptions {
            hyper,
            moments: Default::default(),
            sharded: false,
            ema_decay: 0.0,
            metrics: WIDTH,
            log_every: t.log_every,
            loss_scale: None,
        };
        let state = OptimizerState::new(gpu, params, options)?;
        let task = VectorsTask {
            gpu: gpu.clone(),
            config: config.clone(),
            data,
            model,
        };
        Ok(Trainer::of(gpu, task, state))
    }

    /// Returns the vectors.
    pub fn data(&self) -> &HeldOut {
        &self.task().data
    }
}

impl VectorsTask {
    /// Returns the configuration.
    pub fn config(&self) -> &Resolved<VectorsConfig> {
        &self.config
    }

    /// Returns the layout of a vector's codes.
    pub fn level(&self) -> &Level {
        &self.model.level
    }

    fn wants_init(&self) -> bool {
        self.model.stage.quantizers.iter().any(|q| q.wants_init())
    }

    /// The vectors of a step, [B, 1, 1, D].
    fn batch(&self, step: u64) -> Result<Tensor> {
        let t = &self.config.train;
        let numbers = batch_indices(t.seed, step, t.batch_size, self.data.train_len());
        let vectors = self.data.train(numbers.iter().map(|i| *i as usize))?;
        self.model.upload(vectors)
    }

    /// Places the codes among the latents of the first vectors, as training sees them.
    fn initialize(&mut self, state: &OptimizerState) -> Result<()> {
        let (n, seed) = (self.data.train_len(), self.config.train.seed);
        let codes = self.model.level.codebook_size.saturating_mul(PER_CODE);
        let wanted = codes.max(INIT_LATENTS).min(n);
        let numbers = batch_indices(seed, 0, wanted, n);
        let (rows, params) = (self.model.rows(), state.params());
        let dim = self.model.stage.quantizers[0].dim();
        let all = Tensor::empty(&self.gpu, &[wanted, dim], DType::F32)?;
        let mut at = 0;
        for part in numbers.chunks(rows) {
            let vectors = self.data.train(part.iter().map(|i| *i as usize))?;
            let tape = Tape::no_grad(&self.gpu);
            let pass = ForwardContext::new(&tape, params);
            let x = tape.constant(&self.model.upload(vectors)?);
            let latents = self.model.stage.latents(&pass, &x, 0)?;
            let latents = latents.tensor();
            all.copy_into(at, &latents.reshape(&[latents.len()])?)?;
            at += latents.len();
        }
        let per_step = self.config.train.batch_size;
        let tape = Tape::no_grad(&self.gpu);
        let pass = ForwardContext::new(&tape, params);
        for quantizer in &mut self.model.stage.quantizers {
            quantizer.initialize(&pass, &all, per_step)?;
        }
        Ok(())
    }
}

impl Task for VectorsTask {
    type Row = Row;
    type Evaluation = VectorsEvaluation;
    const PREFIXES: &'static [&'static str] = &["quantizer."];

    fn wants_preparation(&self) -> bool {
        self.wants_init()
    }

    fn prepare(&mut self, state: &mut OptimizerState) -> Result<()> {
        match self.wants_init() {
            true => self.initialize(state),
            false => Ok(()),
        }
    }

    fn per_step(&self) -> (usize, &'static str) {
        (self.config.train.batch_size, "vectors")
    }

    fn rate(&self, step: u64) -> f64 {
        self.config.train.rate(step)
    }

    fn step(&mut self, state: &mut OptimizerState) -> Result<()> {
        let step = state.number();
        self.prepare(state)?;
        let batch = self.batch(step)?;
        let tape = Tape::new(&self.gpu);
        let pass = ForwardContext::new(&tape, state.params()).with_gradients_of(state.adam());
        let x = tape.constant(&batch);
        let mode = Mode::Train { step };
        let (coded, y) = self.model.stage.reconstruct(&pass, &x, mode)?;
        let mut loss = tape.loss(Loss::Mse, &y, &x)?;
        let reconstruction = loss.tensor().clone();
        drop((x, y));
        for part in &coded {
            if let Some(part) = part.quantized.total(&tape)? {
                loss = tape.add(&loss, &part)?;
            }
        }
        let mut metrics = MeanOfParts::new(1.0);
        record(&mut metrics, &loss, &reconstruction, &coded)?;
        let mut seen = Vec::new();
        for part in coded {
            // Perplexity, entropy and codes used lie one behind the other.
            let slot = level_slot(0) + const { CodeMetrics::slot("perplexity") };
            metrics.add(slot, &codebook_use(&part.quantized.counts)?)?;
            seen.extend(part.quantized.seen);
        }
        let gradients = pass.gradients(tape.backward(&loss)?);
        // What a quantizer does not have stays 0.
        state.metrics().begin()?;
        for (slot, values) in metrics.finish()? {
            state.metrics().set(slot, &values)?;
        }
        let t = &self.config.train;
        state.update(&gradients, t.rate(step), t.max_norm())?;
        drop(gradients);
        for quantizer in &mut self.model.stage.quantizers {
            if let Some(revived) = quantizer.learn(state.params(), &seen, step)? {
                let slot = level_slot(0) + const { CodeMetrics::slot("revived") };
                state.metrics().set(slot, &revived)?;
            }
        }
        Ok(())
    }

    fn check(&self, steps: &Steps) -> Result<()> {
        const LOSS: usize = LossMetrics::slot("loss");
        match steps.first_bad(|m| m[LOSS].is_finite()) {
            None => Ok(()),
            Some((step, metrics)) => {
                let what = format!(
                    "the loss is {} at step {step}: training diverged",
                    metrics[LOSS]
                );
                Err(self.diverged(step, &what))
            }
        }
    }

    fn diverged(&self, step: u64, what: &str) -> Error {
        let what = format!("{what}. {ADVICE}");
        Error::Diverged { step, what }
    }

    fn row(&self, steps: &Steps) -> Row {
        let level = &self.model.level;
        let level = LevelRow {
            name: level.name.clone(),
            codes: level.codes(),
            codebooks: level.codebooks,
            metrics: CodeMetrics::of(steps, level_slot(0)),
        };
        Row::new(steps.step, LossMetrics::of(steps, 0), vec![level])
    }

    fn evaluate(&mut self, state: &mut OptimizerState, _: bool) -> Result<VectorsEvaluation> {
        self.prepare(state)?;
        let measured = VectorsEvaluation::of(&self.model, state.weights(), &self.data)?;
        Ok(VectorsEvaluation {
            step: state.number(),
            ..measured
        })
    }

    fn measurement_cost(&self) -> MeasurementCost {
        let rows = self.data.test_len();
        MeasurementCost::of_images(rows, rows, self.per_step().0)
    }

    fn save(&self, checkpoint: &mut LazyCheckpoint) -> Result<()> {
        checkpoint.add("", self.model.stage.save()?);
        checkpoint.state["data"] = self.data.sum().into();
        Ok(())
    }

    fn check_checkpoint(&self, checkpoint: &LazyCheckpoint) -> Result<()> {
        if checkpoint.state["data"] == self.data.sum() {
            return Ok(());
        }
        let what = format!(
            "the array `{}` is not the one that this run began with: say where that lies now by \
             --data",
            self.config.data.source
        );
        Err(Error::data(what))
    }

    fn check_state(&self, _: &OptimizerState, checkpoint: &LazyCheckpoint) -> Result<()> {
        self.model.stage.check(checkpoint.part("quantizer.")?)
    }

    fn load(&mut self, state: &mut OptimizerState, checkpoint: &LazyCheckpoint) -> Result<()> {
        self.model.stage.load(checkpoint.part("quantizer.")?)?;
        // Codes are placed by the first step.
        let placed = state.number() > 0;
        let quantizers = self.model.stage.quantizers.iter_mut();
        quantizers.for_each(|q| q.reset(placed));
        Ok(())
    }

    fn trained(&mut self, state: &mut OptimizerState) -> Result<LazyCheckpoint> {
        let trained = self.model.trained(state.weights(), &self.config)?;
        Ok(trained.into())
    }
}

/// Trains a first stage over vectors in `folder`.
///
/// # Errors
/// As [`train_loop`].
pub fn run_vectors(
    trainer: VectorsTrainer,
    folder: &RunFolder,
    start: Start,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome<VectorsTask>> {
    let (config, t) = (&trainer.task().config, &trainer.task().config.train);
    let schedule = Schedule {
        steps: t.steps,
        eval_every: t.eval_every,
        checkpoint_every: t.checkpoint_every,
        keep_checkpoints: t.keep_checkpoints,
        toml: config.to_toml()?,
        identity: config.identity()?,
        earlier: Vec::new(),
    };
    train_loop(trainer, &schedule, folder, start, observer, stop)
}

/// Returns the configuration under which a run over vectors goes on: `kept`, its own, with what
/// `set` makes of it. `option` is what asks for it.
///
/// # Errors
/// If that would be another run.
pub fn resumed_vectors(
    kept: &VectorsConfig,
    option: &str,
    set: impl FnOnce(&mut VectorsConfig) -> Result<()>,
) -> Result<Resolved<VectorsConfig>> {
    let mut config = kept.clone();
    set(&mut config)?;
    if config.identity()? != kept.identity()? {
        let what = "goes on under the run's own configuration: of the keys, --steps alone may be \
                    given, and --data where the same array lies elsewhere now";
        return Err(Error::config(option, what));
    }
    config.resolve(&Registry::default())
}
