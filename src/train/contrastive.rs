//! Training a contrastive model on the captioned images of a set, and what is read back of it.

use super::checkpoint::{self, Checkpoint};
use super::descent::{Descent, Figures, named};
use super::keyed::check;
use super::metrics_log::Record;
pub use super::retrieval::{Retrieval, retrieval};
use super::run::{Training, follow};
use super::run_folder::RunFolder;
use super::{Keyed, Observer, Outcome, Schedule, Start, learning_rate, weights};
use crate::autograd::Tape;
use crate::data::{ImageSet, batch_indices};
use crate::gpu::{Gpu, MemoryReport, Tensor};
use crate::models::contrastive::{Contrastive, Shape};
use crate::models::text::{Text, Texts};
use crate::nn::transformer::Dropout;
use crate::nn::{Parameters, Pass};
use crate::ops::image::image::normalize;
use crate::ops::optim::adam::{Decay, Hyper};
use crate::ops::sampling::random::Key;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Everything that decides what the model becomes, beside images and texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContrastiveConfig {
    /// The model.
    pub model: Shape,
    /// The training.
    pub train: Train,
}

/// `[train]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Train {
    /// Steps in all.
    pub steps: u64,
    /// Pairs in a step: each image is told apart from the others' texts.
    pub batch_size: usize,
    /// AdamW's learning rate at its highest.
    pub lr: f32,
    /// What the rate falls to, as a share of the highest.
    pub min_lr: f32,
    /// Steps in which the rate rises.
    pub warmup: u64,
    /// Decoupled weight decay, of matrices other than embeddings.
    pub weight_decay: f32,
    /// Seed of everything random.
    pub seed: u64,
    /// Steps per row of the log.
    pub log_every: u64,
    /// Steps between measurements; 0 measures at the end alone.
    pub eval_every: u64,
    /// Steps between checkpoints; 0 saves at the end alone.
    pub checkpoint_every: u64,
    /// Checkpoints that are kept.
    pub keep_checkpoints: usize,
}

impl Default for Train {
    fn default() -> Self {
        Train {
            steps: 1500,
            batch_size: 64,
            lr: 1e-3,
            min_lr: 0.05,
            warmup: 100,
            weight_decay: 0.1,
            seed: 0,
            log_every: 10,
            eval_every: 250,
            checkpoint_every: 500,
            keep_checkpoints: 2,
        }
    }
}

impl Keyed for ContrastiveConfig {}

impl ContrastiveConfig {
    /// Are all values usable?
    ///
    /// # Errors
    /// On the first that is not: its key, its value and what is allowed.
    pub fn validate(&self) -> Result<()> {
        self.model.check()?;
        let t = &self.train;
        check("train.steps", t.steps, (1..=1 << 40).contains(&t.steps), "from 1 to 2^40")?;
        check("train.batch_size", t.batch_size, (2..=1 << 14).contains(&t.batch_size), "from 2 to 16384")?;
        check("train.lr", t.lr, t.lr.is_finite() && t.lr > 0.0 && t.lr <= 10.0, "above 0 and at most 10")?;
        check("train.min_lr", t.min_lr, (0.0..=1.0).contains(&t.min_lr), "from 0 to 1, a share of train.lr")?;
        check("train.warmup", t.warmup, t.warmup <= 1 << 40, "at most 2^40")?;
        let decay = t.weight_decay;
        check("train.weight_decay", decay, decay.is_finite() && decay >= 0.0, "a number of at least 0")?;
        check("train.seed", t.seed, t.seed < 1 << 63, "below 2^63")?;
        check("train.log_every", t.log_every, (1..=100_000).contains(&t.log_every), "from 1 to 100000")?;
        check("train.keep_checkpoints", t.keep_checkpoints, t.keep_checkpoints >= 1, "at least 1")
    }

    /// A hash of what a resumed run may not change: every value, but for the steps in all.
    ///
    /// # Errors
    /// As [`Keyed::to_toml`].
    pub fn identity(&self) -> Result<String> {
        let mut same = self.clone();
        same.train.steps = 0;
        same.sha256()
    }
}

