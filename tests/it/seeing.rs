//! The files for looking at a run: event files for TensorBoard, pictures by step, the record of its
//! sessions.

use crate::common::{ok, run, skip, stderr, text, tiny_config, train_tiny, wgvq};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use wgvq::storage::event_file::{Event, events};
use wgvq::storage::{metrics_log, sessions};

/// The step and value of each of a name's numbers, in their order.
fn scalars(all: &[Event], name: &str) -> Vec<(u64, f32)> {
    let of = |e: &Event| {
        let found = e.scalars.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| (e.step, *value))
    };
    all.iter().filter_map(of).collect()
}

/// Checks that a log and the event files have the same numbers of all columns.
fn check_columns(log: &Path, group: &str, all: &[Event]) {
    let columns = metrics_log::columns(log).unwrap();
    let (_, steps) = &columns[0];
    assert!(!steps.is_empty());
    for (name, values) in &columns[1..] {
        let want: Vec<(u64, f32)> = steps
            .iter()
            .zip(values)
            .filter(|(_, value)| !value.is_nan())
            .map(|(step, value)| (*step as u64, *value as f32))
            .collect();
        assert_eq!(scalars(all, &format!("{group}/{name}")), want, "{name}");
    }
}

#[test]
fn event_files_hold_what_the_logs_hold_and_no_step_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = (folder.path().join("tiny.toml"), folder.path().join("run"));
    tiny_config(&config, 12);
    let out_text = text(&out);
    ok(run(&[
        "train",
        text(&config),
        "--out",
        out_text,
        "--tensorboard",
        "--quiet",
    ]));
    // Goes on past its end, with event files since it has some.
    ok(run(&[
        "train", "--resume", out_text, "--steps", "20", "--quiet",
    ]));
    ok(run(&["train", "--resume", out_text, "--quiet"]));
    let all = events(&out).unwrap();
    check_columns(&out.join("metrics.csv"), "train", &all);
    check_columns(&out.join("test.csv"), "test", &all);
    assert!(
        scalars(&all, "train/learning_rate")
            .iter()
            .all(|(_, rate)| *rate > 0.0)
    );
    let others: Vec<(u64, &str)> = all
        .iter()
        .flat_map(|e| e.others.iter().map(|name| (e.step, name.as_str())))
        .collect();
    let once: BTreeSet<_> = others.iter().collect();
    assert_eq!(once.len(), others.len(), "{others:?}");
    for step in [8, 12, 16, 20] {
        assert!(others.contains(&(step, "reconstructions")), "{others:?}");
        assert!(others.contains(&(step, "codes/use")), "{others:?}");
        let picture = out.join(format!("pictures/step-{step:08}.png"));
        let picture = image::open(picture).unwrap();
        // The set holds six images out.
        assert_eq!((picture.width(), picture.height()), (6 * 32, 32));
    }
    assert!(others.contains(&(0, "config")) && out.join("pictures/originals.png").is_file());
    let record = sessions::load(&out);
    let steps: Vec<_> = record.iter().map(|s| (s.from, s.to)).collect();
    assert_eq!(steps, [(0, 12), (12, 20), (20, 20)]);
    assert!(record[0].command.iter().any(|word| word == "--tensorboard"));
    assert!(
        record
            .iter()
            .all(|s| !s.adapter.is_empty() && s.seconds > 0.0)
    );
    // All of it goes with the run.
    ok(run(&[
        "train",
        text(&config),
        "--out",
        out_text,
        "--overwrite",
        "--quiet",
    ]));
    assert_eq!(events(&out).unwrap(), []);
    assert_eq!(sessions::load(&out).len(), 1);
    assert!(!out.join("pictures/step-00000020.png").exists());
}

/// A program that prints what TensorBoard's own reader says of a folder, as JSON.
const READER: &str = r#"
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
a = EventAccumulator(sys.argv[1], size_guidance={k: 0 for k in
    ["scalars", "images", "histograms", "tensors", "compressedHistograms"]})
a.Reload()
tags = a.Tags()
histograms = {n: [(h.step, h.histogram_value.num, h.histogram_value.bucket)
    for h in a.Histograms(n)] for n in tags["histograms"]}
images = {n: [(i.step, i.width, i.height, i.encoded_image_string[:4].hex())
    for i in a.Images(n)] for n in tags["images"]}
texts = {n: a.Tensors(n)[0].tensor_proto.string_val[0].decode() for n in tags["tensors"]}
scalars = {n: [(s.step, s.value) for s in a.Scalars(n)] for n in tags["scalars"]}
print(json.dumps({"scalars": scalars, "images": images, "histograms": histograms,
    "texts": texts}))
