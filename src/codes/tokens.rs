//! Token files: the codes of a data set, in shards that a prior reads a few images at a time.
//!
//! A folder holds `train-*.safetensors` and `test-*.safetensors`, each with `codes` [N, h, w] or
//! [N, h, w, Q] and `classes` `[N]` (below other levels, `codes` [N, A + h w Q], the A codes of
//! those first; with texts, `text` [N, S] of tokens or [N, S, E] of rows and `text_lengths` `[N]`),
//! and `tokens.json`, written last, which names the shards with their SHA-256 and says which model
//! made them from what. Writing holds one shard in memory, reading one batch, however large the set
//! is.

mod baselines;
mod info;
mod shard;

use crate::models::prior::{CodeOrder, Vocabulary};
use crate::models::text::{Text, Texts};
use crate::quantize::ScaleTables;
use crate::{Error, Result, files};
pub use baselines::{Baselines, baselines};
pub(crate) use info::made_by;
#[allow(deprecated)]
pub use info::{About, TokenDatasetInfo, vocabulary_of};
use serde::{Deserialize, Serialize};
use shard::Shard;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Version of the format of token folders. 2: codes of the levels above. 3: texts.
pub(crate) const FORMAT: u32 = 3;
pub(crate) const MANIFEST: &str = "tokens.json";
/// Bytes of codes in a shard, about.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) const SHARD_BYTES: usize = 32 << 20;
/// Images that go through the model between two reports of progress.
pub(crate) const BATCH: usize = 256;
/// Shards kept open.
const OPEN: usize = 32;
/// The class of an image that has none, in files.
pub(crate) const NO_CLASS: u32 = u32::MAX;

/// The images' texts, as a prior is to read them.
#[derive(Clone, Copy)]
pub struct Captions<'a> {
    /// Layout of the tokenized captions.
    pub text: Text,
    /// SHA-256 of what makes tokens of them.
    pub reader: &'a str,
    /// The texts of images by their numbers in the set.
    pub of: &'a dyn Fn(&[u32]) -> Result<Texts>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ShardEntry {
    pub(crate) file: String,
    pub(crate) images: usize,
    pub(crate) sha256: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    pub(crate) version: String,
    #[serde(rename = "about")]
    pub(crate) info: TokenDatasetInfo,
    pub(crate) train: Vec<ShardEntry>,
    pub(crate) test: Vec<ShardEntry>,
}

/// The tokens of a data set.
#[derive(Debug)]
pub struct Tokens {
    /// Layout and origin of the tokens.
    pub info: TokenDatasetInfo,
    /// Tokens of the training split.
    pub train: Split,
    /// Tokens of the test split.
    pub test: Split,
    /// The tables of the codes of scales, which a prior over these needs: see
    /// [`FirstStageModel::scale_tables`](crate::inference::FirstStageModel::scale_tables).
    pub scales: Option<ScaleTables>,
    /// The order in which a factorised head counts the codes, as
    /// [`FirstStageModel::code_order`](crate::inference::FirstStageModel::code_order) gives it;
    /// `None` is that of their numbers.
    pub order: Option<CodeOrder>,
}

/// One side of a data set.
#[derive(Debug)]
pub struct Split {
    shards: Vec<Shard>,
    images: usize,
    per_image: usize,
    open: RefCell<VecDeque<(usize, File)>>,
    no_class: u32,
    text: Option<Text>,
}

pub(crate) fn code_bytes(v: &Vocabulary) -> usize {
    let most = v
        .above
        .iter()
        .map(|l| l.codebook_size)
        .fold(v.codebook_size, usize::max);
    if most <= 1 << 16 { 2 } else { 4 }
}

impl Tokens {
    /// Whether `folder` holds whole tokens.
    pub fn exist(folder: &Path) -> bool {
        folder.join(MANIFEST).is_file()
    }

    /// Opens what `inference::tokenize` wrote. Every shard is read once, for its sum.
    ///
    /// # Errors
    /// If there are none, one is damaged, or they are of a newer format.
    pub fn open(folder: &Path) -> Result<Tokens> {
        let path = folder.join(MANIFEST);
        let text = files::read(&path, files::LIST)?;
        let damaged = |e: serde_json::Error| {
            Error::file(&path, format!("is damaged, or no manifest of tokens: {e}"))
        };
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(damaged)?;
        if value["format"]
            .as_u64()
            .is_none_or(|f| f == 0 || f > u64::from(FORMAT))
        {
            let (format, by) = (
                &value["format"],
                value["version"].as_str().unwrap_or("an unknown version"),
            );
            let what = format!(
                "has format {format}, written by wgvq {by}; this version reads up to {FORMAT}"
            );
            return Err(Error::file(&path, what));
        }
        let m: Manifest = serde_json::from_value(value).map_err(damaged)?;
        let side = |entries: &[ShardEntry]| Split::open(folder, entries, &m.info);
        let (train, test) = (side(&m.train)?, side(&m.test)?);
        if train.is_empty() || test.is_empty() {
            return Err(Error::file(
                &path,
                "names no images to train on, or none to measure with",
            ));
        }
        Ok(Tokens {
            info: m.info,
            train,
            test,
            scales: None,
            order: None,
        })
    }

