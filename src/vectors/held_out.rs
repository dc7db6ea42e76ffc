//! Vectors to learn of, and others that are held out.

use super::Vectors;
use super::kmeans::distinct;
use crate::{Error, Result};
use sha2::{Digest, Sha256};

/// Bytes of an array, as f32, that are read at once and kept in memory.
const IN_MEMORY: usize = 256 << 20;
/// The most rows that are held out unasked.
const MOST: usize = 10_000;
/// Rows by which an array is known again.
const KNOWN_BY: usize = 1024;
/// Seed of the choice of held-out rows: an array has the same ones under every seed of a training.
const SEED: u64 = 0x6865_6c64;

/// Vectors, of which some are held out to measure on.
#[derive(Debug)]
pub struct HeldOut {
    vectors: Vectors,
    /// Rows that are held out, in order.
    test: Vec<usize>,
    sum: String,
}

impl HeldOut {
    /// Holds out `rows` of the vectors, chosen at random; 0 is a tenth, at most 10,000. An array
    /// of less than 256 MiB is kept in memory; of others rows are read as they are asked for.
    ///
    /// # Errors
    /// If there are too few vectors, or they cannot be read.
    pub fn new(vectors: Vectors, rows: usize) -> Result<HeldOut> {
        let n = vectors.len();
        let rows = match rows {
            0 => (n / 10).clamp(1, MOST),
            rows => rows,
        };
        if rows >= n || n - rows > u32::MAX as usize {
            let what = format!(
                "{n} vectors, of which {rows} are held out, leave {} to learn of: at least 1 and \
                 at most 4294967295 are needed",
                n.saturating_sub(rows)
            );
            return Err(Error::config("data.test_rows", what));
        }
        let sum = sum(&vectors)?;
        let small = n.saturating_mul(vectors.dim()).saturating_mul(4) <= IN_MEMORY;
        let vectors = match small {
            true => Vectors::from_rows(vectors.dim(), vectors.read(0..n)?)?,
            false => vectors,
        };
        Ok(HeldOut {
            test: distinct(n, rows, SEED),
            vectors,
            sum,
        })
    }

    /// Returns D.
    pub fn dim(&self) -> usize {
        self.vectors.dim()
    }

    /// Returns how many vectors there are to learn of.
    pub fn train_len(&self) -> usize {
        self.vectors.len() - self.test.len()
    }

    /// Returns how many are held out.
    pub fn test_len(&self) -> usize {
        self.test.len()
    }

    /// Returns a SHA-256 of the array's shape and of some of its rows.
    pub fn sum(&self) -> &str {
        &self.sum
    }

    /// Returns the row of the array that a number of a vector to learn of stands for.
    fn train_row(&self, number: usize) -> usize {
        // Of the rows before the j-th that is held out, that row less j are not.
        let before = |j: usize| self.test[j] - j <= number;
        let (mut low, mut high) = (0, self.test.len());
        while low < high {
            let middle = low.midpoint(high);
            match before(middle) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        number + low
    }

    /// Returns vectors to learn of by their numbers, one after another.
    ///
    /// # Errors
    /// As [`Vectors::pick`].
    pub fn train(&self, numbers: impl IntoIterator<Item = usize>) -> Result<Vec<f32>> {
        let rows: Vec<usize> = numbers.into_iter().map(|i| self.train_row(i)).collect();
        self.vectors.pick(&rows)
    }

    /// Returns held-out vectors by their numbers, likewise.
    ///
    /// # Errors
    /// As [`Vectors::pick`], and if there are no such numbers.
    pub fn test(&self, numbers: std::ops::Range<usize>) -> Result<Vec<f32>> {
        let rows = self.test.get(numbers.clone()).ok_or_else(|| {
            let what = format!(
                "vectors {numbers:?} of {} that are held out",
                self.test.len()
            );
            Error::invalid("vectors", what)
        })?;
        self.vectors.pick(rows)
    }
}

/// A SHA-256 of the shape and of some rows, evenly spread.
fn sum(vectors: &Vectors) -> Result<String> {
    let (n, few) = (vectors.len(), vectors.len().min(KNOWN_BY));
    let mut hash = Sha256::new();
    for size in [n, vectors.dim()] {
        hash.update((size as u64).to_le_bytes());
    }
    let rows: Vec<usize> = (0..few)
        .map(|i| (i as u128 * n as u128 / few as u128) as usize)
        .collect();
    for value in vectors.pick(&rows)? {
        hash.update(value.to_le_bytes());
    }
    Ok(hex::encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_row_is_on_one_side() {
        for (n, rows) in [(2, 0), (25, 7), (100, 0), (31, 30)] {
            let all = Vectors::from_rows(1, (0..n).map(|i| i as f32).collect()).unwrap();
            let held = HeldOut::new(all, rows).unwrap();
            let train = held.train(0..held.train_len()).unwrap();
            let test = held.test(0..held.test_len()).unwrap();
            assert!(train.is_sorted(), "{train:?}");
            let whole: BTreeSet<u32> = train.iter().chain(&test).map(|v| v.to_bits()).collect();
            assert_eq!(whole.len(), n as usize, "{n} rows, {rows} held out");
            assert_eq!(train.len() + test.len(), n as usize);
            assert!(rows == 0 || test.len() == rows);
            assert!(held.test(0..held.test_len() + 1).is_err());
        }
    }

    #[test]
    fn too_few_are_refused_and_arrays_are_known_again() {
        let of = |values: Vec<f32>| Vectors::from_rows(1, values).unwrap();
        let said = HeldOut::new(of(vec![1.0]), 0).unwrap_err().to_string();
        assert!(said.contains("data.test_rows"), "{said}");
        assert!(HeldOut::new(of(vec![1.0; 4]), 4).is_err());
        let sum = |values| HeldOut::new(of(values), 1).unwrap().sum().to_owned();
        assert_eq!(sum(vec![1.0, 2.0]), sum(vec![1.0, 2.0]));
        assert_ne!(sum(vec![1.0, 2.0]), sum(vec![1.0, 3.0]));
        assert_ne!(sum(vec![1.0, 2.0]), sum(vec![1.0, 2.0, 2.0]));
    }
}
