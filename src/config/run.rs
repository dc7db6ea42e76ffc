//! A run's configuration: every key with its default, checked, and written out whole beside the
//! results.

use crate::Result;
use crate::config::Keyed;
use crate::config::check;
use crate::config::learning_rate;
use crate::config::objective::{Gan, Loss};
use crate::config::{Lasting, Span};
use crate::data;
use crate::models::vqvae2::MOST_LEVELS;
use crate::models::{vit, vqgan};
use crate::quantize::{Options, Registry};
use serde::{Deserialize, Serialize};

/// Everything that decides a run's result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunConfig {
    /// The model.
    pub model: Model,
    /// The quantizer.
    pub quantizer: crate::quantize::Options,
    /// The pictures.
    pub data: Data,
    /// What reconstructions are compared by.
    pub loss: Loss,
    /// The discriminator, where there is one.
    pub gan: Gan,
    /// The training.
    pub train: Train,
}

/// `[model]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Model {
    /// The architecture: `vqvae`, `vqvae2` with codes on several grids, or `vqgan` or `vit`, which
    /// are trained against a discriminator.
    pub kind: String,
    /// `vqvae2`: levels of codes, each above with half the rows and columns of the one below; 0 is
    /// the architecture's own, 2.
    pub levels: usize,
    /// `vqvae2`: codes of each level's codebook, the top level's first; empty, all have
    /// `quantizer.codebook_size`.
    pub codebook_sizes: Vec<usize>,
    /// `vqvae2`: share of the training steps whose images are drawn from some of the coarse levels
    /// alone, so that these hold what they can. Without, the finest level may learn to hold
    /// everything.
    pub level_dropout: f32,
    /// `vqvae2`: steps in which levels may be dropped; 0: all. Where they are the first part of a
    /// run, the rest of it makes up for what dropping costs.
    pub level_dropout_steps: u64,
    /// Channels inside; even. `vqgan`: at full resolution, a multiple of 32. `vit`: inside the
    /// blocks' MLPs; four times `dim` is usual.
    pub hidden: usize,
    /// Residual blocks on either side of the quantizer. `vqgan`: at each resolution, and one more
    /// in the decoder.
    pub residual_layers: usize,
    /// Channels inside a residual block of `vqvae` and `vqvae2`.
    pub residual_hidden: usize,
    /// Image pixels per latent, each way; a power of two. With several levels, of the finest.
    pub downsample: usize,
    /// `vqgan`: what `hidden` is multiplied by at each resolution, the finest first; empty, what
    /// is usual for the downsampling, such as [1, 2, 4] for 4. Where it is given, it decides the
    /// downsampling.
    pub multipliers: Vec<usize>,
    /// `vqgan`: downsamplings (1, 2, 4, ..) at which attention follows each block. It always acts
    /// once at the coarsest.
    pub attention: Vec<usize>,
    /// `vqgan`: channels between encoder and quantizer; 0: those of a latent.
    pub latent_channels: usize,
    /// `vit`: transformer blocks of the encoder, and of the decoder.
    pub layers: usize,
    /// `vit`: channels of a token.
    pub dim: usize,
    /// `vit`: heads of attention; they divide the channels.
    pub heads: usize,
}

/// What `hidden` is multiplied by at each resolution: those of taming-transformers' and latent
/// diffusion's models.
fn usual_multipliers(downsample: usize) -> Vec<usize> {
    match downsample {
        2 => vec![1, 2],
        4 => vec![1, 2, 4],
        8 => vec![1, 2, 2, 4],
        16 => vec![1, 1, 2, 2, 4],
        32 => vec![1, 1, 2, 2, 4, 4],
        _ => vec![1, 1, 2, 2, 4, 4, 4],
    }
}

