//! The configuration of a first stage over vectors: arrays [N, D] of embeddings, features,
//! descriptors.

use crate::config::section::flat_section;
use crate::config::train_common::{TrainCommon, embeds};
use crate::config::words::word_keys;
use crate::config::{DottedConfig, Resolved, check, learning_rate};
#[cfg(not(target_arch = "wasm32"))]
use crate::models::first_stage::mlp;
use crate::models::first_stage::mlp::{Activation, HiddenNorm};
use crate::quantize::{Options, Registry};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Everything that decides what the model becomes, beside the numbers of the array.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VectorsConfig {
    /// The model.
    pub model: Model,
    /// The quantizer.
    pub quantizer: Options,
    /// The vectors.
    pub data: Data,
    /// The training.
    pub train: Train,
}

/// The architecture of a first stage over vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelKind {
    /// A multilayer perceptron on either side of the quantizer.
    #[default]
    Mlp,
}

/// The scaling of a vector's numbers before they enter the model, which is undone behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scaling {
    /// Nothing.
    None,
    /// Each channel's mean is taken off, and all are divided by one deviation.
    #[default]
    Global,
    /// Each channel's mean is taken off, and each is divided by its own deviation.
    Channels,
}

word_keys!(ModelKind, Scaling, Activation, HiddenNorm);

/// `[model]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Model {
    /// Architecture: `mlp`, a multilayer perceptron on either side of the quantizer, each beside a
    /// linear map of the whole.
    pub kind: ModelKind,
    /// Channels of the hidden layers.
    pub hidden: usize,
    /// Hidden layers of the encoder, and as many of the decoder; 0 leaves the linear maps.
    pub layers: usize,
    /// Activation of the hidden layers: `silu`, `gelu` or `relu`.
    pub activation: Activation,
    /// Normalisation of the hidden layers before their activation: `layer`, `rms` or `none`.
    pub norm: HiddenNorm,
    /// The scaling of a vector's numbers, which is undone behind the decoder: `global`, each
    /// channel's mean and one deviation of all, so that errors weigh as they do in the array;
    /// `channels`, each its own deviation, so that all channels weigh alike; or `none`.
    pub scaling: Scaling,
}

impl Default for Model {
    fn default() -> Self {
        Model {
            kind: ModelKind::Mlp,
            hidden: 256,
            layers: 2,
            activation: Activation::Silu,
            norm: HiddenNorm::Layer,
            scaling: Scaling::Global,
        }
    }
}

/// `[data]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Data {
    /// A .npy file with an array [N, ..] of float32, float64, float16 or uint8; the dimensions
    /// behind the first make a vector.
    pub source: String,
    /// Vectors that are held out to measure on, chosen at random, the same under every seed; 0 is a
    /// tenth of all, at most 10,000.
    pub test_rows: usize,
}

/// `[train]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Train {
    /// Keys of everything that is trained. Its batch is one of vectors.
    pub common: TrainCommon,
    /// Norm to which gradients are clipped; 0 clips none.
    pub grad_clip: f32,
}

embeds!(Train, common: TrainCommon);

flat_section!(Train {
    steps,
    batch_size,
    lr,
    min_lr,
    warmup,
    weight_decay,
    grad_clip,
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
                steps: 2000,
                batch_size: 512,
                accumulate: 1,
                lr: 1e-3,
                min_lr: 0.05,
                warmup: 50,
                weight_decay: 0.0,
                seed: 0,
                log_every: 20,
                eval_every: 500,
                checkpoint_every: 500,
                keep_checkpoints: 2,
            },
            grad_clip: 1.0,
        }
    }
}

impl DottedConfig for VectorsConfig {
    const ADDED: &'static [(&'static str, &'static str)] =
        &[("quantizer.normalize_latents", "true")];
}

impl VectorsConfig {
    /// Whether a configuration in TOML is one of vectors: its `model.kind` says so.
    pub fn is_in(text: &str) -> bool {
        let table: Option<toml::Table> = text.parse().ok();
        let kind = table
            .as_ref()
            .and_then(|t| t.get("model")?.get("kind")?.as_str());
        kind == Some(ModelKind::Mlp.to_string().as_str())
    }

    /// Checks that all values are usable, and writes out those that were left open.
    ///
    /// # Errors
    /// On the first value that is not usable: its key, the value and what is allowed.
    pub fn resolve(&self, registry: &Registry) -> Result<Resolved<VectorsConfig>> {
        let m = &self.model;
        let allowed = |most: usize| format!("from 1 to {most}");
        let widest = 1 << 16;
        check(
            "model.hidden",
            m.hidden,
            (1..=widest).contains(&m.hidden),
            &allowed(widest),
        )?;
        check("model.layers", m.layers, m.layers <= 64, "at most 64")?;
        registry.find(&self.quantizer.kind)?;
        if self.quantizer.kind == "multiscale" {
            let what = "multiscale is not for vectors, which lie on no grid: choose `residual`";
            return Err(Error::config("quantizer.kind", what));
        }
        self.quantizer.check()?;
        let t = &self.train;
        t.validate(1..=1 << 16)?;
        check(
            "train.grad_clip",
            t.grad_clip,
            t.grad_clip.is_finite() && t.grad_clip >= 0.0,
            "a number of at least 0",
        )?;
        let mut config = self.clone();
        config.quantizer = self.quantizer.resolved();
        Ok(Resolved::of(config))
    }

