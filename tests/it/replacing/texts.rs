//! The files that read texts: a prior, its tokenizer and its judge are replaced together.

use super::{all, kill_once_there, start, unchanged};
use crate::common::{SMALLEST_PRIOR, ok, refused, run, text, write_captioned};
use std::path::{Path, PathBuf};

/// Captioned pictures of 16 x 16.
fn captioned(folder: &Path) -> PathBuf {
    let image = |n: u8| {
        let (colour, rgb) = match n % 2 {
            0 => ("red", [200, 30, n]),
            _ => ("blue", [30, n, 200]),
        };
        (
            image::RgbImage::from_pixel(16, 16, image::Rgb(rgb)),
            format!("a {colour} square of number {}", n % 4),
        )
    };
    write_captioned(folder, (0..40).map(image))
}

/// A first stage of captioned pictures, and a prior and a judge over it, as small as they can be.
const FIRST: [&str; 14] = [
    "--stage1",
    "model.hidden=16",
    "--stage1",
    "model.residual_layers=1",
    "--stage1",
    "model.residual_hidden=8",
    "--stage1",
    "quantizer.codebook_size=32",
    "--stage1",
    "quantizer.kmeans_iters=3",
    "--stage1",
    "train.batch_size=8",
    "--stage1-steps",
    "4",
];

const TEXTS: [&str; 6] = [
    "--batch",
    "8",
    "--judge",
    "model.dim=16",
    "--judge",
    "model.layers=1",
];

/// Material that the later stages cannot take is refused before the first one trains.
#[test]
fn the_later_stages_are_checked_before_the_first_one_trains() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (captioned(folder.path()), folder.path().join("run"));
    for (more, named) in [
        (&["--vocabulary", "0"][..], "--vocabulary"),
        (&["--text-length", "2"], "--text-length"),
        (&["--set", "prior.heads=3"], "prior.heads"),
        (&["--judge", "model.heads=3"], "model.heads"),
        (&["--judge", "model.patch=64"], "model.patch"),
        (&["--strict", "--text-length", "4"], "--strict"),
        (&["--embeddings"], "--embeddings"),
        (&["--text-length", "1000000"], "1000000"),
        (&["--set", "train.batch_size=1000000000"], "1000000000"),
        (&["--out", text(&data)], "captions.jsonl"),
    ] {
        let mut args = vec!["text2image", "train", "--data", text(&data)];
        args.extend(FIRST.iter().chain(&SMALLEST_PRIOR).chain(&TEXTS));
        if !more.contains(&"--out") {
            args.extend(["--out", text(&out)]);
        }
        args.extend(more);
        refused(run(&args), &[named]);
        assert!(!out.exists(), "{more:?}");
    }
}

/// Prior, tokenizer and judge of a run that reads texts are one: they stay until the new ones can
/// run, and go together.
#[test]
fn what_reads_texts_is_replaced_together() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (captioned(folder.path()), folder.path().join("run"));
    let args = |out: &Path, more: &[&str]| -> Vec<String> {
        let args = [
            "text2image",
            "train",
            "--quiet",
            "--data",
            text(&data),
            "--out",
            text(out),
        ];
        args.iter()
            .chain(&SMALLEST_PRIOR)
            .chain(&TEXTS)
            .chain(more)
            .map(|arg| (*arg).to_owned())
            .collect()
    };
    let train = |out: &Path, more: &[&str]| {
        run(&args(out, more)
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>())
    };
    let sample = |to: &str| {
        let to = folder.path().join(to);
        ok(run(&[
            "text2image",
            "sample",
            text(&out),
            "a red square",
            "--n",
            "1",
            "--out",
            text(&to),
            "--quiet",
        ]))
    };
    let short = ["--steps", "4", "--judge-steps", "4"];
    ok(train(&out, &[&FIRST[..], &short].concat()));
    ok(run(&[
        "text2image",
        "evaluate",
        text(&out),
        "--n",
        "4",
        "--pool",
        "2",
        "--sweep",
        "1",
        "--quiet",
    ]));
    let before = all(&out);
    assert!(before.contains_key(&out.join("report/evaluation.csv")));
    refused(
        run(&["text2image", "evaluate", text(&out), "--n", "4"]),
        &["evaluation.csv", "--overwrite"],
    );
    // Nothing of it is touched by one that comes to nothing, or that is killed at its steps.
    refused(
        train(&out, &["--overwrite", "--strict", "--text-length", "4"]),
        &["--strict"],
    );
    unchanged(&out, &before);
    let another = ["--overwrite", "--vocabulary", "280", "--seed", "5"];
    let endless = [
        &another[..],
        &["--steps", "100000", "--set", "train.checkpoint_every=99999"],
    ]
    .concat();
    let mut child = start(
        &args(&out, &endless)
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
    );
    kill_once_there(&mut child, &out.join("prior/.wgvq-run-next/metrics.csv"));
    assert!(
        before
            .iter()
            .all(|(path, bytes)| std::fs::read(path).unwrap() == *bytes)
    );
    sample("a");
    // Something foreign lies where the judge is made anew.
    std::fs::write(out.join("contrastive/mine.txt"), "mine").unwrap();
    refused(train(&out, &another), &["mine.txt"]);
    std::fs::remove_file(out.join("contrastive/mine.txt")).unwrap();
    // One without a judge leaves neither the old one nor what that measured.
    let without = ["--steps", "4", "--judge-steps", "0"];
    ok(train(&out, &[&another[..], &without].concat()));
    assert!(!out.join("contrastive").exists() && !out.join("report").exists());
    assert_ne!(
        before[&out.join("text/tokenizer.json")],
        std::fs::read(out.join("text/tokenizer.json")).unwrap()
    );
    sample("b");
    // The same as one that replaced nothing.
    let fresh = folder.path().join("fresh");
    std::fs::create_dir(&fresh).unwrap();
    for file in ["config.toml", "final.safetensors"] {
        std::fs::copy(out.join(file), fresh.join(file)).unwrap();
    }
    ok(train(&fresh, &[&another[1..], &without].concat()));
    for file in [
        "prior/final.safetensors",
        "prior/tokens/tokens.json",
        "text/tokenizer.json",
        "text/asked.toml",
    ] {
        assert!(
            std::fs::read(out.join(file)).unwrap() == std::fs::read(fresh.join(file)).unwrap(),
            "{file}"
        );
    }
}
