//! The shares in which the sum of a weight's gradient is computed.

use crate::gpu::kernel::gemm::Tile;

/// The parts of a weight's gradient that several workgroups sum up: of as many images each, and of
/// as many of their rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// Images of a part.
    pub images: usize,
    /// Rows of a part.
    pub rows: usize,
    image_parts: usize,
    /// Parts of the same images.
    pub row_parts: usize,
}

impl Parts {
    /// Returns `wanted` parts, or fewer: an image or more each, or on the `tiled` core, where there
    /// are too few images, some rows of one.
    pub fn of(wanted: usize, images: usize, rows: usize, tile: Tile) -> Parts {
        let share = |all: usize, parts: usize| {
            let each = all.div_ceil(parts.clamp(1, all.max(1))).max(1);
            (each, all.div_ceil(each).max(1))
        };
        let (each_images, image_parts) = share(images, wanted);
        let by_rows = match tile {
            Tile::Tiled { .. } => wanted / image_parts,
            _ => 1,
        };
        let (each_rows, row_parts) = share(rows, by_rows);
        Parts {
            images: each_images,
            rows: each_rows,
            image_parts,
            row_parts,
        }
    }

    pub fn count(self) -> usize {
        self.image_parts * self.row_parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Core;

    #[test]
    fn parts_have_every_row_of_every_image_once() {
        let tiled = Tile::candidates(Core::Tiled, None)[0];
        let subgroup = Tile::candidates(Core::Subgroup, Some(8))[0];
        for (wanted, images, rows) in [(1, 3, 5), (2, 3, 5), (7, 2, 9), (103, 16, 32), (9, 1, 1)] {
            let parts = Parts::of(wanted, images, rows, tiled);
            assert!(parts.count() <= wanted.max(1), "{parts:?}");
            let mut seen = vec![0; images * rows];
            for part in 0..parts.count() {
                let (image, row) = (part / parts.row_parts, part % parts.row_parts);
                for n in (image * parts.images..images).take(parts.images) {
                    for y in (row * parts.rows..rows).take(parts.rows) {
                        seen[n * rows + y] += 1;
                    }
                }
                assert!(row * parts.rows < rows, "{parts:?}: a part without rows");
            }
            assert!(seen.iter().all(|times| *times == 1), "{parts:?}");
            assert_eq!(Parts::of(wanted, images, rows, subgroup).row_parts, 1);
        }
        assert_eq!(Parts::of(103, 16, 32, tiled).count(), 16 * 6);
        assert_eq!(Parts::of(4, 0, 0, tiled).count(), 1);
    }
}
