//! Checkpoints: tensors in safetensors, and a manifest with their SHA-256, written last. What has
//! no manifest, or another SHA-256, does not count.

use crate::storage::atomic;
use crate::{Error, Result, files};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Version of the format of checkpoints and model files. A reader refuses newer ones. 2: quantizers
/// with parameters of their own, figures of more kinds in a checkpoint's open row, the health of
/// the run. 3: levels of codes, with figures and health of each.
pub const FORMAT: u32 = 4;
/// Words that refuse a file of a newer format.
const NEWER: &str = "this version reads up to";
const KEY: &str = "wgvq";

/// An array of the host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: Dtype,
    /// Elements, row-major, little-endian.
    pub bytes: Vec<u8>,
}

impl HostTensor {
    /// Returns an array of f32.
    pub fn f32(shape: &[usize], values: &[f32]) -> HostTensor {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        HostTensor {
            shape: shape.to_vec(),
            dtype: Dtype::F32,
            bytes,
        }
    }

    /// Returns the elements of an array of f32.
    ///
    /// # Errors
    /// If it holds something else.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        if self.dtype != Dtype::F32 {
            return Err(Error::data(format!(
                "elements are {:?}, f32 was expected",
                self.dtype
            )));
        }
        Ok(self
            .bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect())
    }
}

/// Tensors by name, and whatever else belongs to them.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Tensors by name, in PyTorch's layout.
    pub tensors: BTreeMap<String, HostTensor>,
    /// Steps, sums, settings.
    pub state: serde_json::Value,
}

/// Prefixes of the means of squared gradients. They may be infinite: the weight then stays as it
/// is.
const SQUARES: [&str; 2] = ["adam.v.", "adversary.v."];

impl Checkpoint {
    /// Returns the first tensor of floats with a value that is not finite, from which nothing can
    /// go on.
    pub fn first_not_finite(&self) -> Option<&str> {
        let sound = |(name, t): &(&String, &HostTensor)| {
            let squares = SQUARES.iter().any(|prefix| name.starts_with(prefix));
            let mut values = t
                .bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b));
            t.dtype != Dtype::F32 || values.all(|v| v.is_finite() || squares && v == f32::INFINITY)
        };
        self.tensors
            .iter()
            .find(|tensor| !sound(tensor))
            .map(|(name, _)| name.as_str())
    }
}

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

/// Returns the bytes of a model file: the same tensors and state give the same bytes.
///
/// # Errors
/// If a tensor's bytes do not fit its shape.
pub fn to_bytes(checkpoint: &Checkpoint) -> Result<Vec<u8>> {
    to_bytes_of(checkpoint, FORMAT, env!("CARGO_PKG_VERSION"))
}

