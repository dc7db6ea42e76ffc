//! A folder's next content: made whole in a folder inside it, then put in the place of what was
//! there.
//!
//! A run is made in `.wgvq-run-next`, which counts for nothing. Once it is whole, one rename to
//! `.wgvq-run-new` decides: from there on it is the folder's content. The old content is then
//! removed, by a list that was written before, and the new files are moved up. A process that is
//! killed before the rename leaves the old content as it was; one that is killed after it leaves
//! what [`settle`] brings to its end.

use crate::storage::{atomic, file_system};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// The kind of a folder's content. Each has names of its own: a run may be trained where a report
/// is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A run, by whoever holds its lock.
    Run,
    /// Files of another command, written by whoever holds the folder's lock.
    Output,
    /// A file and what belongs beside it, of a name with this sum, by whoever holds that file's.
    Files(u64),
}

/// Prefixes of folders that are being filled, and of those that are whole.
const RUN: [&str; 2] = [".wgvq-run-next", ".wgvq-run-new"];
const OUTPUT: [&str; 2] = [".wgvq-output-next", ".wgvq-output-new"];

impl Content {
    /// Name of the folder that is being filled.
    fn next(self) -> String {
        self.named(0)
    }
    /// Name of the folder once it is whole.
    fn whole(self) -> String {
        self.named(1)
    }

    fn named(self, i: usize) -> String {
        match self {
            Content::Run => RUN[i].to_owned(),
            Content::Output => OUTPUT[i].to_owned(),
            Content::Files(sum) => format!("{}-{sum:016x}", OUTPUT[i]),
        }
    }
}

/// Subfolder of the staged content for what goes into folders beside the target.
const BESIDE: &str = ".wgvq-beside";
/// List of the files to remove, written before the rename that decides and removed once all of them
/// are gone.
const LIST: &str = ".wgvq-replaced.json";

/// Content of a folder that is not in its place yet.
#[derive(Debug)]
pub struct Staged {
    target: PathBuf,
    content: Content,
    next: PathBuf,
    put: AtomicBool,
}

/// The content that a staged one replaces: files, and folders as far as they are empty, by their
/// paths from the target, and from the folder that the target lies in.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Replaced {
    here: Vec<String>,
    beside: Vec<String>,
}

/// Prefix of the files by whose locks commands keep out of each other's folders.
pub const LOCK: &str = ".wgvq-lock";

/// Whether this is a name of a file that [`Staged`] works with, or of a lock.
pub(crate) fn is_staged(name: &str) -> bool {
    name.starts_with(LOCK) || RUN.contains(&name) || OUTPUT.iter().any(|own| name.starts_with(own))
}

/// Whether `target` holds content that was decided upon, and that a killed process did not bring to
/// its place.
pub fn is_unsettled(target: &Path, content: Content) -> bool {
    target.join(content.whole()).is_dir()
}

