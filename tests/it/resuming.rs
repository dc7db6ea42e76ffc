//! Runs that are moved, resumed and extended.

use crate::common::{ok, refused, run, stderr, stdout, text, tiny_config, wgvq};
use std::path::{Path, PathBuf};
use std::process::Output;
use wgvq::config::prior::PriorConfig;
use wgvq::config::run::RunConfig;
use wgvq::config::{DottedConfig, Resumable};
use wgvq::storage::checkpoint;

fn within(folder: &Path, args: &[&str]) -> Output {
    wgvq()
        .current_dir(folder)
        .args(args)
        .output()
        .expect("the program starts")
}

/// A folder of small pictures, whose colours follow from `shade`.
fn pictures(folder: &Path, shade: u8) {
    std::fs::create_dir(folder).unwrap();
    for i in 0..12u8 {
        let pixel = |x: u32, y: u32| image::Rgb([20 * i, shade, (x * y) as u8]);
        image::RgbImage::from_fn(8, 8, pixel)
            .save(folder.join(format!("{i}.png")))
            .unwrap();
    }
}

/// A run of eight steps on `pics` in `folder`, which is the working directory.
fn begun(folder: &Path, name: &str) -> PathBuf {
    if !folder.join("pics").exists() {
        pictures(&folder.join("pics"), 7);
        tiny_config(&folder.join("tiny.toml"), 8);
    }
    ok(within(
        folder,
        &[
            "train",
            "tiny.toml",
            "--data",
            "pics",
            "--out",
            name,
            "--quiet",
        ],
    ));
    folder.join(name)
}

fn source(run: &Path) -> String {
    RunConfig::load(&run.join("config.toml"))
        .unwrap()
        .data
        .source
}

fn same_model(a: &Path, b: &Path) {
    let [a, b] = [a, b].map(|path| {
        checkpoint::load_file(&path.join("final.safetensors"))
            .unwrap()
            .0
    });
    assert!(a.tensors == b.tensors, "other weights");
}

/// Puts the hash of a configuration as earlier versions made it into a run's checkpoints.
fn as_earlier_versions_had_it(run: &Path, identity: &str) {
    for file in std::fs::read_dir(run.join("checkpoints")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|e| e == "json") {
            let mut manifest: serde_json::Value =
                serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            manifest["config_sha256"] = identity.into();
            std::fs::write(&path, manifest.to_string()).unwrap();
        }
    }
}

#[test]
fn a_run_goes_on_wherever_its_pictures_and_whoever_calls_it_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let run_path = begun(folder.path(), "run");
    assert_eq!(
        source(&run_path),
        text(&at("pics")),
        "a path that holds from anywhere"
    );
    let more = |steps: &str, more: &[&str]| {
        run(&[
            &[
                "train",
                "--resume",
                text(&run_path),
                "--steps",
                steps,
                "--quiet",
            ],
            more,
        ]
        .concat())
    };
    // From another working directory.
    ok(more("10", &[]));
    std::fs::rename(at("pics"), at("moved")).unwrap();
    refused(
        more("12", &[]),
        &[text(&at("pics")), "--data", text(&run_path)],
    );
    refused(
        run(&["inspect", text(&run_path)]),
        &[text(&at("pics")), "--data"],
    );
    pictures(&at("others"), 8);
    refused(
        more("12", &["--data", text(&at("others"))]),
        &["others", "images differ", "--data"],
    );
    assert_eq!(
        source(&run_path),
        text(&at("pics")),
        "nothing is changed then"
    );
    ok(within(
        folder.path(),
        &[
            "train", "--resume", "run", "--steps", "12", "--data", "./moved", "--quiet",
        ],
    ));
    assert_eq!(source(&run_path), text(&at("moved")));
    ok(run(&[
        "inspect",
        text(&run_path),
        "--images",
        "2",
        "--out",
        text(&at("inspected")),
    ]));
    // By its configuration.
    std::fs::rename(at("moved"), at("again")).unwrap();
    let config = run_path.join("config.toml");
    std::fs::write(
        &config,
        std::fs::read_to_string(&config)
            .unwrap()
            .replace("/moved\"", "/again\""),
    )
    .unwrap();
    ok(more("16", &[]));
    // It is the run that was never moved.
    std::fs::rename(at("again"), at("pics")).unwrap();
    tiny_config(&at("tiny.toml"), 16);
    same_model(&begun(folder.path(), "alone"), &run_path);
}

