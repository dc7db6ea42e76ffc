//! Parts that the tests of embedding share: the host application of the examples, and a small
//! model.
#![allow(dead_code, reason = "each test file uses a part")]

#[path = "../../examples/host/mod.rs"]
mod app;

pub use app::Host;

use std::sync::{Arc, OnceLock};
use wgvq::config::run::RunConfig;
use wgvq::data::{ImageSet, Item, Pixels};
use wgvq::gpu::Gpu;
use wgvq::quantize::Registry;
use wgvq::storage::checkpoint;
use wgvq::train::Trainer;
use wgvq::wgpu;

/// A texture of bytes with one usage alone.
pub fn solid(host: &Host, [width, height]: [u32; 2], usage: wgpu::TextureUsages) -> wgpu::Texture {
    host.device.create_texture(&wgpu::TextureDescriptor {
        label: None,
        size: wgpu::Extent3d {
            width,
            height,
            depth_or_array_layers: 1,
        },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: wgpu::TextureFormat::Rgba8Unorm,
        usage,
        view_formats: &[],
    })
}

/// An RGB picture of coloured waves.
pub fn picture(side: usize, seed: usize) -> Vec<u8> {
    let wave = |x: usize, y: usize, c: usize| {
        let phase = (x * (seed % 5 + 1) + y * (seed % 3 + c + 1)) as f32 / side as f32 * 6.0
            + (seed + 2 * c) as f32;
        (127.5 + 127.0 * phase.sin()) as u8
    };
    (0..side * side * 3)
        .map(|i| wave(i / 3 % side, i / 3 / side, i % 3))
        .collect()
}

/// Such pictures, as data to train on.
pub fn pictures(side: usize, count: usize) -> ImageSet {
    let items = (0..count)
        .map(|i| Item {
            name: i.to_string(),
            group: i as u64,
            class: None,
            caption: None,
            embedding: None,
        })
        .collect();
    let all: Vec<u32> = (0..count as u32).collect();
    ImageSet {
        name: "waves".into(),
        width: side,
        height: side,
        channels: 3,
        pixels: Pixels::Memory((0..count).flat_map(|i| picture(side, i)).collect()),
        items,
        classes: Vec::new(),
        notes: Vec::new(),
        train: all[..count - 2].to_vec(),
        test: all[count - 2..].to_vec(),
    }
}

/// Such pictures in two classes, a quarter of them in the second.
pub fn pictures_of_classes(side: usize, count: usize) -> ImageSet {
    let mut set = pictures(side, count);
    set.classes = vec!["many".into(), "few".into()];
    for (i, item) in (0..).zip(&mut set.items) {
        item.class = Some(u32::from(i % 4 == 0));
    }
    set
}

/// A small model's configuration.
pub fn small_config() -> RunConfig {
    let mut config = RunConfig::default();
    (
        config.model.hidden,
        config.model.residual_layers,
        config.model.residual_hidden,
    ) = (16, 1, 8);
    (
        config.quantizer.codebook_size,
        config.quantizer.codebook_dim,
        config.quantizer.kmeans_iters,
    ) = (32, 8, 3);
    config.train.batch_size = 4;
    config
}

/// The bytes of a small model for images of this side, after some steps of training.
pub fn model_bytes(side: usize) -> Vec<u8> {
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    let make = || {
        let gpu = Gpu::new(Default::default()).expect("an adapter");
        let mut trainer = Trainer::new(
            &gpu,
            &small_config().resolve(&Registry::default()).unwrap(),
            Arc::new(pictures(side, 12)),
        )
        .expect("a trainer");
        (0..8).for_each(|_| trainer.step().expect("a step"));
        checkpoint::to_bytes(&trainer.trained().expect("a model")).expect("its bytes")
    };
    assert_eq!(side, 64, "one size serves all tests");
    MADE.get_or_init(make).clone()
}
