//! What training minimises, and how its parts are weighed.

pub mod adaptive_weight;
pub mod cross_entropy;
pub mod feature_distance;
pub mod loss;
