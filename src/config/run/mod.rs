//! A run's configuration: every key with its default, checked, and written out whole beside the
//! results.

mod data;
mod model;
mod train;

pub use data::{Crop, Data};
pub use model::{Model, ModelKind};
pub use train::Train;

use crate::Result;
use crate::config::objective::{Gan, Loss};
use crate::config::train_common::{ACCUMULATE, PRECISION, RENAMED};
use crate::config::{DottedConfig, Resolved, Resumable, StepSchedule};
use crate::gpu::Gpu;
use crate::quantize::{Options, Registry};
use serde::{Deserialize, Serialize};

/// Everything that decides a run's result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunConfig {
    /// The model.
    pub model: Model,
    /// The quantizer.
    pub quantizer: Options,
    /// The images.
    pub data: Data,
    /// Losses between reconstructions and originals.
    pub loss: Loss,
    /// The discriminator, where there is one.
    pub gan: Gan,
    /// The training.
    pub train: Train,
}

/// The checked configuration that a first stage is built and trained from.
pub type ResolvedConfig = Resolved<RunConfig>;

impl DottedConfig for RunConfig {
    const RENAMED: &'static [(&'static str, &'static str)] = &RENAMED;
    const ADDED: &'static [(&'static str, &'static str)] = &[
        ACCUMULATE,
        PRECISION[0],
        PRECISION[1],
        ("data.class_weights", "\"none\""),
        ("data.test_files", "\"\""),
        ("model.mid_attention", "true"),
        ("model.spatial_norms", "false"),
        ("model.latent_kernel", "1"),
        ("model.unit_pixels", "false"),
        ("model.latent_blocks", "0"),
        ("quantizer.directional_reparam", "false"),
        ("quantizer.directional_reparam_variance", "0.001"),
        ("quantizer.activation", "\"tanh\""),
        ("quantizer.scales", "[]"),
        ("quantizer.scale_convolutions", "4"),
        ("quantizer.scale_ratio", "0.5"),
        ("quantizer.normalize_latents", "true"),
    ];
}

impl Resumable for RunConfig {
    fn schedule(&self) -> StepSchedule {
        self.train.schedule()
    }

    fn decaying(mut self, decay_steps: u64) -> Self {
        self.train.decay_steps = decay_steps;
        self
    }

    /// Returns every value, but for the steps in all, for where images, the list of those held out
    /// and pixels lie and how many threads make batches of them, and for what the backward pass
    /// keeps. These leave the steps that were done as they are; any other change would not. That
    /// the images and their split are the same is told by their SHA-256, which checkpoints have.
    fn plain_identity(&self) -> Result<String> {
        let mut same = self.clone();
        let Data {
            source, test_files, ..
        } = Data::default();
        (same.data.source, same.data.test_files) = (source, test_files);
        same.identity_with_source()
    }

    /// Returns the identities of earlier versions, which had the source in them, as it was written.
    fn earlier_identities(&self, kept: &Self) -> Result<Vec<String>> {
        let mut same = self.clone();
        same.data.source.clone_from(&kept.data.source);
        // Another schedule than the run began with was another configuration.
        same.decaying(kept.train.decay_steps)
            .identity_with_source()
            .map(|identity| vec![identity])
    }
}

impl ResolvedConfig {
    /// Returns the configuration with the precision that an adapter trains in.
    ///
    /// # Errors
    /// If the adapter cannot train in the one that was asked for.
    pub(crate) fn on(&self, gpu: &Gpu) -> Result<ResolvedConfig> {
        let precision = self.train.precision.on(gpu)?;
        Ok(self.clone().map(|mut config| {
            config.train.precision = precision;
            config
        }))
    }
}

impl RunConfig {
    /// Checks that all values are usable, and writes out those that were left open. `registry` has
    /// the known quantizers.
    ///
    /// # Errors
    /// On the first value that is not usable: its key, the value and what is allowed.
    pub fn resolve(&self, registry: &Registry) -> Result<ResolvedConfig> {
        self.validate(registry)?;
        Ok(Resolved::of(self.written_out()))
    }

    /// Returns the configuration with all open values written out.
    pub(super) fn written_out(&self) -> RunConfig {
        let adversarial = self.model.kind.is_adversarial();
        RunConfig {
            model: self.model.resolved(),
            quantizer: self.quantizer.resolved(),
            loss: self.loss.resolved(adversarial),
            gan: self.gan.resolved(adversarial),
            ..self.clone()
        }
    }

