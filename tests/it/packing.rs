//! Packed codes: images through `wgvq pack` and `wgvq unpack`, on every core.

use crate::common::{few_pictures, ok, printed, refused, run, text};
use std::path::Path;
use wgvq::codes::Codes;

const EMA: &str = "tests/fixtures/runs/ema";
const TWO_LEVELS: &str = "tests/fixtures/runs/vqvae2";

/// The pictures of a folder by name.
fn pictures(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap());
    let mut all: Vec<(String, Vec<u8>)> = files
        .filter(|e| e.path().extension().is_some_and(|e| e == "png"))
        .map(|e| {
            let name = e.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(e.path()).unwrap())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn unpacked_pictures_are_those_that_decode_gives() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let source = few_pictures();
    let mut images: Vec<_> = std::fs::read_dir(source.join("Flags"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "png"))
        .collect();
    images.sort();
    images.truncate(3);
    for model in [EMA, TWO_LEVELS] {
        let name = Path::new(model).file_name().unwrap().to_str().unwrap();
        let [codes, decoded, counts] =
            ["codes", "decoded", "counts"].map(|what| at(&format!("{name}-{what}.safetensors")));
        let mut encode = vec!["encode", model, "-o", text(&codes)];
        encode.extend(images.iter().map(|p| text(p)));
        ok(run(&encode));
        ok(run(&["decode", model, text(&codes), "-o", text(&decoded)]));
        let data = source.to_str().unwrap();
        ok(run(&[
            "statistics",
            model,
            "--data",
            data,
            "-o",
            text(&counts),
        ]));
        for counted in [false, true] {
            let [packed, unpacked] =
                ["wgvq", "folder"].map(|e| at(&format!("{name}{counted}.{e}")));
            let with: &[&str] = match counted {
                true => &["--statistics", text(&counts)],
                false => &[],
            };
            let mut pack = vec!["pack", model, "-o", text(&packed), "--json"];
            pack.extend(images.iter().map(|p| text(p)));
            let line = printed(&[&pack, with].concat());
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            let bytes = std::fs::metadata(&packed).unwrap().len();
            assert_eq!(line["bytes"], bytes);
            assert_eq!(line["images"], 3);
            let (payload, estimate) = (
                line["payload_bytes"].as_f64().unwrap(),
                line["estimated_bytes"].as_f64().unwrap(),
            );
            assert!(payload <= 1.01 * estimate + 8.0, "{line}");
            let unpack = ["unpack", model, text(&packed), "-o", text(&unpacked)];
            // Codes that were stored are the codes that come back, whatever computes them.
            ok(run(&[&unpack[..], with, &["--core", "tiled"]].concat()));
            assert_eq!(pictures(&unpacked).len(), 3);
            let again = at("again");
            ok(run(&[
                "encode",
                model,
                text(&images[0]),
                "-o",
                text(&again),
            ]));
            assert_eq!(
                Codes::load(&again).unwrap().indices[..],
                Codes::load(&codes).unwrap().indices[..Codes::load(&again).unwrap().indices.len()]
            );
            std::fs::remove_file(&again).unwrap();
            let plain = at("plain");
            let plain = [&unpack[..4], &[text(&plain), "--overwrite"], with].concat();
            ok(run(&plain));
            assert_eq!(pictures(&at("plain")), pictures(&decoded), "{name}");
            // What is there is not replaced unasked, and statistics that are needed are named.
            refused(run(&[&unpack[..], with].concat()), &["is there already"]);
            if counted {
                let none = at("none");
                refused(
                    run(&[&unpack[..4], &[text(&none)]].concat()),
                    &["--statistics"],
                );
            }
            std::fs::remove_dir_all(at("plain")).unwrap();
        }
    }
    refused(
        run(&[
            "unpack",
            TWO_LEVELS,
            text(&at("emafalse.wgvq")),
            "-o",
            text(&at("none")),
        ]),
        &["of the model"],
    );
    assert!(!at("none").exists());
}

#[test]
fn a_picture_of_any_size_is_packed_at_that_size() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let large = image::RgbImage::from_fn(75, 41, |x, y| image::Rgb([x as u8 * 3, y as u8 * 5, 90]));
    large.save(at("large.png")).unwrap();
    let (image, packed, out) = (at("large.png"), at("a.wgvq"), at("out"));
    ok(run(&[
        "pack",
        EMA,
        text(&image),
        "-o",
        text(&packed),
        "--native-size",
    ]));
    ok(run(&["unpack", EMA, text(&packed), "-o", text(&out)]));
    // A picture alone is named as its file.
    let unpacked = image::open(out.join("a.png")).unwrap();
    assert_eq!((unpacked.width(), unpacked.height()), (75, 41));
}
