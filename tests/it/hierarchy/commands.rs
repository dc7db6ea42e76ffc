//! Every command on codes of several levels.

use crate::common::{SMALLEST_PRIOR, printed, run, stderr, text};
use std::collections::BTreeMap;
use std::path::Path;

fn refused(args: &[&str], words: &[&str]) {
    let output = run(args);
    let said = stderr(&output);
    assert!(
        matches!(output.status.code(), Some(1 | 2)),
        "{args:?}: {said}"
    );
    assert!(words.iter().all(|w| said.contains(w)), "{args:?}: {said}");
}

/// Every command on a hierarchy, as a user has it; and a run stopped and gone on with is the run
/// left alone, byte by byte.
#[test]
fn every_command_works_level_by_level() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let config = at("tiny.toml");
    crate::common::tiny_config(&config, 8);
    let train = |steps: &str, out: &Path| {
        let set = [
            "--set",
            "model.codebook_sizes=16,32",
            "--set",
            "train.log_every=2",
            "--set",
            "train.eval_every=4",
        ];
        let set = [&set[..], &["--steps", steps, "--quiet", "--json", "--out"]].concat();
        let args = [
            &["train", text(&config), "--model", "vqvae2"],
            &set[..],
            &[text(out)],
        ]
        .concat();
        printed(&args)
    };
    let (one, two) = (at("one"), at("two"));
    train("8", &one);
    train("4", &two);
    let resumed = crate::common::run(&["train", "--resume", text(&two), "--steps", "8"]);
    let said = crate::common::stderr(&resumed);
    assert!(
        resumed.status.success() && said.contains("16 and 32 codes of 8"),
        "{said}"
    );
    for file in [
        "final.safetensors",
        "metrics.csv",
        "test.csv",
        "checkpoints/step-00000008.safetensors",
    ] {
        let read =
            |run: &Path| std::fs::read(run.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(read(&one) == read(&two), "{file} differs");
    }
    let log = std::fs::read_to_string(one.join("metrics.csv")).unwrap();
    assert!(
        log.lines()
            .next()
            .unwrap()
            .ends_with("used.bottom,revived.bottom"),
        "{log}"
    );
    assert!(
        one.join("pictures/summary.png").is_file() && one.join("pictures/levels.png").is_file()
    );

    // Pictures to codes and back.
    let set = wgvq::data::open("emoji", &Default::default()).unwrap();
    let picture = at("a.png");
    image::save_buffer(
        &picture,
        &set.image(5).unwrap(),
        32,
        32,
        image::ColorType::Rgb8,
    )
    .unwrap();
    let codes = at("codes.safetensors");
    let said = printed(&[
        "encode",
        text(&one),
        text(&picture),
        "-o",
        text(&codes),
        "--npy",
    ]);
    assert!(said.contains("4 x 4 and 8 x 8"), "{said}");
    assert!(at("codes-top.npy").is_file() && at("codes-bottom.npy").is_file());
    printed(&[
        "decode",
        text(&one),
        text(&codes),
        "-o",
        text(&at("decoded")),
    ]);
    assert!(at("decoded/a.png").is_file());
    printed(&[
        "reconstruct",
        text(&one),
        text(&picture),
        "-o",
        text(&at("r.png")),
    ]);

    // A page to each level.
    printed(&["inspect", text(&one), "--images", "6"]);
    for level in ["top", "bottom"] {
        let page =
            std::fs::read_to_string(one.join("inspect").join(level).join("index.html")).unwrap();
        assert!(
            page.contains(&format!("Inside the {level} codebook")),
            "{level}"
        );
    }
    refused(
        &["inspect", text(&one), "--level", "middle"],
        &["--level", "top, bottom"],
    );

    // A prior to each level, then images.
    let tiny = [&SMALLEST_PRIOR[..], &["--batch", "8", "--quiet"]].concat();
    fn with<'a>(run: &'a Path, more: &[&'a str], tiny: &[&'a str]) -> Vec<&'a str> {
        [&["prior", text(run)], more, tiny].concat()
    }
    let prior = |more: &[&'static str]| with(&one, more, &tiny);
    refused(&prior(&["--steps", "2"]), &["--level", "top, bottom"]);
    refused(
        &["sample", text(&one), "--out", text(&at("s"))],
        &["no prior yet", "wgvq prior"],
    );
    printed(&prior(&["--level", "top", "--steps", "3"]));
    assert!(one.join("prior-top/final.safetensors").is_file());
    refused(
        &["sample", text(&one), "--out", text(&at("s"))],
        &["prior-bottom"],
    );
    let bottom = printed(&prior(&["--level", "bottom", "--steps", "3", "--json"]));
    let bottom: serde_json::Value = serde_json::from_str(bottom.trim()).unwrap();
    assert!(bottom["bits_per_token"].as_f64().unwrap() > 0.0);
    refused(
        &prior(&["--level", "bottom", "--steps", "3"]),
        &["--level bottom --resume", "--overwrite"],
    );
    printed(&[
        "sample",
        text(&one),
        "--n",
        "6",
        "--seed",
        "2",
        "--out",
        text(&at("s")),
    ]);
    printed(&[
        "sample",
        text(&one),
        "--n",
        "6",
        "--seed",
        "2",
        "--batch",
        "4",
        "--no-cache",
        "--out",
        text(&at("t")),
    ]);
    let names: BTreeMap<_, _> = std::fs::read_dir(at("s"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "png"))
        .map(|p| {
            (
                p.file_name().unwrap().to_owned(),
                std::fs::read(&p).unwrap(),
            )
        })
        .collect();
    assert_eq!(names.len(), 7);
    for (name, bytes) in names {
        assert!(
            bytes == std::fs::read(at("t").join(&name)).unwrap(),
            "{name:?}"
        );
    }
    printed(&[
        "complete",
        text(&one),
        text(&picture),
        "--keep",
        "left-half",
        "--n",
        "3",
        "-o",
        text(&at("c.png")),
    ]);

    for (set, words) in [
        ("model.levels=1", "from 2 to 5"),
        ("model.levels=6", "from 2 to 5"),
        ("model.level_dropout=1", "below 1"),
        ("model.codebook_sizes=16", "2 levels"),
        ("model.codebook_sizes=16,0", "model.codebook_sizes"),
        ("data.width=36", "multiple of 8"),
    ] {
        let no = at("no");
        let args = [
            "train",
            "--model",
            "vqvae2",
            "--set",
            set,
            "--out",
            text(&no),
        ];
        refused(&args, &[words, set.split('=').next().unwrap()]);
        assert!(!at("no").exists());
    }
    refused(
        &["train", "--set", "model.levels=2", "--out", text(&at("no"))],
        &["model.levels", "vqvae2"],
    );
    // A level is asked for where there is but one.
    let flat = crate::common::train_tiny(folder.path(), "flat", 4);
    refused(
        &["prior", text(&flat), "--level", "top"],
        &["--level", "one level"],
    );
}