#[test]
fn a_run_of_an_earlier_version_with_a_relative_path_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let run_path = begun(folder.path(), "run");
    let config = run_path.join("config.toml");
    let mut old = RunConfig::load(&config).unwrap();
    old.data.source = "pics".into();
    std::fs::write(&config, old.to_toml().unwrap()).unwrap();
    old.train.steps = 1;
    as_earlier_versions_had_it(&run_path, &old.sha256().unwrap());
    std::fs::rename(folder.path().join("pics"), folder.path().join("moved")).unwrap();
    let changed = [
        "train", "--resume", "run", "--data", "moved", "--steps", "12", "--quiet",
    ];
    refused(
        within(folder.path(), &[&changed[..], &["--lr", "0.1"]].concat()),
        &["--resume", "--steps"],
    );
    ok(within(folder.path(), &changed));
    assert_eq!(source(&run_path), text(&folder.path().join("moved")));
    ok(run(&[
        "train",
        "--resume",
        text(&run_path),
        "--steps",
        "16",
        "--quiet",
    ]));
}

const TINY_PRIOR: [&str; 16] = [
    "--batch",
    "4",
    "--set",
    "prior.layers=1",
    "--set",
    "prior.dim=16",
    "--set",
    "prior.heads=1",
    "--set",
    "train.checkpoint_every=4",
    "--set",
    "train.warmup=2",
    "--set",
    "train.log_every=1",
    "--steps",
    "8",
];

#[test]
fn a_path_written_otherwise_is_the_same_set() {
    let folder = tempfile::tempdir().unwrap();
    begun(folder.path(), "run");
    let prior = |more: &[&str]| {
        within(
            folder.path(),
            &[&["prior", "run"][..], &TINY_PRIOR, &["--quiet"], more].concat(),
        )
    };
    ok(prior(&["--data", "pics"]));
    // As if it had been stopped before the first step.
    let place = folder.path().join("run/prior");
    std::fs::rename(place.join("tokens"), folder.path().join("tokens")).unwrap();
    std::fs::remove_dir_all(&place).unwrap();
    std::fs::create_dir(&place).unwrap();
    std::fs::rename(folder.path().join("tokens"), place.join("tokens")).unwrap();
    let tokens = folder
        .path()
        .join("run/prior/tokens/train-00000.safetensors");
    let made = std::fs::metadata(&tokens).unwrap().modified().unwrap();
    ok(prior(&["--data", "./pics/"]));
    assert_eq!(
        std::fs::metadata(&tokens).unwrap().modified().unwrap(),
        made,
        "they are not made again"
    );
    // The tokens are all that it needs; --data is held against them.
    std::fs::rename(folder.path().join("pics"), folder.path().join("moved")).unwrap();
    pictures(&folder.path().join("others"), 9);
    let resume = |more: &[&str]| {
        within(
            folder.path(),
            &[&["prior", "run", "--resume", "--quiet"], more].concat(),
        )
    };
    ok(resume(&[]));
    ok(resume(&["--data", "moved"]));
    refused(resume(&["--data", "others"]), &["--data", "other images"]);

    let compare = |data: &str| {
        let args = [
            "compare",
            "tiny.toml",
            "--quantizers",
            "ema",
            "--data",
            data,
            "--steps",
            "4",
            "--quiet",
        ];
        within(folder.path(), &args)
    };
    let finished = folder.path().join("compared/ema-seed0/final.safetensors");
    ok(compare("moved"));
    let model = std::fs::read(&finished).unwrap();
    ok(compare("./moved"));
    std::fs::rename(folder.path().join("moved"), folder.path().join("again")).unwrap();
    ok(compare("again"));
    assert_eq!(std::fs::read(&finished).unwrap(), model);
    refused(compare("others"), &["other images", "--out"]);
}

/// Learning rates of a prior's log, a row to each step.
fn rates(prior: &Path) -> Vec<f64> {
    let columns = wgvq::storage::metrics_log::columns(&prior.join("metrics.csv")).unwrap();
    columns
        .into_iter()
        .find(|(name, _)| name == "lr")
        .unwrap()
        .1
}

