//! Mixed precision: it learns as f32 does, overflows recover, and runs go on to the same bytes.

use crate::common::gpu;
use crate::common::skip::skipped;
use crate::host::{pictures, small_config};
use std::collections::BTreeMap;
use std::sync::Arc;
use wgvq::config::DottedConfig;
use wgvq::config::Precision;
use wgvq::config::run::RunConfig;
use wgvq::data::ImageSet;
use wgvq::gpu::{Core, Gpu, Options};
use wgvq::metrics::Row;
use wgvq::quantize::Registry;
use wgvq::storage::checkpoint::{self, HostTensor};
use wgvq::storage::metrics_log::Record;
use wgvq::train::Trainer;

type Keys<'a> = &'a [(&'a str, &'a str)];

fn config(precision: &str, keys: Keys) -> RunConfig {
    let mut config = small_config();
    config.train.log_every = 1;
    config.set("train.precision", precision).unwrap();
    for (key, value) in keys {
        config.set(key, value).unwrap();
    }
    config
}

fn trainer(gpu: &Gpu, config: &RunConfig, data: &Arc<ImageSet>) -> Trainer {
    let config = config.resolve(&Registry::default()).unwrap();
    Trainer::new(gpu, &config, data.clone()).unwrap()
}

fn rows(trainer: &mut Trainer, steps: usize) -> Vec<Row> {
    (0..steps).for_each(|_| trainer.step().unwrap());
    trainer.rows(true).unwrap()
}

/// The same model in both precisions, of each kind: losses stay together, and are not the same.
#[test]
fn it_learns_as_f32_does() {
    let (gpu, data) = (gpu(), Arc::new(pictures(16, 24)));
    let kinds: [(&str, Keys); 5] = [
        ("vqvae", &[]),
        (
            "vqvae2",
            &[("model.kind", "vqvae2"), ("train.grad_clip", "1")],
        ),
        (
            "vit",
            &[
                ("model.kind", "vit"),
                ("model.layers", "1"),
                ("model.dim", "24"),
                ("model.heads", "3"),
                ("model.hidden", "40"),
                ("gan.weight", "0"),
                ("loss.structure_weight", "0"),
            ],
        ),
        (
            "vqgan",
            &[
                ("model.kind", "vqgan"),
                ("model.hidden", "32"),
                ("model.multipliers", "1,1"),
                ("quantizer.codebook_dim", "4"),
                ("gan.start", "1"),
                ("gan.head_start", "1"),
                ("gan.ramp", "2"),
                ("gan.hidden", "4"),
                ("gan.layers", "1"),
            ],
        ),
        (
            "vqgan, spatial norms",
            &[
                ("model.kind", "vqgan"),
                ("model.hidden", "32"),
                ("model.multipliers", "1,1"),
                ("model.spatial_norms", "true"),
                ("model.latent_kernel", "3"),
                ("model.latent_blocks", "1"),
                ("model.unit_pixels", "true"),
                ("quantizer.codebook_dim", "4"),
                ("gan.weight", "0"),
            ],
        ),
    ];
    for (name, keys) in kinds {
        let run = |precision| rows(&mut trainer(&gpu, &config(precision, keys), &data), 20);
        let (full, mixed) = (run("f32"), run("mixed"));
        for (a, b) in full.iter().zip(&mixed) {
            let (x, y) = (a.losses.reconstruction, b.losses.reconstruction);
            assert!((x - y).abs() < 0.15 * x, "{name}, step {}: {x} {y}", a.step);
        }
        assert!(
            full.iter()
                .zip(&mixed)
                .any(|(a, b)| a.losses.reconstruction != b.losses.reconstruction),
            "{name}: nothing was rounded"
        );
        let last = mixed.last().unwrap();
        let precision = last.precision.unwrap();
        assert_eq!(
            (precision.loss_scale, precision.skipped_steps),
            (65536.0, 0.0)
        );
        assert!(
            last.values().ends_with(",6.553600e4,0"),
            "{}",
            last.values()
        );
        assert!(full.iter().all(|row| row.precision.is_none()));
    }
}

