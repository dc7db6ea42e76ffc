//! From vectors to codes.

use super::{Codebooks, PART, Structure};
use crate::autograd::accumulate::add;
use crate::gpu::{Gpu, Tensor};
use crate::ops::elementwise::scale::scale;
use crate::ops::elementwise::slice_columns::slice_columns;
use crate::ops::linalg::matmul::{Transpose, matmul};
use crate::ops::quantize::beam_select::beam_select;
use crate::ops::quantize::gather::gather;
use crate::ops::quantize::vq_search::{half_norms, nearest};
use crate::{Error, Result};

/// The most partial codes of a vector that are followed.
const MOST_BEAMS: usize = 64;

/// A codebook on the device.
#[derive(Debug)]
struct Book {
    /// [K, D'].
    codes: Tensor,
    /// The same with the other sign, so that a sum takes a code away.
    negated: Tensor,
    half_norms: Tensor,
}

/// Turns vectors into codes.
#[derive(Debug)]
pub struct Encoder<'a> {
    gpu: Gpu,
    codebooks: &'a Codebooks,
    books: Vec<Book>,
}

/// Codes of some vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Coded {
    /// [N, M].
    pub codes: Vec<u32>,
    /// The sum over the vectors of the squared distance between each and what its codes make up.
    pub distortion: f64,
}

impl<'a> Encoder<'a> {
    /// Brings codebooks to the device.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn new(gpu: &Gpu, codebooks: &'a Codebooks) -> Result<Encoder<'a>> {
        let [m, k, d] = codebooks.shape();
        let book = |m| -> Result<Book> {
            let codes = Tensor::from_slice(gpu, &[k, d], codebooks.codebook(m))?;
            Ok(Book {
                negated: scale(&codes, -1.0, 0.0)?,
                half_norms: half_norms(&codes)?,
                codes,
            })
        };
        Ok(Encoder {
            gpu: gpu.clone(),
            codebooks,
            books: (0..m).map(book).collect::<Result<_>>()?,
        })
    }

    /// Returns how many vectors the device takes at a time.
    pub fn rows(&self, beam: usize) -> usize {
        let [_, k, d] = self.codebooks.shape();
        let (beam, dim) = (beam.max(1), self.codebooks.dim());
        let numbers = if beam > 1 { beam * k.max(d) } else { dim };
        let bound = self.gpu.limits().max_storage_buffer_binding_size as usize;
        (PART.min(bound) / (4 * numbers.max(dim))).max(1)
    }

    /// Returns the codes of vectors [N, D].
    ///
    /// Residual codes are searched for with `beam` partial codes at a time: 1 takes the nearest code
    /// of each codebook, more find nearer sums (Babenko and Lempitsky 2014). Ties go to the lowest
    /// code. Any number of vectors is taken, [`Encoder::rows`] at a time.
    ///
    /// # Errors
    /// If they are no whole vectors, the beam is 0, too wide, or not 1 though codes are no
    /// residuals, or the device fails.
    pub fn encode(&self, vectors: &[f32], beam: usize) -> Result<Coded> {
        let dim = self.codebooks.dim();
        if !vectors.len().is_multiple_of(dim) {
            let got = format!("{} numbers", vectors.len());
            return Err(Error::shape(
                "encode",
                format!("vectors of {dim} numbers"),
                got,
            ));
        }
        let widest = match self.codebooks.structure() {
            Structure::Residual => MOST_BEAMS,
            _ => 1,
        };
        if beam == 0 || beam > widest {
            let what = format!(
                "a beam of {beam}: residual codes are searched with 1 to {MOST_BEAMS}, others with 1"
            );
            return Err(Error::invalid("encode", what));
        }
        let mut coded = Coded {
            codes: Vec::with_capacity(vectors.len() / dim * self.books.len()),
            distortion: 0.0,
        };
        for part in vectors.chunks(self.rows(beam) * dim) {
            let codes = self.part(part, beam)?;
            let made = self.codebooks.decode(&codes)?;
            let squares = part.iter().zip(&made).map(|(x, y)| {
                let rest = f64::from(*x) - f64::from(*y);
                rest * rest
            });
            coded.distortion += squares.sum::<f64>();
            coded.codes.extend(codes);
        }
        Ok(coded)
    }

    /// Codes [N, M] of vectors that the device takes at once.
    fn part(&self, vectors: &[f32], beam: usize) -> Result<Vec<u32>> {
        let [_, _, channels] = self.codebooks.shape();
        let dim = self.codebooks.dim();
        let x = Tensor::from_slice(&self.gpu, &[vectors.len() / dim, dim], vectors)?;
        let found = match self.codebooks.structure() {
            Structure::Kmeans => vec![nearest(&x, &self.books[0].codes)?],
            Structure::Product => {
                let search = |(m, book): (usize, &Book)| {
                    nearest(&slice_columns(&x, m * channels, channels)?, &book.codes)
                };
                let books = self.books.iter().enumerate();
                books.map(search).collect::<Result<_>>()?
            }
            Structure::Residual if beam > 1 => return self.by_beams(x, beam),
            Structure::Residual => {
                let (mut left, mut found) = (x, Vec::new());
                for book in &self.books {
                    let codes = nearest(&left, &book.codes)?;
                    left = add(&left, &gather(&book.negated, &codes)?)?;
                    found.push(codes);
                }
                found
            }
        };
        let found = found.iter().map(Tensor::read::<u32>);
        let found = found.collect::<Result<Vec<_>>>()?;
        let rows = 0..vectors.len() / dim;
        Ok(rows
            .flat_map(|i| found.iter().map(move |codes| codes[i]))
            .collect())
    }

    /// Residual codes by beam search.
    fn by_beams(&self, x: Tensor, beam: usize) -> Result<Vec<u32>> {
        let n = x.shape()[0];
        let (mut left, mut beams, mut steps) = (x, 1, Vec::new());
        for (m, book) in self.books.iter().enumerate() {
            let k = book.codes.shape()[0];
            // Of the last, one will do.
            let kept = if m + 1 == self.books.len() {
                1
            } else {
                beam.min(beams * k)
            };
            let products = matmul(&left, &book.codes, Transpose::B, None)?;
            let bases = half_norms(&left)?;
            let best = beam_select(&products, &book.half_norms, &bases, beams, kept)?;
            left = add(
                &gather(&left, &best.parents)?,
                &gather(&book.negated, &best.codes)?,
            )?;
            beams = kept;
            steps.push(best);
        }
        let mut codes = vec![0; n * steps.len()];
        let mut rows: Vec<usize> = (0..n).collect();
        for (m, step) in steps.iter().enumerate().rev() {
            let (parents, found) = (step.parents.read::<u32>()?, step.codes.read::<u32>()?);
            for (i, row) in rows.iter_mut().enumerate() {
                codes[i * steps.len() + m] = found[*row];
                *row = parents[*row] as usize;
            }
        }
        Ok(codes)
    }
}
