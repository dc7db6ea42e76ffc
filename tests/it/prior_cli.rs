//! `wgvq prior`, `sample` and `complete` end to end on tiny models, and what they say to bad input.

mod killed;

use crate::common::{SMALLEST_PRIOR, ok, refused, run, stdout, text, train_tiny};
use std::path::{Path, PathBuf};

const TINY: [&str; 4] = ["--batch", "8", "--set", "train.checkpoint_every=4"];
const SHORT: [&str; 2] = ["--steps", "12"];

fn prior(run_path: &Path, more: &[&str]) -> std::process::Output {
    let args: Vec<&str> = ["prior", text(run_path)]
        .into_iter()
        .chain(SMALLEST_PRIOR)
        .chain(TINY)
        .chain(more.iter().copied())
        .collect();
    run(&args)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_prior_is_trained_sampled_and_completes() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| -> PathBuf { folder.path().join(name) };
    let run_path = train_tiny(folder.path(), "run", 6);
    refused(
        run(&["sample", text(&run_path), "--out", text(&at("s"))]),
        &["wgvq prior"],
    );
    assert!(!at("s").exists());

    let trained = ok(prior(&run_path, &["--steps", "12", "--json"]));
    let line: serde_json::Value = serde_json::from_str(stdout(&trained).trim()).expect("JSON");
    let bits = |key: &str| {
        line[key]
            .as_f64()
            .unwrap_or_else(|| panic!("{key} is missing"))
    };
    assert!(bits("unigram_bits") > bits("bigram_bits") && bits("bigram_bits") > 0.0);
    // 64 codes for 32 x 32 x 3 numbers.
    assert!((bits("bits_per_dim") - bits("bits_per_token") * 64.0 / 3072.0).abs() < 1e-9);
    let own = run_path.join("prior");
    for file in [
        "config.toml",
        "metrics.csv",
        "test.csv",
        "final.safetensors",
        "pictures/summary.png",
        "tokens/tokens.json",
    ] {
        assert!(own.join(file).is_file(), "{file}");
    }
    assert!(
        image::open(own.join("pictures/summary.png"))
            .expect("a picture")
            .width()
            > 1000
    );
    let whole = std::fs::read(own.join("final.safetensors")).unwrap();
    refused(prior(&run_path, &SHORT), &["--resume", "--overwrite"]);
    assert_eq!(std::fs::read(own.join("final.safetensors")).unwrap(), whole);
    // A prior that has ended stays as it is; another key than the steps is refused.
    ok(run(&["prior", text(&run_path), "--resume", "--quiet"]));
    assert_eq!(std::fs::read(own.join("final.safetensors")).unwrap(), whole);
    refused(
        run(&["prior", text(&run_path), "--resume", "--lr", "0.5"]),
        &["--resume", "--steps"],
    );
    refused(
        run(&["prior", text(&run_path), "--resume", "--steps", "5"]),
        &["train.steps", "12 steps are done"],
    );
    // One that cannot be trained leaves the one that is there.
    refused(
        prior(
            &run_path,
            &[
                "--steps",
                "2",
                "--overwrite",
                "--set",
                "train.batch_size=65536",
                "--set",
                "prior.dim=1024",
                "--set",
                "prior.heads=16",
            ],
        ),
        &["bytes"],
    );
    assert_eq!(std::fs::read(own.join("final.safetensors")).unwrap(), whole);
    refused(run(&["sample", text(&own)]), &["name the run"]);

    // The same seed gives the same images, whatever is drawn at a time and whether there is a
    // cache.
    let sample = |name: &str, more: &[&str]| {
        let out = at(name);
        let args = [
            "sample",
            text(&run_path),
            "--class",
            "flags",
            "--class",
            "food",
            "--n",
            "5",
            "--seed",
            "7",
            "--out",
            text(&out),
        ];
        run(&args
            .into_iter()
            .chain(more.iter().copied())
            .collect::<Vec<&str>>())
    };
    let first = ok(sample(
        "a",
        &[
            "--guidance",
            "2",
            "--top-k",
            "20",
            "--temperature",
            "0.9",
            "--top-p",
            "0.95",
            "--json",
        ],
    ));
    let line: serde_json::Value = serde_json::from_str(stdout(&first).trim()).expect("JSON");
    assert_eq!(
        (line["images"].as_u64(), line["codes"].as_u64()),
        (Some(5), Some(5 * 64))
    );
    assert_eq!(
        names(&at("a")),
        [
            "0000-flags.png",
            "0001-food-drink.png",
            "0002-flags.png",
            "0003-food-drink.png",
            "0004-flags.png",
            "grid.png",
            "samples.json"
        ]
    );
    assert_eq!(line["passes"]["most"], 64);
    for (name, more) in [
        ("b", vec!["--batch", "2"]),
        ("c", vec!["--no-cache"]),
        ("d", vec!["--parallel=12", "--batch", "2"]),
        ("e", vec!["--parallel=auto"]),
    ] {
        let more: Vec<&str> = more
            .into_iter()
            .chain([
                "--guidance",
                "2",
                "--top-k",
                "20",
                "--temperature",
                "0.9",
                "--top-p",
                "0.95",
            ])
            .collect();
        ok(sample(name, &more));
        for file in names(&at("a"))
            .into_iter()
            .filter(|name| name.ends_with(".png"))
        {
            let same = std::fs::read(at("a").join(&file)).unwrap()
                == std::fs::read(at(name).join(&file)).unwrap();
            assert!(same, "{name}: {file}");
        }
    }
    // A folder of samples is replaced when asked, and only what is ours.
    std::fs::write(at("a").join("notes.txt"), "mine").unwrap();
    std::fs::write(at("a").join("2024.png"), "mine").unwrap();
    refused(sample("a", &[]), &["--overwrite"]);
    ok(run(&[
        "sample",
        text(&run_path),
        "--n",
        "2",
        "--class",
        "none",
        "--out",
        text(&at("a")),
        "--overwrite",
    ]));
    assert_eq!(
        names(&at("a")),
        [
            "0000.png",
            "0001.png",
            "2024.png",
            "grid.png",
            "notes.txt",
            "samples.json"
        ]
    );

    let picture = at("p.png");
    image::RgbImage::from_fn(32, 32, |x, y| {
        image::Rgb([(x * 7) as u8, (y * 5) as u8, 90])
    })
    .save(&picture)
    .unwrap();
    let out = at("completed.png");
    ok(run(&[
        "complete",
        text(&run_path),
        text(&picture),
        "--keep",
        "top-half",
        "--n",
        "3",
        "-o",
        text(&out),
    ]));
    assert!(image::open(&out).is_ok());
    refused(
        run(&[
            "complete",
            text(&run_path),
            text(&picture),
            "-o",
            text(&out),
        ]),
        &["--overwrite"],
    );
    ok(run(&[
        "complete",
        text(&run_path),
        text(&picture),
        "--keep",
        "right-third",
        "-o",
        text(&out),
        "--overwrite",
    ]));
}

