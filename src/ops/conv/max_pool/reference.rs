//! Max pooling in plain loops.

use super::Geometry;
use crate::spec::Real;

/// Returns, for every output, the element of x that is the largest of its window: the first of
/// several, NaN above all.
pub fn winners<T: Real>(x: &[T], g: &Geometry) -> Vec<usize> {
    let mut all = Vec::new();
    for n in 0..g.n {
        for i in 0..g.oh {
            for j in 0..g.ow {
                for c in 0..g.c {
                    let (rows, columns) = (g.pool.reach(i, g.h), g.pool.reach(j, g.w));
                    let window = rows.flat_map(|h| {
                        columns
                            .clone()
                            .map(move |w| ((n * g.h + h) * g.w + w) * g.c + c)
                    });
                    // NaN is the largest of all.
                    let better = |best: usize, at: usize| x[at] > x[best] || x[at].is_nan();
                    let first = window.reduce(|best, at| if better(best, at) { at } else { best });
                    all.extend(first);
                }
            }
        }
    }
    all
}

pub fn gradient<T: Real>(x: &[T], dy: &[T], g: &Geometry) -> Vec<T> {
    let mut dx = vec![T::zero(); x.len()];
    for (at, d) in winners(x, g).into_iter().zip(dy) {
        dx[at] += *d;
    }
    dx
}
