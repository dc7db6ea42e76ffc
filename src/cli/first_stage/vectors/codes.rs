//! `wgvq encode` and `wgvq decode` with a model of vectors.

use crate::cli::common::apart::{apart, model_of};
use crate::cli::common::array::{Array, Codes, Whole};
use crate::cli::common::json;
use crate::cli::common::output;
use crate::cli::common::place::Place;
use crate::cli::common::watched::in_parts;
use crate::cli::{CommandStatus, Global};
use std::path::Path;
use wgvq::inference::VectorsModel;
use wgvq::vectors::{CodeFile, CodeUse, Vectors, squared_distances};
use wgvq::{Error, Result};

/// An array that becomes codes, or latents.
pub struct EncodeVectors<'a> {
    pub run: &'a Path,
    pub vectors: &'a Path,
    pub output: &'a Path,
    pub overwrite: bool,
}

/// Codes that become an array.
pub struct DecodeVectors<'a> {
    pub run: &'a Path,
    pub codes: &'a Path,
    pub output: &'a Path,
    pub overwrite: bool,
}

impl EncodeVectors<'_> {
    fn open(&self, global: &Global) -> Result<(Vectors, Place)> {
        let vectors = Vectors::open(self.vectors)?;
        apart([self.vectors, &model_of(self.run)], [self.output])?;
        let place = Place::file(global, self.output, self.overwrite)?;
        Ok((vectors, place))
    }

    fn model(&self, global: &Global, vectors: &Vectors) -> Result<VectorsModel> {
        let model = VectorsModel::load(&global.gpu()?, self.run)?;
        if vectors.dim() == model.dim() {
            return Ok(model);
        }
        let what = format!(
            "holds vectors of {} numbers, and the model of {} is of {}: give such as it was \
             trained on",
            vectors.dim(),
            self.run.display(),
            model.dim()
        );
        Err(Error::file(self.vectors, what))
    }

    /// Writes the codes [N, Q], and says how near they come and how many are shared.
    pub fn codes(&self, global: &Global) -> Result<CommandStatus> {
        let (vectors, place) = self.open(global)?;
        let model = self.model(global, &vectors)?;
        let (n, dim) = (vectors.len(), vectors.dim());
        let (q, k) = (model.codebooks(), model.codebook_size());
        let mut used = CodeUse::new(q, k, n)?;
        let mut codes = Codes::begin(&place, self.output, &[n as u64, q as u64], k)?;
        let mut sum = 0.0;
        let made = in_parts(global, "vectors", n, model.rows(), |part| {
            let rows = vectors.read(part)?;
            let (found, again) = model.reconstruct(&rows)?;
            sum += squared_distances(&rows, &again);
            used.count(&found)?;
            codes.extend(&found)
        });
        if made?.is_none() {
            return Ok(CommandStatus::Abandoned);
        }
        codes.whole()?.put()?;
        let (distinct, alone) = used.distinct();
        let (counts, perplexity) = (used.used(), used.perplexity());
        let distortion = sum / n as f64;
        let mse = distortion / dim as f64;
        let unique = alone as f64 / n as f64;
        if global.json {
            let line = serde_json::json!({
                "vectors": output::shown(self.vectors), "n": n, "dim": dim, "codebooks": q,
                "codes": k, "distortion": distortion, "mse": mse, "used": counts,
                "perplexity": perplexity, "distinct": distinct, "unique": alone,
                "unique_share": unique, "collision_rate": 1.0 - unique,
                "output": output::shown(self.output),
            });
            json::print("encode-vectors", &line);
            return Ok(CommandStatus::Done);
        }
        output::result(&format!(
            "{}: {n} vectors of {dim} numbers, {q} codes each",
            self.vectors.display()
        ));
        output::result(&format!("MSE {mse:.4e}, {distortion:.4e} a vector"));
        let lines = counts.iter().zip(&perplexity).enumerate();
        for (book, (count, perplexity)) in lines {
            output::result(&format!(
                "codebook {book}: {count} of {k} codes used, perplexity {perplexity:.1}"
            ));
        }
        output::result(&format!(
            "{distinct} different codes; {alone} vectors ({:.1} %) share theirs with no other, \
             {:.1} % collide",
            100.0 * unique,
            100.0 * (1.0 - unique)
        ));
        output::result(&format!("codes: {}", self.output.display()));
        Ok(CommandStatus::Done)
    }

    /// Writes the latents [N, D'] as they come to the quantizer.
    pub fn latents(&self, global: &Global) -> Result<CommandStatus> {
        let (vectors, place) = self.open(global)?;
        let model = self.model(global, &vectors)?;
        let (n, channels) = (vectors.len(), model.latent_channels());
        let shape = [n as u64, channels as u64];
        let mut array = Array::<f32>::begin(&place, self.output, &shape)?;
        let made = in_parts(global, "vectors", n, model.rows(), |part| {
            array.extend(model.latents(&vectors.read(part)?)?.into_iter())
        });
        if made?.is_none() {
            return Ok(CommandStatus::Abandoned);
        }
        array.whole().and_then(Whole::put)?;
        tell_latents(global, self.output, n, channels);
        Ok(CommandStatus::Done)
    }
}

/// Prints what latents were written.
pub fn tell_latents(global: &Global, output: &Path, rows: usize, channels: usize) {
    output::result(&match global.json {
        true => json::text(
            "encode-latents",
            &serde_json::json!({
                "latents": output::shown(output), "n": rows, "dim": channels,
            }),
        ),
        false => format!("{}: {rows} latents of {channels} numbers", output.display()),
    });
}

impl DecodeVectors<'_> {
    /// Writes the vectors [N, D] that codes [N, Q] decode to.
    pub fn vectors(&self, global: &Global) -> Result<CommandStatus> {
        let codes = CodeFile::open(self.codes)?;
        apart([self.codes, &model_of(self.run)], [self.output])?;
        let place = Place::file(global, self.output, self.overwrite)?;
        let model = VectorsModel::load(&global.gpu()?, self.run)?;
        if codes.codebooks() != model.codebooks() {
            let what = format!(
                "holds {} codes a row, and the model of {} has {} a vector: give codes of its own",
                codes.codebooks(),
                self.run.display(),
                model.codebooks()
            );
            return Err(Error::file(self.codes, what));
        }
        let n = codes.len();
        let shape = [n as u64, model.dim() as u64];
        let mut array = Array::<f32>::begin(&place, self.output, &shape)?;
        let made = in_parts(global, "vectors", n, model.rows(), |part| {
            let decoded = model.decode(&codes.read(part)?);
            let decoded = decoded.map_err(|e| Error::file(self.codes, e))?;
            array.extend(decoded.into_iter())
        });
        if made?.is_none() {
            return Ok(CommandStatus::Abandoned);
        }
        array.whole().and_then(Whole::put)?;
        output::result(&match global.json {
            true => json::text(
                "decode-vectors",
                &serde_json::json!({
                    "vectors": output::shown(self.output), "n": n, "dim": model.dim(),
                }),
            ),
            false => format!(
                "{}: {n} vectors of {} numbers",
                self.output.display(),
                model.dim()
            ),
        });
        Ok(CommandStatus::Done)
    }
}
