//! The trainings of rank 0, as the other ranks learn of them: they build the same trainer and
//! follow.

use super::Trainer;
use super::prior::PriorTrainer;
use crate::codes::tokens::Tokens;
use crate::config::DottedConfig;
use crate::config::prior::PriorConfig;
use crate::config::run::RunConfig;
use crate::data;
use crate::gpu::Gpu;
use crate::models::prior::CodeOrder;
use crate::parallel::Ranks;
use crate::quantize::Registry;
use crate::trainer::ranks::follow;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A training that rank 0 begins.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Job {
    /// A first stage: its configuration in TOML, which says where the images lie.
    FirstStage(String),
    /// A prior: its configuration in TOML, the folder of its tokens, and the order of the codes
    /// that it predicts in halves.
    Prior(String, PathBuf, Option<CodeOrder>),
    /// None: rank 0 has ended.
    End,
}

impl Job {
    /// Tells the other ranks, where there are some.
    ///
    /// # Errors
    /// If a rank is gone.
    pub(super) fn announce(&self, ranks: &Ranks) -> Result<()> {
        if !ranks.leads() {
            return Ok(());
        }
        let bytes = serde_json::to_vec(self);
        let bytes = bytes.map_err(|e| Error::data(format!("what is to be trained: {e}")))?;
        ranks.broadcast(bytes).map(drop)
    }

    /// [`Job::announce`] of a training, which this rank has ready; returns once all others have.
    ///
    /// # Errors
    /// As [`Job::announce`], and if another rank cannot train it: the message says which, and why.
    pub(super) fn begin(&self, ranks: &Ranks) -> Result<()> {
        self.announce(ranks)?;
        ranks.agree_on(Ok(()))
    }
}

/// Trains on `gpu` what rank 0 begins by [`super::run`] and
/// [`run_prior`](super::prior::run_prior), one after another, until it [`dismiss`]es this rank. All
/// ranks see the same files.
///
/// # Errors
/// If something cannot be trained here, or another rank is gone.
pub fn serve(gpu: &Gpu, ranks: &Ranks, registry: &Registry) -> Result<()> {
    loop {
        let said = ranks.broadcast(Vec::new())?;
        let unknown = |_| Error::data("rank 0 begins what this rank does not understand");
        match serde_json::from_slice(&said).map_err(unknown)? {
            Job::FirstStage(toml) => {
                let made = first_stage(gpu, ranks, registry, &toml);
                follow(ranks.agree_on(made)?)?;
            }
            Job::Prior(toml, tokens, order) => {
                let made = prior(gpu, ranks, &toml, &tokens, order);
                follow(ranks.agree_on(made)?)?;
            }
            Job::End => return Ok(()),
        }
    }
}

/// Makes the trainer of a [`Job::FirstStage`].
fn first_stage(gpu: &Gpu, ranks: &Ranks, registry: &Registry, toml: &str) -> Result<Trainer> {
    let config = RunConfig::from_toml(toml)?.resolve(registry)?;
    let set = data::open(&config.data.source, &config.data.options())?;
    Trainer::with(gpu, &config, Arc::new(set), registry)?.among(ranks.clone())
}

/// Makes the trainer of a [`Job::Prior`].
fn prior(
    gpu: &Gpu,
    ranks: &Ranks,
    toml: &str,
    tokens: &Path,
    order: Option<CodeOrder>,
) -> Result<PriorTrainer> {
    let config = PriorConfig::from_toml(toml)?.resolve()?;
    let tokens = Tokens {
        order,
        ..Tokens::open(tokens)?
    };
    Trainer::prior(gpu, &config, tokens)?.among(ranks.clone())
}

/// Lets the other ranks end that [`serve`].
///
/// # Errors
/// If one is gone.
pub fn dismiss(ranks: &Ranks) -> Result<()> {
    Job::End.announce(ranks)
}
