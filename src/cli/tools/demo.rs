//! `wgvq demo`: the main job on the embedded data, both stages.

use crate::cli::common::keys::open;
use crate::cli::common::losses::{Begun, through_losses};
use crate::cli::common::output;
use crate::cli::common::watch::Seen;
use crate::cli::first_stage::train::{GO_ON, train};
use crate::cli::prior::train::PriorCommand;
use crate::cli::{CommandStatus, Global};
use clap::Args;
use std::path::PathBuf;
use wgvq::Result;
use wgvq::config::presets::preset;
use wgvq::quantize::Registry;
use wgvq::storage::run_folder::RunFolder;
use wgvq::train::Start;

#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq demo                                # both stages, on the 3,786 emoji that are built in
  wgvq demo --steps 2000 --out runs/longer")]
pub struct Demo {
    /// The run's folder; a demo that it holds is replaced
    #[arg(long, default_value = "runs/demo")]
    out: PathBuf,
    /// Training steps
    #[arg(long, default_value_t = 500)]
    steps: u64,
    /// Training steps of the prior that samples are drawn from; 0 leaves it out
    #[arg(long, default_value_t = 200)]
    prior_steps: u64,
    /// Seed of everything random
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    seen: Seen,
}

impl Demo {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        let ended = through_losses(
            global,
            &self.out,
            |begun| self.first_stage(global, Start::Fresh, begun),
            || self.first_stage(global, Start::Resume, &Begun::default()),
        )?;
        match ended {
            CommandStatus::Done if self.prior_steps > 0 => self.prior(global),
            ended => Ok(ended),
        }
    }

    /// Trains the first stage, or goes on with it.
    fn first_stage(&self, global: &Global, start: Start, begun: &Begun) -> Result<CommandStatus> {
        let mut config = preset("emoji32")?.config()?;
        config.train.steps = self.steps;
        config.train.seed = self.seed;
        config.train.eval_every = 100;
        let config = config.resolve(&Registry::default())?;
        if start == Start::Fresh {
            RunFolder::may_create(&self.out, true)?;
            output::note(
                global,
                "a model that is trained already draws meanwhile: wgvq text2image sample emoji32 \
                 \"a red heart\"",
            );
        }
        let gpu = global.gpu()?;
        let data = open(&config)?;
        let folder = match start {
            Start::Fresh => RunFolder::create(&self.out, true)?,
            Start::Resume => RunFolder::resume(&self.out)?,
        };
        let ended = train(
            global, &gpu, &config, data, &folder, start, GO_ON, self.seen,
        );
        begun.in_folder(&folder, ended)
    }

    /// Trains the second stage, small and short.
    fn prior(&self, global: &Global) -> Result<CommandStatus> {
        let set = |key: &str, value: u64| format!("{key}={value}");
        let prior = PriorCommand {
            run: self.out.clone(),
            size: Some("tiny".into()),
            steps: Some(self.prior_steps),
            batch: Some(32),
            seed: Some(self.seed),
            set: vec![
                set("train.warmup", 20),
                set("train.eval_every", (self.prior_steps / 4).max(1)),
            ],
            overwrite: true,
            seen: self.seen,
            ..Default::default()
        };
        prior.run(global)
    }
}
