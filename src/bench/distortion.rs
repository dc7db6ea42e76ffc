//! The distance of codes from vectors against the time they take: k-means by its rounds, products
//! and residuals by their codebooks and beams, and the same of another library.

use super::peer::{Answer, Peer, Problem};
use super::statistics::median;
use crate::gpu::{DType, Gpu};
use crate::registry;
use crate::spec::{Data, HostTensor, case};
use crate::vectors::{Codebooks, Encoder, Structure, TrainOptions, Vectors, train};
use crate::{Error, Result};
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, Instant};

/// Times of one setting, at least and at most; between them as many as come in [`PATIENCE`].
const TURNS: [usize; 2] = [1, 5];
/// See [`TURNS`].
const PATIENCE: Duration = Duration::from_secs(10);

/// A way of quantizing vectors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// The structure of the codes.
    pub structure: Structure,
    /// Codes of a codebook.
    pub codes: usize,
    /// Codebooks.
    pub codebooks: usize,
    /// Rounds of k-means for each.
    pub iterations: usize,
    /// Partial codes that a residual's search follows.
    pub beam: usize,
    /// Whether vectors lie in f16 where the nearest codes are searched for.
    pub half: bool,
}

impl Setting {
    /// Returns its name: the structure and its sizes.
    pub fn name(&self) -> String {
        let Setting {
            codes,
            codebooks,
            iterations,
            beam,
            half,
            ..
        } = self;
        let dtype = if *half { "_f16" } else { "" };
        let name = match self.structure {
            Structure::Kmeans => format!("kmeans_k{codes}_rounds{iterations}"),
            Structure::Product => format!("product_m{codebooks}_k{codes}_rounds{iterations}"),
            Structure::Residual => {
                format!("residual_m{codebooks}_k{codes}_rounds{iterations}_beam{beam}")
            }
        };
        name + dtype
    }

    /// Returns the name of the line on which it lies in a chart.
    pub fn family(&self) -> &'static str {
        match (self.structure, self.half) {
            (Structure::Kmeans, false) => "k-means (rounds)",
            (Structure::Kmeans, true) => "k-means, searched in f16 (rounds)",
            (Structure::Product, false) => "product (codebooks)",
            (Structure::Product, true) => "product, searched in f16 (codebooks)",
            (Structure::Residual, false) => "residual (beam)",
            (Structure::Residual, true) => "residual, searched in f16",
        }
    }

    /// Returns the bits that a vector's codes take.
    pub fn bits(&self) -> f64 {
        self.codebooks as f64 * (self.codes as f64).log2()
    }

    fn search(&self) -> DType {
        match self.half {
            true => DType::F16,
            false => DType::F32,
        }
    }

    fn options(&self, seed: u64) -> TrainOptions {
        TrainOptions {
            codes: self.codes,
            codebooks: self.codebooks,
            iterations: self.iterations,
            beam: self.beam,
            search: self.search(),
            seed,
            ..TrainOptions::new(self.structure)
        }
    }
}

/// Returns the settings for so many vectors of `dim` numbers: up to 256 codes, k-means of 1 to 20
/// rounds, in f32 and with a search in f16, products of up to 16 codebooks, residuals of 4 with
/// beams of 1 to 16.
pub fn distortion_settings(rows: usize, dim: usize) -> Vec<Setting> {
    let codes = 256.min(rows / 2).max(1);
    let of = |structure, codebooks, iterations, beam| Setting {
        structure,
        codes,
        codebooks,
        iterations,
        beam,
        half: false,
    };
    let kmeans = [1, 2, 5, 10, 20].map(|rounds| of(Structure::Kmeans, 1, rounds, 1));
    let in_f16 = kmeans.map(|setting| Setting {
        half: true,
        ..setting
    });
    let products = [2, 4, 7, 8, 14, 16].into_iter();
    let products = products.filter(|m| dim.is_multiple_of(*m));
    let residuals = [1, 2, 4, 8, 16].map(|beam| of(Structure::Residual, 4, 10, beam));
    let products = products.map(|m| of(Structure::Product, m, 10, 1));
    kmeans
        .into_iter()
        .chain(in_f16)
        .chain(products)
        .chain(residuals)
        .collect()
}

