//! Precision and recall of samples (Kynkaanniemi et al. 2019, "Improved precision and recall metric
//! for assessing generative models"): shares of one set that lie among the other's nearest
//! neighbours.

use super::{Features, comparable};
use crate::{Error, Result};

/// Precision and recall.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrecisionRecall {
    /// Share of the samples that lie among real images.
    pub precision: f64,
    /// Share of the real images that lie among samples.
    pub recall: f64,
}

/// Neighbours of a row that its ball reaches to.
pub const NEIGHBOURS: usize = 3;

fn lengths(x: &Features) -> Vec<f64> {
    x.rows.row_iter().map(|row| row.norm_squared()).collect()
}

/// Squared distances of row `i` of lengths `own` to all of lengths `others`, of their products.
fn distances(own: f64, others: &[f64], products: &[f64]) -> Vec<f64> {
    let each = others.iter().zip(products);
    each.map(|(other, product)| (own + other - 2.0 * product).max(0.0))
        .collect()
}

/// Squared distance of each row from its k-th neighbour.
fn reaches(x: &Features, k: usize) -> Vec<f64> {
    let all = lengths(x);
    x.products(x, |i, products| {
        let mut far = distances(all[i], &all, products);
        // The row itself is at no distance.
        far[i] = 0.0;
        *far.select_nth_unstable_by(k, f64::total_cmp).1
    })
}

/// Share of the rows of `x` that lie no farther from some row of `y` than that row's k-th
/// neighbour.
fn share(x: &Features, y: &Features, k: usize) -> f64 {
    let (own, others, reach) = (lengths(x), lengths(y), reaches(y, k));
    let inside = x.products(y, |i, products| {
        let far = distances(own[i], &others, products);
        far.iter().zip(&reach).any(|(far, reach)| far <= reach)
    });
    inside.iter().filter(|inside| **inside).count() as f64 / x.len() as f64
}

/// Computes precision and recall of `samples` beside `real`, by `k` neighbours.
///
/// # Errors
/// If the features have other lengths, or a set has no more rows than neighbours.
pub fn precision_recall(real: &Features, samples: &Features, k: usize) -> Result<PrecisionRecall> {
    comparable(real, samples)?;
    let least = real.len().min(samples.len());
    if k == 0 || least <= k {
        let what = format!("{k} neighbours among {least} images: there must be more of them");
        return Err(Error::invalid("precision and recall", what));
    }
    Ok(PrecisionRecall {
        precision: share(samples, real, k),
        recall: share(real, samples, k),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples at some of the real places are precise and miss the others.
    #[test]
    fn samples_that_miss_a_mode_have_less_recall() {
        let real = [0.0, 0.1, 0.2, 10.0, 10.1, 10.2];
        let samples = [0.05, 0.15, 0.1, 0.12, 0.02, 0.07];
        let real = Features::new(&real, 1).unwrap();
        let samples = Features::new(&samples, 1).unwrap();
        let found = precision_recall(&real, &samples, 2).unwrap();
        assert_eq!(found.precision, 1.0);
        assert!(found.recall < 0.6, "{found:?}");
        assert!(precision_recall(&real, &samples, 6).is_err());
    }
}
