//! Training against a discriminator, from configurations to pictures.

use crate::common::{SMALLEST_PRIOR, few_pictures, gpu, printed, run, stderr, text};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use wgvq::config::DottedConfig;
use wgvq::config::run::{ResolvedConfig, RunConfig};
use wgvq::data::ImageSet;
use wgvq::inference::FirstStageModel;
use wgvq::quantize::Registry;
use wgvq::storage::metrics_log::columns;
use wgvq::storage::run_folder::RunFolder;
use wgvq::train::{Observer, Progress, Start, Trainer};

/// The smallest VQ-GAN there is: 32 channels at full resolution.
const TINY: [(&str, &str); 14] = [
    ("model.kind", "vqgan"),
    ("model.hidden", "32"),
    ("model.multipliers", "1,1"),
    ("model.residual_layers", "1"),
    ("quantizer.codebook_size", "32"),
    ("quantizer.codebook_dim", "4"),
    ("gan.start", "1"),
    ("gan.head_start", "1"),
    ("gan.ramp", "2"),
    ("gan.hidden", "4"),
    ("gan.layers", "2"),
    ("train.batch_size", "2"),
    ("train.log_every", "2"),
    ("train.ema_decay", "0.9"),
];

fn tiny(more: &[(&str, &str)]) -> ResolvedConfig {
    let mut config = RunConfig::default();
    for (key, value) in TINY.iter().chain(more) {
        config.set(key, value).unwrap();
    }
    config.resolve(&Registry::default()).unwrap()
}

/// A few emoji, in a quarter of their pixels.
fn emoji() -> Arc<ImageSet> {
    let small = wgvq::data::Options {
        size: Some((16, 16)),
        ..Default::default()
    };
    let mut set = wgvq::data::open("emoji", &small).unwrap();
    set.train.truncate(200);
    set.test.truncate(8);
    Arc::new(set)
}

#[derive(Default)]
struct Notes(Vec<String>);

impl Observer for Notes {
    fn step(&mut self, _: &Progress) {}
    fn evaluated(&mut self, _: u64, _: &dyn std::fmt::Display) {}
    fn note(&mut self, text: &str) {
        self.0.push(text.into());
    }
}

/// With every regularizer and norm, both networks move, and a run resumed is the run left alone.
#[test]
fn both_networks_go_on_to_the_same_bytes() {
    let (gpu, data) = (gpu(), emoji());
    for (norm, regularizer, objective) in [
        ("batch", "lecam", "hinge"),
        ("spectral", "r1", "non-saturating"),
        ("none", "none", "hinge"),
    ] {
        let config = tiny(&[
            ("gan.norm", norm),
            ("gan.regularizer", regularizer),
            ("gan.regularizer_weight", "1"),
            ("gan.regularizer_every", "2"),
            ("gan.objective", objective),
        ]);
        let mut left_alone = Trainer::new(&gpu, &config, data.clone()).unwrap();
        let mut half = None;
        let mut rows = Vec::new();
        for step in 0..6 {
            if step == 3 {
                half = Some(left_alone.checkpoint().unwrap());
            }
            left_alone.step().unwrap();
            rows.extend(left_alone.rows(true).unwrap());
        }
        let end = left_alone.checkpoint().unwrap();
        let mut resumed = Trainer::new(&gpu, &config, data.clone()).unwrap();
        resumed.restore(&half.unwrap()).unwrap();
        (3..6).for_each(|_| resumed.step().unwrap());
        let again = resumed.checkpoint().unwrap();
        let differ: Vec<&String> = end
            .tensors
            .keys()
            .filter(|k| again.tensors.get(*k) != end.tensors.get(*k))
            .collect();
        assert!(
            differ.is_empty() && again.tensors.len() == end.tensors.len(),
            "{norm}: {differ:?}"
        );
        assert_eq!(again.state["objective"], end.state["objective"]);
        let metrics: Vec<_> = rows.iter().map(|row| row.gan.unwrap()).collect();
        // Steps 1 and 2, 3 and 4, 5 and 6: alone at first, then heard.
        assert!(
            metrics[0].generator == 0.0 && metrics[0].discriminator > 0.0,
            "{metrics:?}"
        );
        assert!(
            metrics[1].adversarial_weight > 0.0 && metrics[2].features > 0.0,
            "{metrics:?}"
        );
        assert_eq!(
            metrics[2].penalty > 0.0,
            regularizer != "none",
            "{metrics:?}"
        );
        assert!(
            metrics
                .iter()
                .all(|p| p.values().iter().all(|v| v.is_finite()) && p.gradient_norm > 0.0)
        );
        let moved = |name: &str| {
            let before = Trainer::new(&gpu, &config, data.clone())
                .unwrap()
                .checkpoint()
                .unwrap();
            before.tensors[name] != end.tensors[name]
        };
        assert!(moved("adversary.discriminator.0.weight") && moved("decoder.conv_out.weight"));
    }
}

