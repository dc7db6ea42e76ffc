//! A run's folder: what lies where, who may write it, and what may be overwritten.

use crate::config::DottedConfig;
use crate::config::contrastive::ContrastiveConfig;
use crate::config::prior::PriorConfig;
use crate::config::run::RunConfig;
use crate::config::vectors::VectorsConfig;
use crate::storage::atomic;
use crate::storage::file_system;
use crate::storage::run_parts::{
    FOLDERS, LOCK, TEST_FILES, TOKENS, foreign_in, hanging, is_checkpoint, is_own_entry,
    is_token_file, made_by_a_run, made_of_texts, names,
};
use crate::storage::staged;
use crate::storage::staged::{Content, Staged};
use crate::{Error, Result};
use std::fs::File;
use std::path::{Path, PathBuf};

/// A folder that this process alone writes a run to, for as long as this value lives. A run that is
/// to replace another is made in a folder inside, until [`RunFolder::establish`].
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Folders that were made for it, the innermost first.
    made: Vec<PathBuf>,
    staged: Option<Staged>,
    /// Files beside the folder that go with the old run.
    beside: Vec<PathBuf>,
    _lock: File,
    /// Locks of the runs that depend on the one that is replaced: nobody trains in them meanwhile.
    hanging: Vec<(PathBuf, File)>,
}

impl RunFolder {
    /// Checks that the folder of a new run can be made here, before anything is done; changes
    /// nothing.
    ///
    /// # Errors
    /// As [`RunFolder::create`], and if the folder cannot be written.
    pub fn may_create(path: &Path, overwrite: bool) -> Result<()> {
        if path.exists() && !path.is_dir() {
            return Err(Error::file(path, "is a file; --out names a folder"));
        }
        may_write(path, overwrite)?;
        atomic::may_write_below(path)
    }

    /// Makes the folder of a new run. A run that it holds stays as it is until
    /// [`RunFolder::establish`].
    ///
    /// # Errors
    /// If it holds a run already and `overwrite` is not set, if it holds something else, or if
    /// another process trains in it. Nothing is changed then.
    pub fn create(path: &Path, overwrite: bool) -> Result<RunFolder> {
        RunFolder::create_with(path, overwrite, None)
    }

    /// Makes the folder of the first prior that reads texts, in the run that it hangs on. With what
    /// it replaces goes all that hangs on that beside it: the other levels' priors, the judge, the
    /// tokenizer, and what they were measured by.
    ///
    /// # Errors
    /// As [`RunFolder::create`], and if another process writes to what goes.
    pub fn create_over_texts(run: &Path, prior: &Path) -> Result<RunFolder> {
        RunFolder::create_with(prior, true, Some(run))
    }

    /// Checks that that folder can be made, before anything is done; changes nothing.
    ///
    /// # Errors
    /// As [`RunFolder::may_create`], and if something foreign lies where another prior or the judge
    /// is to be made anew.
    pub fn may_create_over_texts(run: &Path, prior: &Path) -> Result<()> {
        for other in hanging(run)?.iter().filter(|other| *other != prior) {
            if let Some(foreign) = foreign_in(other)? {
                let what =
                    "was not made by a run, and what lies there goes or is made anew: move it away";
                return Err(Error::file(foreign, what));
            }
        }
        RunFolder::may_create(prior, true)
    }

    fn create_with(path: &Path, overwrite: bool, texts_of: Option<&Path>) -> Result<RunFolder> {
        RunFolder::may_create(path, overwrite)?;
        let missing = path
            .ancestors()
            .take_while(|p| !p.as_os_str().is_empty() && !p.exists());
        let made = missing.map(Path::to_owned).collect();
        std::fs::create_dir_all(path)
            .map_err(|e| Error::file(path, format!("cannot be made: {e}")))?;
        let lock = lock(path)?;
        staged::settle(path, Content::Run)?;
        clear_scratch(path)?;
        // Again under the lock: another process may have made a run here and ended since.
        let mut replaces = may_write(path, overwrite)?;
        let mut with_lock = hanging(path)?;
        let mut beside = Vec::new();
        if let Some(run) = texts_of {
            with_lock.extend(hanging(run)?.into_iter().filter(|other| other != path));
            for other in hanging(run)?.iter().filter(|other| *other != path) {
                RunFolder::settle(other)?;
            }
            beside = made_of_texts(run, path)?;
            // What hangs on a prior that is there no longer is no less the old run's.
            replaces |= !beside.is_empty();
        }
        let with_lock = with_lock.into_iter().filter(|run| run.join(LOCK).is_file());
        let hanging = with_lock
            .map(|run| Ok((run.clone(), self::lock(&run)?)))
            .collect::<Result<Vec<_>>>()?;
        let staged = if replaces {
            Some(Staged::begin(path, Content::Run)?)
        } else {
            None
        };
        let folder = RunFolder {
            path: path.to_owned(),
            made,
            staged,
            beside,
            _lock: lock,
            hanging,
        };
        folder.make_subfolders()?;
        Ok(folder)
    }

