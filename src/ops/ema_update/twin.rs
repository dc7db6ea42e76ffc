//! The moving average as its definition reads.

use super::{Options, words};
use crate::ops::Real;
use crate::ops::random::{Key, philox};

/// The row that dead code `k` becomes: Philox keyed by (seed; code, step), as the kernel draws it.
fn revived_row(k: usize, n: usize, key: Key) -> usize {
    let (seed, step) = (words(key.seed), words(key.step));
    let bits = philox::philox4x32([k as u32, 0x5245_5649, step[0], step[1]], seed);
    ((bits[0] as u64 * n as u64) >> 32) as usize
}

/// New counts, sums and codes.
pub fn ema_update<T: Real>(
    index: &[u32],
    x: &[T],
    counts: &[T],
    sums: &[T],
    o: Options,
    key: Key,
) -> (Vec<T>, Vec<T>, Vec<T>) {
    let (k, d) = (counts.len(), sums.len() / counts.len());
    let (decay, eps) = (T::of(o.decay as f64), T::of(o.eps as f64));
    let mix = |old: T, new: T| decay * old + (T::one() - decay) * new;
    let of = |code: usize| index.iter().enumerate().filter(move |(_, i)| **i == code as u32).map(|(row, _)| row);
    let mut counts: Vec<T> = (0..k).map(|c| mix(counts[c], T::of(of(c).count() as f64))).collect();
    let total: T = counts.iter().copied().sum();
    let (mut sums, mut codes) = (sums.to_vec(), vec![T::zero(); k * d]);
    for c in 0..k {
        let dead = counts[c] < T::of(o.threshold as f64);
        let smoothed = (counts[c] + eps) / (total + T::of(k as f64) * eps) * total;
        for j in 0..d {
            let at = c * d + j;
            if dead {
                codes[at] = x[revived_row(c, index.len(), key) * d + j];
                sums[at] = codes[at] * T::of(o.threshold as f64);
            } else {
                sums[at] = mix(sums[at], of(c).map(|row| x[row * d + j]).sum());
                codes[at] = sums[at] / smoothed;
            }
        }
        if dead {
            counts[c] = T::of(o.threshold as f64);
        }
    }
    (counts, sums, codes)
}
