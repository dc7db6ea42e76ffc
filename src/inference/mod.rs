//! Trained models: images to codes and back, priors that sample codes. What applications link.
//!
//! | type | what it does |
//! | --- | --- |
//! | [`FirstStageModel`] | images to codes and codes to images, of one size |
//! | [`TiledModel`] | the same for images of any size, within a memory budget |
//! | [`Decoder`] | codes to images alone, from a smaller file |
//! | [`PriorModel`], [`Hierarchy`] | samples codes, of one level or of all |
//! | [`VectorsModel`] | vectors to codes and codes to vectors |
//! | [`ClassifierModel`] | features and classes of images |
//! | [`Bundle`] | a whole run in one small file |
//! | [`ContrastiveModel`] | scores images against texts |
//!
//! Sampling goes [`SampleRequest`] → [`SamplingSession`] → [`Samples`]. What waits for the device
//! is an `async` function (`encode_async`, `decode_async`, `sample_async`); the function of the
//! same name without `_async` runs it by [`Gpu::block_on`](crate::gpu::Gpu::block_on), and does not
//! exist in browsers, where nothing may block. Functions that load a model take a path or bytes;
//! [`LoadOptions`] has what else may be said.

#[cfg(not(target_arch = "wasm32"))]
mod arrays;
#[cfg(not(target_arch = "wasm32"))]
pub mod bundle;
#[cfg(not(target_arch = "wasm32"))]
mod classifier_model;
pub(crate) mod contrastive_model;
mod decoder;
mod deprecated;
mod encode_texture;
pub(crate) mod first_stage;
mod first_stage_model;
mod hierarchy;
pub mod import;
#[cfg(not(target_arch = "wasm32"))]
mod latents;
pub(crate) mod level_ablation;
pub(crate) mod loading;
#[cfg(not(target_arch = "wasm32"))]
pub mod onnx;
#[cfg(all(feature = "pretrained", not(target_arch = "wasm32")))]
pub mod pretrained;
pub(crate) mod prior_measure;
mod prior_model;
mod progress;
pub mod retrieval;
mod sampling;
mod scales;
#[cfg(feature = "text")]
pub mod texts;
mod tiled;
mod tiles;
#[cfg(not(target_arch = "wasm32"))]
pub mod tokenize;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod vectors_model;

#[cfg(not(target_arch = "wasm32"))]
pub use bundle::Bundle;
#[cfg(not(target_arch = "wasm32"))]
pub use classifier_model::{ClassifierInfo, ClassifierModel, Seen};
pub use contrastive_model::ContrastiveModel;
pub use decoder::{DECODER_FORMAT, Decoder, DecoderView};
#[allow(deprecated)]
pub use deprecated::{
    Arriving, Asked, Draw, Drawing, Given, Priors, Tiled, Tiling, Trained, TrainedPrior, Underway,
};
pub use first_stage_model::FirstStageModel;
pub use hierarchy::{Hierarchy, prior_folder, priors_of};
pub use loading::LoadOptions;
pub use prior_measure::Conditioning;
pub use prior_model::PriorModel;
pub use progress::{Progress, no_progress};
pub use sampling::{
    Condition, KnownCodes, Parallel, ParallelSession, PendingSamples, SampleRequest, Samples,
    SamplingOptions, SamplingSession, cells_under_mask, kept_cells, places_of_cells,
};
pub use tiled::{TiledModel, TilingOptions};
#[cfg(not(target_arch = "wasm32"))]
pub use vectors_model::VectorsModel;
