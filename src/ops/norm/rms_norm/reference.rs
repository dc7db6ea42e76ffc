//! The normalisation as its definition reads, and its gradient as the chain rule gives it.

use crate::spec::Real;

fn inverse<T: Real>(x: &[T], eps: T) -> T {
    T::one() / (x.iter().map(|x| *x * *x).sum::<T>() / T::of(x.len() as f64) + eps).sqrt()
}

pub fn forward<T: Real>(x: &[T], w: &[T], eps: T) -> Vec<T> {
    let row = |x: &[T]| -> Vec<T> {
        let r = inverse(x, eps);
        x.iter().zip(w).map(|(x, w)| *x * r * *w).collect()
    };
    x.chunks(w.len()).flat_map(row).collect()
}

/// dx and dw.
pub fn gradients<T: Real>(x: &[T], w: &[T], dy: &[T], eps: T) -> (Vec<T>, Vec<T>) {
    let d = w.len();
    let (mut dx, mut dw) = (Vec::new(), vec![T::zero(); d]);
    for (x, dy) in x.chunks(d).zip(dy.chunks(d)) {
        let r = inverse(x, eps);
        // d r / d x_i = -r^3 x_i / D
        let along: T = (0..d).map(|i| dy[i] * w[i] * x[i]).sum();
        for i in 0..d {
            dx.push(r * dy[i] * w[i] - along * r * r * r * x[i] / T::of(d as f64));
            dw[i] += dy[i] * x[i] * r;
        }
    }
    (dx, dw)
}
