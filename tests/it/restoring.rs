//! Checkpoints that do not fit: a trainer refuses them before it replaces anything.

use crate::common::gpu;
use crate::host::pictures;
use crate::passes::{GAN, Keys, config};
use crate::second_stage::{small, tokens};
use safetensors::Dtype;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use wgvq::codes::tokens::Tokens;
use wgvq::config::DottedConfig;
use wgvq::config::vectors::VectorsConfig;
use wgvq::inference::{Decoder, FirstStageModel, PriorModel};
use wgvq::parallel::{Ranks, ThreadRank};
use wgvq::quantize::Registry;
use wgvq::storage::checkpoint::{self, Checkpoint, HostTensor};
use wgvq::train::prior::PriorTrainer;
use wgvq::train::{Task, Trainer};
use wgvq::vectors::{HeldOut, Vectors};

/// Values under keys of a checkpoint's state.
type State<'a> = &'a [(&'a str, serde_json::Value)];

/// Has a trainer, which went on since `saved`, refuse that checkpoint with damage of each tensor,
/// and with other values under each of the keys of its state; it stays as it is, to the bit.
fn refuses<T: Task>(what: &str, trainer: &mut Trainer<T>, saved: &Checkpoint, state: State) {
    let before = trainer.checkpoint().unwrap();
    assert!(before != *saved, "{what}");
    let refused = |trainer: &mut Trainer<T>, damage: &str, change: &dyn Fn(&mut Checkpoint)| {
        let mut broken = saved.clone();
        change(&mut broken);
        let taken = trainer.restore(&broken).is_ok();
        assert!(!taken, "{what}: {damage} was taken");
    };
    let stays = |trainer: &mut Trainer<T>, damage: &str| {
        let stays = trainer.checkpoint().unwrap() == before;
        assert!(stays, "{what}: {damage} changed something");
    };
    for name in saved.tensors.keys() {
        let tensor = |c: &mut Checkpoint, change: &dyn Fn(&mut HostTensor)| {
            change(c.tensors.get_mut(name).unwrap());
        };
        refused(trainer, &format!("{name} of another shape"), &|c| {
            tensor(c, &|t| *t = HostTensor::f32(&[1, 7, 1], &[0.5; 7]));
        });
        refused(trainer, &format!("{name} cut short"), &|c| {
            tensor(c, &|t| t.bytes.truncate(t.bytes.len() - 2));
        });
        refused(trainer, &format!("{name} of whole numbers"), &|c| {
            tensor(c, &|t| t.dtype = Dtype::I32);
        });
        // Before the first step there is no average of codes.
        if !name.starts_with("ema.codes.") {
            refused(trainer, &format!("no {name}"), &|c| {
                c.tensors.remove(name);
            });
        }
    }
    // What one of them had replaced would be there still.
    stays(trainer, "a damaged tensor");
    let common = [
        ("step", json!(null)),
        ("adam_step", json!("x")),
        ("window", vec![0; 1_000_000].into()),
    ];
    for (key, value) in common.iter().chain(state) {
        refused(trainer, key, &|c| c.state[*key] = value.clone());
    }
    stays(trainer, "a damaged state");
    trainer.restore(saved).unwrap();
    assert!(trainer.checkpoint().unwrap() == *saved, "{what}");
}

fn steps<T: Task>(trainer: &mut Trainer<T>, n: usize) {
    (0..n).for_each(|_| trainer.step().unwrap());
}

/// Weights, moments, averages, codebooks and what they learn from, the discriminator and what it
/// keeps beside its weights, the run's health, the loss scale.
#[test]
fn first_stages_stay_as_they_are() {
    let gpu = gpu();
    let data = Arc::new(pictures(16, 24));
    let average: Keys = &[("train.ema_decay", "0.9")];
    let lecam: Keys = &[
        ("gan.regularizer", "lecam"),
        ("gan.regularizer_weight", "1"),
    ];
    let two: Keys = &[
        ("model.kind", "vqvae2"),
        ("model.levels", "2"),
        ("quantizer.kind", "residual"),
    ];
    let mixed: Keys = &[
        ("quantizer.kind", "product"),
        ("train.precision", "mixed"),
        ("train.loss_scale", "1024"),
    ];
    let health = [
        ("health", json!([])),
        ("cures", json!(null)),
        ("guard", json!(7)),
    ];
    let of_gan = [health.clone().as_slice(), &[("objective", json!(null))]].concat();
    let of_mixed = [
        ("loss_scale", json!(null)),
        ("loss_scale", json!([0, 0])),
        ("loss_scale", json!("x")),
    ];
    let cases: [(&str, &[Keys], State); 3] = [
        ("gan", &[GAN, average, lecam], &of_gan),
        ("two levels", &[average, two], &health),
        ("mixed", &[mixed], &of_mixed),
    ];
    for (what, keys, state) in cases {
        let config = config(&keys.concat(), 1)
            .resolve(&Registry::default())
            .unwrap();
        let mut trainer = Trainer::new(&gpu, &config, data.clone()).unwrap();
        steps(&mut trainer, 2);
        let saved = trainer.checkpoint().unwrap();
        steps(&mut trainer, 1);
        refuses(what, &mut trainer, &saved, state);
    }
}

#[test]
fn trainings_on_vectors_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    let values: Vec<f32> = (0..80 * 6).map(|i| ((i * 37 % 101) as f32).sin()).collect();
    crate::vectors_model::write(&path, &[80, 6], &values);
    let data = HeldOut::new(Vectors::open(&path).unwrap(), 10).unwrap();
    let mut config = VectorsConfig::default();
    for (key, value) in [
        ("data.source", path.to_str().unwrap()),
        ("train.batch_size", "8"),
        ("quantizer.codebook_size", "16"),
    ] {
        config.set(key, value).unwrap();
    }
    let registry = Registry::default();
    let config = config.resolve(&registry).unwrap();
    let mut trainer = Trainer::vectors(&gpu(), &config, Arc::new(data), &registry).unwrap();
    steps(&mut trainer, 2);
    let saved = trainer.checkpoint().unwrap();
    steps(&mut trainer, 1);
    refuses("vectors", &mut trainer, &saved, &[]);
}

/// The best weights so far and what they reached too, and moments of which two ranks keep shares.
#[test]
fn priors_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    tokens(&gpu(), "ema", false, folder.path());
    let keys: Keys = &[
        ("prior.layers", "1"),
        ("train.batch_size", "4"),
        ("train.optimizer_state", "bf16"),
        ("train.shard_optimizer", "true"),
    ];
    let made = |ranks: Ranks| -> PriorTrainer {
        let mut config = small("rotary");
        for (key, value) in keys {
            config.set(key, value).unwrap();
        }
        let tokens = Tokens::open(&folder.path().join("prior/tokens")).unwrap();
        let trainer = Trainer::prior(&gpu(), &config.resolve().unwrap(), tokens).unwrap();
        trainer.among(ranks).unwrap()
    };
    let mut trainer = made(Ranks::alone());
    steps(&mut trainer, 2);
    trainer.measure(false).unwrap();
    let saved = trainer.checkpoint().unwrap();
    assert!(saved.tensors.keys().any(|name| name.starts_with("best.")));
    steps(&mut trainer, 1);
    let state = [("best", json!("x")), ("tokens", json!(null))];
    refuses("alone", &mut trainer, &saved, &state);
    std::thread::scope(|scope| {
        for ranks in ThreadRank::group(2) {
            let (made, saved, state) = (&made, &saved, &state);
            scope.spawn(move || {
                let mut trainer = made(ranks);
                trainer.restore(saved).unwrap();
                steps(&mut trainer, 1);
                refuses("two ranks", &mut trainer, saved, state);
            });
        }
    });
}

