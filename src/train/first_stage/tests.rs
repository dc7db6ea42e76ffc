//! Trainings that block the thread beside those that do not.

use crate::config::DottedConfig;
use crate::config::run::RunConfig;
use crate::gpu::{Gpu, Options};
use crate::quantize::Registry;
use crate::train::Trainer;
use std::sync::Arc;

#[test]
fn training_without_blocking_gives_the_same_bytes() {
    let gpu = Gpu::new(Options::default()).unwrap();
    let pixels = (0..20 * 8 * 8 * 3u32)
        .map(|i| ((i * i) >> 7) as u8)
        .collect();
    let set = crate::data::ImageSet::from_memory(pixels, [8, 8, 3], &[], vec![]).unwrap();
    let set = Arc::new(set);
    let mut config = RunConfig::default();
    for (key, value) in [
        ("model.hidden", "8"),
        ("model.residual_layers", "0"),
        ("quantizer.codebook_size", "16"),
        ("quantizer.codebook_dim", "4"),
        ("quantizer.kmeans_iters", "2"),
        ("train.batch_size", "2"),
        ("train.ema_decay", "0.9"),
        ("train.log_every", "2"),
    ] {
        config.set(key, value).unwrap();
    }
    let config = config.resolve(&Registry::default()).unwrap();
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
