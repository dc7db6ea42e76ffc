//! Runs that are moved, resumed and extended.

mod learning_rates;
mod texts;

use crate::common::{SMALLEST_PRIOR, ok, refused, run, stderr, stdout, text, tiny_config, wgvq};
use std::path::{Path, PathBuf};
use std::process::Output;
use wgvq::config::DottedConfig;
use wgvq::config::run::RunConfig;
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

const TINY_PRIOR: [&str; 10] = [
    "--batch",
    "4",
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
            &[
                &["prior", "run"][..],
                &SMALLEST_PRIOR,
                &TINY_PRIOR,
                &["--quiet"],
                more,
            ]
            .concat(),
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

#[test]
fn a_model_is_not_trained_away_from_under_its_prior() {
    let folder = tempfile::tempdir().unwrap();
    let run_path = begun(folder.path(), "run");
    ok(run(&[
        &["prior", text(&run_path), "--quiet"],
        &SMALLEST_PRIOR[..],
        &TINY_PRIOR,
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
