//! The RGB picture that everything in this folder draws on.

use crate::{Error, Result};
use image::{ImageFormat, Rgb, RgbImage, imageops};
use std::io::Cursor;

/// An opaque colour, 8 bits each of red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour(pub u8, pub u8, pub u8);

impl Colour {
    /// Paper.
    pub const WHITE: Colour = Colour(255, 255, 255);
    /// Headings and labels.
    pub(super) const INK: Colour = Colour(31, 41, 55);
    /// Tick labels and captions.
    pub(super) const GREY: Colour = Colour(107, 114, 128);
    /// Grid lines.
    pub(super) const RULE: Colour = Colour(229, 231, 235);
    /// Axes.
    pub(super) const AXIS: Colour = Colour(156, 163, 175);
    /// Colour of the reference.
    pub(super) const REFERENCE: Colour = Colour(234, 88, 12);

    fn rgb(self) -> Rgb<u8> {
        Rgb([self.0, self.1, self.2])
    }

    /// Returns this colour thinned towards white; `strength` 1 leaves it, 0 gives white.
    pub(super) fn tint(self, strength: f32) -> Colour {
        let f = |v: u8| blend(255, v, strength);
        Colour(f(self.0), f(self.1), f(self.2))
    }
}

fn blend(under: u8, over: u8, alpha: f32) -> u8 {
    (f32::from(under) + (f32::from(over) - f32::from(under)) * alpha.clamp(0.0, 1.0)).round() as u8
}

/// The most pixels one picture may have: 192 MiB of RGB, more than any viewer shows.
const MOST_PIXELS: u64 = 64 << 20;

/// An RGB picture, 8 bits per channel, rows from the top. Drawing outside of it is clipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canvas(RgbImage);

impl Canvas {
    /// Whether there can be a picture of `width` x `height` pixels.
    pub(super) fn holds(width: usize, height: usize) -> bool {
        let size = (width as u64).saturating_mul(height as u64);
        size > 0 && size <= MOST_PIXELS
    }

    /// Returns the height of the highest picture that is `width` pixels wide.
    pub(super) fn most_rows(width: usize) -> usize {
        (MOST_PIXELS / (width as u64).max(1)) as usize
    }

    /// Creates a picture of `width` x `height` pixels filled with `colour`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty picture or one beyond 64 megapixels.
    pub fn new(width: usize, height: usize, colour: Colour) -> Result<Self> {
        if !Self::holds(width, height) {
            return Err(Error::invalid(
                "report",
                format!(
                    "a picture of {width} x {height} pixels; it must have 1 to {MOST_PIXELS} \
                     (show fewer images)"
                ),
            ));
        }
        Ok(Canvas(RgbImage::from_pixel(
            width as u32,
            height as u32,
            colour.rgb(),
        )))
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.0.width() as usize
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.0.height() as usize
    }

    /// Returns the pixels, RGB, rows from the top: `width * height * 3` bytes.
    pub fn pixels(&self) -> &[u8] {
        self.0.as_raw()
    }

    /// Returns the colour at (`x`, `y`); white outside of the picture.
    pub fn get(&self, x: usize, y: usize) -> Colour {
        let at = |n| u32::try_from(n).ok();
        let pixel = at(x)
            .zip(at(y))
            .and_then(|(x, y)| self.0.get_pixel_checked(x, y));
        pixel.map_or(Colour::WHITE, |&Rgb([r, g, b])| Colour(r, g, b))
    }

    /// Lays `colour` over one pixel, `alpha` of 0 to 1.
    pub(super) fn dot(&mut self, x: i64, y: i64, colour: Colour, alpha: f32) {
        let at = |n| u32::try_from(n).ok();
        let pixel = at(x)
            .zip(at(y))
            .and_then(|(x, y)| self.0.get_pixel_mut_checked(x, y));
        for (under, over) in pixel.into_iter().flat_map(|p| &mut p.0).zip(colour.rgb().0) {
            *under = blend(*under, over, alpha);
        }
    }

