//! Paths that are not Unicode: everything works, and JSON has what of them is.

use super::pictures;
use crate::common::{SMALLEST_PRIOR, stderr, stdout, tiny_config, wgvq};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::Output;

/// `name`, and a byte that no Unicode text has.
fn odd(folder: &Path, name: &str) -> std::path::PathBuf {
    folder.join(OsString::from_vec([name.as_bytes(), b"-\xff"].concat()))
}

/// Runs it with `--json`; gives the last line.
fn json(args: &[&OsStr]) -> serde_json::Value {
    let output: Output = wgvq()
        .args(args)
        .arg("--json")
        .arg("--quiet")
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    serde_json::from_str(stdout(&output).lines().last().unwrap_or_default()).expect("JSON")
}

#[test]
fn every_command_takes_paths_that_are_not_unicode() {
    let folder = tempfile::tempdir().unwrap();
    let (config, run) = (folder.path().join("tiny.toml"), odd(folder.path(), "run"));
    if std::fs::create_dir(&run).is_err() {
        eprintln!("SKIPPED: this file system takes no such names");
        return;
    }
    tiny_config(&config, 3);
    let arg = OsStr::from_bytes;
    let data = pictures(folder.path());
    let trained = json(&[
        arg(b"train"),
        config.as_ref(),
        arg(b"--data"),
        data.as_ref(),
        arg(b"--out"),
        run.as_ref(),
    ]);
    assert!(
        trained["run"]
            .as_str()
            .is_some_and(|p| p.ends_with("run-\u{fffd}")),
        "{trained}"
    );
    assert!(
        trained["picture"]
            .as_str()
            .is_some_and(|p| p.ends_with("summary.png")),
        "{trained}"
    );

    let image = odd(folder.path(), "a");
    let pixels = image::RgbImage::from_fn(32, 32, |x, y| {
        image::Rgb([(x * 7) as u8, (y * 5) as u8, 90])
    });
    pixels
        .save_with_format(&image, image::ImageFormat::Png)
        .unwrap();
    let picture = odd(folder.path(), "picture");
    let shown = json(&[
        arg(b"reconstruct"),
        run.as_ref(),
        image.as_ref(),
        arg(b"-o"),
        picture.as_ref(),
    ]);
    assert!(
        shown["image"]
            .as_str()
            .is_some_and(|p| p.ends_with("a-\u{fffd}")),
        "{shown}"
    );

    let decoder = odd(folder.path(), "decoder");
    let made = json(&[
        arg(b"export"),
        run.as_ref(),
        arg(b"--decoder"),
        arg(b"-o"),
        decoder.as_ref(),
    ]);
    assert!(made["file"].is_string() && decoder.is_file(), "{made}");

    let inspected = json(&[arg(b"inspect"), run.as_ref(), arg(b"--images"), arg(b"8")]);
    assert!(
        inspected["page"].is_string() && inspected["run"].is_string(),
        "{inspected}"
    );

    let small = [&SMALLEST_PRIOR[..], &["--steps", "2", "--batch", "2"]].concat();
    let prior = json(
        &[
            &[arg(b"prior"), run.as_ref()][..],
            &small.iter().map(OsStr::new).collect::<Vec<_>>(),
        ]
        .concat(),
    );
    assert!(
        prior["run"].is_string() && prior["picture"].is_string(),
        "{prior}"
    );

    let out = odd(folder.path(), "samples");
    for overwrite in [&[][..], &[arg(b"--overwrite")]] {
        let args = [
            arg(b"sample"),
            run.as_ref(),
            arg(b"--n"),
            arg(b"2"),
            arg(b"--out"),
            out.as_ref(),
        ];
        let drawn = json(&[&args[..], overwrite].concat());
        assert!(
            drawn["out"].is_string() && drawn["grid"].is_string(),
            "{drawn}"
        );
        assert!(out.join("grid.png").is_file() && out.join("samples.json").is_file());
    }
    let rest = odd(folder.path(), "rest");
    let args = [
        arg(b"complete"),
        run.as_ref(),
        image.as_ref(),
        arg(b"--n"),
        arg(b"1"),
        arg(b"-o"),
        rest.as_ref(),
    ];
    assert!(json(&args)["picture"].is_string());
}