/// Several codes in a pass, any region of an image, and priors of other orders and kinds.
#[test]
fn orders_and_masks_end_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| -> PathBuf { folder.path().join(name) };
    let run_path = train_tiny(folder.path(), "run", 6);
    let picture = at("p.png");
    let colour = |x: u32, y: u32| image::Rgb([(x * 7) as u8, (y * 5) as u8, 90]);
    image::RgbImage::from_fn(32, 32, colour)
        .save(&picture)
        .unwrap();
    // A hole in the middle.
    let mask = at("hole.png");
    let white = |x: u32, y: u32| (8..20).contains(&x) && (8..20).contains(&y);
    image::GrayImage::from_fn(32, 32, |x, y| image::Luma([255 * u8::from(white(x, y))]))
        .save(&mask)
        .unwrap();
    let complete = |name: &str, more: &[&str]| {
        let out = at(name);
        let args = [
            "complete",
            text(&run_path),
            text(&picture),
            "--n",
            "2",
            "-o",
            text(&out),
        ];
        let args: Vec<&str> = args.into_iter().chain(more.iter().copied()).collect();
        run(&args)
    };
    let hole = ["--mask", text(&mask)];
    let blind = "does not see what is kept behind";
    for (key, sees) in [
        ("prior.order=raster", false),
        ("prior.order=any", true),
        ("prior.kind=masked", true),
    ] {
        ok(prior(
            &run_path,
            &["--steps", "4", "--set", key, "--overwrite"],
        ));
        let out = format!("{key}.png");
        let said = crate::common::stderr(&ok(complete(&out, &hole)));
        assert_eq!(said.contains(blind), !sees, "{key}: {said}");
        assert!(image::open(at(&out)).is_ok());
        if key == "prior.kind=masked" {
            let line = stdout(&ok(complete("few.png", &["--passes", "3", "--json"])));
            let line: serde_json::Value = serde_json::from_str(line.trim()).expect("JSON");
            assert_eq!(line["passes"]["most"], 3);
            refused(
                complete("none.png", &["--parallel"]),
                &["parallel", "masked"],
            );
            refused(complete("none.png", &["--passes", "0"]), &["--passes"]);
        } else {
            let fast = format!("{key}-parallel.png");
            ok(complete(&fast, &[&hole[..], &["--parallel"]].concat()));
            let read = |name: &str| std::fs::read(at(name)).unwrap();
            assert_eq!(read(&out), read(&fast), "{key}");
        }
    }
    refused(
        complete("none.png", &[&hole[..], &["--keep", "top-half"]].concat()),
        &["--mask", "--keep"],
    );
    refused(complete("none.png", &["--mask", "gone.png"]), &["gone.png"]);
    image::GrayImage::new(32, 32).save(&mask).unwrap();
    refused(complete("none.png", &hole), &["--mask", "white"]);
    refused(complete("none.png", &["--parallel=0"]), &["--parallel"]);
    refused(
        complete("none.png", &["--parallel=many"]),
        &["--parallel", "auto"],
    );
    refused(
        complete("none.png", &["--parallel", "--no-cache"]),
        &["--parallel", "cache"],
    );
    assert!(!at("none.png").exists());
}

