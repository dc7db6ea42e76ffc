//! Analysis of a trained model: probes of its codebook, robustness, sharpness, retrieval.

pub mod nearest;
pub mod probe;
pub mod robustness;
pub(crate) mod sharpness;
