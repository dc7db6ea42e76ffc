//! Checkpoints whose tensors are read one at a time: from the device when they are written, from
//! their file when they are loaded. So neither takes the memory of a second model.

mod arriving;

pub(crate) use arriving::Arriving;

use super::{Checkpoint, HostTensor, KEY, finite, format_of, header_of, header_text, new_sum};
use crate::nn::{HostTensors, SavedTensor, TensorSource};
use crate::storage::{atomic, weights};
use crate::{Error, Result, files, memory};
use arriving::Outline;
use parking_lot::Mutex;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use sha2::Digest;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

/// The most bytes of a header that are read.
const MOST_HEADER: u64 = 100_000_000;

/// The source of a tensor's elements, as little-endian bytes.
enum Source {
    Memory(Vec<u8>),
    Device(SavedTensor),
    File {
        file: Arc<Mutex<File>>,
        start: u64,
        len: usize,
    },
}

/// A tensor that is read when its elements are asked for.
struct LazyTensor {
    shape: Vec<usize>,
    dtype: Dtype,
    source: Source,
}

impl LazyTensor {
    fn of(tensor: HostTensor) -> LazyTensor {
        LazyTensor {
            shape: tensor.shape,
            dtype: tensor.dtype,
            source: Source::Memory(tensor.bytes),
        }
    }

    fn saved(tensor: SavedTensor) -> LazyTensor {
        LazyTensor {
            shape: weights::exported_shape(&tensor.shape),
            dtype: match tensor.bf16 {
                true => Dtype::BF16,
                false => Dtype::F32,
            },
            source: Source::Device(tensor),
        }
    }

    /// Checks that its elements are of a type that is read as f32, and as many as its shape says.
    fn check(&self, name: &str) -> Result<()> {
        if !matches!(self.dtype, Dtype::F32 | Dtype::BF16) {
            let what = format!("elements are {:?}, f32 was expected", self.dtype);
            return Err(Error::data(format!("tensor `{name}`: {what}")));
        }
        self.check_len(name)
    }

    /// Checks that its elements are as many as its shape says.
    fn check_len(&self, name: &str) -> Result<()> {
        let (size, shape) = (self.dtype.bitsize() / 8, self.shape.iter());
        let wanted = shape.copied().try_fold(size, usize::checked_mul);
        let len = match &self.source {
            Source::Memory(bytes) => Some(bytes.len()),
            Source::File { len, .. } => Some(*len),
            Source::Device(_) => wanted,
        };
        if len.is_some() && len == wanted {
            return Ok(());
        }
        let what = format!("its bytes do not fit its shape {:?}", self.shape);
        Err(Error::data(format!("tensor `{name}`: {what}")))
    }

    fn len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }

    fn bytes(&self) -> Result<Cow<'_, [u8]>> {
        match &self.source {
            Source::Memory(bytes) => Ok(bytes.into()),
            Source::Device(tensor) => {
                let own = weights::export((tensor.shape.clone(), tensor.read()?));
                Ok(match self.dtype {
                    // They are bfloat16's values: what is cut off is 0.
                    Dtype::BF16 => halves(&own.bytes).into(),
                    _ => own.bytes.into(),
                })
            }
            Source::File { file, start, len } => {
                memory::check_available("a tensor of a model file", Some(*len as u64))?;
                let mut bytes = vec![0; *len];
                let mut file = file.lock();
                let read = file.seek(SeekFrom::Start(*start));
                let read = read.and_then(|_| file.read_exact(&mut bytes));
                read.map_err(|e| Error::data(format!("a tensor cannot be read: {e}")))?;
                Ok(bytes.into())
            }
        }
    }

    fn host(&self) -> Result<HostTensor> {
        Ok(HostTensor {
            shape: self.shape.clone(),
            dtype: self.dtype,
            bytes: self.bytes()?.into_owned(),
        })
    }
}

/// The upper halves of little-endian words.
fn halves(bytes: &[u8]) -> Vec<u8> {
    let words = bytes.as_chunks::<4>().0.iter();
    words.flat_map(|[_, _, low, high]| [*low, *high]).collect()
}