impl Model {
    /// The same with the levels written out.
    pub fn resolved(&self) -> Model {
        let own = if self.kind == "vqvae2" { 2 } else { 1 };
        let mut all = Model {
            levels: if self.levels == 0 { own } else { self.levels },
            ..self.clone()
        };
        if all.kind == "vqgan" {
            match all.multipliers.len() {
                0 => all.multipliers = usual_multipliers(all.downsample),
                n => all.downsample = 1 << (n - 1).min(16),
            }
        }
        all
    }

    /// The shape of a `vit` for images of so many channels, rows and columns, whose latents have
    /// `codebook_dim`.
    pub(crate) fn vit_shape(
        &self,
        [height, width, channels]: [usize; 3],
        codebook_dim: usize,
    ) -> vit::Config {
        let Model {
            downsample,
            layers,
            dim,
            heads,
            hidden,
            ..
        } = *self;
        let grid = [height / downsample.max(1), width / downsample.max(1)];
        vit::Config {
            channels,
            grid,
            downsample,
            layers,
            dim,
            heads,
            hidden,
            codebook_dim,
        }
    }

    /// The shape of a `vqgan` for images of so many channels, whose latents have `codebook_dim`.
    pub(crate) fn gan_shape(&self, channels: usize, codebook_dim: usize) -> vqgan::Config {
        let all = self.resolved();
        vqgan::Config {
            channels,
            hidden: all.hidden,
            multipliers: all.multipliers,
            residual_layers: all.residual_layers,
            attention: all.attention,
            latent_channels: if all.latent_channels == 0 {
                codebook_dim
            } else {
                all.latent_channels
            },
            codebook_dim,
        }
    }

    /// Image pixels per latent of the coarsest level: what an image's sides must be multiples of.
    pub fn coarsest(&self) -> usize {
        let all = self.resolved();
        all.downsample << (all.levels - 1).min(16)
    }
}

/// `[data]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Data {
    /// A built-in name, an IDX file or a folder of images.
    pub source: String,
    /// Width that pictures are brought to; 0 leaves it to the data.
    pub width: usize,
    /// Height that pictures are brought to; 0 leaves it to the data.
    pub height: usize,
    /// Channels that pictures are brought to, 1 or 3; 0 leaves it to the data.
    pub channels: usize,
    /// Mirror half of the training pictures.
    pub flip: bool,
    /// What training sees of a photograph: `none`, its tiles or all of it; `random`, crops from
    /// anywhere in it.
    pub crop: String,
    /// The smallest area of a random crop, of the largest that fits the photograph. A crop is
    /// never enlarged.
    pub crop_scale_min: f64,
    /// The largest area of a random crop, of the largest that fits the photograph.
    pub crop_scale_max: f64,
    /// Shorter side in pixels at which photographs are cut into tiles, and are kept for random
    /// crops; 0: eight pictures.
    pub photo_side: usize,
    /// How much brightness, contrast and saturation of a training picture may change: each by a
    /// factor from 1 - color to 1 + color.
    pub color: f32,
    /// What is held out: `pictures`, the source's own test side or one picture in ten; or
    /// `captions`, combinations of words that no caption of the other side has, though it has each
    /// word.
    pub split: String,
    /// Where pixels lie: `memory`, `disk`, or `auto`, which is in memory what fits data.memory_mib
    /// and half of the memory that the process may use.
    pub store: String,
    /// MiB of pixels that may lie in memory.
    pub memory_mib: u64,
    /// MiB that decoded pictures may take on disk, those of all data sets together.
    pub cache_mib: u64,
    /// Threads that make batches ahead; 0 leaves it to the processor.
    pub workers: usize,
}

