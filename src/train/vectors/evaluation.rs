//! A measurement on vectors that are held out.

use crate::Result;
use crate::inference::vectors_model::VectorsStage;
use crate::nn::Parameters;
use crate::storage::metrics_log::Record;
use crate::vectors::{CodeUse, HeldOut, squared_distances};

/// A measurement on vectors that are held out, in the numbers of their array.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VectorsEvaluation {
    /// Steps done.
    pub step: u64,
    /// Vectors that were measured.
    pub vectors: usize,
    /// Mean squared error of a number.
    pub mse: f64,
    /// Mean squared distance of a vector to what its codes decode to.
    pub distortion: f64,
    /// Its share of the mean squared distance of a vector to the mean of all: 0 is no error, and 1
    /// what the mean alone would give.
    pub unexplained: f64,
    /// Perplexity of the codes; of several codebooks the mean.
    pub perplexity: f64,
    /// Codes of each codebook that some vector takes.
    pub used: Vec<usize>,
    /// Codes of a codebook.
    pub codes: usize,
    /// Different codes, all of a vector together.
    pub distinct: usize,
    /// Share of the vectors that have their codes to themselves.
    pub unique_share: f64,
}

impl VectorsEvaluation {
    /// Measures.
    pub(super) fn of(
        model: &VectorsStage,
        params: &Parameters,
        data: &HeldOut,
    ) -> Result<VectorsEvaluation> {
        let (n, dim) = (data.test_len(), data.dim());
        let level = &model.level;
        let mut used = CodeUse::new(level.codebooks, level.codebook_size, n)?;
        let (mut sum, mut spread) = (0.0, Spread::new(dim));
        let each = model.rows();
        for start in (0..n).step_by(each) {
            let rows = data.test(start..n.min(start + each))?;
            let passed = model.pass(params, &rows)?;
            used.count(&passed.codes)?;
            sum += squared_distances(&rows, &passed.vectors);
            spread.add(&rows);
        }
        let (distinct, alone) = used.distinct();
        let (perplexity, rows) = (used.perplexity(), n as f64);
        let distortion = sum / rows;
        let spread = spread.mean_square();
        Ok(VectorsEvaluation {
            step: 0,
            vectors: n,
            mse: distortion / dim as f64,
            distortion,
            // Of vectors that are all alike nothing is left to explain.
            unexplained: if spread > 0.0 {
                distortion / spread
            } else {
                0.0
            },
            perplexity: perplexity.iter().sum::<f64>() / perplexity.len() as f64,
            used: used.used(),
            codes: level.codebook_size,
            distinct,
            unique_share: alone as f64 / rows,
        })
    }

    /// Returns the share of the vectors that share their codes with another.
    pub fn collision_rate(&self) -> f64 {
        1.0 - self.unique_share
    }
}

/// Sums of vectors and of their squares, about the first of them.
struct Spread {
    first: Option<Vec<f64>>,
    sums: Vec<f64>,
    squares: f64,
    rows: usize,
}

impl Spread {
    fn new(dim: usize) -> Spread {
        Spread {
            first: None,
            sums: vec![0.0; dim],
            squares: 0.0,
            rows: 0,
        }
    }

    fn add(&mut self, rows: &[f32]) {
        let dim = self.sums.len();
        for row in rows.chunks(dim) {
            let wide = || row.iter().map(|v| f64::from(*v));
            let first = self.first.get_or_insert_with(|| wide().collect());
            for ((value, first), sum) in wide().zip(first).zip(&mut self.sums) {
                let value = value - *first;
                *sum += value;
                self.squares += value * value;
            }
            self.rows += 1;
        }
    }

    /// The mean squared distance to the mean.
    fn mean_square(&self) -> f64 {
        let n = self.rows as f64;
        let of_mean: f64 = self.sums.iter().map(|sum| (sum / n).powi(2)).sum();
        (self.squares / n - of_mean).max(0.0)
    }
}

impl Record for VectorsEvaluation {
    fn header() -> String {
        "step,mse,distortion,unexplained,perplexity,used,distinct,unique_share,collision_rate"
            .into()
    }

    fn values(&self) -> String {
        let used: usize = self.used.iter().sum();
        format!(
            "{},{:.6e},{:.6e},{:.6},{:.2},{used},{},{:.6},{:.6}",
            self.step,
            self.mse,
            self.distortion,
            self.unexplained,
            self.perplexity,
            self.distinct,
            self.unique_share,
            self.collision_rate()
        )
    }
}

impl std::fmt::Display for VectorsEvaluation {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let (used, all) = (
            self.used.iter().sum::<usize>(),
            self.used.len() * self.codes,
        );
        write!(
            f,
            "held-out MSE {:.4e} ({:.2} % of the variance), perplexity {:.1}, {used} of {all} \
             codes used, {:.1} % of the vectors have codes of their own",
            self.mse,
            100.0 * self.unexplained,
            self.perplexity,
            100.0 * self.unique_share
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_that_about_the_mean() {
        let mut spread = Spread::new(2);
        spread.add(&[1e6, 1.0, 1e6 + 2.0, 1.0]);
        spread.add(&[1e6 + 4.0, 4.0]);
        // Means 1e6 + 2 and 2: (4 + 1) + (0 + 1) + (4 + 4), over 3.
        assert!((spread.mean_square() - 14.0 / 3.0).abs() < 1e-9);
    }
}
