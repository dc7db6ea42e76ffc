//! A quantizer of your own, beside the built-in ones: binary spherical quantization (Zhao et al.
//! 2024, "Image and video tokenization with binary spherical quantization"), trained by name on the
//! embedded emoji.
//!
//!     cargo run --release --example custom_quantizer
//!
//! A latent goes to the sphere; its code is the corner of the cube inscribed there that lies
//! nearest: the signs of its channels, over root D. There is no codebook, and with so few codes to
//! a channel no loss is needed to keep them in use.

use std::sync::Arc;
use wgvq::autograd::Var;
use wgvq::config::run::RunConfig;
use wgvq::gpu::{Gpu, Tensor};
use wgvq::nn::{Builder, ForwardContext};
use wgvq::ops::elementwise::scale::scale;
use wgvq::ops::loss::loss::Loss;
use wgvq::ops::quantize::assignment::assign;
use wgvq::ops::quantize::bits::{signs, signs_of};
use wgvq::quantize::{Kind, Mode, Options, Projected, Quantized, Quantizer, Registry, Term};
use wgvq::train::Trainer;
use wgvq::{Error, Result};

struct Spherical {
    channels: usize,
    commitment_weight: f32,
}

impl Spherical {
    fn corner(&self, signs: &Tensor) -> Result<Tensor> {
        scale(signs, 1.0 / (self.channels as f32).sqrt(), 0.0)
    }
}

impl Quantizer for Spherical {
    fn name(&self) -> &str {
        "spherical"
    }
    fn codebook_size(&self) -> usize {
        1 << self.channels
    }
    fn dim(&self) -> usize {
        self.channels
    }
    fn quantize(&self, pass: &ForwardContext, z_e: &Var, mode: Mode) -> Result<Quantized> {
        let tape = pass.tape;
        let u = tape.l2_norm(z_e)?;
        let (signs, index) = signs(u.tensor())?;
        let z_q = tape.straight_through(&u, &self.corner(&signs)?)?;
        let mut losses = Vec::new();
        if let Mode::Train { .. } = mode {
            let commitment = tape.loss(Loss::Mse, &u, &z_q.detach())?;
            losses.push((
                Term::Commitment,
                tape.scale(&commitment, self.commitment_weight, 0.0)?,
            ));
        }
        let n = index.len();
        let counts = assign(&index, self.codebook_size())?
            .counts
            .reshape(&[1, self.codebook_size()])?;
        Ok(Quantized {
            z_q,
            indices: index.reshape(&[n, 1])?,
            counts,
            losses,
            seen: Vec::new(),
        })
    }
    fn decode(&self, _: &ForwardContext, indices: &Tensor) -> Result<Tensor> {
        self.corner(&signs_of(
            &indices.reshape(&[indices.len()])?,
            self.channels,
        )?)
    }
}

/// From the options that every quantizer has: as many channels as the codes have bits.
fn build(_: &Gpu, b: &mut Builder, o: &Options) -> Result<Box<dyn Quantizer>> {
    if !o.codebook_size.is_power_of_two() || o.codebook_size < 2 {
        return Err(Error::config(
            "quantizer.codebook_size",
            "must be a power of two for `spherical`",
        ));
    }
    let channels = o.codebook_size.ilog2() as usize;
    let inner = Spherical {
        channels,
        commitment_weight: o.commitment_weight,
    };
    // Where the configuration wants latents of other channels, linear maps lead in and out.
    let o = Options {
        dim: if o.dim == 0 { channels } else { o.dim },
        ..o.clone()
    };
    Projected::around(b, &o, Box::new(inner))
}

/// Trains a model with it; returns what the test split says.
pub fn train(config: &RunConfig, steps: u64) -> Result<wgvq::metrics::Evaluation> {
    let kind = Kind {
        name: "spherical",
        about: "signs on the sphere",
        build,
    };
    let registry = Registry::default().with(kind);
    let gpu = Gpu::new(Default::default())?;
    let data = Arc::new(wgvq::data::open(&config.data.source, &Default::default())?);
    let mut trainer = Trainer::with(&gpu, &config.resolve(&registry)?, data, &registry)?;
    for _ in 0..steps {
        trainer.step()?;
        for row in trainer.rows(false)? {
            println!(
                "step {:>4}  reconstruction {:.4}  codes used {:.0}",
                row.step, row.losses.reconstruction, row.codes.used
            );
        }
    }
    trainer.evaluate()
}

#[allow(dead_code, reason = "a test includes this file for what it shows")]
fn main() -> Result<()> {
    let mut config = RunConfig::default();
    config.quantizer.kind = "spherical".into();
    config.quantizer.codebook_size = 1 << 12;
    println!("{}", train(&config, 200)?);
    Ok(())
}
