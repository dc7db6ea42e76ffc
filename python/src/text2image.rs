//! Training on captioned images: priors that read texts, and the model that judges.

use crate::errors::OrRaise;
use crate::gpu::Gpu;
use crate::observer::{Interrupt, Watch};
use crate::prior::images_of;
use crate::set::{Owned, Source};
use crate::train::Done;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use wgvq::codes::tokenizer::Tokenizer;
use wgvq::codes::tokens::Tokens;
use wgvq::config::DottedConfig;
use wgvq::config::Resolved;
use wgvq::config::contrastive::ContrastiveConfig;
use wgvq::config::prior::PriorConfig;
use wgvq::config::run::RunConfig;
use wgvq::data::{self, absolute};
use wgvq::inference::texts::{contrastive_folder, text_folder};
use wgvq::inference::tokenize::tokenize;
use wgvq::inference::{FirstStageModel, prior_folder};
use wgvq::storage::folder_lock::FolderLock;
use wgvq::storage::run_folder::RunFolder;
use wgvq::storage::staged::LOCK;
use wgvq::text2image::{
    GivenOptions, Material, System, TrainRequest, begin_prior, check_places, check_stages, ended,
    judge_of, prior_of, same_images,
};
use wgvq::train::contrastive::run_contrastive;
use wgvq::train::prior::{PriorStage, TokenSource, run_prior};
use wgvq::train::{Observer, Start, Trainer};
use wgvq::{Error, Result};

/// The options that may grow when a training goes on.
const MORE: &str = "--steps and --judge-steps";

/// The request, as Python names it.
#[derive(FromPyObject)]
pub struct Asked {
    #[pyo3(item)]
    system: Option<String>,
    #[pyo3(item)]
    size: Option<String>,
    #[pyo3(item)]
    steps: Option<u64>,
    #[pyo3(item)]
    settings: Vec<(String, String)>,
    #[pyo3(item)]
    judge_steps: Option<u64>,
    #[pyo3(item)]
    judge_settings: Vec<(String, String)>,
    #[pyo3(item)]
    vocabulary: Option<usize>,
    #[pyo3(item)]
    text_length: Option<usize>,
    #[pyo3(item)]
    embeddings: bool,
    #[pyo3(item)]
    strict: bool,
    #[pyo3(item)]
    resume: bool,
    #[pyo3(item)]
    overwrite: bool,
}

impl Asked {
    fn given(&self) -> Result<GivenOptions<'_>> {
        Ok(GivenOptions {
            system: self.system.as_deref().map(System::named).transpose()?,
            size: self.size.as_deref(),
            vocabulary: self.vocabulary,
            text_length: self.text_length,
            embeddings: self.embeddings,
            strict: self.strict,
            steps: self.steps,
            judge_steps: self.judge_steps,
        })
    }

    fn request(&self, run: &Path, model: &FirstStageModel, source: &Owned) -> Result<TrainRequest> {
        let set_prior = |config: &mut PriorConfig| set(config, &self.settings);
        let set_judge = |config: &mut ContrastiveConfig| set(config, &self.judge_settings);
        if !self.resume {
            let data = match source {
                // As the run's folder says: they may have been moved since the model was written.
                Owned::Name(name) if name.is_empty() => {
                    let kept = RunConfig::load(&run.join("config.toml"));
                    kept.map_or_else(|_| model.config().data.source.clone(), |c| c.data.source)
                }
                Owned::Name(name) => absolute(name),
                Owned::Memory(_) => data::IN_MEMORY.into(),
            };
            return TrainRequest::new(data, &self.given()?, set_prior, set_judge);
        }
        let kept = TrainRequest::load(run)?.ok_or_else(|| {
            let what = "has no training on captions to go on with: leave --resume out";
            Error::file(run, what)
        })?;
        kept.resumed(&self.given()?, set_prior, set_judge, MORE)
    }
}

fn set(config: &mut impl DottedConfig, settings: &[(String, String)]) -> Result<()> {
    let mut all = settings.iter();
    all.try_for_each(|(key, value)| config.set(key, value))
}

