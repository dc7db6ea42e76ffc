//! `wgvq text2image train`: three models, one after the other, each of which goes on where it
//! stopped.

mod before;
mod going_on;

use super::asked::Asked;
use super::{Ended, Global, contrastive_folder, reading, text_folder};
use crate::cli::common::keys::{key_value, set_keys};
use crate::cli::common::output;
use crate::cli::common::output::{Bar, Watch};
use crate::cli::common::place::Place;
use crate::cli::common::signals::stop_flag;
use crate::cli::first_stage::train::train as train_first_stage;
use before::{Material, Stage, check_texts};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use wgvq::codes::tokens::{Captions, Tokens};
use wgvq::config::contrastive::ContrastiveConfig;
use wgvq::config::prior::PriorConfig;
use wgvq::config::run::RunConfig;
use wgvq::config::{DottedConfig, Resolved};
use wgvq::data::absolute;
use wgvq::gpu::Gpu;
use wgvq::inference::contrastive::some;
use wgvq::inference::prior_measure::Told;
use wgvq::inference::tokenize::{about as tokens_about, tokenize};
use wgvq::inference::{Trained, TrainedPrior, prior_folder};
use wgvq::models::prior::{Pattern, Prior, Shape as PriorShape, TextKind};
use wgvq::models::vqvae2::{MOST_LEVELS, level_names};
use wgvq::nn::Parameters;
use wgvq::storage::run_folder::RunFolder;
use wgvq::train::Start;
use wgvq::train::Trainer;
use wgvq::train::contrastive::run_contrastive;
use wgvq::train::prior::{PriorEvaluation, run_prior};
use wgvq::{Error, Result};

/// Which way texts become images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum System {
    /// Text and codes in one sequence, over a Gumbel-softmax codebook (Ramesh et al. 2021)
    Dalle,
    /// An encoder that the decoder attends to, over a cosine codebook (Yu et al. 2022)
    Parti,
}

#[derive(Args)]
#[command(
    after_long_help = "The data: JSON Lines of {\"image\": \"a.png\", \"text\": \"a red heart\"}, \
                       a folder with a .txt beside each image, a WebDataset tar, or a built-in \
                       set with captions (emoji, twemoji).\n\nExamples:\n  wgvq text2image train \
                       --data captions.jsonl --out runs/hearts\n  wgvq text2image train --system \
                       dalle --data emoji --first data.split=captions --out runs/dalle\n  wgvq \
                       train --preset emoji32 --quantizer cosine --out runs/mine && wgvq \
                       text2image train --out runs/mine\n  wgvq text2image train --resume \
                       runs/hearts\n  wgvq text2image sample runs/hearts \"a red heart\" --n 16 \
                       --guidance 3 --rerank"
)]
pub struct Train {
    /// Captioned images; without, those of the first stage that the run has
    #[arg(long, value_name = "FILE|DIR|NAME")]
    data: Option<String>,
    /// dalle or parti [default: parti]
    #[arg(long, value_enum, hide_possible_values = true)]
    system: Option<System>,
    /// The run's folder. A first stage that it holds, trained by `wgvq train`, is used as it is
    #[arg(long, default_value = "runs/text2image", conflicts_with = "resume")]
    out: PathBuf,
    /// Training steps of the first stage
    #[arg(long, value_name = "N")]
    first_steps: Option<u64>,
    /// A key of the first stage, such as model.hidden=64; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    first: Vec<String>,
    /// The prior: tiny, small, base, medium or large (0.8 to 99 million parameters) [default:
    /// small]
    #[arg(long)]
    size: Option<String>,
    /// Training steps of the prior
    #[arg(long)]
    steps: Option<u64>,
    /// Images per pass of the prior
    #[arg(long)]
    batch: Option<u64>,
    /// A key of the prior, such as prior.text_layers=4; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Training steps of the contrastive model that judges and reranks; 0 leaves it out [default:
    /// 1500]
    #[arg(long, value_name = "N")]
    judge_steps: Option<u64>,
    /// A key of the contrastive model, such as model.dim=256; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    judge: Vec<String>,
    /// Tokens to learn from the captions, at most [default: 1024]
    #[arg(long, value_name = "N")]
    vocabulary: Option<usize>,
    /// Tokens of a text, its first and last counted, or rows of an embedding; 0 is the longest
    /// caption's, from 12 to 128 [default: 0]
    #[arg(long, value_name = "N")]
    text_length: Option<usize>,
    /// Read the embeddings that the lines of --data name, in place of a text encoder
    #[arg(long)]
    embeddings: bool,
    /// Captions that are too long are an error, and not cut
    #[arg(long)]
    strict: bool,
    /// Seed of everything random
    #[arg(long)]
    seed: Option<u64>,
    /// Go on with the run in this folder, each stage where it stopped, as it was asked for;
    /// --steps, --first-steps and --judge-steps may be more, and --data says where the same images
    /// lie now
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,
    /// Replace the prior and the contrastive model that the run holds; the first stage stays
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
}

