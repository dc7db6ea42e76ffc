//! Options that set keys of a configuration, and the data that it names.

use crate::cli::Global;
use crate::cli::common::output;
use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, ValueEnum};
use std::path::Path;
use std::sync::Arc;
use wgvq::config::DottedConfig;
use wgvq::config::presets::{preset, presets};
use wgvq::config::run::{ModelKind, ResolvedConfig, RunConfig};
use wgvq::config::vectors::VectorsConfig;
use wgvq::data::{self, ImageSet};
use wgvq::quantize::{self, Registry};
use wgvq::{Error, Result, files};

/// Architectures by the names of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lowercase")]
pub enum Architecture {
    /// Convolutions, and codes on one grid
    VqVae,
    /// Codes on several grids
    VqVae2,
    /// VQ-GAN, trained against a discriminator
    VqGan,
    /// ViT-VQGAN: transformers, trained against a discriminator
    Vit,
    /// A multilayer perceptron over vectors: --data is a .npy file with an array [N, D]
    Mlp,
}

impl Architecture {
    /// The model of images.
    fn of_images(self) -> Result<ModelKind> {
        Ok(match self {
            Architecture::VqVae => ModelKind::VqVae,
            Architecture::VqVae2 => ModelKind::VqVae2,
            Architecture::VqGan => ModelKind::VqGan,
            Architecture::Vit => ModelKind::Vit,
            Architecture::Mlp => {
                let what = "mlp is a model of vectors, which `wgvq train` alone trains; images \
                            have vqvae, vqvae2, vqgan and vit";
                return Err(Error::config("--model", what));
            }
        })
    }
}

