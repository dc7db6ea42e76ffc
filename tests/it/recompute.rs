//! Blocks that are computed again in the backward pass: the same gradients to the bit, in much less
//! memory.

use crate::common::gpu;
use std::sync::Arc;
use wgvq::autograd::{Tape, Var};
use wgvq::config::DottedConfig;
use wgvq::config::run::RunConfig;
use wgvq::gpu::{DType, Gpu, Options, Tensor};
use wgvq::models::Level;
use wgvq::models::first_stage::vqgan;
use wgvq::models::first_stage::vqgan::VqGan;
use wgvq::models::first_stage::vqvae;
use wgvq::models::first_stage::vqvae::VqVae;
use wgvq::models::first_stage::vqvae2;
use wgvq::models::first_stage::vqvae2::VqVae2;
use wgvq::models::prior::{Positions, Prior, Shape, Vocabulary};
use wgvq::models::{Autoencoder, Quantize};
use wgvq::nn::transformer::Dropout;
use wgvq::nn::{ForwardContext, Init, MlpKind, NormKind, Parameters};
use wgvq::ops::linalg::matmul::Transpose;
use wgvq::ops::loss::loss::Loss;
use wgvq::ops::sampling::random::Key;
use wgvq::quantize::Registry;
use wgvq::spec::Rng;
use wgvq::train::Trainer;

/// A model's loss on a pass.
type LossOf<'a> = dyn Fn(&ForwardContext) -> Var + 'a;

/// The bits of each parameter's gradient, by name.
type Gradients = Vec<(String, Vec<u32>)>;

/// The loss, the gradient of each parameter by name, and the bytes that the step took at most
/// beside what was there.
fn step(
    params: &Parameters,
    dtype: DType,
    recompute: bool,
    loss: &LossOf,
) -> (Vec<u32>, Gradients, u64) {
    let gpu = params.gpu();
    gpu.finish().unwrap();
    gpu.reset_peak();
    let before = gpu.memory().in_use;
    let tape = Tape::new(gpu);
    let pass = ForwardContext::new(&tape, params)
        .with_activation_dtype(dtype)
        .with_checkpointing(recompute);
    let loss = loss(&pass);
    let bits = |t: &Tensor| {
        t.read::<f32>()
            .unwrap()
            .iter()
            .map(|x| x.to_bits())
            .collect::<Vec<u32>>()
    };
    let gradients = pass.gradients(tape.backward(&loss).unwrap());
    let peak = gpu.memory().peak - before;
    let named = gradients
        .iter()
        .map(|(handle, g)| (params.name(*handle).to_owned(), bits(g)))
        .collect();
    (bits(loss.tensor()), named, peak)
}

/// Bytes at peak, kept and recomputed.
fn peaks(params: &Parameters, loss: &LossOf) -> (u64, u64) {
    let peak = |recompute| step(params, DType::F32, recompute, loss).2;
    (peak(false), peak(true))
}

/// Both ways, in f32 and f16: equal to the bit, every parameter reached.
fn same_bits(what: &str, params: &Parameters, loss: &LossOf) {
    for dtype in [DType::F32, DType::F16] {
        let (value, kept, _) = step(params, dtype, false, loss);
        let (again, recomputed, _) = step(params, dtype, true, loss);
        assert_eq!(value, again, "{what}, {}: the loss", dtype.name());
        assert_eq!(
            kept.len(),
            params.handles().count(),
            "{what}: not every parameter has a gradient"
        );
        assert_eq!(kept.len(), recomputed.len(), "{what}");
        for ((name, a), (same, b)) in kept.iter().zip(&recomputed) {
            assert_eq!(name, same);
            assert!(
                a.iter().any(|bits| f32::from_bits(*bits) != 0.0),
                "{what}: `{name}` has a gradient of zeros"
            );
            assert!(
                a == b,
                "{what}, {}: the gradient of `{name}` differs",
                dtype.name()
            );
        }
    }
}

