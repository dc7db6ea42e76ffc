//! Every key of a configuration with its meaning and its default. The meanings are the comments of
//! the fields, so that the reference of the library and of the command line say the same.

use super::DottedConfig;
use super::contrastive::ContrastiveConfig;
use super::prior::PriorConfig;
use super::run::RunConfig;
use super::vectors::VectorsConfig;
use crate::Result;

/// A key of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its section.
    pub section: String,
    /// Its name within the section.
    pub name: String,
    /// Its default, as TOML has it.
    pub default: String,
    /// Its meaning.
    pub about: String,
}

/// The files whose structs have the fields of a section, the first first.
type Sources = &'static [(&'static str, &'static [&'static str])];

const COMMON: &str = include_str!("train_common.rs");
const OBJECTIVE: &str = include_str!("objective.rs");
const RUN: Sources = &[
    ("model", &[include_str!("run/model.rs")]),
    ("quantizer", &[include_str!("../quantize/options.rs")]),
    ("data", &[include_str!("run/data.rs")]),
    ("loss", &[OBJECTIVE]),
    ("gan", &[OBJECTIVE]),
    ("train", &[include_str!("run/train.rs"), COMMON]),
];
const PRIOR: Sources = &[
    ("prior", &[include_str!("../models/prior/shape.rs")]),
    ("train", &[include_str!("prior.rs"), COMMON]),
];
const CONTRASTIVE: Sources = &[
    ("model", &[include_str!("../models/contrastive.rs")]),
    ("train", &[include_str!("contrastive.rs"), COMMON]),
];
const VECTORS: Sources = &[
    ("model", &[include_str!("vectors.rs")]),
    ("quantizer", &[include_str!("../quantize/options.rs")]),
    ("data", &[include_str!("vectors.rs")]),
    ("train", &[include_str!("vectors.rs"), COMMON]),
];

/// Returns the keys of a first stage's configuration.
///
/// # Errors
/// If the configuration cannot be written out.
pub fn run_keys() -> Result<Vec<Key>> {
    keys::<RunConfig>(RUN)
}

/// Returns the keys of a prior's configuration.
///
/// # Errors
/// As [`run_keys`].
pub fn prior_keys() -> Result<Vec<Key>> {
    keys::<PriorConfig>(PRIOR)
}

/// Returns the keys of a contrastive model's configuration.
///
/// # Errors
/// As [`run_keys`].
pub fn contrastive_keys() -> Result<Vec<Key>> {
    keys::<ContrastiveConfig>(CONTRASTIVE)
}

/// Returns the keys of the configuration of a first stage over vectors.
///
/// # Errors
/// As [`run_keys`].
pub fn vectors_keys() -> Result<Vec<Key>> {
    keys::<VectorsConfig>(VECTORS)
}

fn keys<C: DottedConfig>(sources: Sources) -> Result<Vec<Key>> {
    let (mut section, mut keys) = (String::new(), Vec::new());
    for line in C::default().to_toml()?.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((name, default)) = line.split_once(" = ") {
            let files = sources.iter().find(|(of, _)| *of == section);
            let files = files.map_or(&[][..], |(_, files)| *files);
            keys.push(Key {
                section: section.clone(),
                name: name.to_owned(),
                default: default.to_owned(),
                about: comment(files, struct_of(&section), name).unwrap_or_default(),
            });
        }
    }
    Ok(keys)
}

/// Returns the struct of one section of a file that has several.
fn struct_of(section: &str) -> Option<&'static str> {
    match section {
        "loss" => Some("pub struct Loss {"),
        "gan" => Some("pub struct Gan {"),
        _ => None,
    }
}

/// Returns the comment of a public field, without the marks of links and code.
fn comment(files: &[&str], within: Option<&str>, field: &str) -> Option<String> {
    let declared = format!("pub {field}: ");
    for &file in files {
        let text = match within {
            Some(name) => file.split_once(name).map_or("", |(_, rest)| rest),
            None => file,
        };
        let mut said: Vec<&str> = Vec::new();
        for line in text.lines().map(str::trim) {
            if let Some(part) = line.strip_prefix("///") {
                said.push(part.trim());
            } else if line.starts_with(&declared) {
                return Some(said.join(" ").replace("[`", "`").replace("`]", "`"));
            } else if !line.starts_with("#[") {
                said.clear();
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_meaning_and_a_default_that_can_be_set() {
        let all = [run_keys(), prior_keys(), contrastive_keys(), vectors_keys()];
        let all = all.map(Result::unwrap);
        for key in all.iter().flatten() {
            let Key {
                section,
                name,
                default,
                about,
            } = key;
            assert!(about.len() > 4, "{section}.{name} = {default}: {about:?}");
            assert!(!default.is_empty() && !about.contains("[`"), "{key:?}");
        }
        let [run, prior, ..] = &all;
        assert!(
            run.len() > 80 && prior.len() > 30,
            "{} {}",
            run.len(),
            prior.len()
        );
        let of = |name: &str| {
            let (section, name) = name.split_once('.').unwrap();
            let found = run.iter().find(|k| k.section == section && k.name == name);
            found.unwrap().about.clone()
        };
        // Two sections of one file.
        assert_ne!(of("gan.lr"), of("train.lr"));
        assert!(
            of("train.seed").to_lowercase().contains("random"),
            "{}",
            of("train.seed")
        );
        let mut config = RunConfig::default();
        for key in run.iter().filter(|k| !k.default.starts_with('[')) {
            let name = format!("{}.{}", key.section, key.name);
            config.set(&name, key.default.trim_matches('"')).unwrap();
        }
        assert_eq!(config, RunConfig::default());
    }
}
