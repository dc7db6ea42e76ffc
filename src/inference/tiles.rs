//! Cuts an image into tiles that overlap, so that the inside of each comes out as in the whole
//! image.

use std::ops::Range;

/// A part of an image, in pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    /// Columns and rows that go through the model.
    pub(crate) outer: [Range<usize>; 2],
    /// The rows and columns of which the result is kept.
    pub(crate) inner: [Range<usize>; 2],
}

impl Tile {
    /// Width and height of what goes through the model.
    pub(crate) fn size(&self) -> [usize; 2] {
        [self.outer[0].len(), self.outer[1].len()]
    }
}

/// Parts of a side of `length`, each `window` long with `halo` beyond its inside, but at the
/// image's borders; all multiples of one factor. All are equally long, so that kernels and buffers
/// serve one as the other.
fn windows(length: usize, window: usize, halo: usize) -> Vec<(Range<usize>, Range<usize>)> {
    let window = window.min(length);
    let (mut all, mut done) = (Vec::new(), 0);
    while done < length {
        let start = done.saturating_sub(halo).min(length - window);
        let end = start + window;
        let to = if end == length { length } else { end - halo };
        all.push((start..end, done..to));
        done = to;
    }
    all
}

/// Returns the tiles of an image of `size`, of at most `window` each way. Row by row.
pub(crate) fn tiles(size: [usize; 2], window: [usize; 2], halo: usize) -> Vec<Tile> {
    let [columns, rows] = [0, 1].map(|side| windows(size[side], window[side], halo));
    let tile = |row: &(Range<usize>, Range<usize>), column: &(Range<usize>, Range<usize>)| Tile {
        outer: [column.0.clone(), row.0.clone()],
        inner: [column.1.clone(), row.1.clone()],
    };
    rows.iter()
        .flat_map(|row| columns.iter().map(move |column| tile(row, column)))
        .collect()
}

/// Returns the largest window of about `area` pixels into an image of `size`, each side the image's
/// or a multiple of `factor` that leaves something between two halos; `None` if there is none.
pub(crate) fn window(
    size: [usize; 2],
    area: usize,
    halo: usize,
    factor: usize,
) -> Option<[usize; 2]> {
    let along = |length: usize, across: usize| {
        let most = area / across.max(1);
        if most >= length {
            length
        } else {
            most / factor * factor
        }
    };
    let side = area.isqrt();
    // What a short side leaves goes to the other.
    let height = if size[1] <= side {
        size[1]
    } else {
        side / factor * factor
    };
    let width = along(size[0], height);
    let height = along(size[1], width);
    let fits = |window: usize, length: usize| window == length || window > 2 * halo;
    (width * height > 0 && fits(width, size[0]) && fits(height, size[1])).then_some([width, height])
}

/// The smallest window that [`window`] may give.
pub(crate) fn smallest(size: [usize; 2], halo: usize, factor: usize) -> [usize; 2] {
    size.map(|length| length.min(2 * halo + factor))
}

/// Cells of `each` values, `factor` pixels wide and high, of an image's part and of the whole.
pub(crate) struct Cells {
    pub(crate) factor: usize,
    pub(crate) each: usize,
    /// Cells in a row of the whole.
    pub(crate) columns: usize,
}

impl Cells {
    /// Puts what is kept of a tile where it belongs. Pixels of the whole that padding added, beyond
    /// its columns and rows, are left out.
    pub(crate) fn paste<T: Copy>(&self, tile: &Tile, part: &[T], whole: &mut [T]) {
        let f = self.factor;
        let rows = whole.len() / (self.columns * self.each).max(1);
        let width = tile.outer[0].len() / f;
        let [columns, lines] =
            [0, 1].map(|side| tile.inner[side].start / f..tile.inner[side].end / f);
        let columns = columns.start..columns.end.min(self.columns);
        let n = columns.len() * self.each;
        for y in lines.start..lines.end.min(rows) {
            let from = ((y - tile.outer[1].start / f) * width + columns.start
                - tile.outer[0].start / f)
                * self.each;
            let to = (y * self.columns + columns.start) * self.each;
            whole[to..to + n].copy_from_slice(&part[from..from + n]);
        }
    }

