//! A run that is stopped at any moment and resumed ends with the bytes of the run left alone.

use crate::common::{kill, lines_of, run, stderr, tiny_config, train_tiny, wait_until, wgvq};
use std::path::Path;
use std::process::{Child, Stdio};

const STEPS: u64 = 30;

fn same(a: &Path, b: &Path, file: &str) {
    let read = |p: &Path| {
        std::fs::read(p.join(file)).unwrap_or_else(|e| panic!("{}: {e}", p.join(file).display()))
    };
    assert!(
        read(a) == read(b),
        "{file} differs between {} and {}",
        a.display(),
        b.display()
    );
}

fn start(folder: &Path, name: &str) -> (Child, std::path::PathBuf) {
    let (config, out) = (folder.join("tiny.toml"), folder.join(name));
    tiny_config(&config, STEPS);
    let child = wgvq()
        .args([
            "train",
            config.to_str().unwrap(),
            "--out",
            out.to_str().unwrap(),
        ])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts");
    (child, out)
}

#[test]
fn killed_and_resumed_equals_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let alone = train_tiny(folder.path(), "alone", STEPS);
    // Moments spread over the run, as lines of its metrics; a fresh run each, killed over and over
    // until it ends.
    for (round, lines) in [[1usize, 4, 8], [2, 5, 10]].iter().enumerate() {
        let (mut child, out) = start(folder.path(), &format!("killed-{round}"));
        for (i, lines) in lines.iter().enumerate() {
            wait_until(&mut child, || lines_of(&out.join("metrics.csv")) >= *lines);
            kill(&mut child);
            assert!(
                i > 0 || !out.join("final.safetensors").exists(),
                "the first kill came after the end"
            );
            child = wgvq()
                .args(["train", "--resume", out.to_str().unwrap(), "--quiet"])
                .stderr(Stdio::null())
                .spawn()
                .expect("the program starts");
        }
        kill(&mut child);
        let last = run(&["train", "--resume", out.to_str().unwrap(), "--quiet"]);
        assert!(last.status.success(), "{}", stderr(&last));
        for file in [
            "final.safetensors",
            "metrics.csv",
            "test.csv",
            "config.toml",
        ] {
            same(&alone, &out, file);
        }
    }
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_used() {
    let folder = tempfile::tempdir().unwrap();
    let alone = train_tiny(folder.path(), "alone", STEPS);
    let out = train_tiny(folder.path(), "damaged", STEPS);
    let newest = out.join("checkpoints/step-00000030.safetensors");
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&newest, bytes).unwrap();
    std::fs::remove_file(out.join("final.safetensors")).unwrap();
    let output = run(&["train", "--resume", out.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("step-00000030.safetensors"),
        "{}",
        stderr(&output)
    );
    same(&alone, &out, "final.safetensors");
}

#[test]
fn a_run_goes_on_for_more_steps_and_under_no_other_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let long = train_tiny(folder.path(), "long", 16);
    let out = train_tiny(folder.path(), "short", 8);
    let text = out.to_str().unwrap();
    let changed = run(&["train", "--resume", text, "--steps", "16", "--lr", "0.1"]);
    assert_eq!(changed.status.code(), Some(2), "{}", stderr(&changed));
    let longer = run(&["train", "--resume", text, "--steps", "16", "--quiet"]);
    assert!(longer.status.success(), "{}", stderr(&longer));
    same(&long, &out, "final.safetensors");
    // The same again changes nothing, and adds no row.
    let again = run(&["train", "--resume", text, "--quiet"]);
    assert!(again.status.success(), "{}", stderr(&again));
    same(&long, &out, "test.csv");
    let config = out.join("config.toml");
    let edited = std::fs::read_to_string(&config)
        .unwrap()
        .replace("decay = 0.99", "decay = 0.5");
    std::fs::write(&config, edited).unwrap();
    let refused = run(&["train", "--resume", text]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("config.toml"),
        "{}",
        stderr(&refused)
    );
}

#[cfg(unix)]
#[test]
fn ctrl_c_finishes_the_step_saves_and_says_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("tiny.toml");
    tiny_config(&config, 100_000);
    let out = folder.path().join("run");
    let mut child = wgvq()
        .args([
            "train",
            config.to_str().unwrap(),
            "--out",
            out.to_str().unwrap(),
        ])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    wait_until(&mut child, || {
        out.join("checkpoints/step-00000004.json").exists()
    });
    let pid = child.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .expect("kill")
            .success()
    );
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("wgvq train --resume"), "{said}");
    assert!(!out.join("final.safetensors").exists());
}
