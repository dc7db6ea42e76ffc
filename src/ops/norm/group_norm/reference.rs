//! Group normalisation as its definition reads, and its gradient as the chain rule gives it.

use super::Layout;
use crate::spec::Real;

/// Indices of the values that are normalised together, for each image and group.
fn groups(l: &Layout) -> Vec<Vec<usize>> {
    let width = l.c / l.g;
    let of = |n: usize, g: usize| -> Vec<usize> {
        (0..l.s)
            .flat_map(|s| (0..width).map(move |j| (n * l.s + s) * l.c + g * width + j))
            .collect()
    };
    (0..l.n)
        .flat_map(|n| (0..l.g).map(move |g| (n, g)))
        .map(|(n, g)| of(n, g))
        .collect()
}

/// Mean and inverse deviation.
fn stats<T: Real>(x: &[T], members: &[usize], eps: f32) -> (T, T) {
    let count = T::of(members.len() as f64);
    let mean = members.iter().map(|i| x[*i]).sum::<T>() / count;
    let variance = members
        .iter()
        .map(|i| (x[*i] - mean) * (x[*i] - mean))
        .sum::<T>()
        / count;
    (mean, T::one() / (variance + T::of(eps as f64)).sqrt())
}

pub fn forward<T: Real>(x: &[T], w: &[T], b: &[T], l: &Layout) -> Vec<T> {
    let mut y = vec![T::zero(); x.len()];
    for members in groups(l) {
        let (mean, r) = stats(x, &members, l.eps);
        for i in members {
            y[i] = (x[i] - mean) * r * w[i % l.c] + b[i % l.c];
        }
    }
    y
}

/// (mean, inverse deviation) of each image's groups.
pub fn moments<T: Real>(x: &[T], l: &Layout) -> Vec<T> {
    groups(l)
        .iter()
        .map(|members| stats(x, members, l.eps))
        .flat_map(|(mean, r)| [mean, r])
        .collect()
}

/// dx, dw and db.
pub fn gradients<T: Real>(x: &[T], w: &[T], dy: &[T], l: &Layout) -> (Vec<T>, Vec<T>, Vec<T>) {
    let (mut dx, mut dw, mut db) = (
        vec![T::zero(); x.len()],
        vec![T::zero(); l.c],
        vec![T::zero(); l.c],
    );
    for members in groups(l) {
        let (mean, r) = stats(x, &members, l.eps);
        let count = T::of(members.len() as f64);
        let (g, h) = (|i: usize| dy[i] * w[i % l.c], |i: usize| (x[i] - mean) * r);
        let mean_g = members.iter().map(|i| g(*i)).sum::<T>() / count;
        let mean_gh = members.iter().map(|i| g(*i) * h(*i)).sum::<T>() / count;
        for i in members {
            dx[i] = r * (g(i) - mean_g - h(i) * mean_gh);
            dw[i % l.c] += dy[i] * h(i);
            db[i % l.c] += dy[i];
        }
    }
    (dx, dw, db)
}
