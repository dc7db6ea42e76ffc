//! The part of an image that a completion keeps: by its side and its share, or by a mask.

use crate::models::Level;
use crate::{Error, Result};

/// Returns which cells of each level's grid are kept, row by row: `keep` is a side (`top`,
/// `bottom`, `left`, `right`) and a share (`half`, `third`, `quarter` or a number from 0 to 1), as
/// in `top-half` or `left-0.3`, rounded to whole rows or columns.
///
/// ```
/// use wgvq::inference::kept_cells;
/// use wgvq::models::Level;
///
/// let level = Level { name: String::new(), grid: [2, 2], codebook_size: 8, codebooks: 1 };
/// let cells = kept_cells("keep", "left-half", &[level])?;
/// assert_eq!(cells, [[true, false, true, false]]);
/// # Ok::<(), wgvq::Error>(())
/// ```
///
/// # Errors
/// If this is no such part, or all of the image; the error is one about `option`.
pub fn kept_cells(option: &str, keep: &str, levels: &[Level]) -> Result<Vec<Vec<bool>>> {
    let of_level = |level: &Level| kept(option, keep, level.grid);
    let all = levels.iter().map(of_level).collect::<Result<Vec<_>>>()?;
    if all.iter().flatten().all(|kept| *kept) {
        let what = format!("`{keep}` keeps all codes of the image: nothing is left to complete");
        return Err(Error::config(option, what));
    }
    Ok(all)
}

/// Returns which cells of each level's grid are kept under a mask, row by row: `mask` has a byte
/// for each pixel of an image of so many columns and rows, and a cell is drawn if one of the pixels
/// over it is white, 128 or more.
///
/// ```
/// use wgvq::inference::cells_under_mask;
/// use wgvq::models::Level;
///
/// let level = Level { name: String::new(), grid: [1, 2], codebook_size: 8, codebooks: 1 };
/// let cells = cells_under_mask("mask", &[0, 0, 0, 255], [4, 1], &[level])?;
/// assert_eq!(cells, [[true, false]]);
/// # Ok::<(), wgvq::Error>(())
/// ```
///
/// # Errors
/// If the mask has other pixels, or none that is white; the error is one about `option`.
pub fn cells_under_mask(
    option: &str,
    mask: &[u8],
    [width, height]: [usize; 2],
    levels: &[Level],
) -> Result<Vec<Vec<bool>>> {
    if mask.len() != width * height {
        let what = format!("{} pixels of a mask of {width} x {height}", mask.len());
        return Err(Error::config(option, what));
    }
    if mask.iter().all(|v| *v < WHITE) {
        let what = "no pixel of the mask is white: nothing is left to complete";
        return Err(Error::config(option, what));
    }
    let of_level = |level: &Level| {
        let [rows, columns] = level.grid;
        let mut kept = vec![true; rows * columns];
        for (i, _) in mask.iter().enumerate().filter(|(_, v)| **v >= WHITE) {
            let (x, y) = (i % width, i / width);
            kept[y * rows / height * columns + x * columns / width] = false;
        }
        kept
    };
    Ok(levels.iter().map(of_level).collect())
}

/// The brightness from which on a pixel is white.
const WHITE: u8 = 128;

/// Returns whether each code of an image is known, of the cells that are kept of each level's grid:
/// [`KnownCodes::places`](super::KnownCodes::places).
pub fn places_of_cells(levels: &[Level], cells: &[Vec<bool>]) -> Vec<bool> {
    let of_level = |(level, cells): (&Level, &Vec<bool>)| {
        let places = cells
            .iter()
            .flat_map(|kept| std::iter::repeat_n(*kept, level.codebooks));
        places.collect::<Vec<bool>>()
    };
    levels.iter().zip(cells).flat_map(of_level).collect()
}