/// What is taken where nothing is asked for.
const SIZE: &str = "small";
const VOCABULARY: usize = 1024;
const JUDGE_STEPS: u64 = 1500;
/// The command that goes on with a run, before its name.
const GO_ON: &str = "wgvq text2image train --resume";

impl Train {
    fn folder(&self) -> &Path {
        self.resume.as_deref().unwrap_or(&self.out)
    }

    pub fn run(&self, global: &Global) -> Result<Ended> {
        let run = self.folder();
        // By the name that this command has for them.
        self.first
            .iter()
            .try_for_each(|pair| key_value("--first", pair).map(drop))?;
        let _place = Place::folder(global, run)?;
        let levels = [String::new()]
            .into_iter()
            .chain((2..=MOST_LEVELS).flat_map(level_names));
        let places = levels
            .map(|level| prior_folder(run, &level))
            .chain([contrastive_folder(run)]);
        places
            .into_iter()
            .try_for_each(|place| RunFolder::settle(&place))?;
        let mut asked = if self.resume.is_some() {
            self.going_on(run)?
        } else {
            self.asked(run)?
        };
        check_texts(&asked)?;
        let gpu = global.gpu()?;
        let first = self.first(&gpu)?;
        let places: Vec<PathBuf> = first
            .levels
            .iter()
            .map(|level| prior_folder(run, &level.name))
            .collect();
        self.check_places(&places)?;
        let priors = places
            .iter()
            .map(|place| self.prior_of(place, &asked))
            .collect::<Result<Vec<_>>>()?;
        let judge = self.judge_of(&contrastive_folder(run), &asked)?;
        let judged =
            asked.judge_steps == 0 || self.ended(&contrastive_folder(run), judge.train.steps)?;
        // Priors that have begun need their tokens alone, whatever became of the images.
        let begun = |place: &PathBuf| {
            place.join("config.toml").exists() && Tokens::exist(&place.join("tokens"))
        };
        let needed =
            self.resume.is_none() || self.data.is_some() || !judged || !places.iter().all(begun);
        let material = if needed {
            Some(self.material(global, &first, &asked)?)
        } else {
            None
        };
        if let Some(m) = &material {
            self.check_stages(&gpu, &first, m, &priors, (!judged).then_some(&judge))?;
            if self.resume.is_some() {
                for place in places.iter().filter(|place| begun(place)) {
                    self.same_images(&Tokens::open(&place.join("tokens"))?, m)?;
                }
                asked.data = absolute(&m.set.name);
            }
        }
        // What is to be replaced keeps what it was asked for until then.
        if !self.overwrite && !matches!(first.stage, Stage::New(_)) {
            asked.save(&text_folder(run))?;
        }
        let config = first.config;
        let ended = match first.stage {
            Stage::Trained(_) => Ended::Done,
            Stage::New(images) => {
                let folder = self.begin(&config, &asked)?;
                train_first_stage(global, &gpu, &config, images, &folder, Start::Fresh, GO_ON)?
            }
            Stage::Begun(images, folder) => {
                train_first_stage(global, &gpu, &config, images, &folder, Start::Resume, GO_ON)?
            }
        };
        if !matches!(ended, Ended::Done) {
            return Ok(ended);
        }
        let mut model = Trained::load(&gpu, run)?;
        let mut done = judged;
        for (level, config) in priors.iter().enumerate() {
            if self.ended(&places[level], config.train.steps)? {
                continue;
            }
            done = false;
            match self.prior(
                global,
                &gpu,
                &mut model,
                level,
                material.as_ref(),
                config,
                &asked,
            )? {
                Ended::Done => {}
                ended => return Ok(ended),
            }
        }
        match &material {
            Some(m) if !judged => return self.contrastive(global, &gpu, m, &judge),
            _ if done => {
                output::note(
                    global,
                    &format!(
                        "{}: every stage has ended; --steps trains the prior for more",
                        run.display()
                    ),
                );
            }
            _ => {}
        }
        Ok(Ended::Done)
    }

