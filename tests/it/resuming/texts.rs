//! Text to image goes on, stage by stage.

use super::learning_rates::rates;
use super::within;
use crate::common::{SMALLEST_PRIOR, ok, refused, run, stderr, text, wgvq, write_captioned};
use std::path::{Path, PathBuf};

/// Twelve small pictures with captions, and the file of these.
fn captioned(folder: &Path) -> PathBuf {
    let image = |i: u8| {
        let shade = image::Rgb([20 * i, 90, 200 - 10 * i]);
        let square = |x, y| match x < 8 && y < 8 {
            true => shade,
            false => image::Rgb([255; 3]),
        };
        let image = image::RgbImage::from_fn(16, 16, square);
        (image, format!("a square of shade {i}"))
    };
    write_captioned(folder, (0..12).map(image))
}

/// Options of a tiny system, other than the defaults in every stage.
const SYSTEM: &str = "--system dalle --stage1 model.hidden=16 --stage1 model.residual_layers=1 \
     --stage1 model.residual_hidden=8 --stage1 quantizer.codebook_size=16 \
     --stage1 train.batch_size=4 --stage1 train.checkpoint_every=4 --size tiny \
     --set train.checkpoint_every=4 --set train.log_every=1 --set train.warmup=2 \
     --batch 4 --vocabulary 290 --judge model.dim=16 --judge model.layers=1 --judge \
     train.batch_size=4 --judge train.warmup=1 --judge train.checkpoint_every=4 --seed 3";
const STEPS: [&str; 6] = ["--stage1-steps", "8", "--steps", "8", "--judge-steps", "8"];

fn options() -> Vec<&'static str> {
    SYSTEM.split_whitespace().chain(SMALLEST_PRIOR).collect()
}

const STAGES: [&str; 3] = ["", "prior", "contrastive"];

fn models(run: &Path) -> [Vec<u8>; 3] {
    STAGES.map(|stage| std::fs::read(run.join(stage).join("final.safetensors")).unwrap())
}

/// As if a stage had been stopped after its first checkpoint.
fn stopped(place: &Path) {
    for file in [
        "final.safetensors",
        "checkpoints/step-00000008.json",
        "checkpoints/step-00000008.safetensors",
    ] {
        std::fs::remove_file(place.join(file)).unwrap();
    }
}

#[test]
fn text_to_image_goes_on_as_it_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    captioned(&at("set"));
    let run_path = at("run");
    let begin = [
        "text2image",
        "train",
        "--data",
        "set/captions.jsonl",
        "--out",
        "run",
        "--quiet",
    ];
    ok(within(
        folder.path(),
        &[&begin[..], &options(), &STEPS].concat(),
    ));
    let whole = models(&run_path);
    let resume = |more: &[&str]| {
        run(&[&["text2image", "train", "--resume", text(&run_path)], more].concat())
    };

    // Nothing is left to do, which is said; the options it was begun with are no others.
    let said = stderr(&ok(resume(&[])));
    assert!(
        said.contains("every stage has ended") && said.contains("--steps"),
        "{said}"
    );
    ok(resume(&[&options()[..], &STEPS, &["--quiet"]].concat()));
    assert!(models(&run_path) == whole);
    refused(
        resume(&["--size", "base", "--vocabulary", "900"]),
        &["--resume", "--size", "--vocabulary"],
    );
    refused(resume(&["--set", "prior.layers=2"]), &["--set", "--steps"]);
    refused(resume(&["--judge", "model.dim=32"]), &["--judge"]);
    refused(resume(&["--stage1", "model.hidden=32"]), &["--stage1"]);
    refused(
        resume(&["--steps", "4"]),
        &["train.steps", "8 steps are done"],
    );
    refused(
        resume(&["--stage1-steps", "12"]),
        &["12 steps", "8 are done", "prior"],
    );

    // Each stage goes on where it stopped, and what had not begun begins as it was asked for.
    stopped(&run_path.join("contrastive"));
    ok(resume(&["--quiet"]));
    assert!(models(&run_path) == whole, "the judge");
    stopped(&run_path.join("prior"));
    std::fs::remove_dir_all(run_path.join("contrastive")).unwrap();
    ok(resume(&["--quiet"]));
    assert!(models(&run_path) == whole, "the prior");
    stopped(&run_path);
    for later in ["prior", "contrastive"] {
        std::fs::remove_dir_all(run_path.join(later)).unwrap();
    }
    std::fs::remove_file(run_path.join("text/tokenizer.json")).unwrap();
    ok(resume(&["--quiet"]));
    assert!(models(&run_path) == whole, "the first stage");

    // More steps, of a prior and of the judge, with a learning rate for them.
    std::fs::rename(at("set"), at("moved")).unwrap();
    let said = stderr(&ok(resume(&["--steps", "16"])));
    assert!(
        said.contains("16 steps and not 8") && said.contains("schedule covers them"),
        "{said}"
    );
    assert_eq!(rates(&run_path.join("prior")).len(), 16);
    let longer = models(&run_path);
    assert!(longer[1] != whole[1] && longer[0] == whole[0] && longer[2] == whole[2]);
    refused(
        resume(&["--judge-steps", "12"]),
        &["captions.jsonl", "--data"],
    );
    captioned(&at("others"));
    let lines = std::fs::read_to_string(at("others/captions.jsonl"))
        .unwrap()
        .replace("shade", "tone");
    std::fs::write(at("others/captions.jsonl"), lines).unwrap();
    refused(
        resume(&[
            "--judge-steps",
            "12",
            "--data",
            text(&at("others/captions.jsonl")),
        ]),
        &["others", "--data"],
    );
    let said = stderr(&ok(resume(&[
        "--judge-steps",
        "12",
        "--data",
        text(&at("moved/captions.jsonl")),
    ])));
    assert!(said.contains("12 steps and not 8"), "{said}");
    let judged = models(&run_path);
    assert!(judged[2] != whole[2] && judged[1] == longer[1]);
    // Where they lie now is known from here on.
    stopped_at_twelve(&run_path.join("contrastive"));
    ok(resume(&["--quiet"]));
    assert!(models(&run_path) == judged);

    let evaluate = |more: &[&str]| {
        run(&[
            &[
                "text2image",
                "evaluate",
                text(&run_path),
                "--n",
                "2",
                "--pool",
                "2",
                "--sweep",
                "1",
            ],
            more,
        ]
        .concat())
    };
    refused(evaluate(&[]), &["captions.jsonl", "--data"]);
    refused(
        evaluate(&["--data", text(&at("others/captions.jsonl"))]),
        &["others", "--data"],
    );
    ok(evaluate(&["--data", text(&at("moved/captions.jsonl"))]));
}

