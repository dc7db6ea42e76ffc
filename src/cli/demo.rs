//! `wgvq demo`: the main job on the embedded data.

use super::train::{open, train};
use super::{Ended, Global};
use clap::Args;
use std::path::PathBuf;
use wgvq::Result;
use wgvq::train::Start;
use wgvq::train::presets::preset;
use wgvq::train::run_folder::RunFolder;

#[derive(Args)]
pub struct Demo {
    /// The run's folder; a demo that it holds is replaced
    #[arg(long, default_value = "runs/demo")]
    out: PathBuf,
    /// Training steps
    #[arg(long, default_value_t = 500)]
    steps: u64,
    /// Seed of everything random
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Demo {
    pub fn run(&self, global: &Global) -> Result<Ended> {
        let mut config = preset("emoji32")?.config;
        config.train.steps = self.steps;
        config.train.seed = self.seed;
        config.train.eval_every = 100;
        config.validate()?;
        let gpu = global.gpu()?;
        let data = open(&config)?;
        let folder = RunFolder::create(&self.out, true)?;
        train(global, &gpu, &config, data, &folder, Start::Fresh)
    }
}
