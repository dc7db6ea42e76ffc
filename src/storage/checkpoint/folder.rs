//! Folders of checkpoints: one a step, each with a manifest that is written last.

use super::{
    Checkpoint, FORMAT, LazyCheckpoint, NEWER, check_format, format_of, read, sum_of_rest, to_bytes,
};
use crate::storage::atomic;
use crate::{Error, Result, files};
use safetensors::tensor::Dtype;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The manifest of a checkpoint, written after its tensors: their hash, and the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    version: String,
    step: u64,
    config_sha256: String,
    file: String,
    bytes: u64,
    sha256: String,
}

fn stem(step: u64) -> String {
    format!("step-{step:08}")
}

/// Saves a checkpoint of `step` in `folder`, then lets go of all but the newest `keep`.
///
/// # Errors
/// If it cannot be written; earlier checkpoints are as they were then.
pub fn save(
    folder: &Path,
    step: u64,
    checkpoint: &Checkpoint,
    config_sha256: &str,
    keep: usize,
) -> Result<()> {
    let path = place(folder, step)?;
    let bytes = to_bytes(checkpoint)?;
    atomic::write(&path, &bytes)?;
    let written = (bytes.len() as u64, hex::encode(Sha256::digest(&bytes)));
    let format = format_of(checkpoint.tensors.values().map(|t| t.dtype));
    conclude(folder, step, format, written, config_sha256)?;
    prune(folder, step, keep)
}

/// [`save`] of tensors that are read one at a time. `every` sees each of them by its name, type and
/// bytes; where it refuses one, nothing is saved.
///
/// # Errors
/// As [`save`], and what `every` returns.
pub(crate) fn save_lazy(
    folder: &Path,
    step: u64,
    checkpoint: &LazyCheckpoint,
    config_sha256: &str,
    keep: usize,
    every: impl FnMut(&str, Dtype, &[u8]) -> Result<()>,
) -> Result<()> {
    let written = checkpoint.write(&place(folder, step)?, every)?;
    conclude(folder, step, checkpoint.format(), written, config_sha256)?;
    prune(folder, step, keep)
}

/// Returns where the tensors of a step are written, in a folder that is there.
fn place(folder: &Path, step: u64) -> Result<PathBuf> {
    std::fs::create_dir_all(folder)
        .map_err(|e| Error::file(folder, format!("cannot be made: {e}")))?;
    Ok(folder.join(format!("{}.safetensors", stem(step))))
}

/// Writes the manifest of tensors in this format, of this size and sum.
fn conclude(
    folder: &Path,
    step: u64,
    format: u32,
    (bytes, sha256): (u64, String),
    config_sha256: &str,
) -> Result<()> {
    let manifest = Manifest {
        format,
        version: env!("CARGO_PKG_VERSION").into(),
        step,
        config_sha256: config_sha256.into(),
        bytes,
        sha256,
        file: format!("{}.safetensors", stem(step)),
    };
    write_manifest(folder, &manifest)
}

/// Lets go of all but the newest `keep` checkpoints up to that of `step`, and of what a process
/// left that was killed while it did so.
///
/// # Errors
/// If the folder cannot be listed, or a file not be removed.
pub(crate) fn prune(folder: &Path, step: u64, keep: usize) -> Result<()> {
    // Steps past this one are damaged ones that a resumed run passed over. They must not count
    // among those kept: this one would go for them.
    let steps: Vec<u64> = list(folder)?.into_iter().filter(|s| *s <= step).collect();
    let Some(oldest) = steps.iter().rev().take(keep.max(1)).next_back() else {
        return Ok(());
    };
    // Tensors may be there without the manifest, which goes first.
    let mut old = with_ending(folder, "safetensors")?;
    old.extend(steps.iter());
    let mut old = old.into_iter().filter(|s| s < oldest);
    old.try_for_each(|s| remove(folder, s))
}

fn write_manifest(folder: &Path, manifest: &Manifest) -> Result<()> {
    let text = serde_json::to_string_pretty(manifest).map_err(Error::data)?;
    atomic::write(
        &folder.join(format!("{}.json", stem(manifest.step))),
        (text + "\n").as_bytes(),
    )
}

/// Puts another hash of the same configuration into all manifests that have `from`.
///
/// # Errors
/// If one cannot be written.
pub fn rename_identity(folder: &Path, from: &str, to: &str) -> Result<()> {
    if from == to {
        return Ok(());
    }
    for step in list(folder)? {
        if let Ok(manifest) = manifest(folder, step)
            && manifest.config_sha256 == from
        {
            write_manifest(
                folder,
                &Manifest {
                    config_sha256: to.into(),
                    ..manifest
                },
            )?;
        }
    }
    Ok(())
}

/// The step of the newest checkpoint that has a manifest, and the hash of its configuration; its
/// tensors are not looked at.
///
/// # Errors
/// If the folder cannot be listed.
pub fn newest(folder: &Path) -> Result<Option<(u64, String)>> {
    let known = list(folder)?
        .into_iter()
        .rev()
        .find_map(|step| Some((step, manifest(folder, step).ok()?)));
    Ok(known.map(|(step, manifest)| (step, manifest.config_sha256)))
}