fn stopped_at_twelve(place: &Path) {
    for file in [
        "final.safetensors",
        "checkpoints/step-00000012.json",
        "checkpoints/step-00000012.safetensors",
    ] {
        std::fs::remove_file(place.join(file)).unwrap();
    }
}

#[test]
fn text_to_image_of_an_earlier_version_goes_on_by_what_its_stages_have() {
    let folder = tempfile::tempdir().unwrap();
    let (data, run_path) = (
        captioned(&folder.path().join("set")),
        folder.path().join("run"),
    );
    let begin = [
        "text2image",
        "train",
        "--data",
        text(&data),
        "--out",
        text(&run_path),
        "--quiet",
    ];
    ok(run(&[&begin[..], &options(), &STEPS].concat()));
    std::fs::remove_file(run_path.join("text/asked.toml")).unwrap();
    let resume = |more: &[&str]| {
        run(&[&["text2image", "train", "--resume", text(&run_path)], more].concat())
    };
    refused(resume(&["--set", "prior.layers=2"]), &["--set"]);
    let whole = models(&run_path);
    stopped(&run_path.join("prior"));
    ok(resume(&[&options()[..], &["--quiet"]].concat()));
    assert!(models(&run_path) == whole);
    ok(resume(&["--steps", "12", "--quiet"]));
    assert_eq!(rates(&run_path.join("prior")).len(), 12);
}

#[cfg(unix)]
#[test]
fn the_command_that_a_stopped_run_prints_goes_on_with_it() {
    let folder = tempfile::tempdir().unwrap();
    captioned(&folder.path().join("set"));
    let args = [
        "text2image",
        "train",
        "--data",
        "set/captions.jsonl",
        "--out",
        "my run",
        "--stage1-steps",
        "100000",
    ];
    let args = [
        &args[..],
        &options(),
        &["--steps", "4", "--judge-steps", "0"],
    ]
    .concat();
    let mut command = wgvq();
    let child = command
        .current_dir(folder.path())
        .args(args)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let saved = folder.path().join("my run/checkpoints/step-00000004.json");
    while !saved.exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let pid = child.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(130), "{said}");
    let line = said
        .lines()
        .find(|l| l.contains("go on with: "))
        .unwrap_or_else(|| panic!("{said}"));
    assert!(
        line.ends_with("go on with: wgvq text2image train --resume 'my run'"),
        "{line}"
    );
    let steps = line
        .split_once("at step ")
        .unwrap()
        .1
        .split_once(';')
        .unwrap()
        .0;
    let more = (steps.parse::<u64>().unwrap() + 2).to_string();
    let resume = [
        "text2image",
        "train",
        "--resume",
        "my run",
        "--stage1-steps",
        &more,
        "--quiet",
    ];
    ok(within(folder.path(), &resume));
    assert!(
        folder
            .path()
            .join("my run/prior/final.safetensors")
            .is_file()
    );
    assert!(!folder.path().join("my run/contrastive").exists());
}
