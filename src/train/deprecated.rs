//! Names of version 0.1 that are in [`inference`](crate::inference) now, and work here for one
//! version more.

use crate::Result;
use crate::inference as new;
use std::path::{Path, PathBuf};

/// Moved and renamed.
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::FirstStageModel`")]
pub type Trained = new::FirstStageModel;
/// Moved.
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::Decoder`")]
pub type Decoder = new::Decoder;
/// Moved and renamed.
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::PriorModel`")]
pub type TrainedPrior = new::PriorModel;
/// Moved and renamed.
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::Hierarchy`")]
pub type Priors = new::Hierarchy;
/// Moved and renamed.
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::Condition`")]
pub type Asked<'a> = new::Condition<'a>;
/// Moved and renamed.
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::KnownCodes`")]
pub type Given<'a> = new::KnownCodes<'a>;
/// Moved and renamed.
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::SamplingOptions`")]
pub type Draw = new::SamplingOptions;
/// Moved and renamed.
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::Samples`")]
pub type Drawing = new::Samples;
/// Moved and renamed.
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::PendingSamples`")]
pub type Arriving = new::PendingSamples;
/// Moved and renamed.
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::SamplingSession`")]
pub type Underway<'a> = new::SamplingSession<'a>;
/// Moved and renamed.
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::TiledModel`")]
pub type Tiled<'a> = new::TiledModel<'a>;
/// Moved and renamed.
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::TilingOptions`")]
pub type Tiling = new::TilingOptions;
/// Moved.
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::DECODER_FORMAT`")]
pub const DECODER_FORMAT: u32 = new::DECODER_FORMAT;

/// Moved.
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::prior_folder`")]
pub fn prior_folder(run: &Path, level: &str) -> PathBuf {
    new::prior_folder(run, level)
}

/// Moved.
///
/// # Errors
/// As [`new::priors_of`].
#[deprecated(since = "0.2.0", note = "is `wgvq::inference::priors_of`")]
pub fn priors_of(run: &Path) -> Result<Vec<(PathBuf, bool)>> {
    new::priors_of(run)
}
