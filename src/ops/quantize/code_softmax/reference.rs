//! The softmax over a codebook in plain loops.

use super::Metric;
use crate::spec::Real;

fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).map(|(a, b)| *a * *b).sum()
}

/// `-|x - e|` or `x . e`.
pub fn score<T: Real>(x: &[T], e: &[T], metric: Metric) -> T {
    match metric {
        Metric::Euclidean => -x
            .iter()
            .zip(e)
            .map(|(a, b)| (*a - *b) * (*a - *b))
            .sum::<T>()
            .max(T::of(1e-8))
            .sqrt(),
        Metric::Cosine => dot(x, e),
    }
}

/// softmax(t f) of a row.
pub fn softmax<T: Real>(x: &[T], e: &[T], metric: Metric, t: T) -> Vec<T> {
    let f: Vec<T> = e.chunks(x.len()).map(|e| t * score(x, e, metric)).collect();
    let m = f.iter().copied().fold(T::neg_infinity(), T::max);
    let z: T = f.iter().map(|v| (*v - m).exp()).sum();
    f.iter().map(|v| (*v - m).exp() / z).collect()
}

pub fn average<T: Real>(x: &[T], e: &[T], d: usize, metric: Metric, t: T) -> Vec<T> {
    let n = T::of((x.len() / d) as f64);
    let mut sum = vec![T::zero(); e.len() / d];
    for row in x.chunks(d) {
        softmax(row, e, metric, t)
            .into_iter()
            .zip(&mut sum)
            .for_each(|(q, s)| *s += q / n);
    }
    sum
}

/// Gradients of latents and codes.
pub fn average_grad<T: Real>(
    x: &[T],
    e: &[T],
    d: usize,
    metric: Metric,
    t: T,
    u: &[T],
) -> [Vec<T>; 2] {
    let n = T::of((x.len() / d) as f64);
    let (mut dx, mut de) = (vec![T::zero(); x.len()], vec![T::zero(); e.len()]);
    for (row, x) in x.chunks(d).enumerate() {
        let q = softmax(x, e, metric, t);
        let mean = dot(&q, u);
        for (k, e) in e.chunks(d).enumerate() {
            let df = t * q[k] * (u[k] - mean) / n;
            let length = -score(x, e, Metric::Euclidean);
            for j in 0..d {
                let (to_x, to_e) = match metric {
                    Metric::Euclidean => (-(x[j] - e[j]) / length, (x[j] - e[j]) / length),
                    Metric::Cosine => (e[j], x[j]),
                };
                dx[row * d + j] += df * to_x;
                de[k * d + j] += df * to_e;
            }
        }
    }
    [dx, de]
}