/// A scale at which gradients overflow: steps move nothing until it has come down, and then they
/// move the weights.
#[test]
fn an_overflow_recovers() {
    let (gpu, data) = (gpu(), Arc::new(pictures(16, 24)));
    let huge = format!("{:e}", 2f32.powi(80));
    let mut run = trainer(
        &gpu,
        &config(
            "mixed",
            &[("train.loss_scale", &huge), ("train.lr", "3e-3")],
        ),
        &data,
    );
    let weights = |run: &mut Trainer| {
        let all = run.checkpoint().unwrap().tensors;
        let own = |name: &str| name.starts_with("encoder.") || name.starts_with("adam.m.");
        all.into_iter()
            .filter(|(name, _)| own(name))
            .collect::<Vec<_>>()
    };
    let first = weights(&mut run);
    let mut seen = rows(&mut run, 3);
    assert!(weights(&mut run) == first, "a skipped step moved something");
    seen.extend(rows(&mut run, 40));
    let precision: Vec<_> = seen.iter().map(|row| row.precision.unwrap()).collect();
    let skipped = precision.iter().take_while(|p| p.skipped_steps == 1.0);
    let skipped = skipped.count();
    assert!((10..30).contains(&skipped), "{skipped} steps were skipped");
    for (i, p) in precision.iter().enumerate() {
        let scale = 2f64.powi(80 - i.min(skipped) as i32);
        assert_eq!(p.loss_scale, scale, "step {i}");
        assert_eq!(
            p.skipped_steps,
            f64::from(u8::from(i < skipped)),
            "step {i}"
        );
    }
    assert!(seen.iter().all(|row| row.losses.loss.is_finite()));
    assert!(weights(&mut run) != first);
}

/// The smallest VQ-GAN whose discriminator learns from the first step on, and is heard from the
/// `head`-th.
fn adversarial<'a>(scale: &'a str, head: &'a str) -> [(&'a str, &'a str); 12] {
    [
        ("train.loss_scale", scale),
        ("train.batch_size", "2"),
        ("model.kind", "vqgan"),
        ("model.hidden", "32"),
        ("model.multipliers", "1,1"),
        ("quantizer.codebook_dim", "4"),
        ("gan.start", "0"),
        ("gan.head_start", head),
        ("gan.ramp", "2"),
        ("gan.hidden", "4"),
        ("gan.layers", "1"),
        ("gan.regularizer", "lecam"),
    ]
}

/// The tensors of both networks that a step moves: weights, moments, averages of logits.
fn moving(run: &mut Trainer) -> BTreeMap<String, HostTensor> {
    let mut all = run.checkpoint().unwrap().tensors;
    all.retain(|name, _| {
        let own = ["encoder.", "adam.m.", "adversary."];
        own.iter().any(|prefix| name.starts_with(prefix)) && !name.contains(".state.")
    });
    all
}

