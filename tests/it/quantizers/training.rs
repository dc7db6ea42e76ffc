//! Training with each quantizer: resumed, collapsing, diverging.

use super::small;
use crate::common::gpu;
use std::sync::Arc;
use wgvq::config::run::RunConfig;
use wgvq::inference::FirstStageModel;
use wgvq::ops::quantize::fsq::Activation;
use wgvq::quantize::{self, Options, Registry};
use wgvq::train::Trainer;

pub(super) fn tiny(kind: &str) -> RunConfig {
    let mut config = RunConfig::default();
    config.model.hidden = 16;
    config.model.residual_layers = 1;
    config.model.residual_hidden = 8;
    config.quantizer = Options {
        kmeans_init: true,
        kmeans_iters: 2,
        scales: Vec::new(),
        ..small(kind)
    };
    config.train.batch_size = 4;
    config.train.log_every = 2;
    config
}

/// Each trains, goes on from a checkpoint to the same bytes, and its model file encodes and
/// decodes.
#[test]
fn each_trains_resumes_and_is_read_back() {
    let gpu = gpu();
    let data = Arc::new(wgvq::data::open("emoji", &Default::default()).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let moved = |kind: &str| {
        let mut config = tiny(kind);
        config.quantizer.directional_reparam = true;
        config
    };
    let mut bounded = tiny("fsq");
    bounded.quantizer.activation = Activation::Sigmoid;
    let each = quantize::all().iter().map(|kind| tiny(kind.name));
    for config in each.chain([moved("vq"), moved("simvq"), bounded]) {
        let name = config.quantizer.kind.clone();
        let new = || {
            Trainer::new(
                &gpu,
                &config.resolve(&Registry::default()).unwrap(),
                data.clone(),
            )
            .unwrap_or_else(|e| panic!("{}: {e}", name))
        };
        let mut whole = new();
        let mut half = None;
        for step in 0..5 {
            if step == 2 {
                half = Some(whole.checkpoint().unwrap());
            }
            whole.step().unwrap();
        }
        let mut resumed = new();
        resumed.restore(&half.unwrap()).unwrap();
        for _ in 2..5 {
            resumed.step().unwrap();
        }
        let weights = whole.weights().unwrap();
        assert!(
            weights == resumed.weights().unwrap(),
            "{}: resumed is not the same",
            name
        );
        let rows = whole.rows(true).unwrap();
        assert!(
            rows.len() == 2
                && rows
                    .iter()
                    .all(|r| r.losses.loss.is_finite() && r.codes.used >= 1.0),
            "{}: {rows:?}",
            name
        );
        let evaluation = whole.evaluate().unwrap();
        assert!(
            evaluation.ssim.is_finite() && evaluation.used >= 1 && evaluation.entropy_bits >= 0.0,
            "{}: {evaluation:?}",
            name
        );
        let path = folder.path().join(format!("{}.safetensors", name));
        let image = [data.width, data.height, data.channels];
        let state = serde_json::json!({
            "config": config,
            "image": { "width": image[0], "height": image[1], "channels": image[2] },
        });
        let model = wgvq::storage::checkpoint::Checkpoint {
            tensors: weights,
            state,
        };
        wgvq::storage::checkpoint::save_file(&path, &model).unwrap();
        let trained =
            FirstStageModel::load(&gpu, &path).unwrap_or_else(|e| panic!("{}: {e}", name));
        let pictures: Vec<u8> = (0..3)
            .flat_map(|i| data.image(i).unwrap().to_vec())
            .collect();
        let codes = trained
            .to_codes(&pictures, vec!["a".into(), "b".into(), "c".into()])
            .unwrap();
        assert_eq!(
            codes.indices.len(),
            3 * match name.as_str() {
                "multiscale" => 1 + 4 + 16 + 64,
                _ => 64 * trained.levels()[0].codebooks,
            },
            "{}",
            name
        );
        let file = folder.path().join(format!("{}-codes.safetensors", name));
        codes.save(&file).unwrap();
        let again = wgvq::codes::Codes::load(&file).unwrap();
        assert_eq!(again, codes);
        assert_eq!(
            trained.decode(&again.indices).unwrap().len(),
            pictures.len(),
            "{}",
            name
        );
    }
}

/// A latent that is not a number is named at its step.
#[test]
fn latents_that_are_not_numbers_are_named_at_their_step() {
    let gpu = gpu();
    let data = Arc::new(wgvq::data::open("emoji", &Default::default()).unwrap());
    for kind in ["ema", "fsq", "gumbel"] {
        let mut config = tiny(kind);
        config.train.log_every = 4;
        let mut trainer = Trainer::new(
            &gpu,
            &config.resolve(&Registry::default()).unwrap(),
            data.clone(),
        )
        .unwrap();
        for _ in 0..5 {
            trainer.step().unwrap();
        }
        let mut checkpoint = trainer.checkpoint().unwrap();
        let bias = checkpoint
            .tensors
            .get_mut("encoder.to_latent.bias")
            .unwrap();
        bias.bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        trainer.restore(&checkpoint).unwrap();
        for _ in 0..4 {
            trainer.step().unwrap();
        }
        trainer.close_row().unwrap();
        let error = trainer.rows(true).unwrap_err().to_string();
        assert!(
            error.contains("latents are not finite at step 6"),
            "{kind}: {error}"
        );
    }
}

struct Notes(Vec<String>);

impl wgvq::train::Observer for Notes {
    fn step(&mut self, _: &wgvq::train::Progress) {}
    fn evaluated(&mut self, _: u64, _: &dyn std::fmt::Display) {}
    fn note(&mut self, text: &str) {
        self.0.push(text.to_owned());
    }
}

/// A codebook that collapses is told while it trains, and with `auto_heal` mended: at the same
/// step, and to the same bytes, whether the run was interrupted or not.
#[test]
fn a_collapse_is_told_and_mended() {
    use std::sync::atomic::AtomicBool;
    use wgvq::storage::run_folder::RunFolder;
    use wgvq::train::{Start, run};
    let gpu = gpu();
    let data = Arc::new(wgvq::data::open("emoji", &Default::default()).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut config = tiny("ema");
    config.quantizer = Options {
        codebook_size: 256,
        codebook_dim: 8,
        kmeans_init: false,
        threshold_ema_dead_code: 0.0,
        ..Options::default()
    };
    config.train.log_every = 10;
    config.train.checkpoint_every = 150;
    config.train.steps = 420;
    let go = |name: &str, config: &RunConfig, start: Start| {
        let path = folder.path().join(name);
        let at = if start == Start::Fresh {
            RunFolder::create(&path, false)
        } else {
            RunFolder::resume(&path)
        };
        let mut notes = Notes(Vec::new());
        run(
            &gpu,
            &config.resolve(&Registry::default()).unwrap(),
            data.clone(),
            &at.unwrap(),
            start,
            &mut notes,
            &AtomicBool::new(false),
        )
        .unwrap();
        let model = std::fs::read(path.join("final.safetensors")).unwrap();
        let used = wgvq::storage::metrics_log::columns(&path.join("metrics.csv")).unwrap();
        let used = used.into_iter().find(|(n, _)| n == "used").unwrap().1;
        (notes.0.join("\n"), model, used)
    };
    let (notes, _, left_alone) = go("alone", &config, Start::Fresh);
    assert!(
        notes.contains("collapses") && notes.contains("threshold_ema_dead_code"),
        "{notes}"
    );
    assert!(!notes.contains("from here on"), "{notes}");
    config.train.auto_heal = true;
    let (notes, whole, healed) = go("healed", &config, Start::Fresh);
    assert!(
        notes.contains("step 300: from here on dead codes are revived"),
        "{notes}"
    );
    let (before, after) = (left_alone[41], healed[41]);
    assert!(
        after > 3.0 * before,
        "codes used: {after} mended, {before} left alone"
    );
    // Stopped after the collapse was seen and before it was mended, and gone on with.
    let mut short = config.clone();
    short.train.steps = 280;
    go("twice", &short, Start::Fresh);
    let (notes, resumed, _) = go("twice", &config, Start::Resume);
    assert!(
        notes.contains("step 300: from here on dead codes are revived"),
        "{notes}"
    );
    assert!(whole == resumed, "a resumed run is mended to other bytes");
}

/// A run that diverges goes back to its last checkpoint and on at half the rate, where it may.
#[test]
fn a_run_that_diverges_goes_back() {
    use std::sync::atomic::AtomicBool;
    use wgvq::storage::run_folder::RunFolder;
    use wgvq::train::{Start, run};
    let gpu = gpu();
    let data = Arc::new(wgvq::data::open("emoji", &Default::default()).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut config = tiny("ema");
    config.train.steps = 60;
    config.train.checkpoint_every = 10;
    // Adam steps of a tenth and more blow this model up within a few steps.
    config.train.lr = 9.0;
    let go = |name: &str, config: &RunConfig| {
        let at = RunFolder::create(&folder.path().join(name), false).unwrap();
        let mut notes = Notes(Vec::new());
        let ended = run(
            &gpu,
            &config.resolve(&Registry::default()).unwrap(),
            data.clone(),
            &at,
            Start::Fresh,
            &mut notes,
            &AtomicBool::new(false),
        );
        (ended.map(|o| o.evaluation.is_some()), notes.0.join("\n"))
    };
    let (ended, _) = go("plain", &config);
    let Err(error) = ended else {
        panic!("a rate of 9 does not diverge: choose a wilder one")
    };
    assert!(
        matches!(error, wgvq::Error::Diverged { .. }) && error.to_string().contains("train.lr"),
        "{error}"
    );
    config.train.auto_heal = true;
    let (ended, notes) = go("healed", &config);
    assert!(
        notes.contains("went back to the checkpoint") || ended.is_err(),
        "{notes}"
    );
    println!("{ended:?}\n{notes}");
}
