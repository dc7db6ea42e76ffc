//! Configurations of runs, priors, contrastive models and first stages over vectors, their keys,
//! and presets.

pub mod contrastive;
pub mod described;
mod dotted;
pub(crate) mod learning_rate;
pub mod objective;
pub mod presets;
pub mod prior;
mod resolved;
mod resumable;
pub mod run;
mod section;
mod train_common;
mod unread;
pub mod vectors;
mod without_effect;
mod words;

pub use dotted::DottedConfig;
pub(crate) use dotted::{check, nearest};
pub use resolved::Resolved;
pub use resumable::{Resumable, StepSchedule};
pub use train_common::{ActivationDtype, Precision, StageTrain, TrainCommon};
