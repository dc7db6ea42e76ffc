//! `wgvq text2image train`: three models, one after the other, each of which goes on where it
//! stopped.

mod before;
mod passes;
mod resume;
mod stages;

use crate::cli::common::keys::{key_value, set_keys};
use crate::cli::common::losses::{Begun, through_losses};
use crate::cli::common::output;
use crate::cli::common::place::Place;
use crate::cli::common::watch::Seen;
use crate::cli::first_stage::train::train as train_first_stage;
use crate::cli::prior::stage::PriorKeys;
use crate::cli::{CommandStatus, Global};
use before::Stage;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use wgvq::codes::tokens::Tokens;
use wgvq::config::DottedConfig;
use wgvq::config::contrastive::ContrastiveConfig;
use wgvq::config::run::RunConfig;
use wgvq::data::absolute;
use wgvq::inference::texts::{contrastive_folder, text_folder};
use wgvq::inference::{FirstStageModel, prior_folder};
use wgvq::models::first_stage::vqvae2::{MOST_LEVELS, level_names};
use wgvq::parallel::Ranks;
use wgvq::storage::run_folder::RunFolder;
use wgvq::text2image::{
    self, GivenOptions, TrainRequest, check_stages, ended, judge_of, prior_of, same_images,
};
use wgvq::train::Start;
use wgvq::{Error, Result};

/// The system by which texts become images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum System {
    /// Text and codes in one sequence, over a Gumbel-softmax codebook (Ramesh et al. 2021)
    Dalle,
    /// An encoder that the decoder attends to, over a cosine codebook (Yu et al. 2022)
    Parti,
}

impl System {
    fn system(self) -> text2image::System {
        match self {
            System::Dalle => text2image::System::Dalle,
            System::Parti => text2image::System::Parti,
        }
    }
}

#[derive(Args, Default)]
#[command(after_long_help = "\
The data: JSON Lines of {\"image\": \"a.png\", \"text\": \"a red heart\"}, a folder with a .txt
beside each image, a WebDataset tar, Parquet files with texts, or a named data set with captions
(emoji, twemoji).

Examples:
  wgvq text2image train --data captions.jsonl --out runs/hearts
  wgvq text2image train --system dalle --data emoji --stage1 data.split=captions --out runs/dalle
  wgvq train --preset emoji32 --quantizer cosine --out runs/mine \\
      && wgvq text2image train --out runs/mine
  wgvq text2image train --resume runs/hearts")]
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
    #[arg(long, alias = "first-steps", value_name = "N")]
    stage1_steps: Option<u64>,
    /// A key of the first stage, such as model.hidden=64; may be repeated
    #[arg(long, alias = "first", value_name = "KEY=VALUE")]
    stage1: Vec<String>,
    /// The prior: tiny, small, base, medium, large, xl or xxl (0.8 to 1,019 million parameters)
    /// [default: small]
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
    /// --steps, --stage1-steps and --judge-steps may be more, and --data says where the same images
    /// lie now
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,
    /// Replace the prior and the contrastive model that the run holds; the first stage stays
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// Take each stage's steps in the least number of passes that fits the device's memory
    /// (train.accumulate); steps are tried before the run begins
    #[arg(long, conflicts_with = "resume")]
    auto_batch: bool,
    #[command(flatten)]
    seen: Seen,
}

/// The command that goes on with a run, before its name.
const GO_ON: &str = "wgvq text2image train --resume";

