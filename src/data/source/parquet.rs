//! Parquet files of images, as the library `datasets` of Hugging Face writes them: a column of
//! images, each a structure of `bytes` and `path` or the bytes alone, and beside it texts and
//! labels.
//!
//! A file is a shard of a set: `train-00000-of-00002.parquet`. Where shards are named by `train`
//! and one of `test`, `val`, `valid`, `validation`, or lie in folders of these names, that is the
//! split. Nothing is unpacked: texts and labels are read when the set is opened, and an image's
//! bytes from its page of the file when they are wanted.

#[cfg(feature = "parquet")]
mod columns;
#[cfg(feature = "parquet")]
mod rows;

use std::path::{Path, PathBuf};

use crate::data::source::image_file::{ImageFile, TEST, TRAIN};
use crate::{Error, Result};

/// Whether it is a Parquet file, by its name.
pub(crate) fn is_parquet(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default();
    ending.eq_ignore_ascii_case("parquet") || ending.eq_ignore_ascii_case("parq")
}

/// Whether it is a pattern of the names of Parquet files: `data/train-*.parquet`.
pub(crate) fn is_pattern(source: &str) -> bool {
    source.contains(['*', '?']) && is_parquet(Path::new(source))
}

/// Returns a file as the only one of a set.
pub(crate) fn alone(path: &Path) -> [(PathBuf, String); 1] {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    [(path.to_owned(), name.into_owned())]
}

/// Returns the files that a pattern fits, with their names, in the order of these.
///
/// # Errors
/// If there is none, or the folder cannot be listed.
pub(crate) fn matching(source: &str) -> Result<Vec<(PathBuf, String)>> {
    let (folder, pattern) = match source.rfind(std::path::is_separator) {
        Some(slash) => (&source[..slash + 1], &source[slash + 1..]),
        None => (".", source),
    };
    let folder = Path::new(folder);
    let cannot = |e: std::io::Error| Error::file(folder, format!("cannot be listed: {e}"));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if fits(pattern.as_bytes(), name.as_bytes()) && entry.path().is_file() {
            found.push((folder.join(entry.file_name()), name));
        }
    }
    if found.is_empty() {
        let what = "fits no file: `*` stands for any letters of a name and `?` for one, and \
                    neither for folders";
        return Err(Error::file(source, what));
    }
    found.sort();
    Ok(found)
}

/// Whether a name fits a pattern of `*` and `?`.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut p) = (0, 0);
    // Where the newest `*` stands, and how much of the name it takes in.
    let mut star = None;
    while at < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, at));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == name[at] => (at, p) = (at + 1, p + 1),
            _ => match star {
                Some((place, taken)) => {
                    star = Some((place, taken + 1));
                    (at, p) = (taken + 1, place + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// Returns the rows of files, which are given with their names below the set's root.
pub(crate) fn samples(
    files: &[(PathBuf, String)],
    notes: &mut Vec<String>,
) -> Result<Vec<ImageFile>> {
    let sides: Vec<Option<bool>> = files.iter().map(|(_, name)| is_train(name)).collect();
    let has_both = [true, false].iter().all(|s| sides.contains(&Some(*s)));
    let unknown = sides.iter().filter(|side| side.is_none()).count();
    if has_both && unknown > 0 {
        notes.push(format!(
            "{unknown} of {} files are named by no side of the split: one image in ten is held \
             out of all",
            files.len()
        ));
    }
    let prefixes = files.iter().zip(&sides).map(|((_, name), side)| {
        let name = name.rsplit_once('.').map_or(&**name, |(name, _)| name);
        let shard = name.replace('/', "-");
        match side.filter(|_| has_both && unknown == 0) {
            Some(true) => format!("train/{shard}/"),
            Some(false) => format!("test/{shard}/"),
            None => format!("{shard}/"),
        }
    });
    let prefixes: Vec<String> = prefixes.collect();
    read(files, &prefixes, notes)
}

/// Whether a file is of the side that is trained on, by the first word of its name or of a
/// folder's; `None` where none says so.
fn is_train(name: &str) -> Option<bool> {
    let part = |part: &str| {
        let word = part.split(['-', '.', '_']).next()?.to_lowercase();
        match (TRAIN.contains(&&*word), TEST.contains(&&*word)) {
            (false, false) => None,
            (train, _) => Some(train),
        }
    };
    name.rsplit('/').find_map(part)
}

#[cfg(feature = "parquet")]
use rows::read;

#[cfg(not(feature = "parquet"))]
fn read(
    files: &[(PathBuf, String)],
    _prefixes: &[String],
    _notes: &mut Vec<String>,
) -> Result<Vec<ImageFile>> {
    let first = files.first().map_or(Path::new(""), |(path, _)| path);
    let what = "is a Parquet file, which this build does not read: build wgvq with `--features \
                parquet`";
    Err(Error::file(first, what))
}

#[cfg(test)]
mod tests;
