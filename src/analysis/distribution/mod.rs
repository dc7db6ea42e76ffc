//! Distances between sets of images, as samples are judged: of wavelet packets, which need no
//! network, and of the features of any network. All in f64 on the host.
//!
//! | measure | what | file |
//! | --- | --- | --- |
//! | FWD | Frechet distance of each wavelet packet, averaged | [`wavelets`] |
//! | FD | Frechet distance of features | [`frechet`] |
//! | KID | squared kernel distance of features, unbiased | [`kernel`] |
//! | precision, recall | shares of samples that lie among the others' neighbours | [`neighbours`] |
//! | MIND | sliced Wasserstein distance of features | [`sliced`] |

pub mod frechet;
pub mod kernel;
pub mod neighbours;
pub mod sliced;
pub mod wavelets;

use crate::{Error, Result};
use nalgebra::DMatrix;
use rayon::prelude::*;

/// Vectors of one length, one to an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// [N, D].
    rows: DMatrix<f64>,
}

/// Rows that go through at a time.
const BLOCK: usize = 256;

impl Features {
    /// Takes the rows of `values`, [N, D].
    ///
    /// # Errors
    /// If there are fewer than two rows, no channel, another number of values, or one that is not
    /// finite.
    pub fn new(values: &[f32], channels: usize) -> Result<Features> {
        let wide = values.iter().map(|v| f64::from(*v)).collect();
        Features::of(wide, channels)
    }

    /// Takes the rows of `values`, [N, D].
    pub(crate) fn of(values: Vec<f64>, channels: usize) -> Result<Features> {
        let n = values.len() / channels.max(1);
        if channels == 0 || n < 2 || n * channels != values.len() {
            return Err(Error::shape(
                "features",
                "two rows at least of one or more channels",
                format!("{} values of {channels} channels", values.len()),
            ));
        }
        if values.iter().any(|v| !v.is_finite()) {
            return Err(Error::invalid("features", "a value is not finite"));
        }
        Ok(Features {
            rows: DMatrix::from_row_iterator(n, channels, values),
        })
    }

    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.rows.nrows()
    }

    /// Whether there is no row; never so.
    pub fn is_empty(&self) -> bool {
        self.rows.nrows() == 0
    }

    /// Returns the channels of a row.
    pub fn channels(&self) -> usize {
        self.rows.ncols()
    }

    /// Calls `f` with each row's number and its products with all rows of `other`; returns the
    /// results in the order of the rows.
    fn products<T: Send>(&self, other: &Features, f: impl Fn(usize, &[f64]) -> T + Sync) -> Vec<T> {
        let starts: Vec<usize> = (0..self.len()).step_by(BLOCK).collect();
        let block = |start: &usize| {
            let rows = BLOCK.min(self.len() - start);
            // [M, rows]: the products of a row lie together.
            let products = &other.rows * self.rows.rows(*start, rows).transpose();
            let each = products.column_iter().enumerate();
            each.map(|(i, column)| f(start + i, column.as_slice()))
                .collect::<Vec<T>>()
        };
        starts.par_iter().flat_map_iter(block).collect()
    }
}

/// Two sets must have features of one length.
fn comparable(a: &Features, b: &Features) -> Result<()> {
    if a.channels() == b.channels() {
        return Ok(());
    }
    Err(Error::shape(
        "features",
        format!("{} channels in both sets", a.channels()),
        b.channels(),
    ))
}
