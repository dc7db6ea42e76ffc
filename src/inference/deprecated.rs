//! Names and functions of version 0.1, which work for one version more.

use crate::Result;
use crate::gpu::Gpu;
use crate::inference as new;
use crate::inference::{
    Conditioning, Decoder, FirstStageModel, Hierarchy, LoadOptions, PriorModel, SampleRequest,
};
use crate::quantize::Registry;

/// Renamed to [`FirstStageModel`](new::FirstStageModel).
#[deprecated(since = "0.2.0", note = "renamed to `FirstStageModel`")]
pub type Trained = new::FirstStageModel;
/// Renamed to [`PriorModel`](new::PriorModel).
#[deprecated(since = "0.2.0", note = "renamed to `PriorModel`")]
pub type TrainedPrior = new::PriorModel;
/// Renamed to [`Hierarchy`](new::Hierarchy).
#[deprecated(since = "0.2.0", note = "renamed to `Hierarchy`")]
pub type Priors = new::Hierarchy;
/// Renamed to [`Condition`](new::Condition).
#[deprecated(since = "0.2.0", note = "renamed to `Condition`")]
pub type Asked<'a> = new::Condition<'a>;
/// Renamed to [`KnownCodes`](new::KnownCodes).
#[deprecated(since = "0.2.0", note = "renamed to `KnownCodes`")]
pub type Given<'a> = new::KnownCodes<'a>;
/// Renamed to [`SamplingOptions`](new::SamplingOptions).
#[deprecated(since = "0.2.0", note = "renamed to `SamplingOptions`")]
pub type Draw = new::SamplingOptions;
/// Renamed to [`Samples`](new::Samples).
#[deprecated(since = "0.2.0", note = "renamed to `Samples`")]
pub type Drawing = new::Samples;
/// Renamed to [`PendingSamples`](new::PendingSamples).
#[deprecated(since = "0.2.0", note = "renamed to `PendingSamples`")]
pub type Arriving = new::PendingSamples;
/// Renamed to [`SamplingSession`](new::SamplingSession).
#[deprecated(since = "0.2.0", note = "renamed to `SamplingSession`")]
pub type Underway<'a> = new::SamplingSession<'a>;
/// Renamed to [`TiledModel`](new::TiledModel).
#[deprecated(since = "0.2.0", note = "renamed to `TiledModel`")]
pub type Tiled<'a> = new::TiledModel<'a>;
/// Renamed to [`TilingOptions`](new::TilingOptions).
#[deprecated(since = "0.2.0", note = "renamed to `TilingOptions`")]
pub type Tiling = new::TilingOptions;

/// Returns the request that the arguments of version 0.1 stand for.
fn request<'a>(
    condition: impl Into<new::Condition<'a>>,
    known: Option<new::KnownCodes<'a>>,
    options: &new::SamplingOptions,
) -> SampleRequest<'a> {
    SampleRequest {
        condition: condition.into(),
        known: known.unwrap_or_default(),
        options: *options,
    }
}

impl FirstStageModel {
    /// Loads a model whose quantizers are in a registry.
    ///
    /// # Errors
    /// As [`FirstStageModel::load`].
    #[deprecated(since = "0.2.0", note = "use `LoadOptions::load`")]
    pub fn load_with(gpu: &Gpu, run: &std::path::Path, registry: &Registry) -> Result<Self> {
        let registry = Some(registry);
        LoadOptions { registry }.load(gpu, run)
    }

    /// Loads a model from bytes whose quantizers are in a registry.
    ///
    /// # Errors
    /// As [`FirstStageModel::from_bytes`].
    #[deprecated(since = "0.2.0", note = "use `LoadOptions::from_bytes`")]
    pub fn from_bytes_with(gpu: &Gpu, bytes: &[u8], registry: &Registry) -> Result<Self> {
        let registry = Some(registry);
        LoadOptions { registry }.from_bytes(gpu, bytes)
    }
}

