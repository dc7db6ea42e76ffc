//! Training a prior over the codes of a run.

use crate::gpu::Gpu;
use crate::observer::{Interrupt, Watch};
use crate::set::{Owned, Source};
use crate::train::Done;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use wgvq::codes::tokens::Tokens;
use wgvq::config::prior::PriorConfig;
use wgvq::config::run::RunConfig;
use wgvq::config::{DottedConfig, Resolved, Resumable};
use wgvq::data::ImageSet;
use wgvq::inference::tokenize::{describe, tokenize};
use wgvq::inference::{FirstStageModel, prior_folder};
use wgvq::models::prior::Shape;
use wgvq::storage::checkpoint;
use wgvq::storage::run_folder::RunFolder;
use wgvq::train::Start;
use wgvq::train::prior::{check, run_prior};
use wgvq::{Error, Result};

/// A prior that is about to be trained.
struct Stage<'a> {
    model: &'a FirstStageModel,
    level: usize,
    run: &'a Path,
    gpu: &'a wgvq::gpu::Gpu,
}

impl Stage<'_> {
    /// The images of the run, or those that were named.
    fn images(&self, source: Owned) -> Result<ImageSet> {
        let mut data = self.model.config().data.clone();
        let [width, height, channels] = self.model.image();
        (data.width, data.height, data.channels) = (width, height, channels);
        let source = match source {
            Owned::Name(name) if name.is_empty() => {
                let kept = RunConfig::load(&self.run.join("config.toml"));
                Owned::Name(kept.map_or(data.source.clone(), |kept| kept.data.source))
            }
            named => named,
        };
        source.open(&data.options())
    }

    /// Checks that a prior can be trained over the codes of these images, before anything is
    /// written.
    fn check(&self, images: &ImageSet, config: &Resolved<PriorConfig>) -> Result<()> {
        let info = describe(self.model, self.level, images, None);
        check(self.gpu, config, &info.vocabulary)
    }

    /// The tokens of these images: those that are there, or made now; `again` makes them anew where
    /// those that are there are of other images.
    fn tokens(
        &self,
        images: &ImageSet,
        folder: &RunFolder,
        again: bool,
        interrupt: &Interrupt,
    ) -> Result<Tokens> {
        let info = describe(self.model, self.level, images, None);
        if Tokens::exist(&folder.tokens()) {
            let tokens = Tokens::open(&folder.tokens())?;
            match tokens.check(&info) {
                Ok(()) => return Ok(tokens),
                Err(e) if !again => return Err(e),
                Err(_) => {}
            }
        }
        let mut progress = |_, _| interrupt.look();
        let tokens = folder.tokens();
        tokenize(self.model, self.level, images, None, &tokens, &mut progress)
    }
}

/// Trains a prior of a level, empty where the model has one. Sizes are those of the command line;
/// `data` is as in `train`.
#[pyfunction]
#[pyo3(signature = (gpu, run, level, data, size, settings, resume, overwrite, callback))]
pub fn train_prior<'py>(
    py: Python<'py>,
    gpu: &Gpu,
    run: PathBuf,
    level: Option<String>,
    data: Source,
    size: Option<String>,
    settings: Vec<(String, String)>,
    resume: bool,
    overwrite: bool,
    callback: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let source = data.own()?;
    let stop = AtomicBool::new(false);
    let mut watch = Watch::new(callback, &stop);
    let interrupt = Interrupt::default();
    let engine = &gpu.engine;
    let mut place = run.clone();
    let work = || {
        let model = FirstStageModel::load(engine, &run)?;
        let level = model.level(level.as_deref())?;
        place = prior_folder(&run, &model.levels()[level].name);
        RunFolder::settle(&place)?;
        let stage = Stage {
            model: &model,
            level,
            run: &run,
            gpu: engine,
        };
        let of_names = matches!(&source, Owned::Name(name) if name.is_empty());
        let (config, folder, start, tokens) = if resume {
            let folder = RunFolder::resume(&place)?;
            let config = resumed(&place, &settings)?;
            // It has its tokens, unless it was stopped before they were made.
            let tokens = if of_names && Tokens::exist(&folder.tokens()) {
                let tokens = Tokens::open(&folder.tokens())?;
                tokens.check_model(model.hash())?;
                tokens
            } else {
                let images = stage.images(source)?;
                stage.check(&images, &config)?;
                stage.tokens(&images, &folder, false, &interrupt)?
            };
            (config, folder, Start::Resume, tokens)
        } else {
            let config = configuration(size.as_deref(), &settings)?;
            RunFolder::may_create(&place, overwrite)?;
            let images = stage.images(source)?;
            stage.check(&images, &config)?;
            let folder = RunFolder::create(&place, overwrite)?;
            let tokens = stage.tokens(&images, &folder, overwrite, &interrupt)?;
            (config, folder, Start::Fresh, tokens)
        };
        run_prior(engine, &config, tokens, &folder, start, &mut watch, &stop).map(Done::from)
    };
    let done = py.detach(work);
    interrupt.or(Ok(()))?;
    Done::finish(py, &place, watch, done)
}

fn configuration(
    size: Option<&str>,
    settings: &[(String, String)],
) -> Result<Resolved<PriorConfig>> {
    let mut config = PriorConfig::default();
    if let Some(size) = size {
        config.prior = Shape::of_size(size)?;
    }
    for (key, value) in settings {
        config.set(key, value)?;
    }
    config.resolve()
}

/// The configuration with which a prior goes on: its own, of which only the steps may change.
fn resumed(place: &Path, settings: &[(String, String)]) -> Result<Resolved<PriorConfig>> {
    let kept = PriorConfig::load(&place.join("config.toml"))?;
    let mut config = kept.clone();
    for (key, value) in settings {
        config.set(key, value)?;
    }
    let mut same = kept.clone();
    same.train.steps = config.train.steps;
    if same != config {
        let what = "goes on under the prior's own configuration: of the settings, train.steps \
                    alone may be given";
        return Err(Error::config("the argument `resume`", what));
    }
    let done = checkpoint::newest(&place.join("checkpoints"))?.map_or(0, |(step, _)| step);
    if done > config.train.steps {
        let what = format!(
            "{} is not allowed: {done} steps are done",
            config.train.steps
        );
        return Err(Error::config("train.steps", what));
    }
    config.resumed_from(&kept).resolve()
}
