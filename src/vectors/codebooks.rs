//! Codebooks of vectors, and how they make one up together.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The way in which codes make up a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Structure {
    /// One code, the nearest mean (Lloyd 1982).
    Kmeans,
    /// A code for each of several parts of the channels (Jegou et al. 2011, product quantization).
    Product,
    /// Codes that add up, each for what those before it left (Chen et al. 2010, residual
    /// quantization).
    Residual,
}

/// Codebooks [M, K, D'], of which each vector takes one code each: D' is D, and of a product D / M.
#[derive(Clone, Debug, PartialEq)]
pub struct Codebooks {
    structure: Structure,
    codebooks: usize,
    codes: usize,
    /// D'.
    channels: usize,
    values: Vec<f32>,
}

impl Codebooks {
    /// Makes codebooks of `shape` [M, K, D'] from their numbers.
    ///
    /// # Errors
    /// If they are not as many, one of the sizes is 0, k-means has several codebooks, or a number
    /// is not finite.
    pub fn new(structure: Structure, shape: [usize; 3], values: Vec<f32>) -> Result<Codebooks> {
        let [codebooks, codes, channels] = shape;
        let wanted = shape
            .iter()
            .try_fold(1, |all: usize, n| all.checked_mul(*n));
        if shape.contains(&0) || wanted != Some(values.len()) {
            let got = format!("{} numbers", values.len());
            return Err(Error::shape(
                "codebooks",
                format!("{shape:?}, none of them 0"),
                got,
            ));
        }
        if structure == Structure::Kmeans && codebooks != 1 {
            let what = format!("k-means has one codebook, and {codebooks} are given");
            return Err(Error::invalid("codebooks", what));
        }
        if values.iter().any(|v| !v.is_finite()) {
            return Err(Error::data("a codebook holds a number that is not finite"));
        }
        Ok(Codebooks {
            structure,
            codebooks,
            codes,
            channels,
            values,
        })
    }

    /// Returns how codes make up a vector.
    pub fn structure(&self) -> Structure {
        self.structure
    }

    /// Returns [M, K, D'].
    pub fn shape(&self) -> [usize; 3] {
        [self.codebooks, self.codes, self.channels]
    }

    /// Returns D, the numbers of a vector.
    pub fn dim(&self) -> usize {
        match self.structure {
            Structure::Product => self.codebooks * self.channels,
            _ => self.channels,
        }
    }

    /// Returns all numbers, [M, K, D'].
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Returns the numbers of one codebook, [K, D'].
    pub(super) fn codebook(&self, m: usize) -> &[f32] {
        let size = self.codes * self.channels;
        &self.values[m * size..(m + 1) * size]
    }

    /// Returns the sum of the squared distances between vectors [N, D] and what their codes [N, M]
    /// make up, added up in f64.
    ///
    /// # Errors
    /// As [`Codebooks::decode`], and if there are codes of other vectors.
    pub fn distortion(&self, vectors: &[f32], codes: &[u32]) -> Result<f64> {
        let made = self.decode(codes)?;
        if made.len() != vectors.len() {
            let expected = format!("codes of {} numbers", vectors.len());
            return Err(Error::shape("distortion", expected, made.len()));
        }
        Ok(squared_distances(vectors, &made))
    }

    /// Returns the vectors [N, D] of codes [N, M].
    ///
    /// # Errors
    /// If they are no whole rows, or one is past its codebook.
    pub fn decode(&self, codes: &[u32]) -> Result<Vec<f32>> {
        if !codes.len().is_multiple_of(self.codebooks) {
            let got = format!("{} codes", codes.len());
            let expected = format!("{} codes a vector", self.codebooks);
            return Err(Error::shape("codebooks", expected, got));
        }
        if let Some(code) = codes.iter().find(|code| **code as usize >= self.codes) {
            let what = format!("code {code} of {}: codes count from 0", self.codes);
            return Err(Error::invalid("codebooks", what));
        }
        let mut rows = Vec::with_capacity(codes.len() / self.codebooks * self.dim());
        for codes in codes.chunks(self.codebooks) {
            let code = |m: usize| {
                let at = codes[m] as usize * self.channels;
                &self.codebook(m)[at..at + self.channels]
            };
            match self.structure {
                Structure::Product => (0..self.codebooks).for_each(|m| rows.extend(code(m))),
                _ => {
                    let start = rows.len();
                    rows.extend_from_slice(code(0));
                    for m in 1..self.codebooks {
                        let row = rows[start..].iter_mut();
                        row.zip(code(m)).for_each(|(sum, value)| *sum += value);
                    }
                }
            }
        }
        Ok(rows)
    }
}

/// Returns the sum of the squares of what numbers differ by, added up in f64.
pub fn squared_distances(a: &[f32], b: &[f32]) -> f64 {
    let square = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).powi(2);
    a.iter().zip(b).map(square).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_make_up_vectors() {
        let values: Vec<f32> = (0..8).map(|i| i as f32).collect();
        let of = |structure, shape| Codebooks::new(structure, shape, values.clone()).unwrap();
        let kmeans = of(Structure::Kmeans, [1, 4, 2]);
        assert_eq!(kmeans.decode(&[3, 0]).unwrap(), [6.0, 7.0, 0.0, 1.0]);
        let product = of(Structure::Product, [2, 2, 2]);
        assert_eq!((product.dim(), product.shape()), (4, [2, 2, 2]));
        assert_eq!(product.decode(&[1, 0]).unwrap(), [2.0, 3.0, 4.0, 5.0]);
        let residual = of(Structure::Residual, [2, 2, 2]);
        assert_eq!(residual.dim(), 2);
        assert_eq!(residual.decode(&[1, 1]).unwrap(), [8.0, 10.0]);
        assert_eq!(residual.distortion(&[8.0, 7.0], &[1, 1]).unwrap(), 9.0);
        assert!(residual.distortion(&[8.0], &[1, 1]).is_err());
        assert!(residual.decode(&[1]).is_err());
        assert!(residual.decode(&[1, 2]).is_err());
        assert!(Codebooks::new(Structure::Kmeans, [2, 2, 2], values.clone()).is_err());
        assert!(Codebooks::new(Structure::Product, [2, 2, 3], values).is_err());
        assert!(Codebooks::new(Structure::Kmeans, [1, 1, 1], vec![f32::NAN]).is_err());
    }
}
