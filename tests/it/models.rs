//! Files of models and codes, and training that goes wrong.

use crate::common::published::{Tensors, behind, checkpoint, tensors, write};
use crate::common::{ok, refused, run, stderr, stdout, tiny_config, train_tiny, wgvq};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};
use wgvq::inference::import::Names;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }
    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    fn text(&self, name: &str) -> String {
        self.at(name).to_str().unwrap().to_owned()
    }
}

/// A picture of 32 x 32.
fn picture(path: &Path, shade: u8) {
    let pixels: Vec<u8> = (0..32 * 32 * 3u32)
        .map(|i| (i / 7 % 200) as u8 ^ shade)
        .collect();
    image::save_buffer(path, &pixels, 32, 32, image::ColorType::Rgb8).unwrap();
}

/// A first stage whose codebook has so many codes.
fn of_codes(codes: usize) -> Tensors {
    let mut all = tensors("taming", Names::Taming);
    let codebook = all
        .iter_mut()
        .find(|(name, ..)| name == "quantize.embedding.weight")
        .unwrap();
    (codebook.1[0], codebook.2) = (codes, codebook.2[..4 * 4 * codes].to_vec());
    all
}

#[test]
fn of_several_models_the_first_stage_is_taken_or_the_one_that_is_named() {
    let place = Place::new();
    let two = [
        behind("cond_stage_model.", &of_codes(7)),
        behind("first_stage_model.", &of_codes(13)),
    ]
    .concat();
    write(&place.at("two.safetensors"), &two);
    let import = |file: &str, out: &str, more: &[&str]| {
        let (file, out) = (place.text(file), place.text(out));
        let args = ["import", &file, "--size", "16", "--out", &out];
        run(&[&args[..], more].concat())
    };
    let out = ok(import("two.safetensors", "run", &[]));
    assert!(stdout(&out).contains("13 codes"), "{}", stdout(&out));
    let said = stderr(&out);
    assert!(
        said.contains("took `first_stage_model`") && said.contains("`cond_stage_model`"),
        "{said}"
    );
    for (prefix, codes, out) in [
        ("cond_stage_model", "7 codes", "seven"),
        ("first_stage_model.", "13 codes", "more"),
    ] {
        let out = ok(import("two.safetensors", out, &["--prefix", prefix]));
        assert!(stdout(&out).contains(codes), "{}", stdout(&out));
    }
    let both = ["`cond_stage_model`", "`first_stage_model`"];
    refused(
        import("two.safetensors", "none", &["--prefix", "model"]),
        &both,
    );

    // None of them is a first stage by its name.
    write(
        &place.at("ab.safetensors"),
        &[behind("a.", &of_codes(7)), behind("b.", &of_codes(13))].concat(),
    );
    refused(
        import("ab.safetensors", "none", &[]),
        &["`a`", "`b`", "--prefix"],
    );
    // One that has no codes is no choice.
    let plain: Tensors = behind("a.", &of_codes(7))
        .into_iter()
        .filter(|(n, ..)| !n.contains("quantize"))
        .collect();
    write(
        &place.at("plain.safetensors"),
        &[plain, behind("b.", &of_codes(13))].concat(),
    );
    refused(
        import("plain.safetensors", "none", &["--prefix", "a"]),
        &["`a`", "quantize.embedding.weight"],
    );
    assert!(!place.at("none").exists());
    let out = ok(import("plain.safetensors", "b", &[]));
    assert!(stderr(&out).contains("took `b`"), "{}", stderr(&out));
}

#[test]
fn what_cannot_be_imported_leaves_nothing() {
    let place = Place::new();
    let file = checkpoint(place.0.path(), "taming", Names::Taming);
    let (file, none) = (file.to_str().unwrap().to_owned(), place.text("none"));
    for (size, word) in [
        ("0", "multiple of"),
        ("18", "multiple of"),
        ("1000000000", "16384"),
    ] {
        refused(
            run(&["import", &file, "--size", size, "--out", &none]),
            &["data.width", word],
        );
    }
    for (value, word) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        let mut all = of_codes(13);
        let name = "decoder.mid.block_1.conv1.bias";
        let tensor = all.iter_mut().find(|(n, ..)| n == name).unwrap();
        tensor.2[4..8].copy_from_slice(&value.to_le_bytes());
        write(&place.at("bad.safetensors"), &all);
        refused(
            run(&["import", &place.text("bad.safetensors"), "--out", &none]),
            &[name, word],
        );
    }
    let nowhere = place.text("no-pictures");
    refused(
        run(&["import", &file, "--data", &nowhere, "--out", &none]),
        &["--data", "no-pictures"],
    );
    assert!(!place.at("none").exists());
    // Over itself.
    std::fs::create_dir(place.at("run")).unwrap();
    std::fs::copy(&file, place.at("run/final.safetensors")).unwrap();
    let own = place.text("run/final.safetensors");
    refused(
        run(&[
            "import",
            &own,
            "--size",
            "16",
            "--out",
            &place.text("run"),
            "--overwrite",
        ]),
        &["is read"],
    );
    assert_eq!(std::fs::read(&own).unwrap(), std::fs::read(&file).unwrap());
}