/// `[train]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Train {
    /// Steps in all.
    pub steps: u64,
    /// Pictures per step.
    pub batch_size: usize,
    /// Adam's learning rate.
    pub lr: f32,
    /// Steps over which it rises to that.
    pub warmup: u64,
    /// Steps after them over which it falls along half a cosine; 0: it does not.
    pub decay_steps: u64,
    /// What it falls to, as a share of `lr`.
    pub min_lr: f32,
    /// Adam's first decay.
    pub beta1: f32,
    /// Adam's second decay.
    pub beta2: f32,
    /// Added to Adam's denominator.
    pub adam_eps: f32,
    /// Decay of a moving average of weights and codes, which is what is measured and kept; 0:
    /// there is none.
    pub ema_decay: f32,
    /// Decoupled weight decay; above 0 the optimiser is AdamW.
    pub weight_decay: f32,
    /// How activations are stored between layers while training: `f32`, or `f16` in half the
    /// memory. Sums, weights, gradients, latents and codes are f32 either way.
    pub dtype: String,
    /// Keep no activations inside the model's blocks, and compute them again in the backward pass:
    /// less memory, more time, the same bits. A run may change it when it is resumed.
    pub checkpoint_blocks: bool,
    /// Norm to which gradients are clipped; 0 clips none.
    pub grad_clip: f32,
    /// Seed of everything random.
    pub seed: u64,
    /// Steps per row of the log.
    pub log_every: u64,
    /// Steps between measurements on the test split; 0 measures at the end alone.
    pub eval_every: u64,
    /// Steps between checkpoints; 0 saves at the end alone.
    pub checkpoint_every: u64,
    /// Checkpoints that are kept.
    pub keep_checkpoints: usize,
    /// Mend a codebook that collapses (revive its dead codes) and a run that diverges (go back, at
    /// half the rate).
    pub auto_heal: bool,
}

impl Default for Model {
    fn default() -> Self {
        Model {
            kind: "vqvae".into(),
            levels: 0,
            codebook_sizes: Vec::new(),
            level_dropout: 0.0,
            level_dropout_steps: 0,
            hidden: 128,
            residual_layers: 2,
            residual_hidden: 32,
            downsample: 4,
            multipliers: Vec::new(),
            attention: Vec::new(),
            latent_channels: 0,
            layers: 8,
            dim: 256,
            heads: 4,
        }
    }
}

impl Default for Data {
    fn default() -> Self {
        Data {
            source: "emoji".into(),
            width: 0,
            height: 0,
            channels: 0,
            flip: false,
            crop: "none".into(),
            crop_scale_min: 0.01,
            crop_scale_max: 0.25,
            photo_side: 0,
            color: 0.0,
            split: "pictures".into(),
            store: "auto".into(),
            memory_mib: 4096,
            cache_mib: 10 << 10,
            workers: 0,
        }
    }
}

impl Default for Train {
    fn default() -> Self {
        Train {
            steps: 2000,
            batch_size: 32,
            lr: 3e-4,
            warmup: 0,
            decay_steps: 0,
            min_lr: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            adam_eps: 1e-8,
            ema_decay: 0.0,
            weight_decay: 0.0,
            dtype: "f32".into(),
            checkpoint_blocks: false,
            grad_clip: 0.0,
            seed: 0,
            log_every: 10,
            eval_every: 500,
            checkpoint_every: 500,
            keep_checkpoints: 3,
            auto_heal: false,
        }
    }
}

impl Train {
    /// The learning rate of a step, from 0 on.
    pub fn rate(&self, step: u64) -> f64 {
        learning_rate::at(step, self.lr, self.min_lr, self.warmup, self.decay_steps)
    }
}

impl Data {
    /// Does training see random crops?
    pub(crate) fn crops(&self) -> bool {
        self.crop == "random"
    }

    /// How [`data::open`] is to open them.
    pub fn options(&self) -> data::Options {
        let size = match (self.width, self.height) {
            (0, 0) => None,
            (w, 0) => Some((w, w)),
            (0, h) => Some((h, h)),
            (w, h) => Some((w, h)),
        };
        data::Options {
            size,
            channels: (self.channels > 0).then_some(self.channels),
            cache_dir: None,
            whole: self.crop == "random",
            photo_side: self.photo_side,
            keep: match self.store.as_str() {
                "memory" => data::Keep::Memory,
                "disk" => data::Keep::Disk,
                _ => data::Keep::Auto,
            },
            memory_bytes: self.memory_mib << 20,
            cache_bytes: self.cache_mib << 20,
            hold_out: if self.split == "captions" {
                data::HoldOut::Combinations
            } else {
                data::HoldOut::Pictures
            },
        }
    }