/// Tensors by name that are read one at a time, and whatever else belongs to them. Of tensors of a
/// device, what they hold when they are read is what is saved.
#[derive(Default)]
pub struct LazyCheckpoint {
    tensors: BTreeMap<String, LazyTensor>,
    /// Steps, sums, settings.
    pub state: serde_json::Value,
}

impl std::fmt::Debug for LazyCheckpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "LazyCheckpoint({:?})", self.tensors.keys())
    }
}

impl From<Checkpoint> for LazyCheckpoint {
    fn from(checkpoint: Checkpoint) -> Self {
        let tensors = checkpoint.tensors.into_iter();
        LazyCheckpoint {
            tensors: tensors.map(|(n, t)| (n, LazyTensor::of(t))).collect(),
            state: checkpoint.state,
        }
    }
}

impl LazyCheckpoint {
    /// Adds tensors as they are now, their names behind a prefix.
    pub fn add(&mut self, prefix: &str, tensors: HostTensors) {
        let named = tensors.into_iter().map(|(name, tensor)| {
            let own = LazyTensor::of(weights::export(tensor));
            (format!("{prefix}{name}"), own)
        });
        self.tensors.extend(named);
    }

    /// Adds tensors that are read when they are saved, their names behind a prefix.
    pub(crate) fn add_saved(&mut self, prefix: &str, tensors: Vec<SavedTensor>) {
        let named = tensors.into_iter().map(|tensor| {
            let name = format!("{prefix}{}", tensor.name);
            (name, LazyTensor::saved(tensor))
        });
        self.tensors.extend(named);
    }

    /// Returns the tensors under a prefix, which their names are without, in the store's layout.
    ///
    /// # Errors
    /// If one is of another type than f32, or cannot be read.
    pub fn part(&self, prefix: &str) -> Result<HostTensors> {
        let own = self.tensors.iter();
        let own = own.filter_map(|(name, t)| Some((name.strip_prefix(prefix)?, t)));
        own.map(|(name, t)| Ok((name.to_owned(), imported(name, t)?)))
            .collect()
    }

