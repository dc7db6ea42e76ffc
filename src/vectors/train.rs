//! Codebooks learned of vectors.

use super::kmeans::{cluster, distinct};
use super::part::{Before, Part};
use super::{Codebooks, Encoder, MOST_BEAMS, PART, Structure, Vectors};
use crate::gpu::{DType, Gpu};
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
    /// Partial codes that the search of a residual follows, see [`Encoder::encode`]. Each codebook
    /// is learned of what all of them leave.
    pub beam: usize,
    /// Seed of the first means, and of the choice of vectors.
    pub seed: u64,
    /// The most vectors to learn of, chosen at random; `None` takes all.
    pub sample: Option<usize>,
    /// The type in which vectors lie while the nearest codes are searched for, see
    /// [`Encoder::with_search`]. Codebooks, sums and distances are f32.
    pub search: DType,
}

impl TrainOptions {
    /// Returns 256 codes, 8 codebooks (1 for k-means), 20 iterations, no beam, all vectors, f32.
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
            search: DType::F32,
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
        let widest = match self.structure {
            Structure::Residual => MOST_BEAMS,
            _ => 1,
        };
        if !(1..=widest).contains(&self.beam) {
            let what = format!(
                "{}: residual codes are searched with 1 to {MOST_BEAMS}, others with 1",
                self.beam
            );
            return wrong("beam", what);
        }
        if !(1..=10_000).contains(&self.iterations) {
            return wrong("iterations", format!("{}: 1 to 10000", self.iterations));
        }
        if !matches!(self.search, DType::F32 | DType::F16) {
            let what = format!("{:?}: vectors are searched with as f32 or f16", self.search);
            return wrong("search", what);
        }
        if self.search == DType::F16 && self.beam > 1 {
            let what = format!("{}: a search in f16 follows 1, the nearest", self.beam);
            return wrong("beam", what);
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
    /// The mean squared distance of what the codebook is learned of to its means, before they
    /// moved.
    pub distortion: f64,
}

/// Learns codebooks of vectors by k-means. `tell` hears of each round; where it returns false,
/// training stops and `None` is returned.
///
/// A product's codebooks are learned of their channels each, a residual's one after another, each
/// of what the codes before it leave. The same seed gives the same codebooks on one adapter. Memory
/// of a residual: 4 M bytes a vector for the codes of the codebooks so far, with a beam of B 4 M B,
/// and while another codebook's are added twice that.
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
    train_in_parts(gpu, vectors, options, tell, PART)
}

/// [`train`] with tensors of `part` bytes at most.
fn train_in_parts(
    gpu: &Gpu,
    vectors: &Vectors,
    options: &TrainOptions,
    tell: &mut dyn FnMut(Iteration) -> bool,
    part: usize,
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
    let mut before: Option<(Codebooks, Vec<u32>, usize)> = None;
    for m in 0..o.codebooks {
        let columns = match o.structure {
            Structure::Product => m * channels..(m + 1) * channels,
            _ => 0..dim,
        };
        let left = before.as_ref().map(|(codebooks, codes, beams)| Before {
            codebooks,
            codes,
            beams: *beams,
        });
        let rows = Part::new(gpu, vectors, columns, left, o.search, part)?;
        // A residual's codebooks begin at what is left of the same vectors: the codes before it
        // came near those, and means that begin near zero share the others out more evenly than
        // means that begin anywhere.
        let seed = match o.structure {
            Structure::Residual => o.seed,
            _ => o.seed ^ splitmix64(m as u64),
        };
        let mut told = |iteration, distortion| {
            tell(Iteration {
                codebook: m,
                iteration,
                distortion,
            })
        };
        let Some(means) = cluster(&rows, o.codes, o.iterations, seed, &mut told)? else {
            return Ok(None);
        };
        if o.structure == Structure::Residual && m + 1 < o.codebooks {
            let shape = [m + 1, o.codes, dim];
            let what = format!("the codes of {} vectors", vectors.len());
            let asked = memory::product(&[vectors.len(), m + 1, 4, o.beam]);
            memory::check_available(what, asked)?;
            let books = [&values[..], &means].concat();
            let books = Codebooks::new(o.structure, shape, books)?;
            before = Some(if o.beam == 1 {
                // Codes of earlier codebooks stay as they are.
                let next = rows.nearest(&means)?;
                let earlier = before.as_ref().map_or(&[][..], |(_, codes, _)| codes);
                let mut codes = Vec::with_capacity(next.len() * (m + 1));
                for (i, code) in next.into_iter().enumerate() {
                    codes.extend_from_slice(&earlier[i * m..(i + 1) * m]);
                    codes.push(code);
                }
                (books, codes, 1)
            } else {
                drop(rows);
                drop(before.take());
                let codes = all_codes(gpu, vectors, &books, o.beam, part)?;
                let beams = codes.len() / vectors.len() / (m + 1);
                (books, codes, beams)
            });
        }
        values.extend(means);
    }
    let shape = [o.codebooks, o.codes, channels];
    Codebooks::new(o.structure, shape, values).map(Some)
}

