//! Configurations for small data, a file each, with the curve that it should follow.

use crate::config::run::RunConfig;
use crate::config::{DottedConfig, nearest};
use crate::{Error, Result};

/// A point that the same model reaches elsewhere: PyTorch with vector-quantize-pytorch, on the test
/// split.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reference {
    /// Steps done.
    pub step: u64,
    /// Mean squared error, pixels in [0, 1].
    pub mse: f64,
    /// Perplexity of the split's codes.
    pub perplexity: f64,
    /// Codes that the split used.
    pub used: usize,
}

/// A configuration by name: a file, of which a run's own may begin as a copy.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// Its file. Keys that it leaves out have their defaults.
    pub toml: &'static str,
    /// The curve that it should follow; empty where none was measured.
    pub reference: &'static [Reference],
}

impl Preset {
    /// Returns its purpose: the first line of its file.
    pub fn about(&self) -> &'static str {
        let first = self.toml.lines().next().unwrap_or_default();
        first.trim_start_matches(['#', ' '])
    }

    /// Returns the configuration.
    ///
    /// # Errors
    /// If its file is none, which a test rules out.
    pub fn config(&self) -> Result<RunConfig> {
        RunConfig::from_toml(self.toml)
            .map_err(|e| Error::data(format!("the preset `{}`: {e}", self.name)))
    }
}

const fn point(step: u64, mse: f64, perplexity: f64, used: usize) -> Reference {
    Reference {
        step,
        mse,
        perplexity,
        used,
    }
}

const PRESETS: [Preset; 5] = [
    Preset {
        name: "emoji32",
        toml: include_str!("emoji32.toml"),
        reference: &[
            point(500, 0.0102, 402.0, 511),
            point(2000, 0.0066, 426.0, 512),
        ],
    },
    Preset {
        name: "fashion28",
        toml: include_str!("fashion28.toml"),
        reference: &[
            point(500, 0.0086, 397.0, 512),
            point(1000, 0.0064, 441.0, 512),
        ],
    },
    Preset {
        name: "photo64",
        toml: include_str!("photo64.toml"),
        reference: &[],
    },
    Preset {
        name: "gan64",
        toml: include_str!("gan64.toml"),
        reference: &[],
    },
    Preset {
        name: "photo128",
        toml: include_str!("photo128.toml"),
        reference: &[],
    },
];

/// Returns every preset.
pub fn presets() -> &'static [Preset] {
    &PRESETS
}

/// The preset of that name.
///
/// # Errors
/// If there is none; the message lists them.
pub fn preset(name: &str) -> Result<&'static Preset> {
    let names = || PRESETS.iter().map(|p| p.name);
    PRESETS.iter().find(|p| p.name == name).ok_or_else(|| {
        Error::data(format!(
            "no preset is called `{name}`; there are {}, and the nearest is `{}`",
            names().collect::<Vec<_>>().join(", "),
            nearest(name, names())
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::Registry;

    #[test]
    fn presets_are_usable_and_found() {
        for p in presets() {
            p.config().unwrap().resolve(&Registry::default()).unwrap();
            assert!(p.toml.starts_with("# ") && !p.about().is_empty());
            assert_eq!(preset(p.name).unwrap().toml, p.toml);
        }
        assert!(
            preset("emoji23")
                .unwrap_err()
                .to_string()
                .contains("emoji32")
        );
    }

    #[test]
    fn every_file_is_listed() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/presets");
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter_map(|name| name.strip_suffix(".toml").map(str::to_owned))
            .collect();
        there.sort();
        let mut listed = PRESETS.map(|p| p.name);
        listed.sort_unstable();
        assert_eq!(there, listed);
    }
}