"#;

#[test]
fn tensorboard_reads_the_event_files() {
    let python = std::env::var("WGVQ_READERS_PYTHON").unwrap_or("python3".into());
    let there = Command::new(&python)
        .args(["-c", "import tensorboard"])
        .output();
    if !there.is_ok_and(|o| o.status.success()) {
        skip::skipped(
            "tensorboard_reads_the_event_files",
            "the Python package tensorboard is missing",
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = train_tiny(folder.path(), "run", 8);
    // One that gets event files later.
    let more = [
        "train",
        "--resume",
        text(&out),
        "--steps",
        "16",
        "--tensorboard",
        "--quiet",
    ];
    ok(run(&more));
    let output = Command::new(&python)
        .args(["-c", READER, text(&out)])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let read: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for (log, group) in [("metrics.csv", "train"), ("test.csv", "test")] {
        let columns = metrics_log::columns(&out.join(log)).unwrap();
        let (_, steps) = &columns[0];
        for (name, values) in &columns[1..] {
            let read = &read["scalars"][format!("{group}/{name}")];
            // What came before there were event files is in the log alone.
            let want: Vec<(u64, f32)> = steps
                .iter()
                .zip(values)
                .filter(|(step, value)| **step > 8.0 && !value.is_nan())
                .map(|(step, value)| (*step as u64, *value as f32))
                .collect();
            let found: Vec<(u64, f32)> = match read {
                serde_json::Value::Null => Vec::new(),
                list => serde_json::from_value(list.clone()).unwrap(),
            };
            assert_eq!(found, want, "{group}/{name}");
        }
    }
    let image = &read["images"]["reconstructions"][0];
    assert_eq!(*image, serde_json::json!([16, 192, 64, "89504e47"]));
    let histogram = &read["histograms"]["codes/use"][0];
    let bars: Vec<f64> = serde_json::from_value(histogram[2].clone()).unwrap();
    assert_eq!(bars.len(), 32, "a bar to each code");
    assert_eq!(Some(bars.iter().sum()), histogram[1].as_f64());
    let config = read["texts"]["config"].as_str().unwrap();
    assert!(config.contains("codebook_size = 32"), "{config}");
}

#[test]
fn a_page_about_runs_stands_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (
        train_tiny(folder.path(), "a", 16),
        train_tiny(folder.path(), "b", 8),
    );
    let out = folder.path().join("compared");
    let args = ["report", text(&a), text(&b), "--html", "--out", text(&out)];
    ok(run(&args));
    let html = std::fs::read_to_string(out.join("run.html")).unwrap();
    for there in [
        "<h1>Runs a, b</h1>",
        "<svg",
        "b: reconstructions over time",
        "step 16",
        "a: codebook",
        "codebook_size = 32",
        "wgvq train",
    ] {
        assert!(html.contains(there), "{there}");
    }
    let adapter = &sessions::load(&a)[0].adapter;
    assert!(
        html.contains(adapter.split('&').next().unwrap()),
        "{adapter}"
    );
    for bad in ["<script", "http:", "https:", "NaN"] {
        assert!(!html.contains(bad), "{bad}");
    }
    let again = run(&args);
    assert!(!again.status.success() && stderr(&again).contains("--overwrite"));
    // Without a device the page lacks the maps alone.
    let bare = folder.path().join("bare");
    let bare = ["report", text(&a), "--html", "--out", text(&bare)];
    let mut command = wgvq();
    let output = command.args(bare).args(["--adapter", "no such adapter"]);
    let output = ok(output.output().unwrap());
    let said = stderr(&output);
    assert!(said.contains("no maps of codebooks"), "{said}");
    let html = std::fs::read_to_string(folder.path().join("bare/run.html")).unwrap();
    assert!(html.contains("<h1>Run a</h1>") && !html.contains("id=\"codebook"));
    // A run that has not ended, and one of an earlier version.
    std::fs::remove_file(b.join("final.safetensors")).unwrap();
    std::fs::remove_file(b.join("sessions.json")).unwrap();
    ok(run(&["report", text(&b), "--html"]));
    let html = std::fs::read_to_string(b.join("report/run.html")).unwrap();
    assert!(html.contains("Run b") && !html.contains("id=\"codebook"));
    let none = run(&["report", text(folder.path()), "--html"]);
    assert!(!none.status.success() && stderr(&none).contains("config.toml"));
}
