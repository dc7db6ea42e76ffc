//! Whatever replaces is whole first; what can be known is checked before anything is done.

mod pictures;
mod places;
mod texts;

use crate::common::{
    SMALLEST_PRIOR, kill, ok, refused, run, text, tiny_config_over, wait_until, wgvq,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};

/// Every file below a folder, with what it holds.
fn all(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut open) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.clone(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Files that should not be touched are as they were, and no others are there.
fn unchanged(folder: &Path, before: &BTreeMap<PathBuf, Vec<u8>>) {
    let now = all(folder);
    assert_eq!(
        now.keys().collect::<Vec<_>>(),
        before.keys().collect::<Vec<_>>()
    );
    before
        .iter()
        .for_each(|(path, bytes)| assert!(now[path] == *bytes, "{} is another", path.display()));
}

/// A model so small, on so few pictures, that a step takes milliseconds.
fn tiny(folder: &Path, steps: u64) -> PathBuf {
    let pictures = folder.join("tiny-pictures");
    if !pictures.exists() {
        paint(&pictures, 3);
    }
    let config = folder.join("tiny.toml");
    tiny_config_over(&config, steps, &pictures, "width = 16\nheight = 16\n");
    config
}

/// Thirty pictures of 16 x 16.
fn paint(folder: &Path, factor: u8) {
    std::fs::create_dir(folder).unwrap();
    for i in 0..30u8 {
        let at = |x: u32, y: u32| image::Rgb([x as u8 * factor, y as u8 * 5, 8 * i]);
        image::RgbImage::from_fn(16, 16, at)
            .save(folder.join(format!("{i}.png")))
            .unwrap();
    }
}

fn train_tiny(folder: &Path, name: &str, steps: u64) -> PathBuf {
    let (config, out) = (tiny(folder, steps), folder.join(name));
    ok(run(&[
        "train",
        text(&config),
        "--out",
        text(&out),
        "--quiet",
    ]));
    out
}

/// Kills a program once it has made a file.
fn kill_once_there(child: &mut Child, file: &Path) {
    wait_until(child, || file.exists());
    assert!(file.exists(), "{} never came", file.display());
    kill(child);
}

fn start(args: &[&str]) -> Child {
    let mut command = wgvq();
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().expect("the program starts")
}

const TINY_PRIOR: [&str; 4] = ["--batch", "8", "--steps", "4"];

fn prior(run_path: &Path, more: &[&str]) -> Output {
    run(&["prior", text(run_path), "--quiet"]
        .into_iter()
        .chain(SMALLEST_PRIOR)
        .chain(TINY_PRIOR)
        .chain(more.iter().copied())
        .collect::<Vec<_>>())
}

/// A run stays where the one that is to replace it cannot be trained, or comes to nothing.
#[test]
fn a_run_stays_until_its_successor_can_run() {
    let folder = tempfile::tempdir().unwrap();
    let out = train_tiny(folder.path(), "run", 4);
    let before = all(&out);
    let config = folder.path().join("tiny.toml");
    for (more, named) in [
        (
            &["--codes", "16777216", "--set", "quantizer.codebook_dim=256"][..],
            "bytes",
        ),
        (&["--batch", "65536"], "bytes"),
        // Trains, and not far.
        (
            &[
                "--lr",
                "10",
                "--set",
                "train.checkpoint_every=4000",
                "--steps",
                "4000",
            ],
            "diverged",
        ),
    ] {
        let args = ["train", text(&config), "--out", text(&out), "--overwrite"];
        refused(
            run(&args.iter().chain(more).copied().collect::<Vec<_>>()),
            &[named],
        );
        unchanged(&out, &before);
    }
}

/// Killed while it trains what is to replace a run: that run is there, and can be gone on with or
/// replaced.
#[test]
fn a_run_outlives_a_successor_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let out = train_tiny(folder.path(), "run", 4);
    let before = all(&out);
    let config = tiny(folder.path(), 100_000);
    let endless = [
        "train",
        text(&config),
        "--out",
        text(&out),
        "--overwrite",
        "--set",
        "train.checkpoint_every=99999",
    ];
    for _ in 0..2 {
        let mut child = start(&endless);
        kill_once_there(&mut child, &out.join(".wgvq-run-next/metrics.csv"));
        assert!(
            before
                .iter()
                .all(|(path, bytes)| std::fs::read(path).unwrap() == *bytes)
        );
    }
    ok(run(&["train", "--resume", text(&out), "--quiet"]));
    assert!(
        before[&out.join("final.safetensors")]
            == std::fs::read(out.join("final.safetensors")).unwrap()
    );
    assert!(!out.join(".wgvq-run-next").exists());
    // Once it has a checkpoint, it is the run that is there.
    let mut child = start(&["train", text(&config), "--out", text(&out), "--overwrite"]);
    kill_once_there(&mut child, &out.join("checkpoints/step-00000008.json"));
    assert!(!out.join("final.safetensors").exists());
    ok(run(&[
        "train",
        text(&config),
        "--out",
        text(&out),
        "--overwrite",
        "--quiet",
        "--steps",
        "4",
    ]));
    assert!(
        before[&out.join("final.safetensors")]
            == std::fs::read(out.join("final.safetensors")).unwrap()
    );
}

