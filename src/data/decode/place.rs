//! Places of an image's bytes: a file of its own, one of many in a tar archive, from which they are
//! read in place, or a row of a Parquet file.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Error;
#[cfg(feature = "parquet")]
use crate::data::decode::column::Column;

/// A file, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    path: Arc<Path>,
    part: Option<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Member {
        /// Name in the archive.
        name: Arc<str>,
        at: u64,
        bytes: u64,
    },
    #[cfg(feature = "parquet")]
    Row { column: Arc<Column>, row: usize },
}

impl Place {
    /// Returns the whole of a file.
    pub(crate) fn file(path: impl AsRef<Path>) -> Place {
        Place {
            path: path.as_ref().into(),
            part: None,
        }
    }

    /// The file of that name in an archive, as so many bytes from a place on.
    pub(crate) fn within(archive: &Arc<Path>, name: &str, at: u64, bytes: u64) -> Place {
        Place {
            path: archive.clone(),
            part: Some(Part::Member {
                name: name.into(),
                at,
                bytes,
            }),
        }
    }

    /// Returns a row of a column, counted from 0.
    #[cfg(feature = "parquet")]
    pub(crate) fn row(column: &Arc<Column>, row: usize) -> Place {
        Place {
            path: column.path().clone(),
            part: Some(Part::Row {
                column: column.clone(),
                row,
            }),
        }
    }

    /// Returns its name for errors.
    pub(crate) fn named(&self) -> PathBuf {
        match &self.part {
            None => self.path.to_path_buf(),
            Some(Part::Member { name, .. }) => self.path.join(&**name),
            #[cfg(feature = "parquet")]
            Some(Part::Row { column, row }) => {
                let path = self.path.display();
                format!("{path}, column {}, row {row}", column.name()).into()
            }
        }
    }

    pub(crate) fn error(&self, what: impl std::fmt::Display) -> Error {
        Error::file(self.named(), what)
    }

    /// Returns bytes that tell it from other places.
    pub(crate) fn identity(&self) -> Vec<u8> {
        let whole = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.to_path_buf());
        let mut out = whole.as_os_str().as_encoded_bytes().to_vec();
        match &self.part {
            None => {}
            Some(Part::Member { name, at, .. }) => {
                out.push(0);
                out.extend(name.as_bytes());
                out.extend(at.to_le_bytes());
            }
            #[cfg(feature = "parquet")]
            Some(Part::Row { column, row }) => {
                out.push(0);
                out.extend(column.name().as_bytes());
                out.extend((*row as u64).to_le_bytes());
            }
        }
        out
    }

    /// Its bytes, and when its file was changed last.
    pub(crate) fn about(&self) -> io::Result<(u64, SystemTime)> {
        let about = fs::metadata(&self.path)?;
        if !about.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not a file",
            ));
        }
        let changed = about.modified().unwrap_or(UNIX_EPOCH);
        match &self.part {
            None => Ok((about.len(), changed)),
            Some(Part::Member { at, bytes, .. }) if at + bytes <= about.len() => {
                Ok((*bytes, changed))
            }
            Some(Part::Member { .. }) => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "its archive has become shorter",
            )),
            #[cfg(feature = "parquet")]
            Some(Part::Row { column, row }) => Ok((column.value(*row)?.len() as u64, changed)),
        }
    }

    pub(crate) fn is_file(&self) -> io::Result<bool> {
        fs::metadata(&self.path).map(|about| about.is_file())
    }

    /// Returns a reader of its bytes and no others.
    pub(crate) fn open(&self) -> io::Result<PlaceReader> {
        let (from, bytes) = match &self.part {
            Some(Part::Member { at, bytes, .. }) => (*at, Some(*bytes)),
            None => (0, None),
            #[cfg(feature = "parquet")]
            Some(Part::Row { column, row }) => {
                return Ok(PlaceReader::Value(io::Cursor::new(column.value(*row)?)));
            }
        };
        let mut file = File::open(&self.path)?;
        let bytes = bytes.map_or_else(|| file.metadata().map(|about| about.len()), Ok)?;
        file.seek(SeekFrom::Start(from))?;
        Ok(PlaceReader::Section(FileSection {
            file,
            from,
            bytes,
            at: 0,
        }))
    }

    /// Its bytes, if they are no more than `most`.
    pub(crate) fn read(&self, most: u64) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        self.open()?.take(most + 1).read_to_end(&mut bytes)?;
        Ok((bytes.len() as u64 <= most).then_some(bytes))
    }
}

/// The bytes of a place, as if they were a file.
#[derive(Debug)]
pub(crate) enum PlaceReader {
    Section(FileSection),
    #[cfg(feature = "parquet")]
    Value(io::Cursor<parquet::data_type::ByteArray>),
}

impl Read for PlaceReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            PlaceReader::Section(section) => section.read(out),
            #[cfg(feature = "parquet")]
            PlaceReader::Value(value) => value.read(out),
        }
    }
}

impl Seek for PlaceReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            PlaceReader::Section(section) => section.seek(to),
            #[cfg(feature = "parquet")]
            PlaceReader::Value(value) => value.seek(to),
        }
    }
}

/// A part of a file, as if it were one.
#[derive(Debug)]
pub(crate) struct FileSection {
    file: File,
    from: u64,
    bytes: u64,
    at: u64,
}

impl Read for FileSection {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.bytes.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let room = out.len().min(left);
        let read = self.file.read(&mut out[..room])?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for FileSection {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.bytes.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        let place = at.and_then(|at| Some((at, self.from.checked_add(at)?)));
        let (at, place) = place.ok_or(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a place before the first byte",
        ))?;
        self.file.seek(SeekFrom::Start(place))?;
        self.at = at;
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_read_as_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("all");
        fs::write(&path, b"0123456789").unwrap();
        let archive: Arc<Path> = path.as_path().into();
        let part = Place::within(&archive, "a/b.png", 3, 4);
        let mut window = part.open().unwrap();
        let mut text = String::new();
        window.read_to_string(&mut text).unwrap();
        assert_eq!(text, "3456");
        for (to, rest) in [
            (SeekFrom::Start(1), "456"),
            (SeekFrom::End(-1), "6"),
            (SeekFrom::Start(9), ""),
        ] {
            window.seek(to).unwrap();
            text.clear();
            window.read_to_string(&mut text).unwrap();
            assert_eq!(text, rest);
        }
        assert!(window.seek(SeekFrom::End(-5)).is_err());
        assert_eq!(
            (part.read(4).unwrap().unwrap(), part.read(3).unwrap()),
            (b"3456".to_vec(), None)
        );
        assert_eq!(part.named(), path.join("a/b.png"));
        assert_eq!(part.about().unwrap().0, 4);
        assert!(Place::within(&archive, "c", 8, 4).about().is_err());
        assert_ne!(part.identity(), Place::file(&path).identity());
    }
}
