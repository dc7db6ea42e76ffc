//! The two directions in which vectors differ most (principal component analysis, Pearson 1901), in
//! f64 on the host.

use crate::ops::sampling::random::{Key, philox};
use crate::{Error, Result};

/// Vectors laid on a plane.
#[derive(Clone, Debug, PartialEq)]
pub struct Plane {
    /// Each vector's place along the two directions, the mean at (0, 0).
    pub places: Vec<[f64; 2]>,
    /// The share of all variance that each direction holds.
    pub shares: [f64; 2],
}

/// Directions that are iterated together; more than two, so that the second settles even where the
/// third is as long.
const BLOCK: usize = 8;
/// Products with the covariance at most. The subspace of 8 settles by (ninth eigenvalue / second)
/// each.
const ROUNDS: usize = 200;

/// Lays the rows of `vectors` [N, D] on the plane of their first two principal components, by
/// orthogonal iteration of the covariance with a Rayleigh-Ritz step (Golub and Van Loan 2013,
/// section 8.2). Of each direction's two signs, the one is taken under which its largest channel is
/// positive. A direction in which nothing varies is 0.
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
        return Err(Error::invalid(
            "principal components",
            "a vector is not finite: the model has diverged",
        ));
    }
    let column = |c: usize| vectors.iter().skip(c).step_by(d).map(|v| f64::from(*v));
    let mean: Vec<f64> = (0..d).map(|c| column(c).sum::<f64>() / n as f64).collect();
    let centred = |row: &[f32]| -> Vec<f64> {
        row.iter()
            .zip(&mean)
            .map(|(v, m)| f64::from(*v) - m)
            .collect()
    };
    let mut covariance = vec![0.0; d * d];
    for row in vectors.chunks(d) {
        let row = centred(row);
        for (a, line) in row.iter().zip(covariance.chunks_mut(d)) {
            line.iter_mut()
                .zip(&row)
                .for_each(|(sum, b)| *sum += a * b / n as f64);
        }
    }
    let total: f64 = (0..d).map(|c| covariance[c * d + c]).sum();
    let mut directions = leading(&covariance, d);
    for v in &mut directions {
        let largest = v
            .iter()
            .fold(0.0f64, |m, x| if x.abs() > m.abs() { *x } else { m });
        if largest < 0.0 {
            v.iter_mut().for_each(|x| *x = -*x);
        }
    }
    let along = |row: &[f64], v: &[f64]| row.iter().zip(v).map(|(a, b)| a * b).sum::<f64>();
    let places: Vec<[f64; 2]> = vectors
        .chunks(d)
        .map(|row| {
            let row = centred(row);
            [0, 1].map(|i| directions.get(i).map_or(0.0, |v| along(&row, v)))
        })
        .collect();
    let share = |i: usize| places.iter().map(|p| p[i] * p[i]).sum::<f64>() / n as f64 / total;
    let shares = if total > 0.0 {
        [share(0), share(1)]
    } else {
        [0.0, 0.0]
    };
    Ok(Plane { places, shares })
}

/// Removes from each vector what lies along those before it, and brings it to length 1; one of
/// which nothing is left becomes 0.
fn orthonormal(block: &mut [Vec<f64>]) {
    for i in 0..block.len() {
        let (before, rest) = block.split_at_mut(i);
        let v = &mut rest[0];
        let length = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let whole = length(v);
        // Twice: once leaves rounding errors as large as what remains.
        for _ in 0..2 {
            for u in before.iter() {
                let along: f64 = u.iter().zip(v.iter()).map(|(a, b)| a * b).sum();
                v.iter_mut().zip(u).for_each(|(x, u)| *x -= along * u);
            }
        }
        let left = length(v);
        let scale = if left > 1e-12 * whole {
            1.0 / left
        } else {
            0.0
        };
        v.iter_mut().for_each(|x| *x *= scale);
    }
}

fn product(matrix: &[f64], v: &[f64]) -> Vec<f64> {
    matrix
        .chunks(v.len())
        .map(|line| line.iter().zip(v).map(|(a, b)| a * b).sum())
        .collect()
}

/// The eigenvectors of the two largest eigenvalues of a symmetric matrix [D, D] without negative
/// ones; one where D is 1.
fn leading(matrix: &[f64], d: usize) -> Vec<Vec<f64>> {
    let numbers = philox::normal(
        Key {
            seed: 0,
            step: 0,
            stream: 0,
        },
        BLOCK.min(d) * d,
    );
    let mut block: Vec<Vec<f64>> = numbers
        .chunks(d)
        .map(|v| v.iter().map(|x| f64::from(*x)).collect())
        .collect();
    orthonormal(&mut block);
    for _ in 0..ROUNDS {
        block = block.iter().map(|v| product(matrix, v)).collect();
        orthonormal(&mut block);
    }
    // Within the block, the eigenvectors of the matrix seen from it.
    let b = block.len();
    let mut small = vec![0.0; b * b];
    for (i, line) in small.chunks_mut(b).enumerate() {
        let image = product(matrix, &block[i]);
        line.iter_mut()
            .zip(&block)
            .for_each(|(m, v)| *m = image.iter().zip(v).map(|(a, b)| a * b).sum());
    }
    let turns = jacobi(&mut small, b);
    let mut order: Vec<usize> = (0..b).collect();
    order.sort_by(|i, j| small[j * b + j].total_cmp(&small[i * b + i]));
    let combined = |i: usize| {
        let mut v = vec![0.0; d];
        for (k, u) in block.iter().enumerate() {
            v.iter_mut()
                .zip(u)
                .for_each(|(x, u)| *x += turns[k * b + i] * u);
        }
        v
    };
    order.into_iter().take(2).map(combined).collect()
}

/// Turns a small symmetric matrix [B, B] diagonal in place (Jacobi 1846, by cyclic sweeps); returns
/// the eigenvectors as columns.
fn jacobi(m: &mut [f64], b: usize) -> Vec<f64> {
    let mut turns = vec![0.0; b * b];
    (0..b).for_each(|i| turns[i * b + i] = 1.0);
    for _ in 0..30 {
        for p in 0..b {
            for q in p + 1..b {
                let off = m[p * b + q];
                if off == 0.0 {
                    continue;
                }
                let theta = (m[q * b + q] - m[p * b + p]) / (2.0 * off);
                let t = if theta >= 0.0 { 1.0 } else { -1.0 }
                    / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                let turn = |x: &mut f64, y: &mut f64| (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                for k in 0..b {
                    let (mut x, mut y) = (m[k * b + p], m[k * b + q]);
                    turn(&mut x, &mut y);
                    (m[k * b + p], m[k * b + q]) = (x, y);
                }
                for k in 0..b {
                    let (mut x, mut y) = (m[p * b + k], m[q * b + k]);
                    turn(&mut x, &mut y);
                    (m[p * b + k], m[q * b + k]) = (x, y);
                    let (mut x, mut y) = (turns[k * b + p], turns[k * b + q]);
                    turn(&mut x, &mut y);
                    (turns[k * b + p], turns[k * b + q]) = (x, y);
                }
            }
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

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
