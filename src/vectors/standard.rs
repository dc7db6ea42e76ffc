//! Vectors about 0, with numbers of about 1.

use super::HeldOut;
use super::kmeans::distinct;
use crate::config::vectors::Scaling;
use crate::{Error, Result};

/// Vectors of which means and deviations are found, at most.
const ROWS: usize = 1 << 16;
/// Those that are read at a time.
const PART: usize = 4096;
/// Seed of their choice.
const SEED: u64 = 0x7363_616c;

/// The means of vectors' channels, and the deviations by which they are divided.
#[derive(Clone, Debug, PartialEq)]
pub struct Standard {
    mean: Vec<f32>,
    deviation: Vec<f32>,
}

impl Standard {
    /// Finds them of the vectors to learn of, or of 65,536 among these.
    ///
    /// # Errors
    /// If the vectors cannot be read.
    pub fn find(scaling: Scaling, vectors: &HeldOut) -> Result<Standard> {
        let (n, dim) = (vectors.train_len(), vectors.dim());
        if scaling == Scaling::None {
            return Standard::new(vec![0.0; dim], vec![1.0; dim]);
        }
        let rows = distinct(n, n.min(ROWS), SEED);
        let (mut sums, mut squares) = (vec![0f64; dim], vec![0f64; dim]);
        let mut first: Option<Vec<f64>> = None;
        for part in rows.chunks(PART) {
            let values = vectors.train(part.iter().copied())?;
            // About the first vector, so that numbers far from 0 keep their digits.
            let at =
                first.get_or_insert_with(|| values[..dim].iter().map(|v| f64::from(*v)).collect());
            for row in values.chunks(dim) {
                for (c, value) in row.iter().enumerate() {
                    let value = f64::from(*value) - at[c];
                    sums[c] += value;
                    squares[c] += value * value;
                }
            }
        }
        let (at, count) = (first.unwrap_or_default(), rows.len() as f64);
        let variance = |c: usize| (squares[c] / count - (sums[c] / count).powi(2)).max(0.0);
        let mean = (0..dim).map(|c| (at[c] + sums[c] / count) as f32).collect();
        let own = |variance: f64| match variance.sqrt() as f32 {
            deviation if deviation.is_normal() => deviation,
            _ => 1.0,
        };
        let all = (0..dim).map(variance).sum::<f64>() / dim as f64;
        let deviation = match scaling {
            Scaling::Channels => (0..dim).map(|c| own(variance(c))).collect(),
            _ => vec![own(all); dim],
        };
        Standard::new(mean, deviation)
    }

    /// Takes means and deviations that were found before.
    ///
    /// # Errors
    /// If there are more of one than of the other, or a deviation is not above 0.
    pub fn new(mean: Vec<f32>, deviation: Vec<f32>) -> Result<Standard> {
        let usable = |d: &f32| d.is_finite() && *d > 0.0;
        if mean.is_empty()
            || mean.len() != deviation.len()
            || !mean.iter().all(|m| m.is_finite())
            || !deviation.iter().all(usable)
        {
            let what =
                "means and deviations of vectors are as many, finite, and the latter above 0";
            return Err(Error::data(what));
        }
        Ok(Standard { mean, deviation })
    }

    /// Returns the channels' means.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// Returns what each channel is divided by.
    pub fn deviation(&self) -> &[f32] {
        &self.deviation
    }

    /// Brings vectors [N, D] about 0.
    pub fn apply(&self, vectors: &mut [f32]) {
        for row in vectors.chunks_mut(self.mean.len()) {
            let channels = self.mean.iter().zip(&self.deviation);
            row.iter_mut()
                .zip(channels)
                .for_each(|(x, (mean, deviation))| *x = (*x - mean) / deviation);
        }
    }

    /// Brings them back.
    pub fn undo(&self, vectors: &mut [f32]) {
        for row in vectors.chunks_mut(self.mean.len()) {
            let channels = self.mean.iter().zip(&self.deviation);
            row.iter_mut()
                .zip(channels)
                .for_each(|(x, (mean, deviation))| *x = *x * deviation + mean);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::Vectors;

    fn found(scaling: Scaling, rows: &[[f32; 2]]) -> Standard {
        let vectors = Vectors::from_rows(2, rows.concat()).unwrap();
        let held = HeldOut::new(vectors, 1).unwrap();
        let standard = Standard::find(scaling, &held).unwrap();
        let mut values = held.train(0..held.train_len()).unwrap();
        let before = values.clone();
        standard.apply(&mut values);
        let n = held.train_len() as f32;
        if scaling != Scaling::None {
            for c in 0..2 {
                let sum: f32 = values.iter().skip(c).step_by(2).sum();
                assert!(sum.abs() / n < 1e-4, "{scaling}: {values:?}");
            }
            let square: f32 = values.iter().map(|v| v * v).sum();
            assert!(
                (square / n / 2.0 - 1.0).abs() < 1e-3,
                "{scaling}: {values:?}"
            );
        }
        standard.undo(&mut values);
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * b.abs().max(1.0);
        assert!(values.iter().zip(&before).all(near), "{values:?}");
        standard
    }

    #[test]
    fn means_are_taken_off_and_put_back() {
        let rows: Vec<[f32; 2]> = (0..40)
            .map(|i| [1e4 + (i % 7) as f32, 10.0 * (i % 3) as f32])
            .collect();
        found(Scaling::None, &rows);
        let global = found(Scaling::Global, &rows);
        assert_eq!(global.deviation()[0], global.deviation()[1]);
        let own = found(Scaling::Channels, &rows);
        assert!(own.deviation()[1] > 3.0 * own.deviation()[0]);
    }

    #[test]
    fn channels_that_never_change_are_not_divided() {
        let rows: Vec<f32> = (0..20).flat_map(|i| [i as f32, 5.0]).collect();
        let held = HeldOut::new(Vectors::from_rows(2, rows).unwrap(), 2).unwrap();
        let standard = Standard::find(Scaling::Channels, &held).unwrap();
        assert_eq!(standard.deviation()[1], 1.0);
        assert!(Standard::new(vec![0.0], vec![0.0]).is_err());
        assert!(Standard::new(vec![0.0], vec![1.0, 1.0]).is_err());
    }
}
