//! Commands of the second stage: training a prior, sampling and completing images.

pub mod sample;
pub mod train;
