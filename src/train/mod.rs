//! Training in a folder: the loop, the tasks (first stages, priors, contrastive models), what they
//! log, and what they do where a run diverges.

#[cfg(not(target_arch = "wasm32"))]
pub mod classifier;
pub mod contrastive;
pub mod first_stage;
pub mod objective;
pub mod prior;
#[cfg(all(feature = "text", not(target_arch = "wasm32")))]
pub mod text2image;

mod deprecated;
#[cfg(not(target_arch = "wasm32"))]
mod jobs;
mod optimizer_state;
mod ranks;
mod resumed;
mod run;
mod task;
mod trainer;
#[cfg(not(target_arch = "wasm32"))]
pub mod vectors;

#[allow(deprecated)]
pub use deprecated::{
    Arriving, Asked, DECODER_FORMAT, Decoder, Draw, Drawing, Given, Priors, Tiled, Tiling, Trained,
    TrainedPrior, Underway, prior_folder, priors_of,
};
pub use first_stage::{FirstStageTask, check, levels_of};
#[cfg(not(target_arch = "wasm32"))]
pub use jobs::{dismiss, serve};
pub use optimizer_state::{OptimizerOptions, OptimizerState};
pub use ranks::follow;
pub use resumed::{check_steps, keep_priors, resumed_prior, resumed_run, steps_alone};
pub use run::{Observer, Outcome, Progress, Schedule, Start, run, run_with, train_loop};
pub use task::{BackOff, Recovery, StepMetrics, Task, View};
pub use trainer::Trainer;
