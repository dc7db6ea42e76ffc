//! The optimiser's step and the clipping before it.

pub mod adam;
pub mod clip;