/// A training, and who watches it.
struct Work<'a> {
    gpu: &'a wgvq::gpu::Gpu,
    run: &'a Path,
    asked: &'a Asked,
    model: &'a FirstStageModel,
    request: TrainRequest,
    stop: &'a AtomicBool,
    interrupt: &'a Interrupt,
}

impl Work<'_> {
    fn ended(&self, place: &Path, steps: u64) -> Result<bool> {
        Ok(self.asked.resume && ended(place, steps)?)
    }

    fn start(&self, place: &Path) -> Start {
        match self.asked.resume && place.join("config.toml").exists() {
            true => Start::Resume,
            false => Start::Fresh,
        }
    }

    /// Trains the stages that have not ended, one after the other until one is stopped; a name and
    /// an outcome for each.
    fn train(&mut self, source: Owned, watch: &mut Watch) -> Result<Vec<(PathBuf, Done)>> {
        let (run, resume) = (self.run, self.asked.resume);
        let levels = self.model.levels();
        let places: Vec<PathBuf> = levels.iter().map(|l| prior_folder(run, &l.name)).collect();
        let judge_place = contrastive_folder(run);
        if !resume {
            check_places(run, &places, self.asked.overwrite, "--resume")?;
        }
        let priors: Vec<Resolved<PriorConfig>> = places
            .iter()
            .map(|place| prior_of(place, &self.request, resume, self.asked.steps))
            .collect::<Result<_>>()?;
        let steps = self.asked.judge_steps;
        let judge = judge_of(&judge_place, &self.request, resume, steps)?;
        let judged =
            self.request.judge_steps == 0 || self.ended(&judge_place, judge.train.steps)?;
        // Priors that have begun need their tokens alone, whatever became of the images.
        let begun = |place: &PathBuf| {
            place.join("config.toml").exists() && Tokens::exist(&place.join("tokens"))
        };
        let named = !matches!(&source, Owned::Name(name) if name.is_empty());
        let needed = !resume || named || !judged || !places.iter().all(begun);
        let material = needed.then(|| self.material(source, watch)).transpose()?;
        if let Some(m) = &material {
            let judge = (!judged).then_some(&judge);
            check_stages(self.gpu, levels, m, &priors, judge)?;
            if resume {
                for place in places.iter().filter(|place| begun(place)) {
                    same_images(&Tokens::open(&place.join("tokens"))?, m)?;
                }
                self.request.data = absolute(&m.set.name);
            }
        }
        // What is to be replaced keeps what it was asked for until then.
        if !self.asked.overwrite {
            self.request.save(&text_folder(run))?;
        }
        let mut done = Vec::new();
        for (level, config) in priors.iter().enumerate() {
            let place = &places[level];
            if self.ended(place, config.train.steps)? {
                continue;
            }
            let outcome = self.prior(level, place, config, material.as_ref(), watch)?;
            let stopped = outcome.stopped;
            done.push((place.clone(), outcome));
            if stopped {
                return Ok(done);
            }
        }
        if let (false, Some(m)) = (judged, &material) {
            let outcome = self.judge(&judge_place, &judge, m, watch)?;
            done.push((judge_place, outcome));
        }
        Ok(done)
    }

    fn material(&self, source: Owned, watch: &mut Watch) -> Result<Material> {
        let source = match source {
            // Where they were last.
            Owned::Name(name) if name.is_empty() && data::is_there(&self.request.data) => {
                Owned::Name(self.request.data.clone())
            }
            named => named,
        };
        // Crops of whole photographs are the first stage's: what is described is the whole image.
        let set = images_of(self.run, self.model, source, true)?;
        let folder = text_folder(self.run);
        let kept = if self.asked.resume && folder.join("tokenizer.json").exists() {
            Some(Tokenizer::load(&folder)?)
        } else {
            None
        };
        let mut note = |text: &str| watch.note(text);
        Material::read(set, kept, &self.request, &mut note)
    }

    fn prior(
        &self,
        level: usize,
        place: &Path,
        config: &Resolved<PriorConfig>,
        m: Option<&Material>,
        watch: &mut Watch,
    ) -> Result<Done> {
        let stage = PriorStage {
            gpu: self.gpu,
            model: self.model,
            level,
            config,
        };
        let start = self.start(place);
        let own = match start {
            Start::Resume => stage.begun(place)?,
            Start::Fresh => None,
        };
        let (folder, tokens) = match (own, m) {
            (Some(tokens), _) => (RunFolder::resume(place)?, tokens),
            (None, Some(m)) => {
                let of = m.reader();
                let source = TokenSource {
                    images: &m.set,
                    captions: Some(m.captions(&of)),
                };
                let (resume, overwrite) = (self.asked.resume, self.asked.overwrite);
                let (folder, made) = begin_prior(
                    self.run,
                    place,
                    &stage,
                    &source,
                    m,
                    &self.request,
                    resume,
                    overwrite,
                )?;
                let make = || {
                    let mut progress = |_, _| self.interrupt.look();
                    tokenize(
                        self.model,
                        level,
                        source.images,
                        source.captions,
                        &folder.tokens(),
                        &mut progress,
                    )
                };
                let tokens = made.map_or_else(make, Ok)?;
                (folder, tokens)
            }
            (None, None) => {
                let what = "has no tokens: say by --data where the images lie";
                return Err(Error::file(place, what));
            }
        };
        watch.stage = Some(stage_name(place));
        let tokens = stage.with_codes(tokens)?;
        run_prior(self.gpu, config, tokens, &folder, start, watch, self.stop).map(Done::from)
    }

    fn judge(
        &self,
        place: &Path,
        config: &Resolved<ContrastiveConfig>,
        m: &Material,
        watch: &mut Watch,
    ) -> Result<Done> {
        let start = self.start(place);
        m.tokenizer.save(&text_folder(self.run))?;
        let (texts, reader) = (m.texts.clone(), m.tokenizer.sha256());
        let trainer = Trainer::contrastive(self.gpu, config, m.set.clone(), m.text, texts, reader)?;
        let folder = match start {
            Start::Resume => RunFolder::resume(place)?,
            Start::Fresh => RunFolder::create(place, self.asked.overwrite)?,
        };
        watch.stage = Some(stage_name(place));
        run_contrastive(trainer, &folder, start, watch, self.stop).map(Done::from)
    }
}

