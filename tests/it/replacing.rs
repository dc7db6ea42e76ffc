//! Whatever replaces is whole first; what can be known is checked before anything is done.

use crate::common::{kill, ok, refused, run, stderr, text, tiny_config_over, wait_until, wgvq};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};

/// Every file below a folder, with what it holds.
fn all(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut open) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.clone(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Files that should not be touched are as they were, and no others are there.
fn unchanged(folder: &Path, before: &BTreeMap<PathBuf, Vec<u8>>) {
    let now = all(folder);
    assert_eq!(
        now.keys().collect::<Vec<_>>(),
        before.keys().collect::<Vec<_>>()
    );
    before
        .iter()
        .for_each(|(path, bytes)| assert!(now[path] == *bytes, "{} is another", path.display()));
}

/// A model so small, on so few pictures, that a step takes milliseconds.
fn tiny(folder: &Path, steps: u64) -> PathBuf {
    let pictures = folder.join("tiny-pictures");
    if !pictures.exists() {
        paint(&pictures, 3);
    }
    let config = folder.join("tiny.toml");
    tiny_config_over(&config, steps, &pictures, "width = 16\nheight = 16\n");
    config
}

/// Thirty pictures of 16 x 16.
fn paint(folder: &Path, factor: u8) {
    std::fs::create_dir(folder).unwrap();
    for i in 0..30u8 {
        let at = |x: u32, y: u32| image::Rgb([x as u8 * factor, y as u8 * 5, 8 * i]);
        image::RgbImage::from_fn(16, 16, at)
            .save(folder.join(format!("{i}.png")))
            .unwrap();
    }
}

fn train_tiny(folder: &Path, name: &str, steps: u64) -> PathBuf {
    let (config, out) = (tiny(folder, steps), folder.join(name));
    ok(run(&[
        "train",
        text(&config),
        "--out",
        text(&out),
        "--quiet",
    ]));
    out
}

/// Kills a program once it has made a file.
fn kill_once_there(child: &mut Child, file: &Path) {
    wait_until(child, || file.exists());
    assert!(file.exists(), "{} never came", file.display());
    kill(child);
}

fn start(args: &[&str]) -> Child {
    let mut command = wgvq();
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().expect("the program starts")
}

const TINY_PRIOR: [&str; 10] = [
    "--batch",
    "8",
    "--steps",
    "4",
    "--set",
    "prior.layers=1",
    "--set",
    "prior.dim=16",
    "--set",
    "prior.heads=1",
];

fn prior(run_path: &Path, more: &[&str]) -> Output {
    run(&["prior", text(run_path), "--quiet"]
        .into_iter()
        .chain(TINY_PRIOR)
        .chain(more.iter().copied())
        .collect::<Vec<_>>())
}

/// A run stays where the one that is to replace it cannot be trained, or comes to nothing.
#[test]
fn a_run_stays_until_its_successor_can_run() {
    let folder = tempfile::tempdir().unwrap();
    let out = train_tiny(folder.path(), "run", 4);
    let before = all(&out);
    let config = folder.path().join("tiny.toml");
    for (more, named) in [
        (
            &["--codes", "16777216", "--set", "quantizer.codebook_dim=256"][..],
            "bytes",
        ),
        (&["--batch", "65536"], "bytes"),
        // Trains, and not far.
        (
            &[
                "--lr",
                "10",
                "--set",
                "train.checkpoint_every=4000",
                "--steps",
                "4000",
            ],
            "diverged",
        ),
    ] {
        let args = ["train", text(&config), "--out", text(&out), "--overwrite"];
        refused(
            run(&args.iter().chain(more).copied().collect::<Vec<_>>()),
            &[named],
        );
        unchanged(&out, &before);
    }
}

/// Killed while it trains what is to replace a run: that run is there, and can be gone on with or
/// replaced.
#[test]
fn a_run_outlives_a_successor_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let out = train_tiny(folder.path(), "run", 4);
    let before = all(&out);
    let config = tiny(folder.path(), 100_000);
    let endless = [
        "train",
        text(&config),
        "--out",
        text(&out),
        "--overwrite",
        "--set",
        "train.checkpoint_every=99999",
    ];
    for _ in 0..2 {
        let mut child = start(&endless);
        kill_once_there(&mut child, &out.join(".wgvq-run-next/metrics.csv"));
        assert!(
            before
                .iter()
                .all(|(path, bytes)| std::fs::read(path).unwrap() == *bytes)
        );
    }
    ok(run(&["train", "--resume", text(&out), "--quiet"]));
    assert!(
        before[&out.join("final.safetensors")]
            == std::fs::read(out.join("final.safetensors")).unwrap()
    );
    assert!(!out.join(".wgvq-run-next").exists());
    // Once it has a checkpoint, it is the run that is there.
    let mut child = start(&["train", text(&config), "--out", text(&out), "--overwrite"]);
    kill_once_there(&mut child, &out.join("checkpoints/step-00000008.json"));
    assert!(!out.join("final.safetensors").exists());
    ok(run(&[
        "train",
        text(&config),
        "--out",
        text(&out),
        "--overwrite",
        "--quiet",
        "--steps",
        "4",
    ]));
    assert!(
        before[&out.join("final.safetensors")]
            == std::fs::read(out.join("final.safetensors")).unwrap()
    );
}

