//! Training: configurations, loops, checkpoints, logs, and trained models read back.

pub mod atomic;
pub mod checkpoint;
pub mod config;
pub mod health;
pub mod metrics;
pub mod metrics_log;
pub mod nearest;
pub mod presets;
pub mod probe;
pub mod robustness;
pub mod run_folder;
pub mod weights;

mod run;
mod trained;
mod vqvae;

pub use run::{Observer, Outcome, Progress, Start, run, run_with};
pub use trained::Trained;
pub use vqvae::{Trainer, check};
