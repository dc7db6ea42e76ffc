//! `wgvq quantize`

use crate::cli::common::apart::apart;
use crate::cli::common::array::{Array, Codes, Whole};
use crate::cli::common::json;
use crate::cli::common::output::{self, Bar};
use crate::cli::common::place::Place;
use crate::cli::common::signals::stop_flag;
use crate::cli::common::watched::{NOTHING_WRITTEN, in_parts};
use crate::cli::{CommandStatus, Global};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;
use wgvq::vectors::{CodeUse, Codebooks, Encoder, Structure, TrainOptions, Vectors, train};
use wgvq::{Error, Result};

#[derive(Args)]
#[command(after_long_help = "\
Codes are written as an array of NumPy's: [N] of k-means, [N, M] with several codebooks. Vectors are
read, and codes written, a part at a time: an array may be larger than the memory of the device or
of the machine.

The share of vectors whose codes no other vector has is what counts where codes name items (semantic
IDs); the rest collide.

Examples:
  wgvq quantize x.npy --quantizer kmeans --codes 4096 -o codes.npy
  wgvq quantize x.npy --quantizer product --codebooks 16 -o codes.npy --save-codebook books.npy
  wgvq quantize x.npy --quantizer residual --codebooks 4 --beam 8 -o codes.npy
  wgvq quantize more.npy --quantizer product --codebook books.npy -o more-codes.npy")]
pub struct Quantize {
    /// Vectors: a .npy file with an array [N, ..] of float32, float64, float16 or uint8; the
    /// dimensions behind the first make a vector
    vectors: PathBuf,
    /// The way in which codes make up a vector
    #[arg(long)]
    quantizer: Kind,
    /// Codes of a codebook [default: 256, or what the codebook has]
    #[arg(long, value_name = "K", conflicts_with = "codebook")]
    codes: Option<usize>,
    /// Codebooks of a product or a residual [default: 8, or as many as there are]
    #[arg(long, value_name = "M", conflicts_with = "codebook")]
    codebooks: Option<usize>,
    /// Rounds of k-means for each codebook [default: 20]
    #[arg(long, value_name = "N", conflicts_with = "codebook")]
    iterations: Option<usize>,
    /// Learn of so many vectors, chosen at random [default: all]
    #[arg(long, value_name = "N", conflicts_with = "codebook")]
    sample: Option<usize>,
    /// Seed of the first means and of the choice of vectors [default: 0]
    #[arg(long, conflicts_with = "codebook")]
    seed: Option<u64>,
    /// Partial codes that the search of a residual follows, 1 to 64: more find nearer codes, in as
    /// many times the time
    #[arg(long, value_name = "B", default_value_t = 1)]
    beam: usize,
    /// Use this codebook instead of learning one: a .npy file as `--save-codebook` writes it
    #[arg(long, value_name = "FILE")]
    codebook: Option<PathBuf>,
    /// Write the codebook: [K, D] of k-means, [M, K, D / M] of a product, [M, K, D] of a residual
    #[arg(long, value_name = "FILE", conflicts_with = "codebook")]
    save_codebook: Option<PathBuf>,
    /// Write the vectors that the codes make up: float32 [N, D]
    #[arg(long, value_name = "FILE")]
    reconstruction: Option<PathBuf>,
    /// The file of the codes: uint16, or uint32 of more than 65,536 codes
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Replace files that are there
    #[arg(long)]
    overwrite: bool,
}

/// Structures by the names of the command line.
#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// One code a vector, the nearest of the means
    Kmeans,
    /// A code for each of M parts of the channels
    Product,
    /// M codes that add up, each for what those before it left
    Residual,
}

impl Kind {
    fn structure(self) -> Structure {
        match self {
            Kind::Kmeans => Structure::Kmeans,
            Kind::Product => Structure::Product,
            Kind::Residual => Structure::Residual,
        }
    }
}

impl Quantize {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        let vectors = Vectors::open(&self.vectors)?;
        let structure = self.quantizer.structure();
        let options = self.options(structure, &vectors)?;
        let outputs = [
            Some(&self.output),
            self.save_codebook.as_ref(),
            self.reconstruction.as_ref(),
        ];
        let outputs: Vec<&PathBuf> = outputs.into_iter().flatten().collect();
        let inputs = [Some(&self.vectors), self.codebook.as_ref()];
        apart(inputs.into_iter().flatten(), outputs.iter().copied())?;
        let places = outputs
            .iter()
            .map(|path| Place::file(global, path, self.overwrite))
            .collect::<Result<Vec<Place>>>()?;
        let mut places = Places(places);
        let given = self.codebook.as_deref();
        let given = given.map(|path| load(path, structure, vectors.dim()));
        let given = given.transpose()?;

