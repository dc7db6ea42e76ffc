//! Analysis of a trained model: what it keeps of images, probes of its codebook, robustness.

#[cfg(feature = "cli")]
pub mod distribution;
pub(crate) mod fidelity;
pub mod nearest;
pub mod probe;
pub mod robustness;
pub(crate) mod sharpness;