    /// A hash of what a resumed run may not change: every value, but for the steps in all and the
    /// place of the array, whose numbers checkpoints know.
    ///
    /// # Errors
    /// As [`DottedConfig::to_toml`].
    pub fn identity(&self) -> Result<String> {
        let mut same = self.clone();
        same.quantizer = self.quantizer.resolved();
        same.train.steps = 0;
        same.data.source.clear();
        same.sha256()
    }

    /// Returns the shape of the model for vectors of so many numbers, whose latents have
    /// `codebook_dim`.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn shape(&self, dim: usize, codebook_dim: usize) -> mlp::Config {
        let Model {
            hidden,
            layers,
            activation,
            norm,
            ..
        } = self.model;
        mlp::Config {
            dim,
            hidden,
            layers,
            activation,
            norm,
            codebook_dim,
        }
    }
}

impl Train {
    /// Returns the learning rate of a step, from 0 on. It reaches its least at the last step.
    pub fn rate(&self, step: u64) -> f64 {
        self.rate_over(learning_rate::to_the_end(self.steps, self.warmup), step)
    }

    /// Returns the norm that gradients are clipped to, where they are.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn max_norm(&self) -> Option<f32> {
        (self.grad_clip > 0.0).then_some(self.grad_clip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::Digest;

    #[test]
    fn what_is_written_is_read_back_and_told_from_a_run_of_images() {
        let mut config = VectorsConfig::default();
        for (key, value) in [
            ("model.activation", "gelu"),
            ("model.norm", "rms"),
            ("model.scaling", "channels"),
            ("quantizer.kind", "residual"),
            ("data.test_rows", "7"),
            ("train.grad_clip", "0"),
        ] {
            config.set(key, value).unwrap();
        }
        let text = config.to_toml().unwrap();
        assert_eq!(VectorsConfig::from_toml(&text).unwrap(), config);
        assert!(VectorsConfig::is_in(&text));
        let images = crate::config::run::RunConfig::default().to_toml().unwrap();
        assert!(!VectorsConfig::is_in(&images) && !VectorsConfig::is_in("[model"));
    }

    /// A run of an earlier version goes on although there are more keys now.
    #[test]
    fn keys_that_were_added_are_in_no_hash_at_their_defaults() {
        let mut config = VectorsConfig::default();
        let text = config.to_toml().unwrap();
        let mut before = text.clone();
        for (key, value) in VectorsConfig::ADDED {
            let line = format!("\n{} = {value}\n", key.split_once('.').unwrap().1);
            assert_eq!(before.matches(&line).count(), 1, "{key}");
            before = before.replace(&line, "\n");
        }
        let hash = config.sha256().unwrap();
        assert_eq!(hash, hex::encode(sha2::Sha256::digest(before)));
        config.set("quantizer.normalize_latents", "false").unwrap();
        assert_ne!(config.sha256().unwrap(), hash);
    }

    #[test]
    fn unusable_values_are_named() {
        VectorsConfig::default()
            .resolve(&Registry::default())
            .unwrap();
        for (key, value) in [
            ("model.hidden", "0"),
            ("model.layers", "65"),
            ("quantizer.kind", "multiscale"),
            ("quantizer.codebook_size", "0"),
            ("train.batch_size", "0"),
            ("train.grad_clip", "-1"),
            ("train.lr", "0"),
        ] {
            let mut config = VectorsConfig::default();
            config.set(key, value).unwrap();
            let said = config
                .resolve(&Registry::default())
                .unwrap_err()
                .to_string();
            assert!(said.contains(key), "{key} = {value}: {said}");
        }
        let said = VectorsConfig::default()
            .set("model.norm", "batch")
            .unwrap_err();
        assert!(said.to_string().contains("none, layer or rms"), "{said}");
    }

    #[test]
    fn a_resumed_run_may_have_other_steps_and_another_place() {
        let config = VectorsConfig::default();
        let first = config.identity().unwrap();
        for (key, value, same) in [
            ("train.steps", "7", true),
            ("data.source", "elsewhere.npy", true),
            ("data.test_rows", "5", false),
            ("train.seed", "1", false),
            ("model.hidden", "8", false),
        ] {
            let mut other = config.clone();
            other.set(key, value).unwrap();
            assert_eq!(other.identity().unwrap() == first, same, "{key}");
        }
    }
}