/// The norm that gradients are clipped to.
const MAX_NORM: f32 = 1.0;
/// What to change where training diverges.
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
    const HEADER: &'static str = "step,loss,gradient_norm";
    fn values(&self) -> String {
        format!("{},{:.6e},{:.4e}", self.step, self.loss, self.gradient_norm)
    }
}

impl std::fmt::Display for ContrastiveRow {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "loss {:.4}", self.loss)
    }
}

/// A contrastive model in training.
pub struct ContrastiveTrainer {
    gpu: Gpu,
    config: ContrastiveConfig,
    data: Arc<ImageSet>,
    text: Text,
    /// Those of all images, in their order.
    texts: Arc<Texts>,
    reader: String,
    model: Contrastive,
    descent: Descent,
}

fn build(gpu: &Gpu, config: &ContrastiveConfig, image: [usize; 3], text: &Text) -> Result<(Contrastive, Parameters)> {
    let mut builder = Parameters::builder();
    let model = Contrastive::new(&mut builder, &config.model, image, text)?;
    Ok((model, builder.build(gpu, config.train.seed)?))
}

/// Images by their numbers, on the device.
fn upload(gpu: &Gpu, data: &ImageSet, numbers: &[u32]) -> Result<Tensor> {
    pixels(gpu, &data.gather(numbers)?, [numbers.len(), data.height, data.width, data.channels])
}

fn pixels(gpu: &Gpu, bytes: &[u8], shape: [usize; 4]) -> Result<Tensor> {
    let order: Vec<u32> = (0..shape[0] as u32).collect();
    normalize(&Tensor::from_slice(gpu, &shape, bytes)?, &Tensor::from_slice(gpu, &[shape[0]], &order)?)
}

/// The texts of some images.
pub fn some(texts: &Texts, text: &Text, numbers: &[u32]) -> Texts {
    numbers.iter().fold(Texts::default(), |all, i| all.and(&texts.slice(text, *i as usize..*i as usize + 1)))
}

impl ContrastiveTrainer {
    /// A trainer at step 0: `texts` are those of all images of the set, in their order, made by the tokenizer of the sum `reader`.
    ///
    /// # Errors
    /// If the configuration makes no model, or there are other texts than images.
    pub fn new(
        gpu: &Gpu,
        config: &ContrastiveConfig,
        data: Arc<ImageSet>,
        text: Text,
        texts: Arc<Texts>,
        reader: &str,
    ) -> Result<ContrastiveTrainer> {
        config.validate()?;
        if texts.lengths.len() != data.len() {
            return Err(Error::shape("contrastive", format!("{} texts", data.len()), texts.lengths.len()));
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
        let descent = Descent::new(gpu, params, hyper, MAX_NORM, 0.0, t.log_every)?;
        Ok(ContrastiveTrainer {
            gpu: gpu.clone(),
            config: config.clone(),
            data,
            text,
            texts,
            reader: reader.to_owned(),
            model,
            descent,
        })
    }

    /// What the engine holds of device memory, and held at most.
    pub fn memory(&self) -> MemoryReport {
        self.gpu.memory()
    }
}

impl Train {
    /// The learning rate of a step, from 0 on. It reaches its least at the last step.
    pub fn rate(&self, step: u64) -> f64 {
        learning_rate::at(step, self.lr, self.min_lr, self.warmup, learning_rate::to_the_end(self.steps, self.warmup))
    }
}

impl Training for ContrastiveTrainer {
    type Row = ContrastiveRow;
    type Evaluation = Retrieval;

    fn step_number(&self) -> u64 {
        self.descent.number()
    }

    fn per_step(&self) -> (usize, &'static str) {
        (self.config.train.batch_size, "pairs")
    }

    fn rate(&self, step: u64) -> Option<f64> {
        Some(self.config.train.rate(step))
    }

    fn step(&mut self) -> Result<()> {
        let (t, step) = (&self.config.train, self.descent.number());
        let places = batch_indices(t.seed, step, t.batch_size, self.data.train.len());
        let numbers: Vec<u32> = places.iter().map(|i| self.data.train[*i as usize]).collect();
        let images = upload(&self.gpu, &self.data, &numbers)?;
        let texts = some(&self.texts, &self.text, &numbers).upload(&self.gpu, &self.text)?;
        let tape = Tape::new(&self.gpu);
        let pass = Pass::new(&tape, self.descent.params());
        let key = Key { seed: t.seed, step, stream: STREAM };
        let dropout = Dropout { rate: self.config.model.dropout, key };
        let loss = self.model.loss(&pass, &tape.constant(&images), &texts, dropout)?;
        let gradients = pass.gradients(tape.backward(&loss)?);
        self.descent.step(loss.tensor(), &gradients, t.rate(step))
    }

