//! Mixed precision: it learns as f32 does, overflows recover, and runs go on to the same bytes.

use crate::common::gpu;
use crate::common::skip::skipped;
use crate::host::{pictures, small_config};
use std::sync::Arc;
use wgvq::config::DottedConfig;
use wgvq::config::Precision;
use wgvq::config::run::RunConfig;
use wgvq::data::ImageSet;
use wgvq::gpu::{Core, Gpu, Options};
use wgvq::metrics::Row;
use wgvq::quantize::Registry;
use wgvq::storage::checkpoint;
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
