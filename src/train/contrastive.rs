//! Training a contrastive model on the captioned images of a set, and what is read back of it.

use super::prior::batch_fits;
use super::{Observer, Outcome, Schedule, Start, Trainer, train_loop};
use crate::autograd::Tape;
use crate::config::contrastive::ContrastiveConfig;
use crate::config::{DottedConfig, Resolved};
use crate::data::{ImageSet, batch_indices};
use crate::gpu::{DType, Gpu, Tensor};
use crate::inference::contrastive_model::{BATCH, Judge, Metadata, build, upload};
use crate::inference::retrieval::{Retrieval, retrieval};
use crate::metrics::Steps;
use crate::models::contrastive::Contrastive;
use crate::models::losses::penalty::carry;
use crate::models::text::{Text, TextBatch, Texts};
use crate::nn::transformer::Dropout;
use crate::nn::{ForwardContext, GradientSum, Handle, Parameters};
use crate::ops::optim::adam::{Decay, Hyper};
use crate::ops::quantize::gather::gather;
use crate::ops::sampling::random::Key;
use crate::pace::MeasurementCost;
use crate::storage::checkpoint::{Checkpoint, LazyCheckpoint};
use crate::storage::metrics_log::Record;
use crate::storage::run_folder::RunFolder;
use crate::trainer::optimizer_state::{OptimizerOptions, OptimizerState, named};
use crate::trainer::task::{StepMetrics, Task, check_losses, descend};
use crate::{Error, Result};
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
    batch_fits(gpu, "the texts that the contrastive model reads", sizes)?;
    let pairs = config.train.images();
    batch_fits(
        gpu,
        "the pairs of images and texts of a step",
        [pairs, pairs, 1],
    )
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
            moments: Default::default(),
            sharded: false,
            ema_decay: 0.0,
            metrics: StepMetrics::WIDTH,
            log_every: t.log_every,
            loss_scale: None,
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

impl ContrastiveTask {
    /// Returns images by their numbers in the set, and their texts, on the device.
    fn pairs(&self, numbers: &[u32]) -> Result<(Tensor, TextBatch)> {
        let images = upload(&self.gpu, &self.data, numbers)?;
        let texts = self.texts.gather(numbers.iter().map(|i| *i as usize));
        Ok((images, texts.upload(&self.gpu, &self.text)?))
    }

    /// The dropout of a pass; no two have the same.
    fn dropout(&self, number: u64) -> Dropout {
        let key = Key {
            seed: self.config.train.seed,
            step: number,
            stream: STREAM,
        };
        Dropout {
            rate: self.config.model.dropout,
            key,
            before: 0,
        }
    }

    /// One pass over all pairs of a step: its loss, and the gradients.
    fn pass(
        &self,
        state: &OptimizerState,
        step: u64,
        numbers: &[u32],
    ) -> Result<(Tensor, Vec<(Handle, Tensor)>)> {
        let (images, texts) = self.pairs(numbers)?;
        let tape = Tape::new(&self.gpu);
        let pass = ForwardContext::new(&tape, state.params()).with_gradients_of(state.adam());
        let loss = self
            .model
            .loss(&pass, &tape.constant(&images), &texts, self.dropout(step))?;
        let value = loss.tensor().clone();
        Ok((value, pass.gradients(tape.backward(&loss)?)))
    }

