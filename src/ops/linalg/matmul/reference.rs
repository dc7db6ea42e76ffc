//! The matrix product as its definition reads.

use super::Transpose;
use crate::spec::Real;

fn at_a(t: Transpose, m: usize, k: usize, i: usize, l: usize) -> usize {
    if t.a { l * m + i } else { i * k + l }
}
fn at_b(t: Transpose, n: usize, k: usize, l: usize, j: usize) -> usize {
    if t.b { j * k + l } else { l * n + j }
}

pub fn matmul<T: Real>(
    a: &[T],
    b: &[T],
    t: Transpose,
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
) -> Vec<T> {
    let mut y = vec![T::zero(); batch * m * n];
    for s in 0..batch {
        let (a, b) = (&a[s * m * k..], &b[s * k * n..]);
        for i in 0..m {
            for j in 0..n {
                y[(s * m + i) * n + j] = (0..k)
                    .map(|l| a[at_a(t, m, k, i, l)] * b[at_b(t, n, k, l, j)])
                    .sum();
            }
        }
    }
    y
}

/// dA and dB, each stored as A and B are.
pub fn gradients<T: Real>(
    a: &[T],
    b: &[T],
    dy: &[T],
    t: Transpose,
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
) -> (Vec<T>, Vec<T>) {
    let (mut da, mut db) = (vec![T::zero(); a.len()], vec![T::zero(); b.len()]);
    for s in 0..batch {
        let (ao, bo) = (s * m * k, s * k * n);
        for i in 0..m {
            for j in 0..n {
                let g = dy[(s * m + i) * n + j];
                for l in 0..k {
                    let (ia, ib) = (ao + at_a(t, m, k, i, l), bo + at_b(t, n, k, l, j));
                    da[ia] += g * b[ib];
                    db[ib] += g * a[ia];
                }
            }
        }
    }
    (da, db)
}
