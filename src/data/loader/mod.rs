//! The order and content of training's batches, and threads that make them ahead.

pub(super) mod batch_plan;
pub(super) mod class_weights;
mod jitter;
pub(super) mod order;
pub(super) mod prefetcher;