impl Train {
    fn folder(&self) -> &Path {
        self.resume.as_deref().unwrap_or(&self.out)
    }

    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        let again = Train {
            resume: Some(self.out.clone()),
            seen: self.seen,
            ..Default::default()
        };
        let again = if self.resume.is_some() { self } else { &again };
        through_losses(
            global,
            self.folder(),
            |begun| self.begin_stages(global, begun),
            || again.begin_stages(global, &Begun::default()),
        )
    }

    /// Trains what is not trained yet.
    fn begin_stages(&self, global: &Global, begun: &Begun) -> Result<CommandStatus> {
        let run = self.folder();
        if self.resume.is_some() {
            begun.note();
        }
        // By the name that this command has for them.
        self.stage1
            .iter()
            .try_for_each(|pair| key_value("--stage1", pair).map(drop))?;
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
        let mut request = if self.resume.is_some() {
            self.resumed_request(run)?
        } else {
            self.request(run)?
        };
        request.check_texts()?;
        let gpu = global.gpu()?;
        let mut first = self.first(&gpu)?;
        let places: Vec<PathBuf> = first
            .levels
            .iter()
            .map(|level| prior_folder(run, &level.name))
            .collect();
        self.check_places(&places)?;
        let priors_of = |request: &TrainRequest| {
            let of = |place: &PathBuf| prior_of(place, request, self.resume.is_some(), self.steps);
            places.iter().map(of).collect::<Result<Vec<_>>>()
        };
        let mut priors = priors_of(&request)?;
        let judge_of = |request: &TrainRequest| {
            let place = contrastive_folder(run);
            judge_of(&place, request, self.resume.is_some(), self.judge_steps)
        };
        let mut judge = judge_of(&request)?;
        let judged =
            request.judge_steps == 0 || self.ended(&contrastive_folder(run), judge.train.steps)?;
        if !judged && !Ranks::world().is_alone() {
            let what = "a contrastive model tells an image from all texts of a step, which spans \
                        the processes of MPI: leave it out by 0, and train it by --resume with \
                        more in one process";
            return Err(Error::config("--judge-steps", what));
        }
        // Priors that have begun need their tokens alone, whatever became of the images.
        let has_tokens = |place: &PathBuf| {
            place.join("config.toml").exists() && Tokens::exist(&place.join("tokens"))
        };
        let needed = self.resume.is_none()
            || self.data.is_some()
            || !judged
            || !places.iter().all(has_tokens);
        let material = if needed {
            Some(self.material(global, &first, &request)?)
        } else {
            None
        };
        if let Some(m) = &material {
            check_stages(&gpu, &first.levels, m, &priors, (!judged).then_some(&judge))?;
            if self.auto_batch {
                passes::choose(global, &gpu, &mut first, &mut request, m)?;
                (priors, judge) = (priors_of(&request)?, judge_of(&request)?);
            }
            if self.resume.is_some() {
                for place in places.iter().filter(|place| has_tokens(place)) {
                    same_images(&Tokens::open(&place.join("tokens"))?, m)?;
                }
                request.data = absolute(&m.set.name);
            }
        }
        // What is to be replaced keeps what it was asked for until then.
        if !self.overwrite && !matches!(first.stage, Stage::New(_)) {
            request.save(&text_folder(run))?;
            begun.note();
        }
        let config = first.config;
        let ended = match first.stage {
            Stage::Trained(_) => CommandStatus::Done,
            Stage::New(images) => {
                let folder = self.begin(&config, &request)?;
                begun.note();
                train_first_stage(
                    global,
                    &gpu,
                    &config,
                    images,
                    &folder,
                    Start::Fresh,
                    GO_ON,
                    self.seen,
                )?
            }
            Stage::Begun(images, folder) => train_first_stage(
                global,
                &gpu,
                &config,
                images,
                &folder,
                Start::Resume,
                GO_ON,
                self.seen,
            )?,
        };
        if !matches!(ended, CommandStatus::Done) {
            return Ok(ended);
        }
        let model = FirstStageModel::load(&gpu, run)?;
        let mut done = judged;
        for (level, config) in priors.iter().enumerate() {
            if self.ended(&places[level], config.train.steps)? {
                continue;
            }
            done = false;
            match self.prior(
                global,
                &gpu,
                &model,
                level,
                material.as_ref(),
                config,
                &request,
                begun,
            )? {
                CommandStatus::Done => begun.note(),
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
        Ok(CommandStatus::Done)
    }

    /// Whether a stage of a run that is resumed was trained to its end.
    fn ended(&self, place: &Path, steps: u64) -> Result<bool> {
        Ok(self.resume.is_some() && ended(place, steps)?)
    }

    /// Returns the request of a new run.
    fn request(&self, run: &Path) -> Result<TrainRequest> {
        let kept = || {
            RunConfig::load(&run.join("config.toml"))
                .map(|kept| kept.data.source)
                .unwrap_or_default()
        };
        TrainRequest::new(
            self.data.as_deref().map_or_else(kept, absolute),
            &self.given(),
            |prior| self.prior_keys().apply(prior),
            |judge| self.judge_keys(judge),
        )
    }

    fn system(&self) -> text2image::System {
        self.system.map_or_else(Default::default, System::system)
    }

    fn given(&self) -> GivenOptions<'_> {
        GivenOptions {
            system: self.system.map(System::system),
            size: self.size.as_deref(),
            vocabulary: self.vocabulary,
            text_length: self.text_length,
            embeddings: self.embeddings,
            strict: self.strict,
            steps: self.steps,
            judge_steps: self.judge_steps,
        }
    }

    /// The keys of the prior that options set, its steps aside.
    fn prior_keys(&self) -> PriorKeys<'_> {
        PriorKeys {
            steps: None,
            batch: self.batch,
            lr: None,
            seed: self.seed,
            set: &self.set,
        }
    }

    fn judge_keys(&self, config: &mut ContrastiveConfig) -> Result<()> {
        let flags = [("train.seed", self.seed.map(|s| s.to_string()))];
        set_keys(config, flags, "--judge", &self.judge)
    }
}
