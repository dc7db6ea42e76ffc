//! Training in a folder: the loop, the trainers of either stage and of contrastive models, what
//! they log.

pub mod contrastive;
pub mod health;
pub mod metrics;
pub mod objective;
pub mod plan;
pub mod prior;

mod average;
mod batches;
mod course;
mod descent;
mod going_on;
mod pace;
mod run;
mod vqvae;
mod window;

pub use pace::{Break, Pace, Rest};
pub use run::{
    Cure, Observer, Outcome, Progress, Schedule, Start, Training, follow, run, run_with,
};
pub use vqvae::{Trainer, check, levels_of};
