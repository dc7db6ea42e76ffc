//! The softmax of rows in plain loops.

use super::Softmax;
use crate::spec::Real;

/// Columns that row `i` of `rows` sees, of `columns`.
fn count(i: usize, rows: usize, columns: usize, causal: bool) -> usize {
    if causal {
        (i + 1 + columns).saturating_sub(rows)
    } else {
        columns
    }
}

/// Returns the shares, and log-sum-exp (the largest f32 for a row that sees nothing), of x [..,
/// rows, columns].
pub fn softmax<T: Real>(
    x: &[T],
    [rows, columns]: [usize; 2],
    options: Softmax,
) -> (Vec<T>, Vec<T>) {
    let (mut y, mut lse) = (vec![T::zero(); x.len()], Vec::new());
    for (n, row) in x.chunks(columns).enumerate() {
        let seen = count(n % rows, rows, columns, options.causal);
        let scores: Vec<T> = row[..seen]
            .iter()
            .map(|v| T::of(options.scale.into()) * *v)
            .collect();
        let top = scores.iter().fold(T::neg_infinity(), |a, b| a.max(*b));
        let total: T = scores.iter().map(|s| (*s - top).exp()).sum();
        lse.push(if seen > 0 {
            top + total.ln()
        } else {
            T::of(f32::MAX.into())
        });
        for (j, s) in scores.iter().enumerate() {
            y[n * columns + j] = (*s - top).exp() / total;
        }
    }
    (y, lse)
}

/// Returns the gradient of sum(dy y) to x, by the chain rule from y.
pub fn gradient<T: Real>(y: &[T], dy: &[T], columns: usize, scale: T) -> Vec<T> {
    let of = |(y, dy): (&[T], &[T])| {
        let mean: T = y.iter().zip(dy).map(|(y, g)| *y * *g).sum();
        y.iter()
            .zip(dy)
            .map(|(y, g)| scale * *y * (*g - mean))
            .collect::<Vec<T>>()
    };
    y.chunks(columns)
        .zip(dy.chunks(columns))
        .flat_map(of)
        .collect()
}
