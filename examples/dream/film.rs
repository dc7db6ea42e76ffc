//! Films of the game and of its dream: a strip of frames, and an animation of both side by side.

use super::court::PIXELS;
use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, Frame, Rgb, RgbImage, RgbaImage, imageops};
use std::path::Path;
use std::time::Duration;
use wgvq::{Error, Result};

/// Pixels between frames, and their colour.
const GAP: u32 = 2;
const GAP_COLOUR: Rgb<u8> = Rgb([255, 255, 255]);
/// The time for which a frame of the animation is seen.
const DELAY: Duration = Duration::from_millis(160);

/// Puts frames, u8 [H, W, 3] each, on a grid, each pixel enlarged to a square of `zoom`.
fn grid(rows: &[Vec<&[u8]>], zoom: u32) -> RgbImage {
    let side = PIXELS as u32 * zoom;
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0) as u32;
    let place = |i: usize| i as u32 * (side + GAP);
    let mut all = RgbImage::from_pixel(
        (columns * (side + GAP)).saturating_sub(GAP),
        place(rows.len()).saturating_sub(GAP),
        GAP_COLOUR,
    );
    for (y, row) in rows.iter().enumerate() {
        for (x, frame) in row.iter().enumerate() {
            let frame = RgbImage::from_raw(PIXELS as u32, PIXELS as u32, frame.to_vec());
            let frame = frame.unwrap_or_default();
            let large = imageops::resize(&frame, side, side, imageops::FilterType::Nearest);
            imageops::replace(&mut all, &large, place(x).into(), place(y).into());
        }
    }
    all
}

fn frames(film: &[u8]) -> impl Iterator<Item = &[u8]> {
    film.chunks(PIXELS * PIXELS * 3)
}

/// Writes a PNG of every `every`-th frame, the game's above the dreamt ones.
///
/// # Errors
/// If it cannot be written.
pub fn strip(path: &Path, real: &[u8], dreamt: &[u8], every: usize, zoom: u32) -> Result<()> {
    let rows = [real, dreamt].map(|film| frames(film).step_by(every.max(1)).collect());
    let image = grid(&rows, zoom);
    image.save(path).map_err(|e| Error::file(path, e))
}

/// Writes a GIF of the game's frames to the left of the dreamt ones.
///
/// # Errors
/// If it cannot be written.
pub fn animation(path: &Path, real: &[u8], dreamt: &[u8], zoom: u32) -> Result<()> {
    let cannot = |e: image::ImageError| Error::file(path, e);
    let mut bytes = Vec::new();
    {
        let mut encoder = GifEncoder::new_with_speed(&mut bytes, 10);
        encoder.set_repeat(Repeat::Infinite).map_err(cannot)?;
        for pair in frames(real).zip(frames(dreamt)) {
            let image = grid(&[vec![pair.0, pair.1]], zoom);
            let image: RgbaImage = image::DynamicImage::ImageRgb8(image).into_rgba8();
            let frame = Frame::from_parts(image, 0, 0, Delay::from_saturating_duration(DELAY));
            encoder.encode_frame(frame).map_err(cannot)?;
        }
    }
    std::fs::write(path, bytes).map_err(|e| Error::file(path, e))
}
