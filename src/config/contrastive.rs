//! The configuration of a contrastive model.

use crate::config::section::flat_section;
use crate::config::train_common::{ACCUMULATE, TrainCommon, embeds};
use crate::config::{DottedConfig, Resolved, learning_rate};
use crate::models::contrastive::Shape;
use crate::{Error, Result};
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

/// `[train]`. The batch is one of pairs: each image is told apart from the others' texts, of all
/// passes of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Train {
    /// Keys of everything that is trained.
    pub common: TrainCommon,
}

embeds!(Train, common: TrainCommon);

flat_section!(Train {
    steps,
    batch_size,
    accumulate,
    lr,
    min_lr,
    warmup,
    weight_decay,
    seed,
    log_every,
    eval_every,
    checkpoint_every,
    keep_checkpoints,
});

impl Default for Train {
    fn default() -> Self {
        Train {
            common: TrainCommon {
                steps: 1500,
                batch_size: 64,
                accumulate: 1,
                lr: 1e-3,
                min_lr: 0.05,
                warmup: 100,
                weight_decay: 0.1,
                seed: 0,
                log_every: 10,
                eval_every: 250,
                checkpoint_every: 500,
                keep_checkpoints: 2,
            },
        }
    }
}

/// Pairs of a step, at most.
const MOST_PAIRS: usize = 1 << 14;

impl DottedConfig for ContrastiveConfig {
    const ADDED: &'static [(&'static str, &'static str)] = &[ACCUMULATE];
}

impl ContrastiveConfig {
    /// Checks that all values are usable.
    ///
    /// # Errors
    /// On the first value that is not usable: its key, the value and what is allowed.
    pub fn resolve(&self) -> Result<Resolved<ContrastiveConfig>> {
        self.model.check()?;
        self.train.validate(2..=MOST_PAIRS)?;
        if self.train.images() > MOST_PAIRS {
            let what = format!(
                "{} passes of {} pairs: each image of a step is held against each text, and there \
                 are at most {MOST_PAIRS}",
                self.train.accumulate, self.train.batch_size
            );
            return Err(Error::config("train.accumulate", what));
        }
        Ok(Resolved::of(self.clone()))
    }

    /// A hash of what a resumed run may not change: every value, but for the steps in all.
    ///
    /// # Errors
    /// As [`DottedConfig::to_toml`].
    pub fn identity(&self) -> Result<String> {
        let mut same = self.clone();
        same.train.steps = 0;
        same.sha256()
    }
}

impl Train {
    /// Returns the learning rate of a step, from 0 on. It reaches its least at the last step.
    pub fn rate(&self, step: u64) -> f64 {
        self.rate_over(learning_rate::to_the_end(self.steps, self.warmup), step)
    }
}