/// Returns which of the cells of a grid are kept, row by row.
fn kept(option: &str, keep: &str, [rows, columns]: [usize; 2]) -> Result<Vec<bool>> {
    let wrong = || {
        let what = "is top, bottom, left or right, and how much: half, third, quarter or a number \
                    from 0 to 1, as in top-half or left-0.3";
        Error::config(option, format!("`{keep}` {what}"))
    };
    let (side, share) = keep.split_once('-').ok_or_else(wrong)?;
    let share = match share {
        "half" => 0.5,
        "third" => 1.0 / 3.0,
        "quarter" => 0.25,
        number => number
            .parse::<f64>()
            .ok()
            .filter(|s| (0.0..=1.0).contains(s))
            .ok_or_else(wrong)?,
    };
    // Rounded to whole cells; but a part that is not all of the picture leaves a row or a column to
    // draw, on a coarse grid too.
    let of = |n: usize| match (share * n as f64).round() as usize {
        all if all == n && share < 1.0 => n - 1,
        some => some,
    };
    let cell: Box<dyn Fn(usize, usize) -> bool> = match side {
        "top" => Box::new(|row, _| row < of(rows)),
        "bottom" => Box::new(|row, _| row >= rows - of(rows)),
        "left" => Box::new(|_, column| column < of(columns)),
        "right" => Box::new(|_, column| column >= columns - of(columns)),
        _ => return Err(wrong()),
    };
    Ok((0..rows * columns)
        .map(|i| cell(i / columns, i % columns))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_kept_by_side_and_share() {
        let count = |keep: &str| {
            kept("--keep", keep, [7, 6]).map(|cells| cells.iter().filter(|c| **c).count())
        };
        assert_eq!(count("top-half").unwrap(), 4 * 6);
        assert_eq!(count("top-1").unwrap(), 7 * 6);
        assert_eq!(count("left-third").unwrap(), 7 * 2);
        assert_eq!(count("bottom-0.3").unwrap(), 2 * 6);
        assert_eq!(count("right-0").unwrap(), 0);
        assert!(kept("--keep", "left-half", [2, 4]).unwrap()[..4] == [true, true, false, false]);
        assert!(kept("--keep", "bottom-half", [2, 2]).unwrap() == [false, false, true, true]);
        for bad in ["top", "middle-half", "top-2", "top-nan", "half-top", ""] {
            assert!(
                count(bad).unwrap_err().to_string().contains("--keep"),
                "{bad}"
            );
        }
    }

    #[test]
    fn white_is_drawn() {
        let level = |grid| Level {
            name: String::new(),
            grid,
            codebook_size: 8,
            codebooks: 1,
        };
        let levels = [level([1, 1]), level([2, 3])];
        let mut mask = vec![0; 6 * 4];
        (mask[6 + 4], mask[3 * 6]) = (128, 255);
        let cells = cells_under_mask("--mask", &mask, [6, 4], &levels).unwrap();
        assert_eq!(cells[0], [false]);
        assert_eq!(cells[1], [true, true, false, false, true, true]);
        for mask in [&mask[1..], &[127; 24][..]] {
            let error = cells_under_mask("--mask", mask, [6, 4], &levels).unwrap_err();
            assert!(error.to_string().contains("--mask"), "{error}");
        }
    }

    #[test]
    fn a_share_below_all_leaves_something_of_each_grid() {
        let count = |keep: &str, grid| {
            kept("--keep", keep, grid)
                .unwrap()
                .iter()
                .filter(|c| **c)
                .count()
        };
        for (keep, fine, coarse) in [
            ("top-0.9", 3 * 4, 2),
            ("left-0.2", 4, 0),
            ("bottom-0.5", 2 * 4, 2),
            ("right-1", 16, 4),
        ] {
            assert_eq!(
                (count(keep, [4, 4]), count(keep, [2, 2])),
                (fine, coarse),
                "{keep}"
            );
        }
        // One row cannot be shared out: it is drawn.
        assert_eq!(
            (count("top-0.9", [1, 4]), count("left-0.9", [1, 4])),
            (0, 3)
        );
    }
}
