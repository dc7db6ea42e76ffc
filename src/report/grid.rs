//! Grids of images: originals over reconstructions, and plain contact sheets of decoded or sampled
//! images.

use super::canvas::{Canvas, Colour};
use super::text::{self, Align, Style};
use crate::{Error, Result};

/// The size of every image in a batch of u8 NHWC pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// 1 (grey), 3 (RGB) or 4 (RGBA, shown on white).
    pub channels: usize,
}

impl Shape {
    /// Returns how many images `pixels` holds.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty shape or a channel count that no picture has;
    /// [`Error::Shape`] if the bytes are not a whole number of images.
    pub fn count(&self, pixels: &[u8]) -> Result<usize> {
        if !matches!(self.channels, 1 | 3 | 4) {
            return Err(Error::invalid(
                "report",
                format!(
                    "{} channels; 1 (grey), 3 (RGB) or 4 (RGBA) can be shown",
                    self.channels
                ),
            ));
        }
        let each = self
            .width
            .checked_mul(self.height)
            .and_then(|n| n.checked_mul(self.channels))
            .unwrap_or(0);
        if each == 0 {
            return Err(Error::invalid(
                "report",
                format!("images of {} x {} pixels", self.width, self.height),
            ));
        }
        if !pixels.len().is_multiple_of(each) {
            return Err(Error::shape(
                "report",
                format!(
                    "a whole number of {} x {} x {} images",
                    self.height, self.width, self.channels
                ),
                format!("{} bytes", pixels.len()),
            ));
        }
        Ok(pixels.len() / each)
    }

    /// Returns the `n`-th image of `pixels` with its longer side brought to at most `tile` pixels
    /// (nearest, by whole factors: each pixel becomes a square, or a square of pixels becomes its
    /// mean).
    pub(super) fn tile(&self, pixels: &[u8], n: usize, tile: usize) -> Result<Canvas> {
        let Shape {
            width,
            height,
            channels,
        } = *self;
        let image = &pixels[n * width * height * channels..(n + 1) * width * height * channels];
        let rgb = |x: usize, y: usize| -> [u64; 3] {
            let p = &image[(y * width + x) * channels..(y * width + x + 1) * channels];
            match *p {
                [grey] => [u64::from(grey); 3],
                [r, g, b] => [u64::from(r), u64::from(g), u64::from(b)],
                [r, g, b, a] => [r, g, b].map(|v| {
                    (u64::from(v) * u64::from(a) + 255 * (255 - u64::from(a)) + 127) / 255
                }),
                _ => [0; 3],
            }
        };
        let (up, down) = self.factors(tile);
        let (columns, rows) = self.tile_size(tile);
        let mut canvas = Canvas::new(columns, rows, Colour::WHITE)?;
        for y in 0..height.div_ceil(down) {
            for x in 0..width.div_ceil(down) {
                let (mut sum, mut count) = ([0_u64; 3], 0);
                for yy in y * down..((y + 1) * down).min(height) {
                    for xx in x * down..((x + 1) * down).min(width) {
                        for (s, v) in sum.iter_mut().zip(rgb(xx, yy)) {
                            *s += v;
                        }
                        count += 1;
                    }
                }
                let [r, g, b] = sum.map(|s| ((s + count / 2) / count) as u8);
                canvas.fill((x * up) as i64, (y * up) as i64, up, up, Colour(r, g, b));
            }
        }
        Ok(canvas)
    }

    /// (enlarge by, shrink by): whole numbers, at least one of them 1.
    fn factors(&self, tile: usize) -> (usize, usize) {
        let longer = self.width.max(self.height).max(1);
        (
            (tile.min(MOST_TILE) / longer).max(1),
            longer.div_ceil(tile.max(1)).max(1),
        )
    }

    /// Width and height of a tile of at most `tile` pixels.
    pub(super) fn tile_size(&self, tile: usize) -> (usize, usize) {
        let (up, down) = self.factors(tile);
        (
            self.width.div_ceil(down) * up,
            self.height.div_ceil(down) * up,
        )
    }
}

/// The layout of a grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Images per row; 0 lets the grid choose one that is near a square.
    pub columns: usize,
    /// The most pixels that an image's longer side may take. Smaller images are enlarged by a
    /// whole factor (a 32 px image at 96 becomes 96, at 100 too), larger ones shrunk by one.
    pub tile: usize,
    /// Pixels between images.
    pub gap: usize,
    /// Write "original" and "reconstruction" beside the rows of [`pairs`].
    pub labels: bool,
}

impl Default for Layout {
    fn default() -> Self {
        Layout {
            columns: 0,
            tile: 96,
            gap: 4,
            labels: false,
        }
    }
}

const LABEL: Style = Style::regular(12.0, Colour::GREY);
/// A tile larger than any picture may be: the canvas refuses it, and nothing overflows on the way
/// there.
const MOST_TILE: usize = 1 << 26;
/// Room for "reconstruction" in [`LABEL`], with some air.
const GUTTER: usize = 104;
/// Between an original and its reconstruction: close enough to compare.
const WITHIN: usize = 2;

/// Images row by row on white, `n` of them in u8 NHWC.
///
/// # Errors
/// [`Error::Shape`] or [`Error::Invalid`] if `images` does not fit `shape`, holds no image, or the
/// grid is too large.
pub fn images(images: &[u8], shape: Shape, layout: Layout) -> Result<Canvas> {
    let count = some(shape.count(images)?)?;
    let columns = columns(count, layout, 1);
    let (w, h) = shape.tile_size(layout.tile);
    let gap = layout.gap;
    let mut canvas = Canvas::new(
        extent(columns, w, gap, gap.saturating_mul(2)),
        extent(count.div_ceil(columns), h, gap, gap.saturating_mul(2)),
        Colour::WHITE,
    )?;
    for n in 0..count {
        canvas.place(
            gap + n % columns * (w + gap),
            gap + n / columns * (h + gap),
            &shape.tile(images, n, layout.tile)?,
        );
    }
    Ok(canvas)
}

