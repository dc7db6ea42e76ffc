//! A prior's training that is killed and resumed.

use super::{TINY, prior};
use crate::common::{SMALLEST_PRIOR, kill, lines_of, ok, run, text, train_tiny, wait_until, wgvq};
use std::path::Path;
use std::process::Stdio;

/// Killed while it makes its tokens or trains, and gone on with: the bytes of the prior left alone.
#[test]
fn killed_and_resumed_equals_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let alone = train_tiny(folder.path(), "alone", 6);
    let killed = folder.path().join("killed");
    std::fs::create_dir(&killed).unwrap();
    std::fs::copy(
        alone.join("final.safetensors"),
        killed.join("final.safetensors"),
    )
    .unwrap();
    let steps = ["--steps", "40"];
    ok(prior(&alone, &steps));
    let start = |args: &[&str]| {
        let mut command = wgvq();
        command
            .args(args)
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the program starts")
    };
    let own = killed.join("prior");
    let args: Vec<&str> = ["prior", text(&killed)]
        .into_iter()
        .chain(SMALLEST_PRIOR)
        .chain(TINY)
        .chain(steps)
        .collect();
    // Among its tokens, where the same command begins again.
    let mut child = start(&args);
    wait_until(&mut child, || own.join("run.lock").exists());
    kill(&mut child);
    let begun = own.join("config.toml").exists();
    let mut child = if begun {
        start(&["prior", text(&killed), "--resume"])
    } else {
        start(&args)
    };
    for lines in [1, 3, 5] {
        wait_until(&mut child, || lines_of(&own.join("metrics.csv")) >= lines);
        kill(&mut child);
        child = start(&["prior", text(&killed), "--resume"]);
    }
    kill(&mut child);
    ok(run(&["prior", text(&killed), "--resume", "--quiet"]));
    for file in [
        "final.safetensors",
        "metrics.csv",
        "test.csv",
        "config.toml",
    ] {
        let read = |p: &Path| {
            std::fs::read(p.join("prior").join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
        };
        assert!(read(&alone) == read(&killed), "{file} differs");
    }
}