/// A run's dependent files go with it, and its owner's stay.
#[test]
fn a_replaced_run_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let out = train_tiny(folder.path(), "run", 4);
    ok(prior(&out, &[]));
    ok(run(&["report", text(&out), "--images", "20", "--quiet"]));
    ok(run(&["inspect", text(&out), "--images", "20", "--quiet"]));
    std::fs::write(
        out.join("pictures/gan.png"),
        "of a discriminator that there is no longer",
    )
    .unwrap();
    for mine in ["notes.txt", "prior/notes.txt", "pictures/mine.png"] {
        std::fs::write(out.join(mine), "mine").unwrap();
    }
    let config = folder.path().join("tiny.toml");
    let again = [
        "train",
        text(&config),
        "--out",
        text(&out),
        "--overwrite",
        "--quiet",
        "--seed",
        "1",
    ];
    ok(run(&again));
    let names: Vec<String> = all(&out)
        .keys()
        .map(|p| p.strip_prefix(&out).unwrap().display().to_string())
        .collect();
    assert_eq!(
        names,
        [
            "checkpoints/step-00000004.json",
            "checkpoints/step-00000004.safetensors",
            "config.toml",
            "final.safetensors",
            "metrics.csv",
            "notes.txt",
            "pictures/mine.png",
            "pictures/summary.png",
            "prior/notes.txt",
            "run.lock",
            "test.csv"
        ]
    );
    // The same run as one that replaced nothing.
    let fresh = folder.path().join("fresh");
    ok(run(&[
        "train",
        text(&config),
        "--out",
        text(&fresh),
        "--quiet",
        "--seed",
        "1",
    ]));
    for file in [
        "final.safetensors",
        "metrics.csv",
        "test.csv",
        "config.toml",
    ] {
        assert!(
            std::fs::read(out.join(file)).unwrap() == std::fs::read(fresh.join(file)).unwrap(),
            "{file}"
        );
    }
}

/// A prior stays until its successor has codes and runs.
#[test]
fn a_prior_stays_until_its_successor_has_codes_and_runs() {
    let folder = tempfile::tempdir().unwrap();
    let out = train_tiny(folder.path(), "run", 4);
    ok(prior(&out, &[]));
    let own = out.join("prior");
    let before = all(&own);
    // On other pictures, whose codes are made first: killed among them, or before the first
    // checkpoint.
    let pictures = folder.path().join("pictures");
    paint(&pictures, 7);
    let others = ["--overwrite", "--data", text(&pictures)];
    let endless = ["--steps", "100000", "--set", "train.checkpoint_every=99999"];
    let long = [
        "prior",
        text(&out),
        "--set",
        "prior.layers=1",
        "--set",
        "prior.dim=16",
        "--set",
        "prior.heads=1",
    ];
    for moment in [".wgvq-run-next/tokens", ".wgvq-run-next/metrics.csv"] {
        let mut child = start(
            &long
                .into_iter()
                .chain(others)
                .chain(endless)
                .collect::<Vec<_>>(),
        );
        kill_once_there(&mut child, &own.join(moment));
        assert!(
            before
                .iter()
                .all(|(path, bytes)| std::fs::read(path).unwrap() == *bytes),
            "{moment}"
        );
    }
    ok(run(&[
        "sample",
        text(&out),
        "--n",
        "1",
        "--out",
        text(&folder.path().join("a")),
        "--quiet",
    ]));
    ok(prior(&out, &others));
    assert_ne!(
        before[&own.join("tokens/tokens.json")],
        std::fs::read(own.join("tokens/tokens.json")).unwrap()
    );
    assert!(!own.join(".wgvq-run-next").exists() && own.join("pictures/summary.png").exists());
    ok(run(&[
        "sample",
        text(&out),
        "--n",
        "1",
        "--out",
        text(&folder.path().join("b")),
        "--quiet",
    ]));
}

