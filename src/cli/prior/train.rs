//! `wgvq prior`: the second stage, trained over the codes of a run's model.

use crate::cli::common::json;
use crate::cli::common::losses::{Begun, through_losses};
use crate::cli::common::output;
use crate::cli::common::peaks::passes_chosen;
use crate::cli::common::pictures;
use crate::cli::common::watch::Seen;
use crate::cli::prior::stage::{PriorKeys, Training};
use crate::cli::{CommandStatus, Global};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wgvq::codes::tokens::{Baselines, Tokens, baselines};
use wgvq::config::prior::PriorConfig;
use wgvq::config::{DottedConfig, Resolved};
use wgvq::data::{self, ImageSet};
use wgvq::gpu::Gpu;
use wgvq::inference::tokenize::vocabulary;
use wgvq::inference::{
    FirstStageModel, Hierarchy, PriorModel, SampleRequest, no_progress, prior_folder,
};
use wgvq::models::prior::{Shape as PriorShape, Vocabulary};
use wgvq::plan::fitting_prior;
use wgvq::report::grid::Shape;
use wgvq::report::samples::{PriorPage, page, rows};
use wgvq::storage::run_folder::RunFolder;
use wgvq::storage::{atomic, metrics_log};
use wgvq::train::prior::{PriorStage, TokenSource, level_of, made};
use wgvq::train::{Start, resumed_prior, steps_alone};
use wgvq::{Error, Result};

/// `wgvq prior runs/fashion --steps 3000`
#[derive(Args, Default)]
#[command(after_long_help = "\
Examples:
  wgvq prior runs/fashion
  wgvq prior runs/fashion --size base --steps 10000 --set prior.dropout=0.2 --overwrite
  wgvq prior runs/fashion --resume
  wgvq prior runs/photographs --level top      # of several grids, one at a time
  wgvq prior runs/photographs --level bottom   # conditioned on the codes of the grid above")]
pub struct PriorCommand {
    /// The run of the first stage; its prior goes into the folder `prior` there (`prior-top` and
    /// so on with several levels of codes)
    pub run: PathBuf,
    /// The level of codes to model, where there are several: top, bottom, ..
    #[arg(long, value_name = "NAME")]
    pub level: Option<String>,
    /// A configuration in TOML
    #[arg(long, value_name = "TOML", conflicts_with = "resume")]
    pub config: Option<PathBuf>,
    /// The model: tiny, small, base, medium, large, xl or xxl (0.8 to 1,019 million parameters)
    #[arg(long, conflicts_with_all = ["config", "resume"])]
    pub size: Option<String>,
    /// Other data than the model was trained on: a folder of images, a file, or a named data set
    #[arg(long, value_name = "DIR|FILE|NAME")]
    pub data: Option<String>,
    /// Training steps
    #[arg(long)]
    pub steps: Option<u64>,
    /// Images per pass
    #[arg(long)]
    pub batch: Option<u64>,
    /// AdamW's learning rate
    #[arg(long)]
    pub lr: Option<f64>,
    /// Seed of everything random
    #[arg(long)]
    pub seed: Option<u64>,
    /// Any other key, such as prior.layers=6; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Go on with the prior that is there, from its last checkpoint; of the keys, --steps alone
    /// may change
    #[arg(long, conflicts_with = "overwrite")]
    pub resume: bool,
    /// Replace a prior that the run has, and tokens that are not this model's, once the new one
    /// has its first checkpoint
    #[arg(long)]
    pub overwrite: bool,
    /// Take a step's images in the least number of passes that fits the device's memory
    /// (train.accumulate); a step is tried before the prior begins
    #[arg(long, conflicts_with = "resume")]
    pub auto_batch: bool,
    #[command(flatten)]
    pub seen: Seen,
}

/// Samples in the picture: of each class, and in all where there are none.
const PER_CLASS: usize = 12;
const WITHOUT_CLASSES: usize = 64;
/// Classes in the picture.
const CLASSES_SHOWN: usize = 12;

