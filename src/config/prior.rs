//! A prior's configuration: every key with its default, checked, and written out whole beside its
//! results.

use crate::config::Keyed;
use crate::config::check;
use crate::config::learning_rate;
use crate::config::{Lasting, Span};
use crate::models::prior::Shape;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Everything that decides what a prior becomes, beside the tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PriorConfig {
    /// The model.
    pub prior: Shape,
    /// The training.
    pub train: Train,
}

/// `[train]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Train {
    /// Steps in all.
    pub steps: u64,
    /// Images per pass.
    pub batch_size: usize,
    /// Passes per step, whose gradients are averaged.
    pub accumulate: usize,
    /// AdamW's learning rate at its highest.
    pub lr: f32,
    /// What the rate falls to, as a share of the highest.
    pub min_lr: f32,
    /// Steps in which the rate rises.
    pub warmup: u64,
    /// Steps in which it then falls along a cosine (Loshchilov and Hutter 2017); 0 is until the
    /// last.
    pub decay_steps: u64,
    /// Adam's first decay.
    pub beta1: f32,
    /// Adam's second decay.
    pub beta2: f32,
    /// Added to Adam's denominator.
    pub adam_eps: f32,
    /// Decoupled weight decay, of matrices other than embeddings.
    pub weight_decay: f32,
    /// Norm to which gradients are clipped; 0 clips none.
    pub grad_clip: f32,
    /// Label smoothing.
    pub label_smoothing: f32,
    /// Share of the images whose class the model does not see, so that samples can be guided (Ho
    /// and Salimans 2021).
    pub class_dropout: f32,
    /// Decay of the moving average of the weights, which is what is measured and kept; 0 keeps the
    /// weights themselves.
    pub ema_decay: f32,
    /// Keep the weights of the best measurement, and not those of the last: small sets are learned
    /// by heart.
    pub keep_best: bool,
    /// What the backward pass needs of the inputs of linear maps is stored as this: `f32`, or
    /// `f16` in half the memory. Sums, weights and gradients are f32 either way.
    pub dtype: String,
    /// Keep no activations inside the model's blocks, and compute them again in the backward pass:
    /// less memory, more time, the same bits. A run may change it when it is resumed.
    pub checkpoint_blocks: bool,
    /// Seed of everything random.
    pub seed: u64,
    /// Steps per row of the log.
    pub log_every: u64,
    /// Steps between measurements; 0 measures at the end alone.
    pub eval_every: u64,
    /// Images held out that a measurement looks at, spread over them; 0 is all. The last looks at
    /// all.
    pub eval_images: usize,
    /// Steps between checkpoints; 0 saves at the end alone.
    pub checkpoint_every: u64,
    /// Checkpoints that are kept.
    pub keep_checkpoints: usize,
}

impl Default for Train {
    fn default() -> Self {
        Train {
            steps: 2000,
            batch_size: 64,
            accumulate: 1,
            lr: 1e-3,
            min_lr: 0.1,
            warmup: 100,
            decay_steps: 0,
            beta1: 0.9,
            beta2: 0.95,
            adam_eps: 1e-8,
            weight_decay: 0.05,
            grad_clip: 1.0,
            label_smoothing: 0.0,
            class_dropout: 0.1,
            ema_decay: 0.999,
            keep_best: true,
            dtype: "f32".into(),
            checkpoint_blocks: false,
            seed: 0,
            log_every: 10,
            eval_every: 250,
            eval_images: 1024,
            checkpoint_every: 500,
            keep_checkpoints: 2,
        }
    }
}

impl Keyed for PriorConfig {}

impl Lasting for PriorConfig {
    fn span(&self) -> Span {
        let Train {
            steps,
            warmup,
            decay_steps,
            ..
        } = self.resolved().train;
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

    /// Every value, but for the steps in all and for what the backward pass keeps.
    fn plain_identity(&self) -> Result<String> {
        let mut same = self.resolved();
        same.train.steps = 1;
        same.train.checkpoint_blocks = false;
        same.sha256()
    }

    /// Another schedule than the run began with was another configuration.
    fn earlier_identities(&self, kept: &Self) -> Result<Vec<String>> {
        self.clone()
            .decaying(kept.span().decay_steps)
            .plain_identity()
            .map(|identity| vec![identity])
    }
}

/// A size by name: layers, channels, heads.
const SIZES: [(&str, [usize; 3]); 5] = [
    ("tiny", [4, 128, 4]),
    ("small", [4, 192, 6]),
    ("base", [6, 256, 8]),
    ("medium", [8, 512, 8]),
    ("large", [14, 768, 12]),
];

impl Shape {
    /// The default model in a size by name: `tiny`, `small`, `base`, `medium` and `large` have 0.8,
    /// 1.8, 4.7, 25 and 99 million parameters beside the embeddings.
    ///
    /// # Errors
    /// If there is no such size; the message lists them.
    pub fn of_size(name: &str) -> Result<Shape> {
        match SIZES.iter().find(|(n, _)| *n == name) {
            Some((_, [layers, dim, heads])) => Ok(Shape {
                layers: *layers,
                dim: *dim,
                heads: *heads,
                ..Default::default()
            }),
            None => {
                let names: Vec<&str> = SIZES.iter().map(|(n, _)| *n).collect();
                Err(Error::config(
                    "--size",
                    format!("`{name}` is none: there are {}", names.join(", ")),
                ))
            }
        }
    }
}

impl PriorConfig {
    /// The same with every value written out that was left open.
    pub fn resolved(&self) -> PriorConfig {
        let mut all = self.clone();
        all.prior = all.prior.resolved();
        if all.train.decay_steps == 0 {
            all.train.decay_steps = learning_rate::to_the_end(all.train.steps, all.train.warmup);
        }
        all
    }

