//! Normalisation: of batches, groups, layers, rows.

pub mod batch_norm;
pub mod group_norm;
pub mod group_norm_activation;
pub mod l2_norm;
pub mod layer_norm;
pub mod rms_norm;