/// Killed in a comparison that replaces another, the same command goes on, and keeps what is
/// finished.
#[test]
fn a_comparison_that_replaces_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = (tiny(folder.path(), 8), folder.path().join("compared"));
    let compare = |more: &[&'static str]| -> Vec<String> {
        let args = [
            "compare",
            text(&config),
            "--quantizers",
            "ema,fsq",
            "--out",
            text(&out),
            "--quiet",
        ];
        args.into_iter()
            .chain(more.iter().copied())
            .map(str::to_owned)
            .collect()
    };
    let called = |args: &[String]| run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    ok(called(&compare(&[])));
    // Of the first run's replacement the pace tells that it is finished; the second one is endless
    // meanwhile.
    let done = out.join("ema-seed0/pace.json");
    let old = std::fs::metadata(&done).unwrap().modified().unwrap();
    let args = compare(&["--overwrite"]);
    let mut child = start(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let replaced =
        || std::fs::metadata(&done).is_ok_and(|m| m.modified().is_ok_and(|at| at != old));
    wait_until(&mut child, || {
        out.join("replacing.json").exists() && replaced()
    });
    assert!(replaced(), "the first run never ended");
    kill(&mut child);
    let of_first = |name: &str| {
        std::fs::metadata(out.join("ema-seed0").join(name))
            .unwrap()
            .modified()
            .unwrap()
    };
    let finished = (of_first("pace.json"), of_first("final.safetensors"));
    assert!(out.join("fsq-seed0/config.toml").is_file());
    ok(called(&args));
    assert_eq!(
        (of_first("pace.json"), of_first("final.safetensors")),
        finished,
        "it was trained again"
    );
    assert!(!out.join("replacing.json").exists());
    // Now that all is replaced, the same command replaces it anew.
    ok(called(&args));
    assert_ne!(of_first("final.safetensors"), finished.1);
}

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

/// Captioned pictures of 16 x 16.
fn captioned(folder: &Path) -> PathBuf {
    let mut lines = String::new();
    for n in 0..40u8 {
        let (name, colour) = (format!("{n}.png"), if n % 2 == 0 { "red" } else { "blue" });
        let rgb = if n % 2 == 0 {
            [200, 30, n]
        } else {
            [30, n, 200]
        };
        image::RgbImage::from_pixel(16, 16, image::Rgb(rgb))
            .save(folder.join(&name))
            .unwrap();
        lines += &format!(
            "{{\"image\": \"{name}\", \"text\": \"a {colour} square of number {}\"}}\n",
            n % 4
        );
    }
    let file = folder.join("captions.jsonl");
    std::fs::write(&file, lines).unwrap();
    file
}

/// A first stage of captioned pictures, and a prior and a judge over it, as small as they can be.
const FIRST: [&str; 14] = [
    "--stage1",
    "model.hidden=16",
    "--stage1",
    "model.residual_layers=1",
    "--stage1",
    "model.residual_hidden=8",
    "--stage1",
    "quantizer.codebook_size=32",
    "--stage1",
    "quantizer.kmeans_iters=3",
    "--stage1",
    "train.batch_size=8",
    "--stage1-steps",
    "4",
];
const TEXTS: [&str; 12] = [
    "--set",
    "prior.layers=1",
    "--set",
    "prior.dim=16",
    "--set",
    "prior.heads=1",
    "--batch",
    "8",
    "--judge",
    "model.dim=16",
    "--judge",
    "model.layers=1",
];

