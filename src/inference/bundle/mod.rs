//! A trained run in one small file: the tensors of its models in 16 bits, and beside them what
//! else inference reads.
//!
//! A bundle is a model file as [`storage::checkpoint`](crate::storage::checkpoint) writes them,
//! with its own sum. Its tensors stand under the file that they belong to
//! (`prior/final.safetensors/blocks.0.norm.weight`), and its state says what else those files
//! hold, and has the other files whole. Unpacked it is a run's folder again: the same bytes under
//! every version of the program, so that codes fit it wherever it was unpacked.

mod narrow;
mod public;

pub use public::{Source, last_part, public_model, public_prior};

use crate::config::contrastive::ContrastiveConfig;
use crate::config::prior::PriorConfig;
use crate::config::run::RunConfig;
use crate::config::vectors::VectorsConfig;
use crate::files;
use crate::inference::hierarchy::priors_of;
use crate::inference::loading::model_file;
use crate::storage::checkpoint::{self, Checkpoint, HostTensor};
use crate::storage::run_folder::RunFolder;
use crate::storage::run_parts::{MODEL, is_bundled_file, is_bundled_folder};
use crate::storage::{atomic, run_parts};
use crate::{Error, Result};
use narrow::{narrowed, widened};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Version of the format of bundles. A reader refuses newer ones.
const FORMAT: u64 = 1;
/// Bytes of a log that goes with its run: all texts have to fit the header of a safetensors file.
const LONGEST_LOG: u64 = 16 << 20;

/// A trained run in one small file: a first stage, its priors, what reads their texts.
///
/// ```no_run
/// use wgvq::gpu::{Gpu, Options};
/// use wgvq::inference::{Bundle, FirstStageModel, Hierarchy, PriorModel};
///
/// # fn main() -> wgvq::Result<()> {
/// let bundle = Bundle::load("emoji.bundle".as_ref())?;
/// let gpu = Gpu::new(Options::default())?;
/// let model = FirstStageModel::from_bytes(&gpu, &bundle.file("final.safetensors")?)?;
/// let prior = PriorModel::from_bytes(&gpu, &bundle.file("prior/final.safetensors")?, &model)?;
/// let priors = Hierarchy::new(vec![prior])?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Bundle {
    contents: Contents,
    tensors: BTreeMap<String, HostTensor>,
}

/// The description in a bundle's file, beside its tensors.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Contents {
    format: u64,
    /// Model files by their names in the run's folder.
    models: BTreeMap<String, Described>,
    /// Other files, all of text.
    files: BTreeMap<String, String>,
}

/// A model file without its tensors.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Described {
    /// Format and program of the file: it is written as they wrote it.
    format: u32,
    version: String,
    state: serde_json::Value,
}

/// Whether a value is a configuration of that kind.
fn is<C: DeserializeOwned>(value: serde_json::Value) -> serde_json::Result<()> {
    serde_json::from_value::<C>(value).map(drop)
}

impl Bundle {
    /// Bundles a run: its first stage, the priors that are of that, the model that judges what is
    /// drawn of texts, its configurations and logs; nothing of where its images lay, no
    /// checkpoints, and no codes of the set.
    ///
    /// Tensors of f32 are rounded to f16, where that keeps ten bits of the largest and of those a
    /// thousandth as large: the rounded model is another, with a hash of its own.
    ///
    /// Returns the bundle, and in words what of the run was left out: priors that have not ended or
    /// are of another model, and logs of more than 16 MiB.
    ///
    /// # Errors
    /// If the run has not ended, it is no first stage's, or a file of it is damaged.
    pub fn of_run(run: &Path) -> Result<(Bundle, Vec<String>)> {
        let mut bundle = Bundle {
            contents: Contents {
                format: FORMAT,
                models: BTreeMap::new(),
                files: BTreeMap::new(),
            },
            tensors: BTreeMap::new(),
        };
        let mut left_out = Vec::new();
        let place = model_file(run);
        if run.is_dir() && !place.is_file() {
            let what = "is not there: a run is bundled once it has ended";
            return Err(Error::file(&place, what));
        }
        bundle.add(MODEL, public_model(&place, Source::Named)?);
        if !run.is_dir() {
            return Ok((bundle, left_out));
        }
        let original = checkpoint::sum(&checkpoint::read(&place)?);
        let model = checkpoint::sum(&bundle.file(MODEL)?);
        bundle.add_texts(run, "", &mut left_out)?;
        let mut reads_texts = false;
        for (folder, _) in priors_of(run)? {
            let file = folder.join(MODEL);
            let name = folder.file_name().and_then(|n| n.to_str());
            let Some(name) = name else { continue };
            if !file.is_file() {
                left_out.push(format!("{name}, which has not ended"));
                continue;
            }
            let (prior, _) = checkpoint::load_file(&file)?;
            let tokens = &prior.state["prior"]["tokens"];
            if tokens["model"].as_str() != Some(&original) {
                left_out.push(format!("{name}, which is of another first stage"));
                continue;
            }
            reads_texts |= !tokens["vocabulary"]["text"].is_null();
            let prior = public_prior(&file, &model, Source::Named)?;
            bundle.add(&format!("{name}/{MODEL}"), prior);
            bundle.add_texts(run, name, &mut left_out)?;
        }
        if reads_texts {
            bundle.add_texts(run, run_parts::TEXT, &mut left_out)?;
            let judge = run.join(run_parts::CONTRASTIVE).join(MODEL);
            if judge.is_file() {
                let name = format!("{}/{MODEL}", run_parts::CONTRASTIVE);
                bundle.add(&name, checkpoint::load_file(&judge)?.0);
                bundle.add_texts(run, run_parts::CONTRASTIVE, &mut left_out)?;
            }
        }
        bundle.check()?;
        Ok((bundle, left_out))
    }