impl Staged {
    /// Creates an empty next content of `target`, which exists and which this process has to
    /// itself. What a killed process had begun is removed, or brought to its place where it was
    /// whole.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn begin(target: &Path, content: Content) -> Result<Staged> {
        settle(target, content)?;
        let next = target.join(content.next());
        std::fs::create_dir(&next)
            .map_err(|e| Error::file(target, format!("cannot be written: {e}")))?;
        Ok(Staged {
            target: target.to_owned(),
            content,
            next,
            put: AtomicBool::new(false),
        })
    }

    /// Returns the folder in which the content is made.
    pub fn path(&self) -> &Path {
        &self.next
    }

    /// Returns the folder in which the content of the folder of this name beside the target is
    /// made.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.next.join(BESIDE).join(name)
    }

    /// Whether it was put in its place.
    pub fn is_put(&self) -> bool {
        self.put.load(Ordering::Relaxed)
    }

    /// Puts the content in its place. `old` is what goes: files in the target, or in folders beside
    /// it, and folders that are empty then.
    ///
    /// # Errors
    /// If a file cannot be written, or a folder stands where one is to go. The old content is as it
    /// was then, or the new one in its place as far as the error allows; [`settle`] goes on from
    /// there.
    pub fn put(&self, old: &[PathBuf]) -> Result<()> {
        let mut list = Replaced::default();
        let (here, beside) = (files(&self.next)?, files(&self.next.join(BESIDE))?);
        let beside_target = parent(&self.target);
        for (made, place) in [(&here, self.target.as_path()), (&beside, beside_target)] {
            made.iter()
                .filter(|f| !f.starts_with(BESIDE))
                .try_for_each(|f| may_stand(place, f))?;
        }
        for path in old {
            // What is replaced by a file of its name goes by the rename of that one.
            match (
                path.strip_prefix(&self.target),
                path.strip_prefix(beside_target),
            ) {
                (Ok(own), _) if !here.iter().any(|f| f == own) => list.here.push(text(own)?),
                (Err(_), Ok(own)) if !beside.iter().any(|f| f == own) => {
                    list.beside.push(text(own)?)
                }
                _ => {}
            }
        }
        // What lies in a folder before the folder.
        [&mut list.here, &mut list.beside]
            .into_iter()
            .for_each(|names| names.sort_by(|a, b| b.cmp(a)));
        let list = serde_json::to_vec_pretty(&list).map_err(Error::data)?;
        atomic::write(&self.next.join(LIST), &list)?;
        let new = self.target.join(self.content.whole());
        let failed = |e| {
            Error::file(
                &self.target,
                format!("what was made anew could not be put there: {e}"),
            )
        };
        std::fs::rename(&self.next, &new).map_err(failed)?;
        self.put.store(true, Ordering::Relaxed);
        file_system::sync_folder(&self.target).map_err(failed)?;
        finish(&self.target, &new)
    }
}

impl Drop for Staged {
    /// Removes content that was not put in its place.
    fn drop(&mut self) {
        if !self.is_put() {
            let _ = std::fs::remove_dir_all(&self.next);
        }
    }
}

/// Brings a replacement to its end that was decided upon, and removes one that was not. The caller
/// has the folder to itself.
///
/// # Errors
/// If a file cannot be removed or moved.
pub fn settle(target: &Path, content: Content) -> Result<()> {
    let new = target.join(content.whole());
    if new.is_dir() {
        finish(target, &new)?;
    }
    let next = target.join(content.next());
    match std::fs::remove_dir_all(&next) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::file(
            &next,
            format!("is left of a process that was stopped, and cannot be removed: {e}"),
        )),
        _ => Ok(()),
    }
}

/// Removes what is listed, moves the new files up, and lets go of the rest. Each part may be done
/// already.
fn finish(target: &Path, new: &Path) -> Result<()> {
    let list = new.join(LIST);
    if list.exists() {
        let cannot = |e: &dyn std::fmt::Display| Error::file(&list, format!("cannot be read: {e}"));
        let replaced = std::fs::read(&list).map_err(|e| cannot(&e))?;
        let replaced: Replaced = serde_json::from_slice(&replaced).map_err(|e| cannot(&e))?;
        for (names, place) in [(&replaced.here, target), (&replaced.beside, parent(target))] {
            names
                .iter()
                .filter(|n| is_inside(n))
                .try_for_each(|n| remove(place, Path::new(n)))?;
        }
        std::fs::remove_file(&list)
            .map_err(|e| Error::file(&list, format!("cannot be removed: {e}")))?;
    }
    move_up(&new.join(BESIDE), parent(target))?;
    move_up(new, target)?;
    std::fs::remove_dir_all(new)
        .map_err(|e| Error::file(new, format!("cannot be removed: {e}")))?;
    file_system::sync_folder(target)
        .map_err(|e| Error::file(target, format!("cannot be written: {e}")))
}

/// Whether a listed path stays in the folder that it is read from.
fn is_inside(name: &str) -> bool {
    Path::new(name)
        .components()
        .all(|c| matches!(c, Component::Normal(_)))
}