fn remove(folder: &Path, step: u64) -> Result<()> {
    // The manifest first: tensors without one do not count.
    for ending in ["json", "safetensors"] {
        let path = folder.join(format!("{}.{ending}", stem(step)));
        if path.exists() {
            std::fs::remove_file(&path)
                .map_err(|e| Error::file(&path, format!("a checkpoint cannot be removed: {e}")))?;
        }
    }
    Ok(())
}

/// Removes the checkpoints past `step`: those of steps that a run took back.
///
/// # Errors
/// If one cannot be removed.
pub fn remove_after(folder: &Path, step: u64) -> Result<()> {
    list(folder)?
        .into_iter()
        .filter(|s| *s > step)
        .try_for_each(|s| remove(folder, s))
}

/// Steps of the manifests in `folder`, rising.
pub(super) fn list(folder: &Path) -> Result<Vec<u64>> {
    with_ending(folder, "json")
}

/// The steps of which there is a file of this ending, in order.
fn with_ending(folder: &Path, ending: &str) -> Result<Vec<u64>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::file(folder, format!("cannot be listed: {e}"))),
    };
    let step = |name: &str| {
        let (stem_of, end) = name.rsplit_once('.')?;
        let step = stem_of.strip_prefix("step-")?.parse::<u64>().ok()?;
        (end == ending && stem_of == stem(step)).then_some(step)
    };
    let mut steps: Vec<u64> = entries
        .flatten()
        .filter_map(|e| step(&e.file_name().to_string_lossy()))
        .collect();
    steps.sort_unstable();
    Ok(steps)
}

/// The newest checkpoint that is whole, and a sentence on each newer one that is not.
#[derive(Debug)]
pub struct Latest {
    /// Its step.
    pub step: u64,
    /// Its content.
    pub checkpoint: Checkpoint,
    /// The hash of the configuration that it was made under.
    pub config_sha256: String,
    /// The format that it was written in.
    pub format: u32,
    /// Damaged checkpoints that were passed over, by name.
    pub warnings: Vec<String>,
}

/// Finds the newest checkpoint in `folder` whose manifest and tensors agree. `None` if there is no
/// checkpoint.
///
/// # Errors
/// If there are checkpoints and none is whole; the message names them.
pub fn latest(folder: &Path) -> Result<Option<Latest>> {
    let found = whole_that(folder, |_| Ok(true))?;
    let in_memory = |found: Whole| {
        Ok(Latest {
            step: found.step,
            checkpoint: found.checkpoint.in_memory()?,
            config_sha256: found.config_sha256,
            format: found.format,
            warnings: found.warnings,
        })
    };
    found.map(in_memory).transpose()
}

/// A [`Latest`] whose tensors are read one at a time.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) step: u64,
    pub(crate) checkpoint: LazyCheckpoint,
    pub(crate) config_sha256: String,
    pub(crate) format: u32,
    pub(crate) warnings: Vec<String>,
}

/// The newest that is whole and of which `good` is true, as [`latest`]; its tensors are read one at
/// a time.
///
/// # Errors
/// As [`latest`], and what `good` returns.
pub(crate) fn whole_that(
    folder: &Path,
    mut good: impl FnMut(&LazyCheckpoint) -> Result<bool>,
) -> Result<Option<Whole>> {
    let mut warnings = Vec::new();
    for step in list(folder)?.into_iter().rev() {
        match load(folder, step) {
            Ok((checkpoint, ..)) if !good(&checkpoint)? => {}
            Ok((checkpoint, config_sha256, format)) => {
                return Ok(Some(Whole {
                    step,
                    checkpoint,
                    config_sha256,
                    format,
                    warnings,
                }));
            }
            // A newer version's checkpoint is whole: to go on from an older one would undo its
            // work.
            Err(e) if e.to_string().contains(NEWER) => return Err(e),
            Err(e) => warnings.push(e.to_string()),
        }
    }
    if warnings.is_empty() {
        Ok(None)
    } else {
        Err(Error::file(
            folder,
            format!("no checkpoint is whole: {}", warnings.join("; ")),
        ))
    }
}

/// Returns the manifest of a step's checkpoint.
fn manifest(folder: &Path, step: u64) -> Result<Manifest> {
    let path: PathBuf = folder.join(format!("{}.json", stem(step)));
    let manifest: Manifest = serde_json::from_slice(&read(&path)?)
        .map_err(|e| Error::file(&path, format!("is damaged, or no manifest: {e}")))?;
    check_format(manifest.format.into(), &manifest.version, FORMAT)
        .map_err(|what| Error::file(&path, what))?;
    if manifest.step != step || manifest.file != format!("{}.safetensors", stem(step)) {
        return Err(Error::file(
            &path,
            "speaks of another checkpoint than its name says",
        ));
    }
    Ok(manifest)
}

fn load(folder: &Path, step: u64) -> Result<(LazyCheckpoint, String, u32)> {
    let manifest = manifest(folder, step)?;
    let tensors = folder.join(&manifest.file);
    let unreadable = |e: std::io::Error| Error::file(&tensors, format!("cannot be read: {e}"));
    let file = files::open(&tensors)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    if bytes != manifest.bytes || sum_of_rest(file).map_err(unreadable)? != manifest.sha256 {
        return Err(Error::file(
            &tensors,
            "is damaged: its size or SHA-256 is not what its manifest says",
        ));
    }
    let (checkpoint, _) = LazyCheckpoint::open(&tensors)?;
    Ok((checkpoint, manifest.config_sha256, manifest.format))
}
