//! Priors: memory from a configuration alone, peaks of steps that are taken, and the least number
//! of passes that fits.

mod estimate;

use super::memory::{Peak, SHARE, SHOWN, in_least_passes, taken, within_device};
use crate::codes::tokens::TokenDatasetInfo;
use crate::config::prior::{MomentDtype, PriorConfig};
use crate::config::{Precision, Resolved};
use crate::gpu::Gpu;
use crate::inference::tokenize::made_up;
use crate::models::prior::Vocabulary;
use crate::train::Trainer;
use crate::trainer::ranks::pass_of_rank;
use crate::{Error, Result};
pub use estimate::PriorMemory;
use std::time::Duration;

/// A step that was taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PriorStep {
    /// Bytes of device memory at its peak.
    pub peak_bytes: u64,
    /// Time of a step, the first aside.
    pub time: Duration,
}

/// Takes steps of a prior over made-up codes, and texts, of this vocabulary, and measures them.
///
/// # Errors
/// If the configuration makes no model, or the device cannot hold it.
pub fn measured_step(
    gpu: &Gpu,
    config: &Resolved<PriorConfig>,
    vocabulary: &Vocabulary,
) -> Result<PriorStep> {
    let folder = tempfile::tempdir();
    let folder =
        folder.map_err(|e| Error::file(std::env::temp_dir(), format!("cannot be written: {e}")))?;
    let info = info(vocabulary);
    let (time, peak_bytes) = taken(gpu, || {
        let tokens = made_up(&info, config.train.batch_size, folder.path())?;
        let mut trainer = Trainer::prior(gpu, config, tokens)?;
        trainer.step()?;
        // The best weights so far are kept from the first measurement on.
        trainer.measure(false)?;
        gpu.finish()?;
        let began = std::time::Instant::now();
        trainer.step()?;
        gpu.finish()?;
        Ok(began.elapsed())
    })?;
    Ok(PriorStep { peak_bytes, time })
}

/// Describes made-up codes of a vocabulary.
fn info(vocabulary: &Vocabulary) -> TokenDatasetInfo {
    TokenDatasetInfo {
        model: String::new(),
        quantizer: String::new(),
        level: String::new(),
        vocabulary: vocabulary.clone(),
        image: [1, 1, 1],
        classes: (0..vocabulary.classes).map(|i| i.to_string()).collect(),
        data: "made-up codes".into(),
        data_sha256: String::new(),
        mirrored: false,
        reader: String::new(),
    }
}

/// Returns the configuration with the least number of passes in which the images of a step fit the
/// device's memory, and that step's peak, as [`fitting`](super::fitting) does for first stages.
///
/// # Errors
/// If not even passes of one image fit.
pub fn fitting_prior(
    gpu: &Gpu,
    config: &Resolved<PriorConfig>,
    vocabulary: &Vocabulary,
) -> Result<(Resolved<PriorConfig>, Peak)> {
    let images = config.train.images();
    within_device(gpu, || {
        in_least_passes(images, |passes| {
            let tried = in_passes(config, passes);
            let peak = Peak {
                precision: tried.train.precision.on(gpu)?,
                passes,
                images: images / passes,
                bytes: measured_step(gpu, &tried, vocabulary)?.peak_bytes,
            };
            Ok((tried, peak))
        })
    })
}

/// Returns the peaks that [`PriorMemory`] counts of a step of the configuration's images in f32 and
/// in mixed precision, in one, two, four and eight passes, where these are possible; those of one
/// of so many ranks.
///
/// # Errors
/// If the configuration makes no model.
pub fn prior_peaks(
    gpu: &Gpu,
    config: &Resolved<PriorConfig>,
    vocabulary: &Vocabulary,
    ranks: usize,
) -> Result<Vec<Peak>> {
    let images = config.train.images();
    let precisions = [Precision::F32, Precision::Mixed];
    let ways = precisions.into_iter().flat_map(|precision| {
        let passes = SHOWN.into_iter().filter(|n| images.is_multiple_of(*n));
        let shared = passes.filter(|n| pass_of_rank(ranks, images / n, *n).is_ok());
        shared.map(move |passes| (precision, passes))
    });
    ways.map(|(precision, passes)| {
        let config = in_passes(config, passes).map(|mut c| {
            c.train.precision = precision;
            c
        });
        let memory = PriorMemory::of_rank(gpu, &config, vocabulary, ranks)?;
        Ok(Peak {
            precision,
            passes,
            images: memory.images,
            bytes: memory.peak(),
        })
    })
    .collect()
}

/// The state that a prior's training keeps beside the weights, and the memory that it takes with
/// that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriorState {
    /// The type of the optimiser's moments (`train.optimizer_state`).
    pub moments: MomentDtype,
    /// Whether the weights' average and the best weights so far are kept (`train.ema_decay`,
    /// `train.keep_best`).
    pub copies: bool,
    /// Bytes at the peak of a step.
    pub bytes: u64,
}

impl PriorState {
    /// Returns the least memory of a device, in GiB, that holds it in nine tenths; `None` where it
    /// is more than the largest devices have.
    pub fn device_gib(&self) -> Option<u64> {
        let holds = |gib: &u64| self.bytes as f64 <= SHARE * (*gib << 30) as f64;
        DEVICES.into_iter().find(holds)
    }
}

/// Memory of devices, in GiB.
const DEVICES: [u64; 14] = [2, 4, 6, 8, 12, 16, 24, 32, 40, 48, 80, 96, 141, 192];

/// Returns what a prior's training takes, counted as [`PriorMemory`] counts it, with moments in
/// either type, and with copies of the weights or without, in one of so many ranks.
///
/// # Errors
/// If the configuration makes no model.
pub fn prior_states(
    gpu: &Gpu,
    config: &Resolved<PriorConfig>,
    vocabulary: &Vocabulary,
    ranks: usize,
) -> Result<Vec<PriorState>> {
    let moments = [MomentDtype::F32, MomentDtype::Bf16].into_iter();
    let ways = moments.flat_map(|moments| [true, false].map(|copies| (moments, copies)));
    ways.map(|(moments, copies)| {
        let config = config.clone().map(|mut c| {
            c.train.optimizer_state = moments;
            c.train.keep_best = copies;
            c.train.ema_decay = match (copies, c.train.ema_decay) {
                (false, _) => 0.0,
                (true, decay) if decay > 0.0 => decay,
                (true, _) => PriorConfig::default().train.ema_decay,
            };
            c
        });
        Ok(PriorState {
            moments,
            copies,
            bytes: PriorMemory::of_rank(gpu, &config, vocabulary, ranks)?.peak(),
        })
    })
    .collect()
}

/// Returns the configuration with the images of its steps in so many passes.
fn in_passes(config: &Resolved<PriorConfig>, passes: usize) -> Resolved<PriorConfig> {
    let images = config.train.images();
    config.clone().map(|mut c| {
        c.train.batch_size = images / passes;
        c.train.accumulate = passes;
        c
    })
}

#[cfg(test)]
mod tests;
