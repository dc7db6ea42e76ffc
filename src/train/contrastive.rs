//! Training a contrastive model on the captioned images of a set, and what is read back of it.

use super::optimizer_state::{OptimizerOptions, OptimizerState, named};
use super::prior::batch_fits;
use super::task::{StepMetrics, Task, check_losses, descend};
use super::{Observer, Outcome, Schedule, Start, Trainer, train_loop};
use crate::autograd::Tape;
use crate::config::contrastive::ContrastiveConfig;
use crate::config::{DottedConfig, Resolved};
use crate::data::{ImageSet, batch_indices};
use crate::gpu::{Gpu, Tensor};
use crate::inference::contrastive_model::{Judge, Metadata, build, upload};
use crate::inference::retrieval::{Retrieval, retrieval};
use crate::metrics::Steps;
use crate::models::contrastive::Contrastive;
use crate::models::text::{Text, Texts};
use crate::nn::transformer::Dropout;
use crate::nn::{ForwardContext, HostTensors, Parameters};
use crate::ops::optim::adam::{Decay, Hyper};
use crate::ops::sampling::random::Key;
use crate::pace::MeasurementCost;
use crate::storage::checkpoint::Checkpoint;
use crate::storage::metrics_log::Record;
use crate::storage::run_folder::RunFolder;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The norm that gradients are clipped to.
const MAX_NORM: f32 = 1.0;
/// Advice where training diverges.
const ADVICE: &str = "Lower train.lr";
/// Images that a measurement tells apart.
const POOL: usize = 64;
/// The stream of random numbers for dropout: "clip".
const STREAM: u32 = 0x636c_6970;

/// A row of the training log: means over the steps since the row before.
#[derive(Clone, Debug, PartialEq)]
pub struct ContrastiveRow {
    /// Steps done.
    pub step: u64,
    /// Cross-entropy in nats.
    pub loss: f64,
    /// Norm of the gradients.
    pub gradient_norm: f64,
}

impl Record for ContrastiveRow {
    fn header() -> String {
        "step,loss,gradient_norm".into()
    }

    fn values(&self) -> String {
        format!("{},{:.6e},{:.4e}", self.step, self.loss, self.gradient_norm)
    }
}

impl std::fmt::Display for ContrastiveRow {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "loss {:.4}", self.loss)
    }
}

/// Checks that such a model can be trained, on images of this height, width and channels and such
/// texts, before anything is trained.
///
/// # Errors
/// If the configuration makes no model, or the device or this process cannot hold it or a batch.
pub fn check_contrastive(
    gpu: &Gpu,
    config: &Resolved<ContrastiveConfig>,
    image: [usize; 3],
    text: &Text,
) -> Result<()> {
    let mut builder = Parameters::builder();
    Contrastive::new(&mut builder, &config.model, image, text)?;
    builder.check(gpu)?;
    let sizes = [config.train.batch_size, text.length, config.model.dim];
    batch_fits(gpu, "the texts that the contrastive model reads", sizes)
}

/// A contrastive model in training.
pub struct ContrastiveTask {
    gpu: Gpu,
    config: Resolved<ContrastiveConfig>,
    data: Arc<ImageSet>,
    text: Text,
    /// Texts of all images, in their order.
    texts: Arc<Texts>,
    reader: String,
    model: Contrastive,
}

/// The trainer of a contrastive model.
pub type ContrastiveTrainer = Trainer<ContrastiveTask>;

impl Trainer<ContrastiveTask> {
    /// Returns a trainer of a contrastive model at step 0: `texts` are those of all images of the
    /// set, in their order, made by the tokenizer of the sum `reader`.
    ///
    /// # Errors
    /// If the configuration makes no model, or there are other texts than images.
    pub fn contrastive(
        gpu: &Gpu,
        config: &Resolved<ContrastiveConfig>,
        data: Arc<ImageSet>,
        text: Text,
        texts: Arc<Texts>,
        reader: &str,
    ) -> Result<ContrastiveTrainer> {
        if texts.lengths.len() != data.len() {
            return Err(Error::shape(
                "contrastive",
                format!("{} texts", data.len()),
                texts.lengths.len(),
            ));
        }
        let (model, params) = build(gpu, config, [data.height, data.width, data.channels], &text)?;
        let t = &config.train;
        let hyper = Hyper {
            lr: 0.0,
            beta1: 0.9,
            beta2: 0.98,
            eps: 1e-6,
            weight_decay: t.weight_decay.into(),
            decay: Decay::Decoupled,
        };
        let options = OptimizerOptions {
            hyper,
            ema_decay: 0.0,
            metrics: StepMetrics::WIDTH,
            log_every: t.log_every,
        };
        let state = OptimizerState::new(gpu, params, options)?;
        let task = ContrastiveTask {
            gpu: gpu.clone(),
            config: config.clone(),
            data,
            text,
            texts,
            reader: reader.to_owned(),
            model,
        };
        Ok(Trainer::of(gpu, task, state))
    }
}

