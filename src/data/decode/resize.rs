//! Bringing an image to the size at which it is kept.

use crate::Result;
use crate::data::decode::picture;
use crate::data::decode::place::Place;
use image::RgbImage;
use image::imageops::{self, FilterType};

/// The way in which an image is brought to the size at which it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resize {
    /// Cropped at the centre to the shape of that size, and scaled: [`picture::fit`].
    Fit,
    /// Scaled as a whole.
    Scale,
}

/// Returns the image at `place`, scaled as a whole.
pub(crate) fn scaled(place: &Place, width: u32, height: u32) -> Result<RgbImage> {
    Ok(imageops::resize(
        &picture::load_whole(place)?,
        width,
        height,
        FilterType::Lanczos3,
    ))
}
