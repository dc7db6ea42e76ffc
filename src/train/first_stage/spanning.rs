//! The parts of a model that span the images of a step, so that neither passes nor ranks can share
//! them.

use crate::config::objective::Regularizer;
use crate::config::run::ResolvedConfig;
use crate::inference::first_stage::FirstStage;
use crate::models::losses::discriminator::DiscriminatorNorm;
use crate::{Error, Result};

/// Checks that a step of this model may fall into the passes that the configuration asks for.
///
/// # Errors
/// If not; the message names what of it spans the images of a step.
pub(super) fn check_passes(config: &ResolvedConfig, stage: &FirstStage) -> Result<()> {
    if config.train.accumulate == 1 {
        return Ok(());
    }
    match spanning(config, stage) {
        Some(what) => Err(Error::config(
            "train.accumulate",
            format!(
                "{} is not possible with {what}, which spans all images of a step; leave it 1",
                config.train.accumulate
            ),
        )),
        None => Ok(()),
    }
}

/// Checks that several ranks may share the steps of this model.
///
/// # Errors
/// If not; the message names what of it spans the images of a step.
pub(super) fn check_ranks(config: &ResolvedConfig, stage: &FirstStage) -> Result<()> {
    let r1 = config.gan.is_on()
        && config.gan.regularizer == Regularizer::R1
        && config.gan.regularizer_weight > 0.0;
    let r1 = r1.then(|| {
        "the gradient penalty R1 (set gan.regularizer = lecam, or gan.regularizer_weight = 0)"
            .to_owned()
    });
    match r1.or_else(|| spanning(config, stage)) {
        Some(what) => Err(Error::invalid(
            "ranks",
            format!(
                "several ranks cannot share a step of a model with {what}, which spans all its \
                 images; change that, or train in one process"
            ),
        )),
        None => Ok(()),
    }
}

/// Returns what of a model spans the images of a step, with the way out.
fn spanning(config: &ResolvedConfig, stage: &FirstStage) -> Option<String> {
    let norm = config.gan.is_on() && config.gan.norm == DiscriminatorNorm::Batch;
    let norm = norm
        .then(|| "the discriminator's batch norm (set gan.norm = spectral, or none)".to_owned());
    norm.or_else(|| stage.quantizers.iter().find_map(|q| q.spans_latents()))
}