    /// Returns a tile of the whole, as it goes through the model. Beyond its last column and row,
    /// those go on.
    pub(crate) fn cut<T: Copy>(&self, tile: &Tile, whole: &[T]) -> Vec<T> {
        let f = self.factor;
        let rows = whole.len() / (self.columns * self.each).max(1);
        let [columns, lines] =
            [0, 1].map(|side| tile.outer[side].start / f..tile.outer[side].end / f);
        let mut part = Vec::with_capacity(columns.len() * lines.len() * self.each);
        for y in lines {
            let row = y.min(rows - 1) * self.columns;
            let there = columns.start.min(self.columns)..columns.end.min(self.columns);
            part.extend_from_slice(
                &whole[(row + there.start) * self.each..(row + there.end) * self.each],
            );
            let last = (row + self.columns - 1) * self.each;
            for _ in there.len()..columns.len() {
                part.extend_from_slice(&whole[last..last + self.each]);
            }
        }
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_a_side_once_with_a_halo_around() {
        for (length, window, halo) in [
            (64, 64, 8),
            (64, 100, 8),
            (200, 64, 8),
            (208, 64, 16),
            (4096, 512, 32),
            (72, 40, 16),
        ] {
            let all = windows(length, window, halo);
            let mut done = 0;
            for (outer, inner) in &all {
                assert_eq!(inner.start, done, "{length} {window} {halo}");
                assert!(
                    !inner.is_empty() && outer.end <= length && outer.len() == window.min(length)
                );
                assert!(inner.start == 0 || outer.start + halo <= inner.start);
                assert!(inner.end == length || inner.end + halo <= outer.end);
                assert!(outer.start.is_multiple_of(8) && inner.end.is_multiple_of(8));
                done = inner.end;
            }
            assert_eq!(done, length);
        }
        assert_eq!(windows(4096, 512, 32).len(), 9);
    }

    #[test]
    fn a_window_has_the_area_and_fits_the_image() {
        for (size, area) in [
            ([4096, 4096], 1 << 18),
            ([4096, 64], 1 << 18),
            ([64, 4096], 1 << 18),
            ([100, 104], 1 << 20),
        ] {
            let [w, h] = window(size, area, 16, 8).unwrap();
            assert!(
                w * h <= area && w <= size[0] && h <= size[1],
                "{size:?}: {w} x {h}"
            );
            assert!(
                w * h * 4 > 3 * area.min(size[0] * size[1]),
                "{size:?}: {w} x {h} is small"
            );
        }
        assert_eq!(window([4096, 64], 1 << 18, 16, 8), Some([4096, 64]));
        // Halos that leave nothing between them.
        assert_eq!(window([4096, 4096], 1024, 16, 8), None);
        assert_eq!(window([4096, 4096], 1600, 16, 8), Some([40, 40]));
        assert_eq!(smallest([4096, 24], 16, 8), [40, 24]);
    }

    #[test]
    fn tiles_put_together_are_the_whole() {
        // 50 x 37 pixels of 3 values, in cells of 8 pixels: the last ones are padded.
        let (size, padded) = ([50, 37], [56, 40]);
        let pixels: Vec<u32> = (0..size[0] * size[1] * 3).map(|i| i as u32).collect();
        let cells = Cells {
            factor: 1,
            each: 3,
            columns: 50,
        };
        let (mut again, mut touched) = (vec![0; pixels.len()], 0);
        for tile in tiles(padded, [32, 24], 8) {
            let part = cells.cut(&tile, &pixels);
            assert_eq!(part.len(), 32 * 24 * 3);
            cells.paste(&tile, &part, &mut again);
            touched += 1;
        }
        assert!(again == pixels && touched == 9, "{touched} tiles");
        // The last pixel goes on into the padding.
        let corner = tiles(padded, [56, 40], 8);
        let part = cells.cut(&corner[0], &pixels);
        assert_eq!(part[part.len() - 3..], pixels[pixels.len() - 3..]);
        assert_eq!(part[50 * 3..51 * 3], pixels[49 * 3..50 * 3]);
        // Codes: two to a cell.
        let codes: Vec<u16> = (0..7 * 5 * 2).collect();
        let cells = Cells {
            factor: 8,
            each: 2,
            columns: 7,
        };
        let mut again = vec![0; codes.len()];
        for tile in tiles(padded, [32, 24], 8) {
            cells.paste(&tile, &cells.cut(&tile, &codes), &mut again);
        }
        assert_eq!(again, codes);
    }
}