/// A setting's result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reached {
    /// The mean squared distance of a vector to what its codes make up.
    pub distortion: f64,
    /// The median of the milliseconds that it took to learn the codebooks and make the codes.
    pub ms: f64,
    /// Each of the times.
    pub samples: Vec<f64>,
}

/// A row: ours, and another library's, or why it has none.
#[derive(Clone, Debug)]
pub struct DistortionRow {
    /// The setting.
    pub setting: Setting,
    /// Ours.
    pub ours: Reached,
    /// Other libraries', by the names that they call themselves.
    pub peers: Vec<(String, Answer<Reached>)>,
}

/// Measures a setting on vectors, ours and others' by turns. Each of them learns codebooks and
/// makes codes once a turn, after one that is not timed; there are five turns, or as many as begin
/// within ten seconds. Distortions are counted here in f64, others' from their codebooks and codes.
/// Vectors that lie in memory are not read within the time.
///
/// # Errors
/// If the vectors cannot be read or do not fit the setting, the device fails, or `folder`, in which
/// files for others go, cannot be written.
pub fn distortion(
    gpu: &Gpu,
    vectors: &Vectors,
    setting: Setting,
    seed: u64,
    peers: &mut [Peer],
    folder: &Path,
) -> Result<DistortionRow> {
    // The first call compiles kernels.
    let (mut reached, mut samples) = (ours(gpu, vectors, setting, seed)?, Vec::new());
    let mut others = Vec::new();
    for peer in peers.iter_mut() {
        others.push((theirs(peer, vectors, setting, seed, folder)?, Vec::new()));
    }
    let began = Instant::now();
    while samples.len() < TURNS[0] || samples.len() < TURNS[1] && began.elapsed() < PATIENCE {
        reached = ours(gpu, vectors, setting, seed)?;
        samples.push(reached.ms);
        for (peer, (answer, samples)) in peers.iter_mut().zip(&mut others) {
            if answer.is_ok() {
                match peer.time(Duration::ZERO, 1) {
                    Ok(times) => samples.extend(times),
                    Err(why) => *answer = Err(why),
                }
            }
        }
    }
    let row = |distortion, samples: Vec<f64>| Reached {
        distortion,
        ms: median(&samples),
        samples,
    };
    let others = others
        .into_iter()
        .map(|(answer, samples)| answer.map(|d| row(d, samples)));
    let names = peers.iter().map(|peer| peer.name.clone());
    Ok(DistortionRow {
        setting,
        ours: row(reached.distortion, samples),
        peers: names.zip(others).collect(),
    })
}

fn ours(gpu: &Gpu, vectors: &Vectors, setting: Setting, seed: u64) -> Result<Reached> {
    let began = Instant::now();
    let learned = train(gpu, vectors, &setting.options(seed), &mut |_| true)?;
    let Some(codebooks) = learned else {
        return Err(Error::invalid("distortion", "the training was stopped"));
    };
    let encoder = Encoder::new(gpu, &codebooks)?.with_search(setting.search())?;
    let (mut distortion, each) = (0.0, encoder.rows(setting.beam));
    for start in (0..vectors.len()).step_by(each) {
        let rows = vectors.read(start..vectors.len().min(start + each))?;
        distortion += encoder.encode(&rows, setting.beam)?.distortion;
    }
    let ms = began.elapsed().as_secs_f64() * 1e3;
    Ok(Reached {
        distortion: distortion / vectors.len() as f64,
        ms,
        samples: vec![ms],
    })
}