    /// Are all values usable?
    ///
    /// # Errors
    /// On the first that is not: its key, its value and what is allowed.
    pub fn validate(&self) -> Result<()> {
        self.prior.resolved().check()?;
        let t = &self.train;
        let positive = |x: f32| x.is_finite() && x > 0.0;
        let not_negative = |x: f32| x.is_finite() && x >= 0.0;
        let share = |x: f32| (0.0..1.0).contains(&x);
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
            "train.accumulate",
            t.accumulate,
            (1..=1 << 16).contains(&t.accumulate),
            "from 1 to 65536",
        )?;
        check(
            "train.lr",
            t.lr,
            positive(t.lr) && t.lr <= 10.0,
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
        check(
            "train.decay_steps",
            t.decay_steps,
            t.decay_steps <= 1 << 40,
            "at most 2^40",
        )?;
        check("train.beta1", t.beta1, share(t.beta1), "from 0 to below 1")?;
        check("train.beta2", t.beta2, share(t.beta2), "from 0 to below 1")?;
        check(
            "train.adam_eps",
            t.adam_eps,
            positive(t.adam_eps),
            "above 0",
        )?;
        check(
            "train.weight_decay",
            t.weight_decay,
            not_negative(t.weight_decay),
            "a number of at least 0",
        )?;
        check(
            "train.grad_clip",
            t.grad_clip,
            not_negative(t.grad_clip),
            "a number of at least 0",
        )?;
        check(
            "train.label_smoothing",
            t.label_smoothing,
            share(t.label_smoothing),
            "from 0 to below 1",
        )?;
        check(
            "train.class_dropout",
            t.class_dropout,
            (0.0..=1.0).contains(&t.class_dropout),
            "from 0 to 1",
        )?;
        check(
            "train.ema_decay",
            t.ema_decay,
            share(t.ema_decay),
            "from 0 to below 1",
        )?;
        check(
            "train.dtype",
            &t.dtype,
            matches!(t.dtype.as_str(), "f32" | "f16"),
            "f32 or f16",
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

impl Train {
    /// The learning rate of a step, from 0 on.
    pub fn rate(&self, step: u64) -> f64 {
        learning_rate::at(
            step,
            self.lr,
            self.min_lr,
            self.warmup,
            self.decay_steps.max(1),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_and_falls() {
        let config = PriorConfig {
            train: Train {
                steps: 1100,
                lr: 1.0,
                ..Default::default()
            },
            ..Default::default()
        };
        let t = config.resolved().train;
        assert_eq!(t.decay_steps, 1000);
        let close = |step, want: f64| {
            assert!(
                (t.rate(step) - want).abs() < 1e-6,
                "{step}: {}",
                t.rate(step)
            )
        };
        close(0, 0.01);
        close(99, 1.0);
        close(100, 1.0);
        close(600, 0.55);
        close(1100, 0.1);
        close(5000, 0.1);
    }

    /// The sizes hold what their description says.
    #[test]
    fn sizes_have_their_parameters() {
        for ((name, _), millions) in SIZES.iter().zip([0.8, 1.8, 4.7, 25.0, 99.0]) {
            let s = Shape::of_size(name).unwrap().resolved();
            let count = s.layers * (4 * s.dim * s.dim + 3 * s.dim * s.hidden);
            assert!(
                (count as f64 / 1e6 / millions - 1.0).abs() < 0.06,
                "{name}: {count}"
            );
        }
        assert!(
            Shape::of_size("huge")
                .unwrap_err()
                .to_string()
                .contains("tiny, small, base, medium, large")
        );
    }

    #[test]
    fn unusable_values_are_named() {
        PriorConfig::default().validate().unwrap();
        for (key, value) in [
            ("prior.layers", "0"),
            ("prior.heads", "5"),
            ("prior.heads", "0"),
            ("prior.heads", "96"),
            ("prior.rope_base", "1"),
            ("prior.dropout", "1"),
            ("train.accumulate", "0"),
            ("train.lr", "0"),
            ("train.min_lr", "1.5"),
            ("train.label_smoothing", "1"),
            ("train.class_dropout", "nan"),
            ("train.ema_decay", "1"),
            ("train.dtype", "f8"),
        ] {
            let mut config = PriorConfig::default();
            config.set(key, value).unwrap();
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(key), "{key} = {value}: {error}");
        }
        let error = PriorConfig::default()
            .set("prior.mlp", "relu")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("swiglu") && error.contains("gelu"),
            "{error}"
        );
        let error = PriorConfig::default()
            .set("prior.layer", "3")
            .unwrap_err()
            .to_string();
        assert!(error.contains("prior.layers"), "{error}");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut config = PriorConfig::default();
        config.set("prior.positions", "learned").unwrap();
        config.set("train.lr", "3e-4").unwrap();
        let config = config.resolved();
        assert_eq!(
            PriorConfig::from_toml(&config.to_toml().unwrap()).unwrap(),
            config
        );
        assert_eq!(config.resolved(), config);
    }
}