    /// Returns the tensors under one of several prefixes, to be read one at a time: those of which
    /// it is the first that their names begin with; under the empty one those that begin with none.
    pub(crate) fn source<'a>(&'a self, prefix: &str, prefixes: &[&str]) -> LazyPart<'a> {
        let own = self.tensors.iter().filter_map(|(name, tensor)| {
            let first = prefixes.iter().find(|p| name.starts_with(**p));
            let own = name.strip_prefix(prefix)?;
            let shape = weights::imported_shape(&tensor.shape);
            let is_own = *first.unwrap_or(&"") == prefix;
            is_own.then(|| (own.to_owned(), (shape, tensor)))
        });
        LazyPart(own.collect())
    }

    /// Returns the format in which it is written.
    pub(super) fn format(&self) -> u32 {
        format_of(self.tensors.values().map(|t| t.dtype))
    }

    /// Returns all of it but the tensors' elements, for [`Arriving::new`].
    pub(crate) fn outline(&self) -> Result<Vec<u8>> {
        let tensors = self.tensors.iter();
        let tensors = tensors.map(|(name, t)| (name.clone(), t.dtype, t.shape.clone()));
        let outline = Outline {
            state: self.state.clone(),
            tensors: tensors.collect(),
        };
        serde_json::to_vec(&outline).map_err(Error::data)
    }

    /// Gives away the elements of each tensor, in the order of the outline.
    ///
    /// # Errors
    /// The error of `give`, or if a tensor cannot be read.
    pub(crate) fn each(&self, mut give: impl FnMut(Vec<u8>) -> Result<()>) -> Result<()> {
        let mut tensors = self.tensors.values();
        tensors.try_for_each(|t| give(t.bytes()?.into_owned()))
    }

    /// Returns all of it in memory.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn in_memory(&self) -> Result<Checkpoint> {
        let tensors = self.tensors.iter();
        let tensors = tensors.map(|(name, t)| Ok((name.clone(), t.host()?)));
        Ok(Checkpoint {
            tensors: tensors.collect::<Result<_>>()?,
            state: self.state.clone(),
        })
    }

    /// Returns the SHA-256 over names, types, shapes and elements of the tensors whose names are
    /// wanted, as [`super::tensor_sum`] does.
    pub(crate) fn sum_of(&self, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let mut hash = new_sum();
        for (name, t) in self.tensors.iter().filter(|(name, _)| wanted(name)) {
            super::add_to_sum(&mut hash, name, t.dtype, &t.shape, &t.bytes()?);
        }
        Ok(hex::encode(hash.finalize()))
    }

    /// Returns the first tensor of floats with a value that is not finite, from which nothing can
    /// go on.
    pub(crate) fn first_not_finite(&self) -> Result<Option<&str>> {
        for (name, t) in &self.tensors {
            if !finite(name, t.dtype, &t.bytes()?) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Opens a model file. It is not known yet whether its tensors are whole.
    ///
    /// # Errors
    /// As [`super::from_bytes`], but for damage of the tensors.
    pub(crate) fn open(path: &Path) -> Result<(LazyCheckpoint, String)> {
        let mut file = files::open(path)?;
        let (metadata, start) = read_table(&mut file)
            .map_err(|e| Error::file(path, format!("is damaged, or no safetensors file: {e}")))?;
        let header = header_of(path, &metadata)?;
        let file = Arc::new(Mutex::new(file));
        let tensors = metadata.tensors().into_iter().map(|(name, info)| {
            let (from, to) = info.data_offsets;
            let source = Source::File {
                file: file.clone(),
                start: start + from as u64,
                len: to - from,
            };
            let (shape, dtype) = (info.shape.clone(), info.dtype);
            let tensor = LazyTensor {
                shape,
                dtype,
                source,
            };
            (name, tensor)
        });
        let checkpoint = LazyCheckpoint {
            tensors: tensors.collect(),
            state: header["state"].clone(),
        };
        let sum = header["sha256"].as_str().unwrap_or_default().to_owned();
        Ok((checkpoint, sum))
    }

    /// Opens a model file whose tensors are whole: all of them were read once.
    ///
    /// # Errors
    /// As [`super::from_bytes`].
    pub(crate) fn open_whole(path: &Path) -> Result<LazyCheckpoint> {
        let (checkpoint, sum) = LazyCheckpoint::open(path)?;
        if checkpoint.sum_of(|_| true)? == sum {
            return Ok(checkpoint);
        }
        Err(Error::file(path, super::OTHER_SUM))
    }

    /// Writes a model file, atomically and a tensor at a time: the bytes are those of
    /// [`super::to_bytes`]. Where `every` refuses a tensor, by its name, type and bytes, nothing is
    /// written. Returns its size and its SHA-256.
    ///
    /// # Errors
    /// The error of `every`, if a tensor cannot be read, or the file not be written.
    pub(crate) fn write(
        &self,
        path: &Path,
        mut every: impl FnMut(&str, Dtype, &[u8]) -> Result<()>,
    ) -> Result<(u64, String)> {
        // In the order of safetensors: the widest types first.
        let mut order: Vec<(&String, &LazyTensor)> = self.tensors.iter().collect();
        order.sort_by(|(a, x), (b, y)| y.dtype.cmp(&x.dtype).then(a.cmp(b)));
        let (mut infos, mut places) = (Vec::new(), BTreeMap::new());
        let mut end = 0;
        for (name, t) in order {
            let start = end;
            end += t.len();
            let info = TensorInfo {
                dtype: t.dtype,
                shape: t.shape.clone(),
                data_offsets: (start, end),
            };
            infos.push((name.clone(), info));
            places.insert(name.as_str(), start as u64);
        }
        let (format, version) = (self.format(), env!("CARGO_PKG_VERSION"));
        let text = |sum: &str| header_text(sum, &self.state, format, version);
        let header = |sum: &str| header_bytes(text(sum), infos.clone());
        // As long as the one with the sum, which is known in the end.
        let before = header(&hex::encode(new_sum().finalize()))?.len() as u64;
        let failed = |e: std::io::Error| atomic::failed(path, &e);
        atomic::write_with(path, |file| {
            let mut hash = new_sum();
            // The sum is in the order of names.
            for (name, t) in &self.tensors {
                let bytes = t.bytes()?;
                if bytes.len() != t.len() {
                    let what = format!("tensor `{name}`: its bytes do not fit its shape");
                    return Err(Error::data(what));
                }
                every(name, t.dtype, &bytes)?;
                super::add_to_sum(&mut hash, name, t.dtype, &t.shape, &bytes);
                file.seek(SeekFrom::Start(before + places[name.as_str()]))
                    .map_err(failed)?;
                file.write_all(&bytes).map_err(failed)?;
            }
            let header = header(&hex::encode(hash.finalize()))?;
            file.rewind().map_err(failed)?;
            file.write_all(&header).map_err(failed)?;
            file.rewind().map_err(failed)?;
            let sum = super::sum_of_rest(&mut *file).map_err(failed)?;
            Ok((before + end as u64, sum))
        })
    }
}

/// Reads the table of a safetensors file, which stands at its beginning, and returns where in the
/// file the tensors begin.
///
/// # Errors
/// If it is none, or its tensors do not fill it.
pub(crate) fn read_table(file: &mut File) -> Result<(Metadata, u64)> {
    let size = file.metadata().map_err(Error::data)?.len();
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(Error::data)?;
    let length = u64::from_le_bytes(length);
    if length > MOST_HEADER || length > size.saturating_sub(8) {
        return Err(Error::data("its header is longer than it"));
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header).map_err(Error::data)?;
    let metadata: Metadata = serde_json::from_slice(&header).map_err(Error::data)?;
    if (metadata.data_len() as u64).checked_add(8 + length) != Some(size) {
        return Err(Error::data("its tensors do not fill it"));
    }
    Ok((metadata, 8 + length))
}

/// The bytes before the tensors.
fn header_bytes(text: String, infos: Vec<(String, TensorInfo)>) -> Result<Vec<u8>> {
    let wrong = |e: &dyn std::fmt::Display| Error::data(format!("tensors cannot be written: {e}"));
    let metadata = HashMap::from([(KEY.to_owned(), text)]);
    let metadata = Metadata::new(Some(metadata), infos).map_err(|e| wrong(&e))?;
    let mut header = serde_json::to_vec(&metadata).map_err(|e| wrong(&e))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    if header.len() as u64 > MOST_HEADER {
        return Err(wrong(&"there are too many"));
    }
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    Ok(bytes)
}

/// A tensor as the store has it, its values as f32.
fn imported(name: &str, tensor: &LazyTensor) -> Result<(Vec<usize>, Vec<f32>)> {
    tensor.check(name)?;
    let imported = tensor.host().and_then(|t| weights::import(&t));
    imported.map_err(|e| Error::data(format!("tensor `{name}`: {e}")))
}

/// Tensors of a [`LazyCheckpoint`] under a prefix.
pub(crate) struct LazyPart<'a>(BTreeMap<String, (Vec<usize>, &'a LazyTensor)>);

impl TensorSource for LazyPart<'_> {
    fn shapes(&self) -> BTreeMap<&str, &[usize]> {
        let shapes = self.0.iter().map(|(name, (shape, _))| (&**name, &**shape));
        shapes.collect()
    }

    fn check(&self, what: &str) -> Result<()> {
        let mut tensors = self.0.iter();
        let check = |(name, (_, tensor)): (&String, &(Vec<usize>, &LazyTensor))| tensor.check(name);
        let checked = tensors.try_for_each(check);
        checked.map_err(|e| Error::data(format!("{what}: {e}")))
    }

    fn read(&self, name: &str) -> Result<Cow<'_, [f32]>> {
        match self.0.get(name) {
            Some((_, tensor)) => Ok(imported(name, tensor)?.1.into()),
            None => Ok(Cow::default()),
        }
    }
}

#[cfg(test)]
mod tests;
