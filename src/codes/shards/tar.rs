//! Shards as tars for WebDataset.

use crate::codes::webdataset::{array, ending};
use crate::codes::{Codes, LabelKinds, Labels, dtype};
use crate::models::Level;
use crate::storage::atomic;
use crate::{Error, Result};
use safetensors::tensor::Dtype;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

impl Codes {
    /// Writes all images as the samples of one tar, named from the number `first` on.
    pub(super) fn save_tar(&self, labels: &Labels, first: usize, path: &Path) -> Result<()> {
        self.check()?;
        let images = 0..self.names.len();
        atomic::write_with(path, |file| {
            self.write_tar(labels, images, first, file, path)
        })
    }

    /// Fills in the codes that [`Codes::save_tar`] wrote, of so many images from the number `first`
    /// on, where all else is known of them; and returns their labels.
    ///
    /// # Errors
    /// If the tar does not hold them.
    pub(super) fn load_tar(
        &mut self,
        kinds: &LabelKinds,
        images: Range<usize>,
        path: &Path,
    ) -> Result<Labels> {
        let cannot = |e: std::io::Error| Error::file(path, format!("cannot be read: {e}"));
        let file = File::open(path).map_err(cannot)?;
        // A header may name any size, and a sparse file has bytes that are nowhere.
        let most = file.metadata().map_err(cannot)?.len();
        let mut left = most;
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for entry in tar::Archive::new(file).entries().map_err(cannot)? {
            let mut bytes = Vec::new();
            let entry = entry.map_err(cannot)?;
            let name = entry.path().map_err(cannot)?.display().to_string();
            let is_file = entry.header().entry_type() == tar::EntryType::Regular;
            entry.take(left).read_to_end(&mut bytes).map_err(cannot)?;
            left -= bytes.len() as u64;
            if !is_file || files.contains_key(&name) {
                let what = format!("holds `{name}` twice, or as no plain file");
                return Err(Error::file(path, what));
            }
            files.insert(name, bytes);
        }
        // A code takes two bytes at least.
        let fits = |level: &Level| {
            let codes = level
                .shape(1)
                .into_iter()
                .try_fold(1usize, usize::checked_mul);
            codes.is_some_and(|codes| codes as u64 <= most / 2)
        };
        if !images.is_empty() && !self.levels.iter().all(fits) {
            return Err(Error::file(path, "does not hold grids of codes so large"));
        }
        let mut labels = kinds.labels();
        for number in images {
            let mut take = |ending: &str| files.remove(&format!("{number:08}.{ending}"));
            let wrong = |ending: &str| {
                let what = format!("does not hold `{number:08}.{ending}` as it was written");
                Error::file(path, what)
            };
            for level in &self.levels {
                let ending = ending(level);
                let codes = take(&ending).and_then(|bytes| codes_of(level, &bytes));
                self.indices.extend(codes.ok_or_else(|| wrong(&ending))?);
            }
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
            let about: Option<serde_json::Value> =
                take("json").and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let name = about.and_then(|about| Some(about["name"].as_str()?.to_owned()));
            self.names.push(name.ok_or_else(|| wrong("json"))?);
            let known = |class: &u32| {
                let names = kinds.classes.as_ref();
                names.is_some_and(|names| (*class as usize) < names.len())
            };
            let class = match take("cls").map(|bytes| text(bytes)?.parse().ok().filter(known)) {
                None => None,
                Some(class) => Some(class.ok_or_else(|| wrong("cls"))?),
            };
            let said = match take("txt").map(text) {
                None => None,
                Some(said) => Some(said.ok_or_else(|| wrong("txt"))?),
            };
            if said.is_some() && !kinds.texts {
                return Err(wrong("txt"));
            }
            labels.push(class, said);
        }
        if let Some(name) = files.keys().next() {
            return Err(Error::file(
                path,
                format!("holds `{name}`, which is not its own"),
            ));
        }
        Ok(labels)
    }
}

/// Returns the codes of an array that [`array`] made; `None` where it is another.
fn codes_of(level: &Level, bytes: &[u8]) -> Option<Vec<u32>> {
    let zeros = array(level, &vec![0; level.codes()]).ok()?;
    let width = if dtype(level) == Dtype::U16 { 2 } else { 4 };
    let (header, _) = zeros.split_at_checked(zeros.len().checked_sub(width * level.codes())?)?;
    let codes = bytes.strip_prefix(header)?;
    let of_width = |code: &[u8]| match *code {
        [a, b] => u32::from(u16::from_le_bytes([a, b])),
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
        _ => 0,
    };
    (bytes.len() == zeros.len()).then(|| codes.chunks_exact(width).map(of_width).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::planted::codes_of_three;

    #[test]
    fn one_tar_is_read_as_it_was_written() {
        let (codes, labels) = codes_of_three();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shard.tar");
        codes.save_tar(&labels, 40, &path).unwrap();
        let empty = || Codes {
            names: Vec::new(),
            indices: Vec::new(),
            ..codes.clone()
        };
        let mut read = empty();
        let kinds = labels.kinds();
        assert_eq!(read.load_tar(&kinds, 40..43, &path).unwrap(), labels);
        assert_eq!(read, codes);
        let refused = |codes: &mut Codes, kinds: &LabelKinds, images, word: &str| {
            let said = codes
                .load_tar(kinds, images, &path)
                .unwrap_err()
                .to_string();
            assert!(said.contains(word) && said.contains("shard.tar"), "{said}");
        };
        refused(&mut empty(), &kinds, 40..44, "00000043.top.npy");
        refused(&mut empty(), &kinds, 40..42, "00000042");
        refused(&mut empty(), &LabelKinds::default(), 40..43, "00000040.cls");
        let mut other = empty();
        other.levels[0].grid = [2, 1];
        refused(&mut other, &kinds, 40..43, "00000040.top.npy");
        other.levels[0].grid = [usize::MAX, 2];
        refused(&mut other, &kinds, 40..43, "so large");
    }
}