    /// Returns the folder in which the files lie.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn folder(&self) -> PathBuf {
        let shard = self.train.shards.first();
        let folder = shard.and_then(|shard| shard.path.parent());
        folder.unwrap_or(Path::new("")).to_owned()
    }

    /// Returns the files of tokens in a folder.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
        let cannot = |e: std::io::Error| Error::file(folder, format!("cannot be read: {e}"));
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(cannot)? {
            let path = entry.map_err(cannot)?.path();
            let name = path.file_name().map_or("".into(), |n| n.to_string_lossy());
            let shard = name.strip_prefix("train-").or(name.strip_prefix("test-"));
            if name == MANIFEST || shard.is_some_and(|rest| rest.ends_with(".safetensors")) {
                found.push(path.clone());
            }
        }
        Ok(found)
    }

    /// The files lie in `to` from now on, if they lay in `from`.
    pub(crate) fn relocate(&mut self, from: &Path, to: &Path) {
        for shard in self.train.shards.iter_mut().chain(&mut self.test.shards) {
            if let Ok(own) = shard.path.strip_prefix(from) {
                shard.path = to.join(own);
            }
        }
    }

    /// Checks that the model of this hash made these tokens.
    ///
    /// # Errors
    /// If not; the message says the way out.
    pub fn check_model(&self, hash: &str) -> Result<()> {
        self.check(&TokenDatasetInfo {
            model: hash.to_owned(),
            ..self.info.clone()
        })
    }

    /// Checks that these tokens were made by this model, from this data set.
    ///
    /// # Errors
    /// If not; the message says what differs, and the way out.
    pub fn check(&self, wanted: &TokenDatasetInfo) -> Result<()> {
        let (has, v) = (&self.info, &self.info.vocabulary);
        // The set may have been moved, or be called by another path: what it holds is in its sum.
        if *has
            == (TokenDatasetInfo {
                data: has.data.clone(),
                ..wanted.clone()
            })
        {
            return Ok(());
        }
        let short = |hash: &str| hash.chars().take(12).collect::<String>();
        let what = if has.level != wanted.level {
            format!(
                "they are of the level `{}`, and `{}` is asked for",
                has.level, wanted.level
            )
        } else if has.vocabulary.codebook_size != wanted.vocabulary.codebook_size {
            let now = wanted.vocabulary.codebook_size;
            format!(
                "they are codes of a codebook of {}, the model's codebook has {now}",
                v.codebook_size
            )
        } else if has.model != wanted.model {
            format!(
                "they were made by the model {}, this is the model {}",
                short(&has.model),
                short(&wanted.model)
            )
        } else if has.reader != wanted.reader || v.text != wanted.vocabulary.text {
            "their texts were read by another tokenizer, or there were none".into()
        } else if has.data_sha256 != wanted.data_sha256 {
            format!(
                "they are of the data set `{}` as it was; the images of `{}` are others",
                has.data, wanted.data
            )
        } else {
            "they were made under another configuration".into()
        };
        Err(Error::data(format!(
            "the tokens are not those of this run: {what}; make them again with --overwrite"
        )))
    }
}

impl Split {
    /// Opens the images of files in a row, each of which is read once, for its sum.
    pub(crate) fn open(
        folder: &Path,
        entries: &[ShardEntry],
        info: &TokenDatasetInfo,
    ) -> Result<Split> {
        let mut split = Split {
            shards: Vec::new(),
            images: 0,
            per_image: info.vocabulary.known() + info.vocabulary.tokens(),
            open: RefCell::default(),
            no_class: info.vocabulary.no_class(),
            text: info.vocabulary.text,
        };
        for entry in entries {
            let shard = Shard::open(folder, entry, info, split.images)?;
            split.images += shard.images;
            split.shards.push(shard);
        }
        Ok(split)
    }

    /// Images.
    pub fn len(&self) -> usize {
        self.images
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.images == 0
    }

