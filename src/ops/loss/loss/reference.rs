//! The losses as their definitions read.

use super::Loss;
use crate::spec::Real;

pub fn loss<T: Real>(kind: Loss, a: &[T], b: &[T]) -> T {
    let terms = a.iter().zip(b).map(|(a, b)| match kind {
        Loss::Mse => (*a - *b) * (*a - *b),
        Loss::L1 => (*a - *b).abs(),
    });
    terms.sum::<T>() / T::of(a.len() as f64)
}

/// Computes the gradient with respect to `a`; that to `b` is its negative.
pub fn gradient<T: Real>(kind: Loss, a: &[T], b: &[T], g: T) -> Vec<T> {
    let n = T::of(a.len() as f64);
    let slope = |x: T| match kind {
        Loss::Mse => T::of(2.0) * x,
        Loss::L1 if x == T::zero() => x,
        Loss::L1 => x.signum(),
    };
    a.iter()
        .zip(b)
        .map(|(a, b)| g * slope(*a - *b) / n)
        .collect()
}
