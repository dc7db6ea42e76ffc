//! Where a command writes: checked and locked before its work.

use super::{tiny, train_tiny};
use crate::common::{ok, refused, run, stderr, text, wgvq};
use std::path::PathBuf;

/// A command that cannot write to a place says so first: before the run is opened, which is not
/// there here.
#[test]
fn places_are_checked_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("file"), "mine").unwrap();
    std::fs::create_dir(at("folder")).unwrap();
    let (below, at_file, at_folder) = (at("file/below/x"), at("file"), at("folder"));
    let gone = at("no-run");
    std::fs::write(at("codes"), "").unwrap();
    let image = at("p.png");
    image::RgbImage::new(16, 16).save(&image).unwrap();
    let files: [&[&str]; 6] = [
        &["encode", &gone, &image, "-o"],
        &["complete", &gone, &image, "-o"],
        &["reconstruct", &gone, &image, "-o"],
        &["export", &gone, "--decoder", "-o"],
        &[
            "bench",
            "vq_search_n4096_k8192_d64",
            "--seconds",
            "0",
            "--plot",
        ],
        &["bench", "--suite", "quantizers", "--seconds", "0", "--plot"],
    ];
    for args in files {
        for (place, named) in [(&below, "file"), (&at_folder, "folder")] {
            let called = run(&args
                .iter()
                .chain([&place.as_str()])
                .copied()
                .collect::<Vec<_>>());
            refused(&called, &[named]);
            assert!(
                !stderr(&called).contains("no-run"),
                "{args:?}: {}",
                stderr(&called)
            );
        }
    }
    let folders: [&[&str]; 8] = [
        &["sample", &gone, "--out"],
        &["text2image", "sample", &gone, "a heart", "--out"],
        &["text2image", "evaluate", &gone, "--out"],
        &["inspect", &gone, "--out"],
        &["report", &gone, "--out"],
        &["reconstruct", &gone, &image, "--native-size", "-o"],
        &["import", &gone, "--out"],
        &["train", "--data", &gone, "--out"],
    ];
    for args in folders {
        for place in [&below, &at_file] {
            let called = run(&args
                .iter()
                .chain([&place.as_str()])
                .copied()
                .collect::<Vec<_>>());
            refused(&called, &[at_file.as_str()]);
            assert!(
                !stderr(&called).contains("no-run"),
                "{args:?}: {}",
                stderr(&called)
            );
        }
    }
    // A table that cannot be stored is not measured.
    for place in [&below, &at_file] {
        let tuned = wgvq()
            .arg("tune")
            .env("WGVQ_TUNING", place)
            .output()
            .unwrap();
        refused(&tuned, &[at_file.as_str()]);
        assert!(
            tuned.stdout.is_empty() && !stderr(&tuned).contains("operations per second"),
            "{}",
            stderr(&tuned)
        );
    }
    // What was made to see whether it can be goes again.
    refused(run(&["sample", &gone, "--out", &at("a/b/c")]), &["no-run"]);
    refused(
        run(&["export", &gone, "--decoder", "-o", &at("d/e/x")]),
        &["no-run"],
    );
    let mut names: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["codes", "file", "folder", "p.png"]);
    // Folders on the way are made.
    let run_path = train_tiny(folder.path(), "run", 2);
    ok(run(&[
        "encode",
        text(&run_path),
        &image,
        "-o",
        &at("new/codes"),
    ]));
    ok(run(&[
        "decode",
        text(&run_path),
        &at("new/codes"),
        "-o",
        &at("new/images"),
    ]));
    ok(run(&[
        "export",
        text(&run_path),
        "--decoder",
        "-o",
        &at("newer/still/x"),
    ]));
}

/// Two commands do not write to one place.
#[test]
fn a_place_is_one_commands() {
    let folder = tempfile::tempdir().unwrap();
    let run_path = train_tiny(folder.path(), "run", 2);
    let at = |name: &str| folder.path().join(name);
    let lock = |path: PathBuf| {
        let file = std::fs::File::create(path).unwrap();
        file.try_lock().unwrap();
        file
    };
    std::fs::create_dir(at("out")).unwrap();
    let held = lock(at("out/.wgvq-lock"));
    for args in [
        ["report", text(&run_path), "--out"],
        ["inspect", text(&run_path), "--out"],
    ] {
        refused(
            run(&args
                .into_iter()
                .chain([text(&at("out"))])
                .collect::<Vec<_>>()),
            &["another command"],
        );
    }
    let config = tiny(folder.path(), 2);
    let compare = ["compare", text(&config), "--quantizers", "ema", "--out"];
    refused(
        run(&compare
            .into_iter()
            .chain([text(&at("out"))])
            .collect::<Vec<_>>()),
        &["another command"],
    );
    drop(held);
    // What a killed command left does not keep the next one out.
    ok(run(&[
        "report",
        text(&run_path),
        "--out",
        text(&at("out")),
        "--images",
        "20",
        "--quiet",
    ]));
    assert!(!at("out/.wgvq-lock").exists());
    // Of a file, its name counts.
    use sha2::{Digest, Sha256};
    let sum: String = Sha256::digest("x.safetensors")
        .iter()
        .take(8)
        .map(|b| format!("{b:02x}"))
        .collect();
    let held = lock(at(&format!(".wgvq-lock-{sum}")));
    let export = |name: &str| {
        run(&[
            "export",
            text(&run_path),
            "--decoder",
            "-o",
            text(&at(name)),
        ])
    };
    refused(
        export("x.safetensors"),
        &["another command", "x.safetensors"],
    );
    assert!(!at("x.safetensors").exists());
    ok(export("y.safetensors"));
    drop(held);
    ok(export("x.safetensors"));
}
