//! `wgvq compare --priors`, and what `wgvq plan --prior` says beforehand.

use crate::common::{SMALLEST_PRIOR, kill, ok, printed, refused, run, text, wait_until, wgvq};
use std::path::Path;

/// A run over images in classes, with tokens of 4 x 4 codes.
const EMA: &str = "tests/fixtures/runs/ema";

#[test]
fn orders_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let data = crate::common::few_pictures();
    let args = |names: &str, out: &Path, more: &[&str]| -> Vec<String> {
        let own = [
            "compare",
            "--priors",
            names,
            "--of",
            EMA,
            "--data",
            text(&data),
            "--steps",
            "4",
            "--n",
            "4",
            "--metric",
            "fwd",
            "--set",
            "train.checkpoint_every=2",
            "--quiet",
            "--out",
            text(out),
        ];
        let all = [&own[..], &SMALLEST_PRIOR[..], more].concat();
        all.iter().map(|s| (*s).to_owned()).collect()
    };
    let compare = |names: &str, out: &Path, more: &[&str]| {
        let output = wgvq().args(args(names, out, more)).output();
        output.expect("the program starts")
    };
    let (one, two) = (at("one"), at("two"));
    // Names are found before anything is made.
    for (names, words) in [
        ("zigzag", ["zigzag", "neither an order nor a kind"]),
        ("any,any", ["any", "more than once"]),
    ] {
        refused(compare(names, &one, &[]), &words);
        assert!(!one.exists());
    }
    let json =
        String::from_utf8(ok(compare("raster,any,masked", &one, &["--json"])).stdout).unwrap();
    let lines: Vec<serde_json::Value> = json
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let names: Vec<&str> = lines.iter().map(|l| l["prior"].as_str().unwrap()).collect();
    assert_eq!(names, ["raster", "any", "masked"]);
    for line in &lines {
        // Bits of hidden codes are none of an image.
        assert_eq!(
            line["bits_per_code"].is_null(),
            line["prior"] == "masked",
            "{line}"
        );
        let passes = if line["prior"] == "masked" {
            12.0
        } else {
            16.0
        };
        assert_eq!(line["passes"], passes, "{line}");
        for key in ["parameters", "ms_per_step", "seconds", "seconds_per_image"] {
            assert!(line[key].as_f64().unwrap() > 0.0, "{line}");
        }
        assert!(line["fwd"]["floor"].as_f64().unwrap() > 0.0, "{line}");
    }
    let table = std::fs::read_to_string(one.join("compare.md")).unwrap();
    assert!(
        table.contains("| masked |") && table.contains("real images get: fwd"),
        "{table}"
    );
    for name in ["compare.png", "samples.png"] {
        image::open(one.join(name)).unwrap();
    }
    // What is there is read and not trained again; another budget is another comparison.
    let model =
        |out: &Path, name: &str| std::fs::read(out.join(name).join("final.safetensors")).unwrap();
    let modified = |name: &str| {
        std::fs::metadata(one.join(name).join("drawn.json"))
            .unwrap()
            .modified()
            .unwrap()
    };
    let before = modified("any-seed0");
    ok(compare("raster,any,masked", &one, &[]));
    assert_eq!(modified("any-seed0"), before);
    refused(
        compare("any", &one, &["--set", "train.lr=0.5"]),
        &["any-seed0", "another configuration"],
    );
    // One that was killed goes on to the same models.
    let mut child = wgvq().args(args("any,masked", &two, &[])).spawn().unwrap();
    wait_until(&mut child, || two.join("any-seed0/checkpoints").is_dir());
    kill(&mut child);
    ok(compare("any,masked", &two, &[]));
    for name in ["any-seed0", "masked-seed0"] {
        assert_eq!(model(&two, name), model(&one, name), "{name}");
    }
}

#[test]
fn a_plan_of_a_prior_counts_what_a_step_takes() {
    let plan = |more: &[&str]| -> serde_json::Value {
        let own = [
            "plan",
            "--prior",
            "tiny",
            "--json",
            "--batch",
            "4",
            "--set",
            "prior.layers=2",
        ];
        serde_json::from_str(&printed(&[&own[..], more].concat())).unwrap()
    };
    let line = plan(&[
        "--grid",
        "16x16",
        "--codes",
        "256",
        "--classes",
        "3",
        "--measure",
    ]);
    let bytes = |key: &str| line[key].as_f64().unwrap();
    let ratio = bytes("peak_device_bytes") / bytes("measured_peak_device_bytes");
    assert!((0.9..1.1).contains(&ratio), "{line}");
    assert_eq!(line["rows"], 256);
    // Two blocks, keys and values, 256 rows of 128 channels in f32.
    assert_eq!(line["cache_bytes_per_image"], 2 * 2 * 256 * 128 * 4);
    let peaks = line["peaks"].as_array().unwrap();
    assert_eq!(
        peaks.len(),
        6,
        "one, two and four passes, in two precisions"
    );
    // Sixteen times the codes: what is of them grows so, and not with their square.
    let long = plan(&["--grid", "64x64", "--codes", "256", "--classes", "3"]);
    let of = |line: &serde_json::Value| line["activations_bytes"].as_f64().unwrap();
    let grown = of(&long) / of(&line);
    assert!((12.0..18.0).contains(&grown), "{grown}");
    // One of two processes takes half the images, and with shares half the moments.
    let keys = ["--grid", "16x16", "--codes", "256", "--classes", "3"];
    let two = plan(&[&keys[..], &["--processes", "2"]].concat());
    let shards = ["--processes", "2", "--set", "train.shard_optimizer=true"];
    let shared = plan(&[&keys[..], &shards].concat());
    let optimizer = |line: &serde_json::Value| line["optimizer_bytes"].as_f64().unwrap();
    assert!(of(&two) < 0.6 * of(&line));
    assert_eq!(optimizer(&two), optimizer(&line));
    let left = optimizer(&shared) / optimizer(&line);
    // A gradient and half of two moments, in place of three.
    assert!((0.6..0.72).contains(&left), "{left}");
    let three = [
        "plan",
        "--prior",
        "tiny",
        "--batch",
        "4",
        "--processes",
        "3",
    ];
    let three = [&three[..], &keys[..]];
    refused(run(&three.concat()), &["train.batch_size", "3 ranks"]);
    refused(run(&["plan", "--prior", "tiny"]), &["--grid"]);
    refused(
        run(&["plan", "--prior", "huge", "--grid", "4x4"]),
        &["--prior", "huge"],
    );
    refused(run(&["plan", "--prior", "tiny", "--grid", "4"]), &["32x32"]);
}
