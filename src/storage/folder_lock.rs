//! A folder that a program has to itself for a piece of work, by a file with a lock in it.

use crate::{Error, Result};
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The lock of a folder, or of a file in it, for as long as this value lives. Folders that were
/// made for it go again where nothing came into them.
#[derive(Debug)]
pub struct FolderLock {
    lock: Option<(File, PathBuf)>,
    made: Vec<PathBuf>,
}

impl FolderLock {
    /// Takes the lock of the name `name` in a folder, which is made if it is not there. `place` is
    /// what errors name, and `note` is told of a file system without locks.
    ///
    /// # Errors
    /// If the folder cannot be written, or another program holds the lock.
    pub fn take(
        folder: &Path,
        name: &str,
        place: &Path,
        note: impl FnOnce(&str),
    ) -> Result<FolderLock> {
        let mut taken = FolderLock {
            lock: None,
            made: Vec::new(),
        };
        make(folder, &mut taken.made)?;
        let at = folder.join(name);
        loop {
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&at);
            let file = file.map_err(|e| Error::file(place, format!("cannot be written: {e}")))?;
            match file.try_lock() {
                // Between the two, the program before may have removed the file together with its
                // lock.
                Ok(()) if !is_same(&file, &at) => continue,
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::file(
                        place,
                        "another command is writing there; wait for it, or name another place",
                    ));
                }
                Err(TryLockError::Error(_)) => {
                    let place = place.display();
                    note(&format!(
                        "{place}: there are no locks here, so that nothing keeps another command \
                         from it"
                    ));
                }
            }
            taken.lock = Some((file, at));
            return Ok(taken);
        }
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Removed before it is let go of: who waits for it finds another file there.
        if let Some((file, path)) = self.lock.take() {
            let _ = std::fs::remove_file(&path);
            drop(file);
        }
        for folder in self.made.iter().rev() {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// Makes a folder and those that it lies in, and notes which were not there.
fn make(folder: &Path, made: &mut Vec<PathBuf>) -> Result<()> {
    let missing = folder
        .ancestors()
        .take_while(|f| !f.as_os_str().is_empty() && !f.is_dir());
    for folder in missing.collect::<Vec<_>>().into_iter().rev() {
        match std::fs::create_dir(folder) {
            Ok(()) => made.push(folder.to_owned()),
            Err(e) if e.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                return Err(Error::file(
                    folder,
                    "is a file, and a folder is to be made there; name another",
                ));
            }
            Err(e) => return Err(Error::file(folder, format!("cannot be made: {e}"))),
        }
    }
    Ok(())
}

/// Whether an open file is still the one of this path.
#[cfg(unix)]
fn is_same(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |m: std::fs::Metadata| (m.dev(), m.ino());
    let (open, there) = (
        file.metadata().map(identity),
        std::fs::metadata(path).map(identity),
    );
    matches!((open, there), (Ok(open), Ok(there)) if open == there)
}

/// Whether an open file is still the one of this path. A file that is open cannot be made anew
/// here.
#[cfg(not(unix))]
fn is_same(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once_and_leaves_nothing() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("a/b");
        let take = || FolderLock::take(&folder, ".lock", &folder, |_| {});
        let first = take().unwrap();
        let said = take().unwrap_err().to_string();
        assert!(said.contains("another command is writing"), "{said}");
        drop(first);
        assert!(!base.path().join("a").exists(), "nothing came into it");
        let second = take().unwrap();
        std::fs::write(folder.join("mine"), "mine").unwrap();
        drop(second);
        assert!(folder.join("mine").is_file() && !folder.join(".lock").exists());
    }
}
