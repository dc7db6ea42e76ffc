//! Images: bytes to numbers and back, resizing, similarity.

pub mod differences;
pub mod downsample;
pub mod image;
pub mod ssim;
pub mod upsample;
