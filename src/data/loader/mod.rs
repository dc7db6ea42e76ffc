//! What training sees of a set at each step, in which order, and threads that make it ahead.

pub(super) mod batch_plan;
mod jitter;
pub(super) mod order;
pub(super) mod prefetcher;
