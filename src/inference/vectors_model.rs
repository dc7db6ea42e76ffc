//! A trained first stage over vectors.

use super::first_stage::{Coded, FirstStage};
use super::loading::model_file;
use crate::autograd::Tape;
use crate::config::Resolved;
use crate::config::vectors::VectorsConfig;
use crate::gpu::{Gpu, Tensor};
use crate::models::Level;
use crate::models::first_stage::mlp::Mlp;
use crate::nn::{ForwardContext, HostTensors, Parameters};
use crate::quantize::{Mode, Registry};
use crate::storage::checkpoint::{self, Checkpoint, HostTensor};
use crate::storage::weights;
use crate::vectors::Standard;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Vectors that go through the model at a time, where the device takes so many.
const BATCH: usize = 4096;
/// Names of the means and deviations in a model's file.
const MEAN: &str = "standard.mean";
const DEVIATION: &str = "standard.deviation";
const STANDARD: &str = "standard.";

/// The metadata of a model's file, beside its tensors.
#[derive(Serialize, Deserialize)]
struct Metadata {
    config: VectorsConfig,
    dim: usize,
}

/// A first stage over vectors, trained or in training, without its parameters.
pub(crate) struct VectorsStage {
    gpu: Gpu,
    pub(crate) stage: FirstStage,
    pub(crate) standard: Standard,
    pub(crate) level: Level,
    dim: usize,
}

/// Vectors that went through a model.
pub(crate) struct Passed {
    /// [N, Q].
    pub(crate) codes: Vec<u32>,
    /// [N, D].
    pub(crate) vectors: Vec<f32>,
}

/// Builds the model of a configuration for vectors of such a standard, and its parameters.
pub(crate) fn build(
    gpu: &Gpu,
    config: &Resolved<VectorsConfig>,
    standard: Standard,
    registry: &Registry,
) -> Result<(VectorsStage, Parameters)> {
    let dim = standard.mean().len();
    let mut builder = Parameters::builder();
    let mut options = config.quantizer.clone();
    options.seed = config.train.seed;
    let quantizer = registry.build(gpu, &mut builder, &options)?;
    let model = Mlp::new(&mut builder, &config.shape(dim, quantizer.dim()))?;
    let params = builder.build(gpu, config.train.seed)?;
    let stage = FirstStage::of_one_level(Box::new(model), quantizer);
    let level = stage.levels(1, 1);
    let [level] = <[Level; 1]>::try_from(level)
        .map_err(|_| Error::invalid("vectors", "the quantizer makes codes of several scales"))?;
    let stage = VectorsStage {
        gpu: gpu.clone(),
        stage,
        standard,
        level,
        dim,
    };
    Ok((stage, params))
}

impl VectorsStage {
    /// Returns how many vectors go through the model at a time.
    pub(crate) fn rows(&self) -> usize {
        self.stage.batch(&self.gpu, BATCH, 1, 1)
    }

    /// Uploads vectors [N, D] as the model takes them: about 0, [N, 1, 1, D].
    pub(crate) fn upload(&self, mut vectors: Vec<f32>) -> Result<Tensor> {
        self.standard.apply(&mut vectors);
        Tensor::from_slice(
            &self.gpu,
            &[vectors.len() / self.dim, 1, 1, self.dim],
            &vectors,
        )
    }

    /// Checks that numbers are whole vectors.
    fn check(&self, vectors: &[f32]) -> Result<()> {
        if vectors.len().is_multiple_of(self.dim) {
            return Ok(());
        }
        let got = format!("{} numbers", vectors.len());
        Err(Error::shape(
            "vectors",
            format!("vectors of {} numbers", self.dim),
            got,
        ))
    }

    /// Sends vectors [N, D] through the model, so many at a time as the device takes.
    pub(crate) fn pass(&self, params: &Parameters, vectors: &[f32]) -> Result<Passed> {
        self.check(vectors)?;
        let mut passed = Passed {
            codes: Vec::new(),
            vectors: Vec::with_capacity(vectors.len()),
        };
        for part in vectors.chunks(self.rows() * self.dim) {
            let tape = Tape::no_grad(&self.gpu);
            let pass = ForwardContext::new(&tape, params);
            let x = tape.constant(&self.upload(part.to_vec())?);
            let (coded, y) = self.stage.reconstruct(&pass, &x, Mode::Eval)?;
            passed.codes.extend(self.codes_of(&coded)?);
            let mut y = y.tensor().read::<f32>()?;
            self.standard.undo(&mut y);
            passed.vectors.extend(y);
        }
        Ok(passed)
    }

