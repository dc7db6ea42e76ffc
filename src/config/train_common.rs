//! Keys that the `[train]` sections of all trained models have in common.

use super::learning_rate;
use super::words::word_keys;
use crate::config::{StepSchedule, check};
use crate::gpu::{DType, Gpu};
use crate::nn::MOST_LOSS_SCALE;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// The keys of every `[train]`.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainCommon {
    /// Steps of the training.
    pub steps: u64,
    /// Images of a pass; a step takes `accumulate` passes.
    pub batch_size: usize,
    /// Passes of a step, whose gradients are averaged: a step sees `batch_size` times as many
    /// images, and the activations of one pass are in memory at a time.
    pub accumulate: usize,
    /// Highest learning rate of Adam.
    pub lr: f32,
    /// Final learning rate, as a share of `lr`.
    pub min_lr: f32,
    /// Steps over which the learning rate rises at first.
    pub warmup: u64,
    /// Decoupled weight decay; above 0 the optimiser is AdamW.
    pub weight_decay: f32,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Steps per row of the log.
    pub log_every: u64,
    /// Steps between measurements on images held out; 0 measures at the end alone.
    pub eval_every: u64,
    /// Steps between checkpoints; 0 saves at the end alone.
    pub checkpoint_every: u64,
    /// Checkpoints that are kept.
    pub keep_checkpoints: usize,
}

/// The keys of the `[train]` of a first stage and of a prior.
#[derive(Clone, Debug, PartialEq)]
pub struct StageTrain {
    /// Keys that a contrastive model has, too.
    pub common: TrainCommon,
    /// Steps after the warm-up over which the learning rate falls along half a cosine. At 0 that of
    /// a first stage does not fall, and that of a prior falls until the last step.
    pub decay_steps: u64,
    /// Decay of the first moments in Adam.
    pub beta1: f32,
    /// Decay of the second moments in Adam.
    pub beta2: f32,
    /// Added to Adam's denominator.
    pub adam_eps: f32,
    /// Norm to which gradients are clipped; 0 clips none.
    pub grad_clip: f32,
    /// Decay of a moving average of the weights, which is then what is measured and kept; 0: there
    /// is none.
    pub ema_decay: f32,
    /// Precision of activations, and of the weights that products and convolutions read: `f32`;
    /// `mixed`, f16 with a scaled loss; or `auto`, which is f32 until mixed precision was timed on
    /// a GPU.
    pub precision: Precision,
    /// Loss scale at the first step of mixed precision: a power of two.
    pub loss_scale: f32,
    /// Type in which activations are stored for the backward pass: `f32` or `f16`. Sums, weights
    /// and gradients are f32 either way; with `precision = "mixed"` it is not read.
    pub dtype: ActivationDtype,
    /// Keep no activations inside the model's blocks, and compute them again in the backward pass
    /// (Chen et al. 2016): less memory, more time, the same bits. A run may change it when it is
    /// resumed.
    pub gradient_checkpointing: bool,
}

/// Keys of both that had another name: that one, and the one that they have.
pub(super) const RENAMED: [(&str, &str); 1] =
    [("train.checkpoint_blocks", "train.gradient_checkpointing")];

/// Images of a step, at most.
const MOST_IMAGES: usize = 1 << 24;
/// `train.accumulate`, which first stages and contrastive models did not always have.
pub(super) const ACCUMULATE: (&str, &str) = ("train.accumulate", "1");

/// `train.precision` and `train.loss_scale`, which there were not always.
pub(super) const PRECISION: [(&str, &str); 2] = [
    ("train.precision", "\"f32\""),
    ("train.loss_scale", "65536.0"),
];

/// The precision of a training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// All in 32 bits, but for what `train.dtype` says.
    #[default]
    F32,
    /// Activations, and copies of the weights, in f16; sums, weights, statistics, losses, codebooks
    /// and distances in f32; losses scaled (Micikevicius et al. 2018).
    Mixed,
    /// Whichever was measured to be faster on the adapter.
    Auto,
}

impl Precision {
    /// Returns the precision in which a run goes on that was begun in `kept`: what it chose, where
    /// the choice is left open.
    pub fn of_run(self, kept: Precision) -> Precision {
        match self {
            Precision::Auto => kept,
            other => other,
        }
    }

    /// Returns the precision to train in on an adapter. On none was [`Precision::Mixed`] measured
    /// to be faster yet, so that it has to be asked for.
    ///
    /// # Errors
    /// If kernels on the adapter have no f16, and mixed precision is asked for.
    pub(crate) fn on(self, gpu: &Gpu) -> Result<Precision> {
        match self {
            Precision::F32 | Precision::Auto => Ok(Precision::F32),
            Precision::Mixed if gpu.shader_f16() => Ok(Precision::Mixed),
            Precision::Mixed => Err(Error::config(
                "train.precision",
                format!(
                    "mixed is not possible on {}: its kernels have no f16. A new run may set it to \
                     f32, and train.dtype to f16 for activations that take half the memory; one \
                     that was begun in it goes on where kernels have f16",
                    gpu.info().name
                ),
            )),
        }
    }
}

word_keys!(Precision);

/// Type of stored activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActivationDtype {
    /// In 32 bits.
    #[default]
    F32,
    /// In 16 bits: half the memory.
    F16,
}

word_keys!(ActivationDtype);