/// In a browser nothing may wait for the device: what is loaded and restored there reads nothing
/// back.
#[test]
fn what_is_loaded_or_restored_reads_nothing_of_the_device() {
    let (gpu, data) = (gpu(), Arc::new(pictures(16, 24)));
    let reads = || gpu.counters().readbacks;
    let mut kinds: Vec<(&str, Vec<(&str, &str)>)> = wgvq::quantize::all()
        .iter()
        .map(|kind| (kind.name, vec![("quantizer.kind", kind.name)]))
        .collect();
    kinds.push(("vqvae2", vec![("model.kind", "vqvae2")]));
    kinds.push(("gan", GAN.to_vec()));
    for (kind, keys) in kinds {
        let config = config(&keys, 1).resolve(&Registry::default()).unwrap();
        let begin = || Trainer::new(&gpu, &config, data.clone()).unwrap();
        let mut trainer = begin();
        (0..2).for_each(|_| trainer.step().unwrap());
        let saved = trainer.checkpoint().unwrap();
        let model = checkpoint::to_bytes(&trainer.trained().unwrap()).unwrap();
        let decoder = FirstStageModel::from_bytes(&gpu, &model).unwrap();
        let decoder = decoder.to_decoder_bytes().unwrap();
        let mut again = begin();
        let before = reads();
        FirstStageModel::from_bytes(&gpu, &model).unwrap();
        Decoder::from_bytes(&gpu, &decoder).unwrap();
        assert_eq!(reads(), before, "{kind}: a model was read back");
        again.restore(&saved).unwrap();
        assert_eq!(reads(), before, "{kind}: a training was read back");
    }
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/runs/text2image");
    let bytes = |file: &str| std::fs::read(run.join(file)).unwrap();
    let (model, prior) = (bytes("final.safetensors"), bytes("prior/final.safetensors"));
    let before = reads();
    let model = FirstStageModel::from_bytes(&gpu, &model).unwrap();
    PriorModel::from_bytes(&gpu, &prior, &model).unwrap();
    assert_eq!(reads(), before, "a prior was read back");
}