/// Removes a file, or a folder if it is empty, and the folders on the way to it that are empty
/// then.
fn remove(place: &Path, file: &Path) -> Result<()> {
    let path = place.join(file);
    let is_folder = path.symlink_metadata().is_ok_and(|m| m.is_dir());
    let removed = if is_folder {
        std::fs::remove_dir(&path).or(Ok(()))
    } else {
        std::fs::remove_file(&path)
    };
    match removed {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            return Err(Error::file(
                &path,
                format!("cannot be removed to make way: {e}"),
            ));
        }
        _ => {}
    }
    let mut folder = file.parent();
    while let Some(inner) = folder.filter(|f| !f.as_os_str().is_empty()) {
        if std::fs::remove_dir(place.join(inner)).is_err() {
            break;
        }
        folder = inner.parent();
    }
    Ok(())
}

/// Moves all files of a folder into another, over what stands there.
fn move_up(from: &Path, to: &Path) -> Result<()> {
    for file in files(from)?.iter().filter(|f| !f.starts_with(BESIDE)) {
        let path = to.join(file);
        let failed = |e| {
            Error::file(
                &path,
                format!("what was made anew could not be put there: {e}"),
            )
        };
        std::fs::create_dir_all(parent(&path)).map_err(failed)?;
        std::fs::rename(from.join(file), &path).map_err(failed)?;
    }
    // Folders without files belong to the content, too.
    for folder in folders(from)?.iter().filter(|f| !f.starts_with(BESIDE)) {
        let path = to.join(folder);
        std::fs::create_dir_all(&path)
            .map_err(|e| Error::file(&path, format!("cannot be made: {e}")))?;
    }
    Ok(())
}

/// Checks that a file of this path from `place` can be written: that no folder stands there, and no
/// file where a folder is needed.
fn may_stand(place: &Path, file: &Path) -> Result<()> {
    let path = place.join(file);
    if path.is_dir() {
        return Err(Error::file(
            &path,
            "is a folder, and a file is to go there; move it away",
        ));
    }
    let folders = file.ancestors().skip(1).map(|f| place.join(f));
    match folders.into_iter().find(|f| f.exists() && !f.is_dir()) {
        Some(in_the_way) => Err(Error::file(
            in_the_way,
            "is a file where a folder is to go; move it away",
        )),
        None => Ok(()),
    }
}

fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn text(path: &Path) -> Result<String> {
    let text = path
        .to_str()
        .ok_or_else(|| Error::file(path, "is no name that is replaced"))?;
    Ok(text.to_owned())
}

/// Returns the files below a folder, by their paths from it, sorted; none where there is no folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    walk(folder, false)
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    walk(folder, true)
}

