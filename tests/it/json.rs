//! Lines of JSON as `docs/json.md` lists them. The program itself holds each line against the page
//! where the tests run it; here commands are run that print lines and that no other test runs with
//! `--json`.

use crate::common::{few_pictures, printed, text, tiny_config, train_tiny};
use crate::page::engine;
use std::collections::BTreeSet;

/// Runs a command with `--json`, and returns the keys of each line.
fn keys(args: &[&str]) -> Vec<BTreeSet<String>> {
    let said = printed(&[args, &["--json", "--quiet"]].concat());
    let lines = said.lines().map(|line| {
        let value: serde_json::Value = serde_json::from_str(line).expect(line);
        value.as_object().expect(line).keys().cloned().collect()
    });
    let lines: Vec<_> = lines.collect();
    assert!(!lines.is_empty(), "{args:?} printed nothing");
    lines
}

fn has(args: &[&str], key: &str) {
    for line in keys(args) {
        assert!(line.contains(key), "{args:?}: {line:?}");
    }
}

#[test]
fn commands_about_the_program_print_lines() {
    let folder = tempfile::tempdir().unwrap();
    has(&["info"], "tiles");
    has(&["config", "data", "train.lr"], "about");
    has(&["config", "--of", "prior"], "default");
    has(&["presets"], "about");
    has(&["presets", "emoji32"], "toml");
    has(&["get"], "bytes");
    has(&["kernels", "scale"], "kernel");
    has(
        &["kernels", "scale", "--wgsl", text(folder.path())],
        "kernels",
    );
    has(&["bench", "--list"], "suite");
    has(&["tune", "--reset"], "removed");
    let out = folder.path().join("emoji32");
    has(&["get", "emoji32", "--out", text(&out)], "parameters");
}

#[test]
fn commands_about_a_run_print_lines() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let run = train_tiny(folder.path(), "run", 4);
    let run = text(&run);
    tiny_config(&folder.path().join("plan.toml"), 4);
    has(&["plan", &at("plan.toml")], "flops_per_step");
    let flags = few_pictures().join("Flags");
    let (one, two) = (flags.join("00.png"), flags.join("03.png"));
    let images = [text(&one), text(&two)];
    has(
        &[
            "reconstruct",
            run,
            images[0],
            images[1],
            "-o",
            &at("both.png"),
        ],
        "psnr",
    );
    let codes = at("codes.safetensors");
    has(
        &["encode", run, images[0], images[1], "--npy", "-o", &codes],
        "images",
    );
    has(
        &["encode", run, images[0], "--native-size", "-o", &at("own")],
        "images",
    );
    has(
        &[
            "encode",
            run,
            "--latents",
            "--data",
            text(&flags),
            "-o",
            &at("z.npy"),
        ],
        "latents",
    );
    has(
        &["decode", run, &codes, "-o", &at("decoded")],
        "peak_device_bytes",
    );
    has(&["statistics", run], "statistics");
    has(
        &["pack", run, images[0], images[1], "-o", &at("packed")],
        "payload_bytes",
    );
    has(
        &["unpack", run, &at("packed"), "-o", &at("unpacked")],
        "images",
    );
    let lines = keys(&["report", run, "--out", &at("report")]);
    assert!(lines[0].contains("levels") && lines[1].contains("png_bits_per_pixel"));
    has(&["report", run, "--html", "--out", &at("report")], "page");
    for kind in ["--npy", "--faiss", "--onnx", "--hf"] {
        has(&["export", run, kind, &at(&kind[2..])], "model");
    }
    has(
        &["export", run, "--decoder", "-o", &at("decoder")],
        "format",
    );
    let engine = engine(&folder.path().join("engine"), env!("CARGO_PKG_VERSION"));
    let page = ["export", run, "--page", &at("page"), "--engine"];
    has(&[&page[..], &[text(&engine)]].concat(), "texts");
    has(&["export", run, "--bundle", &at("bundle")], "left_out");
    let config = at("plan.toml");
    let compared = ["compare", &config, "--quantizers", "ema", "--steps", "2"];
    has(
        &[&compared[..], &["--out", &at("compared")]].concat(),
        "ms_per_step",
    );
}
