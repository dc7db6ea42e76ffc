//! Commands of the second stage: training a prior, sampling and completing images.

pub mod complete;
pub mod sample;
pub mod sampling;
pub mod stage;
pub mod train;
