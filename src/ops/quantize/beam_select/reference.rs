//! The same in plain loops, as the definition reads.

use crate::spec::Real;

/// Returns the rows of `products` and the codes of the `kept` nearest continuations of each vector.
pub fn beam_select<T: Real>(
    products: &[T],
    half_norms: &[T],
    bases: &[T],
    beams: usize,
    kept: usize,
) -> (Vec<u32>, Vec<u32>) {
    let k = half_norms.len();
    let (mut parents, mut codes) = (Vec::new(), Vec::new());
    for first in (0..bases.len()).step_by(beams) {
        let mut all: Vec<(T, usize, usize)> = Vec::new();
        for row in first..first + beams {
            for code in 0..k {
                let score = bases[row] + half_norms[code] - products[row * k + code];
                let score = if score.is_nan() { T::infinity() } else { score };
                all.push((score, row, code));
            }
        }
        // Equal scores stay in their order.
        all.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal));
        for (_, row, code) in &all[..kept] {
            parents.push(*row as u32);
            codes.push(*code as u32);
        }
    }
    (parents, codes)
}
