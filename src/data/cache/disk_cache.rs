//! The folder of decoded source images, and its budget of bytes.
//!
//! Files lie below two letters of their name, so that no folder grows past bounds. The budget is
//! for all sets together: what a set lacks room for is taken from the files of others, the longest
//! unused first, when the set is opened. While it is in use nothing of it is thrown out for the
//! rest of it: a shuffled epoch asks for each source image once, so that what was used longest ago
//! is as likely to be next as anything. Source images beyond the budget are decoded again each
//! time.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use std::{fs, io};

use super::file::Key;
use crate::{Error, Result, files};

const ENDING: &str = "u8";
const PREFIX: &str = ".decoded-";
/// A file's time of last use is kept to within this: writing it down each time would cost as much
/// as reading the file.
const USED: Duration = Duration::from_secs(24 * 3600);
/// Age beyond which an unfinished file counts as abandoned.
const ABANDONED: Duration = Duration::from_secs(3600);

/// The folder. Several programs may use it at once; each counts what it adds.
#[derive(Debug)]
pub(crate) struct DiskCache {
    root: PathBuf,
    budget: u64,
    used: AtomicU64,
}

struct Listed {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

/// A file to write to, which is gone if it is not persisted.
pub(crate) fn scratch(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    files::scratch(PREFIX, "").tempfile_in(folder)
}

impl DiskCache {
    /// Opens `root` for a set whose files have the names and bytes of `own`, ascending. Those that
    /// are there count at the size that they should have, which is also what is given back should
    /// they be damaged.
    ///
    /// # Errors
    /// If the folder cannot be made, listed or written.
    pub(crate) fn open(root: PathBuf, budget: u64, own: &[(Key, u64)]) -> Result<DiskCache> {
        let cannot = |e: io::Error| refused(&root, &e);
        fs::create_dir_all(&root).map_err(cannot)?;
        scratch(&root).map_err(cannot)?;
        let (mut others, mut mine, mut theirs) = (Vec::new(), 0, 0);
        let now = SystemTime::now();
        let age = |used: SystemTime| now.duration_since(used).unwrap_or_default();
        for listed in list(&root).map_err(cannot)? {
            match key_of(&listed.path) {
                Some(key) => match own.binary_search_by_key(&key, |(own, _)| *own) {
                    Ok(n) => {
                        mine += own[n].1;
                        if age(listed.used) > USED {
                            // If it fails, the file seems unused for longer than it was, and no
                            // more.
                            let file = fs::File::options().write(true).open(&listed.path);
                            let _ = file.and_then(|file| file.set_modified(now));
                        }
                    }
                    Err(_) => {
                        theirs += listed.bytes;
                        others.push(listed);
                    }
                },
                None if is_scratch(&listed.path) && age(listed.used) > ABANDONED => {
                    let _ = fs::remove_file(&listed.path);
                }
                None => {}
            }
        }
        let needs: u64 = own.iter().map(|(_, bytes)| bytes).sum();
        others.sort_by(|a, b| a.used.cmp(&b.used).then_with(|| a.path.cmp(&b.path)));
        for other in others {
            if theirs + needs.min(budget) <= budget {
                break;
            }
            if fs::remove_file(&other.path).is_ok() {
                theirs -= other.bytes;
            }
        }
        Ok(DiskCache {
            root,
            budget,
            used: AtomicU64::new(mine + theirs),
        })
    }

    /// Returns the path of the file of that name, whether it exists or not.
    pub(crate) fn path(&self, key: &Key) -> PathBuf {
        let name = hex::encode(key);
        self.root
            .join(&name[..2])
            .join(format!("{}.{ENDING}", &name[2..]))
    }