    /// Adds a model file.
    fn add(&mut self, name: &str, model: Checkpoint) {
        for (tensor, values) in model.tensors {
            self.tensors
                .insert(format!("{name}/{tensor}"), narrowed(values));
        }
        let described = Described {
            format: checkpoint::FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            state: model.state,
        };
        self.contents.models.insert(name.into(), described);
    }

    /// Adds the files of a run's folder that are no models, of those that belong to a bundle.
    fn add_texts(&mut self, run: &Path, folder: &str, left_out: &mut Vec<String>) -> Result<()> {
        for name in run_parts::bundled_files(folder) {
            let path = run.join(folder).join(name);
            let Ok(found) = path.metadata() else { continue };
            if !found.is_file() {
                continue;
            }
            if name.ends_with(".csv") && found.len() > LONGEST_LOG {
                let mib = found.len() >> 20;
                left_out.push(format!("{folder}/{name}, a log of {mib} MiB"));
                continue;
            }
            let bytes = files::read(&path, files::LIST)?;
            let text =
                String::from_utf8(bytes).map_err(|_| Error::file(&path, "is no text in UTF-8"))?;
            let text = match *name {
                "config.toml" => public::public_config(&path, &text)?,
                _ => text,
            };
            let name = if folder.is_empty() {
                (*name).to_owned()
            } else {
                format!("{folder}/{name}")
            };
            self.contents.files.insert(name, text);
        }
        Ok(())
    }

