//! One prior of a comparison, and what it drew.

use super::Common;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use wgvq::config::prior::PriorConfig;
use wgvq::config::{DottedConfig, Resolved};
use wgvq::models::prior::{Kind, Shape};
use wgvq::report::prior_comparison::PriorResult;
use wgvq::storage::{atomic, metrics_log, sessions};
use wgvq::text::slug;
use wgvq::{Error, Result, files};

/// One prior of the comparison.
pub struct Entry {
    /// Its name in the table.
    pub name: String,
    pub folder: PathBuf,
    pub config: Resolved<PriorConfig>,
}

/// The samples of a prior, and their measures.
#[derive(Serialize, Deserialize)]
pub struct Drawn {
    /// The request, and its model.
    pub of: String,
    pub seconds_per_image: f64,
    /// On average.
    pub passes: f64,
    /// Measure, value and floor.
    pub figures: Vec<(String, f64, f64)>,
    /// Codes of the images that are shown.
    pub codes: Vec<u32>,
}

impl Drawn {
    /// Reads what was drawn before; `None` where there is nothing that can be used.
    pub fn load(path: &Path) -> Option<Drawn> {
        let text = files::read(path, files::TEXT).ok()?;
        serde_json::from_slice(&text).ok()
    }

    pub fn save(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string(self).map_err(Error::data)?;
        atomic::write(path, text.as_bytes())
    }
}

/// Returns the priors of these names, for each seed.
pub fn entries(names: &[String], size: Option<&str>, common: &Common) -> Result<Vec<Entry>> {
    let mut base = common
        .config
        .map(PriorConfig::load)
        .transpose()?
        .unwrap_or_default();
    if let Some(size) = size {
        base.prior = Shape::of_size(size)?;
    }
    common.keys.apply(&mut base)?;
    let mut all: Vec<Entry> = Vec::new();
    for name in names {
        for seed in common.seeds {
            let mut config = base.clone();
            named(&mut config, name)?;
            config.train.seed = *seed;
            // Ten points to a curve, and the last.
            config.train.eval_every = (config.train.steps / 10).max(1);
            let folder = common.out.join(format!("{}-seed{seed}", slug(name)));
            if all.iter().any(|e| e.folder == folder) {
                let what = format!("`{name}` with seed {seed} is named more than once");
                return Err(Error::config("--priors", what));
            }
            all.push(Entry {
                name: name.clone(),
                folder,
                config: config.resolve()?,
            });
        }
    }
    match all.is_empty() {
        true => Err(Error::config("--seeds", "names no seed")),
        false => Ok(all),
    }
}

/// Sets what a name stands for: a kind of prior, or the order of one that predicts one code after
/// another.
fn named(config: &mut PriorConfig, name: &str) -> Result<()> {
    config.prior.order = Default::default();
    config.prior.kind = Kind::default();
    let value = format!("\"{name}\"");
    if config.set("prior.kind", &value).is_ok() {
        return Ok(());
    }
    config.set("prior.order", &value).map_err(|error| {
        let what = format!("`{name}` is neither an order nor a kind of prior ({error})");
        Error::config("--priors", what)
    })
}

impl Entry {
    /// Returns the sum of its trained model.
    pub fn sum(&self) -> Result<String> {
        use sha2::{Digest, Sha256};
        let path = self.folder.join("final.safetensors");
        let bytes = std::fs::read(&path);
        let bytes = bytes.map_err(|e| Error::file(&path, format!("cannot be read: {e}")))?;
        let sum = Sha256::digest(&bytes);
        Ok(sum.iter().take(8).map(|b| format!("{b:02x}")).collect())
    }

    /// Reads what the training reached.
    pub fn result(&self, pace: &Path, drawn: &Drawn) -> Result<PriorResult> {
        let path = self.folder.join("test.csv");
        let columns = metrics_log::columns(&path)?;
        let column = |name: &str| metrics_log::column(&columns, name);
        let about = files::read(pace, files::TEXT)?;
        let about: serde_json::Value = serde_json::from_slice(&about)
            .map_err(|e| Error::file(pace, format!("is damaged: {e}")))?;
        let bits = column("bits_per_token");
        let last = bits.last().copied();
        let last = last.ok_or_else(|| Error::file(&path, "holds no measurement"))?;
        // Bits of hidden codes given all others are no likelihood of an image.
        let defined = self.config.prior.kind == Kind::Autoregressive;
        Ok(PriorResult {
            name: self.name.clone(),
            parameters: about["parameters"].as_u64().unwrap_or(0) as usize,
            bits: if defined { last } else { f64::NAN },
            ms_per_step: about["ms_per_step"].as_f64().unwrap_or(f64::NAN),
            seconds: sessions::load(&self.folder).iter().map(|s| s.seconds).sum(),
            passes: drawn.passes,
            seconds_per_image: drawn.seconds_per_image,
            figures: drawn.figures.clone(),
            curve: match defined {
                true => column("step").into_iter().zip(bits).collect(),
                false => Vec::new(),
            },
        })
    }
}
