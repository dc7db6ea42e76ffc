//! Runs, codes and tokens that earlier versions wrote still open.

use crate::common::{printed, text};
use std::path::{Path, PathBuf};

/// Copies a run of `tests/fixtures/runs` to where it may be written to.
fn fixture(name: &str, to: &Path) -> PathBuf {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let (from, to) = (
                entry.as_ref().unwrap().path(),
                to.join(entry.unwrap().file_name()),
            );
            if from.is_dir() {
                copy(&from, &to);
            } else {
                std::fs::copy(&from, &to).unwrap();
            }
        }
    }
    let to = to.join(name);
    copy(&fixtures().join(name), &to);
    to
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/runs")
}

fn pixels(path: &Path) -> Vec<u8> {
    image::open(path)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        .to_rgb8()
        .into_raw()
}

#[test]
fn first_stages_of_0_1_0_reconstruct() {
    let folder = tempfile::tempdir().unwrap();
    let original = fixtures().join("original.png");
    for name in ["ema", "vqvae2", "vqgan", "vit", "text2image"] {
        let run = fixture(name, folder.path());
        let out = folder.path().join(format!("{name}.png"));
        printed(&[
            "reconstruct",
            text(&run),
            text(&original),
            "-o",
            text(&out),
            "--quiet",
        ]);
        assert!(out.is_file(), "{name}");
    }
}

/// Another adapter may round otherwise: a pixel may differ by two levels of 255, a code never at
/// these margins.
#[test]
fn codes_of_0_1_0_decode_to_the_same_picture() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["ema", "vqvae2"] {
        let run = fixture(name, folder.path());
        let out = folder.path().join(format!("{name}-decoded"));
        printed(&[
            "decode",
            text(&run),
            text(&run.join("codes.safetensors")),
            "-o",
            text(&out),
            "--quiet",
        ]);
        let decoded: Vec<PathBuf> = std::fs::read_dir(&out)
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "png"))
            .collect();
        assert_eq!(decoded.len(), 1);
        let (got, want) = (pixels(&decoded[0]), pixels(&run.join("decoded.png")));
        assert_eq!(got.len(), want.len());
        let worst = got
            .iter()
            .zip(&want)
            .map(|(a, b)| a.abs_diff(*b))
            .max()
            .unwrap();
        assert!(worst <= 2, "{name}: a pixel differs by {worst}");

        let codes = folder.path().join(format!("{name}-codes.safetensors"));
        printed(&[
            "encode",
            text(&run),
            text(&fixtures().join("original.png")),
            "-o",
            text(&codes),
            "--quiet",
        ]);
        let indices = |path: &Path| {
            let bytes = std::fs::read(path).unwrap();
            let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            let mut tensors: Vec<(String, Vec<u8>)> = file
                .tensors()
                .into_iter()
                .map(|(name, view)| (name, view.data().to_vec()))
                .collect();
            tensors.sort();
            tensors
        };
        assert_eq!(
            indices(&codes),
            indices(&run.join("codes.safetensors")),
            "{name}"
        );
    }
}

#[test]
fn priors_of_0_1_0_draw() {
    let folder = tempfile::tempdir().unwrap();
    for (name, command) in [
        ("ema", "sample"),
        ("vqvae2", "sample"),
        ("text2image", "text2image"),
    ] {
        let run = fixture(name, folder.path());
        let out = folder.path().join(format!("{name}-samples"));
        let mut args = vec![command];
        if command == "text2image" {
            args.extend(["sample", text(&run), "a red square"]);
        } else {
            args.push(text(&run));
        }
        printed(&[&args[..], &["--n", "2", "--out", text(&out), "--quiet"]].concat());
        assert!(out.join("samples.json").is_file(), "{name}");
    }
}

#[test]
fn a_run_of_0_1_0_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let run = fixture("ema", folder.path());
    // The prior beside it belongs to the model as it was.
    std::fs::remove_dir_all(run.join("prior")).unwrap();
    printed(&["train", "--resume", text(&run), "--steps", "64", "--quiet"]);
    let log = std::fs::read_to_string(run.join("metrics.csv")).unwrap();
    assert!(log.lines().last().unwrap().starts_with("64,"), "{log}");
}

/// The tokens of an earlier version are used as they are: a prior that goes on with them makes none
/// anew.
#[test]
fn tokens_of_0_1_0_train_a_prior() {
    let folder = tempfile::tempdir().unwrap();
    let run = fixture("ema", folder.path());
    let shard = run.join("prior/tokens/train-00000.safetensors");
    let before = std::fs::read(&shard).unwrap();
    for name in [
        "config.toml",
        "final.safetensors",
        "metrics.csv",
        "test.csv",
    ] {
        std::fs::remove_file(run.join("prior").join(name)).unwrap();
    }
    let small = [
        "--set",
        "prior.layers=1",
        "--set",
        "prior.dim=32",
        "--set",
        "prior.heads=2",
    ];
    printed(
        &[
            &[
                "prior",
                text(&run),
                "--steps",
                "4",
                "--batch",
                "4",
                "--quiet",
            ][..],
            &small,
        ]
        .concat(),
    );
    assert_eq!(std::fs::read(&shard).unwrap(), before);
}
