//! A trained model: images to codes and back, and images drawn by its prior.

use crate::errors::OrRaise;
use crate::gpu::Gpu;
use crate::models::{Models, OfTexts, Request};
use crate::observer::{Interrupt, log, named};
use crate::process::OfProcess;
use crate::sampling::Draw;
use crate::set::{self, Source};
use numpy::{PyArray1, PyArray2, PyArray4, PyArrayMethods};
use numpy::{PyReadonlyArray2, PyReadonlyArray4, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::path::PathBuf;
use std::sync::Mutex;
use wgvq::config::DottedConfig;
use wgvq::config::run::RunConfig;
use wgvq::inference::{Samples, cells_under_mask, kept_cells, places_of_cells};
use wgvq::storage::metrics_log::named_values;
use wgvq::{Error, Result};

/// Images between two looks at whether Ctrl-C was pressed: a multiple of those that the engine
/// takes at a time.
const PART: usize = 1024;

/// A trained model of a run.
#[pyclass(frozen, module = "wgvq")]
pub struct Tokenizer {
    run: PathBuf,
    models: OfProcess<Mutex<Models>>,
    /// Width, height and channels.
    image: [usize; 3],
    codes_per_image: usize,
}

impl Tokenizer {
    /// Does something with the models, without the interpreter's lock.
    fn with<T: Send>(
        &self,
        py: Python,
        act: impl FnOnce(&mut Models) -> Result<T> + Send,
    ) -> PyResult<T> {
        let models = self.models.get()?;
        let work = || {
            // A panic elsewhere leaves the models as they were: they are never half written.
            let mut models = models.lock().unwrap_or_else(|e| e.into_inner());
            act(&mut models)
        };
        py.detach(work).or_raise()
    }

    fn drawn<'py>(
        &self,
        py: Python<'py>,
        (pixels, samples): (Vec<u8>, Samples),
    ) -> PyResult<Drawn<'py>> {
        Ok((
            self.images(py, pixels)?,
            self.codes(py, samples.codes)?,
            PyArray1::from_vec(py, samples.log_likelihood),
            PyArray1::from_vec(py, samples.passes),
        ))
    }

    fn images<'py>(&self, py: Python<'py>, pixels: Vec<u8>) -> PyResult<Bound<'py, PyArray4<u8>>> {
        let [width, height, channels] = self.image;
        let n = pixels.len() / (width * height * channels);
        PyArray1::from_vec(py, pixels).reshape([n, height, width, channels])
    }

    fn codes<'py>(&self, py: Python<'py>, codes: Vec<u32>) -> PyResult<Bound<'py, PyArray2<u32>>> {
        let n = codes.len() / self.codes_per_image;
        PyArray1::from_vec(py, codes).reshape([n, self.codes_per_image])
    }
}

/// A level: name, rows, columns, codebooks, codes of a codebook.
type LevelParts = (String, usize, usize, usize, usize);

/// Images, their codes, their log-likelihoods in nats, and the passes of the model that each took.
type Drawn<'py> = (
    Bound<'py, PyArray4<u8>>,
    Bound<'py, PyArray2<u32>>,
    Bound<'py, PyArray1<f32>>,
    Bound<'py, PyArray1<u32>>,
);

#[pymethods]
impl Tokenizer {
    #[staticmethod]
    fn load(py: Python, gpu: &Gpu, run: PathBuf) -> PyResult<Tokenizer> {
        let engine = gpu.engine()?.clone();
        let load = || {
            let models = Models::load(&engine, &run)?;
            Ok(Tokenizer {
                image: models.first.image(),
                codes_per_image: models.first.codes_per_image(),
                run,
                models: OfProcess::new(Mutex::new(models)),
            })
        };
        py.detach(load).or_raise()
    }

    /// Height, width and channels of an image.
    #[getter]
    fn image_shape(&self) -> (usize, usize, usize) {
        let [width, height, channels] = self.image;
        (height, width, channels)
    }

    #[getter]
    fn codes_per_image(&self) -> usize {
        self.codes_per_image
    }

    #[getter]
    fn run(&self) -> PathBuf {
        self.run.clone()
    }

