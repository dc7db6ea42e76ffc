//! Losses, and the weights of their parts.

pub mod adaptive_weight;
pub mod cross_entropy;
pub mod loss;
pub mod lpips_distance;
