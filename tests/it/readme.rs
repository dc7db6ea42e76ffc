//! The README's commands work: each line of its shell blocks is run, from the top, in a folder of
//! its own.
//!
//! Three rules make that short. A command that trains takes one step, of 4 images where it can be
//! told so, whatever its `--steps` say, and one that draws makes 4 images. `cargo` is this test's:
//! it builds, installs and tests nothing, and its `run` runs the program that was built for the
//! tests. What has run once in the same words, as a script's demo and the demo itself, is not run
//! again. Everything else is as a reader types it; `~/pictures` holds twenty images.

use crate::common::{run, stderr};
#[cfg(target_os = "linux")]
use std::path::{Path, PathBuf};

const README: &str = include_str!("../../README.md");

/// The lines of the README's shell blocks.
#[cfg(target_os = "linux")]
fn commands() -> Vec<&'static str> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in README.lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if inside && !line.trim().is_empty() {
            lines.push(line);
        }
    }
    lines
}

/// Commands inside of sentences: code spans that begin with the program's name.
fn spans() -> Vec<&'static str> {
    let spans = README.split('`').skip(1).step_by(2);
    let commands = spans.filter(|s| s.starts_with("wgvq ") && !s.starts_with("wgvq ="));
    commands.collect()
}

#[test]
fn commands_in_sentences_parse() {
    let mut seen = 0;
    for span in spans() {
        let words = shlex::split(span).expect("what a shell reads");
        // `--help` at the end prints and leaves, once everything before it was understood.
        let args: Vec<&str> = words[1..]
            .iter()
            .map(String::as_str)
            .chain(["--help"])
            .collect();
        let output = run(&args);
        assert_eq!(output.status.code(), Some(0), "{span}\n{}", stderr(&output));
        seen += 1;
    }
    assert!(
        seen >= 4,
        "only {seen} commands were found in the README's sentences"
    );
    let wrong = run(&["train", "--presett", "emoji32", "--help"]);
    assert_eq!(
        wrong.status.code(),
        Some(2),
        "a flag that does not exist passes"
    );
}

/// A folder as a reader's, in which the README's commands are typed.
#[cfg(target_os = "linux")]
struct Reader {
    root: tempfile::TempDir,
}

#[cfg(target_os = "linux")]
impl Reader {
    fn new() -> Self {
        use std::os::unix::fs::symlink;
        let reader = Reader {
            root: tempfile::tempdir().unwrap(),
        };
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        for folder in ["bin", "clone", "home/pictures"] {
            std::fs::create_dir_all(reader.path(folder)).unwrap();
        }
        for name in ["Cargo.toml", "scripts"] {
            symlink(repository.join(name), reader.path("clone").join(name)).unwrap();
        }
        std::fs::write(reader.path("home/run"), "").unwrap();
        for i in 0..20u8 {
            let image = image::RgbImage::from_fn(80, 70, |x, y| {
                image::Rgb([x as u8 * 3, y as u8 * 3, i * 12])
            });
            image
                .save(reader.path(&format!("home/pictures/{i}.png")))
                .unwrap();
        }
        reader.tool("cargo", CARGO);
        reader.tool("wgvq", &WGVQ.replace("PROGRAM", env!("CARGO_BIN_EXE_wgvq")));
        reader
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn tool(&self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let file = self.path("bin").join(name);
        std::fs::write(&file, script).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Types a line, and returns what was answered if it failed.
    fn types(&self, line: &str) -> Result<(), String> {
        let path = std::env::var("PATH").unwrap_or_default();
        let output = crate::common::environment(&mut std::process::Command::new("bash"))
            .args(["-c", line])
            .current_dir(self.path("clone"))
            .env("HOME", self.path("home"))
            .env("WGVQ_DATA", self.path("data"))
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env_remove("WGVQ_SKIPPED")
            .output()
            .map_err(|e| e.to_string())?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("{}\n{}", output.status, stderr(&output))),
        }
    }
}

#[cfg(target_os = "linux")]
const CARGO: &str = r#"#!/usr/bin/env bash
set -eu
case $1 in
    --version) echo 'cargo 1.999.0 (0000000 2030-01-01)' ;;
    build | test | nextest | install) ;;
    run)
        while [ "$1" != -- ]; do shift; done
        shift
        exec wgvq "$@"
        ;;
    *) echo "cargo $1: not expected here" >&2; exit 1 ;;
esac
"#;

#[cfg(target_os = "linux")]
const WGVQ: &str = r#"#!/usr/bin/env bash
set -eu
args=()
while [ $# -gt 0 ]; do
    case $1 in
        --steps | --prior-steps | --batch | --n) shift ;;
        *) args+=("$1") ;;
    esac
    shift
done
case ${args[0]} in
    demo) args+=(--steps 1 --prior-steps 1) ;;
    train | prior) args+=(--steps 1 --batch 4) ;;
    compare) args+=(--steps 1) ;;
    sample) args+=(--n 4) ;;
esac
if grep -qxF -- "${args[*]}" "$HOME/run"; then exit 0; fi
'PROGRAM' "${args[@]}"
echo "${args[*]}" >>"$HOME/run"
"#;

#[test]
#[cfg(target_os = "linux")]
fn every_command_runs() {
    let reader = Reader::new();
    let commands = commands();
    assert!(commands.len() >= 5, "{commands:?}");
    for line in commands {
        let done = reader.types(line);
        assert!(done.is_ok(), "{line}\n{}", done.unwrap_err());
    }
    for made in [
        "runs/demo/pictures/summary.png",
        "runs/demo/prior/final.safetensors",
        "runs/mine/final.safetensors",
    ] {
        assert!(reader.path("clone").join(made).is_file(), "{made}");
    }
    for wrong in [
        "wgvq train --presett emoji32",
        "cargo frobnicate",
        "scripts/none.sh",
    ] {
        assert!(reader.types(wrong).is_err(), "{wrong} passes");
    }
}

#[test]
fn few_commands_stand_before_the_first_result() {
    let first = README.find("## Results").expect("the heading");
    let before = README[..first].lines();
    let commands = before.filter(|l| {
        ["wgvq ", "scripts/", "cargo "]
            .iter()
            .any(|p| l.starts_with(p))
    });
    assert!(commands.count() <= 6);
}
