//! Training: configurations, loops, checkpoints, logs, and trained models read back.

pub mod atomic;
pub mod checkpoint;
pub mod config;
pub mod contrastive;
pub mod health;
pub mod import;
mod keyed;
pub mod metrics;
pub mod metrics_log;
pub mod nearest;
pub mod presets;
pub mod prior;
pub mod prior_config;
pub mod probe;
pub mod robustness;
pub mod run_folder;
#[cfg(feature = "text")]
pub mod tokenizer;
pub mod tokens;
pub mod weights;

mod average;
mod batches;
mod course;
mod decoder;
mod descent;
mod encode_from;
mod file_system;
mod first_stage;
mod going_on;
mod learning_rate;
pub mod objective;
mod pace;
mod partial;
mod priors;
mod retrieval;
mod run;
mod sharpness;
mod tiled;
mod tiles;
mod trained;
mod trained_prior;
mod underway;
mod vqvae;
mod window;

pub use decoder::{DECODER_FORMAT, Decoder};
pub use going_on::{Lasting, Span};
pub use keyed::Keyed;
pub use pace::{Break, Pace, Rest};
pub use priors::{Priors, prior_folder, priors_of};
pub use run::{Cure, Observer, Outcome, Progress, Schedule, Start, Training, follow, run, run_with};
pub use tiled::{Tiled, Tiling};
pub use trained::Trained;
pub use trained_prior::{Arriving, Asked, Draw, Drawing, Given, TrainedPrior};
pub use underway::Underway;
pub use vqvae::{Trainer, check};
