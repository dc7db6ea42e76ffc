//! Places that commands write to: checked and locked before the work, so that none is done in vain,
//! and no two commands write to one place.

use crate::cli::Global;
use crate::cli::common::output;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use wgvq::storage::folder_lock::FolderLock;
use wgvq::storage::staged;
use wgvq::storage::staged::{Content, LOCK, Staged};
use wgvq::{Error, Result};

/// A file or a folder that this command alone writes to, for as long as this value lives. Folders
/// that were made for it go again where nothing came into them.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    content: Content,
    _lock: FolderLock,
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
        let (folder, content) = (parent(path), Content::Files(sum));
        let lock = take(global, folder, &format!("{LOCK}-{sum:016x}"), path)?;
        staged::settle(folder, content)?;
        refuse_existing(path, overwrite)?;
        Ok(Place {
            path: path.to_owned(),
            content,
            _lock: lock,
        })
    }

    /// Takes a folder, which is made if it is not there.
    ///
    /// # Errors
    /// If it is a file, cannot be written, or another command writes there.
    pub fn folder(global: &Global, path: &Path) -> Result<Place> {
        if path.exists() && !path.is_dir() {
            return Err(Error::file(path, "is a file; --out names a folder"));
        }
        let (content, lock) = (Content::Output, take(global, path, LOCK, path)?);
        staged::settle(path, content)?;
        Ok(Place {
            path: path.to_owned(),
            content,
            _lock: lock,
        })
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
}

fn take(global: &Global, folder: &Path, name: &str, place: &Path) -> Result<FolderLock> {
    FolderLock::take(folder, name, place, |text| output::note(global, text))
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