/// Returns how many of `count` images fit the picture that [`images`] makes of them.
pub fn fitting(count: usize, shape: Shape, layout: Layout) -> usize {
    let (w, h) = shape.tile_size(layout.tile);
    let (gap, edge) = (layout.gap, layout.gap.saturating_mul(2));
    let fits = |count: usize| {
        let columns = columns(count, layout, 1);
        let rows = count.div_ceil(columns);
        Canvas::holds(extent(columns, w, gap, edge), extent(rows, h, gap, edge))
    };
    // More images make no smaller picture.
    let (mut most, mut beyond) = (0, count + 1);
    while beyond - most > 1 {
        let middle = most + (beyond - most) / 2;
        if fits(middle) {
            most = middle;
        } else {
            beyond = middle;
        }
    }
    most
}

/// Originals over reconstructions: pairs of rows, `n` images each in u8 NHWC.
///
/// # Errors
/// [`Error::Shape`] if the two differ in length; as [`images`] otherwise.
pub fn pairs(
    originals: &[u8],
    reconstructions: &[u8],
    shape: Shape,
    layout: Layout,
) -> Result<Canvas> {
    if originals.len() != reconstructions.len() {
        return Err(Error::shape(
            "report",
            format!(
                "a reconstruction for each original ({} bytes)",
                originals.len()
            ),
            format!("{} bytes", reconstructions.len()),
        ));
    }
    let count = some(shape.count(originals)?)?;
    let columns = columns(count, layout, 2);
    let (w, h) = shape.tile_size(layout.tile);
    let gap = layout.gap;
    let left = if layout.labels { GUTTER } else { 0 };
    let (pair, between) = (2 * h + WITHIN, between_pairs(gap));
    let mut canvas = Canvas::new(
        extent(columns, w, gap, left),
        extent(count.div_ceil(columns), pair, between, 0),
        Colour::WHITE,
    )?;
    for n in 0..count {
        let (x, y) = (
            left + n % columns * (w + gap),
            n / columns * (pair + between),
        );
        canvas.place(x, y, &shape.tile(originals, n, layout.tile)?);
        canvas.place(
            x,
            y + h + WITHIN,
            &shape.tile(reconstructions, n, layout.tile)?,
        );
    }
    if layout.labels {
        for row in 0..count.div_ceil(columns) {
            let y = row * (pair + between);
            for (word, middle) in [
                ("original", y + h / 2),
                ("reconstruction", y + h + WITHIN + h / 2),
            ] {
                text::draw(
                    &mut canvas,
                    left as f32 - 10.0,
                    middle as f32,
                    word,
                    LABEL,
                    Align::Right,
                )?;
            }
        }
    }
    Ok(canvas)
}

/// Returns the layout that shows `count` labelled pairs largest within `width` x `height` pixels;
/// where they do not fit the height, the smallest one considered.
pub(super) fn fit(count: usize, shape: Shape, width: usize, height: usize) -> Layout {
    /// Pictures are enlarged up to this, and shown as they are up to twice this.
    const LARGEST: usize = 128;
    /// Pictures are shrunk down to about this.
    const SMALLEST: usize = 64;
    let longer = shape.width.max(shape.height).max(1);
    let room = width.saturating_sub(GUTTER).max(1);
    let enlarged = (1..=(LARGEST / longer).max(1))
        .rev()
        .map(|factor| longer * factor);
    let shrunk = (2..=(longer / SMALLEST).max(1)).map(|factor| longer.div_ceil(factor));
    let mut best = Layout {
        columns: 1,
        tile: longer.min(SMALLEST).min(room),
        gap: 6,
        labels: true,
    };
    for tile in enlarged
        .chain(shrunk)
        .filter(|tile| *tile <= (2 * LARGEST).min(room))
    {
        let (w, h) = shape.tile_size(tile);
        let most = ((room + 6) / (w + 6)).max(1);
        let rows = count.div_ceil(most).max(1);
        // As many in each row, and spread a little where that leaves room.
        let columns = count.div_ceil(rows).max(1);
        let gap = if columns > 1 {
            (room.saturating_sub(columns * w) / (columns - 1)).clamp(6, 24)
        } else {
            6
        };
        best = Layout {
            columns,
            tile,
            gap,
            labels: true,
        };
        if extent(rows, 2 * h + WITHIN, between_pairs(gap), 0) <= height {
            break;
        }
    }
    best
}

/// Between one pair of rows and the next: clearly more than within a pair.
fn between_pairs(gap: usize) -> usize {
    gap.saturating_add(8)
}

/// `n` things of `each` pixels with gaps between them, after a margin.
fn extent(n: usize, each: usize, gap: usize, margin: usize) -> usize {
    let gaps = gap.saturating_mul(n.saturating_sub(1));
    each.saturating_mul(n)
        .saturating_add(gaps)
        .saturating_add(margin)
}

fn some(count: usize) -> Result<usize> {
    if count == 0 {
        return Err(Error::invalid("report", "there is no image to show"));
    }
    Ok(count)
}

/// Returns the asked-for columns, or about the square root; `stack` images stand over one another.
fn columns(count: usize, layout: Layout, stack: usize) -> usize {
    let chosen = if layout.columns > 0 {
        layout.columns
    } else {
        ((count * stack) as f64).sqrt().ceil() as usize
    };
    chosen.clamp(1, count)
}

#[cfg(test)]
mod tests;