/// A discriminator alone, against a still decoder, learns to tell originals from reconstructions.
#[test]
fn a_discriminator_learns_to_tell() {
    let (gpu, data) = (gpu(), emoji());
    let config = tiny(&[
        ("gan.start", "0"),
        ("gan.head_start", "1000"),
        ("gan.hidden", "16"),
        ("gan.lr", "0.002"),
        ("train.lr", "1e-9"),
        ("train.batch_size", "4"),
        ("train.log_every", "10"),
    ]);
    let mut trainer = Trainer::new(&gpu, &config, data).unwrap();
    (0..50).for_each(|_| trainer.step().unwrap());
    let rows = trainer.rows(true).unwrap();
    let last = rows.last().unwrap().gan.unwrap();
    assert!(
        last.logits_real > last.logits_fake + 0.5 && last.discriminator < 0.7,
        "{last:?}"
    );
    assert!(rows[0].gan.unwrap().discriminator > last.discriminator);
}

/// A weight that no model bears: the run says what fell apart, goes back to the checkpoint before,
/// and on with less, to the end.
#[test]
fn a_run_that_falls_apart_goes_back() {
    let gpu = gpu();
    let folder = tempfile::tempdir().unwrap();
    let config = tiny(&[
        ("gan.weight", "1000"),
        ("gan.adaptive", "false"),
        ("gan.start", "18"),
        ("gan.head_start", "2"),
        ("gan.ramp", "0"),
        // Without a weight: the run says that it has no effect.
        ("gan.regularizer", "r1"),
        ("train.lr", "0.003"),
        ("train.batch_size", "2"),
        ("train.steps", "45"),
        ("train.log_every", "1"),
        ("train.checkpoint_every", "10"),
        ("train.keep_checkpoints", "9"),
        ("train.eval_every", "0"),
        ("train.ema_decay", "0"),
    ]);
    let mut notes = Notes::default();
    let place = RunFolder::create(&folder.path().join("run"), false).unwrap();
    let stop = AtomicBool::new(false);
    let outcome = wgvq::train::run(
        &gpu,
        &config,
        emoji(),
        &place,
        Start::Fresh,
        &mut notes,
        &stop,
    );
    let said = notes.0.join("\n");
    assert!(
        said.contains("went back to the checkpoint of step")
            && said.contains("weighs half as much")
            && said.matches("gan.regularizer has no effect").count() == 1,
        "{said}"
    );
    match outcome {
        Ok(outcome) => assert_eq!(outcome.trainer.step_number(), 45),
        // Four times weaker it may still be too much: then the run ends and says so.
        Err(e) => assert!(
            e.to_string().contains("gan.weight") && said.matches("went back").count() == 4,
            "{e}"
        ),
    }
    // What was taken back is in no log, and in no checkpoint.
    let steps = &columns(&place.metrics()).unwrap()[0].1;
    assert!(steps.windows(2).all(|w| w[1] == w[0] + 1.0), "{steps:?}");
}

