//! Commands of the second stage: training a prior, sampling, completing and judging images.

pub mod compare;
pub mod complete;
pub mod evaluate;
pub mod plan;
pub mod sample;
pub mod sampling;
pub mod stage;
pub mod train;
