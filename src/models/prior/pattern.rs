//! Patterns of sparse attention: the codes before it that a code of an image sees in a layer (Child
//! et al. 2019; Ramesh et al. 2021, appendix B.1).

use crate::gpu::Gpu;
use crate::ops::attention::attention::Mask;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// A layer's pattern. What stands before the codes (a class, a text) every code sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pattern {
    /// Every code before.
    Full,
    /// As many cells back as a row has, to the one above.
    Row,
    /// The column above.
    Column,
    /// The square of `attention_kernel` cells around, as far as it lies before.
    Convolution,
}

/// The layout of the sequence that a pattern refers to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Rows before the first code.
    pub prefix: usize,
    /// Cells of a row of the image.
    pub columns: usize,
    /// Codes of a cell.
    pub books: usize,
    /// Side of the square of [`Pattern::Convolution`], in cells.
    pub kernel: usize,
}

impl Pattern {
    /// Whether the code at i sees that at j, which is no later.
    fn sees(self, i: usize, j: usize, at: &Place) -> bool {
        let (a, b) = (i / at.books, j / at.books);
        let (rows, columns) = (
            a / at.columns - b / at.columns,
            (a % at.columns).abs_diff(b % at.columns),
        );
        match self {
            Pattern::Full => true,
            Pattern::Row => a - b <= at.columns,
            Pattern::Column => columns == 0,
            Pattern::Convolution => rows <= at.kernel / 2 && columns <= at.kernel / 2,
        }
    }

    /// Returns the first `rows` rows of a sequence under this pattern and causal; `None` for
    /// [`Pattern::Full`], which needs no mask.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub(crate) fn mask(self, gpu: &Gpu, rows: usize, at: &Place) -> Result<Option<Mask>> {
        if self == Pattern::Full {
            return Ok(None);
        }
        let sees = |i: usize, j: usize| {
            j <= i && (j < at.prefix || self.sees(i - at.prefix, j - at.prefix, at))
        };
        Mask::pattern(gpu, rows, rows, sees).map(Some)
    }
}

/// Masks of the patterns of a stack's layers, by what they are of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Masks(Vec<(Pattern, Mask)>);

impl Masks {
    /// Builds the masks of every pattern among `patterns`, for the first `rows` rows.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn new(gpu: &Gpu, patterns: &[Pattern], rows: usize, at: &Place) -> Result<Masks> {
        let mut kinds = patterns.to_vec();
        kinds.sort_unstable();
        kinds.dedup();
        let of = |kind: Pattern| Ok(kind.mask(gpu, rows, at)?.map(|mask| (kind, mask)));
        Ok(Masks(
            kinds
                .into_iter()
                .filter_map(|k| of(k).transpose())
                .collect::<Result<_>>()?,
        ))
    }

    /// Returns the mask of a layer under `patterns`, which come round again.
    pub fn of(&self, patterns: &[Pattern], layer: usize) -> Option<&Mask> {
        let kind = patterns.get(layer.checked_rem(patterns.len())?)?;
        self.0.iter().find(|(k, _)| k == kind).map(|(_, mask)| mask)
    }
}

/// Checks that attention of this kernel size is possible.
///
/// # Errors
/// If it is even, which has no middle, or 0.
pub(crate) fn check_kernel(kernel: usize) -> Result<()> {
    if kernel.is_multiple_of(2) || kernel > 1 << 16 {
        let what = format!("{kernel} is not allowed: it must be odd, up to 65535");
        return Err(Error::config("prior.attention_kernel", what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A grid of three columns, as figure 11 of the paper draws it.
    #[test]
    fn patterns_see_their_part_of_the_grid() {
        let at = Place {
            prefix: 2,
            columns: 3,
            books: 1,
            kernel: 3,
        };
        let seen =
            |p: Pattern, i: usize| (0..=i).filter(|j| p.sees(i, *j, &at)).collect::<Vec<_>>();
        assert_eq!(seen(Pattern::Full, 3), [0, 1, 2, 3]);
        assert_eq!(seen(Pattern::Row, 7), [4, 5, 6, 7]);
        assert_eq!(seen(Pattern::Column, 7), [1, 4, 7]);
        assert_eq!(seen(Pattern::Convolution, 7), [3, 4, 5, 6, 7]);
        assert_eq!(seen(Pattern::Convolution, 6), [3, 4, 6]);
        let two = Place { books: 2, ..at };
        let seen =
            |p: Pattern, i: usize| (0..=i).filter(|j| p.sees(i, *j, &two)).collect::<Vec<_>>();
        assert_eq!(seen(Pattern::Column, 9), [2, 3, 8, 9]);
        assert!(check_kernel(4).is_err() && check_kernel(0).is_err() && check_kernel(5).is_ok());
    }
}
