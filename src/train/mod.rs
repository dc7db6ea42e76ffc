//! The trainings: first stages of images and of vectors, priors, contrastive models and
//! classifiers, each a [`Task`] of the one [`Trainer`].

#[cfg(not(target_arch = "wasm32"))]
pub mod classifier;
pub mod contrastive;
pub mod first_stage;
pub mod prior;

mod deprecated;
#[cfg(not(target_arch = "wasm32"))]
mod jobs;
mod resumed;
#[cfg(not(target_arch = "wasm32"))]
pub mod vectors;

pub use crate::objective;
pub use crate::trainer::{
    BackOff, Observer, OptimizerOptions, OptimizerState, Progress, Recovery, Schedule, Start,
    StepMetrics, Task, View, follow, train_loop,
};
#[allow(deprecated)]
pub use deprecated::{
    Arriving, Asked, DECODER_FORMAT, Decoder, Draw, Drawing, Given, Priors, Tiled, Tiling, Trained,
    TrainedPrior, Underway, prior_folder, priors_of,
};
pub use first_stage::{FirstStageTask, check, levels_of, run, run_with};
#[cfg(not(target_arch = "wasm32"))]
pub use jobs::{dismiss, serve};
pub use resumed::{check_steps, keep_priors, resumed_prior, resumed_run, steps_alone};

/// Something in training: by default a first stage.
pub type Trainer<T = FirstStageTask> = crate::trainer::Trainer<T>;
/// The result of a run: by default of a first stage.
pub type Outcome<T = FirstStageTask> = crate::trainer::Outcome<T>;