    /// The codes of one level [N, Q].
    fn codes_of(&self, coded: &[Coded]) -> Result<Vec<u32>> {
        match coded {
            [only] => only.quantized.indices.read::<u32>(),
            _ => Err(Error::invalid(
                "vectors",
                "the model has one level of codes",
            )),
        }
    }

    /// Returns what inference reads: the tensors of these parameters, of the quantizer and of the
    /// standard, and the configuration.
    pub(crate) fn trained(
        &self,
        params: &Parameters,
        config: &Resolved<VectorsConfig>,
    ) -> Result<Checkpoint> {
        let named = |tensors: HostTensors| {
            let tensors = tensors.into_iter();
            tensors.map(|(name, t)| (name, weights::export(t)))
        };
        let mut tensors: BTreeMap<String, HostTensor> = named(params.to_host()?).collect();
        tensors.extend(named(self.stage.save()?));
        let of_channels = |values: &[f32]| HostTensor::f32(&[self.dim], values);
        tensors.insert(MEAN.into(), of_channels(self.standard.mean()));
        tensors.insert(DEVIATION.into(), of_channels(self.standard.deviation()));
        let metadata = Metadata {
            config: config.clone().into_inner(),
            dim: self.dim,
        };
        let state = serde_json::json!({ "vectors": metadata });
        Ok(Checkpoint { tensors, state })
    }
}

/// A trained first stage over vectors: an encoder of vectors [N, D] to codes [N, Q], and their
/// decoder. `wgvq train --model mlp` makes it.
///
/// ```no_run
/// use wgvq::gpu::{Gpu, Options};
/// use wgvq::inference::VectorsModel;
/// use wgvq::vectors::Vectors;
///
/// # fn main() -> wgvq::Result<()> {
/// let gpu = Gpu::new(Options::default())?;
/// let model = VectorsModel::load(&gpu, "runs/items".as_ref())?;
/// let vectors = Vectors::open("items.npy".as_ref())?;
/// let codes = model.encode(&vectors.read(0..100)?)?;
/// assert_eq!(codes.len(), 100 * model.codebooks());
/// let again = model.decode(&codes)?;
/// assert_eq!(again.len(), 100 * model.dim());
/// # Ok(())
/// # }
/// ```
pub struct VectorsModel {
    stage: VectorsStage,
    params: Parameters,
    config: Resolved<VectorsConfig>,
    hash: String,
}

impl VectorsModel {
    /// Whether a run's folder, or a model's file, is of vectors: of a file that cannot be read, no.
    pub fn is_at(run: &Path) -> bool {
        if run.is_dir() {
            let text = std::fs::read_to_string(run.join("config.toml"));
            return text.is_ok_and(|text| VectorsConfig::is_in(&text));
        }
        checkpoint::load_file(run).is_ok_and(|(file, _)| !file.state["vectors"].is_null())
    }

    /// Loads the model of a run: its folder, or its file.
    ///
    /// # Errors
    /// If there is none, it is damaged, or one of something else.
    pub fn load(gpu: &Gpu, run: &Path) -> Result<VectorsModel> {
        let path = model_file(run);
        if !path.exists() {
            let what = format!(
                "is not there: the run has not ended; go on with it by `wgvq train --resume {}`",
                run.display()
            );
            return Err(Error::file(&path, what));
        }
        let at = |e: Error| Error::file(&path, e);
        let (file, hash) = checkpoint::load_file(&path)?;
        let metadata: Metadata = serde_json::from_value(file.state["vectors"].clone())
            .map_err(|e| Error::file(&path, format!("holds no model of vectors: {e}")))?;
        let registry = Registry::default();
        let config = metadata.config.resolve(&registry).map_err(at)?;
        let mut parts = weights::by_prefix(&file.tensors, &["quantizer.", STANDARD]).map_err(at)?;
        let mut standard = parts.remove(STANDARD).unwrap_or_default();
        let mut channels = |name: &str| {
            let found = standard.remove(name.trim_start_matches(STANDARD));
            found.map(|(_, values)| values).unwrap_or_default()
        };
        let standard = Standard::new(channels(MEAN), channels(DEVIATION)).map_err(at)?;
        if standard.mean().len() != metadata.dim {
            let what = format!(
                "says {} numbers of a vector, and has the means of {}",
                metadata.dim,
                standard.mean().len()
            );
            return Err(Error::file(&path, what));
        }
        let (mut stage, params) = build(gpu, &config, standard, &registry).map_err(at)?;
        let mut part = |prefix: &str| parts.remove(prefix).unwrap_or_default();
        stage.stage.load(part("quantizer.")).map_err(at)?;
        params.load_host(&part("")).map_err(at)?;
        Ok(VectorsModel {
            stage,
            params,
            config,
            hash,
        })
    }

