//! A trained model: images to codes and back, and images drawn by its prior.

use crate::errors::OrRaise;
use crate::gpu::Gpu;
use crate::observer::{Interrupt, named};
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
use wgvq::inference::{
    FirstStageModel, Hierarchy, KnownCodes, SampleRequest, Samples, kept_cells, places_of_cells,
};
use wgvq::storage::metrics_log::named_values;
use wgvq::{Error, Result, memory};

/// Images between two looks at whether Ctrl-C was pressed: a multiple of those that the engine
/// takes at a time.
const PART: usize = 1024;

/// A first stage, and its priors once they are asked for.
struct Models {
    first: FirstStageModel,
    priors: Option<Hierarchy>,
}

/// A trained model of a run.
#[pyclass(frozen, module = "wgvq")]
pub struct Tokenizer {
    gpu: wgvq::gpu::Gpu,
    run: PathBuf,
    models: Mutex<Models>,
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
        let work = || {
            // A panic elsewhere leaves the models as they were: they are never half written.
            let mut models = self.models.lock().unwrap_or_else(|e| e.into_inner());
            act(&mut models)
        };
        py.detach(work).or_raise()
    }

    fn priors<'a>(&self, models: &'a mut Models) -> Result<(&'a FirstStageModel, &'a Hierarchy)> {
        if models.priors.is_none() {
            models.priors = Some(Hierarchy::load(&self.gpu, &self.run, &models.first)?);
        }
        let priors = models.priors.as_ref();
        Ok((
            &models.first,
            priors.ok_or_else(|| Error::data("the run has no prior"))?,
        ))
    }

    /// Checks that so many images may be drawn.
    fn check(&self, n: usize) -> Result<()> {
        if n == 0 || n > 1 << 20 {
            let what = format!("{n} images: from 1 to 2^20 can be drawn");
            return Err(Error::config("the argument `n`", what));
        }
        let [width, height, channels] = self.image;
        let codes = memory::product(&[n, self.codes_per_image, 8]);
        let pixels = memory::product(&[n, width, height, channels, 3]);
        let asked = codes.and_then(|codes| codes.checked_add(pixels?));
        let what = format!("{n} images of {width} x {height} x {channels}");
        memory::check_available(what, asked)
    }

    /// Draws codes in a way that Ctrl-C ends, and decodes them.
    fn draw(
        &self,
        models: &mut Models,
        interrupt: &Interrupt,
        request: impl FnOnce(&Hierarchy) -> Result<Request>,
    ) -> Result<(Vec<u8>, Samples)> {
        let (first, priors) = self.priors(models)?;
        let own = request(priors)?;
        self.check(own.classes.len())?;
        let request = SampleRequest {
            known: KnownCodes {
                codes: &own.codes,
                places: &own.places,
            },
            options: own.options,
            ..SampleRequest::new(&own.classes)
        };
        let samples = priors.sample(&request, &mut |_, _| interrupt.look())?;
        Ok((first.decode(&samples.codes)?, samples))
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

/// Images, their codes, and their log-likelihoods in nats.
type Drawn<'py> = (
    Bound<'py, PyArray4<u8>>,
    Bound<'py, PyArray2<u32>>,
    Bound<'py, PyArray1<f32>>,
);

/// A request that owns what it speaks of.
struct Request {
    classes: Vec<u32>,
    codes: Vec<u32>,
    places: Vec<bool>,
    options: wgvq::inference::SamplingOptions,
}

#[pymethods]
impl Tokenizer {
    #[staticmethod]
    fn load(py: Python, gpu: &Gpu, run: PathBuf) -> PyResult<Tokenizer> {
        let engine = gpu.engine.clone();
        let load = || {
            let first = FirstStageModel::load(&engine, &run)?;
            Ok(Tokenizer {
                image: first.image(),
                codes_per_image: first.codes_per_image(),
                gpu: engine,
                run,
                models: Mutex::new(Models {
                    first,
                    priors: None,
                }),
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
        self.with(py, |models| {
            Ok(self.priors(models)?.1.info().classes.clone())
        })
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
            codes.extend(self.with(py, |models| models.first.encode(part))?);
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
            pixels.extend(self.with(py, |models| models.first.decode(part))?);
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
            self.draw(models, &interrupt, |priors| {
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

    fn complete<'py>(
        &self,
        py: Python<'py>,
        image: PyReadonlyArray4<u8>,
        keep: String,
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
        let pixels = image.as_slice()?;
        let interrupt = Interrupt::default();
        let drawn = self.with(py, |models| {
            let levels = models.first.levels();
            let cells = kept_cells("the argument `keep`", &keep, levels)?;
            let places = places_of_cells(levels, &cells);
            let codes = models.first.encode(pixels)?.repeat(n);
            self.draw(models, &interrupt, |priors| {
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
        let config = self.with(py, |models| {
            let mut config: RunConfig = models.first.config().clone().into_inner();
            let [width, height, channels] = self.image;
            (config.data.width, config.data.height) = (width, height);
            config.data.channels = channels;
            Ok(config)
        })?;
        let (whole, data) = match data {
            Source::Name(name) if name.is_empty() => {
                // Where the run's folder says that they lie now.
                let folder = if self.run.is_dir() {
                    Some(self.run.as_path())
                } else {
                    self.run.parent()
                };
                let kept = folder.map(|folder| RunConfig::load(&folder.join("config.toml")));
                let source = match kept {
                    Some(Ok(kept)) => kept.data.source,
                    _ => config.data.source.clone(),
                };
                (false, Source::Name(source))
            }
            Source::Name(name) => (false, Source::Name(name)),
            memory => (true, memory),
        };
        let set = set::open(py, &data, &config.data.options())?;
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
