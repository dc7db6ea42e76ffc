//! Commands of the second stage: training a prior, sampling, completing and judging images.

pub mod complete;
pub mod evaluate;
pub mod sample;
pub mod sampling;
pub mod stage;
pub mod train;
