//! Checkpoints: tensors in safetensors, and a manifest with their SHA-256, written last. What has
//! no manifest, or another SHA-256, does not count.

mod folder;
mod lazy;

pub use folder::{Latest, latest, newest, remove_after, rename_identity, save};
pub(crate) use folder::{prune, save_lazy, whole_that};
pub(crate) use lazy::Arriving;
pub use lazy::LazyCheckpoint;
pub(crate) use lazy::read_table;

pub use super::host_tensor::HostTensor;

use super::host_tensor::widened;
use crate::storage::atomic;
use crate::{Error, Result, files};
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorView};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Version of the format of checkpoints and model files. A reader refuses newer ones. 2: quantizers
/// with parameters of their own, figures of more kinds in a checkpoint's open row, the health of
/// the run. 3: levels of codes, with figures and health of each. 5: tensors in bfloat16; what has
/// none is still written in [`WITHOUT_BF16`], which programs of that format read.
pub const FORMAT: u32 = 5;
/// The format of what holds no bfloat16.
pub const WITHOUT_BF16: u32 = 4;
/// The oldest format whose runs are gone on with.
pub(crate) const CONTINUED: u32 = 4;
/// Words that refuse a file of a newer format.
const NEWER: &str = "this version reads up to";
const KEY: &str = "wgvq";
/// Words that refuse a file whose tensors are not those that were written.
const OTHER_SUM: &str = "is damaged: its tensors do not have the SHA-256 that its metadata states";

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

/// Whether a tensor's values are finite, where it is of floats.
pub(crate) fn finite(name: &str, dtype: Dtype, bytes: &[u8]) -> bool {
    let squares = SQUARES.iter().any(|prefix| name.starts_with(prefix));
    let sound = |v: f32| v.is_finite() || squares && v == f32::INFINITY;
    let (words, halves) = (bytes.as_chunks::<4>().0, bytes.as_chunks::<2>().0);
    match dtype {
        Dtype::F32 => words.iter().all(|b| sound(f32::from_le_bytes(*b))),
        Dtype::BF16 => halves.iter().all(|b| sound(widened(b))),
        _ => true,
    }
}

/// Returns the format in which tensors of these types are written.
fn format_of(types: impl IntoIterator<Item = Dtype>) -> u32 {
    match types.into_iter().any(|dtype| dtype == Dtype::BF16) {
        true => FORMAT,
        false => WITHOUT_BF16,
    }
}

/// Checks that what is written in a format, by a version of the program, is read by one that reads
/// up to `newest`.
///
/// # Errors
/// The words that refuse it.
fn check_format(format: u64, by: &str, newest: u32) -> std::result::Result<(), String> {
    if (1..=u64::from(newest)).contains(&format) {
        return Ok(());
    }
    Err(format!(
        "has format {format}, written by wgvq {by}; {NEWER} {newest}"
    ))
}

/// Returns what a model file says beside its tensors, whose sum is `sum`, as that version of the
/// program wrote it, in that format.
fn header_text(sum: &str, state: &serde_json::Value, format: u32, version: &str) -> String {
    let header = serde_json::json!({
        "format": format, "version": version, "sha256": sum, "state": state,
    });
    header.to_string()
}

/// Returns what a model file says beside its tensors.
///
/// # Errors
/// If it is of a newer format, or no model file of ours.
fn header_of(path: &Path, metadata: &Metadata) -> Result<serde_json::Value> {
    let header = metadata.metadata().as_ref().and_then(|m| m.get(KEY));
    let header = header.ok_or_else(|| {
        Error::file(
            path,
            "is a safetensors file, but none that wgvq wrote: its metadata has no `wgvq`",
        )
    })?;
    let header: serde_json::Value = serde_json::from_str(header)
        .map_err(|e| Error::file(path, format!("its metadata is damaged: {e}")))?;
    let format = header["format"].as_u64().unwrap_or(0);
    let by = header["version"].as_str().unwrap_or("an unknown version");
    check_format(format, by, FORMAT).map_err(|what| Error::file(path, what))?;
    Ok(header)
}

/// Returns the bytes of a model file: the same tensors and state give the same bytes.
///
/// # Errors
/// If a tensor's bytes do not fit its shape.
pub fn to_bytes(checkpoint: &Checkpoint) -> Result<Vec<u8>> {
    let format = format_of(checkpoint.tensors.values().map(|t| t.dtype));
    to_bytes_of(checkpoint, format, env!("CARGO_PKG_VERSION"))
}

/// Returns the bytes as that version of the program wrote them, in that format.
pub(crate) fn to_bytes_of(checkpoint: &Checkpoint, format: u32, version: &str) -> Result<Vec<u8>> {
    let sum = tensor_sum(&checkpoint.tensors);
    let text = header_text(&sum, &checkpoint.state, format, version);
    // One key, so that the order of a hash map cannot show; its JSON is sorted.
    let metadata = HashMap::from([(KEY.to_owned(), text)]);
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
    let header = header_of(path, &metadata)?;
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
        return Err(Error::file(path, OTHER_SUM));
    }
    Ok(Checkpoint {
        tensors,
        state: header["state"].clone(),
    })
}

/// SHA-256 over names, types, shapes and elements.
pub(crate) fn tensor_sum(tensors: &BTreeMap<String, HostTensor>) -> String {
    let mut hash = new_sum();
    for (name, t) in tensors {
        add_to_sum(&mut hash, name, t.dtype, &t.shape, &t.bytes);
    }
    hex::encode(hash.finalize())
}

fn new_sum() -> Sha256 {
    Sha256::new()
}

fn add_to_sum(hash: &mut Sha256, name: &str, dtype: Dtype, shape: &[usize], bytes: &[u8]) {
    hash.update(format!("{name} {dtype:?} {shape:?}\n"));
    hash.update(bytes);
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

#[cfg(test)]
mod tests;