    /// [`ContrastiveTask::pass`] over as many pairs at a time as the configuration's batch has.
    /// Each image is told apart from the texts of all: what images and texts become is computed
    /// first, without what leads there, then the loss and its slopes with respect to it; a second
    /// pass over each part takes these back to the weights (Gao et al. 2021, "Scaling deep
    /// contrastive learning batch size under memory limited setup").
    fn passes(
        &self,
        state: &OptimizerState,
        step: u64,
        numbers: &[u32],
    ) -> Result<(Tensor, Vec<(Handle, Tensor)>)> {
        let t = &self.config.train;
        let parts = || {
            let first = step * t.accumulate as u64;
            let number = move |(i, part)| (self.dropout(first + i as u64), part);
            numbers.chunks(t.batch_size).enumerate().map(number)
        };
        let (mut images, mut texts) = (Vec::new(), Vec::new());
        for (dropout, part) in parts() {
            let tape = Tape::no_grad(&self.gpu);
            let pass = ForwardContext::new(&tape, state.params());
            let (x, text) = self.pairs(part)?;
            let rows = self.model.images(&pass, &tape.constant(&x), dropout)?;
            images.push(rows.tensor().clone());
            let rows = self.model.texts(&pass, &text, dropout)?;
            texts.push(rows.tensor().clone());
            self.gpu.flush()?;
        }
        let mut sum = GradientSum::default();
        let tape = Tape::new(&self.gpu);
        let pass = ForwardContext::new(&tape, state.params());
        let leaves = [
            tape.leaf(&Tensor::joined(&images)?),
            tape.leaf(&Tensor::joined(&texts)?),
        ];
        drop((images, texts));
        let loss = self.model.loss_of_rows(&pass, &leaves[0], &leaves[1])?;
        let mut slopes = tape.backward(&loss)?;
        let missing = || Error::invalid("contrastive", "the loss does not see the pairs");
        let [image_slopes, text_slopes] = leaves.map(|leaf| slopes.take(&leaf));
        let (image_slopes, text_slopes) = (
            image_slopes.ok_or_else(missing)?,
            text_slopes.ok_or_else(missing)?,
        );
        sum.add(state.adam(), pass.gradients(slopes))?;
        let mut at = 0;
        for (dropout, part) in parts() {
            let tape = Tape::new(&self.gpu);
            let mut pass = ForwardContext::new(&tape, state.params());
            // Those of the parts that follow are added to what the first one writes.
            if at == 0 {
                pass = pass.with_gradients_of(state.adam());
            }
            let (x, text) = self.pairs(part)?;
            let places: Vec<u32> = (at..at + part.len() as u32).collect();
            let places = Tensor::from_slice(&self.gpu, &[places.len()], &places)?;
            at += part.len() as u32;
            let rows = self.model.images(&pass, &tape.constant(&x), dropout)?;
            let zero = Tensor::zeros(&self.gpu, &[1], DType::F32)?;
            let side = carry(&tape, &rows, zero.clone(), gather(&image_slopes, &places)?);
            let rows = self.model.texts(&pass, &text, dropout)?;
            let other = carry(&tape, &rows, zero, gather(&text_slopes, &places)?);
            let both = tape.add(&side, &other)?;
            drop((rows, side, other));
            sum.add(state.adam(), pass.gradients(tape.backward(&both)?))?;
            self.gpu.flush()?;
        }
        Ok((loss.tensor().clone(), sum.into_gradients()))
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
        (self.config.train.images(), "pairs")
    }

    fn rate(&self, step: u64) -> f64 {
        self.config.train.rate(step)
    }

    fn step(&mut self, state: &mut OptimizerState) -> Result<()> {
        let (t, step) = (&self.config.train, state.number());
        let places = batch_indices(t.seed, step, t.images(), self.data.train.len());
        let numbers: Vec<u32> = places
            .iter()
            .map(|i| self.data.train[*i as usize])
            .collect();
        let (loss, gradients) = match t.accumulate {
            1 => self.pass(state, step, &numbers)?,
            _ => self.passes(state, step, &numbers)?,
        };
        descend(state, &loss, &gradients, t.rate(step), MAX_NORM)
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
        let mut images = Vec::new();
        // All of them at once may be more than this process can hold.
        for part in numbers.chunks(BATCH) {
            images.extend(read(judge.images(&self.data.gather(part)?))?);
        }
        let captions = read(judge.texts(&texts))?;
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

    fn save(&self, checkpoint: &mut LazyCheckpoint) -> Result<()> {
        checkpoint.state["data"] = self.data.sha256().into();
        checkpoint.state["reader"] = self.reader.clone().into();
        Ok(())
    }

    fn check_checkpoint(&self, checkpoint: &LazyCheckpoint) -> Result<()> {
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

    fn load(&mut self, _: &mut OptimizerState, _: &LazyCheckpoint) -> Result<()> {
        Ok(())
    }

    fn trained(&mut self, state: &mut OptimizerState) -> Result<LazyCheckpoint> {
        let tensors = named("", state.weights().to_host()?);
        let metadata = Metadata {
            config: self.config.clone().into_inner(),
            image: self.model.image(),
            text: self.text,
            reader: self.reader.clone(),
        };
        let state = serde_json::json!({ "contrastive": metadata });
        Ok(Checkpoint { tensors, state }.into())
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

/// Moved and renamed to [`wgvq::inference::ContrastiveModel`](crate::inference::ContrastiveModel).
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::ContrastiveModel`")]
pub type TrainedContrastive = crate::inference::ContrastiveModel;