fn normals(gpu: &Gpu, shape: &[usize]) -> Tensor {
    Rng::new(3).normals(shape).upload(gpu).unwrap()
}

/// In place of a quantizer: what it does to gradients is not asked here.
fn halve(pass: &ForwardContext, z: &Var) -> Var {
    pass.tape.scale(z, 0.5, 0.0).unwrap()
}

fn reconstruction(pass: &ForwardContext, model: &dyn Autoencoder, images: &Tensor) -> Var {
    let x = pass.tape.constant(images);
    let mut quantize = |_: usize, z: &Var| Ok(halve(pass, z));
    let quantize: &mut Quantize = &mut quantize;
    let y = model.reconstruct(pass, &x, quantize).unwrap();
    pass.tape.loss(Loss::Mse, &y, &x).unwrap()
}

fn vqvae(gpu: &Gpu, layers: usize) -> (VqVae, Parameters) {
    let config = vqvae::Config {
        channels: 3,
        hidden: 22,
        residual_layers: layers,
        residual_hidden: 7,
        downsample: 4,
        codebook_dim: 5,
    };
    VqVae::build(gpu, &config, 1).unwrap()
}

#[test]
fn first_stages_have_the_same_gradients_to_the_bit() {
    let gpu = gpu();
    for layers in [0, 5] {
        let (model, params) = vqvae(&gpu, layers);
        let images = normals(&gpu, &[3, 20, 28, 3]);
        same_bits(&format!("VQ-VAE of {layers} layers"), &params, &|pass| {
            reconstruction(pass, &model, &images)
        });
    }
    let mut builder = Parameters::builder();
    let config = vqvae2::Config {
        channels: 1,
        hidden: 10,
        residual_layers: 3,
        residual_hidden: 5,
        downsample: 2,
        codebook_dims: vec![4, 3, 6],
    };
    let model = VqVae2::new(&mut builder, &config).unwrap();
    let params = builder.build(&gpu, 2).unwrap();
    let images = normals(&gpu, &[2, 24, 40, 1]);
    same_bits("VQ-VAE-2", &params, &|pass| {
        reconstruction(pass, &model, &images)
    });
    for spatial_norms in [false, true] {
        let mut builder = Parameters::builder();
        let config = vqgan::Config {
            channels: 3,
            hidden: 32,
            multipliers: vec![1, 2],
            residual_layers: 1,
            mid_attention: true,
            spatial_norms,
            latent_kernel: 1,
            unit_pixels: false,
            latent_blocks: 0,
            attention: vec![2],
            latent_channels: 6,
            codebook_dim: 5,
        };
        let model = VqGan::new(&mut builder, &config).unwrap();
        let params = builder.build(&gpu, 2).unwrap();
        let images = normals(&gpu, &[2, 10, 14, 3]);
        let name = format!("VQ-GAN, spatial norms: {spatial_norms}");
        same_bits(&name, &params, &|pass| {
            reconstruction(pass, &model, &images)
        });
    }
}

fn prior(gpu: &Gpu, shape: &Shape, v: &Vocabulary) -> (Prior, Parameters) {
    let mut b = Parameters::builder();
    let prior = Prior::new(gpu, &mut b, shape, v).unwrap();
    (prior, b.build(gpu, 5).unwrap())
}

