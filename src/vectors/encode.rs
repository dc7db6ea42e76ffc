//! From vectors to codes.

use super::centre::Centre;
use super::{Codebooks, MOST_BEAMS, PART, Structure};
use crate::autograd::accumulate::add;
use crate::gpu::{DType, Gpu, Tensor};
use crate::ops::elementwise::cast::cast;
use crate::ops::elementwise::scale::scale;
use crate::ops::elementwise::slice_columns::slice_columns;
use crate::ops::linalg::matmul::{Transpose, matmul_exact};
use crate::ops::quantize::beam_select::beam_select;
use crate::ops::quantize::gather::gather;
use crate::ops::quantize::vq_search::{half_norms, nearest};
use crate::{Error, Result};
use half::f16;

/// A codebook on the device.
#[derive(Debug)]
struct Book {
    /// [K, D'].
    codes: Tensor,
    /// The same with the other sign where it is of a residual: a sum then takes a code away.
    negated: Option<Tensor>,
}

/// Turns vectors into codes.
#[derive(Debug)]
pub struct Encoder<'a> {
    gpu: Gpu,
    codebooks: &'a Codebooks,
    books: Vec<Book>,
    /// The point that is taken off vectors and codes, [D], so that distances are not small
    /// differences of large numbers: the codes' middle, of a residual that of the first codebook.
    centre: Centre,
    /// The type of what is searched with.
    search: DType,
    /// Bytes of a tensor at most.
    part: usize,
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
        Encoder::with_part(gpu, codebooks, PART)
    }

    /// [`Encoder::new`] with tensors of `part` bytes at most.
    pub(super) fn with_part(
        gpu: &Gpu,
        codebooks: &'a Codebooks,
        part: usize,
    ) -> Result<Encoder<'a>> {
        let [m, k, d] = codebooks.shape();
        let residual = codebooks.structure() == Structure::Residual;
        let mut centre = Centre::default();
        let mut book = |m| -> Result<Book> {
            let mut codes = codebooks.codebook(m).to_vec();
            if m == 0 || !residual {
                let own = Centre::of(&codes, d);
                codes = own.seen_from_here(codes);
                centre.extend(own);
            }
            let codes = Tensor::from_slice(gpu, &[k, d], &codes)?;
            let negated = residual.then(|| scale(&codes, -1.0, 0.0)).transpose()?;
            Ok(Book { codes, negated })
        };
        let books = (0..m).map(&mut book).collect::<Result<_>>()?;
        Ok(Encoder {
            gpu: gpu.clone(),
            codebooks,
            books,
            centre,
            search: DType::F32,
            part,
        })
    }

    /// Returns the encoder with vectors of another type, f32 or f16, where it searches for the
    /// nearest code: in f16 a search reads half as many bytes, and finds the codes of the vectors
    /// as f16 rounds them. What is left of a vector, and distances, are f32 all the same, and a
    /// beam searches in f32.
    ///
    /// # Errors
    /// If it is another type.
    pub fn with_search(mut self, search: DType) -> Result<Encoder<'a>> {
        if !matches!(search, DType::F32 | DType::F16) {
            let what = format!("{search:?}: vectors are searched with as f32 or f16");
            return Err(Error::invalid("encode", what));
        }
        self.search = search;
        Ok(self)
    }

    /// Returns how many vectors the device takes at a time.
    pub fn rows(&self, beam: usize) -> usize {
        let [m, k, d] = self.codebooks.shape();
        let dim = self.codebooks.dim();
        let numbers = match beam {
            0 | 1 => dim.max(m),
            _ => beam.saturating_mul(k.max(d).max(2 * m)),
        };
        (bytes_of_a_part(&self.gpu, self.part) / numbers.max(dim).saturating_mul(4)).max(1)
    }

    /// Returns the codes of vectors [N, D].
    ///
    /// Residual codes are searched for with `beam` partial codes at a time: 1 takes the nearest
    /// code of each codebook, more find nearer sums (Babenko and Lempitsky 2014). Ties go to the
    /// lowest code. Any number of vectors is taken, [`Encoder::rows`] at a time, and a vector has
    /// the same codes among any others.
    ///
    /// # Errors
    /// If they are no whole vectors, the beam is 0, too wide, or not 1 though codes are no
    /// residuals, or the device fails.
    pub fn encode(&self, vectors: &[f32], beam: usize) -> Result<Coded> {
        let dim = self.codebooks.dim();
        if !vectors.len().is_multiple_of(dim) {
            let got = format!("{} numbers", vectors.len());
            let expected = format!("vectors of {dim} numbers");
            return Err(Error::shape("encode", expected, got));
        }
        let widest = match self.codebooks.structure() {
            Structure::Residual => MOST_BEAMS,
            _ => 1,
        };
        if beam == 0 || beam > widest {
            let what = format!(
                "a beam of {beam}: residual codes are searched with 1 to {MOST_BEAMS}, others \
                 with 1"
            );
            return Err(Error::invalid("encode", what));
        }
        let mut coded = Coded {
            codes: Vec::with_capacity(vectors.len() / dim * self.books.len()),
            distortion: 0.0,
        };
        check_fits(self.search, vectors, dim)?;
        for part in vectors.chunks(self.rows(beam) * dim) {
            let codes = self.part(part, beam, 1)?;
            coded.distortion += self.codebooks.distortion(part, &codes)?;
            coded.codes.extend(codes);
        }
        Ok(coded)
    }

    /// Codes [N, M] of vectors that the device takes at once; of a residual with a beam, the `kept`
    /// nearest of each, [N, kept, M], or all where there are fewer.
    pub(super) fn part(&self, vectors: &[f32], beam: usize, kept: usize) -> Result<Vec<u32>> {
        let [_, _, channels] = self.codebooks.shape();
        let dim = self.codebooks.dim();
        let rows = self.centre.seen_from_here(vectors.to_vec());
        let x = Tensor::from_slice(&self.gpu, &[vectors.len() / dim, dim], &rows)?;
        let found = match self.codebooks.structure() {
            Structure::Kmeans => vec![nearest(&cast(&x, self.search)?, &self.books[0].codes)?],
            Structure::Product => {
                let search = |(m, book): (usize, &Book)| {
                    let own = slice_columns(&x, m * channels, channels)?;
                    nearest(&cast(&own, self.search)?, &book.codes)
                };
                let books = self.books.iter().enumerate();
                books.map(search).collect::<Result<_>>()?
            }
            Structure::Residual if beam > 1 => return self.by_beams(x, beam, kept),
            Structure::Residual => {
                let (mut left, mut found) = (x, Vec::new());
                for book in &self.books {
                    let codes = nearest(&cast(&left, self.search)?, &book.codes)?;
                    if let Some(negated) = &book.negated {
                        left = add(&left, &gather(negated, &codes)?)?;
                    }
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
    fn by_beams(&self, x: Tensor, beam: usize, wanted: usize) -> Result<Vec<u32>> {
        let n = x.shape()[0];
        let (mut left, mut beams, mut steps) = (x, 1, Vec::new());
        for (m, book) in self.books.iter().enumerate() {
            let k = book.codes.shape()[0];
            let last = m + 1 == self.books.len();
            let kept = if last { wanted } else { beam }.min(beams * k);
            // Each row in the parts that it has in a full tensor.
            let rows = self.rows(beam) * beam;
            let products = matmul_exact(&left, &book.codes, Transpose::B, rows)?;
            let [norms, bases] = [half_norms(&book.codes)?, half_norms(&left)?];
            let best = beam_select(&products, &norms, &bases, beams, kept)?;
            if let Some(negated) = &book.negated
                && !last
            {
                let parents = gather(&left, &best.parents)?;
                left = add(&parents, &gather(negated, &best.codes)?)?;
            }
            beams = kept;
            steps.push(best);
        }
        let mut codes = vec![0; n * beams * steps.len()];
        let mut rows: Vec<usize> = (0..n * beams).collect();
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

/// Checks that a type can hold the numbers of rows.
pub(super) fn check_fits(search: DType, rows: &[f32], dim: usize) -> Result<()> {
    let beyond = |v: &f32| search == DType::F16 && v.abs() > f16::MAX.to_f32();
    let Some(at) = rows.iter().position(beyond) else {
        return Ok(());
    };
    let what = format!(
        "vectors: row {} of these holds {} at {}, and f16 at most {}: search in f32, or scale \
         the vectors",
        at / dim,
        rows[at],
        at % dim,
        f16::MAX
    );
    Err(Error::data(what))
}

/// Bytes of a tensor of vectors: `wanted`, where the device binds so many.
pub(super) fn bytes_of_a_part(gpu: &Gpu, wanted: usize) -> usize {
    let bound = gpu.limits().max_storage_buffer_binding_size;
    usize::try_from(bound).unwrap_or(usize::MAX).min(wanted)
}
