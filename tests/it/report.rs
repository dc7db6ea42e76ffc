//! `wgvq report` end to end: the figures agree with the runs' own measurements, and bad input is
//! refused in words.

use crate::common::skip::skipped;
use crate::common::{run, stderr, stdout, text, tiny_config};
use std::path::{Path, PathBuf};
use std::process::Command;

fn trained(folder: &Path, name: &str, more: &[&str]) -> PathBuf {
    let (config, out) = (folder.join("tiny.toml"), folder.join(name));
    tiny_config(&config, 9);
    let done = run(&[&["train", text(&config), "--out", text(&out), "-q"], more].concat());
    assert!(done.status.success(), "{name}: {}", stderr(&done));
    out
}

/// A column's value in the last row of a run's measurements.
fn measured(run: &Path, column: &str) -> f64 {
    let csv = std::fs::read_to_string(run.join("test.csv")).unwrap();
    let rows: Vec<&str> = csv.lines().collect();
    let at = rows[0]
        .split(',')
        .position(|c| c == column)
        .unwrap_or_else(|| panic!("{column} in {}", rows[0]));
    rows[rows.len() - 1]
        .split(',')
        .nth(at)
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn figures_are_those_of_the_runs() {
    let folder = tempfile::tempdir().unwrap();
    let one = trained(folder.path(), "one", &[]);
    let two = trained(folder.path(), "two", &["--set", "model.kind=vqvae2"]);
    let many = trained(
        folder.path(),
        "many",
        &[
            "--quantizer",
            "residual",
            "--set",
            "quantizer.num_quantizers=3",
        ],
    );
    let out = folder.path().join("report");
    let args = [
        "report",
        text(&one),
        text(&two),
        text(&many),
        "--out",
        text(&out),
        "--json",
    ];
    let done = run(&args);
    assert!(done.status.success(), "{}", stderr(&done));
    let said = stdout(&done);
    let lines: Vec<serde_json::Value> = said
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 4);
    for (line, (name, folder, nominal)) in lines.iter().zip([
        // 8 x 8 codes of 32 on 32 x 32 pixels; 4 x 4 more; three to a latent.
        ("one", &one, 64.0 * 5.0 / 1024.0),
        ("two", &two, 80.0 * 5.0 / 1024.0),
        ("many", &many, 3.0 * 64.0 * 5.0 / 1024.0),
    ]) {
        assert_eq!(line["run"], name);
        let figure = |key: &str| {
            line[key]
                .as_f64()
                .unwrap_or_else(|| panic!("{key} of {line}"))
        };
        // All pictures held out: the run measured the same, but for reconstructions rounded to
        // bytes.
        assert!(
            (figure("psnr") - measured(folder, "psnr")).abs() < 0.02,
            "{line}"
        );
        let similar = figure("ssim");
        assert!((similar - measured(folder, "ssim")).abs() < 0.002, "{line}");
        let own = measured(folder, "bits_per_pixel");
        assert!(
            (figure("bits_per_pixel") - own).abs() < 1e-4 * own.max(0.01),
            "{line}: {own}"
        );
        assert!(
            (figure("nominal_bits_per_pixel") - nominal).abs() < 1e-9,
            "{line}"
        );
        let levels = line["levels"].as_array().unwrap();
        let sum: f64 = levels
            .iter()
            .map(|l| l["bits_per_pixel"].as_f64().unwrap())
            .sum();
        assert!((sum - figure("bits_per_pixel")).abs() < 1e-12);
        assert_eq!(levels.len(), if name == "two" { 2 } else { 1 });
    }
    let codecs = &lines[3];
    let rates: Vec<f64> = codecs["jpeg"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["bits_per_pixel"].as_f64().unwrap())
        .collect();
    assert!(rates.len() > 10 && rates.is_sorted());
    for lossless in ["png_bits_per_pixel", "webp_lossless_bits_per_pixel"] {
        assert!(
            (1.0..30.0).contains(&codecs[lossless].as_f64().unwrap()),
            "{codecs}"
        );
    }
    let picture = image::open(out.join("rate.png")).unwrap();
    assert!(picture.width() > 600 && picture.height() > 400);
    let csv = std::fs::read_to_string(out.join("rate.csv")).unwrap();
    let starting = |kind: &str| csv.lines().filter(|l| l.starts_with(kind)).count();
    assert_eq!(
        (starting("run,"), starting("level,"), starting("codec,")),
        (3, 2, rates.len() + 3)
    );

    // What is there is kept, unless told otherwise.
    let before = std::fs::read(out.join("rate.csv")).unwrap();
    let again = run(&args);
    assert!(
        !again.status.success() && stderr(&again).contains("--overwrite"),
        "{}",
        stderr(&again)
    );
    let fewer = [
        "report",
        text(&one),
        "--out",
        text(&out),
        "--images",
        "20",
        "--overwrite",
    ];
    let done = run(&fewer);
    assert!(done.status.success(), "{}", stderr(&done));
    assert_ne!(std::fs::read(out.join("rate.csv")).unwrap(), before);
    assert!(
        stdout(&done).contains("| one |") && stdout(&done).contains("| JPEG 75 |"),
        "{}",
        stdout(&done)
    );
    assert!(stderr(&done).contains("lossless"), "{}", stderr(&done));
}