/// Both kinds of block, with dropout, whose masks must come out the same; the embeddings are tied
/// to the logits.
#[test]
fn priors_have_the_same_gradients_to_the_bit() {
    let gpu = gpu();
    let llama = Shape {
        layers: 3,
        dim: 20,
        heads: 5,
        hidden: 13,
        dropout: 0.3,
        ..Default::default()
    };
    let gpt = Shape {
        norm: NormKind::Layer,
        mlp: MlpKind::Gelu,
        positions: Positions::Learned,
        ..llama.clone()
    };
    let plain = Vocabulary {
        codebook_size: 11,
        codebooks: 2,
        grid: [3, 5],
        classes: 3,
        above: Vec::new(),
        text: None,
        scales: None,
    };
    let top = Level {
        name: "top".into(),
        grid: [2, 3],
        codebook_size: 9,
        codebooks: 1,
    };
    let below = Vocabulary {
        codebooks: 1,
        grid: [4, 6],
        above: vec![top],
        ..plain.clone()
    };
    for (what, shape, v) in [
        ("llama", &llama, &plain),
        ("gpt", &gpt, &plain),
        ("below a level", &llama, &below),
    ] {
        let (prior, params) = prior(&gpu, shape, v);
        let mut rng = Rng::new(9);
        let draw = |rng: &mut Rng, n: usize, of: usize| {
            (0..n).map(|_| rng.below(of) as u32).collect::<Vec<u32>>()
        };
        let above: usize = v.above.iter().map(Level::codes).sum();
        let image =
            |rng: &mut Rng| [draw(rng, above, 9), draw(rng, v.tokens(), v.codebook_size)].concat();
        let codes: Vec<u32> = (0..5).flat_map(|_| image(&mut rng)).collect();
        let batch = prior.upload(&gpu, &[0, 1, 2, 3, 0], &codes, None).unwrap();
        let dropout = Dropout {
            rate: shape.dropout,
            key: Key {
                seed: 4,
                step: 77,
                stream: 0,
            },
            before: 0,
        };
        same_bits(what, &params, &|pass| {
            prior.loss(pass, &batch, dropout, 0.1).unwrap()
        });
    }
}

/// One matrix in three blocks and outside of them: its gradients add up, whether the input has one
/// or not.
#[test]
fn tied_weights_add_up() {
    let gpu = gpu();
    let mut b = Parameters::builder();
    let (w, first) = (
        b.declare("w", &[7, 7], Init::Normal(0.4)),
        b.declare("first", &[7, 7], Init::Normal(0.4)),
    );
    let params = b.build(&gpu, 8).unwrap();
    let x = normals(&gpu, &[5, 7]);
    let loss = |pass: &ForwardContext| {
        let mut x = pass.tape.constant(&x);
        for handle in [first, w, w, w] {
            x = pass
                .checkpoint(x, move |pass, x| {
                    pass.tape.matmul(&x, &pass.param(handle)?, Transpose::B)
                })
                .unwrap();
        }
        let x = pass
            .tape
            .matmul(&x, &pass.param(w).unwrap(), Transpose::B)
            .unwrap();
        let zero = pass
            .tape
            .constant(&Tensor::zeros(&gpu, &[5, 7], DType::F32).unwrap());
        pass.tape.loss(Loss::Mse, &x, &zero).unwrap()
    };
    same_bits("tied", &params, &loss);
}

/// Without checkpointing a block costs nothing: no dispatch, and its input goes as soon as it did.
#[test]
fn off_it_is_a_call() {
    let gpu = gpu();
    let mut b = Parameters::builder();
    let w = b.declare("w", &[64, 64], Init::Normal(0.1));
    let params = b.build(&gpu, 8).unwrap();
    let x = normals(&gpu, &[512, 64]);
    let twice = move |pass: &ForwardContext, x: Var| {
        let y = pass.tape.matmul(&x, &pass.param(w)?, Transpose::B)?;
        drop(x);
        pass.tape.matmul(&y, &pass.param(w)?, Transpose::B)
    };
    let cost = |run: &dyn Fn(&ForwardContext, Var) -> wgvq::Result<Var>, tape: &Tape| {
        gpu.finish().unwrap();
        gpu.reset_peak();
        let (dispatches, before) = (gpu.counters().dispatches, gpu.memory().in_use);
        let pass = ForwardContext::new(tape, &params);
        let x = tape.constant(&x.duplicate().unwrap());
        run(&pass, x).unwrap();
        (
            gpu.counters().dispatches - dispatches,
            gpu.memory().peak - before,
        )
    };
    for tape in [Tape::new, Tape::no_grad] {
        let direct = cost(&|pass, x| twice(pass, x), &tape(&gpu));
        assert_eq!(
            direct,
            cost(&|pass, x| pass.checkpoint(x, twice), &tape(&gpu))
        );
    }
    // A pass that keeps nothing anyway has nothing to compute again.
    let direct = cost(&|pass, x| twice(pass, x), &Tape::no_grad(&gpu));
    let still = Tape::no_grad(&gpu);
    let pass = |p: &ForwardContext, x: Var| {
        ForwardContext::new(p.tape, &params)
            .with_checkpointing(true)
            .checkpoint(x, twice)
    };
    assert_eq!(direct, cost(&pass, &still));
}

