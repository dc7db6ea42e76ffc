//! Losses of a first stage beside the pixels' error: structure, a perceptual distance, a
//! discriminator and its penalties.

pub mod discriminator;
pub mod lpips;
pub(crate) mod penalty;
pub mod structure;
