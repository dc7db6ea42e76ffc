//! Every code of a codebook, decoded on its own: a grid of small tiles under their numbers and
//! shares.

use super::axes::{self, Words};
use super::canvas::{Canvas, Colour};
use super::grid::Shape;
use super::text::{self, Align, Style};
use crate::{Error, Result};

/// A code and how often it was taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Code {
    /// Its number in the codebook.
    pub number: u32,
    /// Its share of all that were taken, 0 to 1.
    pub share: f64,
}

const NUMBER: Style = Style::regular(9.5, Colour::GREY);
const UNUSED: Colour = Colour(220, 38, 38);
const HEAD: usize = 46;
const LABEL: usize = 15;
const GAP: usize = 9;
const FRAME: usize = 2;
const MARGIN: usize = 24;
/// About the width that tiles are laid out for.
const WIDTH: usize = 1400;

/// Pixels of a tile's side: few codes are shown larger.
fn side(codes: usize) -> usize {
    match codes {
        0..=64 => 96,
        65..=256 => 60,
        _ => 48,
    }
}

/// Draws the tiles, u8 NHWC, one to each of `codes` and in their order. A code that nothing took
/// has a red frame.
///
/// # Errors
/// [`Error::Shape`] if there is not a tile to each code, [`Error::Invalid`] if there is none, or
/// too many for a picture.
pub fn atlas(
    title: &str,
    caption: &str,
    codes: &[Code],
    tiles: &[u8],
    shape: Shape,
) -> Result<Canvas> {
    let count = shape.count(tiles)?;
    if count != codes.len() || count == 0 {
        return Err(Error::shape(
            "report",
            format!("a tile to each of {} codes", codes.len()),
            count,
        ));
    }
    let tile = side(count);
    let (w, h) = shape.tile_size(tile);
    // Room for a number of five digits.
    let (across, down) = (w.max(34) + GAP, h + LABEL + GAP);
    let columns = (WIDTH / across).clamp(1, count.max(8));
    let (width, height) = (
        (FRAME + columns * across).max(420),
        HEAD + count.div_ceil(columns) * down,
    );
    let mut canvas = Canvas::new(width, height, Colour::WHITE)?;
    axes::heading(
        &mut canvas,
        &Words {
            title,
            caption,
            x: "",
        },
    )?;
    for (n, code) in codes.iter().enumerate() {
        let (x, y) = (FRAME + n % columns * across, HEAD + n / columns * down);
        canvas.place(x, y, &shape.tile(tiles, n, tile)?);
        // Pale tiles would melt into the paper.
        let (line, colour) = if code.share > 0.0 {
            (1, Colour::RULE)
        } else {
            (2, UNUSED)
        };
        canvas.outline(x as i64 - 1, y as i64 - 1, w + 2, h + 2, line, colour);
        let middle = (x as f32 + w as f32 / 2.0, (y + h) as f32 + 8.0);
        text::draw(
            &mut canvas,
            middle.0,
            middle.1,
            &code.number.to_string(),
            NUMBER,
            Align::Centre,
        )?;
    }
    canvas.with_margin(MARGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        width: 3,
        height: 3,
        channels: 3,
    };

    #[test]
    fn each_code_has_its_tile_and_unused_ones_a_frame() {
        let codes: Vec<Code> = (0..20)
            .map(|n| Code {
                number: n,
                share: if n < 19 { 0.05 } else { 0.0 },
            })
            .collect();
        let tiles: Vec<u8> = (0..20).flat_map(|n| [n * 10, 7, 200].repeat(9)).collect();
        let canvas = atlas("codes", "twenty", &codes, &tiles, SHAPE).unwrap();
        let count = |c: Colour| {
            canvas
                .pixels()
                .chunks(3)
                .filter(|p| *p == [c.0, c.1, c.2])
                .count()
        };
        for n in 0..19 {
            // A square of 96 x 96 pixels.
            assert_eq!(count(Colour(n * 10, 7, 200)), 96 * 96, "tile {n}");
        }
        assert!(count(UNUSED) > 300, "the frame of the last");
        for x in 0..canvas.width() {
            assert!(
                canvas.get(x, 0) == Colour::WHITE
                    && canvas.get(x, canvas.height() - 1) == Colour::WHITE
            );
        }
    }

    #[test]
    fn tiles_that_do_not_fit_their_codes_are_refused() {
        let code = Code {
            number: 0,
            share: 1.0,
        };
        assert!(atlas("t", "c", &[code], &[0; 54], SHAPE).is_err());
        assert!(atlas("t", "c", &[], &[], SHAPE).is_err());
        assert!(atlas("t", "c", &[code], &[0; 27], SHAPE).is_ok());
    }
}
