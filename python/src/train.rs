//! Training a first stage.

use crate::errors::OrRaise;
use crate::gpu::Gpu;
use crate::observer::{Watch, named};
use crate::set::{Owned, Source};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use wgvq::config::DottedConfig;
use wgvq::config::run::{ResolvedConfig, RunConfig};
use wgvq::data::{self, ImageSet};
use wgvq::quantize::Registry;
use wgvq::storage::metrics_log::named_values;
use wgvq::storage::run_folder::RunFolder;
use wgvq::storage::run_parts::with_kept_list;
use wgvq::train::{Outcome, Start, Task, check, keep_priors, resumed_run, run};
use wgvq::{Error, Result};

/// The names of the presets, and what each is for.
#[pyfunction]
pub fn presets() -> Vec<(&'static str, &'static str)> {
    let presets = wgvq::config::presets::presets();
    presets.iter().map(|p| (p.name, p.about())).collect()
}

/// The result of a run.
pub struct Done {
    step: u64,
    pub stopped: bool,
    seconds: f64,
    parameters: usize,
    peak_device_bytes: u64,
    evaluation: Option<Vec<(String, f64)>>,
}

impl<T: Task> From<Outcome<T>> for Done {
    fn from(outcome: Outcome<T>) -> Done {
        let (_, columns) = outcome.trainer.task().columns();
        let evaluation = outcome.evaluation.as_ref();
        Done {
            step: outcome.trainer.step_number(),
            stopped: outcome.stopped,
            seconds: outcome.elapsed.as_secs_f64(),
            parameters: outcome.trainer.parameter_count(),
            peak_device_bytes: outcome.trainer.memory().peak,
            // What was not measured is left out.
            evaluation: evaluation.map(|e| {
                let mut row = named_values(&columns, e);
                row.retain(|(_, value)| !value.is_nan());
                row
            }),
        }
    }
}

impl Done {
    /// Returns it as Python sees it. What was raised while the run went on is raised here.
    pub fn finish<'py>(
        py: Python<'py>,
        folder: &Path,
        watch: Watch,
        done: Result<Done>,
    ) -> PyResult<Bound<'py, PyDict>> {
        watch.raise()?;
        done.or_raise()?.dict(py, folder)
    }

    /// Returns it as Python sees it.
    pub fn dict<'py>(self, py: Python<'py>, folder: &Path) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        dict.set_item("run", folder)?;
        dict.set_item("step", self.step)?;
        dict.set_item("stopped", self.stopped)?;
        dict.set_item("seconds", self.seconds)?;
        dict.set_item("parameters", self.parameters)?;
        dict.set_item("peak_device_bytes", self.peak_device_bytes)?;
        let evaluation = self.evaluation.map(|row| named(py, &row)).transpose()?;
        dict.set_item("evaluation", evaluation)?;
        Ok(dict)
    }
}

/// A run that is about to begin or to go on.
struct Ready {
    config: ResolvedConfig,
    data: Arc<ImageSet>,
    folder: RunFolder,
    start: Start,
}

/// The configuration of a new run: a file's or a preset's, with settings over it.
fn configuration(
    file: Option<&Path>,
    preset: Option<&str>,
    source: &Owned,
    settings: &[(String, String)],
) -> Result<ResolvedConfig> {
    let mut config = match (file, preset) {
        (Some(path), _) => RunConfig::load(path)?,
        (None, Some(name)) => wgvq::config::presets::preset(name)?.config()?,
        (None, None) => RunConfig::default(),
    };
    match source {
        Owned::Name(name) if name.is_empty() => {}
        Owned::Name(name) => config.data.source.clone_from(name),
        Owned::Memory(memory) => {
            config.data.source = data::IN_MEMORY.into();
            let [width, height, channels] = memory.size;
            (config.data.width, config.data.height) = (width, height);
            config.data.channels = channels;
        }
    }
    for (key, value) in settings {
        config.set(key, value)?;
    }
    config.resolve(&Registry::default())
}

/// Opens what a configuration trains on: the source that was named, or the configuration's own.
fn images(source: Owned, config: &RunConfig) -> Result<Arc<ImageSet>> {
    let source = match source {
        Owned::Name(name) if name.is_empty() => Owned::Name(config.data.source.clone()),
        Owned::Memory(memory) => {
            let asked = [config.data.width, config.data.height, config.data.channels];
            if asked != memory.size {
                let words = |[w, h, c]: [usize; 3]| format!("{w} x {h} x {c}");
                let what = format!(
                    "the arrays hold images of {}, and the configuration asks for {}: resize them, \
                     or leave data.width, data.height and data.channels out",
                    words(memory.size),
                    words(asked)
                );
                return Err(Error::config("the argument `data`", what));
            }
            Owned::Memory(memory)
        }
        named => named,
    };
    Ok(Arc::new(source.open(&config.data.options())?))
}

fn fresh(
    file: Option<&Path>,
    preset: Option<&str>,
    source: Owned,
    settings: &[(String, String)],
    out: &Path,
    overwrite: bool,
) -> Result<Ready> {
    let config = configuration(file, preset, &source, settings)?;
    RunFolder::may_create(out, overwrite)?;
    let data = images(source, &config)?;
    // Before the folder is made, and above all before a run in it is replaced.
    check(&config, &data)?;
    Ok(Ready {
        config,
        data,
        folder: RunFolder::create(out, overwrite)?,
        start: Start::Fresh,
    })
}

fn resumed(source: Owned, settings: &[(String, String)], out: &Path) -> Result<Ready> {
    let folder = RunFolder::resume(out)?;
    let kept = with_kept_list(RunConfig::load(&folder.config())?, out);
    let config = resumed_run(&kept, "--resume", |config| {
        // Where the images lie now, for the next time that the run goes on.
        if let Owned::Name(name) = &source
            && !name.is_empty()
        {
            config.data.source.clone_from(name);
        }
        settings
            .iter()
            .try_for_each(|(key, value)| config.set(key, value))
    })?;
    let again = format!("wgvq.train_prior({:?})", out.display().to_string());
    keep_priors(out, config.train.steps, &again)?;
    Ok(Ready {
        data: images(source, &config)?,
        config,
        folder,
        start: Start::Resume,
    })
}

/// Trains a first stage. `data` is a source by name, empty for the configuration's own, or arrays;
/// `settings` are keys and values as TOML writes them.
#[pyfunction]
#[pyo3(signature = (gpu, data, out, settings, preset, config, resume, overwrite, callback))]
pub fn train<'py>(
    py: Python<'py>,
    gpu: &Gpu,
    data: Source,
    out: PathBuf,
    settings: Vec<(String, String)>,
    preset: Option<String>,
    config: Option<PathBuf>,
    resume: bool,
    overwrite: bool,
    callback: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let source = data.own()?;
    let stop = AtomicBool::new(false);
    let mut watch = Watch::new(callback, &stop);
    let engine = gpu.engine()?;
    let work = || {
        let ready = if resume {
            resumed(source, &settings, &out)?
        } else {
            fresh(
                config.as_deref(),
                preset.as_deref(),
                source,
                &settings,
                &out,
                overwrite,
            )?
        };
        let Ready {
            config,
            data,
            folder,
            start,
        } = ready;
        run(engine, &config, data, &folder, start, &mut watch, &stop).map(Done::from)
    };
    let done = py.detach(work);
    Done::finish(py, &out, watch, done)
}
