//! The commands end to end on a tiny model, and what they say to bad input.

use crate::common::{run, stderr, stdout, text, train_tiny, wgvq};
use std::path::Path;

/// A picture with something in it.
fn picture(path: &Path, side: u32) {
    let image = image::RgbImage::from_fn(side, side, |x, y| {
        image::Rgb([(x * 7) as u8, (y * 5) as u8, ((x ^ y) * 9) as u8])
    });
    image.save(path).expect("a temporary file");
}

#[test]
fn a_model_is_trained_encodes_decodes_and_reconstructs() {
    let folder = tempfile::tempdir().unwrap();
    let run_path = train_tiny(folder.path(), "run", 12);
    for file in [
        "config.toml",
        "metrics.csv",
        "test.csv",
        "final.safetensors",
        "pictures/summary.png",
    ] {
        assert!(run_path.join(file).is_file(), "{file}");
    }
    let summary = image::open(run_path.join("pictures/summary.png")).expect("a picture");
    assert!(summary.width() > 300 && summary.height() > 300);

    let (a, b) = (folder.path().join("a.png"), folder.path().join("b.png"));
    picture(&a, 32);
    picture(&b, 50);
    let codes = folder.path().join("codes.safetensors");
    let encoded = run(&[
        "encode",
        text(&run_path),
        text(&a),
        text(&b),
        "-o",
        text(&codes),
        "--npy",
    ]);
    assert!(encoded.status.success(), "{}", stderr(&encoded));
    assert!(codes.with_extension("npy").is_file());
    let out = folder.path().join("decoded");
    let decoded = run(&["decode", text(&run_path), text(&codes), "-o", text(&out)]);
    assert!(decoded.status.success(), "{}", stderr(&decoded));
    assert_eq!(
        image::open(out.join("a.png")).expect("a picture").width(),
        32
    );

    let side_by_side = folder.path().join("r.png");
    let shown = run(&[
        "reconstruct",
        text(&run_path),
        text(&a),
        "-o",
        text(&side_by_side),
        "--json",
    ]);
    assert!(shown.status.success(), "{}", stderr(&shown));
    let line: serde_json::Value = serde_json::from_str(stdout(&shown).trim()).expect("JSON");
    assert!(line["mse"].as_f64().is_some_and(|m| m > 0.0 && m < 1.0));

    // What is there is not overwritten unasked.
    for args in [
        vec!["encode", text(&run_path), text(&a), "-o", text(&codes)],
        vec!["decode", text(&run_path), text(&codes), "-o", text(&out)],
        vec![
            "reconstruct",
            text(&run_path),
            text(&a),
            "-o",
            text(&side_by_side),
        ],
    ] {
        let refused = run(&args);
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            stderr(&refused).contains("--overwrite"),
            "{}",
            stderr(&refused)
        );
    }

    // Another model's codes are refused.
    let other = train_tiny(folder.path(), "other", 9);
    let refused = run(&[
        "decode",
        text(&other),
        text(&codes),
        "-o",
        text(&folder.path().join("x")),
    ]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("were made by the model"),
        "{}",
        stderr(&refused)
    );
    assert!(!folder.path().join("x").exists());
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (
        train_tiny(folder.path(), "a", 9),
        train_tiny(folder.path(), "b", 9),
    );
    for file in ["final.safetensors", "metrics.csv", "pictures/summary.png"] {
        assert!(
            std::fs::read(a.join(file)).unwrap() == std::fs::read(b.join(file)).unwrap(),
            "{file}"
        );
    }
}

#[test]
fn bad_input_is_named_and_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let out = at("out");
    std::fs::create_dir(at("empty")).unwrap();
    std::fs::write(at("typo.toml"), "[quantizer]\ncodebook_sise = 4\n").unwrap();
    std::fs::write(at("zero.toml"), "[quantizer]\ncodebook_size = 0\n").unwrap();
    let out_text = text(&out);
    let (empty, typo, zero, missing) = (
        at("empty"),
        at("typo.toml"),
        at("zero.toml"),
        at("missing.toml"),
    );
    let cases: Vec<(Vec<&str>, &str)> = vec![
        (
            vec!["train", text(&missing), "--out", out_text],
            "missing.toml",
        ),
        (
            vec!["train", text(&typo), "--out", out_text],
            "quantizer.codebook_size",
        ),
        (
            vec!["train", text(&zero), "--out", out_text],
            "quantizer.codebook_size",
        ),
        (
            vec![
                "train",
                "--set",
                "quantizer.codebook_dim=5000",
                "--out",
                out_text,
            ],
            "quantizer.codebook_dim",
        ),
        (
            vec!["train", "--set", "train.stps=3", "--out", out_text],
            "train.steps",
        ),
        (
            vec!["train", "--data", text(&empty), "--out", out_text],
            "empty",
        ),
        (
            vec!["train", "--data", "emojis", "--out", out_text],
            "emoji",
        ),
        (
            vec!["train", "--preset", "emoji23", "--out", out_text],
            "emoji32",
        ),
        (
            vec!["train", "--set", "model.downsample=3", "--out", out_text],
            "model.downsample",
        ),
        (
            vec![
                "train",
                "--set",
                "data.width=30",
                "--set",
                "data.height=30",
                "--out",
                out_text,
            ],
            "model.downsample",
        ),
        (vec!["train", "--resume", text(&empty)], "config.toml"),
        (vec!["info", "--adapter", "no such adapter"], "unexpected"),
        (vec!["selftest", "--op", "nonesuch"], "matmul"),
        (
            vec!["selftest", "--adapter", "no such adapter"],
            "no such adapter",
        ),
        (
            vec!["encode", text(&empty), "x.png", "-o", out_text],
            "final.safetensors",
        ),
        (vec!["reconstruct", text(&typo), "x.png"], "typo.toml"),
        (vec!["nonesuch"], "nonesuch"),
    ];
    for (args, named) in cases {
        let output = run(&args);
        // `info` lists every adapter, whichever is chosen.
        if args[0] == "info" {
            assert!(output.status.success());
            continue;
        }
        let said = stderr(&output);
        assert!(
            matches!(output.status.code(), Some(1 | 2)),
            "{args:?}: {:?}\n{said}",
            output.status
        );
        assert!(
            said.contains(named),
            "{args:?} does not name {named}:\n{said}"
        );
        assert!(!said.contains("panicked"), "{args:?}: {said}");
        assert!(
            !out.join("config.toml").exists() && !out.join("final.safetensors").exists(),
            "{args:?} left something"
        );
    }
}