    /// Has a stage of a run that goes on been trained to its end?
    fn ended(&self, place: &Path, steps: u64) -> Result<bool> {
        Ok(self.resume.is_some() && going_on::ended(place, steps)?)
    }

    /// What is asked for of a run that begins.
    fn asked(&self, run: &Path) -> Result<Asked> {
        let kept = || {
            RunConfig::load(&run.join("config.toml"))
                .map(|kept| kept.data.source)
                .unwrap_or_default()
        };
        Ok(Asked {
            data: self.data.as_deref().map_or_else(kept, absolute),
            system: self.system().name().into(),
            size: self.size.clone().unwrap_or_else(|| SIZE.into()),
            vocabulary: self.vocabulary.unwrap_or(VOCABULARY),
            text_length: self.text_length.unwrap_or(0),
            embeddings: self.embeddings,
            strict: self.strict,
            judge_steps: self.judge_steps.unwrap_or(JUDGE_STEPS),
            prior: self.prior_config()?.into_inner(),
            judge: self.judge_config()?.into_inner(),
        })
    }

    fn system(&self) -> System {
        self.system.unwrap_or(System::Parti)
    }

    fn prior_config(&self) -> Result<Resolved<PriorConfig>> {
        let mut config = PriorConfig {
            prior: PriorShape::of_size(self.size.as_deref().unwrap_or(SIZE))?,
            ..Default::default()
        };
        if self.system() == System::Dalle {
            config.prior.text = TextKind::Stream;
            config.prior.positions = wgvq::models::prior::Positions::Learned;
            // Full attention in every fourth layer: the small model's last looks at everything.
            config.prior.attention =
                vec![Pattern::Row, Pattern::Column, Pattern::Row, Pattern::Full];
        }
        let text = |v: &Option<u64>| v.map(|v| v.to_string());
        let flags = [
            ("train.steps", text(&self.steps)),
            ("train.batch_size", text(&self.batch)),
            ("train.seed", text(&self.seed)),
        ];
        set_keys(&mut config, flags, "--set", &self.set)?;
        config.resolve()
    }

    fn judge_config(&self) -> Result<Resolved<ContrastiveConfig>> {
        let mut config = ContrastiveConfig::default();
        config.train.steps = self.judge_steps.unwrap_or(JUDGE_STEPS).max(1);
        let flags = [("train.seed", self.seed.map(|s| s.to_string()))];
        set_keys(&mut config, flags, "--judge", &self.judge)?;
        config.resolve()
    }

