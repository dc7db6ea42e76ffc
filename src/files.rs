//! Files that are read whole: ordinary ones, of a size that can be meant.

use crate::text::decode_text;
use crate::{Error, Result};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Configurations and tables.
pub const TEXT: u64 = 1 << 20;
/// Lists of captions, prompts and figures, which grow with a set or a run.
pub const LIST: u64 = 1 << 30;
/// Models and codes.
pub const MODEL: u64 = 64 << 30;

fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |e| Error::file(path, format!("cannot be read: {e}"))
}

/// Opens an ordinary file. A pipe would wait for whoever writes to it, and a device may have no
/// end.
///
/// # Errors
/// If it is something else, or cannot be opened.
pub fn open(path: &Path) -> Result<File> {
    // Before it is opened: opening a pipe waits.
    if !std::fs::metadata(path).map_err(unreadable(path))?.is_file() {
        let what = "is no ordinary file; a folder, a pipe or a device cannot be read here: write \
                    what it gives to a file";
        return Err(Error::file(path, what));
    }
    File::open(path).map_err(unreadable(path))
}

/// Returns the bytes of an ordinary file of at most `most` bytes.
///
/// # Errors
/// If it is something else, is larger, or cannot be read.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let file = open(path)?;
    let size = file.metadata().map_err(unreadable(path))?.len();
    let large = |size: String| {
        Error::file(
            path,
            format!("has {size} bytes; at most {most} are read of such a file"),
        )
    };
    if size > most {
        return Err(large(size.to_string()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    // It may grow meanwhile.
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable(path))?;
    if bytes.len() as u64 > most {
        Err(large(format!("more than {most}")))
    } else {
        Ok(bytes)
    }
}

/// Reads a file of text, decoded as [`decode_text`] does.
///
/// # Errors
/// As [`read`], and if it is no text.
pub fn read_text(path: &Path, most: u64) -> Result<String> {
    decode_text(&read(path, most)?).map_err(|what| Error::file(path, what))
}

/// Returns a builder of files that are gone unless they are persisted, of an ordinary file's mode,
/// less the umask: a temporary file's own would be readable by its owner alone.
pub(crate) fn scratch<'a>(prefix: &'a str, suffix: &'a str) -> tempfile::Builder<'a, 'a> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix).suffix(suffix);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_files_of_their_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, "zwölf Byte").unwrap();
        assert_eq!(read(&path, 11).unwrap(), "zwölf Byte".as_bytes());
        assert_eq!(read_text(&path, TEXT).unwrap(), "zwölf Byte");
        let refused = |path: &Path, most, words: &[&str]| {
            let said = read(path, most).unwrap_err().to_string();
            assert!(words.iter().all(|w| said.contains(w)), "{said}");
        };
        refused(&path, 10, &["a.txt", "11 bytes", "at most 10"]);
        refused(folder.path(), TEXT, &["no ordinary file"]);
        refused(
            &folder.path().join("none"),
            TEXT,
            &["none", "cannot be read"],
        );
        std::fs::write(&path, [b'a', 0xff]).unwrap();
        assert!(
            read_text(&path, TEXT)
                .unwrap_err()
                .to_string()
                .contains("from byte 1 on")
        );
    }

    #[cfg(unix)]
    #[test]
    fn pipes_and_devices_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap();
        assert!(made.success());
        for path in [&pipe, Path::new("/dev/zero")] {
            let said = read(path, MODEL).unwrap_err().to_string();
            assert!(
                said.contains("no ordinary file") && said.contains(&*path.to_string_lossy()),
                "{said}"
            );
        }
    }
}