#[test]
fn a_run_is_not_overwritten_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let run_path = train_tiny(folder.path(), "run", 6);
    let before = std::fs::read(run_path.join("final.safetensors")).unwrap();
    let again = run(&[
        "train",
        text(&folder.path().join("tiny.toml")),
        "--out",
        text(&run_path),
    ]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        stderr(&again).contains("--resume") && stderr(&again).contains("--overwrite"),
        "{}",
        stderr(&again)
    );
    assert_eq!(
        std::fs::read(run_path.join("final.safetensors")).unwrap(),
        before
    );
    // A finished run that is resumed stays as it is.
    let resumed = run(&["train", "--resume", text(&run_path), "--quiet"]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert_eq!(
        std::fs::read(run_path.join("final.safetensors")).unwrap(),
        before
    );
}

#[test]
fn damaged_models_and_images_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run_path = train_tiny(folder.path(), "run", 6);
    let model = run_path.join("final.safetensors");
    let whole = std::fs::read(&model).unwrap();
    let image = folder.path().join("a.png");
    picture(&image, 32);
    let out = folder.path().join("r.png");
    for cut in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&model, &whole[..cut]).unwrap();
        let output = run(&[
            "reconstruct",
            text(&run_path),
            text(&image),
            "-o",
            text(&out),
        ]);
        assert_eq!(output.status.code(), Some(1), "cut at {cut}");
        assert!(
            stderr(&output).contains("final.safetensors") && !out.exists(),
            "{}",
            stderr(&output)
        );
    }
    std::fs::write(&model, &whole).unwrap();
    // A PNG that claims 100,000 x 100,000 pixels, and a file that is none.
    let mut bomb = std::fs::read(&image).unwrap();
    bomb[16..24].copy_from_slice(&[0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0]);
    for (name, bytes) in [
        ("bomb.png", bomb),
        ("words.png", b"no picture".to_vec()),
        ("nothing.png", vec![]),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let output = run(&[
            "reconstruct",
            text(&run_path),
            text(&path),
            "-o",
            text(&out),
        ]);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains(name) && !out.exists(),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn help_is_no_failure_and_wrong_usage_is_2() {
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    assert_eq!(run(&["train", "--help"]).status.code(), Some(0));
    assert_eq!(run(&[]).status.code(), Some(2));
    assert_eq!(run(&["train", "--steps", "many"]).status.code(), Some(2));
    let closed = wgvq()
        .arg("info")
        .stdout(std::process::Stdio::null())
        .status()
        .expect("it starts");
    assert!(closed.success());
}

#[test]
fn export_writes_a_decoder_that_loads() {
    let folder = tempfile::tempdir().unwrap();
    let out = train_tiny(folder.path(), "run", 2);
    let file = folder.path().join("decoder.safetensors");
    let (run_folder, target) = (out.to_str().unwrap(), file.to_str().unwrap());
    let nothing = run(&["export", run_folder, "-o", target]);
    assert!(
        nothing.status.code() == Some(2) && stderr(&nothing).contains("--decoder"),
        "{}",
        stderr(&nothing)
    );
    let output = run(&["export", run_folder, "--decoder", "-o", target]);
    assert!(
        output.status.success() && stdout(&output).contains("a decoder of 64 codes"),
        "{}",
        stderr(&output)
    );
    let again = run(&["export", run_folder, "--decoder", "-o", target]);
    assert!(!again.status.success() && stderr(&again).contains("--overwrite"));
    let gpu = wgvq::gpu::Gpu::new(Default::default()).unwrap();
    let decoder = wgvq::inference::Decoder::load(&gpu, &file).unwrap();
    let codes: Vec<u32> = (0..64).map(|i| i % 32).collect();
    let whole = wgvq::inference::FirstStageModel::load(&gpu, &out).unwrap();
    assert_eq!(
        decoder.decode(&codes).unwrap(),
        whole.decode(&codes).unwrap()
    );
    let encode = run(&["decode", target, target, "-o", run_folder]);
    assert!(!encode.status.success(), "a decoder is no run");
}