/// Where the gradients of either network overflow, a step moves neither, and the scale comes down:
/// by a scale at which both overflow, and by a discriminator alone that f16 does not hold, which
/// the model does not hear yet.
#[test]
fn an_overflow_of_either_network_holds_both() {
    let (gpu, data) = (gpu(), Arc::new(pictures(16, 24)));
    let huge = format!("{:e}", 2f32.powi(70));
    let mut keys = adversarial(&huge, "1").to_vec();
    keys.push(("gan.norm", "spectral"));
    let mut run = trainer(&gpu, &config("mixed", &keys), &data);
    let first = moving(&mut run);
    assert!(first.contains_key("adversary.discriminator.0.weight"));
    let skipped = |row: &Row| row.precision.unwrap().skipped_steps == 1.0;
    let seen = rows(&mut run, 2);
    assert!(seen.iter().all(skipped));
    assert!(moving(&mut run) == first, "something moved");
    let seen = rows(&mut run, 16);
    assert!(seen[0..2].iter().all(skipped) && !skipped(&seen[15]));
    let moved = moving(&mut run);
    for name in [
        "adversary.discriminator.0.weight",
        "adversary.m.discriminator.2.weight",
        "adversary.logits.real",
        "adam.m.decoder.conv_out.weight",
    ] {
        assert!(moved[name] != first[name], "{name} stands still");
    }

    let mut run = trainer(&gpu, &config("mixed", &adversarial("65536", "100")), &data);
    let seen = rows(&mut run, 2);
    assert!(
        seen.iter()
            .all(|row| row.precision.unwrap().skipped_steps == 0.0)
    );
    let sound = run.checkpoint().unwrap();
    let mut broken = sound.clone();
    let name = "adversary.discriminator.0.bias";
    let bias = broken.tensors.get_mut(name).unwrap();
    *bias = HostTensor::f32(&bias.shape, &vec![1e6; bias.shape[0]]);
    run.restore(&broken).unwrap();
    let before = moving(&mut run);
    let seen = rows(&mut run, 2);
    assert!(moving(&mut run) == before, "something moved");
    for (row, scale) in seen.iter().zip([65536.0, 32768.0]) {
        let precision = row.precision.unwrap();
        assert_eq!(
            (precision.skipped_steps, precision.loss_scale),
            (1.0, scale)
        );
        assert!(row.losses.loss.is_finite() && row.gan.unwrap().gradient_norm.is_finite());
    }
    run.restore(&sound).unwrap();
    let seen = rows(&mut run, 1);
    assert_eq!(seen[0].precision.unwrap().skipped_steps, 0.0);
    assert!(moving(&mut run) != before);
}

/// A discriminator of either norm learns in mixed precision as in f32, at what it says and at what
/// is said of it, and does not say the same to the bit.
#[test]
fn a_discriminator_learns_as_in_f32() {
    let (gpu, data) = (gpu(), Arc::new(pictures(16, 24)));
    for (norm, regularizer) in [("spectral", "r1"), ("none", "lecam")] {
        let mut keys = adversarial("65536", "2").to_vec();
        keys.retain(|(key, _)| *key != "gan.regularizer");
        keys.extend([
            ("gan.norm", norm),
            ("gan.regularizer", regularizer),
            ("gan.regularizer_weight", "1"),
            ("gan.regularizer_every", "3"),
            ("gan.feature_weight", "1"),
        ]);
        let run = |precision| rows(&mut trainer(&gpu, &config(precision, &keys), &data), 8);
        let (full, mixed) = (run("f32"), run("mixed"));
        let mut same = true;
        for (a, b) in full.iter().zip(&mixed) {
            let (x, y) = (a.gan.unwrap(), b.gan.unwrap());
            let pairs = [
                (x.discriminator, y.discriminator),
                (x.logits_real, y.logits_real),
                (x.logits_fake, y.logits_fake),
                (x.features, y.features),
                (a.losses.reconstruction, b.losses.reconstruction),
                (x.gradient_norm, y.gradient_norm),
                (x.adversarial_weight, y.adversarial_weight),
            ];
            for (x, y) in pairs {
                assert!(
                    (x - y).abs() < 0.05 + 0.15 * x.abs(),
                    "{norm}, {}: {x} {y}",
                    a.step
                );
            }
            assert_eq!(x.penalty > 0.0, y.penalty > 0.0, "{norm}, {}", a.step);
            same &= x.logits_real == y.logits_real;
        }
        assert!(!same, "{norm}: nothing was rounded");
        let skipped = |row: &Row| row.precision.unwrap().skipped_steps > 0.0;
        assert!(!mixed.iter().any(skipped));
    }
}

