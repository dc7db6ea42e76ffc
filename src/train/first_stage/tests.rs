//! Trainings that block the thread beside those that do not, and what a training says of itself.

use crate::config::DottedConfig;
use crate::config::run::{ResolvedConfig, RunConfig};
use crate::data::ImageSet;
use crate::gpu::{Gpu, Options};
use crate::quantize::Registry;
use crate::train::Trainer;
use crate::trainer::task::Recovery;
use std::sync::Arc;

fn images() -> Arc<ImageSet> {
    let pixels = (0..20 * 8 * 8 * 3u32)
        .map(|i| ((i * i) >> 7) as u8)
        .collect();
    Arc::new(ImageSet::from_memory(pixels, [8, 8, 3], &[], vec![]).unwrap())
}

fn small(more: &[(&str, &str)]) -> ResolvedConfig {
    let mut config = RunConfig::default();
    let keys = [
        ("model.hidden", "8"),
        ("model.residual_layers", "0"),
        ("quantizer.codebook_size", "16"),
        ("quantizer.codebook_dim", "4"),
        ("quantizer.kmeans_iters", "2"),
        ("train.batch_size", "2"),
        ("train.ema_decay", "0.9"),
        ("train.log_every", "2"),
    ];
    for (key, value) in keys.iter().chain(more) {
        config.set(key, value).unwrap();
    }
    config.resolve(&Registry::default()).unwrap()
}

/// A run whose gradients are not finite even at the least scale says what to do about it.
#[test]
fn an_overflow_at_the_least_scale_ends_a_run() {
    let gpu = Gpu::new(Options::default()).unwrap();
    if !gpu.shader_f16() {
        return;
    }
    let config = small(&[("train.precision", "mixed"), ("train.loss_scale", "1")]);
    let mut run: Trainer = Trainer::new(&gpu, &config, images()).unwrap();
    (0..2).for_each(|_| run.step().unwrap());
    let mut row = run.rows(true).unwrap().remove(0);
    run.task.observe(&row).unwrap();
    let mut precision = row.precision.unwrap();
    assert_eq!(precision.loss_scale, 1.0);
    // One of the row's two steps alone is passed over.
    precision.skipped_steps = 1.0;
    row.precision = Some(precision);
    run.task.observe(&row).unwrap();
    precision.skipped_steps = 2.0;
    row.precision = Some(precision);
    let error = run.task.observe(&row).unwrap_err().to_string();
    assert!(error.contains("train.precision = f32"), "{error}");
    precision.loss_scale = 2.0;
    row.precision = Some(precision);
    run.task.observe(&row).unwrap();
}

#[test]
fn training_without_blocking_gives_the_same_bytes() {
    let gpu = Gpu::new(Options::default()).unwrap();
    let (set, config) = (images(), small(&[]));
    let [mut one, mut other] = [(); 2].map(|()| {
        let trainer: Trainer = Trainer::new(&gpu, &config, set.clone()).unwrap();
        trainer
    });
    (0..3).for_each(|_| one.step().unwrap());
    let steps = async {
        for _ in 0..3 {
            other.step_async().await?;
        }
        Ok(())
    };
    gpu.block_on(steps).unwrap();
    let evaluation = one.measure(true).unwrap();
    let seen = (one.views(&evaluation).unwrap(), format!("{evaluation:?}"));
    let (evaluation, views) = gpu.block_on(other.measure_async(true)).unwrap();
    assert_eq!((views, format!("{evaluation:?}")), seen);
    assert_eq!(
        gpu.block_on(other.trained_async()).unwrap(),
        one.trained().unwrap()
    );
    let kept = gpu.block_on(other.checkpoint_async()).unwrap();
    assert_eq!(kept, one.checkpoint().unwrap());
    // A new trainer goes on from there as if nothing had been.
    let mut again: Trainer = Trainer::new(&gpu, &config, set).unwrap();
    again.restore(&kept).unwrap();
    again.step().unwrap();
    one.step().unwrap();
    assert_eq!(again.checkpoint().unwrap(), one.checkpoint().unwrap());
}
