//! The sliced Wasserstein distance of features, as MIND measures samples by it (Berthet et al.
//! 2026, "MIND: Monge inception distance for generative models evaluation"): along many directions,
//! the distance of the sorted projections.

use super::{Features, comparable};
use crate::ops::sampling::random::{Key, philox};
use crate::{Error, Result};
use nalgebra::DVector;
use rayon::prelude::*;

/// Directions that are averaged over.
pub const DIRECTIONS: usize = 1_000;

/// Returns `count` directions of length 1 in D channels, normal numbers brought to it; the same in
/// every call.
fn directions(d: usize, count: usize) -> Vec<DVector<f64>> {
    let key = |i: usize| Key {
        seed: 0,
        step: i as u64,
        stream: 0x4d49_4e44,
    };
    let direction = |i: usize| {
        let numbers = philox::normal(key(i), d).into_iter().map(f64::from);
        let v = DVector::from_iterator(d, numbers);
        let length = v.norm();
        if length > 0.0 { v / length } else { v }
    };
    (0..count).map(direction).collect()
}

/// Computes the mean over directions u of the mean over i of `(x_(i) - y_(i))^2`, where x and y are
/// the products of both sets with u, sorted.
///
/// # Errors
/// If the features have other lengths, or the sets other numbers of rows.
pub fn sliced_wasserstein(a: &Features, b: &Features, count: usize) -> Result<f64> {
    comparable(a, b)?;
    if a.len() != b.len() || count == 0 {
        let what = format!(
            "sets of {} and {} rows: they must be equal",
            a.len(),
            b.len()
        );
        return Err(Error::invalid("sliced Wasserstein distance", what));
    }
    let sorted = |x: &Features, u: &DVector<f64>| {
        let mut along = (&x.rows * u).as_slice().to_vec();
        along.sort_unstable_by(f64::total_cmp);
        along
    };
    let along = |u: &DVector<f64>| {
        let (x, y) = (sorted(a, u), sorted(b, u));
        let squares = x.iter().zip(&y).map(|(x, y)| (x - y) * (x - y));
        squares.sum::<f64>() / x.len() as f64
    };
    let all: Vec<f64> = directions(a.channels(), count)
        .par_iter()
        .map(along)
        .collect();
    Ok(all.iter().sum::<f64>() / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A set that is moved lies as far as the mean square of its movement along directions.
    #[test]
    fn a_movement_is_found() {
        let a: Vec<f32> = (0..60).map(|i| (i * 37 % 23) as f32 / 7.0).collect();
        let mut b = a.clone();
        b.iter_mut().step_by(3).for_each(|v| *v += 6.0);
        let (a, b) = (Features::new(&a, 3).unwrap(), Features::new(&b, 3).unwrap());
        let distance = sliced_wasserstein(&a, &b, 4_000).unwrap();
        // 36 / 3 on average over directions in three channels.
        assert!((distance - 12.0).abs() < 0.6, "{distance}");
        assert_eq!(sliced_wasserstein(&a, &a, 10).unwrap(), 0.0);
        let short = Features::new(&[0.0; 6], 3).unwrap();
        assert!(sliced_wasserstein(&a, &short, 10).is_err());
    }
}