/// On matrix units (emulated) the operands of products are rounded to f16, gradients too: there a
/// scale of 2^30 overflows.
#[test]
fn an_overflow_of_matrix_units_recovers() {
    let name = "mixed::an_overflow_of_matrix_units_recovers";
    if std::env::var_os("WGVQ_THOROUGH").is_none() {
        let what = "takes minutes; WGVQ_THOROUGH=1 (scripts/release.sh) runs it";
        return skipped(name, what);
    }
    let gpu = Gpu::new(Options {
        core: Some(Core::Coopmat),
        emulated_matrices: Some((8, 8)),
        ..Default::default()
    });
    let Ok(gpu) = gpu else {
        return skipped(name, "no f16 in kernels");
    };
    let data = Arc::new(pictures(16, 24));
    let large = format!("{:e}", 2f32.powi(30));
    let keys: Keys = &[("train.loss_scale", &large), ("train.batch_size", "2")];
    let seen = rows(&mut trainer(&gpu, &config("mixed", keys), &data), 24);
    let skipped: Vec<f64> = seen
        .iter()
        .map(|row| row.precision.unwrap().skipped_steps)
        .collect();
    assert!(
        skipped[0] == 1.0 && *skipped.last().unwrap() == 0.0,
        "{skipped:?}"
    );
    assert!(seen.iter().all(|row| row.losses.loss.is_finite()));
}

/// A run that is interrupted, within its overflows or after them, goes on to the same bytes, the
/// loss scale among them; with passes and a discriminator too.
#[test]
fn it_goes_on_to_the_same_bytes() {
    let (gpu, data) = (gpu(), Arc::new(pictures(16, 24)));
    let huge = format!("{:e}", 2f32.powi(66));
    let plain: Keys = &[("train.loss_scale", &huge), ("train.ema_decay", "0.9")];
    let passes: Keys = &[
        ("train.accumulate", "2"),
        ("train.batch_size", "2"),
        ("train.gradient_checkpointing", "true"),
        ("model.kind", "vqgan"),
        ("model.hidden", "32"),
        ("model.multipliers", "1,1"),
        ("quantizer.codebook_dim", "4"),
        ("gan.start", "0"),
        ("gan.head_start", "1"),
        ("gan.ramp", "2"),
        ("gan.hidden", "4"),
        ("gan.layers", "1"),
        ("gan.norm", "spectral"),
    ];
    for (keys, half, end) in [(plain, 2, 12), (plain, 8, 12), (passes, 3, 6)] {
        let config = config("mixed", keys);
        let mut whole = trainer(&gpu, &config, &data);
        (0..half).for_each(|_| whole.step().unwrap());
        let saved = checkpoint::to_bytes(&whole.checkpoint().unwrap()).unwrap();
        (half..end).for_each(|_| whole.step().unwrap());
        let mut again = trainer(&gpu, &config, &data);
        // What it did before is forgotten.
        again.step().unwrap();
        again
            .restore(&checkpoint::from_bytes("saved".as_ref(), &saved).unwrap())
            .unwrap();
        (half..end).for_each(|_| again.step().unwrap());
        let [a, b] = [whole, again].map(|mut run| run.checkpoint().unwrap());
        assert_eq!(a.state, b.state);
        assert!(a.state["loss_scale"].is_array());
        let differ: Vec<&String> = a
            .tensors
            .iter()
            .filter(|(name, t)| b.tensors.get(*name) != Some(t))
            .map(|(name, _)| name)
            .collect();
        assert!(differ.is_empty(), "{differ:?}");
    }
}

/// `auto` is f32 where nothing was measured, and a device without f16 refuses `mixed` by name.
#[test]
fn a_precision_is_what_the_adapter_can() {
    let data = Arc::new(pictures(16, 24));
    let gpu = gpu();
    let run = |precision| rows(&mut trainer(&gpu, &config(precision, &[]), &data), 3);
    assert_eq!(run("auto"), run("f32"));
    let bare = Gpu::new(Options {
        no_features: true,
        ..Default::default()
    })
    .unwrap();
    let mixed = config("mixed", &[]).resolve(&Registry::default()).unwrap();
    assert_eq!(mixed.train.precision, Precision::Mixed);
    let error = Trainer::new(&bare, &mixed, data).err().unwrap().to_string();
    assert!(
        error.contains("train.precision") && error.contains("train.dtype"),
        "{error}"
    );
    for wrong in ["3", "0", "inf", "1e40"] {
        let mut config = config("mixed", &[]);
        let error = config
            .set("train.loss_scale", wrong)
            .and_then(|()| config.resolve(&Registry::default()).map(drop))
            .unwrap_err()
            .to_string();
        assert!(error.contains("train.loss_scale"), "{wrong}: {error}");
    }
}