    /// Makes the folders inside; a copy of a run may lack those that were empty.
    fn make_subfolders(&self) -> Result<()> {
        for sub in [self.checkpoints(), self.pictures()] {
            std::fs::create_dir_all(&sub)
                .map_err(|e| Error::file(&sub, format!("cannot be made: {e}")))?;
        }
        Ok(())
    }

    /// Passes on what came of something that a run begins with. Where that failed, the folder goes,
    /// if it was made for this run and nothing was written to it yet.
    pub(crate) fn or_nothing<R>(&self, outcome: Result<R>) -> Result<R> {
        if outcome.is_err() && !self.made.is_empty() {
            for sub in [self.checkpoints(), self.pictures()] {
                let _ = std::fs::remove_dir(sub);
            }
            if names(&self.path).is_ok_and(|left| left == [LOCK]) {
                let _ = std::fs::remove_file(self.path.join(LOCK));
                // Those above may hold something of others by now, and stay then.
                let _ = self.made.iter().try_for_each(std::fs::remove_dir);
            }
        }
        outcome
    }

    /// Opens the folder of a run to go on with it.
    ///
    /// # Errors
    /// If there is no run, or another process trains in it.
    pub fn resume(path: &Path) -> Result<RunFolder> {
        if !path.join("config.toml").is_file() && !staged::is_unsettled(path, Content::Run) {
            return Err(Error::file(
                path,
                "holds no run to resume: there is no config.toml in it",
            ));
        }
        let lock = lock(path)?;
        staged::settle(path, Content::Run)?;
        clear_scratch(path)?;
        let staged = None;
        let folder = RunFolder {
            path: path.to_owned(),
            made: Vec::new(),
            staged,
            beside: Vec::new(),
            _lock: lock,
            hanging: Vec::new(),
        };
        folder.make_subfolders()?;
        Ok(folder)
    }

    /// Brings a replacement to its end that a killed process had decided upon, where there is one.
    ///
    /// # Errors
    /// If another process is at it, or a file cannot be removed or moved.
    pub fn settle(path: &Path) -> Result<()> {
        if !staged::is_unsettled(path, Content::Run) {
            return Ok(());
        }
        let _lock = lock(path)?;
        staged::settle(path, Content::Run)
    }

    /// Whether the folder holds another run, which goes once this one is established.
    pub fn replaces(&self) -> bool {
        self.staged.as_ref().is_some_and(|s| !s.is_put())
    }

    /// Whether the run can be gone on with by [`RunFolder::resume`]: it is in its place, with its
    /// configuration.
    pub fn has_begun(&self) -> bool {
        !self.replaces() && self.config().is_file()
    }

    /// The folder of this name beside this one, where what belongs to the run is written; it gets
    /// there together with the run.
    pub fn beside(&self, name: &str) -> PathBuf {
        match &self.staged {
            Some(staged) if !staged.is_put() => staged.beside(name),
            _ => self.path.parent().unwrap_or(Path::new("")).join(name),
        }
    }

    /// Puts a run that can be gone on with, or that is whole, in the place of the one that the
    /// folder holds, which goes with all that hangs on it: priors, reports, pictures. Returns where
    /// the files lay, if they moved. A process that is killed at any moment leaves one run or the
    /// other.
    ///
    /// # Errors
    /// If a file cannot be removed or moved.
    pub fn establish(&self) -> Result<Option<PathBuf>> {
        let Some(staged) = self.staged.as_ref().filter(|s| !s.is_put()) else {
            return Ok(None);
        };
        let mut old = made_by_a_run(&self.path, staged.path().join(TOKENS).is_dir())?;
        old.extend(self.beside.iter().cloned());
        // A run that hangs on the old one and was begun since is its process's to write.
        for run in hanging(&self.path)?
            .iter()
            .filter(|run| self.hanging.iter().all(|(held, _)| held != *run))
        {
            if run.join(LOCK).is_file() && lock(run).is_err() {
                old.retain(|file| !file.starts_with(run));
            }
        }
        staged.put(&old)?;
        Ok(Some(staged.path().to_owned()))
    }