/// The distortion of another library's codes.
fn theirs(
    peer: &mut Peer,
    vectors: &Vectors,
    setting: Setting,
    seed: u64,
    folder: &Path,
) -> Result<Answer<f64>> {
    let (n, dim) = (vectors.len(), vectors.dim());
    let Setting {
        structure,
        codes,
        codebooks,
        iterations,
        beam,
        half,
    } = setting;
    if half {
        return Ok(Err("is not asked to search in f16".into()));
    }
    let channels = match structure {
        Structure::Product => dim / codebooks,
        _ => dim,
    };
    let kmeans = registry::operations()
        .iter()
        .find(|op| op.name() == "kmeans");
    let Some(op) = kmeans else {
        return Err(Error::invalid("distortion", "the registry has no kmeans"));
    };
    let problem = Problem {
        asked: format!("quantize_vectors_{}", family(structure)),
        op: *op,
        case: case(&[
            ("n", n),
            ("d", dim),
            ("k", codes),
            ("m", codebooks),
            ("rounds", iterations),
            ("beam", beam),
            ("seed", seed as usize & 0x7fff_ffff),
        ]),
        inputs: vec![HostTensor::f32(&[n, dim], vectors.read(0..n)?)],
        shapes: vec![vec![n, codebooks], vec![codebooks, codes, channels]],
        gradient: None,
    };
    let answer = peer.solve(&problem, folder)?;
    Ok(answer.and_then(|found| judged(vectors, structure, &problem.shapes, &found)))
}

fn family(structure: Structure) -> &'static str {
    match structure {
        Structure::Kmeans => "kmeans",
        Structure::Product => "product",
        Structure::Residual => "residual",
    }
}

/// Counts the distortion of codes and codebooks.
fn judged(
    vectors: &Vectors,
    structure: Structure,
    shapes: &[Vec<usize>],
    found: &[HostTensor],
) -> Answer<f64> {
    let ([codes, values], [of_codes, of_values]) = (found, shapes) else {
        return Err(format!(
            "{} outputs: codes and codebooks are two",
            found.len()
        ));
    };
    let (Data::U32(codes), Data::F32(values)) = (&codes.data, &values.data) else {
        return Err("codes are u32 and codebooks f32".into());
    };
    if &found[0].shape != of_codes || &found[1].shape != of_values {
        let (codes, values) = (&found[0].shape, &found[1].shape);
        return Err(format!(
            "codes {codes:?} and codebooks {values:?}, where {of_codes:?} and {of_values:?} were \
             asked for"
        ));
    }
    let said = |e: Error| e.to_string();
    let shape = [of_values[0], of_values[1], of_values[2]];
    let codebooks = Codebooks::new(structure, shape, values.clone()).map_err(said)?;
    let m = codebooks.shape()[0];
    let mut sum = 0.0;
    for (i, codes) in codes.chunks(1024 * m).enumerate() {
        let rows = i * 1024..i * 1024 + codes.len() / m;
        let rows = vectors.read(rows).map_err(said)?;
        sum += codebooks.distortion(&rows, codes).map_err(said)?;
    }
    Ok(sum / vectors.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_fit_their_vectors() {
        for (rows, dim) in [(60_000, 784), (10, 3), (3, 1)] {
            for setting in distortion_settings(rows, dim) {
                setting.options(0).check(dim).unwrap();
                assert!(setting.codes <= rows);
            }
        }
        let all = distortion_settings(60_000, 784);
        assert!(
            all.iter()
                .any(|s| s.name() == "residual_m4_k256_rounds10_beam16")
        );
        assert_eq!(all.iter().map(Setting::bits).fold(0.0, f64::max), 128.0);
    }

    #[test]
    fn codes_of_others_are_judged() {
        let vectors = Vectors::from_rows(2, vec![0.0, 0.0, 1.0, 3.0]).unwrap();
        let shapes = [vec![2, 1], vec![1, 2, 2]];
        let judge = |codes: Vec<u32>, values: Vec<f32>| {
            let found = [
                HostTensor::u32(&[codes.len(), 1], codes),
                HostTensor::f32(&[1, 2, 2], values),
            ];
            judged(&vectors, Structure::Kmeans, &shapes, &found)
        };
        let means = vec![0.0, 0.0, 1.0, 1.0];
        assert_eq!(judge(vec![0, 1], means.clone()), Ok(2.0));
        assert_eq!(judge(vec![0, 0], means.clone()), Ok(5.0));
        assert!(
            judge(vec![0, 2], means.clone())
                .unwrap_err()
                .contains("code 2")
        );
        assert!(judge(vec![0], means).unwrap_err().contains("asked for"));
        assert!(judge(vec![0, 1], vec![f32::NAN; 4]).is_err());
    }
}
