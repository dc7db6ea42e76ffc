//! The bias as its definition reads, and its gradient as the chain rule gives it.

use crate::spec::Real;

pub fn bias<T: Real>(x: &[T], b: &[T]) -> Vec<T> {
    x.iter()
        .enumerate()
        .map(|(i, x)| *x + b[i % b.len()])
        .collect()
}

/// Computes the gradient with respect to `b`, of `cols` elements; that to `x` is `dy` itself.
pub fn gradient<T: Real>(dy: &[T], cols: usize) -> Vec<T> {
    let mut db = vec![T::zero(); cols];
    for (i, g) in dy.iter().enumerate() {
        db[i % cols] += *g;
    }
    db
}
