//! Models: plain structs of layers.

pub mod prior;
pub mod vqvae;