/// Returns the bytes as that version of the program wrote them, in that format.
pub(crate) fn to_bytes_of(checkpoint: &Checkpoint, format: u32, version: &str) -> Result<Vec<u8>> {
    let sum = tensor_sum(&checkpoint.tensors);
    let state = serde_json::json!({
        "format": format, "version": version, "sha256": sum,
        "state": checkpoint.state,
    });
    // One key, so that the order of a hash map cannot show; its JSON is sorted.
    let metadata = HashMap::from([(KEY.to_owned(), state.to_string())]);
    let views = checkpoint.tensors.iter().map(|(name, t)| {
        let view = TensorView::new(t.dtype, t.shape.clone(), &t.bytes);
        view.map(|v| (name.clone(), v))
            .map_err(|e| Error::data(format!("tensor `{name}`: {e}")))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    safetensors::serialize(views, Some(metadata))
        .map_err(|e| Error::data(format!("tensors cannot be written: {e}")))
}

/// Reads what [`to_bytes`] wrote; `path` names it in errors. Bytes may be anything at all.
///
/// # Errors
/// If they are damaged, of a newer format, or no model file of ours.
pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Checkpoint> {
    let damaged = |e: safetensors::SafeTensorError| {
        Error::file(path, format!("is damaged, or no safetensors file: {e}"))
    };
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let header = metadata
        .metadata()
        .as_ref()
        .and_then(|m| m.get(KEY))
        .ok_or_else(|| {
            Error::file(
                path,
                "is a safetensors file, but none that wgvq wrote: its metadata has no `wgvq`",
            )
        })?;
    let header: serde_json::Value = serde_json::from_str(header)
        .map_err(|e| Error::file(path, format!("its metadata is damaged: {e}")))?;
    let format = header["format"].as_u64().unwrap_or(0);
    if format == 0 || format > FORMAT as u64 {
        let by = header["version"].as_str().unwrap_or("an unknown version");
        return Err(Error::file(
            path,
            format!("has format {format}, written by wgvq {by}; this version reads up to {FORMAT}"),
        ));
    }
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let tensors = file.tensors().into_iter().map(|(name, view)| {
        (
            name,
            HostTensor {
                shape: view.shape().to_vec(),
                dtype: view.dtype(),
                bytes: view.data().to_vec(),
            },
        )
    });
    let tensors = tensors.collect();
    if header["sha256"].as_str() != Some(tensor_sum(&tensors).as_str()) {
        return Err(Error::file(
            path,
            "is damaged: its tensors do not have the SHA-256 that its metadata states",
        ));
    }
    Ok(Checkpoint {
        tensors,
        state: header["state"].clone(),
    })
}

/// SHA-256 over names, types, shapes and elements.
pub(crate) fn tensor_sum(tensors: &BTreeMap<String, HostTensor>) -> String {
    let mut hash = Sha256::new();
    for (name, t) in tensors {
        hash.update(format!("{name} {:?} {:?}\n", t.dtype, t.shape));
        hash.update(&t.bytes);
    }
    hex::encode(hash.finalize())
}

/// Writes one file, atomically, and returns its SHA-256.
///
/// # Errors
/// If it cannot be written.
pub fn save_file(path: &Path, checkpoint: &Checkpoint) -> Result<String> {
    let bytes = to_bytes(checkpoint)?;
    atomic::write(path, &bytes)?;
    Ok(hex::encode(Sha256::digest(&bytes)))
}

/// Reads one file; also gives its SHA-256.
///
/// # Errors
/// If it cannot be read, see [`from_bytes`].
pub fn load_file(path: &Path) -> Result<(Checkpoint, String)> {
    let bytes = read(path)?;
    Ok((from_bytes(path, &bytes)?, sum(&bytes)))
}

/// SHA-256 of what is left to read of a file, a block at a time.
pub(crate) fn sum_of_rest(mut file: impl std::io::Read) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut block)?;
        if n == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&block[..n]);
    }
}

/// SHA-256 of a file's bytes.
pub(crate) fn sum(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Returns the bytes of a model file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    files::read(path, files::MODEL)
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
    std::fs::create_dir_all(folder)
        .map_err(|e| Error::file(folder, format!("cannot be made: {e}")))?;
    let file = format!("{}.safetensors", stem(step));
    let bytes = to_bytes(checkpoint)?;
    atomic::write(&folder.join(&file), &bytes)?;
    let manifest = Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        step,
        config_sha256: config_sha256.into(),
        bytes: bytes.len() as u64,
        sha256: hex::encode(Sha256::digest(&bytes)),
        file,
    };
    write_manifest(folder, &manifest)?;
    prune(folder, step, keep)
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
fn list(folder: &Path) -> Result<Vec<u64>> {
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
    latest_that(folder, |_| true)
}

/// The newest of which `good` is true, as [`latest`].
///
/// # Errors
/// As [`latest`].
pub fn latest_that(
    folder: &Path,
    mut good: impl FnMut(&Checkpoint) -> bool,
) -> Result<Option<Latest>> {
    let mut warnings = Vec::new();
    for step in list(folder)?.into_iter().rev() {
        match load(folder, step) {
            Ok((checkpoint, ..)) if !good(&checkpoint) => {}
            Ok((checkpoint, config_sha256, format)) => {
                return Ok(Some(Latest {
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
    if manifest.format == 0 || manifest.format > FORMAT {
        let what = format!(
            "has format {}, written by wgvq {}; {NEWER} {FORMAT}",
            manifest.format, manifest.version
        );
        return Err(Error::file(&path, what));
    }
    if manifest.step != step || manifest.file != format!("{}.safetensors", stem(step)) {
        return Err(Error::file(
            &path,
            "speaks of another checkpoint than its name says",
        ));
    }
    Ok(manifest)
}

fn load(folder: &Path, step: u64) -> Result<(Checkpoint, String, u32)> {
    let manifest = manifest(folder, step)?;
    let tensors = folder.join(&manifest.file);
    let bytes = read(&tensors)?;
    if bytes.len() as u64 != manifest.bytes
        || hex::encode(Sha256::digest(&bytes)) != manifest.sha256
    {
        return Err(Error::file(
            &tensors,
            "is damaged: its size or SHA-256 is not what its manifest says",
        ));
    }
    Ok((
        from_bytes(&tensors, &bytes)?,
        manifest.config_sha256,
        manifest.format,
    ))
}

#[cfg(test)]
mod tests;