        let gpu = global.gpu()?;
        let began = Instant::now();
        let mut rounds = 0;
        let codebooks = match given {
            Some(given) => given,
            None => match self.learn(global, &gpu, &vectors, &options, &mut rounds)? {
                Some(learned) => learned,
                None => {
                    output::note(global, &format!("stopped: {NOTHING_WRITTEN}"));
                    return Ok(CommandStatus::Abandoned);
                }
            },
        };
        let (learning, began) = (began.elapsed(), Instant::now());
        let Some(mut found) = self.encode(global, &gpu, &vectors, &codebooks, &mut places)? else {
            return Ok(CommandStatus::Abandoned);
        };
        let encoding = began.elapsed();

        let [m, k, _] = codebooks.shape();
        let n = vectors.len();
        let (distinct, alone) = found.used.distinct();
        let distortion = found.distortion / n as f64;
        let (used, perplexity) = (found.used.used(), found.used.perplexity());
        if global.json {
            let line = serde_json::json!({
                "vectors": output::shown(&self.vectors), "n": n, "dim": vectors.dim(),
                "quantizer": structure, "codebooks": m, "codes": k, "beam": self.beam,
                "iterations": rounds, "distortion": distortion,
                "distortion_per_number": distortion / vectors.dim() as f64,
                "used": used, "perplexity": perplexity, "distinct": distinct, "unique": alone,
                "collision_rate": 1.0 - alone as f64 / n as f64,
                "learning_s": learning.as_secs_f64(), "encoding_s": encoding.as_secs_f64(),
                "output": output::shown(&self.output),
            });
            json::print("quantize", &line);
            return Ok(CommandStatus::Done);
        }
        output::result(&format!(
            "{}: {n} vectors of {} numbers",
            self.vectors.display(),
            vectors.dim()
        ));
        output::result(&format!(
            "mean squared distance: {} a vector, {} a number",
            figure(distortion),
            figure(distortion / vectors.dim() as f64)
        ));
        let (fewest, most) = ends(used.iter().map(|used| *used as f64));
        let (least, greatest) = ends(perplexity.iter().copied());
        output::result(&match m {
            1 => format!("{fewest} of {k} codes used, perplexity {least:.1}"),
            _ => format!(
                "{m} codebooks: {fewest} to {most} of {k} codes used, perplexity {least:.1} to \
                 {greatest:.1}"
            ),
        });
        output::result(&format!(
            "{distinct} different codes; {alone} vectors ({:.1} %) share theirs with no other",
            100.0 * alone as f64 / n as f64
        ));
        let learned = match rounds {
            0 => String::new(),
            _ => format!(
                "{rounds} rounds of k-means in {:.1} s, ",
                learning.as_secs_f64()
            ),
        };
        output::result(&format!(
            "{}: {learned}codes in {:.1} s",
            self.output.display(),
            encoding.as_secs_f64()
        ));
        Ok(CommandStatus::Done)
    }

    fn options(&self, structure: Structure, vectors: &Vectors) -> Result<TrainOptions> {
        let mut o = TrainOptions::new(structure);
        o.codes = self.codes.unwrap_or(o.codes);
        o.codebooks = self.codebooks.unwrap_or(o.codebooks);
        o.iterations = self.iterations.unwrap_or(o.iterations);
        o.seed = self.seed.unwrap_or(o.seed);
        o.sample = self.sample;
        o.beam = self.beam;
        // Codebooks that are given say what they are.
        if self.codebook.is_some() && structure == Structure::Product {
            o.codebooks = 1;
        }
        if self.codebook.is_none() && o.codes > vectors.len() {
            let what = format!(
                "{} codes of {} vectors: at most one a vector; give fewer",
                o.codes,
                vectors.len()
            );
            return Err(Error::config("--codes", what));
        }
        match o.check(vectors.dim()) {
            Err(Error::Config { key, what }) => Err(Error::config(format!("--{key}"), what)),
            other => other.map(|()| o),
        }
    }

    fn learn(
        &self,
        global: &Global,
        gpu: &wgvq::gpu::Gpu,
        vectors: &Vectors,
        options: &TrainOptions,
        rounds: &mut usize,
    ) -> Result<Option<Codebooks>> {
        let (mut bar, stop) = (Bar::new(global, "rounds of k-means"), stop_flag());
        let all = options.codebooks * options.iterations;
        let learned = train(gpu, vectors, options, &mut |round| {
            *rounds += 1;
            bar.show(round.codebook * options.iterations + round.iteration, all);
            !stop.load(Ordering::Relaxed)
        });
        bar.finish();
        learned
    }

    /// Writes the codebooks that were learned, where they are to be kept, beside their place.
    fn codebooks(&self, place: &Place, codebooks: &Codebooks) -> Result<Option<Whole>> {
        let Some(path) = &self.save_codebook else {
            return Ok(None);
        };
        let [m, k, d] = codebooks.shape().map(|n| n as u64);
        let shape = match codebooks.structure() {
            Structure::Kmeans => vec![k, d],
            _ => vec![m, k, d],
        };
        let mut array = Array::<f32>::begin(place, path, &shape)?;
        array.extend(codebooks.values().iter().copied())?;
        array.whole().map(Some)
    }

    /// Writes codes and what they make up. `None` where it was stopped: nothing was written.
    fn encode(
        &self,
        global: &Global,
        gpu: &wgvq::gpu::Gpu,
        vectors: &Vectors,
        codebooks: &Codebooks,
        places: &mut Places,
    ) -> Result<Option<Found>> {
        let [m, k, _] = codebooks.shape();
        let encoder = Encoder::new(gpu, codebooks)?;
        let each = encoder.rows(self.beam);
        let n = vectors.len() as u64;
        let shape = match codebooks.structure() {
            Structure::Kmeans => vec![n],
            _ => vec![n, m as u64],
        };
        let kept = match places.0.get(1) {
            Some(place) if self.codebook.is_none() => self.codebooks(place, codebooks)?,
            _ => None,
        };
        let mut codes = Codes::begin(&places.0[0], &self.output, &shape, k)?;
        let mut rows = match (&self.reconstruction, places.0.last()) {
            (Some(path), Some(place)) => {
                let shape = [n, vectors.dim() as u64];
                Some(Array::<f32>::begin(place, path, &shape)?)
            }
            _ => None,
        };
        let mut found = Found {
            distortion: 0.0,
            used: CodeUse::new(m, k, vectors.len())?,
        };
        let made = in_parts(global, "vectors", vectors.len(), each, |part| {
            let coded = encoder.encode(&vectors.read(part)?, self.beam)?;
            found.distortion += coded.distortion;
            found.used.count(&coded.codes)?;
            codes.extend(&coded.codes)?;
            match &mut rows {
                Some(rows) => rows.extend(codebooks.decode(&coded.codes)?.into_iter()),
                None => Ok(()),
            }
        });
        if made?.is_none() {
            return Ok(None);
        }
        // All are whole before the first is put in its place.
        let whole = [
            kept,
            rows.map(Array::whole).transpose()?,
            Some(codes.whole()?),
        ];
        whole.into_iter().flatten().try_for_each(Whole::put)?;
        Ok(Some(found))
    }
}

