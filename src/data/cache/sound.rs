//! Which source images of a set can be decoded: found when the set is opened, so that a damaged one
//! is left out of it and not met in the middle of training.
//!
//! A source image with a place on disk was decoded before. Of those beyond the budget a list of
//! names is kept beside them, so that a set is decoded as a whole but once. A name is a hash of the
//! file's path, length, time and ends: one that has changed is looked at again. Damaged ones are
//! not listed; why they are is found again.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io};

use parking_lot::Mutex;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::file::{self, Key};
use super::{ImageCache, disk_cache};
use crate::data::decode::resize::Resize;
use crate::{Error, Result};

/// The last byte is the version of the format.
const MAGIC: [u8; 8] = *b"wgvqls\0\x01";
const NAME: usize = size_of::<Key>();
/// Between two lines that say how far it is.
const SAID_EVERY: Duration = Duration::from_secs(5);

/// The name of the list of the set at `root`, in one form.
pub(super) fn name(root: &Path, how: Resize, tile: (u32, u32), channels: u32) -> Key {
    let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
    let hash = Sha256::new()
        .chain_update(MAGIC)
        .chain_update(super::form(how, tile.0, tile.1, channels))
        .chain_update(root.as_os_str().as_encoded_bytes());
    hash.finalize().into()
}

impl ImageCache {
    /// Decodes the source images that were not decoded before, and keeps those for which there is
    /// room. Returns the numbers of those that cannot be, and why.
    ///
    /// # Errors
    /// If decoded source images cannot be kept on disk.
    pub(crate) fn damaged(&self) -> Result<BTreeMap<usize, Error>> {
        let before = match &self.disk {
            Some(disk) => read(&disk.path(&self.listed)),
            None => HashSet::new(),
        };
        let wanted: Vec<u32> = (0..self.pictures.len() as u32)
            .into_par_iter()
            .filter(|n| !before.contains(&self.pictures[*n as usize].key) && !self.has_place(*n))
            .collect();
        let (done, said) = (AtomicUsize::new(0), Mutex::new(Instant::now()));
        let outcomes: Vec<Option<Error>> = wanted
            .par_iter()
            .map(|&n| {
                let outcome = match self.decode(&self.pictures[n as usize]) {
                    Ok(pixels) => self.keep(n, pixels, false).map(|()| None)?,
                    Err(error) => Some(error),
                };
                let done = 1 + done.fetch_add(1, Ordering::Relaxed);
                if let Some(mut said) = said.try_lock()
                    && said.elapsed() >= SAID_EVERY
                {
                    *said = Instant::now();
                    tracing::info!("{done} of {} images decoded", wanted.len());
                }
                Ok(outcome)
            })
            .collect::<Result<_>>()?;
        let damaged: BTreeMap<usize, Error> = wanted
            .iter()
            .zip(outcomes)
            .filter_map(|(n, error)| Some((*n as usize, error?)))
            .collect();
        if let Some(disk) = self.disk.as_ref().filter(|_| !wanted.is_empty()) {
            let beyond = (0..self.pictures.len())
                .filter(|n| !damaged.contains_key(n) && !self.has_place(*n as u32))
                .map(|n| self.pictures[n].key)
                .collect::<Vec<_>>();
            let path = disk.path(&self.listed);
            write(&path, &beyond).map_err(|e| disk.refused(&path, &e))?;
        }
        Ok(damaged)
    }

    /// Leaves these source images out; the others move up.
    pub(crate) fn leave_out(&mut self, damaged: &BTreeMap<usize, Error>) {
        if damaged.is_empty() {
            return;
        }
        // What is held is held by the numbers of before.
        self.memory.clear();
        let mut n = 0..;
        self.pictures
            .retain(|_| n.next().is_none_or(|n| !damaged.contains_key(&n)));
    }

    /// Returns the sum that stands for the content of each source image, see
    /// [`super::Stamp::ends`].
    pub(crate) fn ends(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.pictures.iter().map(|picture| &picture.ends)
    }

    fn has_place(&self, number: u32) -> bool {
        let picture = &self.pictures[number as usize];
        self.disk.as_ref().is_some_and(|disk| {
            file::is_there(&disk.path(&picture.key), &picture.key, self.size(picture))
        })
    }
}

/// The names of a list; none of one that is not there, or not whole: its source images are looked
/// at again.
fn read(path: &Path) -> HashSet<Key> {
    let Ok(bytes) = fs::read(path) else {
        return HashSet::new();
    };
    let names = bytes.strip_prefix(&MAGIC).and_then(|rest| {
        let (names, sum) = rest.split_last_chunk::<NAME>()?;
        (*sum == <[u8; 32]>::from(Sha256::digest(names))).then_some(names)
    });
    let (names, _) = names.unwrap_or_default().as_chunks::<NAME>();
    names.iter().copied().collect()
}

/// Writes a list, beside it first; none where there is no name and was none.
fn write(path: &Path, names: &[Key]) -> io::Result<()> {
    if names.is_empty() && !path.exists() {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let names = names.concat();
    let mut file = disk_cache::scratch(folder)?;
    file.write_all(&MAGIC)?;
    file.write_all(&names)?;
    file.write_all(&Sha256::digest(&names))?;
    file.persist(path).map(drop).map_err(|e| e.error)
}
