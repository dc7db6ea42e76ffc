//! The search as its definition reads.

use crate::spec::Real;

/// Squared distance of two points.
pub fn distance<T: Real>(x: &[T], e: &[T]) -> T {
    x.iter().zip(e).map(|(a, b)| (*a - *b) * (*a - *b)).sum()
}

/// Finds, for each latent, the nearest code, the lowest of equals; 0 where a distance is NaN.
pub fn nearest<T: Real>(x: &[T], e: &[T], d: usize) -> Vec<u32> {
    x.chunks(d)
        .map(|x| {
            let (mut best, mut code) = (T::infinity(), 0);
            for (k, e) in e.chunks(d).enumerate() {
                let distance = distance(x, e);
                if distance < best {
                    (best, code) = (distance, k as u32);
                }
            }
            code
        })
        .collect()
}
