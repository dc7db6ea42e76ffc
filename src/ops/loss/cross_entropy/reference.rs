//! The cross-entropy as its definition reads.

use crate::spec::Real;

/// The target distribution of a row: smoothed, times the row's weight; all 0 where the row is
/// ignored.
pub struct Rows<'a, T> {
    pub targets: &'a [u32],
    pub weight: Option<&'a [T]>,
    pub smoothing: T,
    pub ignore: Option<u32>,
    pub v: usize,
}

impl<T: Real> Rows<'_, T> {
    fn share(&self, row: usize, class: usize) -> T {
        if self.ignore == Some(self.targets[row]) {
            return T::zero();
        }
        let right = if self.targets[row] as usize == class {
            T::one() - self.smoothing
        } else {
            T::zero()
        };
        self.weight.map_or(T::one(), |w| w[row]) * (right + self.smoothing / T::of(self.v as f64))
    }
}

/// (max, log of the sum of exponentials under it).
pub fn stats<T: Real>(x: &[T]) -> (T, T) {
    let m = x.iter().copied().fold(T::neg_infinity(), T::max);
    (m, x.iter().map(|x| (*x - m).exp()).sum::<T>().ln())
}

/// -sum over classes of share log softmax.
pub fn forward<T: Real>(x: &[T], rows: &Rows<T>) -> Vec<T> {
    let loss = |(n, x): (usize, &[T])| {
        let (m, log_z) = stats(x);
        x.iter()
            .enumerate()
            .map(|(k, x)| rows.share(n, k) * (log_z + m - *x))
            .sum()
    };
    x.chunks(rows.v).enumerate().map(loss).collect()
}

pub fn backward<T: Real>(x: &[T], rows: &Rows<T>, g: &[T]) -> Vec<T> {
    let row = |(n, x): (usize, &[T])| -> Vec<T> {
        let (m, log_z) = stats(x);
        let whole: T = (0..rows.v).map(|k| rows.share(n, k)).sum();
        x.iter()
            .enumerate()
            .map(|(k, x)| g[n] * (whole * (*x - m - log_z).exp() - rows.share(n, k)))
            .collect()
    };
    x.chunks(rows.v).enumerate().flat_map(row).collect()
}
