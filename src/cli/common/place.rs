//! Places that commands write to: checked and locked before the work, so that none is done in vain,
//! and no two commands write to one place.

use crate::cli::Global;
use crate::cli::common::output;
use sha2::{Digest, Sha256};
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use wgvq::storage::staged;
use wgvq::storage::staged::{Content, LOCK, Staged};
use wgvq::{Error, Result};

/// A file or a folder that this command alone writes to, for as long as this value lives. Folders
/// that were made for it go again where nothing came into them.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    content: Content,
    lock: Option<(File, PathBuf)>,
    made: Vec<PathBuf>,
}

impl Place {
    /// Takes the place of a file.
    ///
    /// # Errors
    /// If it is there and may not be replaced, it cannot be written, or another command writes
    /// there.
    pub fn file(global: &Global, path: &Path, overwrite: bool) -> Result<Place> {
        let Some(name) = path.file_name() else {
            return Err(Error::file(path, "names no file"));
        };
        // What stands in the way says more than that the folder cannot be made.
        refuse_existing(path, overwrite)?;
        let sum = Sha256::digest(name.as_encoded_bytes())
            .iter()
            .take(8)
            .fold(0, |sum, b| sum << 8 | u64::from(*b));
        let mut place = Place {
            path: path.to_owned(),
            content: Content::Files(sum),
            lock: None,
            made: Vec::new(),
        };
        let folder = parent(path);
        place.take(global, folder, &format!("{LOCK}-{sum:016x}"))?;
        staged::settle(folder, place.content)?;
        refuse_existing(path, overwrite)?;
        Ok(place)
    }

    /// Takes a folder, which is made if it is not there.
    ///
    /// # Errors
    /// If it is a file, cannot be written, or another command writes there.
    pub fn folder(global: &Global, path: &Path) -> Result<Place> {
        if path.exists() && !path.is_dir() {
            return Err(Error::file(path, "is a file; --out names a folder"));
        }
        let content = Content::Output;
        let mut place = Place {
            path: path.to_owned(),
            content,
            lock: None,
            made: Vec::new(),
        };
        place.take(global, path, LOCK)?;
        staged::settle(path, content)?;
        Ok(place)
    }

    /// Checks that these files can be written to the folder.
    ///
    /// # Errors
    /// If one is there and may not be replaced, or something else stands there.
    pub fn holds_none<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
        overwrite: bool,
    ) -> Result<()> {
        names
            .into_iter()
            .try_for_each(|name| refuse_existing(&self.path.join(name), overwrite))
    }

    /// Stages the files of the folder, or the file and those beside it. They
    /// are put in their place when all are whole.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn staged(&self) -> Result<Staged> {
        let folder = if let Content::Files(_) = self.content {
            parent(&self.path)
        } else {
            &self.path
        };
        Staged::begin(folder, self.content)
    }

    fn take(&mut self, global: &Global, folder: &Path, name: &str) -> Result<()> {
        make(folder, &mut self.made)?;
        let at = folder.join(name);
        loop {
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&at);
            let file =
                file.map_err(|e| Error::file(&self.path, format!("cannot be written: {e}")))?;
            match file.try_lock() {
                // Between the two, the command before may have removed the file together with its
                // lock.
                Ok(()) if !is_same(&file, &at) => continue,
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::file(
                        &self.path,
                        "another command is writing there; wait for it, or name another place",
                    ));
                }
                Err(TryLockError::Error(_)) => {
                    let place = self.path.display();
                    let what = format!(
                        "{place}: there are no locks here, so that nothing keeps another command \
                         from it"
                    );
                    output::note(global, &what);
                }
            }
            self.lock = Some((file, at));
            return Ok(());
        }
    }
}

impl Drop for Place {
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

fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

pub fn refuse_existing(path: &Path, overwrite: bool) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(about) if about.is_dir() => Err(Error::file(
            path,
            "is a folder, and a file is to go there; name another",
        )),
        // A device or a pipe would be replaced by a file.
        Ok(about) if !about.is_file() => {
            Err(Error::file(path, "is no ordinary file; name another"))
        }
        Ok(_) if !overwrite => Err(Error::file(
            path,
            "is there already; --overwrite replaces it",
        )),
        _ => Ok(()),
    }
}