    /// SHA-256 of the model's file.
    #[getter]
    fn hash(&self, py: Python) -> PyResult<String> {
        self.with(py, |models| Ok(models.first.hash().to_owned()))
    }

    /// Each level of codes, the coarsest first.
    fn levels(&self, py: Python) -> PyResult<Vec<LevelParts>> {
        self.with(py, |models| {
            let levels = models.first.levels().iter();
            let described = levels.map(|l| {
                let [rows, columns] = l.grid;
                (l.name.clone(), rows, columns, l.codebooks, l.codebook_size)
            });
            Ok(described.collect())
        })
    }

    /// The configuration, as TOML.
    fn config(&self, py: Python) -> PyResult<String> {
        self.with(py, |models| models.first.config().to_toml())
    }

    /// The names of the classes that the prior knows.
    fn classes(&self, py: Python) -> PyResult<Vec<String>> {
        self.with(py, |models| Ok(models.priors()?.1.info().classes.clone()))
    }

    fn encode<'py>(
        &self,
        py: Python<'py>,
        images: PyReadonlyArray4<u8>,
    ) -> PyResult<Bound<'py, PyArray2<u32>>> {
        let [width, height, channels] = self.image;
        let shape = images.shape();
        if shape[1..] != [height, width, channels] {
            let expected = format!("images of shape [N, {height}, {width}, {channels}]");
            let got = format!("{shape:?}");
            return Err(Error::shape("encode", expected, got)).or_raise();
        }
        let pixels = images.as_slice()?;
        let mut codes = Vec::with_capacity(shape[0] * self.codes_per_image);
        for part in pixels.chunks(PART * width * height * channels) {
            // Copied: an array of the interpreter's may change while its lock is not held.
            let part = part.to_vec();
            codes.extend(self.with(py, |models| models.first.encode(&part))?);
            py.check_signals()?;
        }
        self.codes(py, codes)
    }

    fn decode<'py>(
        &self,
        py: Python<'py>,
        codes: PyReadonlyArray2<u32>,
    ) -> PyResult<Bound<'py, PyArray4<u8>>> {
        let (each, shape) = (self.codes_per_image, codes.shape());
        if shape[1] != each {
            let expected = format!("codes of shape [N, {each}]");
            return Err(Error::shape("decode", expected, format!("{shape:?}"))).or_raise();
        }
        let [width, height, channels] = self.image;
        let mut pixels = Vec::with_capacity(shape[0] * width * height * channels);
        for part in codes.as_slice()?.chunks(PART * each) {
            let part = part.to_vec();
            pixels.extend(self.with(py, |models| models.first.decode(&part))?);
            py.check_signals()?;
        }
        self.images(py, pixels)
    }

    fn sample<'py>(
        &self,
        py: Python<'py>,
        n: usize,
        classes: Vec<String>,
        options: Draw,
    ) -> PyResult<Drawn<'py>> {
        let options = options.options().or_raise()?;
        let interrupt = Interrupt::default();
        let drawn = self.with(py, |models| {
            models.check(n)?;
            models.draw(&interrupt, |priors| {
                let info = priors.info();
                let named = |name: &String| info.class_named("the argument `classes`", name);
                let asked: Vec<u32> = match (&classes[..], info.vocabulary.classes) {
                    ([], 0) => vec![info.vocabulary.no_class()],
                    ([], classes) => (0..classes as u32).collect(),
                    (names, _) => names.iter().map(named).collect::<Result<_>>()?,
                };
                Ok(Request {
                    classes: asked.into_iter().cycle().take(n).collect(),
                    codes: Vec::new(),
                    places: Vec::new(),
                    options,
                })
            })
        });
        self.drawn(py, interrupt.or(drawn)?)
    }

    /// Images of texts, and the scores by which they are ordered, where they are.
    fn sample_texts<'py>(
        &self,
        py: Python<'py>,
        asked: OfTexts,
        options: Draw,
    ) -> PyResult<(Drawn<'py>, Option<Bound<'py, PyArray1<f32>>>)> {
        let options = options.options().or_raise()?;
        let interrupt = Interrupt::default();
        let mut notes = Vec::new();
        let drawn = self.with(py, |models| {
            models.draw_texts(&interrupt, &asked, options, &mut notes)
        });
        notes.iter().try_for_each(|note| log(py, note))?;
        let (pixels, samples, scores) = interrupt.or(drawn)?;
        let scores = scores.map(|scores| PyArray1::from_vec(py, scores));
        Ok((self.drawn(py, (pixels, samples))?, scores))
    }

    /// Draws the cells of an image anew that `keep` does not name, or that are white in `mask`.
    #[allow(clippy::too_many_arguments)] // as Python's method has them
    fn complete<'py>(
        &self,
        py: Python<'py>,
        image: PyReadonlyArray4<u8>,
        keep: String,
        mask: Option<PyReadonlyArray2<u8>>,
        n: usize,
        class: Option<String>,
        options: Draw,
    ) -> PyResult<Drawn<'py>> {
        let options = options.options().or_raise()?;
        let [width, height, channels] = self.image;
        let shape = image.shape();
        if shape != [1, height, width, channels] {
            let expected = format!("one image of shape [{height}, {width}, {channels}]");
            return Err(Error::shape("complete", expected, format!("{shape:?}"))).or_raise();
        }
        let pixels = image.as_slice()?.to_vec();
        // Copied: an array of the interpreter's may change while its lock is not held.
        let mask = match &mask {
            Some(mask) => Some((
                mask.as_slice()?.to_vec(),
                [mask.shape()[1], mask.shape()[0]],
            )),
            None => None,
        };
        let interrupt = Interrupt::default();
        let drawn = self.with(py, |models| {
            models.check(n)?;
            let levels = models.first.levels();
            let cells = match &mask {
                Some((mask, size)) => cells_under_mask("the argument `mask`", mask, *size, levels)?,
                None => kept_cells("the argument `keep`", &keep, levels)?,
            };
            let places = places_of_cells(levels, &cells);
            let codes = models.first.encode(&pixels)?.repeat(n);
            models.draw(&interrupt, |priors| {
                let info = priors.info();
                let class = match &class {
                    Some(name) => info.class_named("the argument `class_`", name)?,
                    None => info.vocabulary.no_class(),
                };
                Ok(Request {
                    classes: vec![class; n],
                    codes,
                    places,
                    options,
                })
            })
        });
        self.drawn(py, interrupt.or(drawn)?)
    }

    /// Measures the model on images held out, of its own source where that is empty, or on all that
    /// arrays hold.
    fn evaluate<'py>(&self, py: Python<'py>, data: Source) -> PyResult<Bound<'py, PyDict>> {
        let (folder, config) = self.with(py, |models| {
            let folder = models.folder().to_owned();
            let mut config: RunConfig = models.first.config().clone().into_inner();
            let [width, height, channels] = self.image;
            (config.data.width, config.data.height) = (width, height);
            config.data.channels = channels;
            Ok((folder, config))
        })?;
        let (whole, data) = match data {
            Source::Name(name) if name.is_empty() => {
                // Where the run's folder says that they lie now.
                let kept = RunConfig::load(&folder.join("config.toml"));
                let source = match kept {
                    Ok(kept) => kept.data.source,
                    Err(_) => config.data.source.clone(),
                };
                (false, Source::Name(source))
            }
            Source::Name(name) => (false, Source::Name(name)),
            memory => (true, memory),
        };
        let mut options = config.data.options();
        if whole {
            // It is of the run's own images.
            options.test_files = None;
        }
        let set = set::open(py, &data, &options)?;
        let numbers = match whole {
            true => (0..set.len() as u32).collect(),
            false => set.test.clone(),
        };
        let e = self.with(py, |models| models.first.evaluate(&set, &numbers))?;
        let columns = <wgvq::metrics::Evaluation as wgvq::storage::metrics_log::Record>::header();
        let mut row = named_values(&columns, &e);
        // What was not measured is left out, and the step is none.
        row.retain(|(name, value)| name != "step" && !value.is_nan());
        let dict = named(py, &row)?;
        dict.set_item("images", numbers.len())?;
        Ok(dict)
    }

    fn __repr__(&self) -> String {
        let [width, height, channels] = self.image;
        format!(
            "<wgvq.Tokenizer {}: {width} x {height} x {channels}, {} codes an image>",
            self.run.display(),
            self.codes_per_image
        )
    }
}
