//! `--tui`, in a terminal that `script` of util-linux makes, and where there is none.

use crate::common::{environment, ok, run, skip, stderr, text, tiny_config, wgvq};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

/// Runs wgvq in a terminal with these keys typed once the run has begun; `None` without `script`.
fn in_terminal(args: &[&str], keys: &[u8], begun: &Path) -> Option<Output> {
    if !Command::new("script")
        .arg("--version")
        .output()
        .is_ok_and(|o| o.status.success())
    {
        skip::skipped("dashboard", "the program script of util-linux is missing");
        return None;
    }
    let program = wgvq().get_program().to_str().unwrap().to_owned();
    let words: Vec<&str> = std::iter::once(&*program)
        .chain(args.iter().copied())
        .collect();
    let line = shlex::try_join(words).unwrap();
    // A terminal that `script` makes has the size of its own, which is none here.
    let line = format!("stty rows 40 cols 120; {line}");
    let mut command = Command::new("script");
    environment(&mut command).args(["-qec", &line, "/dev/null"]);
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // The end of the input would end the session.
    let output = std::thread::scope(|scope| {
        let keys = scope.spawn(move || {
            for _ in 0..600 {
                if begun.exists() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            let _ = input.write_all(keys).and_then(|()| input.flush());
            input
        });
        let output = child.wait_with_output().unwrap();
        drop(keys.join());
        output
    });
    Some(output)
}

#[test]
fn a_run_in_the_terminal_leaves_the_same_bytes_and_gives_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let (config, plain, shown) = (
        folder.path().join("tiny.toml"),
        folder.path().join("plain"),
        folder.path().join("shown"),
    );
    tiny_config(&config, 12);
    // Without a terminal the option says so, and no more.
    let lines = ok(run(&[
        "train",
        text(&config),
        "--out",
        text(&plain),
        "--tui",
    ]));
    let said = stderr(&lines);
    assert!(
        said.contains("--tui: there is no terminal") && !said.contains(ENTER),
        "{said}"
    );
    let args = ["train", text(&config), "--out", text(&shown), "--tui"];
    let begun = shown.join("metrics.csv");
    let Some(output) = in_terminal(&args, b"\x1b[Cp \x1b[D", &begun) else {
        return;
    };
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{seen}");
    let (before, rest) = seen.split_once(ENTER).expect("it takes the terminal");
    let (screen, after) = rest.rsplit_once(LEAVE).expect("it gives the terminal back");
    assert!(before.contains("images to train on"), "{before}");
    assert!(
        screen.contains("save and stop") && screen.contains("device memory"),
        "{screen}"
    );
    assert!(
        after.contains("step 8: ") && after.contains("model: "),
        "{after}"
    );
    for file in ["final.safetensors", "metrics.csv", "test.csv"] {
        let bytes = |run: &Path| std::fs::read(run.join(file)).unwrap();
        assert!(bytes(&plain) == bytes(&shown), "{file} differs");
    }
}

#[test]
fn q_saves_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = (folder.path().join("tiny.toml"), folder.path().join("run"));
    tiny_config(&config, 1_000_000);
    let args = ["train", text(&config), "--out", text(&out), "--tui"];
    let checkpoints = out.join("checkpoints");
    let Some(output) = in_terminal(&args, b"q", &checkpoints) else {
        return;
    };
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(130), "{seen}");
    let (_, after) = seen.rsplit_once(LEAVE).expect("it gives the terminal back");
    assert!(after.contains("stopped and saved at step"), "{after}");
    let saved = std::fs::read_dir(&checkpoints).unwrap().count();
    assert!(saved >= 2, "a checkpoint and its manifest");
}
