//! Configuration keys, plans, and what commands say.

use crate::common::{run, stderr, stdout, text, train_tiny, wgvq as program};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use wgvq::config::DottedConfig;
use wgvq::config::contrastive::ContrastiveConfig;
use wgvq::config::presets::presets;
use wgvq::config::prior::PriorConfig;
use wgvq::config::run::RunConfig;
use wgvq::gpu::{Gpu, Options};
use wgvq::plan::Plan;
use wgvq::quantize::Registry;
use wgvq::storage::checkpoint;
use wgvq::storage::run_folder::RunFolder;
use wgvq::train::{Observer, Progress, Start};
use wgvq::{data, quantize};

fn ok(args: &[&str]) -> Output {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    output
}

/// Lines of JSON.
fn json(args: &[&str]) -> Vec<serde_json::Value> {
    let said = stdout(&ok(args));
    said.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{args:?}: {e}: {line}")))
        .collect()
}

fn refused(args: &[&str], words: &[&str]) {
    let output = run(args);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{args:?} does not say {word}: {said}");
    }
    assert_eq!(
        said.lines().filter(|l| l.starts_with("error:")).count(),
        1,
        "{said}"
    );
}

/// `key = value` of every key, as TOML has it.
fn keys(config: &impl DottedConfig) -> Vec<(String, String)> {
    let all = config.to_toml().unwrap();
    let mut section = String::new();
    let mut pairs = Vec::new();
    for line in all.lines().filter(|l| !l.is_empty()) {
        match line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            Some(name) if !line.contains('=') => section = name.to_owned(),
            _ => {
                let (key, value) = line.split_once(" = ").expect("a key and its value");
                pairs.push((format!("{section}.{key}"), value.to_owned()));
            }
        }
    }
    pairs
}

fn set_to_itself<T: DottedConfig + PartialEq + std::fmt::Debug>(config: &T) {
    let pairs = keys(config);
    assert!(pairs.len() > 15);
    let mut all = config.clone();
    for (key, value) in pairs {
        let mut one = config.clone();
        one.set(&key, &value)
            .unwrap_or_else(|e| panic!("{key} = {value}: {e}"));
        assert_eq!(&one, config, "{key} = {value}");
        // Without the quotes and brackets of TOML.
        let bare = value.replace(['"', '[', ']'], "");
        one.set(&key, &bare)
            .unwrap_or_else(|e| panic!("{key} = {bare}: {e}"));
        assert_eq!(&one, config, "{key} = {bare}");
        all.set(&key, &value).unwrap();
    }
    assert_eq!(&all, config);
}