/// The keys of a configuration that have a flag of their own.
#[derive(Args, Default)]
pub struct Keys {
    /// The data: a folder of images, of tars, of Parquet files or of CIFAR's binary files; a file
    /// (IDX, .npy, a tar, Parquet, or JSON Lines of images and captions); a pattern of Parquet
    /// files' names; or a named data set, of which emoji is part of the program and scripts/data.sh
    /// fetches fashion-mnist, openclipart, photos and twemoji
    #[arg(long, value_name = "DIR|FILE|NAME")]
    pub data: Option<String>,
    /// The model
    #[arg(long, value_enum)]
    pub model: Option<Architecture>,
    /// The quantizer
    #[arg(long, value_parser = quantizer_names())]
    pub quantizer: Option<String>,
    /// Training steps
    #[arg(long)]
    pub steps: Option<u64>,
    /// Images of a step; with train.accumulate, of each of its passes
    #[arg(long)]
    pub batch: Option<u64>,
    /// Adam's learning rate
    #[arg(long, allow_negative_numbers = true)]
    pub lr: Option<f64>,
    /// Codes in the codebook
    #[arg(long, short = 'k', value_name = "K")]
    pub codes: Option<u64>,
    /// Seed of everything random
    #[arg(long)]
    pub seed: Option<u64>,
    /// Recover from a codebook that collapses and from divergence
    #[arg(long, alias = "auto-heal")]
    pub auto_recover: bool,
    /// Any other key, such as quantizer.decay=0.95; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl Keys {
    /// The flags of keys that first stages of images and of vectors have.
    fn flags(&self) -> [(&'static str, Option<String>); 7] {
        let text = |v: &Option<u64>| v.map(|v| v.to_string());
        [
            ("data.source", self.data.clone()),
            ("quantizer.kind", self.quantizer.clone()),
            ("train.steps", text(&self.steps)),
            ("train.batch_size", text(&self.batch)),
            ("train.lr", self.lr.map(|v| v.to_string())),
            ("quantizer.codebook_size", text(&self.codes)),
            ("train.seed", text(&self.seed)),
        ]
    }

    /// Sets the keys that flags name.
    pub fn apply(&self, config: &mut RunConfig) -> Result<()> {
        let kind = self.model.map(Architecture::of_images).transpose()?;
        let kind = [("model.kind", kind.map(|kind| kind.to_string()))];
        set_keys(config, kind.into_iter().chain(self.flags()), "--set", &[])?;
        if self.auto_recover {
            config.train.auto_heal = true;
        }
        set_keys(config, [], "--set", &self.set)
    }

    /// Sets the keys that flags name in the configuration of a first stage over vectors.
    pub fn apply_to_vectors(&self, config: &mut VectorsConfig) -> Result<()> {
        if self.auto_recover {
            let what = "is for models of images";
            return Err(Error::config("--auto-recover", what));
        }
        if self.codes.is_some()
            && self.quantizer.as_deref().unwrap_or(&config.quantizer.kind) == "fsq"
        {
            let what = "is of no use here: `fsq` has as many codes as the levels of its channels \
                        make: set quantizer.levels, as in --set quantizer.levels=8,5,5,5";
            return Err(Error::config("--codes", what));
        }
        set_keys(config, self.flags(), "--set", &self.set)
    }

    /// The options and keys that were given and that the configuration does not read, each with
    /// what to set in its place.
    pub fn unread(&self, config: &RunConfig) -> Vec<(String, String)> {
        let mut all = Vec::new();
        if self.codes.is_some() {
            all.extend(
                config
                    .unread("quantizer.codebook_size")
                    .map(|why| ("--codes".to_owned(), why)),
            );
        }
        for (key, value) in self.set.iter().filter_map(|pair| pair.split_once('=')) {
            let (key, mut default) = (key.trim(), RunConfig::default());
            let says = default.set(key, value).is_ok() && default != RunConfig::default();
            all.extend(
                config
                    .unread(key)
                    .filter(|_| says)
                    .map(|why| (key.to_owned(), why)),
            );
        }
        all
    }

    /// Refuses an option that the configuration does not read, and tells of such keys.
    pub fn tell_unread(&self, global: &Global, config: &RunConfig) -> Result<()> {
        for (key, why) in self.unread(config) {
            if key.starts_with('-') {
                return Err(Error::config(key, format!("is of no use here: {why}")));
            }
            output::note(global, &format!("{key} changes nothing: {why}"));
        }
        Ok(())
    }
}

/// The presets' names, for the command line.
pub fn preset_names() -> PossibleValuesParser {
    PossibleValuesParser::new(
        presets()
            .iter()
            .map(|p| PossibleValue::new(p.name).help(p.about())),
    )
}

/// The quantizers' names, likewise.
pub fn quantizer_names() -> PossibleValuesParser {
    PossibleValuesParser::new(
        quantize::all()
            .iter()
            .map(|k| PossibleValue::new(k.name).help(k.about)),
    )
}

/// Sets the keys of flags that were given, then those of the `KEY=VALUE` pairs of an option.
pub fn set_keys<'a>(
    config: &mut impl DottedConfig,
    flags: impl IntoIterator<Item = (&'a str, Option<String>)>,
    option: &str,
    pairs: &[String],
) -> Result<()> {
    for (key, value) in flags {
        if let Some(value) = value {
            config.set(key, &value)?;
        }
    }
    for pair in pairs {
        let (key, value) = key_value(option, pair)?;
        config.set(key, value)?;
    }
    Ok(())
}

/// Returns the key and the value of a pair that an option was given.
///
/// # Errors
/// If it is no pair; the error names the option.
pub fn key_value<'a>(option: &str, pair: &'a str) -> Result<(&'a str, &'a str)> {
    let (key, value) = pair
        .split_once('=')
        .ok_or_else(|| Error::config(option, format!("`{pair}` is not KEY=VALUE")))?;
    Ok((key.trim(), value.trim()))
}

/// Returns the configuration of a file or preset, with flags over it.
pub fn configuration(
    file: Option<&Path>,
    name: Option<&str>,
    keys: &Keys,
) -> Result<ResolvedConfig> {
    let mut config = match (file, name) {
        (Some(path), _) => {
            if VectorsConfig::is_in(&files::read_text(path, files::TEXT)?) {
                let what = "is of a model of vectors, which `wgvq train` alone reads";
                return Err(Error::file(path, what));
            }
            RunConfig::load(path)?
        }
        (None, Some(name)) => preset(name)?.config()?,
        (None, None) => RunConfig::default(),
    };
    keys.apply(&mut config)?;
    config.resolve(&Registry::default())
}

/// The images that a configuration names.
pub fn open(config: &RunConfig) -> Result<Arc<ImageSet>> {
    Ok(Arc::new(data::open(
        &config.data.source,
        &config.data.options(),
    )?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_is_its_file() {
        let folder = tempfile::tempdir().unwrap();
        for preset in presets() {
            let file = folder.path().join(format!("{}.toml", preset.name));
            std::fs::write(&file, preset.toml).unwrap();
            let keys = Keys {
                steps: Some(7),
                set: vec!["quantizer.decay=0.9".into()],
                ..Keys::default()
            };
            let by_name = configuration(None, Some(preset.name), &keys).unwrap();
            assert_eq!(configuration(Some(&file), None, &keys).unwrap(), by_name);
            assert_eq!(by_name.train.steps, 7);
        }
    }
}
