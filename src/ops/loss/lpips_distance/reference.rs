//! The distance of features in plain loops.

use super::EPS;
use crate::spec::Real;

/// Returns a rectified row, and its length.
fn rectified<T: Real>(x: &[T]) -> (Vec<T>, T) {
    let r: Vec<T> = x.iter().map(|v| v.max(T::zero())).collect();
    let length = r.iter().map(|v| *v * *v).sum::<T>().sqrt();
    (r, length)
}

/// Returns the rectified row over its length.
fn unit<T: Real>(x: &[T]) -> Vec<T> {
    let (r, length) = rectified(x);
    r.into_iter()
        .map(|v| v / (length + T::of(EPS.into())))
        .collect()
}

pub fn distance<T: Real>(a: &[T], b: &[T], w: &[T]) -> Vec<T> {
    let of = |(a, b)| {
        unit(a)
            .into_iter()
            .zip(unit(b))
            .zip(w)
            .map(|((u, v), w)| *w * (u - v) * (u - v))
            .sum()
    };
    a.chunks(w.len()).zip(b.chunks(w.len())).map(of).collect()
}

/// Returns the gradient of sum(g distance) to a: by the quotient rule, row by row.
pub fn gradient<T: Real>(a: &[T], b: &[T], w: &[T], g: &[T]) -> Vec<T> {
    let mut da = Vec::with_capacity(a.len());
    for ((x, y), g) in a.chunks(w.len()).zip(b.chunks(w.len())).zip(g) {
        let ((r, length), over) = (rectified(x), rectified(x).1 + T::of(EPS.into()));
        let q: Vec<T> = unit(x)
            .iter()
            .zip(unit(y))
            .zip(w)
            .map(|((u, v), w)| T::of(2.0) * *g * *w * (*u - v))
            .collect();
        let along: T = q.iter().zip(&r).map(|(q, r)| *q * *r).sum();
        da.extend(q.iter().zip(&r).map(|(q, r)| match *r > T::zero() {
            true => *q / over - *r / length * along / (over * over),
            false => T::zero(),
        }));
    }
    da
}