impl PriorCommand {
    fn keys(&self) -> PriorKeys<'_> {
        PriorKeys {
            steps: self.steps,
            batch: self.batch,
            lr: self.lr,
            seed: self.seed,
            set: &self.set,
        }
    }

    fn configuration(&self) -> Result<Resolved<PriorConfig>> {
        let mut config = self
            .config
            .as_deref()
            .map(PriorConfig::load)
            .transpose()?
            .unwrap_or_default();
        if let Some(size) = &self.size {
            config.prior = PriorShape::of_size(size)?;
        }
        self.keys().apply(&mut config)?;
        config.resolve()
    }

    /// The configuration of the prior that is there; of the keys, the steps alone may be others.
    fn resumed(&self, place: &Path) -> Result<Resolved<PriorConfig>> {
        resumed_prior(place, |kept| {
            steps_alone(kept, |config| self.keys().apply(config))
        })
    }

    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        let again = PriorCommand {
            run: self.run.clone(),
            level: self.level.clone(),
            data: self.data.clone(),
            resume: true,
            seen: self.seen,
            ..Default::default()
        };
        let again = if self.resume { self } else { &again };
        through_losses(
            global,
            &self.run,
            |begun| self.begin(global, begun),
            || again.begin(global, &Begun::default()),
        )
    }

    fn begin(&self, global: &Global, begun: &Begun) -> Result<CommandStatus> {
        if self.resume {
            begun.note();
        }
        // What is wrong is found before anything is written, or replaced.
        let asked = if self.resume {
            None
        } else {
            Some(self.configuration()?)
        };
        let gpu = global.gpu()?;
        let model = FirstStageModel::load(&gpu, &self.run)?;
        let level = level_of(
            &model,
            self.level.as_deref(),
            asked.as_deref().map(|config| config.prior.kind),
        )?;
        let name = model
            .levels()
            .get(level)
            .map_or("", |level| level.name.as_str());
        let place = prior_folder(&self.run, name);
        RunFolder::settle(&place)?;
        if !self.resume {
            self.may_begin(&place, &model)?;
        }
        let images = match self.resume {
            true => None,
            false => Some(self.open(&model)?),
        };
        let (resumed, config) = match asked {
            Some(config) => match images.as_ref().filter(|_| self.auto_batch) {
                Some(images) => {
                    let vocabulary = vocabulary(&model, level, images.classes.len());
                    (None, in_passes(global, &gpu, &config, &vocabulary)?)
                }
                None => (None, config),
            },
            None => {
                let folder = RunFolder::resume(&place)?;
                (Some(folder), self.resumed(&place)?)
            }
        };
        let stage = PriorStage {
            gpu: &gpu,
            model: &model,
            level,
            config: &config,
        };
        let training = Training {
            global,
            stage,
            go_on: &self.go_on(),
            seen: self.seen,
        };
        let (folder, start, tokens) = match resumed {
            Some(folder) => {
                let tokens = match stage.begun(&place)? {
                    Some(tokens) => {
                        self.same_pictures(&model, &tokens)?;
                        Ok(tokens)
                    }
                    None => Err(self.open(&model)?),
                };
                (folder, Start::Resume, tokens)
            }
            None => {
                let images = match images {
                    Some(images) => images,
                    None => self.open(&model)?,
                };
                let info = stage.describe(&TokenSource::of(&images))?;
                let tokens = match made(&place.join("tokens"), &info) {
                    Some(Ok(tokens)) => Ok(tokens),
                    Some(Err(e)) if !self.overwrite => return Err(e),
                    _ => Err(images),
                };
                let folder = RunFolder::create(&place, self.overwrite)?;
                (folder, Start::Fresh, tokens)
            }
        };
        let tokens = match tokens {
            Ok(tokens) => Ok(Some(tokens)),
            Err(images) => training.tokenize(
                &TokenSource::of(&images),
                &folder,
                "the same command begins with the codes again",
            ),
        };
        let ended = tokens.and_then(|tokens| match tokens {
            Some(tokens) => self.train(&training, tokens, &folder, start),
            None => Ok(CommandStatus::Abandoned),
        });
        begun.in_folder(&folder, ended)
    }

    /// Can a prior begin in this folder?
    fn may_begin(&self, place: &Path, model: &FirstStageModel) -> Result<()> {
        let tokens = place.join("tokens");
        if !self.overwrite && place.join("config.toml").exists() {
            if Tokens::exist(&tokens) {
                Tokens::open(&tokens)?.check_model(model.hash())?;
            }
            let what = format!(
                "holds a prior already; go on with it by `{}`, or replace it with `--overwrite`",
                self.go_on()
            );
            return Err(Error::file(place, what));
        }
        RunFolder::may_create(place, self.overwrite)
    }

    /// Images that are named must be those that the prior began with.
    fn same_pictures(&self, model: &FirstStageModel, tokens: &Tokens) -> Result<()> {
        if self.data.is_none() {
            return Ok(());
        }
        let sum = &tokens.info.data_sha256;
        let mut open = |options: &data::Options| self.open_with(model, options);
        if pictures::of_sum(&options_of(model), sum, &mut open)?.is_of_sum(sum) {
            return Ok(());
        }
        let what = "are other images than the prior began with, whose tokens it has: leave --data \
                    out to go on with those";
        Err(Error::config("--data", what))
    }

    /// The command that goes on with this prior.
    fn go_on(&self) -> String {
        let run = output::shell(&self.run);
        let level = self.level.as_deref();
        let level = level.map_or(String::new(), |name| format!(" --level {name}"));
        format!("wgvq prior {run}{level} --resume")
    }

    /// The images whose codes are modelled, in the model's size.
    fn open(&self, model: &FirstStageModel) -> Result<Arc<ImageSet>> {
        self.open_with(model, &options_of(model)).map(Arc::new)
    }

    fn open_with(&self, model: &FirstStageModel, options: &data::Options) -> Result<ImageSet> {
        let own = pictures::source_of(&self.run, model);
        pictures::open(&self.run, &own, self.data.as_deref(), options)
    }

    fn train(
        &self,
        training: &Training,
        tokens: Tokens,
        folder: &RunFolder,
        start: Start,
    ) -> Result<CommandStatus> {
        let Training { global, stage, .. } = training;
        let PriorStage { gpu, model, .. } = *stage;
        let base = baselines(&tokens)?;
        let v = &tokens.info.vocabulary;
        training.tell(&format!(
            "{}: {} sequences of {} tokens to train on, {} held out; {} codes, {} classes",
            tokens.info.data,
            tokens.train.len(),
            v.tokens(),
            tokens.test.len(),
            v.codebook_size,
            v.classes
        ));
        output::note(
            global,
            &format!(
                "to beat, in bits per token: {:.3} by single codes, {:.3} by pairs",
                base.unigram_bits, base.bigram_bits
            ),
        );
        let Some(trained) = training.train(tokens, folder, start)? else {
            return Ok(CommandStatus::Interrupted);
        };
        let (e, parameters) = (trained.evaluation, trained.parameters);
        let (run, model_path) = (folder.path(), folder.model());
        let picture = picture(gpu, &self.run, model, folder, &format!("{e}"), base)?;
        if global.json {
            let line = serde_json::json!({
                "run": output::shown(run), "step": e.weights_step,
                "nats_per_token": e.nats_per_token,
                "bits_per_token": e.bits_per_token,
                "bits_per_dim": e.bits_per_dim, "unigram_bits": base.unigram_bits,
                "bigram_bits": base.bigram_bits,
                "parameters": parameters, "seconds": trained.elapsed.as_secs_f64(),
                "peak_device_bytes": trained.peak_bytes,
                "picture": output::shown(&picture),
            });
            json::print("prior", &line);
        } else {
            output::result(&format!("{e}"));
            trained.tell(global);
            output::result(&format!("picture: {}", picture.display()));
            output::result(&format!("prior:   {}", model_path.display()));
        }
        Ok(CommandStatus::Done)
    }
}

