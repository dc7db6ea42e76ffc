//! Models of the program, named in place of runs.

use crate::common::{ok, refused, stderr, text, wgvq};
use crate::page::engine;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use wgvq::codes::Codes;
use wgvq::inference::pretrained::Pretrained;

const NAME: &str = "emoji32";

/// The program in a folder, with caches of its own there, but for the driver's.
fn within(folder: &Path, args: &[&str]) -> Command {
    let mut command = wgvq();
    command
        .args(args)
        .current_dir(folder)
        .env("XDG_CACHE_HOME", folder.join("caches"))
        .env("HOME", folder);
    if std::env::var_os("MESA_SHADER_CACHE_DIR").is_none()
        && let Some(caches) = dirs::cache_dir()
    {
        command.env("MESA_SHADER_CACHE_DIR", caches);
    }
    command
}

/// A picture of the model's size.
fn picture(folder: &Path) {
    let pixel = |x: u32, y: u32| image::Rgb([8 * x, 8 * y, 255 - 4 * (x + y)].map(|v| v as u8));
    let picture = image::RgbImage::from_fn(32, 32, pixel);
    picture.save(folder.join("a.png")).unwrap();
}

#[test]
fn a_name_stands_for_a_run_that_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let run = |args: &[&str]| within(folder.path(), args).output().unwrap();
    picture(folder.path());
    // Several at once, none of which finds it unpacked.
    let encode = |i: usize| {
        let args = ["encode", NAME, "a.png", "-o", &format!("{i}.safetensors")];
        within(folder.path(), &args).spawn().unwrap()
    };
    let children: Vec<_> = (0..3).map(encode).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let codes = [0, 1, 2].map(|i| Codes::load(&at(&format!("{i}.safetensors"))).unwrap());
    assert!(codes.iter().all(|c| c.indices == codes[0].indices));
    assert_eq!(codes[0].indices.len(), 64);
    let said = stderr(&ok(run(&[
        "decode",
        NAME,
        "0.safetensors",
        "-o",
        "decoded",
    ])));
    assert!(said.contains("the model of the program"), "{said}");
    assert!(at("decoded/a.png").is_file());
    assert!(!at(NAME).exists() && !at("runs").exists());
    // Texts, and a page.
    let sample = ["text2image", "sample", NAME, "a red heart", "--n", "1"];
    ok(run(&[&sample[..], &["--out", "hearts"]].concat()));
    assert!(at("hearts/grid.png").is_file());
    let engine = engine(&at("engine"), env!("CARGO_PKG_VERSION"));
    ok(run(&[
        "export",
        NAME,
        "--page",
        "page",
        "--engine",
        text(&engine),
    ]));
    let about = std::fs::read(at("page/page.json")).unwrap();
    let about: Value = serde_json::from_slice(&about).unwrap();
    assert_eq!(about["title"], NAME);
    assert_eq!(
        (&about["prior"], &about["tokenizer"]),
        (&true.into(), &true.into())
    );
    assert_eq!(about["samples"].as_array().unwrap().len(), 6);
}

#[test]
fn what_writes_into_a_run_needs_one() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| within(folder.path(), args).output().unwrap();
    for command in ["inspect", "report", "evaluate"] {
        refused(run(&[command, NAME]), &["--out", NAME]);
    }
    refused(run(&["text2image", "evaluate", NAME]), &["--out", NAME]);
    refused(run(&["statistics", NAME]), &["--output", NAME]);
    refused(run(&["prior", NAME]), &["wgvq get emoji32"]);
    for command in ["sample", "inspect", "prior"] {
        refused(
            run(&[command, "emoji23"]),
            &["emoji23", NAME, "is not there"],
        );
    }
    refused(run(&["sample", "runs/emoji32"]), &["is not there"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_run_of_that_name_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join(NAME);
    std::fs::create_dir(&own).unwrap();
    for name in ["config.toml", "final.safetensors"] {
        std::fs::copy(format!("tests/fixtures/runs/ema/{name}"), own.join(name)).unwrap();
    }
    picture(folder.path());
    for run in [NAME, "./emoji32"] {
        let args = [
            "encode",
            run,
            "a.png",
            "-o",
            "codes.safetensors",
            "--overwrite",
        ];
        ok(within(folder.path(), &args).output().unwrap());
        let codes = Codes::load(&folder.path().join("codes.safetensors")).unwrap();
        assert_eq!(codes.image, [16, 16, 3]);
    }
    assert!(!folder.path().join("caches").exists());
}

/// Where nothing can be kept, the error says how else.
#[cfg(target_os = "linux")]
#[test]
fn without_a_folder_for_caches_the_error_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    picture(folder.path());
    std::fs::write(folder.path().join("caches"), "a file").unwrap();
    let args = ["encode", NAME, "a.png", "-o", "codes.safetensors"];
    let output = within(folder.path(), &args).output().unwrap();
    refused(output, &["caches", "wgvq get emoji32"]);
    // A cache that cannot be written serves where it is whole.
    let caches = folder.path().join("whole");
    let models = caches.join("wgvq/models");
    let run = Pretrained::named(NAME).unwrap().run_below(&models).unwrap();
    let before = std::fs::metadata(run.join("config.toml")).unwrap();
    let mut command = within(folder.path(), &args);
    ok(command.env("XDG_CACHE_HOME", &caches).output().unwrap());
    let after = std::fs::metadata(run.join("config.toml")).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
}
