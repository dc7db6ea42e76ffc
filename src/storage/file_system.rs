//! Locks and syncs, which some file systems do not have: NFS without its lock daemon, FUSE, the
//! shared folders of virtual machines. Work goes on without them there, and says so once.

use crate::{Error, Result};
use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Takes the lock that lies at `file`, open at `path`, for as long as it is open. Returns whether
/// it is ours: `false` where another process holds it. Where the file system has no locks it is
/// anybody's, and a warning says so.
///
/// # Errors
/// If the lock fails otherwise.
pub(crate) fn try_lock(file: &File, path: &Path) -> Result<bool> {
    static TOLD: AtomicBool = AtomicBool::new(false);
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) if is_missing(&e) => {
            let what = "this file system has no locks, so nothing keeps two programs from writing \
                        here at once";
            warn_once(&TOLD, path, what, &e);
            Ok(true)
        }
        Err(TryLockError::Error(e)) => Err(Error::file(path, format!("cannot be locked: {e}"))),
    }
}

/// Makes what was written to `file`, open at `path`, outlast a loss of power, where the file system
/// can.
///
/// # Errors
/// If the disk refuses.
pub(crate) fn sync(file: &File, path: &Path) -> io::Result<()> {
    passing_over(file.sync_all(), path)
}

/// Makes a rename in `folder` outlast a loss of power, where the platform and the file system can.
///
/// # Errors
/// If the disk refuses.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    match File::open(folder) {
        Ok(open) => passing_over(open.sync_all(), folder),
        // A folder may be written and not be read.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            passing_over(Err(unsupported()), folder)
        }
        Err(e) => passing_over(Err(e), folder),
    }
}

/// A sync that the file system does not have is warned of, once.
fn passing_over(synced: io::Result<()>, path: &Path) -> io::Result<()> {
    static TOLD: AtomicBool = AtomicBool::new(false);
    match synced {
        Err(e) if is_missing(&e) => {
            let what = "this file system cannot be told to sync, so what is saved may not outlast \
                        a loss of power";
            warn_once(&TOLD, path, what, &e);
            Ok(())
        }
        other => other,
    }
}

fn warn_once(told: &AtomicBool, path: &Path, what: &str, error: &io::Error) {
    if !told.swap(true, Ordering::Relaxed) {
        tracing::warn!("note: {}: {what} ({error})", path.display());
    }
}

fn unsupported() -> io::Error {
    io::ErrorKind::Unsupported.into()
}

/// Whether the error says that the file system lacks the operation, rather than that the operation
/// failed.
fn is_missing(error: &io::Error) -> bool {
    if error.kind() == io::ErrorKind::Unsupported {
        return true;
    }
    #[cfg(unix)]
    {
        // What file systems say differs: ENOLCK is NFS's, EINVAL that of 9p, vboxsf and drvfs,
        // EBADF and EISDIR that of some FUSE.
        let missing = [
            libc::ENOLCK,
            libc::ENOSYS,
            libc::ENOTSUP,
            libc::EOPNOTSUPP,
            libc::EINVAL,
            libc::EBADF,
            libc::EISDIR,
        ];
        error
            .raw_os_error()
            .is_some_and(|code| missing.contains(&code))
    }
    #[cfg(not(unix))]
    false
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_system_lacks_is_told_from_what_fails() {
        let of = io::Error::from_raw_os_error;
        for code in [
            libc::ENOLCK,
            libc::EINVAL,
            libc::ENOTSUP,
            libc::EOPNOTSUPP,
            libc::ENOSYS,
            libc::EBADF,
        ] {
            assert!(is_missing(&of(code)), "{}", of(code));
            passing_over(Err(of(code)), Path::new("x")).unwrap();
        }
        for code in [libc::EIO, libc::ENOSPC, libc::EDQUOT, libc::EROFS] {
            assert!(
                passing_over(Err(of(code)), Path::new("x")).is_err(),
                "{}",
                of(code)
            );
        }
    }
}