#[test]
fn bad_input_is_named_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let run_path = train_tiny(folder.path(), "run", 6);
    let out = folder.path().join("out");
    for (more, named) in [
        (vec!["--set", "prior.heads=5"], "prior.heads"),
        (vec!["--set", "prior.layer=5"], "prior.layers"),
        (vec!["--set", "prior.mlp=relu"], "swiglu"),
        (vec!["--set", "train.lr=0"], "train.lr"),
        (vec!["--size", "huge"], "tiny, small, base"),
        (vec!["--data", "emojis"], "emoji"),
        (vec!["--resume"], "prior"),
    ] {
        let args: Vec<&str> = ["prior", text(&run_path)].into_iter().chain(more).collect();
        refused(run(&args), &[named]);
        assert!(!run_path.join("prior").exists(), "{args:?} left something");
    }
    refused(run(&["prior", text(folder.path())]), &["final.safetensors"]);

    ok(prior(&run_path, &SHORT));
    for (more, named) in [
        (
            vec!["--class", "nonesuch"],
            vec!["nonesuch", "Flags", "Smileys"],
        ),
        // A part that several classes have.
        (vec!["--class", "&"], vec!["may be"]),
        (vec!["--top-p", "1.5"], vec!["top-p"]),
        (vec!["--top-p", "0"], vec!["top-p"]),
        (vec!["--top-k", "0"], vec!["top-k"]),
        (vec!["--temperature=-1"], vec!["temperature"]),
        (vec!["--min-p", "2"], vec!["min-p"]),
        (vec!["--guidance", "nan"], vec!["guidance"]),
        (vec!["--repetition-penalty", "0.9"], vec!["penalty"]),
        (vec!["--n", "0"], vec!["--n"]),
        (vec!["--batch", "0"], vec!["batch"]),
    ] {
        let args: Vec<&str> = ["sample", text(&run_path), "--out", text(&out)]
            .into_iter()
            .chain(more)
            .collect();
        refused(run(&args), &named);
        assert!(!out.exists(), "{args:?} left something");
    }
    let picture = folder.path().join("p.png");
    image::RgbImage::new(32, 32).save(&picture).unwrap();
    for (more, named) in [
        (vec!["--keep", "middle-half"], "--keep"),
        (vec!["--keep", "top-1"], "nothing is left"),
    ] {
        let args = [
            "complete",
            text(&run_path),
            text(&picture),
            "-o",
            text(&out),
        ];
        refused(
            run(&args.into_iter().chain(more).collect::<Vec<&str>>()),
            &[named],
        );
        assert!(!out.exists());
    }
    refused(
        run(&["complete", text(&run_path), "gone.png", "-o", text(&out)]),
        &["gone.png"],
    );

    // The first stage is trained anew: neither its tokens nor its prior are those of the run any
    // more.
    let other = train_tiny(folder.path(), "other", 9);
    std::fs::copy(
        other.join("final.safetensors"),
        run_path.join("final.safetensors"),
    )
    .unwrap();
    let before = std::fs::read(run_path.join("prior/final.safetensors")).unwrap();
    refused(
        run(&["sample", text(&run_path), "--out", text(&out)]),
        &["another model", "--overwrite"],
    );
    refused(
        prior(&run_path, &SHORT),
        &["made by the model", "--overwrite"],
    );
    assert!(!out.exists());
    assert_eq!(
        std::fs::read(run_path.join("prior/final.safetensors")).unwrap(),
        before
    );
    ok(prior(&run_path, &["--steps", "12", "--overwrite"]));
    ok(run(&[
        "sample",
        text(&run_path),
        "--n",
        "2",
        "--out",
        text(&out),
    ]));

    // A prior over a vocabulary of another size.
    let config = folder.path().join("tiny.toml");
    let larger = std::fs::read_to_string(&config)
        .unwrap()
        .replace("codebook_size = 32", "codebook_size = 40");
    std::fs::write(&config, larger).unwrap();
    let larger = folder.path().join("larger");
    ok(run(&[
        "train",
        text(&config),
        "--steps",
        "6",
        "--out",
        text(&larger),
        "--quiet",
    ]));
    std::fs::create_dir(larger.join("prior")).unwrap();
    std::fs::copy(
        run_path.join("prior/final.safetensors"),
        larger.join("prior/final.safetensors"),
    )
    .unwrap();
    refused(
        run(&[
            "sample",
            text(&larger),
            "--out",
            text(&folder.path().join("x")),
        ]),
        &["codes of 32", "of 40"],
    );
    assert!(!folder.path().join("x").exists());
}