    /// Returns the bytes of the bundle's file.
    ///
    /// # Errors
    /// If a tensor's bytes do not fit its shape.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let contents = serde_json::to_value(&self.contents).map_err(Error::data)?;
        checkpoint::to_bytes(&Checkpoint {
            tensors: self.tensors.clone(),
            state: serde_json::json!({ "bundle": contents }),
        })
    }

    /// Reads what [`Bundle::to_bytes`] wrote; `path` names it in errors.
    ///
    /// # Errors
    /// If they are damaged, of a newer format, or no bundle's.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Bundle> {
        let mut file = checkpoint::from_bytes(path, bytes)?;
        let contents = file.state["bundle"].take();
        if contents.is_null() {
            let what = "is no bundle, which `wgvq export RUN --bundle FILE` writes";
            return Err(Error::file(path, what));
        }
        let format = contents["format"].as_u64().unwrap_or(0);
        if format == 0 || format > FORMAT {
            let what = format!(
                "is a bundle of format {format}; this version of wgvq reads up to {FORMAT}"
            );
            return Err(Error::file(path, what));
        }
        let contents: Contents = serde_json::from_value(contents)
            .map_err(|e| Error::file(path, format!("is a bundle that is damaged: {e}")))?;
        let bundle = Bundle {
            contents,
            tensors: file.tensors,
        };
        bundle.check().map_err(|e| Error::file(path, e))?;
        Ok(bundle)
    }

    /// Checks that all files have names of a run's, so that none leaves its folder, and that each
    /// tensor is a model's.
    fn check(&self) -> Result<()> {
        let is_known = |name: &str, is_model: bool| {
            let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
            match is_model {
                true => file == MODEL && is_bundled_folder(folder),
                false => is_bundled_file(folder, file),
            }
        };
        let models = self.contents.models.keys().map(|name| (name, true));
        let texts = self.contents.files.keys().map(|name| (name, false));
        for (name, is_model) in models.chain(texts) {
            if !is_known(name, is_model) {
                let what = format!("holds a file `{name}`, which no run has");
                return Err(Error::data(what));
            }
        }
        if !self.contents.models.contains_key(MODEL) {
            return Err(Error::data(format!("holds no {MODEL}")));
        }
        for (name, described) in &self.contents.models {
            if !(1..=checkpoint::FORMAT).contains(&described.format) {
                let what = format!(
                    "holds `{name}` in format {}; this version of wgvq reads up to {}",
                    described.format,
                    checkpoint::FORMAT
                );
                return Err(Error::data(what));
            }
        }
        for tensor in self.tensors.keys() {
            if self.model_of(tensor).is_none() {
                let what = format!("holds a tensor `{tensor}`, which is of none of its models");
                return Err(Error::data(what));
            }
        }
        self.check_models()
    }

    /// Checks that each model file says of itself what its name does: a run that it replaces would
    /// be lost for something that cannot be loaded.
    fn check_models(&self) -> Result<()> {
        let first = checkpoint::sum(&self.file(MODEL)?);
        for (name, described) in &self.contents.models {
            let state = &described.state;
            let read = |at: &str| state.pointer(at).cloned().unwrap_or_default();
            let folder = name.strip_suffix(MODEL).unwrap_or_default();
            let checked = match folder.trim_end_matches('/') {
                "" if state["vectors"].is_null() => is::<RunConfig>(read("/config")),
                "" => is::<VectorsConfig>(read("/vectors/config")),
                run_parts::CONTRASTIVE => is::<ContrastiveConfig>(read("/contrastive/config")),
                _ => is::<PriorConfig>(read("/prior/config")),
            };
            checked.map_err(|e| Error::data(format!("`{name}` is not what it is called: {e}")))?;
            let of = &state["prior"]["tokens"]["model"];
            if name != MODEL && !folder.starts_with(run_parts::CONTRASTIVE) && *of != first {
                let what = format!("`{name}` is a prior of another first stage than its own");
                return Err(Error::data(what));
            }
        }
        Ok(())
    }

    /// Returns the model file that a tensor belongs to, and its name there.
    fn model_of<'a>(&self, tensor: &'a str) -> Option<(&'a str, &'a str)> {
        let end = tensor.find(MODEL)? + MODEL.len();
        let (model, name) = (&tensor[..end], tensor[end..].strip_prefix('/')?);
        self.contents
            .models
            .contains_key(model)
            .then_some((model, name))
    }

    /// Reads a bundle's file.
    ///
    /// # Errors
    /// As [`Bundle::from_bytes`].
    pub fn load(path: &Path) -> Result<Bundle> {
        Bundle::from_bytes(path, &checkpoint::read(path)?)
    }

    /// Returns the names of the run's files, model files last, the first stage's behind all others.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let others = self.contents.models.keys().filter(|name| *name != MODEL);
        let first = self.contents.models.keys().filter(|name| *name == MODEL);
        let all = self.contents.files.keys().chain(others).chain(first);
        all.map(String::as_str)
    }

    /// Returns the bytes of one of the run's files, such as `final.safetensors`.
    ///
    /// # Errors
    /// If the bundle has none of that name.
    pub fn file(&self, name: &str) -> Result<Vec<u8>> {
        if let Some(text) = self.contents.files.get(name) {
            return Ok(text.clone().into_bytes());
        }
        let Some(described) = self.contents.models.get(name) else {
            let names = self.names().collect::<Vec<_>>().join(", ");
            let what = format!("`{name}` is not in the bundle, which has {names}");
            return Err(Error::invalid("name", what));
        };
        let own = self.tensors.iter().filter_map(|(tensor, values)| {
            let (model, tensor) = self.model_of(tensor)?;
            (model == name).then(|| (tensor.to_owned(), widened(values)))
        });
        let model = Checkpoint {
            tensors: own.collect(),
            state: described.state.clone(),
        };
        checkpoint::to_bytes_of(&model, described.format, &described.version)
    }

    /// Writes the run to its folder.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn unpack(&self, folder: &RunFolder) -> Result<()> {
        for name in self.names() {
            let path = folder.path().join(name);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)
                    .map_err(|e| Error::file(parent, format!("cannot be made: {e}")))?;
            }
            atomic::write(&path, &self.file(name)?)?;
        }
        folder.establish().map(drop)
    }

    /// Returns the numbers that its models have.
    pub fn parameter_count(&self) -> usize {
        let count = |t: &HostTensor| t.shape.iter().product::<usize>();
        self.tensors.values().map(count).sum()
    }
}
