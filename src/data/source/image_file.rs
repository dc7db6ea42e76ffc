//! An image of a set where it lies, and what is said beside it.

use std::ops::Range;
use std::path::PathBuf;

use crate::data::decode::place::Place;
use crate::text::{decode_text, one_line};

/// Names of the two sides of a split.
pub(crate) const TRAIN: [&str; 2] = ["train", "training"];
pub(crate) const TEST: [&str; 5] = ["test", "testing", "val", "valid", "validation"];
/// Names of a text in files that hold several.
pub(crate) const TEXT: [&str; 3] = ["text", "caption", "prompt"];
/// A caption longer than this is not a caption.
pub(crate) const MAX_CAPTION: u64 = 64 << 10;

/// One image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageFile {
    pub(crate) place: Place,
    /// Path relative to the folder, `/`-separated.
    pub(crate) name: String,
    /// The part of the name that is an archive's, with the folders above it.
    pub(crate) shard: Range<usize>,
    pub(crate) caption: Sidecar,
    pub(crate) class: Sidecar,
}

/// The text beside an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sidecar {
    Nothing,
    /// The content of this file.
    At(Place),
    Said(String),
    /// A class by its number and its name, in the order of the numbers.
    #[cfg_attr(not(feature = "parquet"), allow(dead_code))]
    Class(usize, String),
    /// The name of one that cannot be read, and why.
    Damaged(String, String),
}

/// Texts that cannot be read, and why.
#[derive(Debug, Default)]
pub(crate) struct UnreadableTexts(Vec<(String, String)>);

impl UnreadableTexts {
    pub(crate) fn note(self, notes: &mut Vec<String>) {
        let UnreadableTexts(all) = self;
        if !all.is_empty() {
            let count = all.len();
            let reasons = all
                .into_iter()
                .map(|(name, what)| format!("{name} ({what})"))
                .collect::<Vec<_>>();
            let reasons = first_few(reasons.into_iter());
            notes.push(format!(
                "{count} texts beside images cannot be read and count as missing: {reasons}"
            ));
        }
    }
}

impl Sidecar {
    pub(crate) fn read(&self, unread: &mut UnreadableTexts) -> Option<String> {
        let damaged = match self {
            Sidecar::Nothing => return None,
            Sidecar::Said(text) => return Some(one_line(text)).filter(|text| !text.is_empty()),
            Sidecar::Class(_, name) => return Some(name.clone()),
            Sidecar::Damaged(name, what) => (name.clone(), what.clone()),
            Sidecar::At(place) => {
                let text = match place.read(MAX_CAPTION) {
                    Ok(Some(bytes)) => decode_text(&bytes),
                    Ok(None) => Err(too_long(MAX_CAPTION)),
                    Err(error) => Err(format!("cannot be read: {error}")),
                };
                match text {
                    Ok(text) => return Some(one_line(&text)).filter(|text| !text.is_empty()),
                    Err(what) => (place.named().display().to_string(), what),
                }
            }
        };
        unread.0.push(damaged);
        None
    }
}

/// The words for a text that is too long to be one of an image.
pub(crate) fn too_long(most: u64) -> String {
    format!("is longer than the {} KiB that are read", most >> 10)
}

impl ImageFile {
    /// Returns a file of its own, with nothing beside it.
    pub(crate) fn file(path: PathBuf, name: String) -> ImageFile {
        ImageFile {
            place: Place::file(path),
            name,
            shard: 0..0,
            caption: Sidecar::Nothing,
            class: Sidecar::Nothing,
        }
    }

    /// Returns the text beside it.
    pub(crate) fn caption(&self, unread: &mut UnreadableTexts) -> Option<String> {
        self.caption.read(unread)
    }

    /// The folders that it lies in, the outermost first: those of its archive, and those in it.
    pub(crate) fn folders(&self) -> Vec<&str> {
        let (shard, inner) = (&self.name[self.shard.clone()], &self.name[self.shard.end..]);
        let above = |name: &str| name.split('/').count() - 1;
        // The last of the shard's parts is empty, since it ends in a slash, and the one before it
        // is the archive.
        let outer = above(shard).saturating_sub(1);
        shard
            .split('/')
            .take(outer)
            .chain(inner.split('/').take(above(inner)))
            .collect()
    }
}

/// Returns the first names of a list, and how many more there are.
pub(crate) fn first_few(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(5);
    let names = names.take(5).collect::<Vec<_>>().join(", ");
    if more > 0 {
        format!("{names} and {more} more")
    } else {
        names
    }
}