#[test]
fn every_key_takes_its_own_value() {
    set_to_itself(&RunConfig::default());
    set_to_itself(&*RunConfig::default().resolve(&Registry::default()).unwrap());
    presets()
        .iter()
        .for_each(|p| set_to_itself(&*p.config().unwrap().resolve(&Registry::default()).unwrap()));
    set_to_itself(&PriorConfig::default());
    set_to_itself(&*PriorConfig::default().resolve().unwrap());
    set_to_itself(&ContrastiveConfig::default());
    let mut prior = PriorConfig::default();
    for (given, written) in [
        ("row,column", r#"["row", "column"]"#),
        (r#"["full","convolution"]"#, r#"["full", "convolution"]"#),
        ("[]", "[]"),
        ("row", r#"["row"]"#),
        ("", "[]"),
    ] {
        prior.set("prior.attention", given).unwrap();
        assert!(
            prior
                .to_toml()
                .unwrap()
                .contains(&format!("attention = {written}\n")),
            "{given}"
        );
        set_to_itself(&prior);
    }
    let told = prior
        .set("prior.attention", "row,colum")
        .unwrap_err()
        .to_string();
    for word in [
        "`prior.attention`",
        "`colum`",
        "full, row, column or convolution",
        "the nearest is `column`",
    ] {
        assert!(told.contains(word), "{told}");
    }
}

#[test]
fn a_command_takes_every_key_and_comes_to_the_same_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let one = train_tiny(folder.path(), "one", 2);
    let config = RunConfig::load(&one.join("config.toml")).unwrap();
    let pairs: Vec<String> = keys(&config)
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let two = at("two");
    let mut args = vec!["train", "--quiet", "--out", text(&two)];
    pairs.iter().for_each(|pair| args.extend(["--set", pair]));
    let output = ok(&args);
    assert_eq!(stderr(&output), "");
    let read = |run: &Path, file: &str| std::fs::read(run.join(file)).unwrap();
    for file in ["config.toml", "final.safetensors"] {
        assert!(read(&one, file) == read(&two, file), "{file}");
    }
    // The second stage's, with a list of words among them.
    let tiny = [
        "prior.layers=1",
        "prior.dim=16",
        "prior.heads=1",
        "train.steps=2",
        "prior.attention=row,column",
    ];
    let mut args = vec!["prior", text(&one), "--batch", "4", "--quiet"];
    tiny.iter().for_each(|pair| args.extend(["--set", pair]));
    ok(&args);
    let config = PriorConfig::load(&one.join("prior/config.toml")).unwrap();
    let pairs: Vec<String> = keys(&config)
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let mut args = vec!["prior", text(&two), "--quiet"];
    pairs.iter().for_each(|pair| args.extend(["--set", pair]));
    ok(&args);
    assert!(read(&one, "prior/config.toml") == read(&two, "prior/config.toml"));
}

#[test]
fn a_value_that_cannot_be_used_names_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let (out, file) = (folder.path().join("out"), folder.path().join("c.toml"));
    for (set, words) in [
        (
            "train.steps=9223372036854775808",
            vec!["`train.steps`", "out of range", "9223372036854775807"],
        ),
        (
            "train.steps=many",
            vec!["`train.steps`", "not a whole number"],
        ),
        ("train.steps=-3", vec!["`train.steps`", "at least 0"]),
        (
            "train.lr=fast",
            vec!["`train.lr`", "not a number", "0.0003"],
        ),
        ("data.flip=yes", vec!["`data.flip`", "true or false"]),
        (
            "quantizer.levels=8,x",
            vec!["`quantizer.levels`", "`x`", "8,5,5"],
        ),
        (
            "quantizer.levels=[8,5",
            vec!["`quantizer.levels`", "bracket"],
        ),
        (
            "model.attention=row",
            vec!["`model.attention`", "`row`", "whole number"],
        ),
        (
            "gan.norm=bach",
            vec![
                "`gan.norm`",
                "batch, spectral or none",
                "nearest is `batch`",
            ],
        ),
        ("train.stps=3", vec!["`train.stps`", "train.steps"]),
        ("steps", vec!["option `--set`", "`steps` is not KEY=VALUE"]),
    ] {
        refused(&["train", "--set", set, "--out", text(&out)], &words);
    }
    for (toml, words) in [
        ("[train]\nsteps = 9223372036854775808\n", vec!["line 2"]),
        ("[train]\nsteps = = 3\n", vec!["no TOML", "line 2"]),
        (
            "[quantizer]\nlevels = [8, \"x\"]\n",
            vec!["`quantizer.levels`", "\"x\"", "whole number"],
        ),
        (
            "[quantizer]\nlevels = [8, -1]\n",
            vec!["`quantizer.levels`", "-1", "at least 0"],
        ),
        (
            "[gan]\nnorm = \"bach\"\n",
            vec!["`gan.norm`", "nearest is `batch`"],
        ),
        (
            "[train]\nseed = true\n",
            vec!["`train.seed`", "boolean", "whole number"],
        ),
    ] {
        std::fs::write(&file, toml).unwrap();
        let output = run(&["train", text(&file), "--out", text(&out)]);
        let said = stderr(&output);
        assert!(
            !output.status.success() && said.lines().count() == 1,
            "{toml}: {said}"
        );
        words
            .iter()
            .for_each(|word| assert!(said.contains(word), "{toml} does not say {word}: {said}"));
        assert!(!said.contains("a value"), "{said}");
    }
    assert!(!out.exists());
}

#[test]
fn a_pair_of_an_option_names_that_option() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    for option in ["--set", "--judge", "--stage1"] {
        let args = [
            "text2image",
            "train",
            "--data",
            "emoji",
            "--out",
            text(&out),
            option,
            "steps",
        ];
        refused(
            &args,
            &[&format!("option `{option}`"), "`steps` is not KEY=VALUE"],
        );
    }
    assert!(!out.exists());
}

