//! VQ-GAN's first stage against PyTorch, under taming-transformers' names.

use crate::common::fixture::Fixture;
use crate::common::{gpu, pattern, pattern_weights};
use wgvq::autograd::Tape;
use wgvq::gpu::Tensor;
use wgvq::models::Autoencoder;
use wgvq::models::first_stage::vqgan::{Config, VqGan};
use wgvq::nn::{ForwardContext, Parameters};
use wgvq::ops::quantize::vq_search::nearest;

fn config() -> Config {
    Config {
        channels: 3,
        hidden: 32,
        multipliers: vec![1, 1, 2],
        residual_layers: 1,
        mid_attention: true,
        spatial_norms: false,
        latent_kernel: 1,
        unit_pixels: false,
        latent_blocks: 0,
        attention: vec![2],
        latent_channels: 6,
        codebook_dim: 4,
    }
}

/// PyTorch in f64 on the same weights and images: latents, codes, reconstruction, and of every
/// parameter's gradient its norm, its sum against a pattern and its first element.
#[test]
fn pytorch_agrees() {
    agrees("vqgan/taming", &config());
}

/// The same with MoVQ's spatial norms.
#[test]
fn pytorch_agrees_on_spatial_norms() {
    let spatial_norms = true;
    agrees(
        "vqgan/movq",
        &Config {
            spatial_norms,
            ..config()
        },
    );
}

fn agrees(fixture: &str, config: &Config) {
    let gpu = gpu();
    let fixture = Fixture::load(fixture);
    let mut b = Parameters::builder();
    let model = VqGan::new(&mut b, config).unwrap();
    assert_eq!(model.factors(), [4]);
    let params = b.build(&gpu, 1).unwrap();
    params.load_host(&pattern_weights(&params)).unwrap();
    let tape = Tape::new(&gpu);
    let pass = ForwardContext::new(&tape, &params);
    let z = model
        .latents(&pass, &tape.constant(&fixture.tensor(&gpu, "images")))
        .unwrap();
    fixture.close("latents", &z.tensor().read::<f32>().unwrap(), 1e-5);
    let codebook = fixture.tensor(&gpu, "codebook");
    let rows = z.tensor().reshape(&[8, 4]).unwrap();
    let codes = nearest(&rows, &codebook).unwrap();
    assert_eq!(codes.read::<u32>().unwrap(), fixture.words["codes"]);

    let still = Tape::no_grad(&gpu);
    let z_q = wgvq::ops::quantize::gather::gather(&codebook, &codes)
        .unwrap()
        .reshape(z.shape())
        .unwrap();
    let y = model
        .images(&ForwardContext::new(&still, &params), &still.constant(&z_q))
        .unwrap();
    fixture.close("reconstruction", &y.tensor().read::<f32>().unwrap(), 1e-5);

    let y = model.images(&pass, &z).unwrap();
    let upstream = fixture.tensor(&gpu, "upstream");
    let gradients = pass.gradients(tape.backward_with(&y, upstream).unwrap());
    // Before a norm of one channel a bias has no effect: what its gradient holds is rounding.
    fixture.gradients_agree(&params, &gradients, 2e-4);
}

/// A configuration that makes no model is named; a model takes every size that the downsampling
/// divides.
#[test]
fn shapes_are_checked() {
    let gpu = gpu();
    let wrong = |change: fn(&mut Config), word: &str| {
        let mut c = config();
        change(&mut c);
        let error = VqGan::new(&mut Parameters::builder(), &c)
            .unwrap_err()
            .to_string();
        assert!(error.contains(word), "{error}");
    };
    wrong(|c| c.hidden = 48, "model.hidden");
    wrong(|c| c.multipliers = vec![1], "model.multipliers");
    wrong(|c| c.residual_layers = 0, "model.residual_layers");
    wrong(|c| c.attention = vec![8], "model.attention");
    wrong(|c| c.latent_kernel = 2, "model.latent_kernel");
    let mut b = Parameters::builder();
    let model = VqGan::new(&mut b, &config()).unwrap();
    // The finest resolution has the most, and above it what is upsampled of the channels below.
    assert_eq!(model.widest(), 32);
    let wide = Config {
        hidden: 64,
        multipliers: vec![1, 2, 4],
        ..config()
    };
    assert_eq!(
        VqGan::new(&mut Parameters::builder(), &wide)
            .unwrap()
            .widest(),
        128
    );
    let params = b.build(&gpu, 1).unwrap();
    let tape = Tape::no_grad(&gpu);
    let pass = ForwardContext::new(&tape, &params);
    for (h, w, fits) in [(4, 8, true), (12, 4, true), (6, 8, false)] {
        let x = tape.constant(&Tensor::zeros(&gpu, &[2, h, w, 3], wgvq::gpu::DType::F32).unwrap());
        match model.latents(&pass, &x) {
            Ok(z) => {
                assert!(fits && z.shape() == [2, h / 4, w / 4, 4]);
                assert_eq!(model.images(&pass, &z).unwrap().shape(), [2, h, w, 3]);
            }
            Err(e) => assert!(!fits && e.to_string().contains("divisible by 4"), "{e}"),
        }
    }
}

/// Attention over the 512 channels of the published models, forward and backward.
#[test]
fn attention_is_as_wide_as_the_published_models() {
    let gpu = gpu();
    let mut b = Parameters::builder();
    let c = Config {
        multipliers: vec![1, 16],
        attention: vec![],
        ..config()
    };
    let model = VqGan::new(&mut b, &c).unwrap();
    let params = b.build(&gpu, 1).unwrap();
    let tape = Tape::new(&gpu);
    let pass = ForwardContext::new(&tape, &params);
    let x: Vec<f32> = pattern("images", 4 * 6 * 3)
        .into_iter()
        .map(|v| v as f32)
        .collect();
    let z = model
        .latents(
            &pass,
            &tape.constant(&Tensor::from_slice(&gpu, &[1, 4, 6, 3], &x).unwrap()),
        )
        .unwrap();
    assert_eq!(z.shape(), [1, 2, 3, 4]);
    let upstream: Vec<f32> = pattern("upstream", 24)
        .into_iter()
        .map(|v| v as f32)
        .collect();
    let upstream = Tensor::from_slice(&gpu, z.shape(), &upstream).unwrap();
    let gradients = pass.gradients(tape.backward_with(&z, upstream).unwrap());
    for part in ["q", "k", "v"] {
        let handle = params
            .find(&format!("encoder.mid.attn_1.{part}.weight"))
            .unwrap();
        let (_, g) = gradients.iter().find(|(h, _)| *h == handle).unwrap();
        assert_eq!(g.shape(), [512, 1, 1, 512]);
        let g: Vec<f32> = g.read().unwrap();
        assert!(
            g.iter().all(|v| v.is_finite()) && g.iter().any(|v| *v != 0.0),
            "{part}"
        );
    }
}