#[test]
fn every_command_works_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut args = vec!["train".to_owned(), "--model".into(), "vqgan".into()];
    for (key, value) in TINY {
        args.extend(["--set".into(), format!("{key}={value}")]);
    }
    let (run_at, few) = (at("run"), few_pictures());
    args.extend(["--data", text(&few)].map(String::from));
    args.extend(["--steps", "6", "--quiet", "--json", "--out", text(&run_at)].map(String::from));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let said: serde_json::Value = serde_json::from_str(printed(&args).trim()).unwrap();
    assert!(said["sharpness"].as_f64().unwrap() >= 0.0, "{said}");
    let log = std::fs::read_to_string(run_at.join("metrics.csv")).unwrap();
    assert!(
        log.lines()
            .next()
            .unwrap()
            .ends_with("gradient_norm,discriminator_gradient_norm"),
        "{log}"
    );
    assert!(run_at.join("pictures/gan.png").is_file());

    // What is kept is the average of the weights, and no discriminator.
    let gpu = gpu();
    let model = FirstStageModel::load(&gpu, &run_at).unwrap();
    assert_eq!(model.config().model.downsample, 2);
    let tiny = [&SMALLEST_PRIOR[..], &["--batch", "4", "--quiet"]].concat();
    printed(&[&["prior", text(&run_at), "--steps", "2"], &tiny[..]].concat());
    printed(&["sample", text(&run_at), "--n", "2", "--out", text(&at("s"))]);
    printed(&["inspect", text(&run_at), "--images", "4"]);
    let picture = at("s").join("grid.png");
    assert!(
        picture.is_file(),
        "{:?}",
        std::fs::read_dir(at("s"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect::<Vec<_>>()
    );

    for (set, words) in [
        ("model.hidden=48", "multiple of 32"),
        ("model.attention=3", "model.attention"),
        ("gan.layers=9", "from 1 to 6"),
        ("gan.weight=-2", "gan.weight"),
        ("gan.objective=wasserstein", "hinge"),
        ("gan.regularizer=r2", "lecam"),
        ("loss.pixels=l3", "loss.pixels"),
        ("loss.lpips_weight=1", "loss.lpips"),
        ("train.ema_decay=1", "train.ema_decay"),
    ] {
        let bad = at("bad");
        let small = [
            "train",
            "--model",
            "vqgan",
            "--set",
            "model.hidden=32",
            "--steps",
            "1",
            "--out",
            text(&bad),
        ];
        let out = run(&[&small[..], &["--set", set]].concat());
        assert!(
            !out.status.success() && stderr(&out).contains(words),
            "{set}: {}",
            stderr(&out)
        );
    }
    assert!(!at("bad").exists());
}

/// A transformer over patches trains against the same discriminator, and its files say for which
/// size.
#[test]
fn a_vit_trains_and_codes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut args: Vec<String> = ["train", "--model", "vit", "--quantizer", "cosine"]
        .map(String::from)
        .to_vec();
    for (key, value) in TINY
        .iter()
        .filter(|(key, _)| !key.starts_with("model.") && *key != "quantizer.codebook_dim")
    {
        args.extend(["--set".into(), format!("{key}={value}")]);
    }
    for set in [
        "model.downsample=8",
        "model.layers=1",
        "model.dim=16",
        "model.heads=2",
        "model.hidden=32",
        "quantizer.codebook_dim=4",
    ] {
        args.extend(["--set".into(), set.into()]);
    }
    let few = few_pictures();
    args.extend(["--data", text(&few), "--steps", "6"].map(String::from));
    args.extend(["--quiet", "--out", text(&out)].map(String::from));
    printed(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let gpu = gpu();
    let model = FirstStageModel::load(&gpu, &out).unwrap();
    assert_eq!(model.levels()[0].grid, [4, 4]);
    let set = wgvq::data::open(text(&few), &Default::default()).unwrap();
    let codes = model.encode(&set.image(3).unwrap()).unwrap();
    assert_eq!(
        (codes.len(), model.decode(&codes).unwrap().len()),
        (16, 32 * 32 * 3)
    );
    let bad = run(&[
        "train",
        "--model",
        "vit",
        "--set",
        "model.heads=3",
        "--out",
        text(&folder.path().join("bad")),
    ]);
    assert!(stderr(&bad).contains("model.heads"), "{}", stderr(&bad));
}

/// The moving average of weights and codes is kept, and measuring it leaves the model as it is.
#[test]
fn weights_and_codes_are_averaged_together() {
    let (gpu, data) = (gpu(), emoji());
    let config = tiny(&[
        ("train.ema_decay", "0.3"),
        ("gan.weight", "0"),
        ("quantizer.threshold_ema_dead_code", "0"),
    ]);
    let mut trainer = Trainer::new(&gpu, &config, data).unwrap();
    let floats = |t: &wgvq::storage::checkpoint::HostTensor| t.to_f32().unwrap();
    let names = ["decoder.conv_out.weight", "quantizer.codebook"];
    let mut averages: Vec<Vec<f32>> = Vec::new();
    for step in 0..5u64 {
        if step == 0 {
            averages.push(floats(&trainer.checkpoint().unwrap().tensors[names[0]]));
        }
        trainer.step().unwrap();
        let live = trainer.checkpoint().unwrap().tensors;
        // The codes are placed in the first step: their average begins behind it.
        if step == 0 {
            averages.push(floats(&live[names[1]]));
        }
        let weight = 1.0 - 0.3f32.min((1 + step) as f32 / (10 + step) as f32);
        for (average, name) in averages.iter_mut().zip(names) {
            average
                .iter_mut()
                .zip(floats(&live[name]))
                .for_each(|(a, v)| *a += weight * (v - *a));
        }
    }
    let before = trainer.checkpoint().unwrap();
    trainer.evaluate().unwrap();
    trainer.test_pairs(2).unwrap();
    let kept = trainer.weights().unwrap();
    for (average, name) in averages.iter().zip(names) {
        let apart = average
            .iter()
            .zip(floats(&kept[name]))
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(apart < 1e-6, "{name}: {apart}");
        assert_ne!(floats(&kept[name]), floats(&before.tensors[name]));
    }
    assert!(trainer.checkpoint().unwrap().tensors == before.tensors);
}
