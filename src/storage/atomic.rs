//! Files that are there whole or not at all: written beside, synced, renamed, the folder synced.

use crate::storage::file_system;
use crate::{Error, Result, files};
use std::io::Write;
use std::path::Path;

const PREFIX: &str = ".wgvq-";
const SUFFIX: &str = ".tmp";

/// Writes `bytes` to `path`. Whatever happens on the way, a file that was there before is either
/// still there as it was, or replaced whole.
///
/// # Errors
/// If the folder cannot be written or the disk is full; the message names the file and the cause.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |file| {
        file.write_all(bytes).map_err(|e| failed(path, &e))
    })
}

/// [`write()`] of what `content` writes to the file. Where that fails, a file that was there before
/// is as it was.
///
/// # Errors
/// As [`write()`], and what `content` returns.
pub(crate) fn write_with<T>(
    path: &Path,
    content: impl FnOnce(&mut std::fs::File) -> Result<T>,
) -> Result<T> {
    let failed = |e: std::io::Error| failed(path, &e);
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let mut file = files::scratch(PREFIX, SUFFIX)
        .tempfile_in(folder)
        .map_err(failed)?;
    let result = content(file.as_file_mut())?;
    file_system::sync(file.as_file(), path).map_err(failed)?;
    file.persist(path).map_err(|e| failed(e.error))?;
    file_system::sync_folder(folder).map_err(|e| {
        Error::file(
            path,
            format!("was written, but may not outlast a loss of power: {e}"),
        )
    })?;
    Ok(result)
}

/// The error of a file that could not be written.
pub(crate) fn failed(path: &Path, cause: &std::io::Error) -> Error {
    Error::file(
        path,
        format!("could not be written ({cause}); what was there before is as it was"),
    )
}

/// Makes what was written to `file`, open at `path`, outlast a loss of power, where the file system
/// can.
///
/// # Errors
/// If the disk refuses.
pub fn sync(file: &std::fs::File, path: &Path) -> Result<()> {
    file_system::sync(file, path)
        .map_err(|e| Error::file(path, format!("could not be written: {e}")))
}

/// Checks that files can be written to a folder, which may not be there yet. Nothing is left of the
/// attempt.
///
/// # Errors
/// If not; the message names what stands in the way.
pub fn may_write_below(folder: &Path) -> Result<()> {
    let there = folder
        .ancestors()
        .find(|f| f.as_os_str().is_empty() || f.symlink_metadata().is_ok());
    let there = there
        .filter(|f| !f.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if !there.is_dir() {
        return Err(Error::file(
            there,
            "is a file, and a folder is to be made there; name another",
        ));
    }
    // Of what is not there yet, the first that is made tells of the rest.
    let cannot = |e: std::io::Error| Error::file(folder, format!("cannot be written: {e}"));
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    if there == folder {
        builder.tempfile_in(there).map(drop)
    } else {
        builder.tempdir_in(there).map(drop)
    }
    .map_err(cannot)
}

/// Whether this is the name of a file that [`write()`] had begun.
pub(crate) fn is_scratch(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o400, 0o400);
            assert_ne!(
                mode & 0o777,
                0o600,
                "an ordinary file, not a temporary one's mode (umask permitting)"
            );
        }
    }

    #[test]
    fn a_failure_names_the_file_and_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("nowhere").join("a.txt");
        assert!(
            write(&missing, b"x")
                .unwrap_err()
                .to_string()
                .contains("a.txt")
        );
        // A folder stands where the file should go: the rename fails.
        let blocked = folder.path().join("b");
        std::fs::create_dir_all(blocked.join("inside")).unwrap();
        assert!(write(&blocked, b"x").is_err());
        assert!(blocked.join("inside").is_dir());
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "the scratch file is gone"
        );
    }
}
