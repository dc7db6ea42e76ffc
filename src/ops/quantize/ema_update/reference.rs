//! The moving average as its definition reads.

use super::Options;
use crate::spec::Real;

/// New counts, sums and codes.
pub fn ema_update<T: Real>(
    index: &[u32],
    x: &[T],
    counts: &[T],
    sums: &[T],
    o: Options,
) -> (Vec<T>, Vec<T>, Vec<T>) {
    let (k, d) = (counts.len(), sums.len() / counts.len());
    let (decay, eps) = (T::of(o.decay as f64), T::of(o.eps as f64));
    let mix = |old: T, new: T| decay * old + (T::one() - decay) * new;
    let of = |code: usize| {
        index
            .iter()
            .enumerate()
            .filter(move |(_, i)| **i == code as u32)
            .map(|(row, _)| row)
    };
    let counts: Vec<T> = (0..k)
        .map(|c| mix(counts[c], T::of(of(c).count() as f64)))
        .collect();
    let total: T = counts.iter().copied().sum();
    let (mut sums, mut codes) = (sums.to_vec(), vec![T::zero(); k * d]);
    for c in 0..k {
        let smoothed = (counts[c] + eps) / (total + T::of(k as f64) * eps) * total;
        for j in 0..d {
            let at = c * d + j;
            sums[at] = mix(sums[at], of(c).map(|row| x[row * d + j]).sum());
            codes[at] = sums[at] / smoothed;
        }
    }
    (counts, sums, codes)
}
