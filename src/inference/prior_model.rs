//! A trained prior, which samples codes and measures how likely codes are.

use crate::codes::tokens::{TokenDatasetInfo, Tokens, vocabulary_of};
use crate::config::Resolved;
use crate::config::prior::PriorConfig;
use crate::gpu::Gpu;
use crate::inference::FirstStageModel;
use crate::inference::loading::{load_parameters, model_file};
use crate::inference::prior_measure::{Conditioning, build, measure, with_order_of};
use crate::models::prior::{Prior, Scales, Vocabulary};
use crate::nn::Parameters;
use crate::quantize::ScaleTables;
use crate::storage::checkpoint;
use crate::storage::checkpoint::LazyCheckpoint;
use crate::{Error, Result};
use std::path::Path;

/// A trained prior over the codes of one level: a transformer that samples them one by one.
///
/// ```
/// use wgvq::gpu::{Gpu, Options};
/// use wgvq::inference::{
///     FirstStageModel, PriorModel, SampleRequest, SamplingOptions, no_progress,
/// };
///
/// # fn main() -> wgvq::Result<()> {
/// let gpu = Gpu::new(Options::default())?;
/// let run = std::path::Path::new("tests/fixtures/runs/ema"); // of `wgvq train` and `wgvq prior`
/// let model = FirstStageModel::load(&gpu, run)?;
/// let prior = PriorModel::load(&gpu, &run.join("prior"), &model)?;
/// let request = SampleRequest {
///     options: SamplingOptions { seed: 7, ..Default::default() },
///     ..SampleRequest::new(&[0, 0, 1]) // two images of one class, one of another
/// };
/// let samples = prior.sample(&request, &mut no_progress)?;
/// assert_eq!(samples.codes.len(), 3 * model.codes_per_image());
/// let images = model.decode(&samples.codes)?; // where the model has one level
/// # Ok(())
/// # }
/// ```
pub struct PriorModel {
    pub(super) gpu: Gpu,
    config: Resolved<PriorConfig>,
    info: TokenDatasetInfo,
    pub(super) prior: Prior,
    pub(super) params: Parameters,
}

impl PriorModel {
    /// Loads the prior of a run (`RUN/prior`, or its `final.safetensors`) over the codes of
    /// `model`.
    ///
    /// # Errors
    /// If there is none, it is damaged, or it was trained on another model's codes.
    pub fn load(gpu: &Gpu, path: &Path, model: &FirstStageModel) -> Result<PriorModel> {
        let file = model_file(path);
        if !file.exists() {
            let run = path.parent().unwrap_or(path).display();
            let what = if path.join("config.toml").exists() {
                format!(
                    "is not there: the prior has not been trained to its end; go on with it by \
                     `wgvq prior {run} --resume`"
                )
            } else {
                format!("is not there: the run has no prior yet; train one by `wgvq prior {run}`")
            };
            return Err(Error::file(&file, what));
        }
        PriorModel::of(gpu, &file, &LazyCheckpoint::open_whole(&file)?, model)
    }

    /// Loads a prior from the bytes of its file: `include_bytes!`, a download.
    ///
    /// # Errors
    /// As [`PriorModel::load`].
    pub fn from_bytes(gpu: &Gpu, bytes: &[u8], model: &FirstStageModel) -> Result<PriorModel> {
        let name = Path::new("the prior's bytes");
        let checkpoint = checkpoint::from_bytes(name, bytes)?.into();
        PriorModel::of(gpu, name, &checkpoint, model)
    }

    /// Returns the prior that a file holds; `file` names it in errors.
    fn of(
        gpu: &Gpu,
        file: &Path,
        checkpoint: &LazyCheckpoint,
        model: &FirstStageModel,
    ) -> Result<PriorModel> {
        let at = |e: Error| Error::file(file, e);
        let (config, info) = described(file, checkpoint)?;
        let v = &info.vocabulary;
        let own = Vocabulary {
            text: v.text,
            ..model.vocabulary(info.level(model.levels()).map_err(at)?, v.classes)
        };
        if *v != own {
            let text = |v: &Vocabulary| {
                let [rows, columns] = v.grid;
                format!(
                    "{rows} x {columns} x {} codes of {}",
                    v.codebooks, v.codebook_size
                )
            };
            let what = format!("is a prior of {}, the model's are {}", text(v), text(&own));
            return Err(Error::file(file, what));
        }
        if info.model != model.hash() {
            let what = "was trained on the codes of another model than the run's; train one on \
                        these by `wgvq prior --overwrite`";
            return Err(Error::file(file, what));
        }
        PriorModel::of_weights(gpu, file, checkpoint, config, info, model.scale_tables()?)
    }