/// Returns the options by which images are opened in the model's size.
fn options_of(model: &FirstStageModel) -> data::Options {
    let mut about = model.config().data.clone();
    (about.width, about.height, about.channels) = model.image().into();
    about.options()
}

/// The configuration with as many passes a step as the device's memory asks for.
fn in_passes(
    global: &Global,
    gpu: &Gpu,
    config: &Resolved<PriorConfig>,
    vocabulary: &Vocabulary,
) -> Result<Resolved<PriorConfig>> {
    let (config, peak) = fitting_prior(gpu, config, vocabulary)?;
    output::note(global, &passes_chosen(&peak));
    Ok(config)
}

/// The curves, what was reached, and samples of each class.
fn picture(
    gpu: &Gpu,
    run: &Path,
    model: &FirstStageModel,
    folder: &RunFolder,
    reached: &str,
    base: Baselines,
) -> Result<PathBuf> {
    let prior = PriorModel::load(gpu, folder.path(), model)?;
    let info = prior.info().clone();
    let names = &info.classes;
    let which = if info.level.is_empty() {
        String::new()
    } else {
        format!("{} ", info.level)
    };
    let title = format!("{}: a prior over its {which}codes", info.data);
    let shown: Vec<u32> = (0..names.len().min(CLASSES_SHOWN) as u32).collect();
    let (asked, columns): (Vec<u32>, usize) = if shown.is_empty() {
        (vec![info.vocabulary.no_class(); WITHOUT_CLASSES], 16)
    } else {
        (
            shown
                .iter()
                .flat_map(|c| std::iter::repeat_n(*c, PER_CLASS))
                .collect(),
            PER_CLASS,
        )
    };
    let labels: Vec<&str> = shown.iter().map(|c| names[*c as usize].as_str()).collect();
    // Of several levels, images need the priors of all.
    let priors = if model.levels().len() == 1 || info.vocabulary.scales.is_some() {
        Ok(Hierarchy::new(vec![prior])?)
    } else {
        Hierarchy::load(gpu, run, model)
    };
    let samples = match &priors {
        Ok(priors) => {
            // Without a filter: what the priors believe, rare codes too.
            let request = SampleRequest::new(&asked);
            let samples = priors.sample(&request, &mut no_progress)?;
            let [width, height, channels] = model.image();
            Some(rows(
                &model.decode(&samples.codes)?,
                Shape {
                    width,
                    height,
                    channels,
                },
                columns,
                &labels,
                96,
            )?)
        }
        Err(_) => None,
    };
    let said = match &samples {
        Some(_) => "Samples at temperature 1, without filters or guidance.",
        None => "Samples need the priors of the other levels, too.",
    };
    let (log, test) = (
        metrics_log::columns(&folder.metrics())?,
        metrics_log::columns(&folder.test())?,
    );
    let log = |name: &str| metrics_log::column(&log, name);
    let test = |name: &str| metrics_log::column(&test, name);
    // Where the weights that were measured lie on the curve; logs of earlier versions have but one
    // step to a row.
    let of_weights = test("weights_step");
    let place = |(i, step): (usize, f64)| {
        let weights = of_weights.get(i).copied().filter(|step| !step.is_nan());
        weights.unwrap_or(step)
    };
    let held_out: Vec<(f64, f64)> = test("step")
        .into_iter()
        .enumerate()
        .map(place)
        .zip(test("nats_per_token"))
        .collect();
    let figures = format!(
        "{reached}; to beat: {:.3} bits by single codes, {:.3} by pairs. {said}",
        base.unigram_bits, base.bigram_bits
    );
    let (steps, loss, norm) = (log("step"), log("loss"), log("gradient_norm"));
    let png = page(&PriorPage {
        title: &title,
        figures: &figures,
        steps: &steps,
        loss: &loss,
        gradient_norm: &norm,
        held_out: &held_out,
        samples: samples.as_ref(),
    })?;
    let path = folder.pictures().join("summary.png");
    atomic::write(&path, &png)?;
    Ok(path)
}
