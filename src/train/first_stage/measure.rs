//! Measuring a first stage on the test split, and what is shown of it.

use super::FirstStageTask;
use crate::Result;
use crate::analysis::fidelity::{Measurement, Reconstructed, images_at_a_time};
use crate::autograd::Tape;
use crate::data::spread;
use crate::inference::level_ablation::LevelAblation;
use crate::metrics::{Evaluation, LevelUse};
use crate::nn::ForwardContext;
use crate::quantize::Mode;
use crate::trainer::optimizer_state::OptimizerState;
use crate::trainer::task::View;
use std::time::{Duration, Instant};

/// The use of each codebook: `use`, behind the level's name where there are several, and with a
/// number behind where a level has several.
pub(super) fn code_use(evaluation: &Evaluation) -> Vec<View> {
    let (mut views, mut counts) = (Vec::new(), evaluation.counts.as_slice());
    for level in &evaluation.levels {
        let LevelUse {
            name,
            of,
            codebooks,
            ..
        } = level;
        let level = if name.is_empty() {
            String::new()
        } else {
            format!("{name}_")
        };
        for book in 0..*codebooks {
            let (own, rest) = counts.split_at((of / codebooks).min(counts.len()));
            counts = rest;
            let number = if *codebooks > 1 {
                format!("_{}", book + 1)
            } else {
                String::new()
            };
            views.push(View::CodeUse {
                name: format!("{level}use{number}"),
                counts: own.to_vec(),
            });
        }
    }
    views
}

impl FirstStageTask {
    /// Images in the set, and what the model makes of them.
    fn reconstruct(&mut self, state: &OptimizerState, numbers: &[u32]) -> Result<Reconstructed> {
        let tape = Tape::no_grad(&self.gpu);
        let pass = ForwardContext::new(&tape, state.params());
        let x = tape.constant(&self.images(numbers)?);
        let (coded, y) = self.stage.reconstruct(&pass, &x, Mode::Eval)?;
        Reconstructed::new(x.tensor(), y.tensor(), &coded)
    }

    /// The time that a measurement will take, by that of a part of it.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn time_measurement(&mut self, state: &mut OptimizerState) -> Result<Duration> {
        let (test, part) = (self.data.test.clone(), self.evaluation_batch());
        let mut parts = test.chunks(part);
        let first = parts.next().unwrap_or_default();
        // The first time compiles kernels. The last part may be a small one.
        self.kept(state, |task, state| task.measure(state, first))?;
        let second = parts
            .next()
            .filter(|second| second.len() == first.len())
            .unwrap_or(first);
        let began = Instant::now();
        self.kept(state, |task, state| task.measure(state, second))?;
        Ok(began
            .elapsed()
            .mul_f64(test.len() as f64 / second.len().max(1) as f64))
    }

    /// Measures the model on some images of the set.
    pub(super) fn measure(&mut self, state: &OptimizerState, test: &[u32]) -> Result<Evaluation> {
        let shape = [self.data.height, self.data.width, self.data.channels];
        let mut measurement = Measurement::new(&self.levels, shape, test.len());
        for numbers in test.chunks(self.evaluation_batch()) {
            let r = self.reconstruct(state, numbers)?;
            let lpips = self.objective.lpips(&r.x, &r.y)?;
            measurement.add(&r, lpips)?;
        }
        Ok(measurement.finish(state.number()))
    }

    /// Images that are measured at a time: as many as take the memory of 128 images of 64 x 64,
    /// where the device binds as much.
    fn evaluation_batch(&self) -> usize {
        let (width, height) = (self.data.width, self.data.height);
        let wanted = match &self.config.train {
            // What is taken in several passes has no room for more than a pass.
            train if train.accumulate > 1 => images_at_a_time(width, height).min(train.batch_size),
            _ => images_at_a_time(width, height),
        };
        self.stage.batch(&self.gpu, wanted, width, height)
    }

    /// Originals and reconstructions of the first `n` test images: u8 NHWC each.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn test_pairs(
        &mut self,
        state: &mut OptimizerState,
        n: usize,
    ) -> Result<(Vec<u8>, Vec<u8>)> {
        // Spread over the split, so that neighbours in the set do not fill the picture.
        let numbers = spread(&self.data.test, n);
        let originals = self.data.gather(&numbers)?;
        let y = self
            .kept(state, |task, state| task.reconstruct(state, &numbers))?
            .y;
        Ok((
            originals,
            crate::ops::image::image::to_bytes(&y)?.read::<u8>()?,
        ))
    }

    /// Returns, of the first `n` test images, the originals, and the images that their coarsest
    /// level alone, their first two, and so on decode to; u8 NHWC each. The other levels hold 0, or
    /// their mean over at most 256 test images: see [`crate::config::run::Model::level_dropout`].
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn test_levels(
        &mut self,
        state: &mut OptimizerState,
        n: usize,
    ) -> Result<Vec<Vec<u8>>> {
        self.kept(state, |task, state| task.partial(state, n))
    }

    fn partial(&mut self, state: &OptimizerState, n: usize) -> Result<Vec<Vec<u8>>> {
        let mut means = LevelAblation::new(&self.stage);
        for part in spread(&self.data.test, 256).chunks(self.evaluation_batch()) {
            means.observe(&self.stage, state.params(), &self.images(part)?)?;
        }
        let shown = spread(&self.data.test, n);
        let mut pictures = vec![Vec::new(); self.levels.len() + 1];
        for part in shown.chunks(self.evaluation_batch()) {
            let x = self.images(part)?;
            let levels = means.reconstructions(&self.stage, state.params(), &x)?;
            for (picture, y) in pictures.iter_mut().zip(std::iter::once(&x).chain(&levels)) {
                picture.extend(crate::ops::image::image::to_bytes(y)?.read::<u8>()?);
            }
        }
        Ok(pictures)
    }
}