#[test]
fn a_prior_that_goes_on_for_more_steps_has_a_learning_rate_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let run_path = begun(folder.path(), "run");
    let prior = run_path.join("prior");
    ok(run(&[
        &["prior", text(&run_path), "--quiet"],
        &TINY_PRIOR[..],
    ]
    .concat()));
    let short = rates(&prior);
    // As an earlier version left it: its steps of decay stand in the hash of its configuration.
    let mut old = PriorConfig::load(&prior.join("config.toml")).unwrap();
    (old.train.steps, old.train.gradient_checkpointing) = (1, false);
    as_earlier_versions_had_it(&prior, &old.sha256().unwrap());

    let said = stderr(&ok(run(&[
        "prior",
        text(&run_path),
        "--resume",
        "--steps",
        "16",
    ])));
    assert!(
        said.contains("16 steps and not 8") && said.contains("learning rate"),
        "{said}"
    );
    let long = rates(&prior);
    assert_eq!(long[..8], short[..], "what was done stays");
    let (most, least) = (1e-3, 1e-4);
    assert!(long[8] > 3.0 * least && long[8] < most, "{long:?}");
    assert!(
        long[8..].windows(2).all(|w| w[1] < w[0]),
        "it falls over the new steps: {long:?}"
    );
    assert!(long[15] < 1.2 * least, "{long:?}");
    // Killed on its way, it ends with the same bytes.
    let whole = std::fs::read(prior.join("final.safetensors")).unwrap();
    for file in [
        "final.safetensors",
        "checkpoints/step-00000016.json",
        "checkpoints/step-00000016.safetensors",
    ] {
        std::fs::remove_file(prior.join(file)).unwrap();
    }
    let said = stderr(&ok(run(&["prior", text(&run_path), "--resume"])));
    assert!(
        said.contains("resumed at step 12") && !said.contains("and not"),
        "{said}"
    );
    assert!(
        std::fs::read(prior.join("final.safetensors")).unwrap() == whole,
        "other bytes"
    );
    assert_eq!(rates(&prior), long);
}

#[test]
fn a_first_stage_that_goes_on_says_what_its_learning_rate_does() {
    let folder = tempfile::tempdir().unwrap();
    tiny_config(&folder.path().join("tiny.toml"), 8);
    let at = |name: &str| folder.path().join(name);
    let (tiny, falls, ends, stays) = (at("tiny.toml"), at("falls"), at("ends"), at("stays"));
    let train = |out: &Path, decay: &str| {
        let key = format!("train.decay_steps={decay}");
        ok(run(&[
            "train",
            text(&tiny),
            "--out",
            text(out),
            "--set",
            &key,
            "--quiet",
        ]));
        stderr(&ok(run(&["train", "--resume", text(out), "--steps", "12"])))
    };
    let decay = |out: &Path| {
        RunConfig::load(&out.join("config.toml"))
            .unwrap()
            .train
            .decay_steps
    };
    let said = train(&falls, "8");
    assert!(
        said.contains("schedule covers them") && decay(&falls) == 12,
        "{said}"
    );
    let said = train(&ends, "4");
    assert!(
        said.contains("the learning rate stays 3.000e-6") && decay(&ends) == 4,
        "{said}"
    );
    assert!(train(&stays, "0").contains("the learning rate stays 3.000e-4"));
    // Steps that are written into its configuration are as good.
    let config = falls.join("config.toml");
    std::fs::write(
        &config,
        std::fs::read_to_string(&config)
            .unwrap()
            .replace("\nsteps = 12", "\nsteps = 16"),
    )
    .unwrap();
    ok(run(&["train", "--resume", text(&falls)]));
    assert_eq!(decay(&falls), 16);
    assert!(RunConfig::load(&config).unwrap().identity().is_ok());
}