    /// Returns the configuration that the model was trained under.
    pub fn config(&self) -> &Resolved<VectorsConfig> {
        &self.config
    }

    /// Returns D, the numbers of a vector.
    pub fn dim(&self) -> usize {
        self.stage.dim
    }

    /// Returns Q, the codes of a vector.
    pub fn codebooks(&self) -> usize {
        self.stage.level.codebooks
    }

    /// Returns K, the codes of a codebook.
    pub fn codebook_size(&self) -> usize {
        self.stage.level.codebook_size
    }

    /// Returns the SHA-256 of the model's file.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Returns how many vectors go through the model at a time.
    pub fn rows(&self) -> usize {
        self.stage.rows()
    }

    /// Encodes vectors [N, D] to codes [N, Q]. Waits for the device.
    ///
    /// # Errors
    /// If the numbers are no whole vectors, or the device fails.
    pub fn encode(&self, vectors: &[f32]) -> Result<Vec<u32>> {
        self.stage.check(vectors)?;
        let gpu = &self.stage.gpu;
        let mut codes = Vec::new();
        for part in vectors.chunks(self.rows() * self.dim()) {
            let tape = Tape::no_grad(gpu);
            let pass = ForwardContext::new(&tape, &self.params);
            let x = tape.constant(&self.stage.upload(part.to_vec())?);
            let coded = self.stage.stage.encode(&pass, &x, Mode::Eval)?;
            codes.extend(self.stage.codes_of(&coded)?);
        }
        Ok(codes)
    }

    /// Encodes vectors [N, D], and decodes their codes: codes [N, Q], vectors [N, D]. Waits for the
    /// device.
    ///
    /// # Errors
    /// As [`VectorsModel::encode`].
    pub fn reconstruct(&self, vectors: &[f32]) -> Result<(Vec<u32>, Vec<f32>)> {
        let passed = self.stage.pass(&self.params, vectors)?;
        Ok((passed.codes, passed.vectors))
    }

    /// Decodes codes [N, Q] to vectors [N, D]. Waits for the device.
    ///
    /// # Errors
    /// If they are no whole rows of codes, one is past its codebook, or the device fails.
    pub fn decode(&self, codes: &[u32]) -> Result<Vec<f32>> {
        let (level, gpu) = (&self.stage.level, &self.stage.gpu);
        let (q, k) = (level.codebooks, level.codebook_size);
        if !codes.len().is_multiple_of(q) {
            let got = format!("{} codes", codes.len());
            return Err(Error::shape("decode", format!("{q} codes a vector"), got));
        }
        if let Some(code) = codes.iter().find(|code| **code as usize >= k) {
            let what = format!("code {code} of {k}: codes count from 0");
            return Err(Error::invalid("decode", what));
        }
        let mut vectors = Vec::new();
        for part in codes.chunks(self.rows() * q) {
            let tape = Tape::no_grad(gpu);
            let pass = ForwardContext::new(&tape, &self.params);
            let indices = Tensor::from_slice(gpu, &[part.len() / q, q], part)?;
            let y = self
                .stage
                .stage
                .decode(&pass, &indices, std::slice::from_ref(level))?;
            let mut y = y.tensor().read::<f32>()?;
            self.stage.standard.undo(&mut y);
            vectors.extend(y);
        }
        Ok(vectors)
    }

    /// Returns the latents [N, D'] of vectors [N, D] as they come to the quantizer. Waits for the
    /// device.
    ///
    /// # Errors
    /// As [`VectorsModel::encode`].
    pub fn latents(&self, vectors: &[f32]) -> Result<Vec<f32>> {
        self.stage.check(vectors)?;
        let gpu = &self.stage.gpu;
        let mut latents = Vec::new();
        for part in vectors.chunks(self.rows() * self.dim()) {
            let tape = Tape::no_grad(gpu);
            let pass = ForwardContext::new(&tape, &self.params);
            let x = tape.constant(&self.stage.upload(part.to_vec())?);
            let rows = self.stage.stage.latents(&pass, &x, 0)?;
            latents.extend(rows.tensor().read::<f32>()?);
        }
        Ok(latents)
    }

    /// Returns D', the channels of a latent.
    pub fn latent_channels(&self) -> usize {
        self.stage.stage.quantizers[0].dim()
    }
}