    fn rows(&mut self, wait: bool) -> Result<Vec<ContrastiveRow>> {
        let mut done = Vec::new();
        while let Some(Figures { step, loss, gradient_norm, .. }) = self.descent.arrived(wait, ADVICE)? {
            done.push(ContrastiveRow { step, loss, gradient_norm });
        }
        Ok(done)
    }

    fn close_row(&mut self) -> Result<()> {
        self.descent.close_row()
    }

    fn evaluate(&mut self, _: bool) -> Result<Retrieval> {
        let judge = Judge { gpu: &self.gpu, model: &self.model, params: self.descent.weights(), text: &self.text };
        let numbers = &self.data.test;
        let texts = some(&self.texts, &self.text, numbers);
        let images = judge.images(&self.data.gather(numbers)?)?;
        let found = retrieval(&images, &judge.texts(&texts)?, &texts, &self.text, POOL);
        Ok(Retrieval { step: self.descent.number(), ..found })
    }

    fn checkpoint(&mut self) -> Result<Checkpoint> {
        let mut checkpoint = self.descent.checkpoint()?;
        checkpoint.state["data"] = self.data.sha256().into();
        checkpoint.state["reader"] = self.reader.clone().into();
        Ok(checkpoint)
    }

    fn check(&self, checkpoint: &Checkpoint) -> Result<()> {
        self.descent.check(checkpoint, ADVICE)
    }

    fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let state = &checkpoint.state;
        if !self.data.is_of_sum(state["data"].as_str().unwrap_or_default()) || state["reader"] != *self.reader {
            let what = format!(
                "the checkpoint was made on other images or texts than those of `{}`: say where they lie now by --data",
                self.data.name
            );
            return Err(Error::data(what));
        }
        self.descent.restore(checkpoint, "").map(drop)
    }

    fn trained(&mut self) -> Result<Checkpoint> {
        let tensors = named("", self.descent.weights().to_host()?);
        let about = About {
            config: self.config.clone(),
            image: self.model.image(),
            text: self.text,
            reader: self.reader.clone(),
        };
        Ok(Checkpoint { tensors, state: serde_json::json!({ "contrastive": about }) })
    }
}

#[derive(Serialize, Deserialize)]
struct About {
    config: ContrastiveConfig,
    /// Height, width, channels.
    image: [usize; 3],
    text: Text,
    reader: String,
}

/// Trains a contrastive model in `folder`.
///
/// # Errors
/// As [`follow`].
pub fn run_contrastive(
    trainer: ContrastiveTrainer,
    folder: &RunFolder,
    start: Start,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome<ContrastiveTrainer>> {
    let (config, t) = (&trainer.config, &trainer.config.train);
    let schedule = Schedule {
        steps: t.steps,
        eval_every: t.eval_every,
        checkpoint_every: t.checkpoint_every,
        keep_checkpoints: t.keep_checkpoints,
        toml: config.to_toml()?,
        identity: config.identity()?,
        earlier: Vec::new(),
    };
    follow(trainer, &schedule, folder, start, observer, stop)
}

/// A model and its weights.
struct Judge<'a> {
    gpu: &'a Gpu,
    model: &'a Contrastive,
    params: &'a Parameters,
    text: &'a Text,
}

/// Images or texts that go through the model at a time.
const BATCH: usize = 64;