#[test]
fn a_model_is_not_trained_away_from_under_its_prior() {
    let folder = tempfile::tempdir().unwrap();
    let run_path = begun(folder.path(), "run");
    ok(run(&[
        &["prior", text(&run_path), "--quiet"],
        &TINY_PRIOR[..],
    ]
    .concat()));
    let model = std::fs::read(run_path.join("final.safetensors")).unwrap();
    let resume = |more: &[&str]| run(&[&["train", "--resume", text(&run_path)], more].concat());
    refused(
        resume(&["--steps", "12"]),
        &[
            "12 steps",
            "8 are done",
            text(&run_path.join("prior")),
            "wgvq prior",
        ],
    );
    // What has ended stays as it is, wherever its pictures are now.
    std::fs::rename(folder.path().join("pics"), folder.path().join("moved")).unwrap();
    ok(resume(&["--data", text(&folder.path().join("moved"))]));
    assert_eq!(
        std::fs::read(run_path.join("final.safetensors")).unwrap(),
        model
    );
    ok(run(&[
        "sample",
        text(&run_path),
        "--n",
        "1",
        "--out",
        text(&folder.path().join("samples")),
    ]));
    // Away with it, the way is free; put back, it is found to be another model's.
    std::fs::rename(run_path.join("prior"), folder.path().join("kept")).unwrap();
    ok(resume(&["--steps", "12"]));
    std::fs::rename(folder.path().join("kept"), run_path.join("prior")).unwrap();
    let said = stderr(&ok(resume(&["--steps", "16"])));
    assert!(
        said.contains("is of another model") && said.contains("--overwrite"),
        "{said}"
    );
    assert_eq!(stdout(&resume(&["--quiet", "--json"])).lines().count(), 1);
}

/// Twelve small pictures with captions, and the file of these.
fn captioned(folder: &Path) -> PathBuf {
    std::fs::create_dir(folder).unwrap();
    let mut lines = String::new();
    for i in 0..12u8 {
        let shade = image::Rgb([20 * i, 90, 200 - 10 * i]);
        image::RgbImage::from_fn(16, 16, |x, y| {
            if x < 8 && y < 8 {
                shade
            } else {
                image::Rgb([255; 3])
            }
        })
        .save(folder.join(format!("{i}.png")))
        .unwrap();
        lines += &format!("{{\"image\": \"{i}.png\", \"text\": \"a square of shade {i}\"}}\n");
    }
    std::fs::write(folder.join("set.jsonl"), lines).unwrap();
    folder.join("set.jsonl")
}

/// Options of a tiny system, other than the defaults in every stage.
const SYSTEM: &str = "--system dalle --stage1 model.hidden=16 --stage1 model.residual_layers=1 \
     --stage1 model.residual_hidden=8 --stage1 quantizer.codebook_size=16 \
     --stage1 train.batch_size=4 --stage1 train.checkpoint_every=4 --size tiny \
     --set prior.layers=1 --set prior.dim=16 --set prior.heads=1 \
     --set train.checkpoint_every=4 --set train.log_every=1 --set train.warmup=2 \
     --batch 4 --vocabulary 290 --judge model.dim=16 --judge model.layers=1 --judge \
     train.batch_size=4 --judge train.warmup=1 --judge train.checkpoint_every=4 --seed 3";
const STEPS: [&str; 6] = ["--stage1-steps", "8", "--steps", "8", "--judge-steps", "8"];

fn options() -> Vec<&'static str> {
    SYSTEM.split_whitespace().collect()
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
        "set/set.jsonl",
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
    refused(resume(&["--judge-steps", "12"]), &["set.jsonl", "--data"]);
    captioned(&at("others"));
    let lines = std::fs::read_to_string(at("others/set.jsonl"))
        .unwrap()
        .replace("shade", "tone");
    std::fs::write(at("others/set.jsonl"), lines).unwrap();
    refused(
        resume(&[
            "--judge-steps",
            "12",
            "--data",
            text(&at("others/set.jsonl")),
        ]),
        &["others", "--data"],
    );
    let said = stderr(&ok(resume(&[
        "--judge-steps",
        "12",
        "--data",
        text(&at("moved/set.jsonl")),
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
    refused(evaluate(&[]), &["set.jsonl", "--data"]);
    refused(
        evaluate(&["--data", text(&at("others/set.jsonl"))]),
        &["others", "--data"],
    );
    ok(evaluate(&["--data", text(&at("moved/set.jsonl"))]));
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
        "set/set.jsonl",
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
