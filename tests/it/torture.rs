//! `scripts/torture.sh` in its short form: the program is killed at calls that change files, meets
//! disks that fail, and does all the same what it was to do.
#![cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]

use crate::common::skip;
use std::path::Path;
use std::process::Command;

/// Runs some trials of a part in some scenes, all of which must end well.
fn tortured(test: &str, part: &str, count: usize, scenes: &[&str]) {
    let python = std::env::var("WGVQ_PYTHON").unwrap_or("python3".into());
    let recent = "import sys; assert sys.version_info >= (3, 11)";
    let has_python = Command::new(&python).args(["-c", recent]).output();
    if !has_python.is_ok_and(|output| output.status.success()) {
        return skip::skipped(
            test,
            "no Python 3.11 on this machine; WGVQ_PYTHON names one",
        );
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let driver = root.join("scripts/torture/torture.py");
    if !driver.is_file() {
        return skip::skipped(test, "a package has no scripts/torture");
    }
    let mut command = Command::new(python);
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(driver)
        .args([part, "--program", env!("CARGO_BIN_EXE_wgvq")])
        .args(["--count", &count.to_string(), "--seed", "7"]);
    for scene in scenes {
        command.args(["--only", scene]);
    }
    let output = command.output().expect("Python starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("ptrace is not allowed") {
        return skip::skipped(test, "ptrace is not allowed here");
    }
    assert!(output.status.success(), "{said}{errors}");
    // What it was to try, it tried.
    let tried = |n: usize| said.contains(&format!("{n}/{count} "));
    assert!((1..=count).all(tried), "{said}{errors}");
}

#[test]
fn kills_at_calls_that_change_files_lose_nothing() {
    let test = "torture::kills_at_calls_that_change_files_lose_nothing";
    tortured(test, "kill", 3, &["train average", "decode"]);
}

#[test]
fn disks_that_fail_lose_nothing() {
    let test = "torture::disks_that_fail_lose_nothing";
    tortured(test, "disk", 9, &["decode"]);
}
