//! The classifier by which samples are judged, and measures of samples by it.

use super::measures::{Line, Metric, Sets, features_of, measure};
use crate::cli::Global;
use crate::cli::common::output;
use crate::cli::common::watched::{NOTHING_WRITTEN, watched};
use std::path::Path;
use wgvq::data::{ImageSet, spread};
use wgvq::gpu::Gpu;
use wgvq::inference::{ClassifierModel, Seen};
use wgvq::train::classifier::{ClassifierOptions, train_classifier};
use wgvq::{Error, Result};

/// The classifier of a set of images, in a file.
#[derive(Clone, Copy)]
pub struct Judge<'a> {
    pub global: &'a Global,
    pub gpu: &'a Gpu,
    pub set: &'a ImageSet,
    pub file: &'a Path,
    /// Steps that it is trained for.
    pub steps: u64,
    /// Whether another that is there is replaced.
    pub overwrite: bool,
}

impl Judge<'_> {
    fn options(&self) -> ClassifierOptions {
        ClassifierOptions {
            steps: self.steps,
            ..Default::default()
        }
    }

    /// Checks that a classifier that is there is the one that is needed, or may be replaced.
    ///
    /// # Errors
    /// If it is another, and may not be.
    pub fn may_train(&self) -> Result<()> {
        let Judge { gpu, set, file, .. } = *self;
        if self.overwrite || !file.exists() {
            return Ok(());
        }
        let options = self.options();
        let there = ClassifierModel::load(gpu, file)
            .map_err(|e| Error::data(format!("{e}; --overwrite trains another in its place")))?;
        if *there.info() == options.info(set) {
            return Ok(());
        }
        let what = "is of other images, or of another number of steps: --overwrite trains another \
                    in its place, --classifier-steps asks for its number, --out names another \
                    folder";
        Err(Error::file(file, what))
    }

    /// Returns the classifier of earlier evaluations, or trains it; `None` if the user stopped it.
    ///
    /// # Errors
    /// If it cannot be trained, read or written.
    pub fn classifier(&self) -> Result<Option<ClassifierModel>> {
        let Judge {
            global,
            gpu,
            set,
            file,
            ..
        } = *self;
        let options = self.options();
        if file.exists() {
            // Another one is replaced by --overwrite alone, and so is a damaged one.
            let why = match ClassifierModel::load(gpu, file) {
                Ok(there) if *there.info() == options.info(set) => return Ok(Some(there)),
                Ok(_) => "the classifier was of other images or steps".to_owned(),
                Err(e) => e.to_string(),
            };
            output::note(global, &format!("{why}: training another"));
        }
        let trained = watched(global, "steps", NOTHING_WRITTEN, |progress| {
            let mut stepped = |done: u64, all: u64| progress(done as usize, all as usize);
            train_classifier(gpu, set, options, file, &mut stepped)
        })?;
        trained
            .map(|_| ClassifierModel::load(gpu, file))
            .transpose()
    }

    /// Returns `n` images held out, spread over them, and their classes, where all have one.
    pub fn held_out(&self, n: usize) -> (Vec<u32>, Vec<u32>) {
        let test = spread(&self.set.test, n);
        let class = |i: &u32| self.set.items[*i as usize].class;
        let classes: Option<Vec<u32>> = test.iter().map(class).collect();
        (test, classes.unwrap_or_default())
    }

    /// Takes measures of samples, as many as [`Judge::held_out`] gave classes for; `None` if the
    /// user stopped the training of the classifier.
    ///
    /// # Errors
    /// If a measure cannot be taken of these images.
    pub fn measures(&self, metrics: &[Metric], samples: Vec<u8>) -> Result<Option<Vec<Line>>> {
        let set = self.set;
        let n = samples.len() / set.image_bytes().max(1);
        let (test, classes) = self.held_out(n);
        let sets = Sets {
            shape: [set.height, set.width, set.channels],
            pixels: [
                set.gather(&spread(&set.train, n))?,
                set.gather(&test)?,
                samples,
            ],
            classes: [classes.clone(), classes],
        };
        let network = metrics.iter().any(|m| m.needs_network());
        let seen = match network {
            false => None,
            true => {
                let Some(classifier) = self.classifier()? else {
                    return Ok(None);
                };
                let look = |pixels: &Vec<u8>| classifier.look(pixels);
                let seen = sets
                    .pixels
                    .iter()
                    .map(look)
                    .collect::<Result<Vec<Seen>>>()?;
                Some(seen)
            }
        };
        let features = features_of(metrics, seen.as_deref())?;
        let mut lines = Vec::new();
        for metric in metrics {
            lines.extend(measure(*metric, &sets, features.as_ref(), seen.as_deref())?);
        }
        Ok(Some(lines))
    }
}
