//! Places of an image's bytes: a file of its own, or one of many in a tar archive, from which they
//! are read in place.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Error;

/// A file, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    path: Arc<Path>,
    part: Option<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    /// Name in the archive.
    name: Arc<str>,
    at: u64,
    bytes: u64,
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
            part: Some(Part {
                name: name.into(),
                at,
                bytes,
            }),
        }
    }

    /// Returns its name for errors.
    pub(crate) fn named(&self) -> PathBuf {
        self.part.as_ref().map_or_else(
            || self.path.to_path_buf(),
            |part| self.path.join(&*part.name),
        )
    }

    pub(crate) fn error(&self, what: impl std::fmt::Display) -> Error {
        Error::file(self.named(), what)
    }

    /// Returns bytes that tell it from other places.
    pub(crate) fn identity(&self) -> Vec<u8> {
        let whole = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.to_path_buf());
        let mut out = whole.as_os_str().as_encoded_bytes().to_vec();
        if let Some(part) = &self.part {
            out.push(0);
            out.extend(part.name.as_bytes());
            out.extend(part.at.to_le_bytes());
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
            Some(part) if part.at + part.bytes <= about.len() => Ok((part.bytes, changed)),
            Some(_) => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "its archive has become shorter",
            )),
        }
    }

    pub(crate) fn is_file(&self) -> io::Result<bool> {
        fs::metadata(&self.path).map(|about| about.is_file())
    }

    /// Returns a reader of its bytes and no others.
    pub(crate) fn open(&self) -> io::Result<FileSection> {
        let mut file = File::open(&self.path)?;
        let (from, bytes) = match &self.part {
            Some(part) => (part.at, part.bytes),
            None => (0, file.metadata()?.len()),
        };
        file.seek(SeekFrom::Start(from))?;
        Ok(FileSection {
            file,
            from,
            bytes,
            at: 0,
        })
    }

    /// Its bytes, if they are no more than `most`.
    pub(crate) fn read(&self, most: u64) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        self.open()?.take(most + 1).read_to_end(&mut bytes)?;
        Ok((bytes.len() as u64 <= most).then_some(bytes))
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
