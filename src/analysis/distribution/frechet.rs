//! The Frechet distance of two normal distributions that have the means and covariances of two sets
//! (Dowson and Landau 1982; Heusel et al. 2017, "GANs trained by a two time-scale update rule
//! converge to a local Nash equilibrium", equation 6).

use super::{Features, comparable};
use crate::Result;
use nalgebra::{DMatrix, DVector};

/// Mean and covariance of a set, its sum of squares over N - 1.
fn moments(x: &Features) -> (DVector<f64>, DMatrix<f64>) {
    let mean = x.rows.row_mean();
    let mut centred = x.rows.clone();
    centred.row_iter_mut().for_each(|mut row| row -= &mean);
    let covariance = centred.tr_mul(&centred) / (x.len() - 1) as f64;
    (mean.transpose(), covariance)
}

/// Returns the root of a matrix that is symmetric and has no negative eigenvalue but by rounding.
fn root(m: DMatrix<f64>) -> DMatrix<f64> {
    let eigen = m.symmetric_eigen();
    let mut scaled = eigen.eigenvectors.clone();
    for (mut column, value) in scaled.column_iter_mut().zip(eigen.eigenvalues.iter()) {
        column *= value.max(0.0).sqrt();
    }
    scaled * eigen.eigenvectors.transpose()
}

/// Computes `|m - n|^2 + trace(S + T - 2 (S T)^(1/2))` of means m, n and covariances S, T.
///
/// # Errors
/// If the features have other lengths.
pub fn frechet_distance(a: &Features, b: &Features) -> Result<f64> {
    comparable(a, b)?;
    let ((m, s), (n, t)) = (moments(a), moments(b));
    let apart = (m - n).norm_squared();
    let traces = s.trace() + t.trace();
    // (S T)^(1/2) has the trace of (S^(1/2) T S^(1/2))^(1/2), which is symmetric.
    let half = root(s);
    let between = &half * t * &half;
    let values = between.symmetric_eigenvalues();
    let shared: f64 = values.iter().map(|v| v.max(0.0).sqrt()).sum();
    Ok(apart + traces - 2.0 * shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With one channel it is the squared distance of means and of deviations.
    #[test]
    fn one_channel_has_a_closed_form() {
        let a = Features::new(&[0.0, 2.0, 4.0], 1).unwrap();
        let b = Features::new(&[9.0, 10.0, 11.0], 1).unwrap();
        let distance = frechet_distance(&a, &b).unwrap();
        assert!((distance - (64.0 + 1.0)).abs() < 1e-9, "{distance}");
        assert!(frechet_distance(&a, &a).unwrap().abs() < 1e-9);
    }

    #[test]
    fn other_lengths_and_single_rows_are_refused() {
        let a = Features::new(&[0.0, 2.0, 4.0, 1.0], 1).unwrap();
        let b = Features::new(&[0.0, 2.0, 4.0, 1.0], 2).unwrap();
        assert!(frechet_distance(&a, &b).is_err());
        assert!(Features::new(&[1.0, 2.0], 2).is_err());
        assert!(Features::new(&[1.0, f32::NAN], 1).is_err());
    }
}
