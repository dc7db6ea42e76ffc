//! Device memory of a configuration's steps, by the passes that one falls into, and the least
//! number of passes that fits.

use super::at_once;
use crate::config::objective::Regularizer;
use crate::config::run::ResolvedConfig;
use crate::config::{ActivationDtype, Precision};
use crate::data::ImageSet;
use crate::gpu::Gpu;
use crate::train::Trainer;
use crate::{Error, Result};
use std::sync::Arc;

/// Numbers of passes that a table of peaks has, where they divide the images of a step.
pub(super) const SHOWN: [usize; 4] = [1, 2, 4, 8];
/// Share of the device's memory that steps may take; drivers and other programs want some.
pub(super) const SHARE: f64 = 0.9;

/// Device memory of a step at its peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peak {
    /// Precision of the training.
    pub precision: Precision,
    /// Passes of the step.
    pub passes: usize,
    /// Images of a pass.
    pub images: usize,
    /// Bytes.
    pub bytes: u64,
}

/// Measures the peaks of a step of the configuration's images in f32 and in mixed precision, in
/// one, two, four and eight passes, where these are possible: each takes a step. What the device
/// cannot hold is left out.
///
/// # Errors
/// If the configuration makes no model for this data set, or the device fails.
pub fn peaks(gpu: &Gpu, config: &ResolvedConfig, data: &Arc<ImageSet>) -> Result<Vec<Peak>> {
    let mut all = Vec::new();
    let images = config.train.images();
    let precisions = [Precision::F32, Precision::Mixed];
    for precision in precisions.into_iter().filter(|p| p.on(gpu).is_ok()) {
        for passes in SHOWN.into_iter().filter(|n| images.is_multiple_of(*n)) {
            let config = in_passes(config, passes).map(|mut c| {
                c.train.precision = precision;
                // Beside mixed precision, f32 is what it is compared with.
                if config.train.precision == Precision::Mixed {
                    c.train.dtype = ActivationDtype::F32;
                }
                c
            });
            match peak(gpu, &config, data) {
                Ok(bytes) => all.push(Peak {
                    precision,
                    passes,
                    images: images / passes,
                    bytes,
                }),
                Err(e) if e.is_of_memory() => {}
                // The model computes something of all images of a step together.
                Err(Error::Config { .. }) if passes > 1 => break,
                Err(e) => return Err(e),
            }
        }
    }
    Ok(all)
}

/// Returns the configuration with the least number of passes in which the images of a step fit the
/// device's memory, and that step's peak. Steps are tried within nine tenths of what the device
/// says to have ([`Gpu::device_memory`]), or within the engine's budget.
///
/// # Errors
/// If not even passes of one image fit; if one pass does not, and the model does not allow several.
pub fn fitting(
    gpu: &Gpu,
    config: &ResolvedConfig,
    data: &Arc<ImageSet>,
) -> Result<(ResolvedConfig, Peak)> {
    let images = config.train.images();
    within_device(gpu, || {
        in_least_passes(images, |passes| {
            let tried = in_passes(config, passes);
            let peak = Peak {
                precision: tried.train.precision.on(gpu)?,
                passes,
                images: images / passes,
                bytes: peak(gpu, &tried, data)?,
            };
            Ok((tried, peak))
        })
    })
}

/// Runs what tries steps, within what the device says to have or within the engine's budget.
pub(super) fn within_device<T>(gpu: &Gpu, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let budget = gpu.memory_budget();
    let there = gpu.device_memory().map(|all| (all as f64 * SHARE) as u64);
    gpu.set_memory_budget(budget.into_iter().chain(there).min());
    let found = work();
    gpu.set_memory_budget(budget);
    found
}

/// Returns what `step` does with the least number of passes in which it fits the device's memory.
///
/// # Errors
/// If not even passes of one image fit; if one pass does not, and several are not allowed.
pub(super) fn in_least_passes<T>(
    images: usize,
    mut step: impl FnMut(usize) -> Result<T>,
) -> Result<T> {
    let mut refused = None;
    for passes in (1..=images).filter(|n| images.is_multiple_of(*n)) {
        match step(passes) {
            Ok(done) => return Ok(done),
            Err(e) if e.is_of_memory() => refused = Some(e),
            Err(Error::Config { key, what }) => {
                let what = match refused {
                    Some(refused) => format!("one pass takes too much ({refused}), and {what}"),
                    None => what,
                };
                return Err(Error::Config { key, what });
            }
            Err(e) => return Err(e),
        }
    }
    Err(refused.unwrap_or_else(|| Error::invalid("plan", "a step without images")))
}

/// Runs steps, and returns the bytes that they take at their peak, beside those that were in use
/// before.
pub(super) fn taken<T>(gpu: &Gpu, steps: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
    let before = gpu.memory().in_use;
    gpu.reset_peak();
    let took = steps();
    if took.is_err() {
        // What was recorded or is on its way holds its buffers until it is done.
        let _ = gpu.finish();
    }
    let peak = gpu.memory().peak;
    // Buffers of this size are of no use to the next.
    gpu.trim();
    took.map(|took| (took, peak.saturating_sub(before)))
}

/// Returns the configuration with the images of its steps in so many passes.
fn in_passes(config: &ResolvedConfig, passes: usize) -> ResolvedConfig {
    config.clone().map(|mut c| {
        c.train.batch_size = config.train.images() / passes;
        c.train.accumulate = passes;
        c
    })
}

/// Returns the bytes that a step with all that there is takes at its peak, beside those that were
/// in use before.
fn peak(gpu: &Gpu, config: &ResolvedConfig, data: &Arc<ImageSet>) -> Result<u64> {
    let each = config.clone().map(|mut c| {
        at_once(&mut c);
        if c.gan.regularizer == Regularizer::R1 {
            c.gan.regularizer_every = 1;
        }
        c
    });
    let ((), bytes) = taken(gpu, || {
        Trainer::new(gpu, &each, data.clone())?.step()?;
        gpu.finish()
    })?;
    Ok(bytes)
}
