//! What training minimises, and how its parts are weighed.

pub mod adaptive_weight;
pub mod cross_entropy;
pub mod loss;
pub mod lpips_distance;
