//! The pieces of real pictures that lie nearest to each code, beside what the code decodes to.

use super::atlas::Code;
use super::axes::{self, Words};
use super::canvas::{Canvas, Colour};
use super::grid::Shape;
use super::text::{self, Align, Style};
use crate::{Error, Result};

/// A code, its decoded tile, and the patches nearest to it.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// The code.
    pub code: Code,
    /// Decoded image of the code: one tile.
    pub decoded: &'a [u8],
    /// Patches of real pictures, nearest first: tiles of the same shape, the cell of the latent in
    /// the middle.
    pub patches: Vec<u8>,
}

const NUMBER: Style = Style::bold(12.0, Colour::INK);
const SHARE: Style = Style::regular(11.0, Colour::GREY);
const HEAD: usize = 74;
const MARGIN: usize = 24;
const NAME: usize = 62;
const GAP: usize = 5;
/// Between what was decoded and what is real, and between the two halves of the picture.
const APART: usize = 16;
const BETWEEN: usize = 40;
const TILE: usize = 52;
const BESIDE: Colour = Colour(243, 244, 246);

/// Returns the patch around cell (`row`, `column`) of cells of `cell` pixels: `cells` cells each
/// way, an odd number, with the cell in the middle; what lies outside of the picture is pale grey.
/// u8 [H, W, C].
///
/// # Errors
/// [`Error::Shape`] if `image` is not of that shape.
pub fn cut(
    image: &[u8],
    shape: Shape,
    cell: usize,
    cells: usize,
    row: usize,
    column: usize,
) -> Result<Vec<u8>> {
    if shape.count(image)? != 1 {
        return Err(Error::shape(
            "report",
            "one image",
            format!("{} bytes", image.len()),
        ));
    }
    let Shape {
        width,
        height,
        channels,
    } = shape;
    let reach = cells / 2 * cell;
    let mut patch = Vec::with_capacity(cells * cells * cell * cell * channels);
    for y in 0..cells * cell {
        for x in 0..cells * cell {
            let (y, x) = (
                (row * cell + y).checked_sub(reach),
                (column * cell + x).checked_sub(reach),
            );
            match (y, x) {
                (Some(y), Some(x)) if y < height && x < width => {
                    patch.extend_from_slice(&image[(y * width + x) * channels..][..channels]);
                }
                _ => patch.extend(std::iter::repeat_n(236, channels)),
            }
        }
    }
    Ok(patch)
}

/// Draws the rows in two columns, `most` patches to a row. `cells` is how many cells a tile is
/// wide; the middle one is framed.
///
/// # Errors
/// [`Error::Shape`] if tiles are not of `shape`, [`Error::Invalid`] if there is no row.
pub fn patches(
    title: &str,
    caption: &str,
    rows: &[Row<'_>],
    shape: Shape,
    cells: usize,
    most: usize,
) -> Result<Canvas> {
    if rows.is_empty() {
        return Err(Error::invalid(
            "report",
            "there is no code to show patches of",
        ));
    }
    let halves = rows.len().min(2);
    let each = rows.len().div_ceil(halves);
    let (w, h) = shape.tile_size(TILE);
    let down = h.max(34) + GAP + 3;
    let across = NAME + w + APART + most * (w + GAP);
    let width = halves * across + (halves - 1) * BETWEEN;
    let mut canvas = Canvas::new(width.max(420), HEAD + each * down, Colour::WHITE)?;
    axes::heading(
        &mut canvas,
        &Words {
            title,
            caption,
            x: "",
        },
    )?;
    for half in 0..halves {
        let left = half * (across + BETWEEN);
        let middle = |from: usize, wide: usize| (left + from) as f32 + wide as f32 / 2.0;
        let real = NAME + w + APART;
        for (x, align, name) in [
            (left as f32 + 2.0, Align::Left, "code"),
            (middle(NAME, w), Align::Centre, "decoded"),
            (
                (left + real) as f32,
                Align::Left,
                "real patches, nearest first",
            ),
        ] {
            text::draw(&mut canvas, x, 60.0, name, SHARE, align)?;
        }
        for (n, row) in rows.iter().skip(half * each).take(each).enumerate() {
            let y = HEAD + n * down;
            let at = (y + h / 2) as f32;
            text::draw(
                &mut canvas,
                left as f32 + 2.0,
                at - 8.0,
                &format!("#{}", row.code.number),
                NUMBER,
                Align::Left,
            )?;
            let share = format!("{}%", axes::measured(row.code.share * 100.0));
            text::draw(
                &mut canvas,
                left as f32 + 2.0,
                at + 8.0,
                &share,
                SHARE,
                Align::Left,
            )?;
            let decoded = left + NAME;
            canvas.place(decoded, y, &shape.tile(row.decoded, 0, TILE)?);
            canvas.outline(
                decoded as i64 - 1,
                y as i64 - 1,
                w + 2,
                h + 2,
                1,
                Colour::AXIS,
            );
            let found = shape.count(&row.patches)?.min(most);
            for i in 0..most {
                let x = left + real + i * (w + GAP);
                if i >= found {
                    canvas.fill(x as i64, y as i64, w, h, BESIDE);
                    continue;
                }
                canvas.place(x, y, &shape.tile(&row.patches, i, TILE)?);
                canvas.outline(x as i64 - 1, y as i64 - 1, w + 2, h + 2, 1, Colour::RULE);
                // White within dark: seen on any picture.
                let (cw, ch) = (w / cells, h / cells);
                let (cx, cy) = ((x + cells / 2 * cw) as i64, (y + cells / 2 * ch) as i64);
                canvas.outline(cx - 2, cy - 2, cw + 4, ch + 4, 1, Colour::WHITE);
                canvas.outline(cx - 1, cy - 1, cw + 2, ch + 2, 1, Colour::INK);
            }
        }
    }
    canvas.with_margin(MARGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_the_cell_with_its_neighbours() {
        let shape = Shape {
            width: 6,
            height: 4,
            channels: 1,
        };
        let image: Vec<u8> = (0..24).collect();
        // Cells of 2: the first row's last cell is pixels 4, 5, 10, 11.
        let patch = cut(&image, shape, 2, 1, 0, 2).unwrap();
        assert_eq!(patch, [4, 5, 10, 11]);
        let patch = cut(&image, shape, 2, 3, 0, 2).unwrap();
        assert_eq!(patch.len(), 36);
        assert_eq!(patch[..12], [236; 12], "above the picture");
        assert_eq!(patch[12..18], [2, 3, 4, 5, 236, 236]);
        assert_eq!(patch[30..36], [20, 21, 22, 23, 236, 236]);
        assert!(cut(&image[1..], shape, 2, 1, 0, 0).is_err());
    }

    #[test]
    fn a_code_with_few_patches_leaves_places_empty() {
        let shape = Shape {
            width: 3,
            height: 3,
            channels: 1,
        };
        let decoded = [9; 9];
        let code = Code {
            number: 3,
            share: 0.01,
        };
        let rows = vec![
            Row {
                code,
                decoded: &decoded,
                patches: vec![77; 18],
            },
            Row {
                code,
                decoded: &decoded,
                patches: vec![],
            },
        ];
        let canvas = patches("t", "c", &rows, shape, 3, 4).unwrap();
        let count = |v: u8| canvas.pixels().chunks(3).filter(|p| *p == [v; 3]).count();
        assert_eq!(count(9), 2 * 51 * 51);
        // Two patches, less the frame around the middle cell.
        assert_eq!(count(77), 2 * (51 * 51 - 21 * 21 + 17 * 17));
        assert!(patches("t", "c", &[], shape, 3, 4).is_err());
    }
}
