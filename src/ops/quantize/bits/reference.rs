//! Bits in plain loops.

use crate::spec::Real;

fn sigmoid<T: Real>(x: T) -> T {
    T::one() / (T::one() + (-x).exp())
}

pub fn signs<T: Real>(x: &[T], d: usize) -> (Vec<T>, Vec<u32>) {
    let codes = x
        .iter()
        .map(|v| if *v > T::zero() { T::one() } else { -T::one() })
        .collect();
    let index = x
        .chunks(d)
        .map(|row| {
            row.iter()
                .fold(0, |word, v| word << 1 | u32::from(*v > T::zero()))
        })
        .collect();
    (codes, index)
}

pub fn signs_of<T: Real>(index: &[u32], d: usize) -> Vec<T> {
    let bit = |word: u32, i: usize| {
        if word >> (d - 1 - i) & 1 == 1 {
            T::one()
        } else {
            -T::one()
        }
    };
    index
        .iter()
        .flat_map(|word| (0..d).map(move |i| bit(*word, i)))
        .collect()
}

pub fn bit_entropy<T: Real>(x: &[T], n: usize, a: T) -> T {
    let plogp = |p: T| if p > T::zero() { p * p.ln() } else { T::zero() };
    x.iter()
        .map(|v| -plogp(sigmoid(a * *v)) - plogp(sigmoid(-a * *v)))
        .sum::<T>()
        / T::of(n as f64)
}

pub fn bit_entropy_grad<T: Real>(x: &[T], n: usize, a: T, g: T) -> Vec<T> {
    x.iter()
        .map(|v| -g / T::of(n as f64) * a * a * *v * sigmoid(a * *v) * sigmoid(-a * *v))
        .collect()
}

/// Returns the probability of each setting of the channels `first..first + bits`.
pub fn bit_table<T: Real>(x: &[T], d: usize, first: usize, bits: usize, a: T) -> Vec<T> {
    let entry = |row: &[T], j: usize| {
        (0..bits).fold(T::one(), |product, i| {
            let t = a * row[first + i];
            product * sigmoid(if j >> (bits - 1 - i) & 1 == 1 { t } else { -t })
        })
    };
    x.chunks(d)
        .flat_map(|row| (0..1 << bits).map(move |j| entry(row, j)))
        .collect()
}

pub fn bit_table_grad<T: Real>(
    x: &[T],
    g: &[T],
    d: usize,
    first: usize,
    bits: usize,
    a: T,
) -> Vec<T> {
    let table = bit_table(x, d, first, bits, a);
    let width = 1 << bits;
    let mut dx = vec![T::zero(); x.len()];
    for (n, row) in x.chunks(d).enumerate() {
        for i in 0..bits {
            let q = sigmoid(a * row[first + i]);
            let part = |j: usize| {
                if j >> (bits - 1 - i) & 1 == 1 {
                    T::one() - q
                } else {
                    -q
                }
            };
            dx[n * d + first + i] = (0..width)
                .map(|j| a * g[n * width + j] * table[n * width + j] * part(j))
                .sum();
        }
    }
    dx
}
