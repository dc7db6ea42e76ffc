//! The kernel distance (Binkowski et al. 2018, "Demystifying MMD GANs", section 4): the squared
//! maximum mean discrepancy of features under a cubic kernel, whose estimate is unbiased however
//! few samples there are.

use super::{Features, comparable};
use crate::Result;

/// Sum of `(x . y / D + 1)^3` over all pairs, without those of a row with itself where the sets are
/// one.
fn sum(x: &Features, y: &Features, one: bool) -> f64 {
    let d = x.channels() as f64;
    let row = |i: usize, products: &[f64]| {
        let kernel = |product: &f64| (product / d + 1.0).powi(3);
        let all: f64 = products.iter().map(kernel).sum();
        if one { all - kernel(&products[i]) } else { all }
    };
    x.products(y, row).iter().sum()
}

/// Computes the unbiased estimate over all pairs. Of equal distributions it is 0 on average, and
/// may be below.
///
/// # Errors
/// If the features have other lengths.
pub fn kernel_distance(a: &Features, b: &Features) -> Result<f64> {
    comparable(a, b)?;
    let (n, m) = (a.len() as f64, b.len() as f64);
    let within = sum(a, a, true) / (n * (n - 1.0)) + sum(b, b, true) / (m * (m - 1.0));
    Ok(within - 2.0 * sum(a, b, false) / (n * m))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rows each of one channel, worked out by hand.
    #[test]
    fn two_pairs_are_as_by_hand() {
        let a = Features::new(&[0.0, 1.0], 1).unwrap();
        let b = Features::new(&[2.0, -1.0], 1).unwrap();
        // k(0, 1) = 1; k(2, -1) = -1; k(0, 2) = k(0, -1) = 1, k(1, 2) = 27, k(1, -1) = 0.
        let distance = kernel_distance(&a, &b).unwrap();
        assert!((distance - (1.0 - 1.0 - 2.0 * 29.0 / 4.0)).abs() < 1e-12);
    }
}
