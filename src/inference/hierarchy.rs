//! The priors of a run's levels together, which sample from the top level down, each conditioned on
//! the codes above it.

use crate::codes::tokens;
use crate::codes::tokens::TokenDatasetInfo;
use crate::gpu::Gpu;
use crate::inference::loading::model_file;
use crate::inference::progress::Progress;
use crate::inference::{FirstStageModel, KnownCodes, PriorModel, SampleRequest, Samples};
use crate::models::first_stage::vqvae2::{MOST_LEVELS, level_names};
use crate::models::scale_name;
use crate::quantize::MOST_SIDE;
use crate::storage::checkpoint;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Returns the folder of the prior of a level in its run: `prior`, or `prior-top` and so on where
/// there are several.
pub fn prior_folder(run: &Path, level: &str) -> PathBuf {
    if level.is_empty() {
        run.join("prior")
    } else {
        run.join(format!("prior-{level}"))
    }
}

/// Returns the folders of a run's priors, and of each whether it is over the codes of the model
/// that the run has now.
///
/// # Errors
/// If the run's model cannot be read.
pub fn priors_of(run: &Path) -> Result<Vec<(PathBuf, bool)>> {
    let scales = (1..=MOST_SIDE).map(scale_name);
    let several = (2..=MOST_LEVELS).flat_map(level_names).chain(scales);
    let mut places: Vec<PathBuf> = [String::new()]
        .into_iter()
        .chain(several)
        .map(|l| prior_folder(run, &l))
        .collect();
    places.sort();
    places.dedup();
    let found: Vec<(PathBuf, String)> = places
        .into_iter()
        .filter_map(|place| model_of(&place).map(|model| (place, model)))
        .collect();
    let file = run.join("final.safetensors");
    if found.is_empty() || !file.is_file() {
        return Ok(found.into_iter().map(|(place, _)| (place, false)).collect());
    }
    let model = checkpoint::sum(&checkpoint::read(&file)?);
    Ok(found
        .into_iter()
        .map(|(place, of)| (place, of == model))
        .collect())
}

/// Returns the SHA-256 of the model that the prior in a folder is of; `None` where there is none,
/// or nothing was trained.
fn model_of(place: &Path) -> Option<String> {
    if !place.join("config.toml").is_file() {
        return None;
    }
    let by_tokens = || tokens::made_by(&place.join("tokens"));
    let by_prior = || {
        let (prior, _) = checkpoint::load_file(&place.join("final.safetensors")).ok()?;
        prior.state["prior"]["tokens"]["model"]
            .as_str()
            .map(str::to_owned)
    };
    by_tokens().or_else(by_prior)
}

/// The priors of all levels of a model, the top level's first: one, but for a hierarchy.
///
/// ```no_run
/// use wgvq::gpu::{Gpu, Options};
/// use wgvq::inference::{FirstStageModel, Hierarchy, SampleRequest, no_progress};
///
/// # fn main() -> wgvq::Result<()> {
/// let gpu = Gpu::new(Options::default())?;
/// let model = FirstStageModel::load(&gpu, "runs/demo".as_ref())?;
/// let priors = Hierarchy::load(&gpu, "runs/demo".as_ref(), &model)?;
/// let samples = priors.sample(&SampleRequest::new(&[0; 16]), &mut no_progress)?;
/// let images = model.decode(&samples.codes)?;
/// # Ok(())
/// # }
/// ```
pub struct Hierarchy {
    levels: Vec<PriorModel>,
}

impl Hierarchy {
    /// Loads the priors of a run.
    ///
    /// # Errors
    /// If one is missing, damaged, or of another model: see [`PriorModel::load`].
    pub fn load(gpu: &Gpu, run: &Path, model: &FirstStageModel) -> Result<Hierarchy> {
        let folders = Hierarchy::folders(run, model);
        let of = |folder: &PathBuf| PriorModel::load(gpu, folder, model);
        Hierarchy::new(folders.iter().map(of).collect::<Result<_>>()?)
    }

    /// Returns whether all priors of a run are there, trained to their ends.
    pub fn exists(run: &Path, model: &FirstStageModel) -> bool {
        let trained = |folder: &PathBuf| model_file(folder).is_file();
        run.is_dir() && Hierarchy::folders(run, model).iter().all(trained)
    }

