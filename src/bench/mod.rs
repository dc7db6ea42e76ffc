//! Timing kernels and the work that is made of them: workloads, how one is measured, and what it is
//! held against.
//!
//! [`standard`] is the fixed set that other libraries are measured by too; [`kernels`] has every
//! operation of the registry at its bench shapes. `wgvq bench` and the criterion benches walk these
//! and have no workloads of their own.

mod baseline;
mod clock;
mod measure;
mod peak;
mod prepared;
mod prior;
mod profile;
mod quantizer;
mod row;
mod scaling;
mod train_step;
mod tune;
mod tuning_file;
mod workload;

pub use baseline::{Baseline, Change};
pub use clock::moved;
pub use measure::{Budget, Timing, measure};
pub use peak::{Peak, peak};
pub use prepared::Prepared;
pub use prior::PriorWork;
pub use profile::{Share, profile};
pub use quantizer::{QuantizerForward, study};
pub use row::{FORMAT, Header, Row, row};
pub use scaling::{Sweep, exponent};
pub use train_step::TrainStep;
pub use tune::{Class, tune};
pub use tuning_file::{apply_stored_tuning, stored_tuning, tuning_folder, tuning_path};
pub use workload::{Workload, find, kernels, operation, standard};