struct Silent;

impl Observer for Silent {
    fn step(&mut self, _: &Progress) {}
    fn evaluated(&mut self, _: u64, _: &dyn std::fmt::Display) {}
    fn note(&mut self, _: &str) {}
}

/// A preset, or a model of it, at a size that takes no time.
fn shrunk(mut config: RunConfig, quantizer: &str) -> RunConfig {
    config.quantizer = quantize::Options {
        codebook_size: 32,
        codebook_dim: 8,
        ..quantize::Options::of(quantizer)
    };
    config.data = RunConfig::default().data;
    (config.data.source, config.data.width, config.data.height) = ("emoji".into(), 16, 16);
    (
        config.model.hidden,
        config.model.residual_hidden,
        config.model.residual_layers,
    ) = (32, 8, 1);
    config.gan.hidden = 8;
    (config.gan.start, config.gan.head_start, config.gan.ramp) = (1, 0, 1);
    (
        config.train.batch_size,
        config.train.steps,
        config.train.eval_every,
    ) = (4, 2, 0);
    config
}

#[test]
fn a_plan_is_what_a_run_then_takes() {
    let gpu = Gpu::new(Options::default()).expect("an adapter");
    let folder = tempfile::tempdir().unwrap();
    let (presets, kinds) = (presets(), quantize::all());
    let mut set = None;
    let mut peaks = Vec::new();
    // Each preset and each quantizer, in as many pairs as there are of the longer list.
    for i in 0..presets.len().max(kinds.len()) {
        let (preset, kind) = (
            presets.get(i).unwrap_or(&presets[0]),
            kinds[i % kinds.len()].name,
        );
        let config = shrunk(preset.config().unwrap(), kind)
            .resolve(&Registry::default())
            .unwrap();
        let set = set.get_or_insert_with(|| {
            let mut set = data::open("emoji", &config.data.options()).unwrap();
            set.test.truncate(8);
            Arc::new(set)
        });
        let name = format!("{}-{kind}", preset.name);
        let plan = Plan::of(&gpu, &config, set).unwrap_or_else(|e| panic!("{name}: {e}"));

        gpu.reset_peak();
        let out = RunFolder::create(&folder.path().join(&name), false).unwrap();
        let ran = wgvq::train::run(
            &gpu,
            &config,
            set.clone(),
            &out,
            Start::Fresh,
            &mut Silent,
            &AtomicBool::new(false),
        );
        drop(ran.unwrap());
        let peak = gpu.memory().peak;
        peaks.push((
            name.clone(),
            plan.peak_bytes,
            peak,
            plan.peak_bytes as f64 / peak as f64,
        ));

        // What the files of the run hold.
        let numbers = |tensors: &BTreeMap<String, checkpoint::HostTensor>,
                       of: &dyn Fn(&str) -> bool|
         -> usize {
            tensors
                .iter()
                .filter(|(name, _)| of(name))
                .map(|(_, t)| t.shape.iter().product::<usize>())
                .sum()
        };
        let (model, _) = checkpoint::load_file(&out.model()).unwrap();
        let trained = numbers(&model.tensors, &|name| !name.starts_with("quantizer."));
        assert_eq!(plan.parameters, trained, "{name}");
        let books = numbers(&model.tensors, &|name| name.ends_with("codebook"));
        assert_eq!(
            plan.codebook,
            books,
            "{name}: {:?}",
            model.tensors.keys().collect::<Vec<_>>()
        );
        assert_eq!(plan.codebook == 0, matches!(kind, "fsq" | "lfq"), "{name}");
        assert_eq!(plan.discriminator > 0, config.gan.is_on(), "{name}");
        if config.gan.is_on() {
            let (saved, _) =
                checkpoint::load_file(&out.checkpoints().join("step-00000002.safetensors"))
                    .unwrap();
            let own = |name: &str| {
                let state = ["m.", "v.", "state.", "logits."].map(|s| format!("adversary.{s}"));
                name.starts_with("adversary.") && !state.iter().any(|s| name.starts_with(s))
            };
            assert_eq!(plan.discriminator, numbers(&saved.tensors, &own), "{name}");
            let (steps, before) = plan.before.unwrap();
            assert_eq!(steps, 1);
            // Its own passes, and those of its gradient.
            assert!(
                before.flops > 0.0 && plan.step.flops > before.flops,
                "{name}"
            );
        }
        assert!(plan.step.seconds > 0.0 && plan.measurement_seconds > 0.0);
        assert_eq!(plan.measurements, 1);
        assert!(
            plan.total().as_secs_f64() >= plan.measuring_seconds()
                && plan.measuring_seconds() > 0.0
        );
    }
    // Of what a run takes; buffers that wait to be used again differ from one to the next.
    assert!(
        peaks.iter().all(|(.., ratio)| (0.8..1.25).contains(ratio)),
        "{peaks:#?}"
    );
}

