//! Metadata of a token set.

use super::MANIFEST;
use crate::models::Level;
use crate::models::prior::Vocabulary;
use crate::text::slug;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Layout and origin of the tokens of a data set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenDatasetInfo {
    /// SHA-256 of the model file that made them.
    pub model: String,
    /// Its quantizer's name.
    pub quantizer: String,
    /// The level whose codes they are; empty where the model has one.
    #[serde(default)]
    pub level: String,
    /// Layout of the codes.
    pub vocabulary: Vocabulary,
    /// Width, height and channels of the images.
    pub image: [usize; 3],
    /// The classes' names.
    pub classes: Vec<String>,
    /// The data set, by a name that holds from any working directory. It counts for nothing when
    /// tokens are held against what is wanted.
    pub data: String,
    /// Its [`ImageSet::sha256`](crate::data::ImageSet::sha256).
    pub data_sha256: String,
    /// Whether each training image is there mirrored, too.
    pub mirrored: bool,
    /// SHA-256 of what made tokens of the texts; empty where there are none.
    #[serde(default)]
    pub reader: String,
}

/// Names of no class, beside classes that are called so.
const NO_CLASS: [&str; 2] = ["none", "unconditional"];

/// Renamed to [`TokenDatasetInfo`].
#[deprecated(since = "0.2.0", note = "renamed to `TokenDatasetInfo`")]
pub type About = TokenDatasetInfo;

impl TokenDatasetInfo {
    /// Returns the index of the level whose codes these are; as many as there are levels stands
    /// for all scales together.
    ///
    /// # Errors
    /// If it has no such level.
    pub fn level(&self, levels: &[Level]) -> Result<usize> {
        if self.vocabulary.scales.is_some() {
            return Ok(levels.len());
        }
        let found = levels.iter().position(|l| l.name == self.level);
        found
            .ok_or_else(|| Error::data(format!("the model's codes have no level `{}`", self.level)))
    }

    /// Returns the class of that name: just it, the whole of it in whatever case, or a part that no
    /// other has. `none` and `unconditional` stand for no class, unless a class is called so.
    ///
    /// # Errors
    /// If there is no such class, or several; the error is one about `option`.
    pub fn class_named(&self, option: &str, name: &str) -> Result<u32> {
        let names = &self.classes;
        if let Some(exact) = names.iter().position(|n| n == name) {
            return Ok(exact as u32);
        }
        let asked = name.to_lowercase();
        if NO_CLASS.contains(&&*asked) && !names.iter().any(|n| n.to_lowercase() == asked) {
            return Ok(self.vocabulary.no_class());
        }
        if names.is_empty() {
            return Err(Error::config(
                option,
                format!("`{name}` was asked for, but the images had no classes"),
            ));
        }
        let matching = |f: &dyn Fn(&str) -> bool| -> Vec<u32> {
            (0..names.len() as u32)
                .filter(|i| f(&names[*i as usize].to_lowercase()))
                .collect()
        };
        let whole = matching(&|n| n == asked || slug(n) == asked);
        let part = matching(&|n| n.contains(&asked));
        match (&whole[..], &part[..]) {
            ([one], _) | ([], [one]) => Ok(*one),
            ([], []) => Err(Error::config(
                option,
                format!("there is no class `{name}`; there are {}", names.join(", ")),
            )),
            (_, several) => {
                let several: Vec<&str> = several
                    .iter()
                    .map(|i| names[*i as usize].as_str())
                    .collect();
                Err(Error::config(
                    option,
                    format!("`{name}` may be {}: say which", several.join(", ")),
                ))
            }
        }
    }
}

/// Returns the SHA-256 of the model that made the tokens in a folder, as their manifest says;
/// `None` where there is none that can be read.
pub(crate) fn made_by(folder: &Path) -> Option<String> {
    let value: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join(MANIFEST)).ok()?).ok()?;
    value["about"]["model"].as_str().map(str::to_owned)
}

/// Returns the vocabulary of a prior of the codes of level `level`.
pub fn vocabulary_of(levels: &[Level], level: usize, classes: usize) -> Vocabulary {
    let of = &levels[level];
    Vocabulary {
        codebook_size: of.codebook_size,
        codebooks: of.codebooks,
        grid: of.grid,
        classes,
        above: levels[..level].to_vec(),
        text: None,
        scales: None,
    }
}