    fn validate(&self) -> Result<()> {
        let d = self;
        check(
            "data.channels",
            d.channels,
            matches!(d.channels, 0 | 1 | 3),
            "0, 1 or 3",
        )?;
        check("data.width", d.width, d.width <= 16384, "at most 16384")?;
        check("data.height", d.height, d.height <= 16384, "at most 16384")?;
        check(
            "data.source",
            "an empty text",
            !d.source.is_empty(),
            "a built-in name, a file or a folder",
        )?;
        check(
            "data.crop",
            &d.crop,
            matches!(d.crop.as_str(), "none" | "random"),
            "none or random",
        )?;
        let share = |x: f64| (0.0..=1.0).contains(&x);
        check(
            "data.crop_scale_min",
            d.crop_scale_min,
            share(d.crop_scale_min),
            "from 0 to 1",
        )?;
        let at_least = format!("from data.crop_scale_min, {}, to 1", d.crop_scale_min);
        let most = share(d.crop_scale_max) && d.crop_scale_max >= d.crop_scale_min;
        check("data.crop_scale_max", d.crop_scale_max, most, &at_least)?;
        let side = d.photo_side == 0 || (d.width.max(d.height)..=16384).contains(&d.photo_side);
        check(
            "data.photo_side",
            d.photo_side,
            side,
            "0, or from data.width and data.height to 16384",
        )?;
        check(
            "data.color",
            d.color,
            (0.0..=1.0).contains(&d.color),
            "from 0 to 1",
        )?;
        check(
            "data.split",
            &d.split,
            matches!(d.split.as_str(), "pictures" | "captions"),
            "pictures or captions",
        )?;
        let store = matches!(d.store.as_str(), "auto" | "memory" | "disk");
        check("data.store", &d.store, store, "auto, memory or disk")?;
        check(
            "data.memory_mib",
            d.memory_mib,
            d.memory_mib <= 1 << 30,
            "at most 2^30",
        )?;
        check(
            "data.cache_mib",
            d.cache_mib,
            d.cache_mib <= 1 << 30,
            "at most 2^30",
        )?;
        check("data.workers", d.workers, d.workers <= 256, "at most 256")
    }
}

impl Keyed for RunConfig {}

impl Lasting for RunConfig {
    fn span(&self) -> Span {
        let Train {
            steps,
            warmup,
            decay_steps,
            ..
        } = self.train;
        Span {
            steps,
            warmup,
            decay_steps,
        }
    }

    fn decaying(mut self, decay_steps: u64) -> Self {
        self.train.decay_steps = decay_steps;
        self
    }

    /// Every value, but for the steps in all, for where pictures and pixels lie and how many
    /// threads make batches of them, and for what the backward pass keeps. These leave the steps
    /// that were done as they are; any other change would not. That the pictures are the
    /// same is told by their sum, which checkpoints have.
    fn plain_identity(&self) -> Result<String> {
        let mut same = self.clone();
        same.data.source = Data::default().source;
        same.identity_with_source()
    }

    /// They had the source in them, as it was written.
    fn earlier_identities(&self, kept: &Self) -> Result<Vec<String>> {
        let mut same = self.clone();
        same.data.source.clone_from(&kept.data.source);
        // Another schedule than the run began with was another configuration.
        same.decaying(kept.train.decay_steps)
            .identity_with_source()
            .map(|identity| vec![identity])
    }
}

impl RunConfig {
    /// The model's name, as `model.kind` has it.
    pub(crate) fn model_name(&self) -> String {
        self.model.kind.clone()
    }