/// Places of outputs, given up in reverse: a folder that was made for them goes with the first.
struct Places(Vec<Place>);

impl Drop for Places {
    fn drop(&mut self) {
        while self.0.pop().is_some() {}
    }
}

struct Found {
    distortion: f64,
    used: CodeUse,
}

/// The least and the greatest.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, 0.0), |(least, most), x| {
        (least.min(x), most.max(x))
    })
}

/// Four digits, as a person reads them.
fn figure(x: f64) -> String {
    match x {
        x if x == 0.0 || (0.001..1e6).contains(&x) => format!("{x:.4}"),
        _ => format!("{x:.4e}"),
    }
}

/// Reads codebooks that `--save-codebook` wrote, or others of such a shape.
fn load(path: &Path, structure: Structure, dim: usize) -> Result<Codebooks> {
    let rows = Vectors::open(path)?;
    let wrong = |what: String| Error::file(path, what);
    let shape = rows.shape();
    let shape = match (structure, shape) {
        (Structure::Kmeans, [k, d]) => [1, *k, *d],
        (Structure::Kmeans, _) => {
            return Err(wrong(format!(
                "is of shape {shape:?}; k-means has an array [K, D]"
            )));
        }
        (_, [m, k, d]) => [*m, *k, *d],
        _ => {
            return Err(wrong(format!(
                "is of shape {shape:?}; a product has an array [M, K, D / M], a residual [M, K, D]"
            )));
        }
    };
    let [m, k, channels] = shape;
    let own = match structure {
        Structure::Product => m.saturating_mul(channels),
        _ => channels,
    };
    if own != dim {
        return Err(wrong(format!(
            "is of vectors of {own} numbers, and these have {dim}"
        )));
    }
    let what = format!("{m} codebooks of {k} codes");
    wgvq::memory::check_available(what, wgvq::memory::product(&[m, k, channels, 8]))?;
    Codebooks::new(structure, shape, rows.read(0..rows.len())?)
}
