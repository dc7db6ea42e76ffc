//! The optimiser's step and the clipping before it.

pub mod adam;
pub mod adam_bf16;
pub mod clip;
