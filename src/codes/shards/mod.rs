//! Codes of a data set, made in shards by processes that know nothing of each other.
//!
//! The images fall into blocks of a fixed number; a shard is a run of blocks, so that each image
//! goes through the model beside the same images as in a single process. A shard is a file of
//! codes, in one of several forms, and its manifest, which says what it was made of;
//! [`Shards::open`] checks that a folder holds each shard once and that they belong together, and
//! [`join`] merges files of codes. Token sets are joined by `inference::tokenize`.

mod environment;
mod form;
mod manifest;
mod number;
mod tar;

use crate::codes::{Codes, LabelKinds, Labels};
use crate::{Error, Result};
pub use form::ShardForm;
pub(crate) use manifest::Batch;
pub use manifest::{ShardManifest, ShardSource};
pub use number::{ShardChoice, ShardNumber};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Images of a block; the last of a side may have fewer.
pub const BLOCK: usize = super::tokens::BATCH;

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

/// Merges shards of codes, whatever their forms, to what a single process makes, with the labels of
/// their images.
///
/// # Errors
/// If they are of a token set, or one cannot be read.
pub fn join(shards: &Shards) -> Result<(Codes, Labels)> {
    let mut joined: Option<(Codes, Labels, &LabelKinds)> = None;
    let first = shards.manifests.first().map(|manifest| manifest.shard);
    for manifest in &shards.manifests {
        let path = shards.folder.join(&manifest.file);
        let (codes, labels) = manifest.codes(&shards.folder)?;
        if codes.names.len() != manifest.rows[1] - manifest.rows[0] {
            return Err(Error::file(
                &path,
                "does not hold the images that its manifest says",
            ));
        }
        match &mut joined {
            None => joined = Some((codes, labels, &manifest.labels)),
            Some((all, all_labels, kinds)) => {
                if (&all.model, &all.levels, &all.image)
                    != (&codes.model, &codes.levels, &codes.image)
                {
                    return Err(Error::file(&path, "holds codes of another model"));
                }
                if *kinds != &manifest.labels {
                    // Whichever has none.
                    let is_first = kinds.is_empty();
                    let shard = if is_first {
                        first
                    } else {
                        Some(manifest.shard)
                    };
                    let shard = shard.unwrap_or(manifest.shard);
                    let what = format!(
                        "holds other labels than the first shard: shard {shard} has no classes \
                         and texts, as those of earlier versions; make it and those like it again"
                    );
                    return Err(Error::file(&path, what));
                }
                all.names.extend(codes.names);
                all.indices.extend(codes.indices);
                all_labels.append(labels);
            }
        }
    }
    let joined = joined.ok_or_else(|| Error::invalid("shards", "none"))?;
    Ok((joined.0, joined.1))
}

#[cfg(test)]
mod tests;
