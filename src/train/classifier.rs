//! Training a small classifier on the images of a set that have a class.

use crate::autograd::Tape;
use crate::data::{ImageSet, batch_indices};
use crate::gpu::command::in_flight::{InFlight, STEPS_IN_FLIGHT};
use crate::gpu::{Gpu, Tensor};
use crate::inference::ClassifierInfo;
use crate::inference::contrastive_model::upload;
use crate::models::classifier::{Classifier, Shape};
use crate::nn::{Adam, ForwardContext, Parameters};
use crate::ops::loss::cross_entropy::CrossEntropy;
use crate::ops::optim::adam::{Decay, Hyper};
use crate::storage::checkpoint::{self, Checkpoint};
use crate::trainer::optimizer_state::named;
use crate::{Error, Result};
use std::path::Path;

/// The learning rate at first, from which it falls along a cosine.
const RATE: f64 = 1e-3;
/// The norm that gradients are clipped to.
const MAX_NORM: f32 = 1.0;

/// The length, batch and seed of a classifier's training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassifierOptions {
    /// Steps.
    pub steps: u64,
    /// Images of a step.
    pub batch: usize,
    /// Seed of its weights and of the order of images.
    pub seed: u64,
}

impl Default for ClassifierOptions {
    fn default() -> Self {
        ClassifierOptions {
            steps: 1_000,
            batch: 64,
            seed: 0,
        }
    }
}

impl ClassifierOptions {
    /// Returns what the file of such a classifier says of it.
    pub fn info(&self, data: &ImageSet) -> ClassifierInfo {
        ClassifierInfo {
            shape: Shape {
                image: [data.height, data.width, data.channels],
                classes: data.classes.len(),
            },
            data: data.sha256(),
            steps: self.steps,
            batch: self.batch,
            seed: self.seed,
        }
    }
}

/// Trains a classifier on the training images that have a class, and writes it to `file`; tells
/// `progress` of each step, whose error ends it.
///
/// # Errors
/// If no image has a class, there is but one, training diverges, or the device fails.
pub fn train_classifier(
    gpu: &Gpu,
    data: &ImageSet,
    options: ClassifierOptions,
    file: &Path,
    progress: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<()> {
    let info = options.info(data);
    let class = |i: &u32| data.items[*i as usize].class;
    let labelled: Vec<u32> = data
        .train
        .iter()
        .copied()
        .filter(|i| class(i).is_some())
        .collect();
    if labelled.is_empty() {
        let what = format!("no training image of {} has a class", data.name);
        return Err(Error::data(what));
    }
    let mut b = Parameters::builder();
    let model = Classifier::new(&mut b, info.shape)?;
    let params = b.build(gpu, options.seed)?;
    let hyper = Hyper {
        weight_decay: 1e-2,
        decay: Decay::Decoupled,
        ..Hyper::default()
    };
    let mut adam = Adam::new(&params, hyper)?;
    adam.max_norm = Some(MAX_NORM);
    let (mut in_flight, mut last) = (InFlight::new(STEPS_IN_FLIGHT), None);
    for step in 0..options.steps {
        let places = batch_indices(options.seed, step, options.batch, labelled.len());
        let numbers: Vec<u32> = places.iter().map(|i| labelled[*i as usize]).collect();
        let classes: Vec<u32> = numbers.iter().filter_map(class).collect();
        let targets = Tensor::from_slice(gpu, &[classes.len()], &classes)?;
        let images = upload(gpu, data, &numbers)?;
        let tape = Tape::new(gpu);
        let pass = ForwardContext::new(&tape, &params);
        let said = model.forward(&pass, &tape.constant(&images))?;
        let loss = tape.cross_entropy(&said.logits, &targets, CrossEntropy::default())?;
        let loss = tape.mean(&loss)?;
        last = Some(loss.tensor().clone());
        let gradients = pass.gradients(tape.backward(&loss)?);
        let along = std::f64::consts::PI * step as f64 / options.steps as f64;
        adam.hyper.lr = RATE * (0.5 + 0.5 * along.cos());
        adam.step(&params, &gradients)?;
        in_flight.submit(gpu)?;
        progress(step + 1, options.steps)?;
    }
    let loss = last.map(|loss| loss.read::<f32>()).transpose()?;
    if loss.is_some_and(|loss| !loss[0].is_finite()) {
        return Err(Error::data(
            "the classifier's loss is not finite: it diverged",
        ));
    }
    let saved = Checkpoint {
        tensors: named("", params.to_host()?),
        state: serde_json::json!({ "classifier": info }),
    };
    checkpoint::save_file(file, &saved).map(drop)
}