/// Reads tensors one after the other.
fn read(parts: impl Iterator<Item = Result<Tensor>>) -> Result<Vec<f32>> {
    let mut rows = Vec::new();
    for part in parts {
        rows.extend(part?.read::<f32>()?);
    }
    Ok(rows)
}

impl Task for ContrastiveTask {
    type Row = ContrastiveRow;
    type Evaluation = Retrieval;
    const PREFIXES: &'static [&'static str] = &[];

    fn per_step(&self) -> (usize, &'static str) {
        (self.config.train.batch_size, "pairs")
    }

    fn rate(&self, step: u64) -> f64 {
        self.config.train.rate(step)
    }

    fn step(&mut self, state: &mut OptimizerState) -> Result<()> {
        let (t, step) = (&self.config.train, state.number());
        let places = batch_indices(t.seed, step, t.batch_size, self.data.train.len());
        let numbers: Vec<u32> = places
            .iter()
            .map(|i| self.data.train[*i as usize])
            .collect();
        let images = upload(&self.gpu, &self.data, &numbers)?;
        let texts = self.texts.gather(numbers.iter().map(|i| *i as usize));
        let texts = texts.upload(&self.gpu, &self.text)?;
        let tape = Tape::new(&self.gpu);
        let pass = ForwardContext::new(&tape, state.params()).with_gradients_of(state.adam());
        let key = Key {
            seed: t.seed,
            step,
            stream: STREAM,
        };
        let dropout = Dropout {
            rate: self.config.model.dropout,
            key,
        };
        let loss = self
            .model
            .loss(&pass, &tape.constant(&images), &texts, dropout)?;
        let gradients = pass.gradients(tape.backward(&loss)?);
        descend(state, loss.tensor(), &gradients, t.rate(step), MAX_NORM)
    }

    fn check(&self, steps: &Steps) -> Result<()> {
        check_losses(steps, ADVICE)
    }

    fn diverged(&self, step: u64, what: &str) -> Error {
        let what = format!("{what}. {ADVICE}");
        Error::Diverged { step, what }
    }

    fn row(&self, steps: &Steps) -> ContrastiveRow {
        let means = StepMetrics::of(steps, 0);
        ContrastiveRow {
            step: steps.step,
            loss: means.loss,
            gradient_norm: means.gradient_norm,
        }
    }

    fn evaluate(&mut self, state: &mut OptimizerState, _: bool) -> Result<Retrieval> {
        let judge = Judge {
            gpu: &self.gpu,
            model: &self.model,
            params: state.weights(),
            text: &self.text,
        };
        let numbers = &self.data.test;
        let texts = self.texts.gather(numbers.iter().map(|i| *i as usize));
        let bytes = self.data.gather(numbers)?;
        let (images, captions) = (read(judge.images(&bytes))?, read(judge.texts(&texts))?);
        let found = retrieval(&images, &captions, &texts, &self.text, POOL);
        Ok(Retrieval {
            step: state.number(),
            ..found
        })
    }

    fn measurement_cost(&self) -> MeasurementCost {
        let images = self.data.test.len();
        MeasurementCost::of_images(images, images, self.per_step().0)
    }

    fn save(&self, checkpoint: &mut Checkpoint) -> Result<()> {
        checkpoint.state["data"] = self.data.sha256().into();
        checkpoint.state["reader"] = self.reader.clone().into();
        Ok(())
    }

    fn check_checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        let state = &checkpoint.state;
        let sum = state["data"].as_str().unwrap_or_default();
        if self.data.is_of_sum(sum) && state["reader"] == *self.reader {
            return Ok(());
        }
        let what = format!(
            "the checkpoint was made on other images or texts than those of `{}`: say where they \
             lie now by --data",
            self.data.name
        );
        Err(Error::data(what))
    }

    fn load(
        &mut self,
        _: &mut OptimizerState,
        _: &Checkpoint,
        _: BTreeMap<&'static str, HostTensors>,
    ) -> Result<()> {
        Ok(())
    }

    fn trained(&mut self, state: &mut OptimizerState) -> Result<Checkpoint> {
        let tensors = named("", state.weights().to_host()?);
        let metadata = Metadata {
            config: self.config.clone().into_inner(),
            image: self.model.image(),
            text: self.text,
            reader: self.reader.clone(),
        };
        Ok(Checkpoint {
            tensors,
            state: serde_json::json!({ "contrastive": metadata }),
        })
    }
}

/// Trains a contrastive model in `folder`.
///
/// # Errors
/// As [`train_loop`].
pub fn run_contrastive(
    trainer: ContrastiveTrainer,
    folder: &RunFolder,
    start: Start,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome<ContrastiveTask>> {
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

/// Moved and renamed.
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::ContrastiveModel`")]
pub type TrainedContrastive = crate::inference::ContrastiveModel;
