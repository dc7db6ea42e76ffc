//! Codes of a data set, made in shards by processes that know nothing of each other.
//!
//! The images fall into blocks of a fixed number; a shard is a run of blocks, so that each image
//! goes through the model beside the same images as in a single process. A shard is a file of
//! codes and its manifest, which says what it was made of; [`Shards::open`] checks that a folder
//! holds each shard once and that they belong together, and [`join`] merges files of codes. Token
//! sets are joined by `inference::tokenize`.

mod environment;
mod manifest;

use crate::codes::Codes;
use crate::{Error, Result};
pub(crate) use manifest::Batch;
pub use manifest::{ShardManifest, ShardSource};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Images of a block; the last of a side may have fewer.
pub const BLOCK: usize = super::tokens::BATCH;

/// One of several shards, counted from 1: `3/7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ShardNumber {
    number: usize,
    of: usize,
}

impl ShardNumber {
    /// The whole, as one shard.
    pub const WHOLE: ShardNumber = ShardNumber { number: 1, of: 1 };

    /// Returns shard `number` of `of`, counted from 1.
    ///
    /// # Errors
    /// If there is no such shard.
    pub fn new(number: usize, of: usize) -> Result<ShardNumber> {
        if (1..=of).contains(&number) && of <= 100_000 {
            return Ok(ShardNumber { number, of });
        }
        let what = format!("{number}/{of}: shards are counted from 1/{of} to {of}/{of}");
        Err(Error::config("--shard", what))
    }

    /// Returns the number of the shard, from 1.
    pub fn number(self) -> usize {
        self.number
    }

    /// Returns how many shards there are.
    pub fn of(self) -> usize {
        self.of
    }

    /// Returns the share of `all` things in a row that are this shard's.
    pub fn share(self, all: usize) -> Range<usize> {
        let at = |n: usize| (all as u128 * n as u128 / self.of as u128) as usize;
        at(self.number - 1)..at(self.number)
    }

    /// Returns the name of the shard's file of codes.
    pub fn file(self) -> String {
        format!("{self:#}.safetensors")
    }

    /// Returns the name of the shard's manifest.
    pub fn manifest(self) -> String {
        format!("{self:#}.json")
    }
}

/// `3/7`; in the alternate form as in names of files, `shard-00003-of-00007`.
impl fmt::Display for ShardNumber {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (number, of) = (self.number, self.of);
        match f.alternate() {
            true => write!(f, "shard-{number:05}-of-{of:05}"),
            false => write!(f, "{number}/{of}"),
        }
    }
}

/// Reads `3/7`; `auto` takes the number from the environment that a cluster's scheduler or MPI set.
impl FromStr for ShardNumber {
    type Err = Error;

    fn from_str(text: &str) -> Result<ShardNumber> {
        if text == "auto" {
            return environment::shard(&|name| std::env::var(name).ok());
        }
        let parts = text.split_once('/');
        let parts = parts.and_then(|(i, n)| Some((i.trim().parse().ok()?, n.trim().parse().ok()?)));
        let Some((number, of)) = parts else {
            let what = format!("`{text}` is no shard: write 3/7 for the third of seven, or auto");
            return Err(Error::config("--shard", what));
        };
        ShardNumber::new(number, of)
    }
}

/// A folder of shards that belong together, each there once and whole.
#[derive(Debug)]
pub struct Shards {
    folder: PathBuf,
    /// The source of all of them.
    pub source: ShardSource,
    manifests: Vec<ShardManifest>,
}

impl Shards {
    /// Opens a folder of shards; each file is read once, for its sum.
    ///
    /// # Errors
    /// If a shard is missing, damaged or made of something else, or there are shards of several
    /// divisions; the message names it.
    pub fn open(folder: &Path) -> Result<Shards> {
        let found = ShardManifest::all(folder)?;
        let Some((first_name, first)) = found.iter().next() else {
            let what =
                "holds no shards: `wgvq encode RUN --data DATA -o DIR --shard 1/4` makes one";
            return Err(Error::file(folder, what));
        };
        let of = first.shard.of();
        let mut by_number: BTreeMap<usize, &ShardManifest> = BTreeMap::new();
        for (name, manifest) in &found {
            let wrong = |what: String| Err(Error::file(folder.join(name), what));
            if manifest.shard.of() != of {
                return wrong(format!(
                    "is shard {}, and {first_name} is shard {}: the folder holds shards of several \
                     divisions; move those away that are not meant",
                    manifest.shard, first.shard
                ));
            }
            if let Some(what) = first.source.difference(&manifest.source) {
                return wrong(format!("does not belong to {first_name}: {what}"));
            }
            if let Some(other) = by_number.insert(manifest.shard.number(), manifest) {
                return wrong(format!("is shard {} once more", other.shard));
            }
        }
        let missing: Vec<String> = (1..=of)
            .filter(|n| !by_number.contains_key(n))
            .map(|n| n.to_string())
            .collect();
        if !missing.is_empty() {
            let what = format!(
                "is not whole: of its {of} shards there are not yet {}",
                missing.join(", ")
            );
            return Err(Error::file(folder, what));
        }
        let manifests: Vec<ShardManifest> = by_number.into_values().cloned().collect();
        for manifest in &manifests {
            if let Some(what) = manifest.damage(folder)? {
                let what = format!("{what}: make shard {} again", manifest.shard);
                return Err(Error::file(folder.join(&manifest.file), what));
            }
        }
        Ok(Shards {
            folder: folder.to_owned(),
            source: first.source.clone(),
            manifests,
        })
    }

    /// Returns the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the shards' manifests, in their order.
    pub fn manifests(&self) -> &[ShardManifest] {
        &self.manifests
    }

    /// Returns the adapters that made the shards, where there are several: in near ties their codes
    /// may differ from those that one alone would make.
    pub fn several_adapters(&self) -> Vec<&str> {
        let mut adapters: Vec<&str> = self.manifests.iter().map(|m| &*m.adapter).collect();
        adapters.sort_unstable();
        adapters.dedup();
        match adapters.len() {
            1 => Vec::new(),
            _ => adapters,
        }
    }
}

/// Merges shards of codes to what a single process makes.
///
/// # Errors
/// If they are of a token set, or one cannot be read.
pub fn join(shards: &Shards) -> Result<Codes> {
    if let ShardSource::Tokens { .. } = shards.source {
        return Err(Error::invalid(
            "shards",
            "tokens of a prior, and no codes of images",
        ));
    }
    let mut joined: Option<Codes> = None;
    for manifest in &shards.manifests {
        let path = shards.folder.join(&manifest.file);
        let codes = Codes::load(&path)?;
        if codes.names.len() != manifest.rows[1] - manifest.rows[0] {
            return Err(Error::file(
                &path,
                "does not hold the images that its manifest says",
            ));
        }
        match &mut joined {
            None => joined = Some(codes),
            Some(all) => {
                if (&all.model, &all.levels, &all.image)
                    != (&codes.model, &codes.levels, &codes.image)
                {
                    return Err(Error::file(&path, "holds codes of another model"));
                }
                all.names.extend(codes.names);
                all.indices.extend(codes.indices);
            }
        }
    }
    joined.ok_or_else(|| Error::invalid("shards", "none"))
}

#[cfg(test)]
mod tests;
