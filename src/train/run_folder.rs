//! A run's folder: what lies where, who may write it, and what may be overwritten.

use super::atomic;
use super::config::RunConfig;
use super::file_system;
use super::keyed::Keyed;
use crate::models::vqvae2::{MOST_LEVELS, level_names};
use crate::{Error, Result};
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Files of a run beside its two folders.
const FILES: [&str; 4] = ["config.toml", "metrics.csv", "test.csv", "final.safetensors"];
const FOLDERS: [&str; 4] = ["checkpoints", "pictures", INSPECTION, TOKENS];
/// What a prior is trained on; a new run over the same tokens keeps them.
const TOKENS: &str = "tokens";
/// What `wgvq inspect` makes of a run: the page, and its pictures and tables by how their names begin.
const INSPECTION: &str = "inspect";
const PAGE: &str = "index.html";
const INSPECTED: [&str; 6] = ["codes", "patches", "usage", "map", "overlay", "robustness"];
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
        may_write(path, overwrite)?;
        std::fs::create_dir_all(path).map_err(|e| Error::file(path, format!("cannot be made: {e}")))?;
        let folder = RunFolder { path: path.to_owned(), _lock: lock(path)? };
        folder.clear_scratch()?;
        // Again under the lock: another process may have made a run here and ended since.
        may_write(path, overwrite)?;
        for old in made_by_a_run(path)? {
            std::fs::remove_file(&old)
                .map_err(|e| Error::file(&old, format!("cannot be removed to overwrite the run: {e}")))?;
        }
        folder.make_subfolders()?;
        Ok(folder)
    }

    /// Makes the folders inside; a copy of a run may lack those that were empty.
    fn make_subfolders(&self) -> Result<()> {
        for sub in [self.checkpoints(), self.pictures()] {
            std::fs::create_dir_all(&sub).map_err(|e| Error::file(&sub, format!("cannot be made: {e}")))?;
        }
        Ok(())
    }

    /// Opens the folder of a run to go on with it.
    ///
    /// # Errors
    /// If there is no run, or another process trains in it.
    pub fn resume(path: &Path) -> Result<RunFolder> {
        if !path.join("config.toml").is_file() {
            return Err(Error::file(path, "holds no run to resume: there is no config.toml in it"));
        }
        let folder = RunFolder { path: path.to_owned(), _lock: lock(path)? };
        folder.clear_scratch()?;
        folder.make_subfolders()?;
        Ok(folder)
    }

    /// Removes what a process that was killed in the middle of a write left beside its file.
    fn clear_scratch(&self) -> Result<()> {
        for folder in [self.path.clone(), self.checkpoints(), self.pictures(), self.tokens()] {
            for name in names(&folder)?.iter().filter(|n| atomic::is_scratch(n)) {
                let left = folder.join(name);
                std::fs::remove_file(&left).map_err(|e| Error::file(&left, format!("cannot be removed: {e}")))?;
            }
        }
        Ok(())
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
    /// `tokens`: what a prior is trained on.
    pub fn tokens(&self) -> PathBuf {
        self.path.join(TOKENS)
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

/// May a new run begin here?
fn may_write(path: &Path, overwrite: bool) -> Result<()> {
    let held = names(path)?;
    let holds = |name: &str| held.iter().any(|n| n == name);
    let checkpoints = names(&path.join("checkpoints"))?;
    // A `config.toml` alone may be any program's: it is a run's beside a lock, or where it reads as one.
    let config = holds("config.toml") && (holds(LOCK) || RunConfig::load(&path.join("config.toml")).is_ok());
    let is_run = config || checkpoints.iter().any(|n| is_checkpoint(n));
    if is_run && !overwrite {
        let name = path.display();
        let what = format!("holds a run already; go on with it by `--resume {name}`, or replace it with `--overwrite`");
        return Err(Error::file(path, what));
    }
    if is_run {
        return Ok(());
    }
    // A run that ended before its first file leaves a lock and empty folders.
    for name in &held {
        let inside = names(&path.join(name))?;
        let ours = |n: &String| atomic::is_scratch(n) || name == TOKENS && is_token_file(n);
        let empty = FOLDERS.contains(&name.as_str()) && path.join(name).is_dir() && inside.iter().all(ours);
        if name != LOCK && !empty && !atomic::is_scratch(name) {
            let what = format!("is not empty and holds no run (there is `{name}`); choose another --out");
            return Err(Error::file(path, what));
        }
    }
    Ok(())
}

/// The files that a new run replaces: what a run makes, and nothing that somebody laid beside it.
fn made_by_a_run(path: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = FILES.iter().map(|n| path.join(n)).filter(|f| f.is_file()).collect();
    // Of several levels of codes, each has its own folder of an inspection.
    for level in (2..=MOST_LEVELS).flat_map(level_names) {
        let folder = path.join(INSPECTION).join(level);
        files.extend(names(&folder)?.iter().filter(|n| is_inspection(n)).map(|n| folder.join(n)));
    }
    let ours = [
        is_checkpoint as fn(&str) -> bool,
        |n: &str| matches!(n, "summary.png" | "levels.png"),
        is_inspection,
        |_: &str| false,
    ];
    for (folder, ours) in FOLDERS.iter().zip(ours) {
        let folder = path.join(folder);
        files.extend(names(&folder)?.iter().filter(|n| ours(n)).map(|n| folder.join(n)).filter(|f| f.is_file()));
    }
    files.retain(|f| f.is_file());
    files.sort();
    files.dedup();
    Ok(files)
}

fn is_checkpoint(name: &str) -> bool {
    let step = name.strip_suffix(".json").or(name.strip_suffix(".safetensors")).and_then(|n| n.strip_prefix("step-"));
    step.is_some_and(|s| s.len() >= 8 && s.bytes().all(|b| b.is_ascii_digit()))
}

/// Is this a file of tokens, `train-00000.safetensors`, or what names them?
fn is_token_file(name: &str) -> bool {
    let shard = name.strip_suffix(".safetensors").and_then(|n| n.strip_prefix("train-").or(n.strip_prefix("test-")));
    name == "tokens.json" || shard.is_some_and(|n| n.len() >= 5 && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Is this a file that an inspection makes? `codes.png`, or `codes-2.png` where there are several codebooks.
fn is_inspection(name: &str) -> bool {
    let stem = name.strip_suffix(".png").or(name.strip_suffix(".csv")).unwrap_or_default();
    let (kind, book) = stem.split_once('-').unwrap_or((stem, "1"));
    name == PAGE || INSPECTED.contains(&kind) && book.parse::<usize>().is_ok()
}

/// Names in a folder, sorted; none where there is no folder.
fn names(folder: &Path) -> Result<Vec<String>> {
    let cannot = |e: std::io::Error| Error::file(folder, format!("cannot be listed: {e}"));
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(e) => return Err(cannot(e)),
    };
    let names = entries.map(|e| e.map(|e| e.file_name().to_string_lossy().into_owned()).map_err(cannot));
    let mut names = names.collect::<Result<Vec<String>>>()?;
    names.sort_unstable();
    Ok(names)
}

fn lock(path: &Path) -> Result<File> {
    let at = path.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&at);
    let file = file.map_err(|e| Error::file(&at, format!("cannot be opened: {e}")))?;
    if file_system::try_lock(&file, &at)? {
        Ok(file)
    } else {
        Err(Error::file(path, "another process is training in this folder"))
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

    #[test]
    fn what_a_kill_left_behind_is_cleared() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("run");
        drop(RunFolder::create(&path, false).unwrap());
        for left in [path.join(".wgvq-a1b2.tmp"), path.join("checkpoints/.wgvq-c3.tmp")] {
            std::fs::write(&left, "half").unwrap();
        }
        let folder = RunFolder::create(&path, false).unwrap();
        assert!(!path.join(".wgvq-a1b2.tmp").exists() && !path.join("checkpoints/.wgvq-c3.tmp").exists());
        std::fs::write(folder.config(), "").unwrap();
        std::fs::write(path.join("checkpoints/step-notes.json"), "mine").unwrap();
        std::fs::create_dir_all(path.join("inspect/top")).unwrap();
        for name in ["index.html", "usage.png", "mine.png"] {
            std::fs::write(path.join("inspect/top").join(name), "").unwrap();
        }
        for name in ["index.html", "codes-2.png", "robustness.csv", "codes-of-mine.png"] {
            std::fs::write(path.join("inspect").join(name), "").unwrap();
        }
        std::fs::create_dir(folder.tokens()).unwrap();
        std::fs::write(folder.tokens().join("train-00000.safetensors"), "").unwrap();
        drop(folder);
        drop(RunFolder::create(&path, true).unwrap());
        assert!(path.join("tokens/train-00000.safetensors").exists(), "a new prior may be trained on the same tokens");
        assert!(path.join("checkpoints/step-notes.json").exists(), "only a run's own files go");
        assert_eq!(
            names(&path.join("inspect")).unwrap(),
            ["codes-of-mine.png", "top"],
            "an inspection is of the run before"
        );
        assert_eq!(names(&path.join("inspect/top")).unwrap(), ["mine.png"]);
    }
}
