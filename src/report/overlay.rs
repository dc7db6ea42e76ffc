//! Overlays: an image's codes, a colour each, over the original, with the reconstruction beside.

use super::canvas::{Canvas, Colour};
use super::grid::Shape;
use super::text::{self, Align, Style};
use crate::{Error, Result};
use std::collections::BTreeMap;

/// Pictures, and their codes in one or more codebooks.
#[derive(Clone, Debug)]
pub struct Overlay<'a> {
    /// u8 NHWC.
    pub originals: &'a [u8],
    /// u8 NHWC.
    pub reconstructions: &'a [u8],
    /// Size of the pictures.
    pub shape: Shape,
    /// Rows and columns of a picture's codes.
    pub grid: [usize; 2],
    /// Codes, [N, rows, columns, Q].
    pub codes: &'a [u32],
    /// The colour of each code, of the first codebooks: as many as are shown. A code without one
    /// is grey.
    pub colours: &'a [BTreeMap<u32, Colour>],
    /// Codebooks, Q.
    pub books: usize,
}

const HEADING: Style = Style::regular(12.0, Colour::GREY);
const HEAD: usize = 26;
const TILE: usize = 192;
const GAP: usize = 6;
/// Between one picture and the next.
const BETWEEN: usize = 34;
const WIDTH: usize = 1300;
const MARGIN: usize = 24;
/// Cells at least so wide have their code's number.
const NUMBERED: usize = 20;
/// Opacity of the colour over the original.
const STRENGTH: f32 = 0.66;
const PLAIN: Colour = Colour(160, 160, 160);

/// Draws each picture as original, its codes and the reconstruction.
///
/// # Errors
/// [`Error::Shape`] if pictures, reconstructions and codes do not fit one another.
pub fn overlay(o: &Overlay<'_>) -> Result<Canvas> {
    let count = o.shape.count(o.originals)?;
    let [rows, columns] = o.grid;
    let each = rows * columns * o.books;
    if count == 0 || o.reconstructions.len() != o.originals.len() || o.codes.len() != count * each {
        let got = format!(
            "{} bytes of reconstructions and {} codes",
            o.reconstructions.len(),
            o.codes.len()
        );
        return Err(Error::shape(
            "report",
            format!("{count} pictures of {each} codes"),
            got,
        ));
    }
    let (w, h) = o.shape.tile_size(TILE);
    let panels = 2 + o.colours.len();
    let across = panels * w + (panels - 1) * GAP;
    let sets = ((WIDTH + BETWEEN) / (across + BETWEEN)).clamp(1, count);
    let (width, height) = (
        2 + sets * across + (sets - 1) * BETWEEN,
        HEAD + count.div_ceil(sets) * (h + 2 * GAP),
    );
    let mut canvas = Canvas::new(width, height, Colour::WHITE)?;
    for set in 0..sets {
        for panel in 0..panels {
            let name = match panel {
                0 => "original".to_owned(),
                p if p + 1 == panels => "reconstruction".to_owned(),
                _ if o.books == 1 => "codes".to_owned(),
                p => format!("codes of codebook {p}"),
            };
            let x = 1 + set * (across + BETWEEN) + panel * (w + GAP);
            text::draw(
                &mut canvas,
                x as f32 + w as f32 / 2.0,
                10.0,
                &name,
                HEADING,
                Align::Centre,
            )?;
        }
    }
    for n in 0..count {
        let (x, y) = (
            1 + n % sets * (across + BETWEEN),
            HEAD + n / sets * (h + 2 * GAP),
        );
        let original = o.shape.tile(o.originals, n, TILE)?;
        canvas.place(x, y, &original);
        for (book, colour) in o.colours.iter().enumerate() {
            let codes: Vec<u32> = o.codes[n * each..(n + 1) * each]
                .iter()
                .skip(book)
                .step_by(o.books)
                .copied()
                .collect();
            let mut tile = original.clone();
            lay(&mut tile, o.grid, &codes, colour)?;
            canvas.place(x + (book + 1) * (w + GAP), y, &tile);
        }
        canvas.place(
            x + (panels - 1) * (w + GAP),
            y,
            &o.shape.tile(o.reconstructions, n, TILE)?,
        );
        for panel in 0..panels {
            let x = (x + panel * (w + GAP)) as i64;
            canvas.outline(x - 1, y as i64 - 1, w + 2, h + 2, 1, Colour::RULE);
        }
    }
    canvas.with_margin(MARGIN)
}

