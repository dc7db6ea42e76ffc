//! The first stages: autoencoders with a quantizer at each of their levels of codes.

pub mod mlp;
pub mod vit;
pub mod vqgan;
pub mod vqvae;
pub mod vqvae2;