/// A run's dependent files go with it, and its owner's stay.
#[test]
fn a_replaced_run_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let out = train_tiny(folder.path(), "run", 4);
    ok(prior(&out, &[]));
    ok(run(&["report", text(&out), "--images", "20", "--quiet"]));
    ok(run(&["inspect", text(&out), "--images", "20", "--quiet"]));
    std::fs::write(
        out.join("pictures/gan.png"),
        "of a discriminator that there is no longer",
    )
    .unwrap();
    for mine in ["notes.txt", "prior/notes.txt", "pictures/mine.png"] {
        std::fs::write(out.join(mine), "mine").unwrap();
    }
    let config = folder.path().join("tiny.toml");
    let again = [
        "train",
        text(&config),
        "--out",
        text(&out),
        "--overwrite",
        "--quiet",
        "--seed",
        "1",
    ];
    ok(run(&again));
    let names: Vec<String> = all(&out)
        .keys()
        .map(|p| p.strip_prefix(&out).unwrap().display().to_string())
        .collect();
    assert_eq!(
        names,
        [
            "checkpoints/step-00000004.json",
            "checkpoints/step-00000004.safetensors",
            "config.toml",
            "final.safetensors",
            "metrics.csv",
            "notes.txt",
            "pictures/mine.png",
            "pictures/originals.png",
            "pictures/step-00000004.png",
            "pictures/summary.png",
            "prior/notes.txt",
            "run.lock",
            "sessions.json",
            "test.csv"
        ]
    );
    // The same run as one that replaced nothing.
    let fresh = folder.path().join("fresh");
    ok(run(&[
        "train",
        text(&config),
        "--out",
        text(&fresh),
        "--quiet",
        "--seed",
        "1",
    ]));
    for file in [
        "final.safetensors",
        "metrics.csv",
        "test.csv",
        "config.toml",
    ] {
        assert!(
            std::fs::read(out.join(file)).unwrap() == std::fs::read(fresh.join(file)).unwrap(),
            "{file}"
        );
    }
}

/// A prior stays until its successor has codes and runs.
#[test]
fn a_prior_stays_until_its_successor_has_codes_and_runs() {
    let folder = tempfile::tempdir().unwrap();
    let out = train_tiny(folder.path(), "run", 4);
    ok(prior(&out, &[]));
    let own = out.join("prior");
    let before = all(&own);
    // On other pictures, whose codes are made first: killed among them, or before the first
    // checkpoint.
    let pictures = folder.path().join("pictures");
    paint(&pictures, 7);
    let others = ["--overwrite", "--data", text(&pictures)];
    let endless = ["--steps", "100000", "--set", "train.checkpoint_every=99999"];
    let long = ["prior", text(&out)];
    for moment in [".wgvq-run-next/tokens", ".wgvq-run-next/metrics.csv"] {
        let mut child = start(
            &long
                .into_iter()
                .chain(SMALLEST_PRIOR)
                .chain(others)
                .chain(endless)
                .collect::<Vec<_>>(),
        );
        kill_once_there(&mut child, &own.join(moment));
        assert!(
            before
                .iter()
                .all(|(path, bytes)| std::fs::read(path).unwrap() == *bytes),
            "{moment}"
        );
    }
    ok(run(&[
        "sample",
        text(&out),
        "--n",
        "1",
        "--out",
        text(&folder.path().join("a")),
        "--quiet",
    ]));
    ok(prior(&out, &others));
    assert_ne!(
        before[&own.join("tokens/tokens.json")],
        std::fs::read(own.join("tokens/tokens.json")).unwrap()
    );
    assert!(!own.join(".wgvq-run-next").exists() && own.join("pictures/summary.png").exists());
    ok(run(&[
        "sample",
        text(&out),
        "--n",
        "1",
        "--out",
        text(&folder.path().join("b")),
        "--quiet",
    ]));
}

/// Killed in a comparison that replaces another, the same command goes on, and keeps what is
/// finished.
#[test]
fn a_comparison_that_replaces_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = (tiny(folder.path(), 8), folder.path().join("compared"));
    let compare = |more: &[&'static str]| -> Vec<String> {
        let args = [
            "compare",
            text(&config),
            "--quantizers",
            "ema,fsq",
            "--out",
            text(&out),
            "--quiet",
        ];
        args.into_iter()
            .chain(more.iter().copied())
            .map(str::to_owned)
            .collect()
    };
    let called = |args: &[String]| run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    ok(called(&compare(&[])));
    // Of the first run's replacement the pace tells that it is finished; the second one is endless
    // meanwhile.
    let done = out.join("ema-seed0/pace.json");
    let old = std::fs::metadata(&done).unwrap().modified().unwrap();
    let args = compare(&["--overwrite"]);
    let mut child = start(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let replaced =
        || std::fs::metadata(&done).is_ok_and(|m| m.modified().is_ok_and(|at| at != old));
    wait_until(&mut child, || {
        out.join("replacing.json").exists() && replaced()
    });
    assert!(replaced(), "the first run never ended");
    kill(&mut child);
    let of_first = |name: &str| {
        std::fs::metadata(out.join("ema-seed0").join(name))
            .unwrap()
            .modified()
            .unwrap()
    };
    let finished = (of_first("pace.json"), of_first("final.safetensors"));
    assert!(out.join("fsq-seed0/config.toml").is_file());
    ok(called(&args));
    assert_eq!(
        (of_first("pace.json"), of_first("final.safetensors")),
        finished,
        "it was trained again"
    );
    assert!(!out.join("replacing.json").exists());
    // Now that all is replaced, the same command replaces it anew.
    ok(called(&args));
    assert_ne!(of_first("final.safetensors"), finished.1);
}
