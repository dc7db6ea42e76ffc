//! The record of a shard's source.

use super::BLOCK;
use super::form::ShardForm;
use super::number::ShardNumber;
use crate::codes::tokens::TokenDatasetInfo;
use crate::codes::{Codes, LabelKinds, Labels};
use crate::models::Level;
use crate::storage::{atomic, checkpoint};
use crate::{Error, Result, files};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;

/// Version of the format of manifests.
const FORMAT: u32 = 1;

/// The origin of the codes of all shards together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ShardSource {
    /// Codes of the images of a data set, in its order.
    Codes {
        /// SHA-256 of the model file.
        model: String,
        /// The quantizer's name.
        quantizer: String,
        /// Layout of the codes.
        levels: Vec<Level>,
        /// Width, height and channels of the images.
        image: [usize; 3],
        /// The data set, by a name that holds from any working directory.
        data: String,
        /// Its [`ImageSet::sha256`](crate::data::ImageSet::sha256).
        data_sha256: String,
        /// The number of images.
        images: usize,
    },
    /// Tokens of a prior: those of the training split, then those of the test split.
    Tokens {
        /// Layout and origin of the tokens.
        about: Box<TokenDatasetInfo>,
        /// Images to train on.
        train: usize,
        /// Images held out.
        test: usize,
    },
}

/// Images of a side that go through the model together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Whether they are of the test split.
    pub test: bool,
    /// Places in the split.
    pub images: Range<usize>,
    /// Whether they are mirrored.
    pub mirrored: bool,
}

impl ShardSource {
    /// Returns the images of each side, and how often each is written: an image and its mirror.
    fn sides(&self) -> [(usize, usize); 2] {
        match self {
            ShardSource::Codes { images, .. } => [(*images, 1), (0, 1)],
            ShardSource::Tokens { about, train, test } => {
                [(*train, if about.mirrored { 2 } else { 1 }), (*test, 1)]
            }
        }
    }

    /// Returns the number of blocks.
    fn block_count(&self) -> usize {
        let sides = self.sides();
        sides.iter().map(|(images, _)| images.div_ceil(BLOCK)).sum()
    }

    /// Returns the batches of a block, in the order in which their codes are written.
    fn block(&self, number: usize) -> impl Iterator<Item = Batch> + use<> {
        let [(train, copies), (test, test_copies)] = self.sides();
        let first = train.div_ceil(BLOCK);
        let is_test = number >= first;
        let (from, all, copies) = match is_test {
            false => (number * BLOCK, train, copies),
            true => ((number - first) * BLOCK, test, test_copies),
        };
        let images = from..(from + BLOCK).min(all);
        (0..copies).map(move |copy| Batch {
            test: is_test,
            images: images.clone(),
            mirrored: copy == 1,
        })
    }

    /// Returns the number of rows that some first blocks have.
    fn rows_before(&self, block: usize) -> usize {
        let [(train, copies), (test, test_copies)] = self.sides();
        let first = train.div_ceil(BLOCK);
        let images = |blocks: usize, all: usize| blocks.saturating_mul(BLOCK).min(all);
        let (before, of_test) = (
            images(block, train),
            images(block.saturating_sub(first), test),
        );
        (before.saturating_mul(copies)).saturating_add(of_test * test_copies)
    }

    /// Returns the batches of all shards.
    pub(crate) fn all_batches(&self) -> impl Iterator<Item = Batch> {
        (0..self.block_count()).flat_map(|block| self.block(block))
    }

    /// Returns the rows that are a shard's, of all: the first, and the one behind the last. Takes
    /// the same time however many images there are: a manifest may say any number.
    pub(crate) fn rows(&self, shard: ShardNumber) -> [usize; 2] {
        let share = shard.share(self.block_count());
        [self.rows_before(share.start), self.rows_before(share.end)]
    }

    /// Returns the batches of a shard.
    pub(crate) fn batches(&self, shard: ShardNumber) -> Vec<Batch> {
        let share = shard.share(self.block_count());
        share.flat_map(|block| self.block(block)).collect()
    }

    /// Returns what another source differs in, in words; `None` where it is the same. Where the
    /// data lies counts for nothing.
    pub fn difference(&self, other: &ShardSource) -> Option<String> {
        if self.without_place() == other.without_place() {
            return None;
        }
        let short = |hash: &str| hash.chars().take(12).collect::<String>();
        let ((model, data), (other_model, other_data)) = (self.sums(), other.sums());
        Some(if model != other_model {
            format!(
                "it is of the model {}, not {}",
                short(other_model),
                short(model)
            )
        } else if data != other_data {
            format!(
                "it is of the data set `{}` as it was, whose sum is {}, not {}",
                other.data(),
                short(other_data),
                short(data)
            )
        } else {
            match (self, other) {
                (ShardSource::Codes { .. }, ShardSource::Tokens { .. }) => {
                    "it holds tokens of a prior, not codes of images".into()
                }
                (ShardSource::Tokens { .. }, ShardSource::Codes { .. }) => {
                    "it holds codes of images, not tokens of a prior".into()
                }
                _ => "it is of another level, or of images of another size".into(),
            }
        })
    }

    fn without_place(&self) -> ShardSource {
        let mut own = self.clone();
        match &mut own {
            ShardSource::Codes { data, .. } => data.clear(),
            ShardSource::Tokens { about, .. } => about.data.clear(),
        }
        own
    }

    /// The sums of the model and of the data set.
    fn sums(&self) -> (&str, &str) {
        match self {
            ShardSource::Codes {
                model, data_sha256, ..
            } => (model, data_sha256),
            ShardSource::Tokens { about, .. } => (&about.model, &about.data_sha256),
        }
    }

