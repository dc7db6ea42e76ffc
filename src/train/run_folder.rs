//! A run's folder: what lies where, who may write it, and what may be overwritten.

use crate::{Error, Result};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// Files and folders that a run makes, and that `--overwrite` may remove.
const OURS: [&str; 6] = ["config.toml", "metrics.csv", "test.csv", "final.safetensors", "checkpoints", "pictures"];
const LOCK: &str = "run.lock";

/// A folder that this process alone writes a run to, for as long as this value lives.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// Makes the folder of a new run.
    ///
    /// # Errors
    /// If it holds a run already and `overwrite` is not set, if it holds something else, or if another process trains
    /// in it. Nothing is changed then.
    pub fn create(path: &Path, overwrite: bool) -> Result<RunFolder> {
        if path.exists() && !path.is_dir() {
            return Err(Error::file(path, "is a file; --out names a folder"));
        }
        let held: Vec<String> = match std::fs::read_dir(path) {
            Ok(entries) => entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect(),
            Err(_) => Vec::new(),
        };
        let is_run = held.iter().any(|n| n == "config.toml" || n == "checkpoints");
        let foreign = held.iter().find(|n| !OURS.contains(&n.as_str()) && *n != LOCK);
        if is_run && !overwrite {
            let name = path.display();
            return Err(Error::file(path, format!("holds a run already; go on with it by `--resume {name}`, or replace it with `--overwrite`")));
        }
        if let (false, Some(name)) = (is_run, foreign) {
            return Err(Error::file(path, format!("is not empty and holds no run (there is `{name}`); choose another --out")));
        }
        std::fs::create_dir_all(path).map_err(|e| Error::file(path, format!("cannot be made: {e}")))?;
        let folder = RunFolder { path: path.to_owned(), _lock: lock(path)? };
        for name in OURS.iter().filter(|n| held.iter().any(|h| h == *n)) {
            let old = path.join(name);
            let removed = if old.is_dir() { std::fs::remove_dir_all(&old) } else { std::fs::remove_file(&old) };
            removed.map_err(|e| Error::file(&old, format!("cannot be removed to overwrite the run: {e}")))?;
        }
        for sub in [folder.checkpoints(), folder.pictures()] {
            std::fs::create_dir_all(&sub).map_err(|e| Error::file(&sub, format!("cannot be made: {e}")))?;
        }
        Ok(folder)
    }

    /// Opens the folder of a run to go on with it.
    ///
    /// # Errors
    /// If there is no run, or another process trains in it.
    pub fn resume(path: &Path) -> Result<RunFolder> {
        if !path.join("config.toml").is_file() {
            return Err(Error::file(path, "holds no run to resume: there is no config.toml in it"));
        }
        Ok(RunFolder { path: path.to_owned(), _lock: lock(path)? })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// `config.toml`: every value written out.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }
    /// `metrics.csv`: the training log.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.csv")
    }
    /// `test.csv`: measurements on the test split.
    pub fn test(&self) -> PathBuf {
        self.path.join("test.csv")
    }
    /// `checkpoints`.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }
    /// `final.safetensors`: the trained model.
    pub fn model(&self) -> PathBuf {
        self.path.join("final.safetensors")
    }
    /// `pictures`.
    pub fn pictures(&self) -> PathBuf {
        self.path.join("pictures")
    }
}

fn lock(path: &Path) -> Result<File> {
    let at = path.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&at);
    let file = file.map_err(|e| Error::file(&at, format!("cannot be opened: {e}")))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::file(path, "another process is training in this folder")),
        // Some network file systems have no locks; a run there is as safe as its user is careful.
        Err(TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::Error(e)) => Err(Error::file(&at, format!("cannot be locked: {e}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_not_overwritten_unasked_and_foreign_files_never() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("run");
        drop(RunFolder::create(&path, false).unwrap());
        std::fs::write(path.join("config.toml"), "").unwrap();
        std::fs::write(path.join("notes.txt"), "mine").unwrap();
        let refused = RunFolder::create(&path, false).unwrap_err().to_string();
        assert!(refused.contains("--resume") && refused.contains("--overwrite"), "{refused}");
        drop(RunFolder::create(&path, true).unwrap());
        assert!(!path.join("config.toml").exists());
        assert_eq!(std::fs::read_to_string(path.join("notes.txt")).unwrap(), "mine");

        let other = base.path().join("photos");
        std::fs::create_dir(&other).unwrap();
        std::fs::write(other.join("a.jpg"), "x").unwrap();
        assert!(RunFolder::create(&other, true).is_err(), "a folder of something else is left alone");
        assert!(RunFolder::create(&other.join("a.jpg"), true).is_err());
    }

    #[test]
    fn one_process_at_a_time_and_only_runs_resume() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("run");
        let first = RunFolder::create(&path, false).unwrap();
        std::fs::write(first.config(), "").unwrap();
        assert!(RunFolder::resume(&path).unwrap_err().to_string().contains("another process"));
        drop(first);
        RunFolder::resume(&path).unwrap();
        assert!(RunFolder::resume(base.path()).unwrap_err().to_string().contains("no run"));
    }
}
