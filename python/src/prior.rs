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
use wgvq::config::run::{Crop, RunConfig};
use wgvq::config::{DottedConfig, Resolved};
use wgvq::data::ImageSet;
use wgvq::inference::tokenize::tokenize;
use wgvq::inference::{FirstStageModel, prior_folder};
use wgvq::models::prior::Shape;
use wgvq::storage::run_folder::RunFolder;
use wgvq::train::prior::{PriorStage, TokenSource, level_of, made, run_prior};
use wgvq::train::{Start, resumed_prior, steps_alone};
use wgvq::{Error, Result};

/// Opens the images of a run's model, or those that were named.
pub fn images_of(
    run: &Path,
    model: &FirstStageModel,
    source: Owned,
    whole: bool,
) -> Result<ImageSet> {
    let mut data = model.config().data.clone();
    let [width, height, channels] = model.image();
    (data.width, data.height, data.channels) = (width, height, channels);
    if whole {
        data.crop = Crop::None;
    }
    let source = match source {
        Owned::Name(name) if name.is_empty() => {
            let kept = RunConfig::load(&run.join("config.toml"));
            Owned::Name(kept.map_or(data.source.clone(), |kept| kept.data.source))
        }
        named => named,
    };
    let mut options = data.options();
    if matches!(source, Owned::Memory(_)) {
        // It is of the run's own images.
        options.test_files = None;
    }
    source.open(&options)
}

/// Fails where a prior may not begin in this folder.
fn may_begin(place: &Path, model: &FirstStageModel, overwrite: bool) -> Result<()> {
    let tokens = place.join("tokens");
    if !overwrite && place.join("config.toml").exists() {
        if Tokens::exist(&tokens) {
            Tokens::open(&tokens)?.check_model(model.hash())?;
        }
        let what = "holds a prior already; go on with it by `--resume`, or replace it with \
                    `--overwrite`";
        return Err(Error::file(place, what));
    }
    RunFolder::may_create(place, overwrite)
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
    let engine = gpu.engine()?;
    let mut place = run.clone();
    let work = || {
        let model = FirstStageModel::load(engine, &run)?;
        let fresh = match resume {
            true => None,
            false => Some(configuration(size.as_deref(), &settings)?),
        };
        let kind = fresh.as_ref().map(|config| config.prior.kind);
        let level = level_of(&model, level.as_deref(), kind)?;
        // Beyond the levels lies the prior over all scales.
        let name = model.levels().get(level).map_or("", |l| l.name.as_str());
        place = prior_folder(&run, name);
        RunFolder::settle(&place)?;
        let config = if let Some(fresh) = fresh {
            may_begin(&place, &model, overwrite)?;
            (None, fresh)
        } else {
            let set = |config: &mut PriorConfig| {
                let mut all = settings.iter();
                all.try_for_each(|(key, value)| config.set(key, value))
            };
            // Before anything of it is read: what is in use is left alone.
            let folder = RunFolder::resume(&place)?;
            let config = resumed_prior(&place, |kept| steps_alone(kept, set))?;
            (Some(folder), config)
        };
        let (resumed, config) = config;
        let stage = PriorStage {
            gpu: engine,
            model: &model,
            level,
            config: &config,
        };
        let named = !matches!(&source, Owned::Name(name) if name.is_empty());
        let begun = match resumed {
            Some(_) => stage.begun(&place)?,
            None => None,
        };
        // A run that goes on has its tokens, unless it was stopped before they were made.
        let images = match (&begun, named) {
            (Some(_), false) => None,
            _ => Some(images_of(&run, &model, source, false)?),
        };
        let tokens = match (begun, &images) {
            (Some(tokens), Some(images)) if !images.is_of_sum(&tokens.info.data_sha256) => {
                let what = "are other images than the prior began with, whose tokens it has: leave \
                            --data out to go on with those";
                return Err(Error::config("--data", what));
            }
            (Some(tokens), _) => Some(tokens),
            (None, Some(images)) => {
                let info = stage.describe(&TokenSource::of(images))?;
                match made(&place.join("tokens"), &info) {
                    Some(Ok(tokens)) => Some(tokens),
                    Some(Err(e)) if !overwrite && resumed.is_none() => return Err(e),
                    _ => None,
                }
            }
            (None, None) => None,
        };
        let (folder, start) = match resumed {
            Some(folder) => (folder, Start::Resume),
            None => (RunFolder::create(&place, overwrite)?, Start::Fresh),
        };
        let tokens = match (tokens, &images) {
            (Some(tokens), _) => tokens,
            (None, Some(images)) => {
                let mut progress = |_, _| interrupt.look();
                tokenize(&model, level, images, None, &folder.tokens(), &mut progress)?
            }
            (None, None) => return Err(Error::file(&place, "has no tokens")),
        };
        let tokens = stage.with_codes(tokens)?;
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