    /// Returns the data set's name.
    pub fn data(&self) -> &str {
        match self {
            ShardSource::Codes { data, .. } => data,
            ShardSource::Tokens { about, .. } => &about.data,
        }
    }
}

/// The source of one shard, and the program that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardManifest {
    format: u32,
    version: String,
    /// Which shard it is.
    pub shard: ShardNumber,
    /// The source of all shards.
    pub source: ShardSource,
    /// The rows of codes that are its own, of all: the first, and the one behind the last.
    pub rows: [usize; 2],
    /// Which labels its images have in the file of codes; earlier versions wrote none.
    #[serde(default, skip_serializing_if = "LabelKinds::is_empty")]
    pub labels: LabelKinds,
    /// Name of the file of codes.
    pub file: String,
    /// The file's SHA-256.
    pub sha256: String,
    /// The adapter that computed it, and its matrix core.
    pub adapter: String,
}

impl ShardManifest {
    /// Returns the manifest of a shard whose file has this form and this sum.
    pub fn new(
        shard: ShardNumber,
        source: &ShardSource,
        labels: LabelKinds,
        form: ShardForm,
        sha256: String,
        adapter: String,
    ) -> ShardManifest {
        ShardManifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            shard,
            source: source.clone(),
            rows: source.rows(shard),
            labels,
            file: form.file(shard),
            sha256,
            adapter,
        }
    }

    /// Returns the form of the shard's file.
    pub fn form(&self) -> ShardForm {
        ShardForm::of(&self.file, self.shard).unwrap_or_default()
    }

    /// Reads the shard's codes and labels.
    ///
    /// # Errors
    /// If they cannot be read, or it is of a token set.
    pub(super) fn codes(&self, folder: &Path) -> Result<(Codes, Labels)> {
        let ShardSource::Codes {
            model,
            quantizer,
            levels,
            image,
            ..
        } = &self.source
        else {
            let what = "tokens of a prior, and no codes of images";
            return Err(Error::invalid("shards", what));
        };
        let none = Codes {
            model: model.clone(),
            quantizer: quantizer.clone(),
            levels: levels.clone(),
            image: *image,
            names: Vec::new(),
            indices: Vec::new(),
        };
        let [from, to] = self.rows;
        let path = folder.join(&self.file);
        self.form().load(&self.labels, from..to, none, &path)
    }

    /// Writes it into a folder.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(Error::data)?;
        atomic::write(
            &folder.join(self.shard.manifest()),
            (text + "\n").as_bytes(),
        )
    }

    /// Reads the manifest of a shard; `None` where there is none, or a part of one.
    ///
    /// # Errors
    /// If it is something else, or of a newer format.
    pub fn load(path: &Path) -> Result<Option<ShardManifest>> {
        if !path.is_file() {
            return Ok(None);
        }
        let foreign = |e: &dyn std::fmt::Display| {
            let what = format!("is no manifest of a shard ({e}): move it away");
            Error::file(path, what)
        };
        let bytes = files::read(path, files::LIST)?;
        let Ok(value) = serde_json::from_slice::<serde_json::Value>(&bytes) else {
            return Ok(None);
        };
        let format = value["format"].as_u64().unwrap_or(0);
        if format > u64::from(FORMAT) {
            let what = format!(
                "has format {format}, written by wgvq {}; this version reads up to {FORMAT}",
                value["version"].as_str().unwrap_or("of an unknown version")
            );
            return Err(Error::file(path, what));
        }
        let manifest: ShardManifest = serde_json::from_value(value).map_err(|e| foreign(&e))?;
        let ShardManifest { shard, rows, .. } = &manifest;
        let shard = ShardNumber::new(shard.number(), shard.of()).map_err(|e| foreign(&e))?;
        // As many as an image's number can count; those of both sides fit a `usize` then.
        let images = match &manifest.source {
            ShardSource::Codes { images, .. } => *images,
            ShardSource::Tokens { train, test, .. } => train.saturating_add(*test),
        };
        if u32::try_from(images).is_err() {
            return Err(foreign(&format!("it has {images} images")));
        }
        let form = ShardForm::of(&manifest.file, shard);
        let fits = match manifest.source {
            ShardSource::Codes { .. } => form.is_some(),
            ShardSource::Tokens { .. } => form == Some(ShardForm::Safetensors),
        };
        if !fits || *rows != manifest.source.rows(shard) {
            return Err(foreign(&"its file or its rows are not those of its shard"));
        }
        Ok(Some(manifest))
    }

    /// Reads the manifests of all shards in a folder, by their files' names.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn all(folder: &Path) -> Result<BTreeMap<String, ShardManifest>> {
        let cannot = |e: std::io::Error| Error::file(folder, format!("cannot be read: {e}"));
        let mut found = BTreeMap::new();
        let entries = match std::fs::read_dir(folder) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(found),
            entries => entries.map_err(cannot)?,
        };
        for entry in entries {
            let name = entry
                .map_err(cannot)?
                .file_name()
                .to_string_lossy()
                .into_owned();
            if name.starts_with("shard-")
                && name.ends_with(".json")
                && let Some(manifest) = ShardManifest::load(&folder.join(&name))?
            {
                found.insert(name, manifest);
            }
        }
        Ok(found)
    }

    /// Returns what is wrong with the shard's file, in words; `None` where it is whole.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn damage(&self, folder: &Path) -> Result<Option<String>> {
        let path = folder.join(&self.file);
        if !path.is_file() {
            return Ok(Some("is not there, though its manifest is".into()));
        }
        let cannot = |e: std::io::Error| Error::file(&path, format!("cannot be read: {e}"));
        let sum = File::open(&path).and_then(checkpoint::sum_of_rest);
        let whole = sum.map_err(cannot)? == self.sha256;
        Ok((!whole).then(|| "is damaged: it has another SHA-256 than its manifest says".into()))
    }
}
