//! The messages of commands: help, notes, warnings and errors.

use super::{ok, refused};
use crate::common::{run, stderr, stdout, text, wgvq as program};
use std::path::Path;
use wgvq::config::presets::presets;
use wgvq::quantize;

#[test]
fn options_that_cannot_be_used_are_named() {
    let missing = "/nonexistent/run";
    for (option, value) in [
        ("--temperature", "-1"),
        ("--temperature", "nan"),
        ("--top-k", "0"),
        ("--top-p", "0"),
        ("--min-p", "2"),
        ("--repetition-penalty", "0.5"),
        ("--guidance", "inf"),
        ("--batch", "0"),
    ] {
        let given = format!("{option}={value}");
        for command in [
            ["sample", missing].as_slice(),
            &["complete", missing, "a.png"],
        ] {
            refused(
                &[command, &[&given]].concat(),
                &[&format!("option `{option}`")],
            );
        }
        refused(
            &["text2image", "sample", missing, "a heart", &given],
            &[&format!("option `{option}`")],
        );
    }
    refused(
        &["sample", missing, "--temperature", "-1"],
        &["option `--temperature`", "-1 is not allowed"],
    );
    refused(&["bench", "--seconds", "-1"], &["option `--seconds`"]);
    refused(
        &["bench", "--kernel", "matmul", "--size", "x"],
        &["option `--size`"],
    );
}

#[test]
fn what_a_choice_does_not_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    refused(
        &[
            "train",
            "--quantizer",
            "fsq",
            "--codes",
            "64",
            "--out",
            text(&out),
        ],
        &["option `--codes`", "quantizer.levels"],
    );
    refused(
        &["plan", "--quantizer", "fsq", "--codes", "64"],
        &["option `--codes`", "quantizer.levels"],
    );
    refused(
        &[
            "train",
            "--model",
            "vqvae2",
            "--set",
            "model.codebook_sizes=8,8",
            "--codes",
            "64",
            "--out",
            text(&out),
        ],
        &["option `--codes`", "model.codebook_sizes"],
    );
    assert!(!out.exists());
    // A key is told of; what is set to what it was anyway is no mistake.
    let config = folder.path().join("tiny.toml");
    crate::common::tiny_config(&config, 1);
    let said = stderr(&ok(&[
        "plan",
        text(&config),
        "--set",
        "quantizer.groups=2",
        "--set",
        "model.dim=64",
        "--set",
        "quantizer.num_quantizers=4",
    ]));
    assert!(
        said.contains("quantizer.groups changes nothing") && said.contains("`product`"),
        "{said}"
    );
    assert!(
        said.contains("model.dim changes nothing") && said.contains("model.hidden"),
        "{said}"
    );
    assert!(!said.contains("num_quantizers changes"), "{said}");
}

#[test]
fn help_lists_what_there_is() {
    let help = stdout(&ok(&["train", "--help"]));
    for name in ["vqvae", "vqvae2", "vqgan", "vit"]
        .into_iter()
        .chain(quantize::all().iter().map(|k| k.name))
    {
        assert!(help.contains(name), "{name}");
    }
    for preset in presets() {
        for command in ["train", "plan", "compare"] {
            assert!(
                stdout(&ok(&[command, "--help"])).contains(preset.name),
                "{command}, {}",
                preset.name
            );
        }
    }
    refused_words(&["train", "--quantizer", "emma"], &["ema", "simvq"]);
    refused_words(&["train", "--preset", "emoji"], &["emoji32", "photo128"]);
}

fn refused_words(args: &[&str], words: &[&str]) {
    let output = run(args);
    assert_eq!(output.status.code(), Some(2));
    words
        .iter()
        .for_each(|word| assert!(stderr(&output).contains(word), "{}", stderr(&output)));
}

/// Notes may hold a file's name or a text, which may hold anything.
#[test]
fn notes_and_errors_have_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("two\nlines.toml");
    std::fs::write(&odd, "[train]\nsteps = = 1\n").unwrap();
    for args in [
        vec!["train", text(&odd)],
        vec!["train", "--set", "train.steps=two\nlines"],
        vec!["train", "--set", "two\nlines=3"],
        vec!["train", "--data", "two\nlines"],
    ] {
        let out = folder.path().join("out");
        let output = run(&[&args[..], &["--out", text(&out)]].concat());
        assert!(!output.status.success());
        assert_eq!(
            stderr(&output).lines().count(),
            1,
            "{args:?}: {}",
            stderr(&output)
        );
    }
}

/// The library's warnings too, and whatever a driver or a file system calls its things.
#[cfg(unix)]
#[test]
fn a_warning_has_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let caches = folder.path().join("two\nlines");
    std::fs::create_dir(&caches).unwrap();
    // A folder that leads to itself cannot be looked into.
    std::os::unix::fs::symlink("wgvq", caches.join("wgvq")).unwrap();
    let mut command = program();
    command.arg("info").env_remove("WGVQ_TUNING");
    let said = stderr(&command.env("XDG_CACHE_HOME", &caches).output().unwrap());
    assert!(said.contains("two lines/wgvq"), "{said}");
    assert!(said.contains("the default one is used"), "{said}");
    let notes = said.matches("note:").count();
    assert_eq!(said.lines().count(), notes, "{said}");
}

/// Messages go through one function, which makes each one line.
#[test]
fn one_file_writes_to_standard_error() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut writers = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            let calls = [
                "io::stderr()",
                "stderr_with_hz",
                "eprint!",
                "eprintln!",
                "dbg!",
            ];
            let calls = calls.map(|call| code.matches(call).count());
            if calls.iter().sum::<usize>() > 0 {
                writers.push((path, calls));
            }
        }
    }
    // The dashboard has the whole terminal, and gives it back.
    writers.retain(|(file, _)| !file.ends_with("cli/common/dashboard/screen.rs"));
    let [(file, calls)] = &writers[..] else {
        panic!("{writers:?}");
    };
    assert!(file.ends_with("cli/common/output.rs"), "{file:?}");
    // One writes lines, one breaks them behind an echo, one asks whether somebody is there to see
    // colours or a bar, which draws itself.
    assert_eq!(calls, &[3, 1, 0, 0, 0]);
}