    /// The same with every value written out that was left to the quantizer.
    pub fn resolved(&self) -> RunConfig {
        let adversarial = matches!(self.model.kind.as_str(), "vqgan" | "vit");
        RunConfig {
            model: self.model.resolved(),
            quantizer: self.quantizer.resolved(),
            loss: self.loss.resolved(adversarial),
            gan: self.gan.resolved(adversarial),
            ..self.clone()
        }
    }

    fn identity_with_source(&self) -> Result<String> {
        let mut same = self.resolved();
        same.train.steps = 1;
        same.train.checkpoint_blocks = false;
        let Data {
            store,
            memory_mib,
            cache_mib,
            workers,
            ..
        } = Data::default();
        same.data = Data {
            store,
            memory_mib,
            cache_mib,
            workers,
            ..same.data
        };
        same.sha256()
    }

    /// Are all values usable?
    ///
    /// # Errors
    /// On the first that is not: its key, its value and what is allowed.
    pub fn validate(&self) -> Result<()> {
        self.validate_with(&Registry::default())
    }

    /// [`RunConfig::validate`] where a program has quantizers of its own.
    ///
    /// # Errors
    /// As [`RunConfig::validate`].
    pub fn validate_with(&self, registry: &Registry) -> Result<()> {
        let (m, q, d, t) = (&self.model, &self.quantizer, &self.data, &self.train);
        let kinds = matches!(m.kind.as_str(), "vqvae" | "vqvae2" | "vqgan" | "vit");
        check("model.kind", &m.kind, kinds, "vqvae, vqvae2, vqgan or vit")?;
        let levels = m.resolved().levels;
        match m.kind.as_str() {
            "vqvae" | "vqgan" | "vit" => {
                check(
                    "model.levels",
                    levels,
                    levels == 1,
                    "1: `model.kind = \"vqvae2\"` has more",
                )?;
            }
            _ => {
                let allowed = format!("from 2 to {MOST_LEVELS}; `model.kind = \"vqvae\"` has one");
                check(
                    "model.levels",
                    levels,
                    (2..=MOST_LEVELS).contains(&levels),
                    &allowed,
                )?;
            }
        }
        let share = (0.0..1.0).contains(&m.level_dropout);
        check(
            "model.level_dropout",
            m.level_dropout,
            share,
            "from 0 to below 1",
        )?;
        let sizes = m.codebook_sizes.len();
        let what = format!("empty, or of one size for each of {levels} levels");
        check(
            "model.codebook_sizes",
            format!("a list of {sizes}"),
            sizes == 0 || sizes == levels,
            &what,
        )?;
        check(
            "model.hidden",
            m.hidden,
            m.hidden.is_multiple_of(2) && (2..=4096).contains(&m.hidden),
            "even, from 2 to 4096",
        )?;
        check(
            "model.residual_layers",
            m.residual_layers,
            m.residual_layers <= 64,
            "at most 64",
        )?;
        check(
            "model.residual_hidden",
            m.residual_hidden,
            (1..=4096).contains(&m.residual_hidden),
            "from 1 to 4096",
        )?;
        check(
            "model.latent_channels",
            m.latent_channels,
            m.latent_channels <= 4096,
            "at most 4096",
        )?;
        let power = m.downsample.is_power_of_two() && (2..=64).contains(&m.downsample);
        check(
            "model.downsample",
            m.downsample,
            power,
            "a power of two from 2 to 64",
        )?;
        registry.find(&q.kind)?;
        q.check()?;
        let sized = |k: &usize| {
            q.kind != "fsq"
                && Options {
                    codebook_size: *k,
                    ..q.clone()
                }
                .check()
                .is_ok()
        };
        let list = format!("{:?}", m.codebook_sizes);
        let what = format!(
            "what quantizer.codebook_size may be with the quantizer `{}`",
            q.kind
        );
        check(
            "model.codebook_sizes",
            list,
            m.codebook_sizes.iter().all(sized),
            &what,
        )?;
        let positive = |x: f32| x.is_finite() && x > 0.0;
        let not_negative = |x: f32| x.is_finite() && x >= 0.0;
        if m.kind == "vqgan" {
            // The quantizer says how many channels its latents have; any number will do to check
            // the rest.
            m.gan_shape(3, 4).check()?;
        }
        if m.kind == "vit" {
            // So is the images' size, where it is the data's own.
            let side = |pixels: usize| if pixels == 0 { m.downsample } else { pixels };
            m.vit_shape([side(d.height), side(d.width), 3], 4).check()?;
        }
        let all = self.resolved();
        all.loss.validate()?;
        all.gan.validate()?;
        d.validate()?;
        // A size of 0 is the data's own, and is checked once that is known.
        let coarsest = m.coarsest();
        let whole = |pixels: usize| pixels.is_multiple_of(coarsest);
        let multiple = match levels {
            1 => format!("a multiple of model.downsample, {coarsest}"),
            _ => format!(
                "a multiple of {coarsest}, the pixels of a latent of the coarsest of {levels} \
                 levels"
            ),
        };
        check("data.width", d.width, whole(d.width), &multiple)?;
        check("data.height", d.height, whole(d.height), &multiple)?;
        check(
            "train.steps",
            t.steps,
            (1..=1 << 40).contains(&t.steps),
            "from 1 to 2^40",
        )?;
        check(
            "train.batch_size",
            t.batch_size,
            (1..=1 << 16).contains(&t.batch_size),
            "from 1 to 65536",
        )?;
        check(
            "train.lr",
            t.lr,
            positive(t.lr) && t.lr <= 10.0,
            "above 0 and at most 10",
        )?;
        check(
            "train.warmup",
            t.warmup,
            t.warmup <= 1 << 40,
            "at most 2^40",
        )?;
        check(
            "train.decay_steps",
            t.decay_steps,
            t.decay_steps <= 1 << 40,
            "at most 2^40",
        )?;
        check(
            "train.min_lr",
            t.min_lr,
            (0.0..=1.0).contains(&t.min_lr),
            "from 0 to 1, a share of train.lr",
        )?;
        check(
            "train.beta1",
            t.beta1,
            (0.0..1.0).contains(&t.beta1),
            "from 0 to below 1",
        )?;
        check(
            "train.beta2",
            t.beta2,
            (0.0..1.0).contains(&t.beta2),
            "from 0 to below 1",
        )?;
        check(
            "train.adam_eps",
            t.adam_eps,
            positive(t.adam_eps),
            "above 0",
        )?;
        check(
            "train.ema_decay",
            t.ema_decay,
            (0.0..1.0).contains(&t.ema_decay),
            "from 0 to below 1",
        )?;
        check(
            "train.weight_decay",
            t.weight_decay,
            not_negative(t.weight_decay),
            "a number of at least 0",
        )?;
        check(
            "train.dtype",
            &t.dtype,
            matches!(t.dtype.as_str(), "f32" | "f16"),
            "f32 or f16",
        )?;
        check(
            "train.grad_clip",
            t.grad_clip,
            not_negative(t.grad_clip),
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut config = RunConfig::default();
        config.set("quantizer.codebook_size", "1024").unwrap();
        config.set("data.source", "my pictures").unwrap();
        config.set("train.lr", "1e-3").unwrap();
        config.set("quantizer.kmeans_init", "false").unwrap();
        config.set("quantizer.levels", "[7, 5,5]").unwrap();
        let again = RunConfig::from_toml(&config.to_toml().unwrap()).unwrap();
        assert_eq!(again, config);
        assert_eq!(again.sha256().unwrap(), config.sha256().unwrap());
        assert_ne!(
            config.sha256().unwrap(),
            RunConfig::default().sha256().unwrap()
        );
    }

    #[test]
    fn a_resumed_run_may_change_where_pixels_lie_and_nothing_that_they_are() {
        let config = RunConfig::default();
        let first = config.identity().unwrap();
        assert_eq!(config.resolved().identity().unwrap(), first);
        for (key, value, same) in [
            ("train.steps", "77", true),
            ("train.checkpoint_blocks", "true", true),
            ("data.workers", "3", true),
            ("data.store", "disk", true),
            ("data.memory_mib", "1", true),
            ("data.cache_mib", "1", true),
            ("data.crop", "random", false),
            ("data.source", "elsewhere", true),
            ("data.color", "0.1", false),
            ("data.crop_scale_min", "0.02", false),
            ("data.photo_side", "512", false),
            ("data.flip", "true", false),
            ("train.seed", "1", false),
        ] {
            let mut other = config.clone();
            other.set(key, value).unwrap();
            assert_eq!(other.identity().unwrap() == first, same, "{key}");
        }
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        for (text, near) in [
            ("[quantizer]\ncodebok_size = 3", "quantizer.codebook_size"),
            ("[train]\nlearning_rate = 1", "train."),
            ("[quantiser]\ndecay = 0.9", "quantizer"),
            ("[model]\nbatch_size = 3", "train.batch_size"),
        ] {
            let error = RunConfig::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(near), "{error}");
        }
        let error = RunConfig::default()
            .set("train.stps", "3")
            .unwrap_err()
            .to_string();
        assert!(error.contains("train.steps"), "{error}");
    }

