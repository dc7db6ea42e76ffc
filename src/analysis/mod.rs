//! What a trained model keeps and loses: probes of its codebook, robustness, sharpness, retrieval.

pub mod nearest;
pub mod probe;
pub mod robustness;
pub(crate) mod sharpness;
