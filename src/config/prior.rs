//! A prior's configuration: every key with its default, checked, and written out whole beside its
//! results.

use crate::config::section::flat_section;
use crate::config::train_common::{
    ActivationDtype, PRECISION, Precision, RENAMED, StageTrain, TrainCommon, check_share, embeds,
};
use crate::config::words::word_keys;
use crate::config::{DottedConfig, Resolved, Resumable, StepSchedule, check, learning_rate};
use crate::data::ClassWeights;
use crate::gpu::Gpu;
use crate::models::prior::{Order, Shape};
use crate::nn::MomentType;
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
#[derive(Clone, Debug, PartialEq)]
pub struct Train {
    /// Keys that a first stage has, too. The batch is that of a pass; with `decay_steps` of 0 the
    /// learning rate falls until the last step (Loshchilov and Hutter 2017).
    pub stage: StageTrain,
    /// Label smoothing: the share of each target that is spread evenly over all codes.
    pub label_smoothing: f32,
    /// Share of the images whose class or text is hidden from the model, so that samples can be
    /// guided (Ho and Salimans 2021).
    pub class_dropout: f32,
    /// Classes that are drawn more often than others: `none`, each image as often as any other;
    /// `balanced`, each class as often as any other; or a list of numbers, one for each class in
    /// their order, by which the images of the class are drawn more or less often.
    pub class_weights: ClassWeights,
    /// Keep the weights of the best measurement instead of those of the last, since small sets are
    /// learned by heart.
    pub keep_best: bool,
    /// Held-out images of a measurement, spread over them; 0: all. The last measurement takes all.
    pub eval_images: usize,
    /// Type in which the optimiser keeps its moments: `f32`, or `bf16`, half the memory, rounded so
    /// that they are kept on average.
    pub optimizer_state: MomentDtype,
    /// Let each of several processes keep a share of the optimiser's moments alone: the same
    /// numbers, and a message more in each step.
    pub shard_optimizer: bool,
}

/// Type of the optimiser's moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MomentDtype {
    /// In 32 bits.
    #[default]
    F32,
    /// In bfloat16.
    Bf16,
}

word_keys!(MomentDtype);

embeds!(Train, stage: StageTrain);

flat_section!(Train {
    steps,
    batch_size,
    accumulate,
    lr,
    min_lr,
    warmup,
    decay_steps,
    beta1,
    beta2,
    adam_eps,
    weight_decay,
    grad_clip,
    label_smoothing,
    class_dropout,
    class_weights,
    ema_decay,
    keep_best,
    optimizer_state,
    shard_optimizer,
    precision,
    loss_scale,
    dtype,
    gradient_checkpointing as checkpoint_blocks,
    seed,
    log_every,
    eval_every,
    eval_images,
    checkpoint_every,
    keep_checkpoints,
});

impl Default for Train {
    fn default() -> Self {
        Train {
            stage: StageTrain {
                common: TrainCommon {
                    steps: 2000,
                    batch_size: 64,
                    accumulate: 1,
                    lr: 1e-3,
                    min_lr: 0.1,
                    warmup: 100,
                    weight_decay: 0.05,
                    seed: 0,
                    log_every: 10,
                    eval_every: 250,
                    checkpoint_every: 500,
                    keep_checkpoints: 2,
                },
                decay_steps: 0,
                beta1: 0.9,
                beta2: 0.95,
                adam_eps: 1e-8,
                grad_clip: 1.0,
                ema_decay: 0.999,
                precision: Precision::F32,
                loss_scale: 65536.0,
                dtype: ActivationDtype::F32,
                gradient_checkpointing: false,
            },
            label_smoothing: 0.0,
            class_dropout: 0.1,
            class_weights: ClassWeights::None,
            keep_best: true,
            eval_images: 1024,
            optimizer_state: MomentDtype::F32,
            shard_optimizer: false,
        }
    }
}

impl DottedConfig for PriorConfig {
    const RENAMED: &'static [(&'static str, &'static str)] = &RENAMED;
    const ADDED: &'static [(&'static str, &'static str)] = &[
        ("prior.order", "\"raster\""),
        ("prior.kind", "\"autoregressive\""),
        ("prior.head", "\"table\""),
        ("train.class_weights", "\"none\""),
        ("train.optimizer_state", "\"f32\""),
        ("train.shard_optimizer", "false"),
        PRECISION[0],
        PRECISION[1],
    ];
}

impl Resumable for PriorConfig {
    fn schedule(&self) -> StepSchedule {
        self.written_out().train.schedule()
    }

    fn decaying(mut self, decay_steps: u64) -> Self {
        self.train.decay_steps = decay_steps;
        self
    }

    /// Returns every value, but for the steps in all and for what the backward pass keeps.
    fn plain_identity(&self) -> Result<String> {
        let mut same = self.written_out();
        // Orders are annealed over all steps.
        if same.prior.order != Order::Annealed {
            same.train.steps = 1;
        }
        same.train.gradient_checkpointing = false;
        same.train.shard_optimizer = false;
        same.sha256()
    }

    /// Another schedule than the run began with was another configuration.
    fn earlier_identities(&self, kept: &Self) -> Result<Vec<String>> {
        self.clone()
            .decaying(kept.schedule().decay_steps)
            .plain_identity()
            .map(|identity| vec![identity])
    }
}

/// A size by name: layers, channels, heads.
const SIZES: [(&str, [usize; 3]); 7] = [
    ("tiny", [4, 128, 4]),
    ("small", [4, 192, 6]),
    ("base", [6, 256, 8]),
    ("medium", [8, 512, 8]),
    ("large", [14, 768, 12]),
    ("xl", [24, 1024, 16]),
    ("xxl", [36, 1536, 24]),
];