/// Material that the later stages cannot take is refused before the first one trains.
#[test]
fn the_later_stages_are_checked_before_the_first_one_trains() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (captioned(folder.path()), folder.path().join("run"));
    for (more, named) in [
        (&["--vocabulary", "0"][..], "--vocabulary"),
        (&["--text-length", "2"], "--text-length"),
        (&["--set", "prior.heads=3"], "prior.heads"),
        (&["--judge", "model.heads=3"], "model.heads"),
        (&["--judge", "model.patch=64"], "model.patch"),
        (&["--strict", "--text-length", "4"], "--strict"),
        (&["--embeddings"], "--embeddings"),
        (&["--text-length", "1000000"], "1000000"),
        (&["--set", "train.batch_size=1000000000"], "1000000000"),
        (&["--out", text(&data)], "captions.jsonl"),
    ] {
        let mut args = vec!["text2image", "train", "--data", text(&data)];
        args.extend(FIRST.iter().chain(&TEXTS));
        if !more.contains(&"--out") {
            args.extend(["--out", text(&out)]);
        }
        args.extend(more);
        refused(run(&args), &[named]);
        assert!(!out.exists(), "{more:?}");
    }
}

/// Prior, tokenizer and judge of a run that reads texts are one: they stay until the new ones can
/// run, and go together.
#[test]
fn what_reads_texts_is_replaced_together() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (captioned(folder.path()), folder.path().join("run"));
    let args = |out: &Path, more: &[&str]| -> Vec<String> {
        let args = [
            "text2image",
            "train",
            "--quiet",
            "--data",
            text(&data),
            "--out",
            text(out),
        ];
        args.iter()
            .chain(&TEXTS)
            .chain(more)
            .map(|arg| (*arg).to_owned())
            .collect()
    };
    let train = |out: &Path, more: &[&str]| {
        run(&args(out, more)
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>())
    };
    let sample = |to: &str| {
        let to = folder.path().join(to);
        ok(run(&[
            "text2image",
            "sample",
            text(&out),
            "a red square",
            "--n",
            "1",
            "--out",
            text(&to),
            "--quiet",
        ]))
    };
    let short = ["--steps", "4", "--judge-steps", "4"];
    ok(train(&out, &[&FIRST[..], &short].concat()));
    ok(run(&[
        "text2image",
        "evaluate",
        text(&out),
        "--n",
        "4",
        "--pool",
        "2",
        "--sweep",
        "1",
        "--quiet",
    ]));
    let before = all(&out);
    assert!(before.contains_key(&out.join("report/evaluation.csv")));
    refused(
        run(&["text2image", "evaluate", text(&out), "--n", "4"]),
        &["evaluation.csv", "--overwrite"],
    );
    // Nothing of it is touched by one that comes to nothing, or that is killed at its steps.
    refused(
        train(&out, &["--overwrite", "--strict", "--text-length", "4"]),
        &["--strict"],
    );
    unchanged(&out, &before);
    let another = ["--overwrite", "--vocabulary", "280", "--seed", "5"];
    let endless = [
        &another[..],
        &["--steps", "100000", "--set", "train.checkpoint_every=99999"],
    ]
    .concat();
    let mut child = start(
        &args(&out, &endless)
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
    );
    kill_once_there(&mut child, &out.join("prior/.wgvq-run-next/metrics.csv"));
    assert!(
        before
            .iter()
            .all(|(path, bytes)| std::fs::read(path).unwrap() == *bytes)
    );
    sample("a");
    // Something foreign lies where the judge is made anew.
    std::fs::write(out.join("contrastive/mine.txt"), "mine").unwrap();
    refused(train(&out, &another), &["mine.txt"]);
    std::fs::remove_file(out.join("contrastive/mine.txt")).unwrap();
    // One without a judge leaves neither the old one nor what that measured.
    let without = ["--steps", "4", "--judge-steps", "0"];
    ok(train(&out, &[&another[..], &without].concat()));
    assert!(!out.join("contrastive").exists() && !out.join("report").exists());
    assert_ne!(
        before[&out.join("text/tokenizer.json")],
        std::fs::read(out.join("text/tokenizer.json")).unwrap()
    );
    sample("b");
    // The same as one that replaced nothing.
    let fresh = folder.path().join("fresh");
    std::fs::create_dir(&fresh).unwrap();
    for file in ["config.toml", "final.safetensors"] {
        std::fs::copy(out.join(file), fresh.join(file)).unwrap();
    }
    ok(train(&fresh, &[&another[1..], &without].concat()));
    for file in [
        "prior/final.safetensors",
        "prior/tokens/tokens.json",
        "text/tokenizer.json",
        "text/asked.toml",
    ] {
        assert!(
            std::fs::read(out.join(file)).unwrap() == std::fs::read(fresh.join(file)).unwrap(),
            "{file}"
        );
    }
}
