//! What a token set says of itself.

use super::MANIFEST;
use crate::models::Level;
use crate::models::prior::Vocabulary;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What the tokens of a data set are, and where they come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenDatasetInfo {
    /// SHA-256 of the model file that made them.
    pub model: String,
    /// Its quantizer's name.
    pub quantizer: String,
    /// The level whose codes they are; empty where the model has one.
    #[serde(default)]
    pub level: String,
    /// What they look like.
    pub vocabulary: Vocabulary,
    /// Width, height and channels of the images.
    pub image: [usize; 3],
    /// The classes' names.
    pub classes: Vec<String>,
    /// The data set, by a name that holds from any working directory. It counts for nothing when
    /// tokens are held against what is wanted.
    pub data: String,
    /// Its [`ImageSet::sha256`].
    pub data_sha256: String,
    /// Is each training image there mirrored, too?
    pub mirrored: bool,
    /// What made tokens of the texts, by its SHA-256; empty where there are none.
    #[serde(default)]
    pub reader: String,
}

/// Renamed.
#[deprecated(since = "0.2.0", note = "renamed to `TokenDatasetInfo`")]
pub type About = TokenDatasetInfo;

impl TokenDatasetInfo {
    /// Which of a model's levels these are.
    ///
    /// # Errors
    /// If it has no such level.
    pub fn level(&self, levels: &[Level]) -> Result<usize> {
        let found = levels.iter().position(|l| l.name == self.level);
        found
            .ok_or_else(|| Error::data(format!("the model's codes have no level `{}`", self.level)))
    }
}

/// The SHA-256 of the model that made the tokens in a folder, as their manifest says; `None` where
/// there is none that can be read.
pub(crate) fn made_by(folder: &Path) -> Option<String> {
    let value: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join(MANIFEST)).ok()?).ok()?;
    value["about"]["model"].as_str().map(str::to_owned)
}

/// What the codes of a level look like to a prior, where a model has these.
pub fn vocabulary_of(levels: &[Level], level: usize, classes: usize) -> Vocabulary {
    let of = &levels[level];
    Vocabulary {
        codebook_size: of.codebook_size,
        codebooks: of.codebooks,
        grid: of.grid,
        classes,
        above: levels[..level].to_vec(),
        text: None,
    }
}