    /// Turns images and captions into tokens, and trains a level's prior on them.
    fn prior(
        &self,
        global: &Global,
        gpu: &Gpu,
        model: &mut Trained,
        level: usize,
        material: Option<&Material>,
        config: &Resolved<PriorConfig>,
        asked: &Asked,
    ) -> Result<Ended> {
        let run = self.folder();
        let name = model.levels()[level].name.clone();
        let place = prior_folder(run, &name);
        let resumed = self.resume.is_some() && place.join("config.toml").exists();
        let own = resumed && Tokens::exist(&place.join("tokens"));
        let (folder, tokens) = match material {
            _ if own => {
                let tokens = Tokens::open(&place.join("tokens"))?;
                tokens.check_model(model.hash())?;
                Prior::new(
                    gpu,
                    &mut Parameters::builder(),
                    &config.prior,
                    &tokens.about.vocabulary,
                )?;
                (RunFolder::resume(&place)?, Some(tokens))
            }
            Some(m) => self.tokenized(global, gpu, model, level, m, config, asked)?,
            None => {
                return Err(Error::file(
                    &place,
                    "has no tokens: say by --data where the images lie",
                ));
            }
        };
        let Some(tokens) = tokens else {
            return Ok(Ended::Abandoned);
        };
        let (v, p, t) = (&tokens.about.vocabulary, &config.prior, &config.train);
        let way = if p.text == TextKind::Stream {
            "text and codes in one sequence"
        } else {
            "a text encoder"
        };
        output::note(
            global,
            &format!(
                "prior{}: {way}, {} codes of {}; {} blocks of {} channels; {} steps of {} on {} \
                 ({} core)",
                if name.is_empty() {
                    String::new()
                } else {
                    format!(" of level {name}")
                },
                v.tokens(),
                v.codebook_size,
                p.layers,
                p.dim,
                t.steps,
                t.batch_size * t.accumulate,
                gpu.info().name,
                gpu.core().name()
            ),
        );
        let mut watch = Watch::new(global, t.steps);
        let start = if resumed { Start::Resume } else { Start::Fresh };
        let outcome = run_prior(gpu, config, tokens, &folder, start, &mut watch, stop_flag());
        watch.finish();
        let outcome = outcome?;
        if outcome.stopped {
            self.tell_stopped(global, outcome.trainer.step_number());
            return Ok(Ended::Interrupted);
        }
        let (Some(e), parameters) = (outcome.evaluation, outcome.trainer.parameter_count()) else {
            return Ok(Ended::Done);
        };
        drop(outcome.trainer);
        self.text_helps(global, gpu, &folder, model, e, parameters)?;
        Ok(Ended::Done)
    }

    /// Turns images and captions into tokens, unless these are there. No tokens if this was
    /// stopped.
    fn tokenized(
        &self,
        global: &Global,
        gpu: &Gpu,
        model: &mut Trained,
        level: usize,
        m: &Material,
        config: &Resolved<PriorConfig>,
        asked: &Asked,
    ) -> Result<(RunFolder, Option<Tokens>)> {
        let place = &prior_folder(self.folder(), &model.levels()[level].name);
        let of = |numbers: &[u32]| match &m.rows {
            Some(text) => reading::read_rows(&m.set, text, numbers),
            None => Ok(some(&m.texts, &m.text, numbers)),
        };
        let captions = Captions {
            text: m.rows.unwrap_or(m.text),
            reader: m.tokenizer.sha256(),
            of: &of,
        };
        let about = tokens_about(model, level, &m.set, Some(captions));
        // What is wrong with the model is found before anything is written.
        Prior::new(
            gpu,
            &mut Parameters::builder(),
            &config.prior,
            &about.vocabulary,
        )?;
        let resumed = self.resume.is_some() && place.join("config.toml").exists();
        let folder = match (resumed, level) {
            (true, _) => RunFolder::resume(place)?,
            // With the first of them, all goes that the run has of texts.
            (false, 0) if self.overwrite => RunFolder::create_over_texts(self.folder(), place)?,
            (false, _) => RunFolder::create(place, self.overwrite)?,
        };
        let texts = folder.beside("text");
        m.tokenizer.save(&texts)?;
        asked.save(&texts)?;
        let made = if Tokens::exist(&folder.tokens()) {
            Some(Tokens::open(&folder.tokens())?)
        } else {
            None
        };
        if let Some(tokens) = made.filter(|t| t.check(&about).is_ok()) {
            return Ok((folder, Some(tokens)));
        }
        output::note(
            global,
            &format!(
                "turning {} pictures into codes",
                m.set.train.len() + m.set.test.len()
            ),
        );
        let (mut bar, stop) = (Bar::new(global, "images"), stop_flag());
        let made = tokenize(
            model,
            level,
            &m.set,
            Some(captions),
            &folder.tokens(),
            &mut |done, all| {
                bar.show(done, all);
                if stop.load(Ordering::Relaxed) {
                    Err(Error::data("interrupted"))
                } else {
                    Ok(())
                }
            },
        );
        bar.finish();
        if stop.load(Ordering::Relaxed) {
            let again = match folder.replaces() {
                true => "what is there is as it was, and the same command begins with the codes \
                         again"
                    .to_owned(),
                false => format!(
                    "begin with the codes again by: {GO_ON} {}",
                    output::shell(self.folder())
                ),
            };
            output::note(global, &format!("stopped; {again}"));
            return Ok((folder, None));
        }
        made.map(|tokens| (folder, Some(tokens)))
    }