/// Files of real programs, of sizes that blocks and halved colours do not divide, decode to images
/// of that size, and a finer level keeps more.
fn odd_sizes() {
    use wgvq::report::avif::{LEVELS, Programs};
    use wgvq::report::grid::Shape;
    let programs = Programs::find().unwrap();
    for (width, height, channels) in [(33, 17, 3), (33, 17, 1), (1, 1, 3), (7, 70, 1)] {
        let shape = Shape {
            width,
            height,
            channels,
        };
        let at = |i: usize| ((i % 71) * 3 + (i / 97) * 5 % 40) as u8;
        let pixels: Vec<u8> = (0..2 * width * height * channels).map(at).collect();
        let avif = programs.measure(&pixels, shape).unwrap();
        assert!(avif.by.starts_with("avifenc ") && avif.by.len() > 10);
        assert_eq!(avif.curve.len(), LEVELS.len());
        let (coarse, fine) = (avif.curve[0], avif.curve[LEVELS.len() - 1]);
        assert!(
            coarse.bits_per_pixel <= fine.bits_per_pixel && coarse.mse >= fine.mse,
            "{shape:?}: {coarse:?}, {fine:?}"
        );
        assert!(fine.psnr > 30.0, "{shape:?}: {fine:?}");
        assert_eq!(fine.ssim.is_some(), width.min(height) >= 11, "{shape:?}");
        // The smallest file has a box for each of a dozen properties.
        assert!(avif.headers * (width * height) as f64 > 8.0 * 200.0);
    }
}

#[test]
fn avif_stands_beside_jpeg() {
    let folder = tempfile::tempdir().unwrap();
    let one = trained(folder.path(), "one", &[]);
    let out = folder.path().join("report");
    let args = ["report", text(&one), "--out", text(&out), "--images", "4"];
    let report = |more: [&str; 2]| run(&[&args[..], &more].concat());
    let both = report(["--avif", "--html"]);
    assert_eq!(both.status.code(), Some(2), "{}", stderr(&both));
    let done = report(["--avif", "--json"]);
    let there = ["avifenc", "avifdec"].iter().all(|program| {
        let said = Command::new(program).arg("--version").output();
        said.is_ok_and(|said| said.status.success())
    });
    if !there {
        // Said before anything is measured, with the way out.
        assert!(!done.status.success() && !out.exists());
        assert!(stderr(&done).contains("libavif-bin"), "{}", stderr(&done));
        let why = "there are no programs avifenc and avifdec (libavif-bin)";
        return skipped("report::avif_stands_beside_jpeg", why);
    }
    assert!(done.status.success(), "{}", stderr(&done));
    let said = stdout(&done);
    let codecs: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    let points = codecs["avif"]["levels"].as_array().unwrap();
    let of = |key: &str| -> Vec<f64> { points.iter().map(|p| p[key].as_f64().unwrap()).collect() };
    // Finer levels, more bits and less error; a small image is mostly headers.
    assert!(
        of("bits_per_pixel").is_sorted() && of("psnr").is_sorted(),
        "{codecs}"
    );
    assert!(*of("psnr").last().unwrap() > 35.0, "{codecs}");
    let headers = codecs["avif"]["headers_bits_per_pixel"].as_f64().unwrap();
    assert!(
        headers > 1.0 && headers < of("bits_per_pixel")[0],
        "{codecs}"
    );
    let csv = std::fs::read_to_string(out.join("rate.csv")).unwrap();
    let rows = csv.lines().filter(|l| l.starts_with("codec,AVIF,"));
    assert_eq!(rows.count(), points.len());
    odd_sizes();
}

#[test]
fn runs_that_cannot_be_set_side_by_side_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let one = trained(folder.path(), "one", &[]);
    let other = trained(
        folder.path(),
        "other",
        &["--set", "data.width=16", "--set", "data.height=16"],
    );
    let out = folder.path().join("report");
    let fails = |args: &[&str], code: i32, word: &str| {
        let done = run(args);
        assert_eq!(
            done.status.code(),
            Some(code),
            "{args:?}: {}",
            stderr(&done)
        );
        assert!(stderr(&done).contains(word), "{args:?}: {}", stderr(&done));
        assert!(!out.exists(), "{args:?} left something");
    };
    fails(
        &["report", text(&one), text(&other), "--out", text(&out)],
        1,
        "16 x 16",
    );
    fails(
        &[
            "report",
            text(&folder.path().join("none")),
            "--out",
            text(&out),
        ],
        1,
        "none",
    );
    fails(
        &["report", text(&one), "--images", "0", "--out", text(&out)],
        2,
        "--images",
    );
    fails(
        &[
            "report",
            text(&one),
            "--data",
            "nonesuch",
            "--out",
            text(&out),
        ],
        1,
        "nonesuch",
    );
    fails(&["report"], 2, "RUNS");
}
