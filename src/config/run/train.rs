//! `[train]`: how a first stage is trained.

use crate::config::section::flat_section;
use crate::config::train_common::{ActivationDtype, Precision, StageTrain, TrainCommon, embeds};

/// `[train]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Train {
    /// Keys that a prior has, too. With `decay_steps` of 0 the learning rate does not fall.
    pub stage: StageTrain,
    /// Recover from a codebook collapse (revive its dead codes) and from divergence (go back, at
    /// half the rate).
    pub auto_heal: bool,
}

embeds!(Train, stage: StageTrain);

flat_section!(Train {
    steps,
    batch_size,
    accumulate,
    lr,
    warmup,
    decay_steps,
    min_lr,
    beta1,
    beta2,
    adam_eps,
    ema_decay,
    weight_decay,
    precision,
    loss_scale,
    dtype,
    gradient_checkpointing as checkpoint_blocks,
    grad_clip,
    seed,
    log_every,
    eval_every,
    checkpoint_every,
    keep_checkpoints,
    auto_heal,
});

impl Default for Train {
    fn default() -> Self {
        Train {
            stage: StageTrain {
                common: TrainCommon {
                    steps: 2000,
                    batch_size: 32,
                    accumulate: 1,
                    lr: 3e-4,
                    min_lr: 0.01,
                    warmup: 0,
                    weight_decay: 0.0,
                    seed: 0,
                    log_every: 10,
                    eval_every: 500,
                    checkpoint_every: 500,
                    keep_checkpoints: 3,
                },
                decay_steps: 0,
                beta1: 0.9,
                beta2: 0.999,
                adam_eps: 1e-8,
                grad_clip: 0.0,
                ema_decay: 0.0,
                precision: Precision::F32,
                loss_scale: 65536.0,
                dtype: ActivationDtype::F32,
                gradient_checkpointing: false,
            },
            auto_heal: false,
        }
    }
}

impl Train {
    /// Returns the learning rate of a step, from 0 on.
    pub fn rate(&self, step: u64) -> f64 {
        self.rate_over(self.decay_steps, step)
    }
}