    /// Returns the codes of images, by their numbers, one after another, each image's codes of the
    /// levels above before its own, and their classes; an image without one has as its class the
    /// number of classes.
    ///
    /// # Errors
    /// If there is no such image, or a file cannot be read.
    pub fn read(&self, numbers: &[u32]) -> Result<(Vec<u32>, Vec<u32>)> {
        let mut codes = Vec::with_capacity(numbers.len() * self.per_image);
        let mut classes = Vec::with_capacity(numbers.len());
        let mut bytes = Vec::new();
        for &number in numbers {
            let number = number as usize;
            let shard = self
                .shards
                .partition_point(|s| s.first + s.images <= number);
            let s = self.shards.get(shard).ok_or_else(|| {
                Error::invalid(
                    "tokens",
                    format!("image {number} of {}: there is no such image", self.images),
                )
            })?;
            let place = (number - s.first) as u64;
            bytes.resize(self.per_image * s.width, 0);
            self.bytes(shard, s.codes_at + place * bytes.len() as u64, &mut bytes)?;
            match s.width {
                2 => codes.extend(
                    bytes
                        .chunks_exact(2)
                        .map(|b| u32::from(u16::from_le_bytes([b[0], b[1]]))),
                ),
                _ => codes.extend(
                    bytes
                        .chunks_exact(4)
                        .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])),
                ),
            }
            let mut class = [0; 4];
            self.bytes(shard, s.classes_at + 4 * place, &mut class)?;
            classes.push(match u32::from_le_bytes(class) {
                NO_CLASS => self.no_class,
                class => class,
            });
        }
        Ok((codes, classes))
    }

    /// Returns the class of every image, in their order.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn classes(&self) -> Result<Vec<Option<u32>>> {
        let mut all = Vec::with_capacity(self.images);
        for (n, shard) in self.shards.iter().enumerate() {
            let mut bytes = vec![0; 4 * shard.images];
            self.bytes(n, shard.classes_at, &mut bytes)?;
            let classes = bytes.as_chunks::<4>().0.iter().copied();
            let class = |bytes| Some(u32::from_le_bytes(bytes)).filter(|c| *c != NO_CLASS);
            all.extend(classes.map(class));
        }
        Ok(all)
    }

    /// Returns the texts of images, by their numbers; `None` where there are none.
    ///
    /// # Errors
    /// As [`Split::read`].
    pub fn read_texts(&self, numbers: &[u32]) -> Result<Option<Texts>> {
        let Some(text) = &self.text else {
            return Ok(None);
        };
        let mut texts = Texts {
            hidden: vec![false; numbers.len()],
            ..Default::default()
        };
        let mut words = vec![0; 4 * text.words()];
        for &number in numbers {
            let number = number as usize;
            let shard = self
                .shards
                .partition_point(|s| s.first + s.images <= number);
            let found = self.shards.get(shard).and_then(|s| Some((s, s.text_at?)));
            let (s, [text_at, lengths_at]) = found.ok_or_else(|| {
                Error::invalid(
                    "tokens",
                    format!("image {number} of {}: there is no such image", self.images),
                )
            })?;
            let place = (number - s.first) as u64;
            self.bytes(shard, text_at + place * words.len() as u64, &mut words)?;
            texts.words.extend(
                words
                    .chunks_exact(4)
                    .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            );
            let mut length = [0; 4];
            self.bytes(shard, lengths_at + 4 * place, &mut length)?;
            texts.lengths.push(u32::from_le_bytes(length));
        }
        Ok(Some(texts))
    }

    fn bytes(&self, shard: usize, at: u64, into: &mut [u8]) -> Result<()> {
        let path = &self.shards[shard].path;
        let cannot = |e: std::io::Error| Error::file(path, format!("cannot be read: {e}"));
        let mut open = self.open.borrow_mut();
        let place = open.iter().position(|(n, _)| *n == shard);
        let entry = match place.and_then(|i| open.remove(i)) {
            Some(entry) => entry,
            None => (shard, File::open(path).map_err(cannot)?),
        };
        let mut file = &entry.1;
        let read = file
            .seek(SeekFrom::Start(at))
            .and_then(|_| file.read_exact(into))
            .map_err(cannot);
        open.push_front(entry);
        open.truncate(OPEN);
        read
    }

    /// Walks over all images, a few at a time.
    fn walk(&self, mut each: impl FnMut(&[u32])) -> Result<()> {
        let numbers: Vec<u32> = (0..self.images as u32).collect();
        for part in numbers.chunks(BATCH) {
            self.read(part)?
                .0
                .chunks(self.per_image)
                .for_each(&mut each);
        }
        Ok(())
    }
}