    #[test]
    fn wrong_types_and_broken_files_are_errors() {
        for text in [
            "[train]\nsteps = \"many\"",
            "[train]\nsteps = 1.5",
            "train = 3",
            "[train",
            "[data]\nsource = 3",
        ] {
            assert!(RunConfig::from_toml(text).is_err(), "{text}");
        }
        assert_eq!(
            RunConfig::from_toml("[train]\nlr = 1").unwrap().train.lr,
            1.0
        );
        assert!(RunConfig::default().set("train.steps", "-").is_err());
    }

    #[test]
    fn unusable_values_are_named() {
        RunConfig::default().validate().unwrap();
        for (key, value) in [
            ("quantizer.codebook_size", "0"),
            ("quantizer.codebook_dim", "5000"),
            ("quantizer.codebook_size", "16777217"),
            ("quantizer.decay", "1.0"),
            ("quantizer.decay", "nan"),
            ("model.downsample", "3"),
            ("model.downsample", "1"),
            ("model.hidden", "7"),
            ("train.batch_size", "0"),
            ("train.lr", "inf"),
            ("train.lr", "0"),
            ("train.min_lr", "1.5"),
            ("train.steps", "0"),
            ("data.channels", "2"),
            ("data.crop", "center"),
            ("data.crop_scale_min", "-0.1"),
            ("data.crop_scale_max", "0.001"),
            ("data.color", "nan"),
            ("data.store", "tape"),
            ("data.split", "halves"),
            ("data.workers", "1000"),
            ("data.photo_side", "20000"),
            ("quantizer.kind", "nonesuch"),
            ("quantizer.temperature", "0"),
            ("quantizer.sample_codebook_temp", "0"),
            ("quantizer.orthogonal_reg_weight", "1"),
        ] {
            let mut config = RunConfig::default();
            config.set(key, value).unwrap();
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(key), "{key} = {value}: {error}");
        }
        for (kind, key, value) in [
            ("fsq", "quantizer.levels", "8,1,5"),
            ("fsq", "quantizer.levels", "4096,4097"),
            ("lfq", "quantizer.codebook_size", "500"),
            ("product", "quantizer.groups", "5"),
            ("product", "quantizer.groups", "0"),
            ("residual", "quantizer.num_quantizers", "0"),
        ] {
            let mut config = RunConfig::default();
            config.set("quantizer.kind", kind).unwrap();
            config.set(key, value).unwrap();
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(key), "{kind}: {key} = {value}: {error}");
        }
    }
}