    /// Loads a prior from the bytes of its file, over tokens that a program described itself (see
    /// [`write_tokens`](crate::inference::tokenize::write_tokens)): codes that are conditioned on
    /// others than those of a model's levels above. Whether the codes that it is given are of the
    /// model that `info` names is the program's to know.
    ///
    /// # Errors
    /// If they are damaged or no prior's, if the prior was trained on other tokens than those that
    /// `info` describes, or its codes are of scales, which need their model.
    pub fn from_bytes_over(gpu: &Gpu, bytes: &[u8], info: &TokenDatasetInfo) -> Result<PriorModel> {
        let file = Path::new("the prior's bytes");
        let checkpoint = checkpoint::from_bytes(file, bytes)?.into();
        let (config, own) = described(file, &checkpoint)?;
        if own.vocabulary.scales.is_some() {
            let what = "is a prior over codes of scales: `PriorModel::from_bytes` loads it with \
                        the model that made them";
            return Err(Error::file(file, what));
        }
        // The data may be called by another name.
        let wanted = TokenDatasetInfo {
            data: own.data.clone(),
            ..info.clone()
        };
        if own != wanted {
            let differs = if own.vocabulary != wanted.vocabulary {
                "their vocabularies differ"
            } else if own.model != wanted.model {
                "another model made them"
            } else {
                "their images, classes or data differ"
            };
            let what = format!("was trained on other tokens than those described: {differs}");
            return Err(Error::file(file, what));
        }
        PriorModel::of_weights(gpu, file, &checkpoint, config, own, None)
    }

    /// Builds the prior that a checkpoint holds, which was checked against what it is to be over.
    fn of_weights(
        gpu: &Gpu,
        file: &Path,
        checkpoint: &LazyCheckpoint,
        config: Resolved<PriorConfig>,
        info: TokenDatasetInfo,
        tables: Option<ScaleTables>,
    ) -> Result<PriorModel> {
        let at = |e: Error| Error::file(file, e);
        let (mut prior, params) = build(gpu, &config, &info).map_err(at)?;
        if let Some(tables) = tables {
            prior = prior.with_scale_tables(tables).map_err(at)?;
        }
        prior = with_order_of(gpu, prior, &checkpoint.state["prior"]).map_err(at)?;
        load_parameters(&params, checkpoint).map_err(at)?;
        Ok(PriorModel {
            gpu: gpu.clone(),
            config,
            info,
            prior,
            params,
        })
    }

    /// Returns a prior with the weights that training would begin with: to measure how fast it
    /// samples.
    ///
    /// # Errors
    /// If the configuration makes no model.
    pub fn untrained(
        gpu: &Gpu,
        config: &Resolved<PriorConfig>,
        info: TokenDatasetInfo,
    ) -> Result<PriorModel> {
        let (prior, params) = build(gpu, config, &info)?;
        Ok(PriorModel {
            gpu: gpu.clone(),
            config: config.clone(),
            info,
            prior,
            params,
        })
    }

    /// Returns the configuration that the prior was trained under.
    pub fn config(&self) -> &PriorConfig {
        &self.config
    }

    /// Returns what the prior was trained on: its vocabulary, the classes' names, the data set.
    pub fn info(&self) -> &TokenDatasetInfo {
        &self.info
    }

    /// Returns the layers.
    pub fn prior(&self) -> &Prior {
        &self.prior
    }

    /// Returns the mean cross-entropy in nats per token of the codes of the images held out, when
    /// the model is conditioned on each image's own class and text, on none, or on another's.
    ///
    /// # Errors
    /// If the tokens are not such as it was trained on, or cannot be read.
    pub fn measure(&self, tokens: &Tokens, conditioning: Conditioning) -> Result<f64> {
        if tokens.info.vocabulary != self.info.vocabulary {
            return Err(Error::data(
                "the tokens are not such as the prior was trained on",
            ));
        }
        let images: Vec<u32> = (0..tokens.test.len() as u32).collect();
        measure(
            &self.prior,
            &self.params,
            &tokens.test,
            &images,
            self.config.train.batch_size,
            conditioning,
        )
    }

    /// Returns the number of trained numbers.
    pub fn parameter_count(&self) -> usize {
        self.params.count()
    }
}

/// Returns what a prior's file says of itself: its configuration, and the tokens that it was
/// trained on; `file` names it in errors.
fn described(
    file: &Path,
    checkpoint: &LazyCheckpoint,
) -> Result<(Resolved<PriorConfig>, TokenDatasetInfo)> {
    let state = &checkpoint.state["prior"];
    if state.is_null() {
        return Err(Error::file(
            file,
            "is a model file of wgvq, but holds no prior",
        ));
    }
    let damaged = |e: serde_json::Error| {
        Error::file(file, format!("what it says of itself cannot be used: {e}"))
    };
    let config: PriorConfig = serde_json::from_value(state["config"].clone()).map_err(damaged)?;
    let info: TokenDatasetInfo =
        serde_json::from_value(state["tokens"].clone()).map_err(damaged)?;
    let config = config.resolve().map_err(|e| Error::file(file, e))?;
    Ok((config, info))
}

impl FirstStageModel {
    /// Returns the vocabulary of a prior over the codes of a level, or, with as many as there are
    /// levels, over those of all scales one after another.
    pub(super) fn vocabulary(&self, level: usize, classes: usize) -> Vocabulary {
        let levels = self.levels();
        if level < levels.len() {
            return vocabulary_of(levels, level, classes);
        }
        Vocabulary {
            codebook_size: levels.first().map_or(0, |l| l.codebook_size),
            codebooks: 1,
            grid: [1, self.codes_per_image()],
            classes,
            above: Vec::new(),
            text: None,
            scales: Some(Scales {
                sides: levels.iter().map(|l| l.grid[0]).collect(),
                channels: self.scale_channels(),
            }),
        }
    }
}
