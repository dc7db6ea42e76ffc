//! Unit rows in plain loops.

use crate::spec::Real;

fn length<T: Real>(x: &[T]) -> T {
    x.iter().map(|v| *v * *v).sum::<T>().sqrt()
}

pub fn l2_norm<T: Real>(x: &[T], d: usize) -> Vec<T> {
    x.chunks(d)
        .flat_map(|row| row.iter().map(move |v| *v / length(row).max(T::of(1e-6))))
        .collect()
}

pub fn l2_norm_grad<T: Real>(x: &[T], dy: &[T], d: usize) -> Vec<T> {
    x.chunks(d)
        .zip(dy.chunks(d))
        .flat_map(|(x, dy)| {
            let n = length(x);
            let along: T = x.iter().zip(dy).map(|(x, g)| *x * *g / n).sum();
            let small = n <= T::of(1e-6);
            x.iter().zip(dy).map(move |(x, g)| {
                if small {
                    *g / T::of(1e-6)
                } else {
                    (*g - *x / n * along) / n
                }
            })
        })
        .collect()
}
