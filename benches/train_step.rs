//! The standard training step: the Sonnet example's VQ-VAE (32x32x3, 128 hidden, 2 residual layers of 32, K 512, D 64) at a
//! batch of 32, forward, backward, Adam and EMA. Run beside a peer's for a ratio.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wgvq::autograd::Tape;
use wgvq::gpu::{DType, Gpu, Options, Tensor};
use wgvq::models::vqvae::{Config, VqVae};
use wgvq::nn::{Adam, Pass};
use wgvq::ops::adam::Hyper;
use wgvq::ops::loss::Loss;
use wgvq::ops::random::{self, Key};
use wgvq::quantize::{EmaOptions, EmaVq, Mode, Quantizer};

fn vqvae_train_step_b32(c: &mut Criterion) {
    let gpu =
        Gpu::new(Options { adapter: std::env::var("WGVQ_ADAPTER").ok(), ..Default::default() }).expect("an adapter");
    let config =
        Config { channels: 3, hidden: 128, residual_layers: 2, residual_hidden: 32, downsample: 4, codebook_dim: 64 };
    let (model, params) = VqVae::build(&gpu, &config, 1).expect("a model");
    let mut quantizer = EmaVq::new(&gpu, EmaOptions { kmeans_init: false, ..Default::default() }).expect("a quantizer");
    let mut adam = Adam::new(&params, Hyper { lr: 3e-4, ..Default::default() }).expect("an optimiser");
    let images = Tensor::empty(&gpu, &[32, 32, 32, 3], DType::F32).expect("memory");
    random::normal(&images, Key { seed: 1, step: 0, stream: 9 }).expect("random images");
    let mut step = 0;
    let mut train_step = || -> wgvq::Result<()> {
        let tape = Tape::new(&gpu);
        let pass = Pass::new(&tape, &params);
        let x = tape.constant(&images);
        let z_e = model.encode(&pass, &x)?;
        let rows = tape.reshape(&z_e, &[32 * 8 * 8, 64])?;
        let q = quantizer.quantize(&pass, &rows, Mode::Train { step })?;
        let z_q = tape.reshape(&q.z_q, &[32, 8, 8, 64])?;
        let y = model.decode(&pass, &z_q)?;
        let reconstruction = tape.loss(Loss::Mse, &y, &x)?;
        let loss = match &q.loss {
            Some(l) => tape.add(&reconstruction, l)?,
            None => reconstruction,
        };
        let gradients = pass.gradients(tape.backward(&loss)?);
        adam.step(&params, &gradients)?;
        step += 1;
        gpu.finish()
    };
    let mut group = c.benchmark_group("train_step");
    group.sample_size(10).throughput(Throughput::Elements(32));
    group.bench_function("vqvae_train_step_b32", |b| b.iter(|| train_step().expect("a step")));
    group.finish();
    println!("{:?}, {:?}", gpu.counters(), gpu.memory());
}

criterion_group!(benches, vqvae_train_step_b32);
criterion_main!(benches);
