//! Arrays in files of NumPy's, of which rows are read as they are asked for.

use crate::data::read_npy_header;
use crate::{Error, Result, files, memory};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The type of a file's numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    U8,
    U16,
    U32,
    U64,
    I32,
    I64,
    F16,
    F32,
    F64,
}

impl Number {
    /// Returns the type by NumPy's name, where it is one of these.
    fn of(name: &str) -> Option<Number> {
        Some(match name {
            "|u1" | "<u1" => Number::U8,
            "<u2" => Number::U16,
            "<u4" => Number::U32,
            "<u8" => Number::U64,
            "<i4" => Number::I32,
            "<i8" => Number::I64,
            "<f2" => Number::F16,
            "<f4" => Number::F32,
            "<f8" => Number::F64,
            _ => return None,
        })
    }

    fn bytes(self) -> usize {
        match self {
            Number::U8 => 1,
            Number::U16 | Number::F16 => 2,
            Number::U32 | Number::I32 | Number::F32 => 4,
            Number::U64 | Number::I64 | Number::F64 => 8,
        }
    }
}

/// An array [N, ..] in a file.
#[derive(Debug)]
pub(super) struct ArrayFile {
    path: PathBuf,
    pub(super) number: Number,
    /// Where the numbers begin.
    start: u64,
    pub(super) shape: Vec<usize>,
    pub(super) rows: usize,
    /// Numbers of a row.
    pub(super) dim: usize,
}

/// Numbers that are read, in words, and how to make such of others.
pub(super) struct Wanted {
    pub(super) numbers: &'static [Number],
    pub(super) advice: &'static str,
    /// A row, in words.
    pub(super) row: &'static str,
}

impl ArrayFile {
    /// Opens an array. The dimensions behind the first make a row.
    ///
    /// # Errors
    /// Names the file: it is no such array, is in Fortran's order, or is shorter than it says.
    pub(super) fn open(path: &Path, wanted: &Wanted) -> Result<ArrayFile> {
        let wrong = |what: String| Error::file(path, what);
        let mut file = files::open(path)?;
        let header = read_npy_header(&mut file).map_err(wrong)?;
        let unreadable = |e: std::io::Error| wrong(format!("cannot be read: {e}"));
        let start = file.stream_position().map_err(unreadable)?;
        let kind = header.dtype().descr();
        let kind = kind.trim_matches('\'');
        let number = Number::of(kind).filter(|number| wanted.numbers.contains(number));
        let Some(number) = number else {
            let what = format!("holds numbers of the type {kind}; {}", wanted.advice);
            return Err(wrong(what));
        };
        let shape = header.shape();
        if header.order() == npyz::Order::Fortran && shape.len() > 1 {
            let what = "is in Fortran's order: save it again after `numpy.ascontiguousarray`";
            return Err(wrong(what.to_owned()));
        }
        let [rows, inner @ ..] = shape else {
            let what = format!("holds a single number; {}s are an array [N, D]", wanted.row);
            return Err(wrong(what));
        };
        let size = |n: &u64| usize::try_from(*n).ok();
        let dim = inner
            .iter()
            .try_fold(1, |all: usize, n| all.checked_mul(size(n)?));
        let bytes = memory::product(&[
            size(rows).unwrap_or(usize::MAX),
            dim.unwrap_or(usize::MAX),
            number.bytes(),
        ]);
        let there = file
            .metadata()
            .map_err(unreadable)?
            .len()
            .saturating_sub(start);
        match (size(rows), dim, bytes) {
            (Some(rows), Some(dim), Some(bytes)) if bytes <= there && rows > 0 && dim > 0 => {
                Ok(ArrayFile {
                    path: path.to_owned(),
                    number,
                    start,
                    shape: shape.iter().map(|n| *n as usize).collect(),
                    rows,
                    dim,
                })
            }
            (Some(0), ..) | (_, Some(0), _) => Err(wrong(format!(
                "is an array of shape {shape:?}, which holds no {}",
                wanted.row
            ))),
            _ => Err(wrong(format!(
                "is damaged: {there} bytes of numbers are no array of shape {shape:?}"
            ))),
        }
    }

    /// Returns the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file to read from.
    pub(super) fn file(&self) -> Result<File> {
        File::open(&self.path)
            .map_err(|e| Error::file(&self.path, format!("cannot be opened: {e}")))
    }

    /// Returns the bytes of some rows.
    pub(super) fn bytes(&self, file: &mut File, rows: Range<usize>) -> Result<Vec<u8>> {
        let each = self.dim * self.number.bytes();
        let mut bytes = vec![0; rows.len() * each];
        let at = self.start + rows.start as u64 * each as u64;
        file.seek(SeekFrom::Start(at))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|e| Error::file(&self.path, format!("cannot be read: {e}")))?;
        Ok(bytes)
    }
}

/// Numbers of N bytes each, the lowest byte first.
pub(super) fn numbers<const N: usize, T>(bytes: &[u8], one: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|b| one(*b)).collect()
}

/// Writes an array for tests.
#[cfg(test)]
pub(super) fn file_of<T: npyz::AutoSerialize + Copy>(
    shape: &[u64],
    values: &[T],
) -> tempfile::NamedTempFile {
    use npyz::WriterBuilder;
    let file = tempfile::NamedTempFile::new().unwrap();
    let options = npyz::WriteOptions::new().default_dtype().shape(shape);
    let mut writer = options.writer(file.reopen().unwrap()).begin_nd().unwrap();
    writer.extend(values.iter().copied()).unwrap();
    writer.finish().unwrap();
    file
}
