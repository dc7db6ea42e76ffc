//! Results as commands print them, of one run and of several, and as tables hold them.

use super::{json, ok, refused};
use crate::common::{SMALLEST_PRIOR, run, stderr, stdout, text, train_tiny};
use std::path::{Path, PathBuf};

#[test]
fn results_are_json_and_quiet_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| -> PathBuf { folder.path().join(name) };
    let model = train_tiny(folder.path(), "run", 2);
    let picture = at("a.png");
    image::RgbImage::from_fn(40, 48, |x, y| image::Rgb([x as u8 * 5, y as u8 * 5, 90]))
        .save(&picture)
        .unwrap();
    let (codes, own) = (at("codes.safetensors"), at("own.safetensors"));
    let said = json(&[
        "encode",
        text(&model),
        text(&picture),
        "-o",
        text(&codes),
        "--npy",
        "--json",
        "--quiet",
    ]);
    let [line] = &said[..] else {
        panic!("{said:?}")
    };
    assert_eq!(line["codes"], text(&codes));
    assert_eq!(line["images"][0]["name"], "a");
    assert_eq!(
        line["images"][0]["levels"][0]["grid"],
        serde_json::json!([8, 8])
    );
    assert!(Path::new(line["npy"][0].as_str().unwrap()).is_file());
    let said = json(&[
        "encode",
        text(&model),
        text(&picture),
        "-o",
        text(&own),
        "--native-size",
        "--json",
    ]);
    assert_eq!(
        (
            &said[0]["images"][0]["width"],
            &said[0]["images"][0]["height"]
        ),
        (&40.into(), &48.into())
    );
    for (file, out) in [(&codes, at("d1")), (&own, at("d2"))] {
        let said = json(&[
            "decode",
            text(&model),
            text(file),
            "-o",
            text(&out),
            "--json",
        ]);
        assert_eq!(said.len(), 1);
        assert!(Path::new(said[0]["images"][0].as_str().unwrap()).is_file());
    }
    // Every command that has a result says it as JSON, and with --quiet nothing else.
    let prior = [&SMALLEST_PRIOR[..], &["--batch", "4", "--steps", "2"]].concat();
    let (samples, completed, shown) = (at("samples"), at("c.png"), at("shown.png"));
    let (decoder, inspected, reported, compared) = (
        at("decoder.bin"),
        at("inspected"),
        at("reported"),
        at("compared"),
    );
    let config = at("tiny.toml");
    let commands: Vec<Vec<&str>> = vec![
        [&["prior", text(&model)][..], &prior].concat(),
        vec!["sample", text(&model), "--n", "2", "--out", text(&samples)],
        vec![
            "complete",
            text(&model),
            text(&picture),
            "--n",
            "2",
            "-o",
            text(&completed),
        ],
        vec![
            "reconstruct",
            text(&model),
            text(&picture),
            "-o",
            text(&shown),
        ],
        vec!["export", text(&model), "--decoder", "-o", text(&decoder)],
        vec![
            "inspect",
            text(&model),
            "--images",
            "4",
            "--out",
            text(&inspected),
        ],
        vec![
            "report",
            text(&model),
            "--images",
            "2",
            "--out",
            text(&reported),
        ],
        vec![
            "compare",
            text(&config),
            "--quantizers",
            "fsq",
            "--steps",
            "2",
            "--out",
            text(&compared),
        ],
        vec!["plan", text(&config)],
        vec!["info"],
        vec!["tune", "--reset"],
    ];
    for command in commands {
        let output = ok(&[&command[..], &["--json", "--quiet"]].concat());
        assert_eq!(stderr(&output), "", "{command:?}");
        let said = stdout(&output);
        assert!(!said.is_empty(), "{command:?}");
        for line in said.lines() {
            let value: serde_json::Value =
                serde_json::from_str(line).unwrap_or_else(|e| panic!("{command:?}: {e}: {line}"));
            assert!(value.is_object(), "{command:?}: {line}");
        }
    }
}