    fn identity_with_source(&self) -> Result<String> {
        let mut same = self.written_out();
        same.train.steps = 1;
        same.train.gradient_checkpointing = false;
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

    fn validate(&self, registry: &Registry) -> Result<()> {
        self.model.validate()?;
        registry.find(&self.quantizer.kind)?;
        self.quantizer.check()?;
        self.model.validate_codebooks(&self.quantizer)?;
        self.model.validate_shape(&self.data)?;
        let all = self.written_out();
        all.loss.validate()?;
        all.gan.validate()?;
        self.data.validate()?;
        self.model.validate_images(&self.data)?;
        self.train.validate()
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

    /// A run of an earlier version goes on although there are more keys now.
    #[test]
    fn keys_that_were_added_are_in_no_hash_at_their_defaults() {
        let config = RunConfig::default();
        let text = config.to_toml().unwrap();
        for (key, value) in RunConfig::ADDED {
            let name = key.split_once('.').unwrap().1;
            assert!(text.contains(&format!("\n{name} = {value}\n")), "{key}");
            assert_eq!(text.matches(&format!("\n{name} = ")).count(), 1, "{key}");
        }
        let mut other = config.clone();
        other.set("quantizer.activation", "sigmoid").unwrap();
        assert_ne!(other.identity().unwrap(), config.identity().unwrap());
        assert_ne!(other.sha256().unwrap(), config.sha256().unwrap());
    }

    #[test]
    fn a_resumed_run_may_change_where_pixels_lie_and_nothing_that_they_are() {
        let config = RunConfig::default();
        let first = config.identity().unwrap();
        assert_eq!(config.written_out().identity().unwrap(), first);
        for (key, value, same) in [
            ("train.steps", "77", true),
            ("train.gradient_checkpointing", "true", true),
            ("data.workers", "3", true),
            ("data.store", "disk", true),
            ("data.memory_mib", "1", true),
            ("data.cache_mib", "1", true),
            ("data.crop", "random", false),
            ("data.source", "elsewhere", true),
            ("data.test_files", "moved.txt", true),
            ("data.color", "0.1", false),
            ("data.crop_scale_min", "0.02", false),
            ("data.photo_side", "512", false),
            ("data.flip", "true", false),
            ("data.class_weights", "balanced", false),
            ("data.class_weights", "1,2", false),
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
    fn a_word_that_is_not_known_names_those_that_are() {
        for (key, value, words, near) in [
            (
                "model.kind",
                "vqgam",
                "vqvae, vqvae2, vqgan or vit",
                "vqgan",
            ),
            ("data.crop", "randon", "none or random", "random"),
            ("data.store", "tape", "auto, memory or disk", "auto"),
            ("data.split", "caption", "pictures or captions", "captions"),
            (
                "data.class_weights",
                "balance",
                "none or balanced",
                "balanced",
            ),
            ("train.dtype", "f8", "f32 or f16", "f32"),
            ("loss.pixels", "l2", "auto, mse or l1", "l1"),
        ] {
            let (section, name) = key.split_once('.').unwrap();
            for error in [
                RunConfig::default().set(key, value).unwrap_err(),
                RunConfig::from_toml(&format!("[{section}]\n{name} = \"{value}\"")).unwrap_err(),
            ] {
                let error = error.to_string();
                for part in [&format!("`{key}`"), words, &format!("nearest is `{near}`")] {
                    assert!(error.contains(part), "{error} does not say {part}");
                }
            }
        }
    }

    #[test]
    fn a_key_is_read_under_its_former_name() {
        let mut set = RunConfig::default();
        set.set("train.checkpoint_blocks", "true").unwrap();
        assert!(set.train.gradient_checkpointing);
        let text = "[train]\ncheckpoint_blocks = true";
        assert_eq!(RunConfig::from_toml(text).unwrap(), set);
        let json = serde_json::json!({ "train": { "checkpoint_blocks": true } });
        assert_eq!(serde_json::from_value::<RunConfig>(json).unwrap(), set);
        assert!(!set.to_toml().unwrap().contains("checkpoint_blocks"));
        let both = format!("{text}\ngradient_checkpointing = false");
        let error = RunConfig::from_toml(&both).unwrap_err().to_string();
        assert!(error.contains("former name"), "{error}");
    }

    #[test]
    fn unusable_values_are_named() {
        RunConfig::default().resolve(&Registry::default()).unwrap();
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
            ("data.crop_scale_min", "-0.1"),
            ("data.crop_scale_max", "0.001"),
            ("data.color", "nan"),
            ("data.class_weights", "1,-1"),
            ("data.class_weights", "[0, 0]"),
            ("data.workers", "1000"),
            ("data.photo_side", "20000"),
            ("quantizer.kind", "nonesuch"),
            ("quantizer.temperature", "0"),
            ("quantizer.sample_codebook_temp", "0"),
            ("quantizer.orthogonal_reg_weight", "1"),
        ] {
            let mut config = RunConfig::default();
            config.set(key, value).unwrap();
            let error = config
                .resolve(&Registry::default())
                .unwrap_err()
                .to_string();
            assert!(error.contains(key), "{key} = {value}: {error}");
        }
        for (kind, key, value) in [
            ("fsq", "quantizer.levels", "8,1,5"),
            ("fsq", "quantizer.levels", "4096,4097"),
            ("lfq", "quantizer.codebook_size", "500"),
            ("bsq", "quantizer.codebook_size", "500"),
            ("ema", "quantizer.directional_reparam", "true"),
            ("vq", "quantizer.directional_reparam_variance", "-1"),
            ("product", "quantizer.groups", "5"),
            ("product", "quantizer.groups", "0"),
            ("residual", "quantizer.num_quantizers", "0"),
        ] {
            let mut config = RunConfig::default();
            config.set("quantizer.kind", kind).unwrap();
            config.set(key, value).unwrap();
            let error = config
                .resolve(&Registry::default())
                .unwrap_err()
                .to_string();
            assert!(error.contains(key), "{kind}: {key} = {value}: {error}");
        }
    }
}