/// The nearest `beam` codes of all vectors, [N, beam, M]; all of them where there are fewer.
fn all_codes(
    gpu: &Gpu,
    vectors: &Vectors,
    books: &Codebooks,
    beam: usize,
    part: usize,
) -> Result<Vec<u32>> {
    let encoder = Encoder::with_part(gpu, books, part)?;
    let mut codes = Vec::new();
    let each = encoder.rows(beam);
    for start in (0..vectors.len()).step_by(each) {
        let rows = vectors.read(start..vectors.len().min(start + each))?;
        codes.extend(encoder.part(&rows, beam, beam)?);
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Options;

    /// Rows that no two of are alike.
    fn vectors(n: usize, dim: usize) -> Vectors {
        let value = |i: usize| (splitmix64(i as u64) >> 40) as f32 / (1 << 24) as f32;
        Vectors::from_rows(dim, (0..n * dim).map(value).collect()).unwrap()
    }

    #[test]
    fn parts_of_any_size_make_the_same_codes() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let (n, dim) = (100, 6);
        let x = vectors(n, dim);
        let rows = x.read(0..n).unwrap();
        for (structure, beam) in [
            (Structure::Kmeans, 1),
            (Structure::Product, 1),
            (Structure::Residual, 1),
            (Structure::Residual, 3),
        ] {
            let mut options = TrainOptions::new(structure);
            (options.codes, options.iterations, options.beam) = (5, 4, beam);
            if structure != Structure::Kmeans {
                options.codebooks = 3;
            }
            let learn = |part| {
                let learned = train_in_parts(&gpu, &x, &options, &mut |_| true, part);
                learned.unwrap().unwrap()
            };
            // Seven vectors at a time, and all.
            let (few, all) = (learn(7 * 4 * dim * beam), learn(PART));
            let differs = few.values().iter().zip(all.values());
            let worst = differs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-5, "{structure:?}, beam {beam}: {worst}");
            let encoder = Encoder::with_part(&gpu, &all, 7 * 4 * dim * beam).unwrap();
            assert!(encoder.rows(beam) <= 7);
            let few = encoder.encode(&rows, beam).unwrap();
            let all = Encoder::new(&gpu, &all).unwrap().encode(&rows, beam);
            assert_eq!(few.codes, all.unwrap().codes, "{structure:?}, beam {beam}");
        }
    }

    /// Numbers that f16 holds give the codes of f32; others are near, and too large ones refused.
    #[test]
    fn a_search_in_f16_finds_what_f32_finds_in_vectors_that_f16_holds() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let (n, dim) = (300, 8);
        let exact = |v: &f32| (v * 64.0).round() / 64.0;
        let rows = vectors(n, dim).read(0..n).unwrap();
        let exact = rows.iter().map(exact).collect();
        let exact = Vectors::from_rows(dim, exact).unwrap();
        for structure in [Structure::Kmeans, Structure::Product] {
            let mut options = TrainOptions::new(structure);
            (options.codes, options.iterations) = (12, 5);
            options.codebooks = if structure == Structure::Product {
                2
            } else {
                1
            };
            let learn = |x: &Vectors, search| {
                let options = TrainOptions {
                    search,
                    ..options.clone()
                };
                train(&gpu, x, &options, &mut |_| true).unwrap().unwrap()
            };
            assert_eq!(
                learn(&exact, DType::F32),
                learn(&exact, DType::F16),
                "{structure:?}"
            );
            let books = learn(&exact, DType::F32);
            let encoder = Encoder::new(&gpu, &books).unwrap();
            let wide = encoder.encode(&rows, 1).unwrap();
            let encoder = encoder.with_search(DType::F16).unwrap();
            let half = encoder.encode(&rows, 1).unwrap();
            let ratio = half.distortion / wide.distortion;
            assert!((1.0..1.001).contains(&ratio), "{structure:?}: {ratio}");
            assert!(encoder.encode(&vec![7e4; dim], 1).is_err());
        }
        let mut options = TrainOptions::new(Structure::Residual);
        (options.search, options.beam) = (DType::F16, 2);
        assert!(options.check(dim).unwrap_err().to_string().contains("f16"));
    }

    /// In f32 alone, sums of so many rows would stand still.
    #[test]
    fn sums_of_many_rows_are_right() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let n = 1 << 19;
        let value = |i: usize| 100.0 + (splitmix64(i as u64) >> 40) as f32 / (1 << 24) as f32;
        let x = Vectors::from_rows(1, (0..n).map(value).collect()).unwrap();
        let mut options = TrainOptions::new(Structure::Kmeans);
        (options.codes, options.iterations) = (1, 1);
        let mean = train(&gpu, &x, &options, &mut |_| true).unwrap().unwrap();
        let want = (0..n).map(|i| f64::from(value(i))).sum::<f64>() / n as f64;
        let found = f64::from(mean.values()[0]);
        assert!((found - want).abs() < 2e-3, "{found}, and not {want}");
    }

    #[test]
    fn more_codes_than_different_vectors_reach_them_all() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let rows: Vec<f32> = (0..40).map(|i| (i % 4) as f32).collect();
        let x = Vectors::from_rows(1, rows.clone()).unwrap();
        let mut options = TrainOptions::new(Structure::Kmeans);
        (options.codes, options.iterations) = (16, 12);
        let codebooks = train(&gpu, &x, &options, &mut |_| true).unwrap().unwrap();
        let coded = Encoder::new(&gpu, &codebooks).unwrap().encode(&rows, 1);
        assert!(coded.unwrap().distortion < 1e-9);
    }
    /// Codes of vectors far from the origin are the nearest, and learned as well as near it; all
    /// codes are used where there are as many vectors that differ.
    #[test]
    fn codes_do_not_depend_on_the_origin() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let (n, dim) = (300, 4);
        let near = vectors(n, dim);
        let near = near.read(0..n).unwrap();
        for structure in [Structure::Kmeans, Structure::Product, Structure::Residual] {
            let options = TrainOptions {
                codes: 16,
                codebooks: if structure == Structure::Kmeans { 1 } else { 2 },
                iterations: 10,
                ..TrainOptions::new(structure)
            };
            let learned = |offset: f32| {
                let rows: Vec<f32> = near.iter().map(|x| x + offset).collect();
                let vectors = Vectors::from_rows(dim, rows.clone()).unwrap();
                let books = train(&gpu, &vectors, &options, &mut |_| true)
                    .unwrap()
                    .unwrap();
                let coded = Encoder::new(&gpu, &books)
                    .unwrap()
                    .encode(&rows, 1)
                    .unwrap();
                // Of plain k-means each code is the nearest, in f64.
                if structure == Structure::Kmeans {
                    for (row, code) in rows.chunks(dim).zip(&coded.codes) {
                        let distance = |code: &[f32]| -> f64 {
                            let pairs = row.iter().zip(code);
                            pairs
                                .map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2))
                                .sum()
                        };
                        let own = distance(&books.values()[*code as usize * dim..][..dim]);
                        let least = books.values().chunks(dim).map(distance);
                        let least = least.fold(f64::INFINITY, f64::min);
                        assert!(own <= least * 1.001 + 1e-9, "{own} {least}");
                    }
                }
                coded.distortion
            };
            let (here, far) = (learned(0.0), learned(10_000.0));
            assert!(
                (far / here - 1.0).abs() < 0.15,
                "{structure:?}: {here} {far}"
            );
        }
        let signs: Vec<f32> = (0..16)
            .flat_map(|i| (0..4).map(move |bit| if i >> bit & 1 == 1 { 1.0 } else { -1.0 }))
            .collect();
        let signs = Vectors::from_rows(4, signs.repeat(5)).unwrap();
        let options = TrainOptions {
            codes: 16,
            iterations: 100,
            ..TrainOptions::new(Structure::Kmeans)
        };
        let books = train(&gpu, &signs, &options, &mut |_| true)
            .unwrap()
            .unwrap();
        let rows = signs.read(0..signs.len()).unwrap();
        let coded = Encoder::new(&gpu, &books)
            .unwrap()
            .encode(&rows, 1)
            .unwrap();
        let mut used = coded.codes.clone();
        used.sort_unstable();
        used.dedup();
        assert!(used.len() >= 15, "{used:?}");
    }
}
