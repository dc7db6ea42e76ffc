//! Contrastive models: the least number of passes that fits.

use super::memory::{Peak, in_least_passes, taken, within_device};
use crate::Result;
use crate::config::contrastive::ContrastiveConfig;
use crate::config::{Precision, Resolved};
use crate::data::ImageSet;
use crate::gpu::Gpu;
use crate::models::text::{Text, Texts};
use crate::train::Trainer;
use std::sync::Arc;

/// Returns the configuration with the least number of passes in which the pairs of a step fit the
/// device's memory, and that step's peak, as [`fitting`](super::fitting) does for first stages.
/// `texts` are those of all images of the set, in their order.
///
/// # Errors
/// If not even passes of one pair fit.
pub fn fitting_contrastive(
    gpu: &Gpu,
    config: &Resolved<ContrastiveConfig>,
    data: &Arc<ImageSet>,
    text: Text,
    texts: &Arc<Texts>,
) -> Result<(Resolved<ContrastiveConfig>, Peak)> {
    let pairs = config.train.images();
    within_device(gpu, || {
        in_least_passes(pairs, |passes| {
            let tried = config.clone().map(|mut c| {
                (c.train.batch_size, c.train.accumulate) = (pairs / passes, passes);
                c
            });
            let ((), bytes) = taken(gpu, || {
                let (data, texts) = (data.clone(), texts.clone());
                Trainer::contrastive(gpu, &tried, data, text, texts, "")?.step()?;
                gpu.finish()
            })?;
            let peak = Peak {
                precision: Precision::F32,
                passes,
                images: pairs / passes,
                bytes,
            };
            Ok((tried, peak))
        })
    })
}