impl Shape {
    /// The default model in a size by name: `tiny`, `small`, `base`, `medium`, `large`, `xl` and
    /// `xxl` have 0.8, 1.8, 4.7, 25, 99, 302 and 1,019 million parameters beside the embeddings.
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

impl Resolved<PriorConfig> {
    /// Returns the configuration with the precision that an adapter trains in.
    ///
    /// # Errors
    /// If the adapter cannot train in the one that was asked for.
    pub(crate) fn on(&self, gpu: &Gpu) -> Result<Resolved<PriorConfig>> {
        let precision = self.train.precision.on(gpu)?;
        Ok(self.clone().map(|mut config| {
            config.train.precision = precision;
            config
        }))
    }
}

impl PriorConfig {
    /// Checks that all values are usable, and writes out those that were left open.
    ///
    /// # Errors
    /// On the first value that is not usable: its key, the value and what is allowed.
    pub fn resolve(&self) -> Result<Resolved<PriorConfig>> {
        self.validate()?;
        Ok(Resolved::of(self.written_out()))
    }

    /// Returns the configuration with all open values written out.
    fn written_out(&self) -> PriorConfig {
        let mut all = self.clone();
        all.prior = all.prior.resolved();
        if all.train.decay_steps == 0 {
            all.train.decay_steps = learning_rate::to_the_end(all.train.steps, all.train.warmup);
        }
        all
    }

    fn validate(&self) -> Result<()> {
        self.prior.resolved().check()?;
        let t = &self.train;
        t.validate()?;
        check_share("train.label_smoothing", t.label_smoothing)?;
        t.class_weights.check("train.class_weights")?;
        check(
            "train.class_dropout",
            t.class_dropout,
            (0.0..=1.0).contains(&t.class_dropout),
            "from 0 to 1",
        )
    }
}

impl Train {
    /// Returns the type of the optimiser's moments, with the noise that they are rounded by.
    pub(crate) fn moments(&self) -> MomentType {
        match self.optimizer_state {
            MomentDtype::F32 => MomentType::F32,
            MomentDtype::Bf16 => MomentType::Bf16 { seed: self.seed },
        }
    }

    /// Returns the learning rate of a step, from 0 on.
    pub fn rate(&self, step: u64) -> f64 {
        self.rate_over(self.decay_steps.max(1), step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::Digest;

    #[test]
    fn the_rate_rises_and_falls() {
        let mut config = PriorConfig::default();
        (config.train.steps, config.train.lr) = (1100, 1.0);
        let t = config.written_out().train;
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
        for ((name, _), millions) in SIZES.iter().zip([0.8, 1.8, 4.7, 25.0, 99.0, 302.0, 1019.0]) {
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
                .contains("tiny, small, base, medium, large, xl, xxl")
        );
    }

    #[test]
    fn unusable_values_are_named() {
        PriorConfig::default().resolve().unwrap();
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
            ("train.class_weights", "0,0"),
            ("train.ema_decay", "1"),
        ] {
            let mut config = PriorConfig::default();
            config.set(key, value).unwrap();
            let error = config.resolve().unwrap_err().to_string();
            assert!(error.contains(key), "{key} = {value}: {error}");
        }
        let error = PriorConfig::default()
            .set("train.dtype", "f8")
            .unwrap_err()
            .to_string();
        assert!(error.contains("`train.dtype`") && error.contains("f32 or f16"));
        let mut sparse = PriorConfig::default();
        sparse.set("prior.order", "any").unwrap();
        sparse.resolve().unwrap();
        sparse.set("prior.attention", "row").unwrap();
        let error = sparse.resolve().unwrap_err().to_string();
        assert!(error.contains("prior.attention") && error.contains("order"));
        for (key, value) in [("prior.order", "any"), ("prior.attention", "row")] {
            let mut masked = PriorConfig::default();
            masked.set("prior.kind", "masked").unwrap();
            masked.resolve().unwrap();
            masked.set(key, value).unwrap();
            let error = masked.resolve().unwrap_err().to_string();
            assert!(error.contains(key) && error.contains("masked"), "{error}");
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

    /// A key that came later changes no identity at its first value: runs of before go on.
    #[test]
    fn keys_that_were_added_change_no_hash() {
        let mut config = PriorConfig::default();
        let text = config.to_toml().unwrap();
        // The name of before, which stands in hashes.
        let named = |name: &str| format!("\n{name} = ");
        let mut before = text.replace(
            &named("gradient_checkpointing"),
            &named("checkpoint_blocks"),
        );
        for (key, value) in PriorConfig::ADDED {
            let name = key.rsplit('.').next().unwrap();
            let line = format!("\n{name} = {value}\n");
            assert!(before.contains(&line), "{line}");
            before = before.replacen(&line, "\n", 1);
        }
        let hash = config.sha256().unwrap();
        assert_eq!(hash, hex::encode(sha2::Sha256::digest(before)));
        config.set("prior.order", "any").unwrap();
        assert_ne!(config.sha256().unwrap(), hash);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut config = PriorConfig::default();
        config.set("prior.positions", "learned").unwrap();
        config.set("train.lr", "3e-4").unwrap();
        let config = config.written_out();
        assert_eq!(
            PriorConfig::from_toml(&config.to_toml().unwrap()).unwrap(),
            config
        );
        assert_eq!(config.written_out(), config);
    }
}
