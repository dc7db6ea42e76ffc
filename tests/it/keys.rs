//! Configuration keys, plans, and what commands say.

mod messages;
mod plans;
mod results;

use crate::common::{run, stderr, stdout, text, train_tiny};
use std::path::Path;
use std::process::Output;
use wgvq::config::DottedConfig;
use wgvq::config::contrastive::ContrastiveConfig;
use wgvq::config::presets::presets;
use wgvq::config::prior::PriorConfig;
use wgvq::config::run::RunConfig;
use wgvq::config::vectors::VectorsConfig;
use wgvq::quantize::Registry;

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
    set_to_itself(&VectorsConfig::default());
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