impl Judge<'_> {
    fn images(&self, bytes: &[u8]) -> Result<Vec<f32>> {
        let [h, w, c] = self.model.image();
        let mut rows = Vec::new();
        for part in bytes.chunks(BATCH * h * w * c) {
            let x = pixels(self.gpu, part, [part.len() / (h * w * c), h, w, c])?;
            let tape = Tape::no_grad(self.gpu);
            let pass = Pass::new(&tape, self.params);
            rows.extend(self.model.images(&pass, &tape.constant(&x), Dropout::OFF)?.tensor().read::<f32>()?);
        }
        Ok(rows)
    }

    fn texts(&self, texts: &Texts) -> Result<Vec<f32>> {
        let (n, mut rows) = (texts.lengths.len(), Vec::new());
        for start in (0..n).step_by(BATCH) {
            let part = texts.slice(self.text, start..(start + BATCH).min(n)).upload(self.gpu, self.text)?;
            let tape = Tape::no_grad(self.gpu);
            rows.extend(self.model.texts(&Pass::new(&tape, self.params), &part, Dropout::OFF)?.tensor().read::<f32>()?);
        }
        Ok(rows)
    }
}

/// A trained contrastive model.
pub struct TrainedContrastive {
    gpu: Gpu,
    model: Contrastive,
    params: Parameters,
    text: Text,
    reader: String,
}

impl TrainedContrastive {
    /// Loads the model of a folder.
    ///
    /// # Errors
    /// If there is none, or it is damaged.
    pub fn load(gpu: &Gpu, folder: &Path) -> Result<TrainedContrastive> {
        let file = folder.join("final.safetensors");
        if !file.exists() {
            return Err(Error::file(&file, "is not there: the run has no contrastive model, which --rerank needs"));
        }
        let (checkpoint, _) = checkpoint::load_file(&file)?;
        let about: About = serde_json::from_value(checkpoint.state["contrastive"].clone())
            .map_err(|e| Error::file(&file, format!("holds no contrastive model: {e}")))?;
        let at = |e: Error| Error::file(&file, e);
        about.config.validate().map_err(at)?;
        let (model, params) = build(gpu, &about.config, about.image, &about.text).map_err(at)?;
        let mut parts = weights::by_prefix::<0>(&checkpoint.tensors, []).map_err(at)?;
        params.load_host(&parts.remove("").unwrap_or_default()).map_err(at)?;
        Ok(TrainedContrastive { gpu: gpu.clone(), model, params, text: about.text, reader: about.reader })
    }

    fn judge(&self) -> Judge<'_> {
        Judge { gpu: &self.gpu, model: &self.model, params: &self.params, text: &self.text }
    }

    /// How it sees texts.
    pub fn text(&self) -> &Text {
        &self.text
    }

    /// SHA-256 of the tokenizer whose texts it reads.
    pub fn reader(&self) -> &str {
        &self.reader
    }

    /// Rows [N, E] of images, u8 NHWC.
    ///
    /// # Errors
    /// If the bytes are not whole images of its size.
    pub fn images(&self, bytes: &[u8]) -> Result<Vec<f32>> {
        let [h, w, c] = self.model.image();
        if !bytes.len().is_multiple_of(h * w * c) {
            return Err(Error::shape("contrastive", format!("whole images of {w} x {h} x {c}"), bytes.len()));
        }
        self.judge().images(bytes)
    }

    /// Rows [N, E] of texts.
    ///
    /// # Errors
    /// If the texts are of another kind.
    pub fn texts(&self, texts: &Texts) -> Result<Vec<f32>> {
        self.judge().texts(texts)
    }

    /// The cosine between each image and its text.
    ///
    /// # Errors
    /// As [`TrainedContrastive::images`] and [`TrainedContrastive::texts`].
    pub fn score(&self, bytes: &[u8], texts: &Texts) -> Result<Vec<f32>> {
        let (a, b) = (self.images(bytes)?, self.texts(texts)?);
        if a.len() != b.len() {
            return Err(Error::shape("contrastive", "as many texts as images", texts.lengths.len()));
        }
        let e = self.model.shape().embedding;
        Ok(a.chunks(e).zip(b.chunks(e)).map(|(x, y)| x.iter().zip(y).map(|(p, q)| p * q).sum()).collect())
    }

    /// How images and texts find each other, in pools of `pool`.
    ///
    /// # Errors
    /// As [`TrainedContrastive::score`].
    pub fn retrieval(&self, bytes: &[u8], texts: &Texts, pool: usize) -> Result<Retrieval> {
        let (a, b) = (self.images(bytes)?, self.texts(texts)?);
        if a.len() != b.len() {
            return Err(Error::shape("contrastive", "as many texts as images", texts.lengths.len()));
        }
        Ok(retrieval(&a, &b, texts, &self.text, pool))
    }
}