#[test]
fn an_imported_run_has_no_pictures_of_its_own() {
    let place = Place::new();
    let file = checkpoint(place.0.path(), "taming", Names::Taming);
    ok(run(&[
        "import",
        file.to_str().unwrap(),
        "--size",
        "8",
        "--out",
        &place.text("run"),
    ]));
    refused(
        run(&["prior", &place.text("run"), "--steps", "2"]),
        &["--data"],
    );
    assert!(!place.at("run/prior").exists());
    refused(run(&["inspect", &place.text("run")]), &["--data"]);
}

/// Ends within a while, or is killed.
fn within(mut command: std::process::Command) -> Output {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > until {
            child.kill().unwrap();
            panic!("{command:?} hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

#[cfg(unix)]
#[test]
fn pipes_folders_and_devices_are_no_files_to_read() {
    let place = Place::new();
    assert!(
        std::process::Command::new("mkfifo")
            .arg(place.at("pipe"))
            .status()
            .unwrap()
            .success()
    );
    std::fs::create_dir(place.at("folder")).unwrap();
    let (pipe, folder, out) = (place.text("pipe"), place.text("folder"), place.text("out"));
    let trained = train_tiny(place.0.path(), "run", 2);
    let run_path = trained.to_str().unwrap();
    for path in [&*pipe, &folder, "/dev/zero"] {
        let list = [
            vec!["import", path, "--out", &out],
            vec!["train", path, "--out", &out],
            vec!["compare", "--reference", path, "--out", &out],
            vec!["decode", run_path, path, "-o", &out],
            vec!["bench", "--compare", path],
        ];
        for args in &list {
            let mut command = wgvq();
            command.args(args);
            // A folder may hold a checkpoint to import.
            let said = match (args[0], path == folder) {
                ("import", true) => "model.safetensors",
                _ => "no ordinary file",
            };
            refused(within(command), &[path, said]);
        }
    }
    assert!(!place.at("out").exists());
}

#[test]
fn nothing_is_written_over_what_is_read_or_twice() {
    let place = Place::new();
    let trained = train_tiny(place.0.path(), "run", 2);
    let (run_path, model) = (trained.to_str().unwrap(), trained.join("final.safetensors"));
    let bytes = std::fs::read(&model).unwrap();
    picture(&place.at("a.png"), 1);
    std::fs::create_dir(place.at("other")).unwrap();
    picture(&place.at("other/a.png"), 2);
    let (a, other) = (place.text("a.png"), place.text("other/a.png"));
    let before = std::fs::read(&a).unwrap();

    refused(
        run(&[
            "encode",
            run_path,
            &a,
            "-o",
            &place.text("codes.npy"),
            "--npy",
        ]),
        &["codes.npy", "twice"],
    );
    assert!(!place.at("codes.npy").exists());
    let model_text = model.to_str().unwrap();
    for args in [
        vec!["encode", run_path, &a, "-o", &a],
        vec!["encode", run_path, &a, "-o", model_text],
        vec!["encode", run_path, &place.text("other/../a.png"), "-o", &a],
        vec!["reconstruct", run_path, &a, "-o", &a],
        vec![
            "reconstruct",
            run_path,
            &a,
            "--native-size",
            "-o",
            place.0.path().to_str().unwrap(),
        ],
        vec!["export", run_path, "--decoder", "-o", model_text],
        vec!["export", model_text, "--decoder", "-o", model_text],
    ] {
        refused(run(&[&args[..], &["--overwrite"]].concat()), &["is read"]);
    }
    assert!(std::fs::read(&a).unwrap() == before && std::fs::read(&model).unwrap() == bytes);

    // Two pictures of one stem are two pictures.
    let (codes, decoded, native) = (
        place.text("codes.safetensors"),
        place.text("decoded"),
        place.text("native"),
    );
    ok(run(&[
        "encode", run_path, &a, &other, "-o", &codes, "--npy",
    ]));
    ok(run(&["decode", run_path, &codes, "-o", &decoded]));
    ok(run(&[
        "reconstruct",
        run_path,
        &a,
        &other,
        "--native-size",
        "-o",
        &native,
    ]));
    for folder in ["decoded", "native"] {
        let file = |name: &str| std::fs::read(place.at(folder).join(name)).unwrap();
        assert!(file("a.png") != file("a-2.png"), "{folder}");
    }
}

/// Trains the tiny model at a rate that no model bears.
fn wild(place: &Place, out: &str, steps: u64, more: &[&str]) -> Output {
    let (config, pictures, out) = (
        place.text("tiny.toml"),
        place.text("pictures"),
        place.text(out),
    );
    tiny_config(Path::new(&config), steps);
    if !place.at("pictures").exists() {
        std::fs::create_dir(&pictures).unwrap();
        (0..24).for_each(|i| picture(&place.at(&format!("pictures/{i}.png")), 9 * i));
    }
    let keys = [
        "--data",
        &pictures,
        "--lr",
        "10",
        "--set",
        "train.eval_every=0",
    ];
    run(&[&["train", &config, "--out", &out], &keys[..], more].concat())
}

fn checkpoints(run: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(run.join("checkpoints")).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.retain(|name| name.ends_with(".json"));
    names.sort();
    names
}

#[test]
fn a_run_that_diverges_before_its_first_checkpoint_begins_again() {
    let place = Place::new();
    let late = ["--set", "train.checkpoint_every=100"];
    let plain = wild(&place, "plain", 12, &late);
    refused(&plain, &["diverged", "--auto-recover"]);
    let healed = ok(wild(
        &place,
        "healed",
        12,
        &[&late[..], &["--auto-recover"]].concat(),
    ));
    let said = stderr(&healed);
    assert!(
        said.contains(
            "went back to the checkpoint of step 0; step 0: from here on at a learning rate"
        ),
        "{said}"
    );
    let advice = said.lines().find(|line| line.contains("diverged")).unwrap();
    assert!(!advice.contains("--auto-recover"), "it is at it: {advice}");
    // Every step of the log is of the run that was kept.
    let log = std::fs::read_to_string(place.at("healed/metrics.csv")).unwrap();
    let steps: Vec<&str> = log
        .lines()
        .skip(1)
        .map(|line| line.split(',').next().unwrap())
        .collect();
    assert_eq!(steps, ["3", "6", "9", "12"]);
}

/// Rows of five steps and a checkpoint every two: what the open row hides must not be saved.
#[test]
fn a_checkpoint_that_has_diverged_is_never_saved_and_older_ones_are_gone_back_to() {
    let place = Place::new();
    let keys = [
        "--set",
        "train.log_every=5",
        "--set",
        "train.checkpoint_every=2",
        "--set",
        "train.keep_checkpoints=9",
    ];
    let plain = wild(&place, "plain", 12, &keys);
    refused(&plain, &["diverged"]);
    // Diverged at step 3, before the one of step 4.
    assert_eq!(checkpoints(&place.at("plain")), ["step-00000002.json"]);

    let keys = [&keys[..], &["--auto-recover"]].concat();
    let healed = ok(wild(&place, "healed", 12, &keys));
    let said = stderr(&healed);
    let back: Vec<u64> = said
        .lines()
        .filter_map(|l| {
            l.strip_prefix("went back to the checkpoint of step ")?
                .split(';')
                .next()?
                .parse()
                .ok()
        })
        .collect();
    assert!(!back.is_empty() && back.len() <= 4, "{said}");
    // What failed is not gone back to again.
    assert!(back.windows(2).all(|w| w[1] < w[0] || w[1] == 0), "{said}");

    // Cut short and gone on with, it comes to the same bytes.
    let whole = std::fs::read(place.at("healed/final.safetensors")).unwrap();
    ok(wild(&place, "cut", 7, &keys));
    ok(run(&[
        "train",
        "--resume",
        &place.text("cut"),
        "--steps",
        "12",
    ]));
    let again = std::fs::read(place.at("cut/final.safetensors")).unwrap();
    assert!(again == whole, "other bytes");
}
