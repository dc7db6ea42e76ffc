//! Images: bytes to numbers and back, resizing, similarity.

pub mod downsample;
pub mod image;
pub mod image_gradient;
pub mod resample;
pub mod ssim;
pub mod upsample;
