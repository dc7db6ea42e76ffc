//! Names of version 0.1 that are in [`inference`](crate::inference) now, and work here for one
//! version more.

use crate::Result;
use crate::inference as new;
use std::path::{Path, PathBuf};

/// Moved and renamed to [`wgvq::inference::FirstStageModel`](crate::inference::FirstStageModel).
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::FirstStageModel`")]
pub type Trained = new::FirstStageModel;
/// Moved to [`wgvq::inference::Decoder`](crate::inference::Decoder).
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::Decoder`")]
pub type Decoder = new::Decoder;
/// Moved and renamed to [`wgvq::inference::PriorModel`](crate::inference::PriorModel).
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::PriorModel`")]
pub type TrainedPrior = new::PriorModel;
/// Moved and renamed to [`wgvq::inference::Hierarchy`](crate::inference::Hierarchy).
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::Hierarchy`")]
pub type Priors = new::Hierarchy;
/// Moved and renamed to [`wgvq::inference::Condition`](crate::inference::Condition).
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::Condition`")]
pub type Asked<'a> = new::Condition<'a>;
/// Moved and renamed to [`wgvq::inference::KnownCodes`](crate::inference::KnownCodes).
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::KnownCodes`")]
pub type Given<'a> = new::KnownCodes<'a>;
/// Moved and renamed to [`wgvq::inference::SamplingOptions`](crate::inference::SamplingOptions).
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::SamplingOptions`")]
pub type Draw = new::SamplingOptions;
/// Moved and renamed to [`wgvq::inference::Samples`](crate::inference::Samples).
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::Samples`")]
pub type Drawing = new::Samples;
/// Moved and renamed to [`wgvq::inference::PendingSamples`](crate::inference::PendingSamples).
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::PendingSamples`")]
pub type Arriving = new::PendingSamples;
/// Moved and renamed to [`wgvq::inference::SamplingSession`](crate::inference::SamplingSession).
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::SamplingSession`")]
pub type Underway<'a> = new::SamplingSession<'a>;
/// Moved and renamed to [`wgvq::inference::TiledModel`](crate::inference::TiledModel).
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::TiledModel`")]
pub type Tiled<'a> = new::TiledModel<'a>;
/// Moved and renamed to [`wgvq::inference::TilingOptions`](crate::inference::TilingOptions).
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::TilingOptions`")]
pub type Tiling = new::TilingOptions;
/// Moved to [`wgvq::inference::DECODER_FORMAT`](crate::inference::DECODER_FORMAT).
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::DECODER_FORMAT`")]
pub const DECODER_FORMAT: u32 = new::DECODER_FORMAT;

/// Moved to [`wgvq::inference::prior_folder`](crate::inference::prior_folder).
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::prior_folder`")]
pub fn prior_folder(run: &Path, level: &str) -> PathBuf {
    new::prior_folder(run, level)
}

/// Moved to [`wgvq::inference::priors_of`](crate::inference::priors_of).
///
/// # Errors
/// As [`new::priors_of`].
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::priors_of`")]
pub fn priors_of(run: &Path) -> Result<Vec<(PathBuf, bool)>> {
    new::priors_of(run)
}
