//! The priors of a run's levels together: drawn from the top down, each over the codes above it.

use crate::codes::tokens;
use crate::codes::tokens::About;
use crate::gpu::Gpu;
use crate::inference::Trained;
use crate::inference::{Asked, Draw, Drawing, Given, TrainedPrior};
use crate::models::first_stage::vqvae2::{MOST_LEVELS, level_names};
use crate::storage::checkpoint;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Where the prior of a level lies in its run: `prior`, or `prior-top` and so on where there are
/// several.
pub fn prior_folder(run: &Path, level: &str) -> PathBuf {
    if level.is_empty() {
        run.join("prior")
    } else {
        run.join(format!("prior-{level}"))
    }
}

/// The folders of a run's priors, and of each whether it is over the codes of the model that the
/// run has now.
///
/// # Errors
/// If the run's model cannot be read.
pub fn priors_of(run: &Path) -> Result<Vec<(PathBuf, bool)>> {
    let several = (2..=MOST_LEVELS).flat_map(level_names);
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

/// The SHA-256 of the model that the prior in a folder is of; `None` where there is none, or
/// nothing was trained.
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

/// A prior for each level of a model, the top level's first.
pub struct Priors {
    levels: Vec<TrainedPrior>,
}

impl Priors {
    /// Loads the priors of a run.
    ///
    /// # Errors
    /// If one is missing, damaged, or of another model: see [`TrainedPrior::load`].
    pub fn load(gpu: &Gpu, run: &Path, model: &Trained) -> Result<Priors> {
        let of = |level: &crate::models::Level| {
            TrainedPrior::load(gpu, &prior_folder(run, &level.name), model)
        };
        let levels = model.levels().iter().map(of).collect::<Result<Vec<_>>>()?;
        Priors::new(levels)
    }

    /// Of these, the top level's first.
    ///
    /// # Errors
    /// If there is none, or one is not over the codes of those before it, or they know other
    /// classes.
    pub fn new(levels: Vec<TrainedPrior>) -> Result<Priors> {
        let Some(first) = levels.first() else {
            return Err(Error::invalid("priors", "there is none"));
        };
        for (i, prior) in levels.iter().enumerate() {
            let about = prior.about();
            if about.vocabulary.above.len() != i {
                let n = about.vocabulary.above.len();
                return Err(Error::data(format!(
                    "the prior of level {i} is conditioned on {n} levels"
                )));
            }
            if about.classes != first.about().classes {
                let what = format!(
                    "the priors of the levels `{}` and `{}` know other classes: train them on the \
                     same pictures",
                    first.about().level,
                    about.level
                );
                return Err(Error::data(what));
            }
        }
        Ok(Priors { levels })
    }

    /// What they were trained on.
    pub fn about(&self) -> &About {
        self.levels[0].about()
    }

    /// The prior of each level.
    pub fn levels(&self) -> &[TrainedPrior] {
        &self.levels
    }

    /// Codes of an image, of all levels.
    pub fn codes_per_image(&self) -> usize {
        self.levels
            .iter()
            .map(|p| p.about().vocabulary.tokens())
            .sum()
    }

    /// Draws the codes of an image for each that is asked for, level by level, as
    /// [`TrainedPrior::draw`] draws those of one. `given` has the codes and places of all levels.
    /// The codes are those of [`Trained::decode`], the log-likelihoods sums over levels.
    ///
    /// # Errors
    /// As [`TrainedPrior::draw`].
    pub fn draw<'a>(
        &self,
        asked: impl Into<Asked<'a>>,
        given: Option<Given>,
        how: &Draw,
        progress: &mut dyn FnMut(usize, usize) -> Result<()>,
    ) -> Result<Drawing> {
        let asked = asked.into();
        let (n, all) = (asked.classes.len(), self.codes_per_image());
        if let Some(g) = given
            && (g.codes.len() != n * all || g.places.len() != all)
        {
            let got = format!("{} codes at {} places", g.codes.len(), g.places.len());
            return Err(Error::shape(
                "sample",
                format!("{all} codes for each of {n} images"),
                got,
            ));
        }
        let nothing = vec![false; all];
        let places = given.map_or(&nothing[..], |g| g.places);
        let to_draw = n * places.iter().filter(|given| !**given).count();
        let mut drawing = Drawing {
            codes: vec![0; n * all],
            log_likelihood: vec![0.0; n],
        };
        if let Some(g) = given {
            drawing.codes.copy_from_slice(g.codes);
        }
        let mut before = 0;
        for prior in &self.levels {
            let v = &prior.about().vocabulary;
            let (first, each) = (v.known(), v.tokens());
            let own_places = &places[first..first + each];
            let known: Vec<u32> = drawing
                .codes
                .chunks(all)
                .flat_map(|image| &image[..first + each])
                .copied()
                .collect();
            let own = Given {
                codes: &known,
                places: own_places,
            };
            let drawn = prior.draw(asked, Some(own), how, &mut |done, _| {
                progress(before + done, to_draw)
            })?;
            before += n * own_places.iter().filter(|given| !**given).count();
            for (image, codes) in drawing.codes.chunks_mut(all).zip(drawn.codes.chunks(each)) {
                image[first..first + each].copy_from_slice(codes);
            }
            drawing
                .log_likelihood
                .iter_mut()
                .zip(drawn.log_likelihood)
                .for_each(|(sum, l)| *sum += l);
        }
        Ok(drawing)
    }
}
