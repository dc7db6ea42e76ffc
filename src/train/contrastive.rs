//! Training a contrastive model on the captioned images of a set, and what is read back of it.

use super::descent::{Descent, Figures, named};
use super::prior::batch_fits;
use super::{Observer, Outcome, Schedule, Start};
use crate::autograd::Tape;
use crate::config::DottedConfig;
use crate::config::contrastive::ContrastiveConfig;
use crate::data::{ImageSet, batch_indices};
use crate::gpu::{Gpu, MemoryReport};
use crate::inference::contrastive::{About, Judge, build, some, upload};
use crate::inference::retrieval::{Retrieval, retrieval};
use crate::models::contrastive::Contrastive;
use crate::models::text::{Text, Texts};
use crate::nn::transformer::Dropout;
use crate::nn::{Parameters, Pass};
use crate::ops::optim::adam::{Decay, Hyper};
use crate::ops::sampling::random::Key;
use crate::storage::checkpoint::Checkpoint;
use crate::storage::metrics_log::Record;
use crate::storage::run_folder::RunFolder;
use crate::train::{Training, follow};
use crate::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

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

/// Can such a model be trained, on images of this height, width and channels and such texts? Says
/// so before anything is trained.
///
/// # Errors
/// If the configuration makes no model, or the device or this process cannot hold it or a batch.
pub fn check_contrastive(
    gpu: &Gpu,
    config: &ContrastiveConfig,
    image: [usize; 3],
    text: &Text,
) -> Result<()> {
    config.validate()?;
    let mut builder = Parameters::builder();
    Contrastive::new(&mut builder, &config.model, image, text)?;
    builder.check(gpu)?;
    let sizes = [config.train.batch_size, text.length, config.model.dim];
    batch_fits(gpu, "the texts that the contrastive model reads", sizes)
}

impl ContrastiveTrainer {
    /// A trainer at step 0: `texts` are those of all images of the set, in their order, made by the
    /// tokenizer of the sum `reader`.
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
        let numbers: Vec<u32> = places
            .iter()
            .map(|i| self.data.train[*i as usize])
            .collect();
        let images = upload(&self.gpu, &self.data, &numbers)?;
        let texts = some(&self.texts, &self.text, &numbers).upload(&self.gpu, &self.text)?;
        let tape = Tape::new(&self.gpu);
        let pass = Pass::new(&tape, self.descent.params());
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
        self.descent.step(loss.tensor(), &gradients, t.rate(step))
    }

    fn rows(&mut self, wait: bool) -> Result<Vec<ContrastiveRow>> {
        let mut done = Vec::new();
        while let Some(Figures {
            step,
            loss,
            gradient_norm,
            ..
        }) = self.descent.arrived(wait, ADVICE)?
        {
            done.push(ContrastiveRow {
                step,
                loss,
                gradient_norm,
            });
        }
        Ok(done)
    }

    fn close_row(&mut self) -> Result<()> {
        self.descent.close_row()
    }

    fn evaluate(&mut self, _: bool) -> Result<Retrieval> {
        let judge = Judge {
            gpu: &self.gpu,
            model: &self.model,
            params: self.descent.weights(),
            text: &self.text,
        };
        let numbers = &self.data.test;
        let texts = some(&self.texts, &self.text, numbers);
        let images = judge.images(&self.data.gather(numbers)?)?;
        let found = retrieval(&images, &judge.texts(&texts)?, &texts, &self.text, POOL);
        Ok(Retrieval {
            step: self.descent.number(),
            ..found
        })
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
        if !self
            .data
            .is_of_sum(state["data"].as_str().unwrap_or_default())
            || state["reader"] != *self.reader
        {
            let what = format!(
                "the checkpoint was made on other images or texts than those of `{}`: say where \
                 they lie now by --data",
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
        Ok(Checkpoint {
            tensors,
            state: serde_json::json!({ "contrastive": about }),
        })
    }
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
