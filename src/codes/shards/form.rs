//! The forms of shards' files.

use super::number::ShardNumber;
use crate::codes::{Codes, LabelKinds, Labels};
use crate::storage::checkpoint;
use crate::{Error, Result};
use std::fmt;
use std::ops::Range;
use std::path::Path;

/// The form of a shard's file of codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShardForm {
    /// A file of codes of our own, with the classes and texts of its images.
    #[default]
    Safetensors,
    /// A Parquet table, as [`Codes::save_parquet`] writes it.
    Parquet,
    /// A tar for WebDataset, whose samples are numbered through all shards.
    Tar,
}

impl ShardForm {
    const ALL: [ShardForm; 3] = [ShardForm::Safetensors, ShardForm::Parquet, ShardForm::Tar];

    fn ending(self) -> &'static str {
        match self {
            ShardForm::Safetensors => "safetensors",
            ShardForm::Parquet => "parquet",
            ShardForm::Tar => "tar",
        }
    }

    /// Returns the form of a shard's file, by its name.
    pub(super) fn of(file: &str, shard: ShardNumber) -> Option<ShardForm> {
        let mut all = ShardForm::ALL.into_iter();
        all.find(|form| form.file(shard) == file)
    }

    /// Returns the name of a shard's file.
    pub fn file(self, shard: ShardNumber) -> String {
        format!("{shard:#}.{}", self.ending())
    }

    /// Writes a shard of codes whose first image has this number in its set, and returns the file's
    /// SHA-256.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn save(
        self,
        codes: &Codes,
        labels: &Labels,
        first: usize,
        path: &Path,
    ) -> Result<String> {
        match self {
            ShardForm::Safetensors => return codes.save_with(labels, path),
            #[cfg(feature = "parquet")]
            ShardForm::Parquet => codes.save_parquet(labels, path)?,
            #[cfg(not(feature = "parquet"))]
            ShardForm::Parquet => return Err(no_parquet(path)),
            ShardForm::Tar => codes.save_tar(labels, first, path)?,
        }
        let file = std::fs::File::open(path).and_then(checkpoint::sum_of_rest);
        file.map_err(|e| Error::file(path, format!("cannot be read back: {e}")))
    }

    /// Reads a shard of these images of its set; `codes` has none yet, and says what is known of
    /// them.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn load(
        self,
        kinds: &LabelKinds,
        images: Range<usize>,
        mut codes: Codes,
        path: &Path,
    ) -> Result<(Codes, Labels)> {
        match self {
            ShardForm::Safetensors => Codes::load_with(path, kinds),
            #[cfg(feature = "parquet")]
            ShardForm::Parquet => Codes::load_parquet(path, kinds, images.len()),
            #[cfg(not(feature = "parquet"))]
            ShardForm::Parquet => Err(no_parquet(path)),
            ShardForm::Tar => {
                let labels = codes.load_tar(kinds, images, path)?;
                codes.check().map_err(|e| Error::file(path, e))?;
                Ok((codes, labels))
            }
        }
    }
}

#[cfg(not(feature = "parquet"))]
fn no_parquet(path: &Path) -> Error {
    let what = "is a Parquet file, which this build does not have: build wgvq with `--features \
                parquet`";
    Error::file(path, what)
}

impl fmt::Display for ShardForm {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            ShardForm::Safetensors => "a file of codes in safetensors",
            ShardForm::Parquet => "a Parquet table",
            ShardForm::Tar => "a tar for WebDataset",
        })
    }
}
