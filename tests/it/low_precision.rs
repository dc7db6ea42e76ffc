//! 16-bit storage: it changes no choice of a code, halves what activations take, and trains as f32
//! does.

use crate::common::{run, stderr, text, tiny_config};
use std::sync::Arc;
use wgvq::autograd::Tape;
use wgvq::config::DottedConfig;
use wgvq::config::run::RunConfig;
use wgvq::gpu::{DType, Gpu, Options, Tensor};
use wgvq::nn::{ForwardContext, Init, Parameters};
use wgvq::ops::conv::Conv;
use wgvq::ops::conv::conv2d::conv2d;
use wgvq::ops::elementwise::cast::cast;
use wgvq::ops::linalg::matmul::{Transpose, matmul};
use wgvq::ops::quantize::vq_search::nearest;
use wgvq::quantize::{self, Mode, Registry};
use wgvq::spec::Rng;
use wgvq::train::Trainer;

fn gpu_with(no_features: bool) -> Gpu {
    Gpu::new(Options {
        poison: true,
        no_features,
        ..Default::default()
    })
    .expect(
        "these tests need a Vulkan, Metal or DX12 adapter; scripts/test.sh installs a software one",
    )
}

/// Latents that crowd around the middle between two codes, so that a distance rounded to 16 bits
/// would choose wrongly.
fn crowded(gpu: &Gpu, n: usize, d: usize) -> Tensor {
    let mut rng = Rng::new(11);
    let values: Vec<f32> = (0..n * d)
        .map(|_| (0.5 * (rng.below(7) as f64 - 3.0) + 2e-3 * rng.normal()) as f32)
        .collect();
    Tensor::from_slice(gpu, &[n, d], &values).unwrap()
}

#[test]
fn storage_in_16_bits_changes_no_index() {
    let gpu = gpu_with(false);
    let (n, d) = (611, 16);
    for kind in quantize::all() {
        let mut b = Parameters::builder();
        b.declare("unused", &[1], Init::Zeros);
        let options = quantize::Options {
            codebook_size: 256,
            dim: d,
            kmeans_init: false,
            scales: vec![1],
            ..quantize::Options::of(kind.name)
        };
        let quantizer = Registry::default().build(&gpu, &mut b, &options).unwrap();
        let params = b.build(&gpu, 3).unwrap();
        let indices = |z: &Tensor, mode| -> Vec<u32> {
            let tape = Tape::new(&gpu);
            let q = quantizer
                .quantize(&ForwardContext::new(&tape, &params), &tape.leaf(z), mode)
                .unwrap();
            q.indices.read().unwrap()
        };
        for dtype in [DType::F16, DType::Bf16] {
            let stored = cast(&crowded(&gpu, n, d), dtype).unwrap();
            let wide = cast(&stored, DType::F32).unwrap();
            for mode in [Mode::Eval, Mode::Train { step: 3 }] {
                let (low, full) = (indices(&stored, mode), indices(&wide, mode));
                assert_eq!(low, full, "{} in {}", kind.name, dtype.name());
                assert!(
                    full.iter().any(|i| *i != full[0]),
                    "{}: one code for all proves nothing",
                    kind.name
                );
            }
        }
    }
}

/// The fused search reads f16 as it lies, in each of its kernels, and the indices are those of the
/// widened latents.
#[test]
fn the_search_over_f16_gives_the_indices_of_f32() {
    for gpu in [gpu_with(false), gpu_with(true)] {
        for (n, k, d) in [
            (300, 65, 8),
            (517, 512, 64),
            (129, 100, 128),
            (70, 33, 20),
            (61, 17, 5),
        ] {
            let codes = Rng::new(5).normals(&[k, d]).upload(&gpu).unwrap();
            let stored = cast(
                &Rng::new(4).normals(&[n, d]).upload(&gpu).unwrap(),
                DType::F16,
            )
            .unwrap();
            let wide = cast(&stored, DType::F32).unwrap();
            let low: Vec<u32> = nearest(&stored, &codes).unwrap().read().unwrap();
            let full: Vec<u32> = nearest(&wide, &codes).unwrap().read().unwrap();
            assert_eq!(low, full, "n={n} k={k} d={d}");
        }
    }
}