fn walk(folder: &Path, want_folders: bool) -> Result<Vec<PathBuf>> {
    let (mut found, mut open) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(inner) = open.pop() {
        let at = folder.join(&inner);
        let cannot = |e: std::io::Error| Error::file(&at, format!("cannot be listed: {e}"));
        let entries = match std::fs::read_dir(&at) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(cannot(e)),
        };
        for entry in entries {
            let entry = entry.map_err(cannot)?;
            let path = inner.join(entry.file_name());
            if entry.file_type().map_err(cannot)?.is_dir() {
                open.push(path.clone());
                if want_folders {
                    found.push(path);
                }
            } else if !want_folders {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = ".wgvq-run-new";

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Returns a target of old files and one of somebody else's, and what is staged for it.
    fn staged(base: &Path) -> (PathBuf, Staged, Vec<PathBuf>) {
        let target = base.join("target");
        for file in ["config", "old/a", "old/b", "mine"] {
            write(&target.join(file), "old");
        }
        write(&base.join("side/old"), "old");
        let staged = Staged::begin(&target, Content::Run).unwrap();
        for file in ["config", "new/a", "new/b"] {
            write(&staged.path().join(file), "new");
        }
        write(&staged.beside("side").join("new"), "new");
        let old = ["config", "old/a", "old/b"]
            .iter()
            .map(|f| target.join(f))
            .chain([base.join("side/old")])
            .collect();
        (target, staged, old)
    }

    fn all(base: &Path) -> Vec<(String, String)> {
        let read = |f: &PathBuf| {
            (
                f.display().to_string(),
                std::fs::read_to_string(base.join(f)).unwrap(),
            )
        };
        files(base).unwrap().iter().map(read).collect()
    }

    fn expected() -> Vec<(String, String)> {
        let (old, new) = ("old".to_owned(), "new".to_owned());
        let files = [
            ("side/new", &new),
            ("target/config", &new),
            ("target/mine", &old),
            ("target/new/a", &new),
            ("target/new/b", &new),
        ];
        files
            .map(|(file, text)| (file.to_owned(), text.clone()))
            .to_vec()
    }

    #[test]
    fn the_new_content_stands_where_the_old_one_did_and_foreign_files_stay() {
        let base = tempfile::tempdir().unwrap();
        let (target, staged, old) = staged(base.path());
        staged.put(&old).unwrap();
        assert_eq!(all(base.path()), expected());
        assert!(!target.join("old").exists() && !target.join(NEW).exists());
    }

    #[test]
    fn what_is_not_put_leaves_all_as_it_was() {
        let base = tempfile::tempdir().unwrap();
        let (target, stage, _) = staged(base.path());
        drop(stage);
        let names: Vec<String> = all(base.path()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            [
                "side/old",
                "target/config",
                "target/mine",
                "target/old/a",
                "target/old/b"
            ]
        );
        // Nor does one that stood in the way of what was to go there.
        let (_, stage, old) = staged(base.path());
        write(&target.join("new"), "a file");
        assert!(stage.put(&old).unwrap_err().to_string().contains("new"));
        assert!(!is_unsettled(&target, Content::Run) && target.join("old/a").exists());
    }

    /// However far a process came before it was killed, the next one brings it to the same end.
    #[test]
    fn a_replacement_that_was_cut_short_anywhere_is_finished() {
        for done in 0..8 {
            let base = tempfile::tempdir().unwrap();
            let (target, stage, old) = staged(base.path());
            let new = target.join(NEW);
            // By hand what `put` does up to its rename, and then what `finish` does, so far.
            let list = Replaced {
                here: vec!["old/a".into(), "old/b".into()],
                beside: vec!["side/old".into()],
            };
            std::fs::write(stage.path().join(LIST), serde_json::to_vec(&list).unwrap()).unwrap();
            std::fs::rename(stage.path(), &new).unwrap();
            stage.put.store(true, Ordering::Relaxed);
            let steps: [&dyn Fn(); 7] = [
                &|| std::fs::remove_file(target.join("old/a")).unwrap(),
                &|| std::fs::remove_file(base.path().join("side/old")).unwrap(),
                &|| remove(&target, Path::new("old/b")).unwrap(),
                &|| std::fs::remove_file(new.join(LIST)).unwrap(),
                &|| std::fs::rename(new.join("config"), target.join("config")).unwrap(),
                &|| move_up(&new.join(BESIDE), base.path()).unwrap(),
                &|| move_up(&new, &target).unwrap(),
            ];
            steps.iter().take(done).for_each(|step| step());
            assert!(is_unsettled(&target, Content::Run));
            settle(&target, Content::Run).unwrap();
            assert_eq!(all(base.path()), expected(), "{done} parts done");
            assert!(old.iter().skip(1).all(|f| !f.exists()));
        }
    }

    #[test]
    fn a_list_leads_nowhere_else() {
        let base = tempfile::tempdir().unwrap();
        write(&base.path().join("precious"), "old");
        let new = base.path().join("target").join(NEW);
        std::fs::create_dir_all(&new).unwrap();
        let here = vec![
            "../precious".into(),
            base.path().join("precious").display().to_string(),
        ];
        let list = Replaced {
            here,
            beside: Vec::new(),
        };
        std::fs::write(new.join(LIST), serde_json::to_vec(&list).unwrap()).unwrap();
        settle(&base.path().join("target"), Content::Run).unwrap();
        assert!(base.path().join("precious").exists());
    }
}