/// Where a measurement takes more memory than a step, that is what a plan says.
#[test]
fn a_plan_counts_the_memory_of_measurements() {
    let gpu = Gpu::new(Options::default()).expect("an adapter");
    let mut small = shrunk(RunConfig::default(), "ema");
    small.train.batch_size = 1;
    let config = small.resolve(&Registry::default()).unwrap();
    let peaks = [1, 64].map(|test| {
        let folder = tempfile::tempdir().unwrap();
        let mut set = data::open("emoji", &small.data.options()).unwrap();
        set.test.truncate(test);
        let set = Arc::new(set);
        let plan = Plan::of(&gpu, &config, &set).unwrap().peak_bytes;
        gpu.reset_peak();
        let out = RunFolder::create(&folder.path().join("run"), false).unwrap();
        let (start, stop) = (Start::Fresh, AtomicBool::new(false));
        drop(wgvq::train::run(&gpu, &config, set, &out, start, &mut Silent, &stop).unwrap());
        (plan, gpu.memory().peak)
    });
    for (plan, run) in peaks {
        assert!(
            (0.9..1.1).contains(&(plan as f64 / run as f64)),
            "{peaks:?}"
        );
    }
    assert!(peaks[1].1 > peaks[0].1 + peaks[0].1 / 4, "{peaks:?}");
}

#[test]
fn a_plan_counts_the_measurements_and_the_steps_before_the_discriminator() {
    let of = |before, steps, measurements| Plan {
        parameters: 1,
        discriminator: 1,
        lpips: 0,
        codebook: 1,
        peak_bytes: 1,
        step: wgvq::plan::Pace {
            seconds: 2.0,
            flops: 1.0,
        },
        before,
        steps,
        measurements,
        measurement_seconds: 10.0,
    };
    let early = wgvq::plan::Pace {
        seconds: 0.5,
        flops: 1.0,
    };
    assert_eq!(
        of(Some((40, early)), 100, 3).total().as_secs(),
        20 + 120 + 30
    );
    assert_eq!(of(None, 100, 3).total().as_secs(), 230);
    assert_eq!(of(None, 1 << 40, 1 << 40).total().as_secs(), 12 << 40);
}

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
    let prior = [
        "--set",
        "prior.layers=1",
        "--set",
        "prior.dim=16",
        "--set",
        "prior.heads=1",
        "--batch",
        "4",
        "--steps",
        "2",
    ];
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
fn options_that_cannot_be_used_are_named() {
    let missing = "/nonexistent/run";
    for (option, value) in [
        ("--temperature", "-1"),
        ("--temperature", "nan"),
        ("--top-k", "0"),
        ("--top-p", "0"),
        ("--min-p", "2"),
        ("--repetition-penalty", "0.5"),
        ("--guidance", "inf"),
        ("--batch", "0"),
    ] {
        let given = format!("{option}={value}");
        for command in [
            ["sample", missing].as_slice(),
            &["complete", missing, "a.png"],
        ] {
            refused(
                &[command, &[&given]].concat(),
                &[&format!("option `{option}`")],
            );
        }
        refused(
            &["text2image", "sample", missing, "a heart", &given],
            &[&format!("option `{option}`")],
        );
    }
    refused(
        &["sample", missing, "--temperature", "-1"],
        &["option `--temperature`", "-1 is not allowed"],
    );
    refused(&["bench", "--seconds", "-1"], &["option `--seconds`"]);
    refused(
        &["bench", "--kernel", "matmul", "--size", "x"],
        &["option `--size`"],
    );
}

