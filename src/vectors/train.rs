//! Codebooks learned of vectors.

use super::kmeans::{cluster, distinct};
use super::part::Part;
use super::{Codebooks, Encoder, Structure, Vectors};
use crate::gpu::Gpu;
use crate::splitmix::splitmix64;
use crate::{Error, Result, memory};

/// The most codes of a codebook.
const MOST_CODES: usize = 1 << 24;

/// Options of [`train`].
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOptions {
    /// The way in which codes make up a vector.
    pub structure: Structure,
    /// Codes of a codebook, K.
    pub codes: usize,
    /// Codebooks, M: 1 for k-means.
    pub codebooks: usize,
    /// Rounds of k-means for each codebook.
    pub iterations: usize,
    /// Partial codes that the search of a residual follows, see [`Encoder::encode`]. While codebooks
    /// are learned too: each of what the best codes before it leave.
    pub beam: usize,
    /// Seed of the first means, and of the choice of vectors.
    pub seed: u64,
    /// The most vectors to learn of, chosen at random; `None` takes all.
    pub sample: Option<usize>,
}

impl TrainOptions {
    /// Returns 256 codes, 8 codebooks (1 for k-means), 20 iterations, no beam, all vectors.
    pub fn new(structure: Structure) -> TrainOptions {
        TrainOptions {
            structure,
            codes: 256,
            codebooks: match structure {
                Structure::Kmeans => 1,
                Structure::Product | Structure::Residual => 8,
            },
            iterations: 20,
            beam: 1,
            seed: 0,
            sample: None,
        }
    }

    /// Checks the options against each other and the size of the vectors.
    ///
    /// # Errors
    /// Names the option.
    pub fn check(&self, dim: usize) -> Result<()> {
        let wrong = |option: &str, what: String| Err(Error::config(option, what));
        let (m, k) = (self.codebooks, self.codes);
        if !(1..=MOST_CODES).contains(&k) {
            return wrong("codes", format!("{k} is not allowed: 1 to {MOST_CODES}"));
        }
        match self.structure {
            Structure::Kmeans if m != 1 => {
                return wrong(
                    "codebooks",
                    format!("{m}: k-means has 1; product or residual more"),
                );
            }
            Structure::Product if m == 0 || !dim.is_multiple_of(m) => {
                let what = format!("{m} do not share out {dim} channels: give a divisor of {dim}");
                return wrong("codebooks", what);
            }
            _ if !(1..=1024).contains(&m) => {
                return wrong("codebooks", format!("{m} is not allowed: 1 to 1024"));
            }
            _ => {}
        }
        let widest = if self.structure == Structure::Residual {
            64
        } else {
            1
        };
        if !(1..=widest).contains(&self.beam) {
            let what = format!(
                "{}: residual codes are searched with 1 to 64, others 1",
                self.beam
            );
            return wrong("beam", what);
        }
        if !(1..=10_000).contains(&self.iterations) {
            return wrong("iterations", format!("{}: 1 to 10000", self.iterations));
        }
        match self.sample {
            Some(sample) if sample < k => wrong(
                "sample",
                format!("{sample} vectors are fewer than the {k} codes"),
            ),
            _ => Ok(()),
        }
    }
}

/// A round of k-means that is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Iteration {
    /// The codebook, from 0 on.
    pub codebook: usize,
    /// The round, from 1 on.
    pub iteration: usize,
    /// The mean squared distance of what the codebook is learned of to its means, before they moved.
    pub distortion: f64,
}

/// Learns codebooks of vectors by k-means. `tell` hears of each round; where it returns false,
/// training stops and `None` is returned.
///
/// A product's codebooks are learned of their channels each, a residual's one after another, each
/// of what the codes before it leave. The same seed gives the same codebooks on one adapter.
///
/// # Errors
/// If the options do not fit the vectors ([`TrainOptions::check`]), there are fewer vectors than
/// codes, or the device or the file fails.
pub fn train(
    gpu: &Gpu,
    vectors: &Vectors,
    options: &TrainOptions,
    tell: &mut dyn FnMut(Iteration) -> bool,
) -> Result<Option<Codebooks>> {
    let (dim, o) = (vectors.dim(), options);
    o.check(dim)?;
    let sample = match o.sample {
        Some(n) if n < vectors.len() => {
            memory::check_available(
                format!("{n} vectors to learn of"),
                memory::product(&[n, dim, 4]),
            )?;
            let rows = distinct(vectors.len(), n, splitmix64(o.seed));
            Some(Vectors::from_rows(dim, vectors.pick(&rows)?)?)
        }
        _ => None,
    };
    let vectors = sample.as_ref().unwrap_or(vectors);
    let channels = match o.structure {
        Structure::Product => dim / o.codebooks,
        _ => dim,
    };
    let mut values = Vec::new();
    let mut before: Option<(Codebooks, Vec<u32>)> = None;
    for m in 0..o.codebooks {
        let columns = match o.structure {
            Structure::Product => m * channels..(m + 1) * channels,
            _ => 0..dim,
        };
        let left = before.as_ref().map(|(books, codes)| (books, &codes[..]));
        let part = Part::new(gpu, vectors, columns, left)?;
        let seed = o.seed ^ splitmix64(m as u64);
        let mut told = |iteration, distortion| {
            tell(Iteration {
                codebook: m,
                iteration,
                distortion,
            })
        };
        let Some(means) = cluster(&part, o.codes, o.iterations, seed, &mut told)? else {
            return Ok(None);
        };
        drop(part);
        values.extend(means);
        if o.structure == Structure::Residual && m + 1 < o.codebooks {
            let books = Codebooks::new(o.structure, [m + 1, o.codes, dim], values.clone())?;
            before = Some((books.clone(), all_codes(gpu, vectors, &books, o.beam)?));
        }
    }
    let shape = [o.codebooks, o.codes, channels];
    Codebooks::new(o.structure, shape, values).map(Some)
}

/// Codes [N, M] of all vectors.
fn all_codes(gpu: &Gpu, vectors: &Vectors, books: &Codebooks, beam: usize) -> Result<Vec<u32>> {
    let [m, ..] = books.shape();
    let what = format!("the codes of {} vectors", vectors.len());
    memory::check_available(what, memory::product(&[vectors.len(), m, 4]))?;
    let encoder = Encoder::new(gpu, books)?;
    let mut codes = Vec::with_capacity(vectors.len() * m);
    let each = encoder.rows(beam);
    for start in (0..vectors.len()).step_by(each) {
        let rows = vectors.read(start..vectors.len().min(start + each))?;
        codes.extend(encoder.encode(&rows, beam)?.codes);
    }
    Ok(codes)
}
