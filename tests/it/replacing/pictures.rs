//! Pictures, codes and arrays that replace others.

use super::{prior, train_tiny};
use crate::common::{ok, refused, run, text};
use std::path::Path;

/// The PNG files of a folder.
fn pictures(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|n| n.ends_with(".png")).collect();
    names.sort();
    names
}

/// Samples of texts make way for later ones, of classes or of texts, as they list them.
#[test]
fn pictures_that_are_replaced_go_and_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let run_path = train_tiny(folder.path(), "run", 4);
    ok(prior(&run_path, &[]));
    let out = folder.path().join("samples");
    std::fs::create_dir(&out).unwrap();
    // As `wgvq text2image sample` leaves them.
    for name in [
        "000-a-red-heart-000.png",
        "000-a-red-heart-001.png",
        "grid.png",
        "mine.png",
    ] {
        std::fs::write(out.join(name), "old").unwrap();
    }
    let list = r#"{"images": [{"image": "000-a-red-heart-000.png"},
        {"image": "000-a-red-heart-001.png"}]}"#;
    std::fs::write(out.join("samples.json"), list).unwrap();
    let sample = |n: &str| {
        run(&[
            "sample",
            text(&run_path),
            "--n",
            n,
            "--out",
            text(&out),
            "--class",
            "none",
            "--overwrite",
        ])
    };
    ok(sample("2"));
    assert_eq!(
        pictures(&out),
        ["0000.png", "0001.png", "grid.png", "mine.png"]
    );
    ok(sample("1"));
    assert_eq!(pictures(&out), ["0000.png", "grid.png", "mine.png"]);
    assert_eq!(
        std::fs::read_dir(&out).unwrap().count(),
        4,
        "neither lock nor scratch is left"
    );
    // Of an inspection, what the next one does not make.
    let inspect = || {
        run(&[
            "inspect",
            text(&run_path),
            "--images",
            "20",
            "--quiet",
            "--overwrite",
        ])
    };
    ok(inspect());
    let place = run_path.join("inspect");
    for name in ["codes-2.png", "usage-2.png", "codes-mine.png"] {
        std::fs::write(place.join(name), "old").unwrap();
    }
    ok(inspect());
    assert!(!place.join("codes-2.png").exists() && !place.join("usage-2.png").exists());
    assert!(place.join("codes-mine.png").exists() && place.join("index.html").exists());
}

/// Decoded or reconstructed pictures of before make way for those of now, as listed; without being
/// asked, pictures join them.
#[test]
fn pictures_that_were_decoded_go_with_what_replaces_them() {
    let folder = tempfile::tempdir().unwrap();
    let run_path = train_tiny(folder.path(), "run", 2);
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for name in ["a.png", "b.png", "c.png"] {
        image::RgbImage::new(16, 16).save(at(name)).unwrap();
    }
    ok(run(&[
        "encode",
        text(&run_path),
        &at("a.png"),
        &at("b.png"),
        "-o",
        &at("two"),
    ]));
    ok(run(&[
        "encode",
        text(&run_path),
        &at("c.png"),
        "-o",
        &at("one"),
    ]));
    let out = folder.path().join("out");
    let decode = |codes: &str, more: &[&str]| {
        let (codes, args) = (at(codes), ["decode", text(&run_path)]);
        run(&args
            .iter()
            .copied()
            .chain([codes.as_str(), "-o", text(&out)])
            .chain(more.iter().copied())
            .collect::<Vec<_>>())
    };
    ok(decode("two", &[]));
    std::fs::write(out.join("mine.png"), "mine").unwrap();
    refused(decode("two", &[]), &["a.png", "--overwrite"]);
    ok(decode("one", &[]));
    assert_eq!(pictures(&out), ["a.png", "b.png", "c.png", "mine.png"]);
    ok(decode("one", &["--overwrite"]));
    assert_eq!(pictures(&out), ["c.png", "mine.png"]);
    let out = folder.path().join("native");
    let native = |images: &[&str], more: &[&str]| {
        let images: Vec<String> = images.iter().map(|name| at(name)).collect();
        let args = [
            "reconstruct",
            text(&run_path),
            "--native-size",
            "-o",
            text(&out),
        ];
        run(&args
            .into_iter()
            .chain(images.iter().map(String::as_str))
            .chain(more.iter().copied())
            .collect::<Vec<_>>())
    };
    ok(native(&["a.png", "b.png"], &[]));
    ok(native(&["c.png"], &[]));
    // What is read is not removed.
    let inside = out.join("a.png");
    let read = [
        "reconstruct",
        text(&run_path),
        "--native-size",
        "-o",
        text(&out),
        text(&inside),
        "--overwrite",
    ];
    refused(run(&read), &["a.png", "is read"]);
    assert_eq!(pictures(&out), ["a.png", "b.png", "c.png"]);
    ok(native(&["b.png"], &["--overwrite"]));
    assert_eq!(pictures(&out), ["b.png"]);
}

/// Codes and the arrays beside them come together: what a killed process had decided upon is
/// brought to its end.
#[test]
fn codes_and_their_arrays_come_together() {
    use sha2::{Digest, Sha256};
    let folder = tempfile::tempdir().unwrap();
    let run_path = train_tiny(folder.path(), "run", 2);
    let (image, codes, array) = (
        folder.path().join("a.png"),
        folder.path().join("c"),
        folder.path().join("c.npy"),
    );
    image::RgbImage::new(16, 16).save(&image).unwrap();
    let encode = |more: &[&str]| {
        let args = [
            "encode",
            text(&run_path),
            text(&image),
            "--npy",
            "-o",
            text(&codes),
        ];
        run(&args.iter().chain(more).copied().collect::<Vec<_>>())
    };
    ok(encode(&[]));
    let made = (
        std::fs::read(&codes).unwrap(),
        std::fs::read(&array).unwrap(),
    );
    let sum: String = Sha256::digest("c")
        .iter()
        .take(8)
        .map(|b| format!("{b:02x}"))
        .collect();
    // Killed before all was whole, and after it.
    for (left, kept) in [(".wgvq-output-next", false), (".wgvq-output-new", true)] {
        let left = folder.path().join(format!("{left}-{sum}"));
        std::fs::create_dir(&left).unwrap();
        std::fs::write(left.join("c"), "other").unwrap();
        std::fs::write(left.join("c.npy"), "other").unwrap();
        refused(
            run(&[
                "encode",
                &folder.path().join("no-run").display().to_string(),
                text(&image),
                "-o",
                text(&codes),
                "--overwrite",
            ]),
            &["no-run"],
        );
        assert!(!left.exists());
        let now = (
            std::fs::read(&codes).unwrap(),
            std::fs::read(&array).unwrap(),
        );
        let expected = if kept {
            (b"other".to_vec(), b"other".to_vec())
        } else {
            made.clone()
        };
        assert!(now == expected, "{kept}");
    }
    ok(encode(&["--overwrite"]));
    assert!(
        (
            std::fs::read(&codes).unwrap(),
            std::fs::read(&array).unwrap()
        ) == made
    );
    assert!(!folder.path().join(format!(".wgvq-lock-{sum}")).exists());
}