    /// Returns the folder.
    pub fn path(&self) -> &Path {
        self.staged
            .as_ref()
            .filter(|s| !s.is_put())
            .map_or(&self.path, Staged::path)
    }
    /// The folder that was asked for, also while the run is made in one inside it.
    pub fn place(&self) -> &Path {
        &self.path
    }
    /// `config.toml`: every value written out.
    pub fn config(&self) -> PathBuf {
        self.path().join("config.toml")
    }
    /// `metrics.csv`: the training log.
    pub fn metrics(&self) -> PathBuf {
        self.path().join("metrics.csv")
    }
    /// `test.csv`: measurements on the test split.
    pub fn test(&self) -> PathBuf {
        self.path().join("test.csv")
    }
    /// `checkpoints`.
    pub fn checkpoints(&self) -> PathBuf {
        self.path().join("checkpoints")
    }
    /// `tokens`: what a prior is trained on.
    pub fn tokens(&self) -> PathBuf {
        self.path().join(TOKENS)
    }
    /// `final.safetensors`: the trained model.
    pub fn model(&self) -> PathBuf {
        self.path().join("final.safetensors")
    }
    /// `pictures`.
    pub fn pictures(&self) -> PathBuf {
        self.path().join("pictures")
    }
}

/// Removes what a process that was killed in the middle of a write left beside its file.
fn clear_scratch(path: &Path) -> Result<()> {
    let folders = ["checkpoints", "pictures", TOKENS].map(|f| path.join(f));
    for folder in [path.to_owned()].into_iter().chain(folders) {
        for name in names(&folder)?.iter().filter(|n| atomic::is_scratch(n)) {
            let left = folder.join(name);
            std::fs::remove_file(&left)
                .map_err(|e| Error::file(&left, format!("cannot be removed: {e}")))?;
        }
    }
    Ok(())
}

/// Checks that a new run may begin here, and returns whether it replaces one.
fn may_write(path: &Path, overwrite: bool) -> Result<bool> {
    let held = names(path)?;
    let holds = |name: &str| held.iter().any(|n| n == name);
    let checkpoints = names(&path.join("checkpoints"))?;
    // A `config.toml` alone may be any program's, or somebody's own: it is a run's beside a lock,
    // or where it reads as one beside other files of a run, as in a folder that was copied or
    // unpacked.
    // A list of images held out may be somebody's own as well.
    let of_others = |file: &PathBuf| {
        !["config.toml", TEST_FILES]
            .iter()
            .any(|n| file.ends_with(n))
    };
    let has_others = || Ok(made_by_a_run(path, true)?.iter().any(of_others));
    let of_a_run = || Ok(is_config(&path.join("config.toml")) && has_others()?);
    let config = holds("config.toml") && (holds(LOCK) || of_a_run()?);
    let is_run = config
        || staged::is_unsettled(path, Content::Run)
        || checkpoints.iter().any(|n| is_checkpoint(n));
    if is_run && !overwrite {
        let name = path.display();
        let what = format!(
            "holds a run already; go on with it by `--resume {name}`, or replace it with \
             `--overwrite`"
        );
        return Err(Error::file(path, what));
    }
    // What is left of a run counts as one where it lies beside a lock.
    if is_run || overwrite && holds(LOCK) && !made_by_a_run(path, false)?.is_empty() {
        return Ok(true);
    }
    // A run that ended before its first file leaves a lock and empty folders.
    for name in &held {
        let inside = names(&path.join(name))?;
        let ours = |n: &String| atomic::is_scratch(n) || name == TOKENS && is_token_file(n);
        let empty =
            FOLDERS.contains(&name.as_str()) && path.join(name).is_dir() && inside.iter().all(ours);
        if name != LOCK && !empty && !atomic::is_scratch(name) && !staged::is_staged(name) {
            let what = if !overwrite && holds(LOCK) && is_own_entry(path, name)? {
                format!(
                    "holds what is left of a run (there is `{name}`); replace it with \
                     `--overwrite`, or choose another --out"
                )
            } else {
                format!("is not empty and holds no run (there is `{name}`); choose another --out")
            };
            return Err(Error::file(path, what));
        }
    }
    Ok(false)
}

/// Whether a file is the configuration of a run of any kind.
fn is_config(path: &Path) -> bool {
    RunConfig::load(path).is_ok()
        || PriorConfig::load(path).is_ok()
        || ContrastiveConfig::load(path).is_ok()
        || VectorsConfig::load(path).is_ok()
}

/// Does the file still lie there? Who held its lock may have removed it with its folder.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(held), Ok(there)) => (held.dev(), held.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// Does the file still lie there? What is open cannot be removed here.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

fn lock(path: &Path) -> Result<File> {
    let at = path.join(LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&at);
    let file = file.map_err(|e| Error::file(&at, format!("cannot be opened: {e}")))?;
    if file_system::try_lock(&file, &at)? && is_at(&file, &at) {
        Ok(file)
    } else {
        Err(Error::file(
            path,
            "another process is training in this folder",
        ))
    }
}

#[cfg(test)]
mod tests;