/// Lays the codes' colours over a tile; lines run where neighbours have other codes.
fn lay(
    tile: &mut Canvas,
    [rows, columns]: [usize; 2],
    codes: &[u32],
    colours: &BTreeMap<u32, Colour>,
) -> Result<()> {
    let (w, h) = (tile.width(), tile.height());
    for y in 0..h {
        for x in 0..w {
            let (row, column) = (y * rows / h, x * columns / w);
            let code = codes[row * columns + column];
            let colour = colours.get(&code).copied().unwrap_or(PLAIN);
            tile.dot(x as i64, y as i64, colour, STRENGTH);
            let left = x > 0
                && (x - 1) * columns / w != column
                && codes[row * columns + column - 1] != code;
            let above =
                y > 0 && (y - 1) * rows / h != row && codes[(row - 1) * columns + column] != code;
            if left || above {
                tile.dot(x as i64, y as i64, Colour::INK, 0.55);
            }
        }
    }
    if w / columns >= NUMBERED && h / rows >= NUMBERED {
        for (i, code) in codes.iter().enumerate() {
            let x = (i % columns * w) as f32 / columns as f32 + w as f32 / columns as f32 / 2.0;
            let y = (i / columns * h) as f32 / rows as f32 + h as f32 / rows as f32 / 2.0;
            let under = tile.get(x as usize, y as usize);
            let light =
                0.3 * f32::from(under.0) + 0.59 * f32::from(under.1) + 0.11 * f32::from(under.2);
            let ink = if light > 120.0 {
                Colour::INK
            } else {
                Colour::WHITE
            };
            let text = code.to_string();
            let style = Style::regular(8.5, ink);
            if text::width(&text, style)? <= (w / columns) as f32 - 3.0 {
                text::draw(tile, x, y, &text, style, Align::Centre)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cell_has_the_colour_of_its_code() {
        let shape = Shape {
            width: 4,
            height: 4,
            channels: 3,
        };
        let colours = [BTreeMap::from([
            (0, Colour(255, 0, 0)),
            (1, Colour(0, 0, 255)),
        ])];
        let o = Overlay {
            originals: &[255; 48],
            reconstructions: &[200; 48],
            shape,
            grid: [2, 2],
            codes: &[0, 1, 1, 1],
            colours: &colours,
            books: 1,
        };
        let canvas = overlay(&o).unwrap();
        let mixed = |c: Colour| {
            let mut one = Canvas::new(1, 1, Colour::WHITE).unwrap();
            one.dot(0, 0, c, STRENGTH);
            one.get(0, 0)
        };
        let count = |c: Colour| {
            canvas
                .pixels()
                .chunks(3)
                .filter(|p| *p == [c.0, c.1, c.2])
                .count()
        };
        let (red, blue) = (
            count(mixed(Colour(255, 0, 0))),
            count(mixed(Colour(0, 0, 255))),
        );
        // A quarter, and three, less numbers and lines.
        assert!(
            (8000..=96 * 96).contains(&red) && (24000..=3 * 96 * 96).contains(&blue),
            "{red} {blue}"
        );
        assert_eq!(count(Colour(200, 200, 200)), 192 * 192);
        assert!(
            overlay(&Overlay {
                codes: &[0, 1, 1],
                ..o.clone()
            })
            .is_err()
        );
        assert!(
            overlay(&Overlay {
                reconstructions: &[0; 47],
                ..o
            })
            .is_err()
        );
    }
}