#[test]
fn what_is_named_twice_is_compared_once() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = (folder.path().join("tiny.toml"), folder.path().join("out"));
    crate::common::tiny_config(&config, 2);
    let args = [
        "compare",
        text(&config),
        "--quantizers",
        "fsq,fsq",
        "--seeds",
        "1,1",
        "--out",
        text(&out),
        "--json",
    ];
    let output = ok(&args);
    assert_eq!(stdout(&output).lines().count(), 1);
    let said = stderr(&output);
    assert!(
        said.contains("--quantizers names fsq more than once") && said.contains("--seeds names 1"),
        "{said}"
    );
    assert!(said.contains("1 of 1"), "{said}");
    assert!(
        !std::fs::read_to_string(out.join("compare.md"))
            .unwrap()
            .contains('±')
    );
}

#[test]
fn a_part_of_several_levels_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (config, model) = (at("tiny.toml"), at("run"));
    crate::common::tiny_config(&config, 2);
    ok(&[
        "train",
        text(&config),
        "--model",
        "vqvae2",
        "--out",
        text(&model),
        "--quiet",
        "--set",
        "data.width=16",
        "--set",
        "data.height=16",
    ]);
    for level in ["top", "bottom"] {
        let tiny = [&SMALLEST_PRIOR[..], &["--batch", "4"]].concat();
        ok(&[
            &[
                "prior",
                text(&model),
                "--level",
                level,
                "--steps",
                "2",
                "--quiet",
            ][..],
            &tiny,
        ]
        .concat());
    }
    let picture = at("a.png");
    image::RgbImage::from_fn(16, 16, |x, y| image::Rgb([x as u8 * 9, y as u8 * 9, 90]))
        .save(&picture)
        .unwrap();
    let complete = |keep: &str, out: &str| {
        let out = at(out);
        stderr(&ok(&[
            "complete",
            text(&model),
            text(&picture),
            "--keep",
            keep,
            "--n",
            "1",
            "-o",
            text(&out),
        ]))
    };
    // Two rows of coarse cells, four of fine ones.
    assert!(!complete("top-0.9", "a.png.out.png").contains("all are drawn"));
    let said = complete("top-0.2", "b.png");
    assert!(
        said.contains("level top") && said.contains("2 x 2") && !said.contains("level bottom"),
        "{said}"
    );
    refused(
        &[
            "complete",
            text(&model),
            text(&picture),
            "--keep",
            "top-1",
            "-o",
            text(&at("c.png")),
        ],
        &["option `--keep`", "nothing is left to complete"],
    );
}

/// A name may hold what separates columns and rows, in what is written and in what is read.
#[test]
fn names_are_quoted_in_tables() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    crate::common::tiny_config(&at("tiny.toml"), 2);
    let beside = "quantizer,seed,step,mse,psnr,perplexity,used,codes\n\
                  \"fsq\",0,2,0.25,3,4,7,9\n\
                  \"of \"\"two\"\" lines,\nand more\",0,2,0.5,3,1,1,10\n\
                  plain,0,2,0.5,3,1,1,10\n";
    std::fs::write(at("beside.csv"), beside).unwrap();
    let tiny = at("tiny.toml");
    let compare = ["compare", text(&tiny), "--quantizers", "fsq", "--beside"];
    let (file, out) = (at("beside.csv"), at("out"));
    ok(&[&compare[..], &[text(&file), "--out", text(&out)]].concat());
    let table = std::fs::read_to_string(out.join("compare.md")).unwrap();
    let held = table.split("beside the other program's").nth(1);
    assert!(
        held.is_some_and(|held| held.contains("| 0.25000 |")),
        "{table}"
    );
    // What it writes reads back.
    let written = std::fs::read_to_string(out.join("curves.csv")).unwrap();
    assert!(written.starts_with("quantizer,seed,step,mse,psnr,perplexity,used,codes\nfsq,0,"));
    let (file, again) = (out.join("curves.csv"), at("again"));
    ok(&[&compare[..], &[text(&file), "--out", text(&again)]].concat());
    // One that is short is named by its line.
    std::fs::write(at("short.csv"), format!("{beside}short,1,2\n")).unwrap();
    let (file, none) = (at("short.csv"), at("none"));
    let output = run(&[&compare[..], &[text(&file), "--out", text(&none)]].concat());
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("short.csv: line 6 does not"), "{said}");
}