#[test]
fn what_a_choice_does_not_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    refused(
        &[
            "train",
            "--quantizer",
            "fsq",
            "--codes",
            "64",
            "--out",
            text(&out),
        ],
        &["option `--codes`", "quantizer.levels"],
    );
    refused(
        &["plan", "--quantizer", "fsq", "--codes", "64"],
        &["option `--codes`", "quantizer.levels"],
    );
    refused(
        &[
            "train",
            "--model",
            "vqvae2",
            "--set",
            "model.codebook_sizes=8,8",
            "--codes",
            "64",
            "--out",
            text(&out),
        ],
        &["option `--codes`", "model.codebook_sizes"],
    );
    assert!(!out.exists());
    // A key is told of; what is set to what it was anyway is no mistake.
    let config = folder.path().join("tiny.toml");
    crate::common::tiny_config(&config, 1);
    let said = stderr(&ok(&[
        "plan",
        text(&config),
        "--set",
        "quantizer.groups=2",
        "--set",
        "model.dim=64",
        "--set",
        "quantizer.num_quantizers=4",
    ]));
    assert!(
        said.contains("quantizer.groups changes nothing") && said.contains("`product`"),
        "{said}"
    );
    assert!(
        said.contains("model.dim changes nothing") && said.contains("model.hidden"),
        "{said}"
    );
    assert!(!said.contains("num_quantizers changes"), "{said}");
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
        let tiny = [
            "--set",
            "prior.layers=1",
            "--set",
            "prior.dim=16",
            "--set",
            "prior.heads=1",
            "--batch",
            "4",
        ];
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

#[test]
fn help_lists_what_there_is() {
    let help = stdout(&ok(&["train", "--help"]));
    for name in ["vqvae", "vqvae2", "vqgan", "vit"]
        .into_iter()
        .chain(quantize::all().iter().map(|k| k.name))
    {
        assert!(help.contains(name), "{name}");
    }
    for preset in presets() {
        for command in ["train", "plan", "compare"] {
            assert!(
                stdout(&ok(&[command, "--help"])).contains(preset.name),
                "{command}, {}",
                preset.name
            );
        }
    }
    refused_words(&["train", "--quantizer", "emma"], &["ema", "simvq"]);
    refused_words(&["train", "--preset", "emoji"], &["emoji32", "photo128"]);
}

fn refused_words(args: &[&str], words: &[&str]) {
    let output = run(args);
    assert_eq!(output.status.code(), Some(2));
    words
        .iter()
        .for_each(|word| assert!(stderr(&output).contains(word), "{}", stderr(&output)));
}

/// Notes may hold a file's name or a text, which may hold anything.
#[test]
fn notes_and_errors_have_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("two\nlines.toml");
    std::fs::write(&odd, "[train]\nsteps = = 1\n").unwrap();
    for args in [
        vec!["train", text(&odd)],
        vec!["train", "--set", "train.steps=two\nlines"],
        vec!["train", "--set", "two\nlines=3"],
        vec!["train", "--data", "two\nlines"],
    ] {
        let out = folder.path().join("out");
        let output = run(&[&args[..], &["--out", text(&out)]].concat());
        assert!(!output.status.success());
        assert_eq!(
            stderr(&output).lines().count(),
            1,
            "{args:?}: {}",
            stderr(&output)
        );
    }
}

