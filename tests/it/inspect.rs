//! `wgvq inspect` end to end: the files, what they say, and bad input.

use crate::common::{run, stderr, stdout, text};
use std::path::{Path, PathBuf};

/// A small model of a quantizer, trained a few steps.
fn trained(folder: &Path, kind: &str) -> PathBuf {
    let out = folder.join(kind);
    let set = |key: &str| ["--set".to_owned(), key.to_owned()];
    let keys = [
        "model.hidden=16",
        "model.residual_hidden=8",
        "model.residual_layers=1",
        "train.batch_size=8",
        "train.eval_every=0",
        "train.checkpoint_every=0",
        if kind == "fsq" {
            "quantizer.levels=[4,3,3]"
        } else {
            "quantizer.codebook_size=24"
        },
        if kind == "fsq" {
            "quantizer.dim=3"
        } else {
            "quantizer.codebook_dim=8"
        },
    ];
    let mut args: Vec<String> = [
        "train",
        "--quantizer",
        kind,
        "--steps",
        "8",
        "--out",
        text(&out),
        "-q",
    ]
    .map(String::from)
    .to_vec();
    args.extend(keys.iter().flat_map(|k| set(k)));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = run(&args);
    assert!(done.status.success(), "{kind}: {}", stderr(&done));
    out
}

fn inspected(run_path: &Path, out: &Path, more: &[&str]) -> serde_json::Value {
    let args = [
        &[
            "inspect",
            text(run_path),
            "--out",
            text(out),
            "--images",
            "24",
            "--json",
        ],
        more,
    ]
    .concat();
    let done = run(&args);
    assert!(done.status.success(), "{}", stderr(&done));
    serde_json::from_str(stdout(&done).trim()).expect("JSON")
}

#[test]
fn every_section_is_there_and_its_figures_are_plausible() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, books, codes) in [("ema", 1, 24), ("residual", 4, 24), ("fsq", 1, 36)] {
        let run_path = trained(folder.path(), kind);
        let out = folder.path().join(format!("{kind}-inspected"));
        let said = inspected(&run_path, &out, &[]);
        let page = std::fs::read_to_string(out.join("index.html")).unwrap();
        for id in ["codes", "patches", "usage", "map", "overlay", "robustness"] {
            assert!(
                page.contains(&format!("id=\"{id}\"")),
                "{kind}: no section {id}"
            );
        }
        // One page that needs nothing else: pictures lie in it, and nothing is fetched.
        assert!(
            page.matches("data:image/png;base64,").count() >= 4 * books + 2,
            "{kind}"
        );
        assert!(
            !page.contains("http://") && !page.contains("https://"),
            "{kind}: the page asks the network"
        );
        for file in std::fs::read_dir(&out).unwrap().map(|f| f.unwrap().path()) {
            if file.extension().is_some_and(|e| e == "png") {
                let picture = image::open(&file).unwrap();
                assert!(
                    picture.width() > 100 && picture.height() > 60,
                    "{}",
                    file.display()
                );
            }
        }
        assert_eq!(said["codebooks"].as_array().unwrap().len(), books, "{kind}");
        for book in said["codebooks"].as_array().unwrap() {
            assert_eq!(book["codes"], codes);
            assert!((1..=codes).contains(&book["used"].as_u64().unwrap()));
            assert!(book["perplexity"].as_f64().unwrap() <= book["used"].as_f64().unwrap() + 1e-9);
        }
        let survival = said["robustness"].as_array().unwrap();
        for by in ["noise", "gradient_sign"] {
            let of: Vec<_> = survival
                .iter()
                .filter(|o| o["perturbation"] == by)
                .collect();
            let value = |o: &serde_json::Value, key: &str| o[key].as_f64().unwrap();
            assert!(of.len() > 4, "{kind}: {by}");
            assert_eq!(
                (value(of[0], "strength"), value(of[0], "surviving")),
                (0.0, 1.0),
                "{kind}: unchanged pixels change nothing"
            );
            assert_eq!(
                (
                    value(of[0], "latents_drift"),
                    value(of[0], "quantized_drift")
                ),
                (0.0, 0.0)
            );
            let drifts: Vec<f64> = of.iter().map(|o| value(o, "latents_drift")).collect();
            assert!(
                drifts.windows(2).all(|d| d[1] > d[0]),
                "{kind}: {by}: stronger changes carry latents further: {drifts:?}"
            );
            assert!(
                of.iter()
                    .all(|o| (0.0..=1.0).contains(&value(o, "surviving")))
            );
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_page_and_nothing_is_overwritten_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let run_path = trained(folder.path(), "ema");
    let (a, b, c) = (
        folder.path().join("a"),
        folder.path().join("b"),
        folder.path().join("c"),
    );
    inspected(&run_path, &a, &[]);
    inspected(&run_path, &b, &[]);
    inspected(&run_path, &c, &["--seed", "9"]);
    let read = |at: &Path, name: &str| std::fs::read(at.join(name)).unwrap();
    assert!(read(&a, "index.html") == read(&b, "index.html"));
    assert!(
        read(&a, "robustness.csv") != read(&c, "robustness.csv"),
        "another seed is other noise"
    );
    let again = run(&[
        "inspect",
        text(&run_path),
        "--out",
        text(&a),
        "--images",
        "24",
    ]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("--overwrite"), "{}", stderr(&again));

    // Bad input is named, and leaves nothing.
    let nothing = folder.path().join("nothing");
    for (args, named) in [
        (
            vec!["inspect", text(folder.path()), "--out", text(&nothing)],
            "final.safetensors",
        ),
        (
            vec![
                "inspect",
                text(&run_path),
                "--images",
                "0",
                "--out",
                text(&nothing),
            ],
            "--images",
        ),
        (
            vec![
                "inspect",
                text(&run_path),
                "--data",
                "nonesuch",
                "--out",
                text(&nothing),
            ],
            "nonesuch",
        ),
    ] {
        let refused = run(&args);
        assert!(matches!(refused.status.code(), Some(1 | 2)), "{args:?}");
        assert!(
            stderr(&refused).contains(named),
            "{args:?} does not name {named}: {}",
            stderr(&refused)
        );
        assert!(!nothing.exists());
    }
}