/// The name of a stage: that of its folder.
fn stage_name(place: &Path) -> String {
    place
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Trains priors that read texts over the codes of a run, and the model that judges what they draw.
/// Returns a name and an outcome for each stage that was trained.
#[pyfunction]
#[pyo3(signature = (gpu, run, data, asked, callback))]
pub fn train_text2image<'py>(
    py: Python<'py>,
    gpu: &Gpu,
    run: PathBuf,
    data: Source,
    asked: Asked,
    callback: Option<Py<PyAny>>,
) -> PyResult<Vec<(String, Bound<'py, PyDict>)>> {
    let source = data.own()?;
    let stop = AtomicBool::new(false);
    let mut watch = Watch::new(callback, &stop);
    let interrupt = Interrupt::default();
    let engine = gpu.engine()?;
    let work = || {
        let model = FirstStageModel::load(engine, &run)?;
        // The tokenizer and the request lie beside the stages, whose own locks do not keep the
        // command, or another process, from writing these.
        let _lock = FolderLock::take(&run, LOCK, &run, |text| watch.note(text))?;
        for level in model.levels() {
            RunFolder::settle(&prior_folder(&run, &level.name))?;
        }
        RunFolder::settle(&contrastive_folder(&run))?;
        let request = asked.request(&run, &model, &source)?;
        request.check_texts()?;
        let mut work = Work {
            gpu: engine,
            run: &run,
            asked: &asked,
            model: &model,
            request,
            stop: &stop,
            interrupt: &interrupt,
        };
        work.train(source, &mut watch)
    };
    let done = py.detach(work);
    interrupt.or(Ok(()))?;
    watch.raise()?;
    let stages = done.or_raise()?;
    let dict = |(place, done): (PathBuf, Done)| Ok((stage_name(&place), done.dict(py, &place)?));
    stages.into_iter().map(dict).collect()
}