    /// Takes room for a file, if the budget has it.
    pub(crate) fn reserve(&self, bytes: u64) -> bool {
        let more = |used: u64| used.checked_add(bytes).filter(|all| *all <= self.budget);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    /// Gives the room of a file back.
    pub(crate) fn release(&self, bytes: u64) {
        let less = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Returns the error of a file that could not be written.
    pub(crate) fn refused(&self, path: &Path, error: &io::Error) -> Error {
        refused(path, error)
    }
}

fn refused(path: &Path, error: &io::Error) -> Error {
    Error::file(
        path,
        format!(
            "decoded images cannot be kept there: {error}; set WGVQ_DATA to a folder that can \
             be written and has room, lower data.cache_mib, or set data.store = \"memory\""
        ),
    )
}

/// Returns every file one folder down. What goes while we look was never there.
fn list(root: &Path) -> io::Result<Vec<Listed>> {
    let mut out = Vec::new();
    let mut look = |folder: &Path| -> io::Result<Vec<PathBuf>> {
        let mut folders = Vec::new();
        for entry in fs::read_dir(folder)? {
            let Ok(entry) = entry else { continue };
            let Ok(about) = entry.metadata() else {
                continue;
            };
            if about.is_dir() {
                folders.push(entry.path());
            } else if let Ok(used) = about.modified() {
                out.push(Listed {
                    path: entry.path(),
                    bytes: about.len(),
                    used,
                });
            }
        }
        Ok(folders)
    };
    for folder in look(root)? {
        let _ = look(&folder);
    }
    Ok(out)
}

fn is_scratch(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(PREFIX))
}

/// The name that [`DiskCache::path`] made a path of.
fn key_of(path: &Path) -> Option<Key> {
    if path.extension()? != ENDING {
        return None;
    }
    let name = format!(
        "{}{}",
        path.parent()?.file_name()?.to_str()?,
        path.file_stem()?.to_str()?
    );
    let mut key = [0; 32];
    hex::decode_to_slice(name, &mut key).ok()?;
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(cache: &DiskCache, key: &Key, bytes: usize, days: u64) -> PathBuf {
        let path = cache.path(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, vec![0; bytes]).unwrap();
        let used = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(used)
            .unwrap();
        path
    }

    #[test]
    fn room_is_taken_from_other_sets_the_longest_unused_first() {
        let dir = tempfile::tempdir().unwrap();
        let open =
            |budget, own: &[(Key, u64)]| DiskCache::open(dir.path().into(), budget, own).unwrap();
        let keys: Vec<Key> = (1..=4).map(|n| [n; 32]).collect();
        let cache = open(1000, &[]);
        let paths: Vec<PathBuf> = keys
            .iter()
            .zip([9, 3, 6, 1])
            .map(|(key, days)| put(&cache, key, 100, days))
            .collect();
        let there = |paths: &[PathBuf]| paths.iter().map(|path| path.is_file()).collect::<Vec<_>>();
        // The first is ours, and is old; 300 of others, 200 ours in all: all fits.
        let ours = |more: u64| [(keys[0], 100), ([9; 32], more)];
        let cache = open(500, &ours(100));
        assert_eq!(there(&paths), [true; 4]);
        assert!(
            fs::metadata(&paths[0])
                .unwrap()
                .modified()
                .unwrap()
                .elapsed()
                .unwrap()
                < USED,
            "used now"
        );
        assert!(cache.reserve(100) && !cache.reserve(1), "400 were there");
        cache.release(100);
        assert!(cache.reserve(100));
        // 350 for us of 500: of 300 others, the one of 6 days and the one of 3 days go.
        open(500, &ours(250));
        assert_eq!(there(&paths), [true, false, false, true]);
        // More than the budget for us: all others go, ours stay.
        open(500, &ours(5000));
        assert_eq!(there(&paths), [true, false, false, false]);
    }

    #[test]
    fn names_are_read_back_and_others_files_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("ab")).unwrap();
        for name in ["notes.txt", "ab/short.u8", "ab/README"] {
            fs::write(dir.path().join(name), [0; 50]).unwrap();
        }
        fs::write(dir.path().join(format!("ab/{PREFIX}new")), b"").unwrap();
        let old = dir.path().join(format!("ab/{PREFIX}old"));
        fs::write(&old, b"").unwrap();
        let then = SystemTime::now() - 2 * ABANDONED;
        fs::File::options()
            .write(true)
            .open(&old)
            .unwrap()
            .set_modified(then)
            .unwrap();
        let cache = DiskCache::open(dir.path().into(), 10, &[]).unwrap();
        assert!(cache.reserve(10), "what is not ours does not count");
        for name in ["notes.txt", "ab/short.u8", "ab/README", "ab/.decoded-new"] {
            assert!(dir.path().join(name).is_file(), "{name}");
        }
        assert!(!old.exists(), "what was begun long ago is gone");
        let key: Key = std::array::from_fn(|i| 255 - i as u8);
        assert_eq!(key_of(&cache.path(&key)), Some(key));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = DiskCache::open(file.join("decoded"), 10, &[])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("file/decoded")
                && error.contains("data.cache_mib")
                && error.contains("WGVQ_DATA"),
            "{error}"
        );
    }
}
