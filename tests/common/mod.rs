//! What the tests of the command line share.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::Path;
use std::process::{Command, Output};

/// The program, without the caller's environment getting in its way.
pub fn wgvq() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wgvq"));
    command.env_remove("WGVQ_ADAPTER").env_remove("WGVQ_CORE").env("XDG_RUNTIME_DIR", std::env::temp_dir());
    // A table that this machine was tuned with is not under test.
    command.env("WGVQ_TUNING", std::env::temp_dir().join("wgvq-without-tuning"));
    command
}

/// Runs it to its end.
pub fn run(args: &[&str]) -> Output {
    wgvq().args(args).output().expect("the program starts")
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A model so small that a step takes milliseconds.
pub fn tiny_config(path: &Path, steps: u64) {
    let text = format!(
        "[model]\nhidden = 16\nresidual_layers = 1\nresidual_hidden = 8\n\
         [quantizer]\ncodebook_size = 32\ncodebook_dim = 8\nkmeans_iters = 3\n\
         [train]\nsteps = {steps}\nbatch_size = 4\nlog_every = 3\neval_every = 8\ncheckpoint_every = 4\n"
    );
    std::fs::write(path, text).expect("a temporary file");
}

/// Trains the tiny model into `out`.
pub fn train_tiny(folder: &Path, name: &str, steps: u64) -> std::path::PathBuf {
    let (config, out) = (folder.join("tiny.toml"), folder.join(name));
    tiny_config(&config, steps);
    let output = run(&["train", config.to_str().unwrap(), "--out", out.to_str().unwrap(), "--quiet"]);
    assert!(output.status.success(), "{}", stderr(&output));
    out
}
