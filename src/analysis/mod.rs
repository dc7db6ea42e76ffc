//! Analysis of a trained model: what it keeps of images, probes of its codebook, robustness.

pub(crate) mod fidelity;
pub mod nearest;
pub mod probe;
pub mod robustness;
pub(crate) mod sharpness;
