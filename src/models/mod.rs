//! Models: plain structs of layers.

pub mod vqvae;
