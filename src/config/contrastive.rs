//! The configuration of a contrastive model.

use crate::Result;
use crate::config::check;
use crate::config::{Keyed, learning_rate};
use crate::models::contrastive::Shape;
use serde::{Deserialize, Serialize};

/// Everything that decides what the model becomes, beside images and texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContrastiveConfig {
    /// The model.
    pub model: Shape,
    /// The training.
    pub train: Train,
}

/// `[train]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Train {
    /// Steps in all.
    pub steps: u64,
    /// Pairs in a step: each image is told apart from the others' texts.
    pub batch_size: usize,
    /// AdamW's learning rate at its highest.
    pub lr: f32,
    /// What the rate falls to, as a share of the highest.
    pub min_lr: f32,
    /// Steps in which the rate rises.
    pub warmup: u64,
    /// Decoupled weight decay, of matrices other than embeddings.
    pub weight_decay: f32,
    /// Seed of everything random.
    pub seed: u64,
    /// Steps per row of the log.
    pub log_every: u64,
    /// Steps between measurements; 0 measures at the end alone.
    pub eval_every: u64,
    /// Steps between checkpoints; 0 saves at the end alone.
    pub checkpoint_every: u64,
    /// Checkpoints that are kept.
    pub keep_checkpoints: usize,
}

impl Default for Train {
    fn default() -> Self {
        Train {
            steps: 1500,
            batch_size: 64,
            lr: 1e-3,
            min_lr: 0.05,
            warmup: 100,
            weight_decay: 0.1,
            seed: 0,
            log_every: 10,
            eval_every: 250,
            checkpoint_every: 500,
            keep_checkpoints: 2,
        }
    }
}

impl Keyed for ContrastiveConfig {}

impl ContrastiveConfig {
    /// Are all values usable?
    ///
    /// # Errors
    /// On the first that is not: its key, its value and what is allowed.
    pub fn validate(&self) -> Result<()> {
        self.model.check()?;
        let t = &self.train;
        check(
            "train.steps",
            t.steps,
            (1..=1 << 40).contains(&t.steps),
            "from 1 to 2^40",
        )?;
        check(
            "train.batch_size",
            t.batch_size,
            (2..=1 << 14).contains(&t.batch_size),
            "from 2 to 16384",
        )?;
        check(
            "train.lr",
            t.lr,
            t.lr.is_finite() && t.lr > 0.0 && t.lr <= 10.0,
            "above 0 and at most 10",
        )?;
        check(
            "train.min_lr",
            t.min_lr,
            (0.0..=1.0).contains(&t.min_lr),
            "from 0 to 1, a share of train.lr",
        )?;
        check(
            "train.warmup",
            t.warmup,
            t.warmup <= 1 << 40,
            "at most 2^40",
        )?;
        let decay = t.weight_decay;
        check(
            "train.weight_decay",
            decay,
            decay.is_finite() && decay >= 0.0,
            "a number of at least 0",
        )?;
        check("train.seed", t.seed, t.seed < 1 << 63, "below 2^63")?;
        check(
            "train.log_every",
            t.log_every,
            (1..=100_000).contains(&t.log_every),
            "from 1 to 100000",
        )?;
        check(
            "train.keep_checkpoints",
            t.keep_checkpoints,
            t.keep_checkpoints >= 1,
            "at least 1",
        )
    }

    /// A hash of what a resumed run may not change: every value, but for the steps in all.
    ///
    /// # Errors
    /// As [`Keyed::to_toml`].
    pub fn identity(&self) -> Result<String> {
        let mut same = self.clone();
        same.train.steps = 0;
        same.sha256()
    }
}

impl Train {
    /// The learning rate of a step, from 0 on. It reaches its least at the last step.
    pub fn rate(&self, step: u64) -> f64 {
        learning_rate::at(
            step,
            self.lr,
            self.min_lr,
            self.warmup,
            learning_rate::to_the_end(self.steps, self.warmup),
        )
    }
}