    /// Fills the rectangle whose left upper corner is (`x`, `y`).
    pub(super) fn fill(&mut self, x: i64, y: i64, width: usize, height: usize, colour: Colour) {
        let clip = |from: i64, size: usize, end: usize| {
            let to = from.saturating_add(size as i64).clamp(0, end as i64);
            let from = from.clamp(0, end as i64);
            (from as usize, (to - from) as usize)
        };
        let (left, columns) = clip(x, width, self.width());
        let (top, rows) = clip(y, height, self.height());
        for row in self.0.rows_mut().skip(top).take(rows) {
            row.skip(left)
                .take(columns)
                .for_each(|pixel| *pixel = colour.rgb());
        }
    }

    /// Copies `other` with its left upper corner at (`x`, `y`); what reaches over the edge is left
    /// out.
    pub fn place(&mut self, x: usize, y: usize, other: &Canvas) {
        imageops::replace(&mut self.0, &other.0, x as i64, y as i64);
    }

    /// Returns this picture with white around it, so that nothing touches the edge.
    pub(super) fn with_margin(&self, margin: usize) -> Result<Canvas> {
        let mut canvas = Canvas::new(
            self.width() + 2 * margin,
            self.height() + 2 * margin,
            Colour::WHITE,
        )?;
        canvas.place(margin, margin, self);
        Ok(canvas)
    }

    /// The outline, `line` pixels wide, of the rectangle whose left upper corner is (`x`, `y`); it
    /// lies inside of it.
    pub(super) fn outline(
        &mut self,
        x: i64,
        y: i64,
        width: usize,
        height: usize,
        line: usize,
        colour: Colour,
    ) {
        let (right, low) = (
            width.saturating_sub(line) as i64,
            height.saturating_sub(line) as i64,
        );
        self.fill(x, y, width, line, colour);
        self.fill(x, y + low, width, line, colour);
        self.fill(x, y, line, height, colour);
        self.fill(x + right, y, line, height, colour);
    }

    /// Returns the picture as the bytes of a PNG file.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the encoder refuses, which a canvas gives it no reason for.
    pub fn png(&self) -> Result<Vec<u8>> {
        let mut bytes = Cursor::new(Vec::new());
        self.0.write_to(&mut bytes, ImageFormat::Png).map_err(|e| {
            Error::invalid(
                "report",
                format!("the picture cannot be encoded as PNG: {e}"),
            )
        })?;
        Ok(bytes.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_sizes_are_refused() {
        for (w, h) in [(0, 5), (5, 0), (usize::MAX, 2), (1 << 20, 1 << 20)] {
            assert!(Canvas::new(w, h, Colour::WHITE).is_err(), "{w} x {h}");
        }
    }

    #[test]
    fn drawing_outside_is_clipped() {
        let mut canvas = Canvas::new(4, 3, Colour::WHITE).unwrap();
        canvas.fill(-2, -2, 3, 3, Colour(1, 2, 3));
        canvas.fill(3, 2, 100, 100, Colour(9, 9, 9));
        canvas.fill(50, 50, 2, 2, Colour(9, 9, 9));
        canvas.dot(-1, 0, Colour(0, 0, 0), 1.0);
        canvas.dot(4, 0, Colour(0, 0, 0), 1.0);
        let black = Canvas::new(10, 10, Colour(0, 0, 0)).unwrap();
        canvas.place(2, 1, &black);
        canvas.place(4, 0, &black);
        canvas.place(0, 3, &black);
        assert_eq!(canvas.get(0, 0), Colour(1, 2, 3));
        assert_eq!(canvas.get(1, 0), Colour::WHITE);
        assert_eq!(canvas.get(1, 1), Colour::WHITE);
        assert_eq!(canvas.get(2, 1), Colour(0, 0, 0));
        assert_eq!(canvas.get(3, 2), Colour(0, 0, 0));
    }

    #[test]
    fn png_decodes_to_the_same_pixels() {
        let mut canvas = Canvas::new(5, 2, Colour::WHITE).unwrap();
        canvas.fill(1, 0, 2, 1, Colour(200, 30, 7));
        let back = image::load_from_memory(&canvas.png().unwrap())
            .unwrap()
            .to_rgb8();
        assert_eq!((back.width(), back.height()), (5, 2));
        assert_eq!(back.as_raw().as_slice(), canvas.pixels());
    }
}