    /// What captions held out save of the bits of their images.
    fn text_helps(
        &self,
        global: &Global,
        gpu: &Gpu,
        folder: &RunFolder,
        model: &Trained,
        e: PriorEvaluation,
        parameters: usize,
    ) -> Result<()> {
        let prior = TrainedPrior::load(gpu, folder.path(), model)?;
        let held_out = Tokens::open(&folder.tokens())?;
        let bits = |told| {
            prior
                .measure(&held_out, told)
                .map(|nats| nats / std::f64::consts::LN_2)
        };
        let (own, none, others) = (bits(Told::Own)?, bits(Told::Nothing)?, bits(Told::Others)?);
        if global.json {
            let line = serde_json::json!({
                "prior": output::shown(folder.path()), "step": e.step, "parameters": parameters, "bits_per_code": own,
                "bits_per_code_without_text": none, "bits_per_code_with_other_text": others,
            });
            output::result(&line.to_string());
        } else {
            output::result(&format!(
                "held out, bits per code: {own:.3} with its text, {none:.3} without, {others:.3} \
                 with another image's"
            ));
            output::note(
                global,
                &format!("{parameters} parameters, those of step {}", e.step),
            );
        }
        Ok(())
    }

    fn contrastive(
        &self,
        global: &Global,
        gpu: &Gpu,
        m: &Material,
        config: &Resolved<ContrastiveConfig>,
    ) -> Result<Ended> {
        let place = contrastive_folder(self.folder());
        let resumed = self.resume.is_some() && place.join("config.toml").exists();
        m.tokenizer.save(&text_folder(self.folder()))?;
        let reader = m.tokenizer.sha256();
        let trainer =
            Trainer::contrastive(gpu, config, m.set.clone(), m.text, m.texts.clone(), reader)?;
        let folder = if resumed {
            RunFolder::resume(&place)?
        } else {
            RunFolder::create(&place, self.overwrite)?
        };
        let t = &config.train;
        output::note(
            global,
            &format!(
                "contrastive model: {} steps of {} pairs",
                t.steps, t.batch_size
            ),
        );
        let mut watch = Watch::new(global, t.steps);
        let start = if resumed { Start::Resume } else { Start::Fresh };
        let outcome = run_contrastive(trainer, &folder, start, &mut watch, stop_flag());
        watch.finish();
        let outcome = outcome?;
        if outcome.stopped {
            self.tell_stopped(global, outcome.trainer.step_number());
            return Ok(Ended::Interrupted);
        }
        if let Some(e) = outcome.evaluation {
            if global.json {
                let line = serde_json::json!({
                    "contrastive": output::shown(folder.path()), "texts_found": e.texts, "images_found": e.images, "pool": e.pool, "count": e.count,
                });
                output::result(&line.to_string());
            } else {
                output::result(&format!("{e}"));
                output::result(&format!("run: {}", self.folder().display()));
            }
        }
        Ok(Ended::Done)
    }

    fn tell_stopped(&self, global: &Global, step: u64) {
        let run = output::shell(self.folder());
        output::note(
            global,
            &format!("stopped and saved at step {step}; go on with: {GO_ON} {run}"),
        );
    }
}
