//! Trained models: images to codes and back, priors that draw, and what is made of either. What
//! applications link.

pub(crate) mod ablation;
pub mod contrastive;
mod decoder;
mod encode_texture;
pub(crate) mod first_stage;
mod hierarchy;
pub mod import;
mod prior;
pub mod prior_measure;
pub mod retrieval;
mod session;
mod tiled;
mod tiles;
pub mod tokenize;
pub(crate) mod trained;

pub use decoder::{DECODER_FORMAT, Decoder};
pub use hierarchy::{Priors, prior_folder, priors_of};
pub use prior::{Arriving, Asked, Draw, Drawing, Given, TrainedPrior};
pub use session::Underway;
pub use tiled::{Tiled, Tiling};
pub use trained::Trained;