#[test]
fn results_keep_the_type_of_their_activations() {
    let gpu = gpu_with(false);
    let x = cast(
        &Tensor::zeros(&gpu, &[2, 4, 4, 8], DType::F32).unwrap(),
        DType::F16,
    )
    .unwrap();
    let w = Tensor::zeros(&gpu, &[4, 3, 3, 8], DType::F32).unwrap();
    let y = conv2d(
        &x,
        &w,
        None,
        None,
        Conv {
            stride: 1,
            pad: 1,
            relu: true,
            after: 0,
        },
    )
    .unwrap();
    assert_eq!(y.dtype(), DType::F16);
    let rows = x.reshape(&[32, 8]).unwrap();
    assert_eq!(
        matmul(&rows, &w.reshape(&[36, 8]).unwrap(), Transpose::B, None)
            .unwrap()
            .dtype(),
        DType::F16
    );
    // Half the bytes.
    assert_eq!(
        2 * x.buffer().1.count(),
        Tensor::zeros(&gpu, &[2, 4, 4, 8], DType::F32)
            .unwrap()
            .buffer()
            .1
            .count()
    );
    let weights = cast(&w, DType::Bf16).unwrap();
    let error = conv2d(
        &x,
        &weights,
        None,
        None,
        Conv {
            stride: 1,
            pad: 1,
            relu: true,
            after: 0,
        },
    )
    .unwrap_err()
    .to_string();
    assert!(error.contains("weights in f32 or f16"), "{error}");
}

/// A few steps of the same model with activations in f32 and in f16: the losses stay together, and
/// the peak of memory falls.
#[test]
fn training_with_f16_activations_follows_f32_in_less_memory() {
    let data = Arc::new(wgvq::data::open("emoji", &Default::default()).unwrap());
    let run = |dtype: &str| {
        let gpu = Gpu::new(Options::default()).unwrap();
        let mut config = RunConfig::default();
        config.model.hidden = 32;
        config.model.residual_hidden = 8;
        config.quantizer.codebook_size = 64;
        config.quantizer.codebook_dim = 16;
        config.train.batch_size = 16;
        config.train.log_every = 1;
        config.set("train.dtype", dtype).unwrap();
        let mut trainer = Trainer::new(
            &gpu,
            &config.resolve(&Registry::default()).unwrap(),
            data.clone(),
        )
        .unwrap();
        let mut losses = Vec::new();
        for _ in 0..30 {
            trainer.step().unwrap();
        }
        for row in trainer.rows(true).unwrap() {
            losses.push(row.losses.reconstruction);
        }
        (losses, gpu.memory().peak)
    };
    let ((full, more), (half, less)) = (run("f32"), run("f16"));
    assert_eq!(full.len(), half.len());
    assert!(!full.is_empty());
    for (i, (f, h)) in full.iter().zip(&half).enumerate() {
        assert!((f - h).abs() < 0.1 * f, "step {i}: {f} in f32, {h} in f16");
    }
    assert!(
        half.iter().zip(&full).any(|(h, f)| h != f),
        "f16 was not used"
    );
    assert!(less < more, "{less} bytes at peak in f16, {more} in f32");
}

/// A run keeps the choices that were left to the program, and goes on with them.
#[test]
fn a_choice_that_was_left_open_is_kept_with_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = (folder.path().join("tiny.toml"), folder.path().join("run"));
    tiny_config(&config, 2);
    let trained = run(&[
        "train",
        text(&config),
        "--out",
        text(&out),
        "--quiet",
        "--set",
        "train.precision=auto",
        "--auto-batch",
    ]);
    assert!(trained.status.success(), "{}", stderr(&trained));
    let kept = std::fs::read_to_string(out.join("config.toml")).unwrap();
    let kept: toml::Table = kept.parse().unwrap();
    // Mixed precision was not measured to be faster anywhere yet, and four small images fit.
    assert_eq!(kept["train"]["precision"].as_str(), Some("f32"));
    assert_eq!(kept["train"]["accumulate"].as_integer(), Some(1));
    let again = run(&["train", "--resume", text(&out), "--steps", "3", "--quiet"]);
    assert!(again.status.success(), "{}", stderr(&again));
}