/// The library's warnings too, and whatever a driver or a file system calls its things.
#[cfg(unix)]
#[test]
fn a_warning_has_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let caches = folder.path().join("two\nlines");
    std::fs::create_dir(&caches).unwrap();
    // A folder that leads to itself cannot be looked into.
    std::os::unix::fs::symlink("wgvq", caches.join("wgvq")).unwrap();
    let mut command = program();
    command.arg("info").env_remove("WGVQ_TUNING");
    let said = stderr(&command.env("XDG_CACHE_HOME", &caches).output().unwrap());
    assert!(said.contains("two lines/wgvq"), "{said}");
    assert!(said.contains("the default one is used"), "{said}");
    let notes = said.matches("note:").count();
    assert_eq!(said.lines().count(), notes, "{said}");
}

/// Messages go through one function, which makes each one line.
#[test]
fn one_file_writes_to_standard_error() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut writers = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            let calls = [
                "io::stderr()",
                "stderr_with_hz",
                "eprint!",
                "eprintln!",
                "dbg!",
            ];
            let calls = calls.map(|call| code.matches(call).count());
            if calls.iter().sum::<usize>() > 0 {
                writers.push((path, calls));
            }
        }
    }
    let [(file, calls)] = &writers[..] else {
        panic!("{writers:?}");
    };
    assert!(file.ends_with("cli/common/output.rs"), "{file:?}");
    // One writes lines, one breaks them behind an echo, one asks whether somebody is there to see
    // colours or a bar, which draws itself.
    assert_eq!(calls, &[3, 1, 0, 0, 0]);
}

/// Configurations, of runs and as models carry them, have keys under the names of their time.
#[test]
fn a_key_is_read_under_its_former_name() {
    let new = "gradient_checkpointing = true";
    let mut config = RunConfig::default();
    config.set("train.checkpoint_blocks", "true").unwrap();
    assert!(config.to_toml().unwrap().contains(new));
    let former = "[train]\ncheckpoint_blocks = true\n";
    assert_eq!(RunConfig::from_toml(former).unwrap(), config);
    let prior = PriorConfig::from_toml(former).unwrap();
    assert!(prior.to_toml().unwrap().contains(new));
    let json = serde_json::json!({ "train": { "checkpoint_blocks": true } });
    assert_eq!(
        serde_json::from_value::<RunConfig>(json.clone()).unwrap(),
        config
    );
    assert_eq!(serde_json::from_value::<PriorConfig>(json).unwrap(), prior);
    let both = format!("{former}gradient_checkpointing = false\n");
    let error = RunConfig::from_toml(&both).unwrap_err().to_string();
    assert!(
        error.contains("former name of `train.gradient_checkpointing`"),
        "{error}"
    );
    // What the program makes of it, and what it says.
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let tiny = folder.path().join("tiny.toml");
    crate::common::tiny_config(&tiny, 2);
    let old = "train.checkpoint_blocks=true";
    let output = ok(&["train", text(&tiny), "--set", old, "--out", text(&out)]);
    let said = stderr(&output);
    assert!(
        said.contains("`train.checkpoint_blocks` is called `train.gradient_checkpointing` now"),
        "{said}"
    );
    // A run of before, which has the old name written out, goes on; nobody is told who set nothing.
    let file = out.join("config.toml");
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.contains(new));
    std::fs::write(
        &file,
        kept.replace("gradient_checkpointing", "checkpoint_blocks"),
    )
    .unwrap();
    ok(&["train", "--resume", text(&out), "--steps", "3"]);
    let off = kept.replace(new, "checkpoint_blocks = false");
    std::fs::write(&file, off).unwrap();
    let said = stderr(&ok(&["train", "--resume", text(&out), "--steps", "4"]));
    assert!(!said.contains("is called"), "{said}");
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