#[test]
fn the_peak_of_memory_falls_by_a_wide_margin() {
    let gpu = Gpu::new(Options::default()).unwrap();
    let (model, params) = vqvae(&gpu, 16);
    let images = normals(&gpu, &[2, 64, 64, 3]);
    let loss = |pass: &ForwardContext| reconstruction(pass, &model, &images);
    let (kept, recomputed) = peaks(&params, &loss);
    assert!(
        recomputed * 2 < kept,
        "VQ-VAE: {recomputed} bytes at peak recomputed, {kept} kept"
    );

    let shape = Shape {
        layers: 6,
        dim: 48,
        heads: 4,
        dropout: 0.1,
        ..Default::default()
    };
    let v = Vocabulary {
        codebook_size: 32,
        codebooks: 1,
        grid: [12, 12],
        classes: 0,
        above: Vec::new(),
        text: None,
        scales: None,
    };
    let (prior, params) = prior(&gpu, &shape, &v);
    let codes: Vec<u32> = (0..4 * v.tokens()).map(|i| (i * 7 % 32) as u32).collect();
    let batch = prior.upload(&gpu, &[0; 4], &codes, None).unwrap();
    let dropout = Dropout {
        rate: 0.1,
        key: Key {
            seed: 4,
            step: 1,
            stream: 0,
        },
        before: 0,
    };
    let loss = |pass: &ForwardContext| prior.loss(pass, &batch, dropout, 0.0).unwrap();
    let (kept, recomputed) = peaks(&params, &loss);
    assert!(
        recomputed * 2 < kept,
        "prior: {recomputed} bytes at peak recomputed, {kept} kept"
    );
}

/// The key of the configuration reaches the step, and the weights come out the same.
#[test]
fn trainers_end_with_the_same_weights() {
    let data = Arc::new(wgvq::data::open("emoji", &Default::default()).unwrap());
    let run = |kind: &str, recompute: bool| {
        let gpu = Gpu::new(Options::default()).unwrap();
        let mut config = RunConfig::default();
        config.set("model.kind", kind).unwrap();
        config.model.hidden = 32;
        config.model.residual_layers = 8;
        config.model.residual_hidden = 8;
        config.quantizer.codebook_size = 64;
        config.quantizer.codebook_dim = 16;
        config.train.batch_size = 8;
        config.train.gradient_checkpointing = recompute;
        let mut trainer = Trainer::new(
            &gpu,
            &config.resolve(&Registry::default()).unwrap(),
            data.clone(),
        )
        .unwrap();
        trainer.step().unwrap();
        gpu.reset_peak();
        for _ in 0..3 {
            trainer.step().unwrap();
        }
        (trainer.weights().unwrap(), gpu.memory().peak)
    };
    for kind in ["vqvae", "vqvae2"] {
        let ((weights, more), (same, less)) = (run(kind, false), run(kind, true));
        assert!(weights == same, "{kind}: the weights differ");
        assert!(
            less < more,
            "{kind}: {less} bytes at peak recomputed, {more} kept"
        );
    }
}