impl StageTrain {
    /// Returns the loss scale that mixed precision begins with; `None` where the precision is
    /// another.
    pub(crate) fn first_scale(&self) -> Option<f32> {
        (self.precision == Precision::Mixed).then_some(self.loss_scale)
    }

    /// Returns the type in which activations are stored.
    pub(crate) fn activations(&self) -> DType {
        match self.precision {
            Precision::Mixed => DType::F16,
            Precision::F32 | Precision::Auto => self.dtype.into(),
        }
    }
}

impl From<ActivationDtype> for DType {
    fn from(dtype: ActivationDtype) -> DType {
        match dtype {
            ActivationDtype::F32 => DType::F32,
            ActivationDtype::F16 => DType::F16,
        }
    }
}

/// Makes the keys of an embedded section reachable from the one that embeds it.
macro_rules! embeds {
    ($section:ty, $field:ident: $embedded:ty) => {
        impl std::ops::Deref for $section {
            type Target = $embedded;

            fn deref(&self) -> &$embedded {
                &self.$field
            }
        }

        impl std::ops::DerefMut for $section {
            fn deref_mut(&mut self) -> &mut $embedded {
                &mut self.$field
            }
        }
    };
}

pub(crate) use embeds;

embeds!(StageTrain, common: TrainCommon);

/// Whether it is a finite number above 0.
fn positive(x: f32) -> bool {
    x.is_finite() && x > 0.0
}

/// Whether it is a finite number of at least 0.
fn not_negative(x: f32) -> bool {
    x.is_finite() && x >= 0.0
}

/// An error that names the key, unless the value is a share below 1.
pub(super) fn check_share(key: &str, share: f32) -> Result<()> {
    check(key, share, (0.0..1.0).contains(&share), "from 0 to below 1")
}

impl TrainCommon {
    /// Returns the learning rate of a step, from 0 on, which falls over so many steps.
    pub(super) fn rate_over(&self, decay_steps: u64, step: u64) -> f64 {
        learning_rate::at(step, self.lr, self.min_lr, self.warmup, decay_steps)
    }

    /// Returns the images of a step.
    pub fn images(&self) -> usize {
        self.batch_size * self.accumulate
    }

    /// Checks that all values are usable, with batches of such sizes.
    pub(super) fn validate(&self, batch: RangeInclusive<usize>) -> Result<()> {
        check(
            "train.steps",
            self.steps,
            (1..=1 << 40).contains(&self.steps),
            "from 1 to 2^40",
        )?;
        check(
            "train.batch_size",
            self.batch_size,
            batch.contains(&self.batch_size),
            &format!("from {} to {}", batch.start(), batch.end()),
        )?;
        check(
            "train.accumulate",
            self.accumulate,
            (1..=1 << 16).contains(&self.accumulate),
            "from 1 to 65536",
        )?;
        let images = self.batch_size.saturating_mul(self.accumulate);
        if images > MOST_IMAGES {
            let what = format!(
                "{} passes of {} images: a step has at most {MOST_IMAGES} images",
                self.accumulate, self.batch_size
            );
            return Err(Error::config("train.accumulate", what));
        }
        check(
            "train.lr",
            self.lr,
            positive(self.lr) && self.lr <= 10.0,
            "above 0 and at most 10",
        )?;
        check(
            "train.min_lr",
            self.min_lr,
            (0.0..=1.0).contains(&self.min_lr),
            "from 0 to 1, a share of train.lr",
        )?;
        check(
            "train.warmup",
            self.warmup,
            self.warmup <= 1 << 40,
            "at most 2^40",
        )?;
        check(
            "train.weight_decay",
            self.weight_decay,
            not_negative(self.weight_decay),
            "a number of at least 0",
        )?;
        check("train.seed", self.seed, self.seed < 1 << 63, "below 2^63")?;
        check(
            "train.log_every",
            self.log_every,
            (1..=100_000).contains(&self.log_every),
            "from 1 to 100000",
        )?;
        check(
            "train.keep_checkpoints",
            self.keep_checkpoints,
            self.keep_checkpoints >= 1,
            "at least 1",
        )
    }
}

impl StageTrain {
    /// Returns the length of the training, and the steps over which its learning rate rises and
    /// falls.
    pub(super) fn schedule(&self) -> StepSchedule {
        StepSchedule {
            steps: self.steps,
            warmup: self.warmup,
            decay_steps: self.decay_steps,
        }
    }

    /// Checks that all values are usable.
    pub(super) fn validate(&self) -> Result<()> {
        self.common.validate(1..=1 << 16)?;
        check(
            "train.decay_steps",
            self.decay_steps,
            self.decay_steps <= 1 << 40,
            "at most 2^40",
        )?;
        check_share("train.beta1", self.beta1)?;
        check_share("train.beta2", self.beta2)?;
        check(
            "train.adam_eps",
            self.adam_eps,
            positive(self.adam_eps),
            "above 0",
        )?;
        check(
            "train.grad_clip",
            self.grad_clip,
            not_negative(self.grad_clip),
            "a number of at least 0",
        )?;
        // A power of two has no bit in its mantissa.
        let power = self.loss_scale.to_bits() & 0x007f_ffff == 0;
        check(
            "train.loss_scale",
            self.loss_scale,
            power && (1.0..=MOST_LOSS_SCALE).contains(&self.loss_scale),
            "a power of two from 1 to 2^100",
        )?;
        check_share("train.ema_decay", self.ema_decay)
    }
}
