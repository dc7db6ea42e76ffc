//! Configurations keep what earlier versions wrote: the text of a run's file and the hash by which
//! its checkpoints know it.

use crate::common::{run, stderr, stdout};
use std::fmt::Write;
use wgvq::config::contrastive::ContrastiveConfig;
use wgvq::config::presets::presets;
use wgvq::config::prior::PriorConfig;
use wgvq::config::run::RunConfig;
use wgvq::config::{DottedConfig, Resumable};
use wgvq::models::prior::Shape;
use wgvq::quantize::Registry;

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn set<C: DottedConfig>(mut config: C, pairs: Pairs) -> C {
    for (key, value) in pairs {
        config
            .set(key, value)
            .unwrap_or_else(|e| panic!("{key} = {value}: {e}"));
    }
    config
}

const RUNS: [(&str, Pairs); 9] = [
    ("defaults", &[]),
    (
        "every word",
        &[
            ("model.kind", "vqvae2"),
            ("train.dtype", "f16"),
            ("data.crop", "random"),
            ("data.store", "disk"),
            ("data.split", "captions"),
            ("loss.pixels", "l1"),
            ("quantizer.kind", "cosine"),
        ],
    ),
    (
        "vit",
        &[
            ("model.kind", "vit"),
            ("model.layers", "2"),
            ("loss.pixels", "mse"),
        ],
    ),
    (
        "vqgan",
        &[
            ("model.kind", "vqgan"),
            ("model.multipliers", "1,2"),
            ("gan.norm", "spectral"),
            ("gan.objective", "non-saturating"),
            ("gan.regularizer", "lecam"),
        ],
    ),
    (
        "levels",
        &[
            ("model.kind", "vqvae2"),
            ("model.levels", "3"),
            ("model.codebook_sizes", "16,32,64"),
            ("data.store", "memory"),
        ],
    ),
    (
        "optimiser",
        &[
            ("train.lr", "3e-5"),
            ("train.min_lr", "0.1"),
            ("train.warmup", "10"),
            ("train.decay_steps", "1990"),
            ("train.beta1", "0.8"),
            ("train.beta2", "0.97"),
            ("train.adam_eps", "1e-6"),
            ("train.ema_decay", "0.99"),
            ("train.weight_decay", "0.01"),
            ("train.grad_clip", "2"),
        ],
    ),
    (
        "log",
        &[
            ("train.log_every", "7"),
            ("train.eval_every", "11"),
            ("train.checkpoint_every", "13"),
            ("train.keep_checkpoints", "9"),
            ("train.seed", "77"),
            ("train.auto_heal", "true"),
        ],
    ),
    ("source", &[("data.source", "my \"pictures\"\n/there")]),
    (
        "fsq",
        &[("quantizer.kind", "fsq"), ("quantizer.levels", "8,5")],
    ),
];

const PRIORS: [(&str, Pairs); 4] = [
    ("defaults", &[]),
    (
        "words",
        &[
            ("prior.attention", "row,column"),
            ("prior.positions", "learned"),
            ("train.dtype", "f16"),
        ],
    ),
    (
        "train",
        &[
            ("train.accumulate", "3"),
            ("train.decay_steps", "50"),
            ("train.label_smoothing", "0.1"),
            ("train.class_dropout", "0.2"),
            ("train.keep_best", "false"),
            ("train.eval_images", "5"),
            ("train.ema_decay", "0"),
        ],
    ),
    (
        "to the end",
        &[("train.steps", "300"), ("train.warmup", "7")],
    ),
];

const CONTRASTIVE: [(&str, Pairs); 2] = [
    ("defaults", &[]),
    (
        "train",
        &[
            ("train.steps", "5"),
            ("train.batch_size", "7"),
            ("train.lr", "0.5"),
            ("train.min_lr", "0.01"),
            ("train.warmup", "3"),
            ("train.weight_decay", "0"),
            ("train.seed", "9"),
            ("train.log_every", "2"),
            ("train.eval_every", "3"),
            ("train.checkpoint_every", "4"),
            ("train.keep_checkpoints", "1"),
        ],
    ),
];

/// Returns, for each configuration, the hash of its text, as it is and with all written out, and
/// its identity.
fn lines() -> String {
    let mut lines = String::new();
    let mut line = |name: String, hashes: &[String]| {
        writeln!(lines, "{name}: {}", hashes.join(" ")).expect("a string takes it");
    };
    let of_run = |config: &RunConfig| {
        [
            config.sha256().unwrap(),
            config
                .resolve(&Registry::default())
                .unwrap()
                .sha256()
                .unwrap(),
            config.identity().unwrap(),
        ]
    };
    for preset in presets() {
        line(
            format!("preset {}", preset.name),
            &of_run(&preset.config().unwrap()),
        );
    }
    for (name, pairs) in RUNS {
        line(
            format!("run {name}"),
            &of_run(&set(RunConfig::default(), pairs)),
        );
    }
    for (name, pairs) in PRIORS {
        let config = set(PriorConfig::default(), pairs);
        let hashes = [
            config.sha256().unwrap(),
            config.resolve().unwrap().sha256().unwrap(),
            config.identity().unwrap(),
        ];
        line(format!("prior {name}"), &hashes);
    }
    for size in ["tiny", "small", "base", "medium", "large"] {
        let config = PriorConfig {
            prior: Shape::of_size(size).unwrap(),
            ..PriorConfig::default()
        };
        line(format!("prior {size}"), &[config.sha256().unwrap()]);
    }
    for (name, pairs) in CONTRASTIVE {
        let config = set(ContrastiveConfig::default(), pairs);
        let hashes = [config.sha256().unwrap(), config.identity().unwrap()];
        line(format!("contrastive {name}"), &hashes);
    }
    lines
}

#[test]
fn texts_and_identities_are_those_of_earlier_versions() {
    let kept = include_str!("../fixtures/configurations/hashes.txt");
    let now = lines();
    for (now, kept) in now.lines().zip(kept.lines()) {
        assert_eq!(now, kept);
    }
    assert_eq!(now, kept);
}

/// The command prints a preset's file, which is a configuration.
#[test]
fn presets_are_listed_and_printed() {
    let list = stdout(&run(&["presets"]));
    assert_eq!(list.lines().count(), presets().len());
    for preset in presets() {
        let line = list.lines().find(|line| line.starts_with(preset.name));
        assert!(line.is_some_and(|line| line.ends_with(preset.about())));
        let printed = stdout(&run(&["presets", preset.name]));
        assert_eq!(printed, preset.toml);
        let config = RunConfig::from_toml(&printed).unwrap();
        assert_eq!(config, preset.config().unwrap());
        let json = stdout(&run(&["presets", preset.name, "--json"]));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["toml"], preset.toml);
    }
    let wrong = run(&["presets", "emoji23"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("emoji32"));
}
