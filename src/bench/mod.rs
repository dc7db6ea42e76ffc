//! Timing kernels and the work that is made of them: workloads, how one is measured, and what it is
//! held against.
//!
//! [`standard`] is the fixed set that other libraries are measured by too; [`kernels`] has every
//! operation of the registry at its bench shapes. `wgvq bench` and the criterion benches walk these
//! and have no workloads of their own.

mod clock;
mod cold;
mod compare;
mod distortion;
mod environment;
mod launch;
mod measure;
mod peak;
mod peer;
#[cfg(test)]
pub(crate) mod planted;
mod prepared;
mod prior;
mod profile;
mod quantizer;
#[cfg(not(target_arch = "wasm32"))]
mod replay;
mod results;
mod row;
mod scaling;
mod statistics;
mod summary;
mod train_step;
mod tune;
mod tuning_file;
mod turns;
mod workload;

pub use clock::moved;
pub use cold::{Cache, Cold, ColdBy, last_level_cache};
pub use compare::{
    Change, Comparison, Pairing, Spread, Threshold, compare, peak_ratios, spread_of,
};
pub use distortion::{DistortionRow, Reached, Setting, distortion, distortion_settings};
pub use environment::Environment;
pub use launch::Launch;
pub use measure::{Budget, Repeated, Stop, Timing, measure, measure_cold, spread};
pub use peak::{Bound, Peak, peak, rough_peak};
pub use peer::{Peer, PeerRow, Problem};
pub use prepared::Prepared;
pub use prior::PriorWork;
pub use profile::{Share, profile};
pub use quantizer::{QuantizerForward, study};
#[cfg(not(target_arch = "wasm32"))]
pub use replay::{Replay, Shape};
pub use results::{Results, Run};
pub use row::{FORMAT, Header, Row, row, rows};
pub use scaling::{Sweep, exponent};
pub use summary::{Summary, SummaryRow, csv, machine, markdown, page};
pub use train_step::TrainStep;
pub use tune::{Class, tune};
pub use tuning_file::{apply_stored_tuning, stored_tuning, tuning_folder, tuning_path};
pub use turns::beside;
pub use workload::{Workload, find, kernels, operation, standard};