impl Decoder {
    /// Loads a decoder from bytes whose quantizers are in a registry.
    ///
    /// # Errors
    /// As [`Decoder::from_bytes`].
    #[deprecated(since = "0.2.0", note = "use `LoadOptions::decoder_from_bytes`")]
    pub fn from_bytes_with(gpu: &Gpu, bytes: &[u8], registry: &Registry) -> Result<Self> {
        let registry = Some(registry);
        LoadOptions { registry }.decoder_from_bytes(gpu, bytes)
    }
}

impl PriorModel {
    /// Samples codes.
    ///
    /// # Errors
    /// As [`PriorModel::sample_async`].
    #[cfg(not(target_arch = "wasm32"))]
    #[deprecated(since = "0.2.0", note = "use `sample` with a `SampleRequest`")]
    pub fn draw<'a>(
        &self,
        condition: impl Into<new::Condition<'a>>,
        known: Option<new::KnownCodes<'a>>,
        options: &new::SamplingOptions,
        progress: &mut new::Progress,
    ) -> Result<new::Samples> {
        self.sample(&request(condition, known, options), progress)
    }

    /// Records the sampling of codes.
    ///
    /// # Errors
    /// As [`PriorModel::record`].
    #[deprecated(since = "0.2.0", note = "use `record` with a `SampleRequest`")]
    pub fn draw_async<'a>(
        &self,
        condition: impl Into<new::Condition<'a>>,
        known: Option<new::KnownCodes<'a>>,
        options: &new::SamplingOptions,
    ) -> Result<new::PendingSamples> {
        self.record(&request(condition, known, options))
    }

    /// Starts a session.
    ///
    /// # Errors
    /// As [`PriorModel::session`].
    #[deprecated(since = "0.2.0", note = "use `session` with a `SampleRequest`")]
    pub fn begin<'a>(
        &self,
        condition: impl Into<new::Condition<'a>>,
        known: Option<new::KnownCodes<'a>>,
        options: &new::SamplingOptions,
    ) -> Result<new::SamplingSession<'_>> {
        self.session(&request(condition, known, options))
    }

    /// Returns what the prior was trained on.
    #[deprecated(since = "0.2.0", note = "renamed to `info`")]
    pub fn about(&self) -> &crate::codes::tokens::TokenDatasetInfo {
        self.info()
    }
}

impl Hierarchy {
    /// Samples codes.
    ///
    /// # Errors
    /// As [`Hierarchy::sample_async`].
    #[cfg(not(target_arch = "wasm32"))]
    #[deprecated(since = "0.2.0", note = "use `sample` with a `SampleRequest`")]
    pub fn draw<'a>(
        &self,
        condition: impl Into<new::Condition<'a>>,
        known: Option<new::KnownCodes<'a>>,
        options: &new::SamplingOptions,
        progress: &mut new::Progress,
    ) -> Result<new::Samples> {
        self.sample(&request(condition, known, options), progress)
    }

    /// Returns what the priors were trained on.
    #[deprecated(since = "0.2.0", note = "renamed to `info`")]
    pub fn about(&self) -> &crate::codes::tokens::TokenDatasetInfo {
        self.info()
    }
}

#[allow(non_upper_case_globals)]
impl Conditioning {
    /// Renamed to [`Conditioning::Matched`].
    #[deprecated(since = "0.2.0", note = "renamed to `Conditioning::Matched`")]
    pub const Own: Conditioning = Conditioning::Matched;
    /// Renamed to [`Conditioning::None`].
    #[deprecated(since = "0.2.0", note = "renamed to `Conditioning::None`")]
    pub const Nothing: Conditioning = Conditioning::None;
    /// Renamed to [`Conditioning::Shuffled`].
    #[deprecated(since = "0.2.0", note = "renamed to `Conditioning::Shuffled`")]
    pub const Others: Conditioning = Conditioning::Shuffled;
}