    /// Returns the folders of a run's priors, the top level's first. One prior may predict all
    /// scales: where it is there, it is the run's.
    fn folders(run: &Path, model: &FirstStageModel) -> Vec<PathBuf> {
        let whole = prior_folder(run, "");
        let scales = model.levels().len() > 1 && model.scale_channels() > 0;
        if scales && model_file(&whole).exists() {
            return vec![whole];
        }
        let of = |level: &crate::models::Level| prior_folder(run, &level.name);
        model.levels().iter().map(of).collect()
    }

    /// Returns the hierarchy of these priors, the top level's first.
    ///
    /// # Errors
    /// If there is none, or one is not over the codes of those before it, or they know other
    /// classes.
    pub fn new(levels: Vec<PriorModel>) -> Result<Hierarchy> {
        let Some(first) = levels.first() else {
            return Err(Error::invalid("priors", "there is none"));
        };
        for (i, prior) in levels.iter().enumerate() {
            let info = prior.info();
            if info.vocabulary.above.len() != i {
                let n = info.vocabulary.above.len();
                return Err(Error::data(format!(
                    "the prior of level {i} is conditioned on {n} levels"
                )));
            }
            if info.classes != first.info().classes {
                let what = format!(
                    "the priors of the levels `{}` and `{}` know other classes: train them on the \
                     same images",
                    first.info().level,
                    info.level
                );
                return Err(Error::data(what));
            }
        }
        Ok(Hierarchy { levels })
    }

    /// Returns what the top level's prior was trained on.
    pub fn info(&self) -> &TokenDatasetInfo {
        self.levels[0].info()
    }

    /// Returns the prior of each level.
    pub fn levels(&self) -> &[PriorModel] {
        &self.levels
    }

    /// Returns the number of codes of an image, of all levels.
    pub fn codes_per_image(&self) -> usize {
        self.levels
            .iter()
            .map(|p| p.info().vocabulary.tokens())
            .sum()
    }

    /// Samples the codes of each image of a request, level by level, as
    /// [`PriorModel::sample_async`] samples those of one. Known codes and their places are those of
    /// all levels. The codes are those that [`FirstStageModel::decode_async`] takes, the
    /// log-likelihoods sums over levels.
    ///
    /// # Errors
    /// As [`PriorModel::sample_async`].
    pub async fn sample_async(
        &self,
        request: &SampleRequest<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<Samples> {
        let (n, all) = (request.images(), self.codes_per_image());
        let KnownCodes { codes, places } = request.known;
        let none = request.known.is_none();
        if !none && (codes.len() != n * all || places.len() != all) {
            let got = format!("{} codes at {} places", codes.len(), places.len());
            return Err(Error::shape(
                "sample",
                format!("{all} codes for each of {n} images"),
                got,
            ));
        }
        let places = request.known.places_of(all);
        let to_draw = n * places.iter().filter(|known| !**known).count();
        let mut samples = Samples {
            codes: if none {
                vec![0; n * all]
            } else {
                codes.to_vec()
            },
            log_likelihood: vec![0.0; n],
            passes: vec![0; n],
        };
        let mut before = 0;
        for prior in &self.levels {
            let v = &prior.info().vocabulary;
            let (first, each) = (v.known(), v.tokens());
            let own_places = &places[first..first + each];
            let known: Vec<u32> = samples
                .codes
                .chunks(all)
                .flat_map(|image| &image[..first + each])
                .copied()
                .collect();
            let own = SampleRequest {
                known: KnownCodes {
                    codes: &known,
                    places: own_places,
                },
                ..*request
            };
            let mut tell = |done: usize, _: usize| progress(before + done, to_draw);
            let drawn = prior.sample_async(&own, &mut tell).await?;
            before += n * own_places.iter().filter(|known| !**known).count();
            for (image, codes) in samples.codes.chunks_mut(all).zip(drawn.codes.chunks(each)) {
                image[first..first + each].copy_from_slice(codes);
            }
            samples
                .log_likelihood
                .iter_mut()
                .zip(drawn.log_likelihood)
                .for_each(|(sum, l)| *sum += l);
            let passes = samples.passes.iter_mut().zip(drawn.passes);
            passes.for_each(|(sum, passes)| *sum += passes);
        }
        Ok(samples)
    }

    /// [`Hierarchy::sample_async`], waiting for the device.
    ///
    /// # Errors
    /// As [`Hierarchy::sample_async`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn sample(&self, request: &SampleRequest, progress: &mut Progress) -> Result<Samples> {
        let gpu = &self.levels[0].gpu;
        gpu.block_on(self.sample_async(request, progress))
    }
}
