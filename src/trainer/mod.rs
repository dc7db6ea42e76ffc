//! The loop of every training: a [`Trainer`] over a [`Task`], the optimiser's state, ranks that
//! follow rank 0, and a run in a folder with its log, its checkpoints, and a way to stop and go on.

pub(crate) mod optimizer_state;
pub(crate) mod ranks;
pub(crate) mod run;
pub(crate) mod task;
mod trainer;

pub use optimizer_state::{OptimizerOptions, OptimizerState};
pub use ranks::follow;
pub use run::{Observer, Outcome, Progress, Schedule, Start, train_loop};
pub use task::{BackOff, Recovery, StepMetrics, Task, View};
pub use trainer::Trainer;
