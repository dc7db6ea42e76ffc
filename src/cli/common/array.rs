//! Arrays of NumPy's that are written a part at a time.

use crate::cli::common::place::Place;
use npyz::WriterBuilder;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use wgvq::storage::atomic;
use wgvq::storage::staged::Staged;
use wgvq::{Error, Result};

/// An array that is written beside its place, and put there when it is whole.
pub struct Array<T: npyz::AutoSerialize> {
    // Files are closed before their folder goes, which Windows asks for.
    writer: npyz::NpyWriter<T, BufWriter<File>>,
    file: File,
    path: PathBuf,
    staged: Staged,
}

impl<T: npyz::AutoSerialize> Array<T> {
    pub fn begin(place: &Place, path: &Path, shape: &[u64]) -> Result<Array<T>> {
        let staged = place.staged()?;
        let name = path.file_name().unwrap_or_default();
        let failed = |e: std::io::Error| unwritable(path, &e);
        let file = File::create(staged.path().join(name)).map_err(failed)?;
        let kept = file.try_clone().map_err(failed)?;
        let writer = npyz::WriteOptions::new()
            .default_dtype()
            .shape(shape)
            .writer(BufWriter::new(file))
            .begin_nd()
            .map_err(failed)?;
        Ok(Array {
            writer,
            file: kept,
            path: path.to_owned(),
            staged,
        })
    }

    pub fn extend(&mut self, values: impl Iterator<Item = T>) -> Result<()> {
        let written = self.writer.extend(values);
        written.map_err(|e| unwritable(&self.path, &e))
    }

    /// Ends the array, which [`Whole::put`] then brings to its place.
    pub fn whole(self) -> Result<Whole> {
        let Array {
            writer,
            file,
            path,
            staged,
        } = self;
        writer.finish().map_err(|e| unwritable(&path, &e))?;
        atomic::sync(&file, &path)?;
        Ok(Whole(staged))
    }
}

/// An array that is written, and not yet in its place.
pub struct Whole(Staged);

impl Whole {
    pub fn put(self) -> Result<()> {
        self.0.put(&[])
    }
}

fn unwritable(path: &Path, e: &std::io::Error) -> Error {
    Error::file(path, format!("cannot be written: {e}"))
}

/// Codes, in two bytes each where they fit.
pub enum Codes {
    Narrow(Array<u16>),
    Wide(Array<u32>),
}

impl Codes {
    pub fn begin(place: &Place, path: &Path, shape: &[u64], codes: usize) -> Result<Codes> {
        if codes <= 1 << 16 {
            Array::begin(place, path, shape).map(Codes::Narrow)
        } else {
            Array::begin(place, path, shape).map(Codes::Wide)
        }
    }

    pub fn extend(&mut self, codes: &[u32]) -> Result<()> {
        match self {
            Codes::Narrow(array) => array.extend(codes.iter().map(|code| *code as u16)),
            Codes::Wide(array) => array.extend(codes.iter().copied()),
        }
    }

    pub fn whole(self) -> Result<Whole> {
        match self {
            Codes::Narrow(array) => array.whole(),
            Codes::Wide(array) => array.whole(),
        }
    }
}
