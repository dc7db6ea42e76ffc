//! The same in plain loops, as the definition reads.

use crate::spec::Real;

pub fn forward<T: Real>(x: &[T]) -> Vec<T> {
    x.iter().map(|x| (T::one() + x.exp()).ln()).collect()
}

/// The gradient of `sum(dy y)` to x.
pub fn backward<T: Real>(x: &[T], dy: &[T]) -> Vec<T> {
    x.iter()
        .zip(dy)
        .map(|(x, dy)| *dy * x.exp() / (T::one() + x.exp()))
        .collect()
}
