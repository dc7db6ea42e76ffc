//! Random numbers as their definitions read: the words of Philox, and what a textbook makes of
//! them.

use super::{Key, philox};
use crate::spec::Real;

/// `lo + (hi - lo) u` of every word.
pub fn uniform<T: Real>(key: Key, lo: T, hi: T, n: usize) -> Vec<T> {
    philox::bits(key, n)
        .into_iter()
        .map(|word| lo + (hi - lo) * unit(word >> 8))
        .collect()
}

/// Box and Muller's pairs: `sqrt(-2 ln u) (cos 2 pi v, sin 2 pi v)` of every two words, u in (0,
/// 1].
pub fn normal<T: Real>(key: Key, n: usize) -> Vec<T> {
    let words = philox::bits(key, n.next_multiple_of(2));
    let mut numbers = Vec::with_capacity(words.len());
    for pair in words.chunks_exact(2) {
        let radius = (T::of(-2.0) * unit::<T>((pair[0] >> 8) + 1).ln()).sqrt();
        let angle = T::of(std::f64::consts::TAU) * unit(pair[1] >> 8);
        numbers.extend([radius * angle.cos(), radius * angle.sin()]);
    }
    numbers.truncate(n);
    numbers
}

fn unit<T: Real>(k: u32) -> T {
    T::of(k as f64 / 16_777_216.0)
}
