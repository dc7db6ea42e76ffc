//! The two directions in which vectors differ most (principal component analysis, Pearson 1901), in
//! f64 on the host.

use crate::{Error, Result};
use nalgebra::DMatrix;

/// Vectors laid on a plane.
#[derive(Clone, Debug, PartialEq)]
pub struct Plane {
    /// Each vector's place along the two directions, the mean at (0, 0).
    pub places: Vec<[f64; 2]>,
    /// The share of all variance that each direction holds.
    pub shares: [f64; 2],
}

/// Lays the rows of `vectors` `[N, D]` on the plane of their first two principal components, the
/// leading eigenvectors of the covariance. Of each direction's two signs, the one is taken under
/// which its largest channel is positive. A direction in which nothing varies is 0.
///
/// # Errors
/// If there is no vector, they are not of `d` channels each, or a number is not finite.
pub fn plane(vectors: &[f32], d: usize) -> Result<Plane> {
    let n = vectors.len() / d.max(1);
    if n == 0 || n * d != vectors.len() {
        let got = format!("{} numbers", vectors.len());
        return Err(Error::shape(
            "principal components",
            format!("vectors of {d} channels"),
            got,
        ));
    }
    if vectors.iter().any(|v| !v.is_finite()) {
        let what = "a vector is not finite: the model has diverged";
        return Err(Error::invalid("principal components", what));
    }
    let mut centred = DMatrix::from_row_iterator(n, d, vectors.iter().map(|v| f64::from(*v)));
    let mean = centred.row_mean();
    centred.row_iter_mut().for_each(|mut row| row -= &mean);
    let covariance = centred.tr_mul(&centred) / n as f64;
    let total = covariance.trace();
    let eigen = covariance.symmetric_eigen();
    let mut order: Vec<usize> = (0..d).collect();
    order.sort_by(|i, j| eigen.eigenvalues[*j].total_cmp(&eigen.eigenvalues[*i]));
    // What rounding leaves of a direction without variance is none.
    order.retain(|i| eigen.eigenvalues[*i] > 1e-12 * total);
    let along: Vec<_> = order[..order.len().min(2)]
        .iter()
        .map(|i| {
            let direction = eigen.eigenvectors.column(*i);
            let sign = direction[direction.icamax()].signum();
            &centred * direction * sign
        })
        .collect();
    let place = |row| [0, 1].map(|i: usize| along.get(i).map_or(0.0, |values| values[row]));
    let share = |i: usize| {
        along
            .get(i)
            .map_or(0.0, |v| v.norm_squared() / n as f64 / total)
    };
    Ok(Plane {
        places: (0..n).map(place).collect(),
        shares: [share(0), share(1)],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::sampling::random::{Key, philox};

    fn numbers(n: usize, stream: u32) -> Vec<f64> {
        philox::normal(
            Key {
                seed: 11,
                step: 0,
                stream,
            },
            n,
        )
        .into_iter()
        .map(f64::from)
        .collect()
    }

    /// An ellipse in 5 dimensions with known axes, far from the origin.
    #[test]
    fn the_axes_of_an_ellipse_are_found() {
        let (d, n) = (5, 720);
        // Two directions at right angles.
        let (u, v) = ([0.6, 0.0, -0.8, 0.0, 0.0], [0.0, 0.28, 0.0, 0.96, 0.0]);
        let mut vectors = Vec::new();
        for i in 0..n {
            let turn = i as f64 / n as f64 * std::f64::consts::TAU;
            for c in 0..d {
                vectors.push((40.0 + 3.0 * turn.cos() * u[c] + 0.5 * turn.sin() * v[c]) as f32);
            }
        }
        let plane = plane(&vectors, d).unwrap();
        // Variances 9 / 2 and 0.25 / 2.
        assert!(
            (plane.shares[0] - 9.0 / 9.25).abs() < 1e-5,
            "{:?}",
            plane.shares
        );
        assert!(
            (plane.shares[1] - 0.25 / 9.25).abs() < 1e-5,
            "{:?}",
            plane.shares
        );
        for (i, [x, y]) in plane.places.iter().enumerate() {
            let turn = i as f64 / n as f64 * std::f64::consts::TAU;
            // The largest channel of u is its third, -0.8: the sign is turned.
            assert!(
                (x + 3.0 * turn.cos()).abs() < 1e-4 && (y - 0.5 * turn.sin()).abs() < 1e-4,
                "{i}: {x} {y}"
            );
        }
    }

    /// Against the definition: no other pair of directions holds more variance, and directions are
    /// at right angles.
    #[test]
    fn nothing_varies_more_than_the_first_direction() {
        let (n, d) = (300, 20);
        let normals = numbers(n * d, 1);
        let vectors: Vec<f32> = normals
            .iter()
            .enumerate()
            .map(|(i, x)| (x * (1.0 + (i % d) as f64 / 7.0)) as f32)
            .collect();
        let plane = plane(&vectors, d).unwrap();
        let total: f64 = (0..d)
            .map(|c| {
                let column: Vec<f64> = vectors
                    .iter()
                    .skip(c)
                    .step_by(d)
                    .map(|v| f64::from(*v))
                    .collect();
                let mean = column.iter().sum::<f64>() / n as f64;
                column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64
            })
            .sum();
        for trial in 0..200 {
            let mut v = numbers(d, 100 + trial);
            let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
            v.iter_mut().for_each(|x| *x /= length);
            let along: Vec<f64> = vectors
                .chunks(d)
                .map(|r| r.iter().zip(&v).map(|(a, b)| f64::from(*a) * b).sum())
                .collect();
            let mean = along.iter().sum::<f64>() / n as f64;
            let variance = along.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
            assert!(
                variance <= plane.shares[0] * total * (1.0 + 1e-9),
                "trial {trial}"
            );
        }
        let product: f64 = plane.places.iter().map(|p| p[0] * p[1]).sum::<f64>() / n as f64;
        assert!(
            product.abs() < 1e-6 * plane.shares[0] * total && plane.shares[0] >= plane.shares[1],
            "{product}"
        );
    }

    #[test]
    fn odd_sets_of_vectors_do_no_harm() {
        assert_eq!(plane(&[3.0, 1.0], 2).unwrap().places, [[0.0, 0.0]]);
        let line = plane(&[1.0, 5.0, 3.0], 1).unwrap();
        assert_eq!(line.shares, [1.0, 0.0]);
        assert!(line.places.iter().all(|p| p[1] == 0.0));
        let same = plane(&[7.0; 30], 3).unwrap();
        assert_eq!(same.shares, [0.0, 0.0]);
        assert!(
            plane(&[], 3).is_err()
                && plane(&[1.0], 0).is_err()
                && plane(&[1.0, 2.0, 3.0], 2).is_err()
        );
        assert!(
            plane(&[1.0, f32::NAN], 1)
                .unwrap_err()
                .to_string()
                .contains("finite")
        );
    }
}
