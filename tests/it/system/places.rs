//! Places that lack what others have: a home, locks, folders that can be synced, memory.

use super::pictures;
use crate::common::{stderr, tiny_config, wgvq};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Trains the tiny model for a few steps, as `change` has it.
fn train(folder: &Path, change: impl FnOnce(&mut Command)) -> Output {
    let (config, out) = (folder.join("tiny.toml"), folder.join("run"));
    tiny_config(&config, 3);
    let mut command = wgvq();
    command
        .arg("train")
        .arg(&config)
        .arg("--data")
        .arg(pictures(folder))
        .arg("--out")
        .arg(&out);
    change(&mut command);
    command.output().expect("the program starts")
}

#[test]
fn a_home_that_is_none_or_closed_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    // A loop of links cannot be looked into even by root.
    let closed = folder.path().join("closed");
    std::os::unix::fs::symlink(&closed, &closed).unwrap();
    for home in [Path::new("/dev/null"), &closed] {
        let output = wgvq()
            .arg("info")
            .env_remove("WGVQ_TUNING")
            .env_remove("XDG_CACHE_HOME")
            .env("HOME", home)
            .output();
        let output = output.expect("the program starts");
        assert!(
            output.status.success(),
            "{}: {}",
            home.display(),
            stderr(&output)
        );
        let folder = tempfile::tempdir().unwrap();
        let trained = train(folder.path(), |c| {
            c.env_remove("WGVQ_TUNING")
                .env_remove("XDG_CACHE_HOME")
                .env("HOME", home);
        });
        assert!(
            trained.status.success(),
            "{}: {}",
            home.display(),
            stderr(&trained)
        );
    }
    // A folder that was named is another matter.
    let refused = train(folder.path(), |c| {
        c.env("WGVQ_TUNING", &closed);
    });
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("WGVQ_TUNING"),
        "{}",
        stderr(&refused)
    );
}

/// A library for `LD_PRELOAD` in which locks and syncs fail as file systems without them have it.
/// `None` where there is no C compiler.
fn poor_file_system(folder: &Path) -> Option<PathBuf> {
    let (source, library) = (folder.join("poor.c"), folder.join("poor.so"));
    let text = r#"
        #include <errno.h>
        #include <stdlib.h>
        #include <sys/stat.h>
        static int fail(const char *name) { errno = atoi(getenv(name)); return -1; }
        int flock(int fd, int operation) { (void)fd; (void)operation; return fail("POOR_LOCK"); }
        int fdatasync(int fd);
        int fsync(int fd) {
            struct stat about;
            if (fstat(fd, &about) == 0 && S_ISDIR(about.st_mode)) return fail("POOR_SYNC");
            return fdatasync(fd);
        }
    "#;
    std::fs::write(&source, text).unwrap();
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source)
        .output();
    match built {
        Ok(output) => {
            assert!(output.status.success(), "{}", stderr(&output));
            Some(library)
        }
        Err(e) => {
            eprintln!("SKIPPED: no C compiler ({e})");
            None
        }
    }
}

#[test]
fn file_systems_without_locks_or_syncs_of_folders_are_told_of_once() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = poor_file_system(folder.path()) else {
        return;
    };
    for (lock, sync) in [
        (libc::ENOLCK, libc::EINVAL),
        (libc::ENOSYS, libc::ENOSYS),
        (libc::EOPNOTSUPP, libc::ENOTSUP),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = train(folder.path(), |c| {
            c.env("LD_PRELOAD", &library)
                .env("POOR_LOCK", lock.to_string())
                .env("POOR_SYNC", sync.to_string());
        });
        let said = stderr(&output);
        assert!(output.status.success(), "{lock}, {sync}: {said}");
        assert!(folder.path().join("run/final.safetensors").is_file());
        assert_eq!(said.matches("has no locks").count(), 1, "{said}");
        assert_eq!(said.matches("told to sync").count(), 1, "{said}");
    }
    // A disk that fails is no such file system.
    let folder = tempfile::tempdir().unwrap();
    let output = train(folder.path(), |c| {
        c.env("LD_PRELOAD", &library)
            .env("POOR_LOCK", "5")
            .env("POOR_SYNC", "5");
    });
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("cannot be locked"),
        "{}",
        stderr(&output)
    );
}
