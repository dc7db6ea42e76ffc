//! Finite scalar quantization in plain loops.

use super::{Activation, bound};
use crate::spec::Real;

/// Returns the bounded value before rounding, over floor(L / 2): what the straight-through gradient
/// is the gradient of.
pub fn bounded<T: Real>(z: T, level: usize, activation: Activation) -> T {
    let [half, offset, shift] = bound(level, activation).map(T::of);
    let activated = match activation {
        Activation::Tanh => (z + shift).tanh(),
        Activation::Sigmoid => {
            T::of(2.0) / (T::one() + (T::of(-1.6) * (z + shift)).exp()) - T::one()
        }
    };
    activated * half - offset
}

/// Codes and indices.
pub fn quantize<T: Real>(z: &[T], levels: &[usize], activation: Activation) -> (Vec<T>, Vec<u32>) {
    let (mut codes, mut index) = (Vec::new(), Vec::new());
    for row in z.chunks(levels.len()) {
        let (mut sum, mut basis) = (0, 1);
        for (z, level) in row.iter().zip(levels) {
            let width = level / 2;
            let b = bounded(*z, *level, activation)
                .to_f64()
                .unwrap_or(f64::NAN)
                .round_ties_even();
            codes.push(T::of(b / width as f64));
            sum += (b + width as f64) as usize * basis;
            basis *= level;
        }
        index.push(sum as u32);
    }
    (codes, index)
}

/// Returns the codes of indices.
pub fn codes_of<T: Real>(index: &[u32], levels: &[usize]) -> Vec<T> {
    let digits = |index: &u32| {
        let mut rest = *index as usize;
        levels
            .iter()
            .map(|level| {
                let digit = rest % level;
                rest /= level;
                T::of((digit as f64 - (level / 2) as f64) / (level / 2) as f64)
            })
            .collect::<Vec<T>>()
    };
    index.iter().flat_map(digits).collect()
}

/// Returns the gradient with respect to z of what has gradient g with respect to the codes.
pub fn gradient<T: Real>(z: &[T], g: &[T], levels: &[usize], activation: Activation) -> Vec<T> {
    let steepness = T::of(activation.steepness());
    let slope = |i: usize, z: T| {
        let level = levels[i % levels.len()];
        let [half, _, shift] = bound(level, activation).map(T::of);
        let t = (steepness * (z + shift)).tanh();
        steepness * (T::one() - t * t) * half / T::of((level / 2) as f64)
    };
    z.iter()
        .zip(g)
        .enumerate()
        .map(|(i, (z, g))| *g * slope(i, *z))
        .collect()
}
