//! The rotation as its definition reads.

use crate::spec::Real;

/// Returns the angle of each position's pairs, [P, D / 2]: positions have `axes` coordinates, and
/// each axis an equal share of the channels.
pub fn angles<T: Real>(positions: &[T], d: usize, axes: usize, base: T) -> Vec<T> {
    let share = d / axes;
    let angle = |x: T, i: usize| x * base.powf(T::of(-2.0 * i as f64 / share as f64));
    positions
        .iter()
        .flat_map(|x| (0..share / 2).map(|i| angle(*x, i)).collect::<Vec<T>>())
        .collect()
}

/// Rows of `pairs` pairs, row r turned by the angles `angle(r)`, or left alone where it has none.
pub fn turn<'a, T: Real>(
    x: &[T],
    pairs: usize,
    angle: impl Fn(usize) -> Option<&'a [T]>,
    sign: T,
) -> Vec<T> {
    let mut y = Vec::new();
    for (r, row) in x.chunks(2 * pairs).enumerate() {
        for i in 0..pairs {
            let (sin, cos) = angle(r).map_or((T::zero(), T::one()), |a| (sign * a[i]).sin_cos());
            y.push(cos * row[2 * i] - sin * row[2 * i + 1]);
            y.push(sin * row[2 * i] + cos * row[2 * i + 1]);
        }
    }
    y
}
