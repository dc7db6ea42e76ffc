//! The Gumbel-softmax (Jang et al. 2016; Ramesh et al. 2021): codes are drawn by their logits, and learn by gradient.

use super::{Mode, Options, Projected, Quantized, Quantizer, Term, arrive, check_latents, count, only};
use crate::Result;
use crate::autograd::Var;
use crate::gpu::{Gpu, Tensor};
use crate::nn::{Builder, Handle, Init, Pass};
use crate::ops::gather::gather;
use crate::ops::gumbel::{Codes, Draw};
use crate::ops::random::Key;
use crate::ops::vq_search::likeliest;

pub(crate) const NOISE: u32 = 0x4755_4d42;

/// A code drawn by the Gumbel-softmax of a linear map of the latent: the parameters `quantize.logits.weight` [K, D],
/// `quantize.logits.bias` `[K]` and `quantize.codebook` [K, D].
#[derive(Debug)]
pub struct Gumbel {
    options: Options,
    size: [usize; 2],
    codes: Codes<Handle>,
}

/// `gumbel`, from its options.
///
/// # Errors
/// If a temperature is not above 0.
pub fn build(_: &Gpu, b: &mut Builder, o: &Options) -> Result<Box<dyn Quantizer>> {
    o.check()?;
    let [k, d] = [o.codebook_size, o.code_channels()];
    let init = Init::Uniform(1.0 / (d as f32).sqrt());
    let codes = Codes {
        // Large beside the noise from the start: a choice that noise decides teaches the decoder nothing.
        weight: b.declare("quantize.logits.weight", &[k, d], Init::Normal(1.0)),
        bias: b.declare("quantize.logits.bias", &[k], init),
        codebook: b.declare("quantize.codebook", &[k, d], Init::Normal(1.0)),
    };
    b.without_decay(codes.codebook);
    Projected::around(b, o, Box::new(Gumbel { options: o.clone(), size: [k, d], codes }))
}

impl Gumbel {
    /// The temperature of a step: along a cosine from the first to the last.
    pub fn temperature(&self, step: u64) -> f32 {
        let o = &self.options;
        let way = (step as f64 / o.temperature_steps.max(1) as f64).min(1.0);
        let share = 0.5 + 0.5 * (std::f64::consts::PI * way).cos();
        (o.temperature_min as f64 + share * (o.temperature as f64 - o.temperature_min as f64)) as f32
    }
}

impl Quantizer for Gumbel {
    fn name(&self) -> &str {
        "gumbel"
    }
    fn codebook_size(&self) -> usize {
        self.size[0]
    }
    fn dim(&self) -> usize {
        self.size[1]
    }
    fn quantize(&self, pass: &Pass, z_e: &Var, mode: Mode) -> Result<Quantized> {
        let (tape, o, [k, d]) = (pass.tape, &self.options, self.size);
        let z_e = &arrive("gumbel", pass, z_e, d)?;
        let [weight, bias, codebook] =
            [pass.param(self.codes.weight)?, pass.param(self.codes.bias)?, pass.param(self.codes.codebook)?];
        let (z_q, index, losses) = match mode {
            Mode::Train { step } => {
                let key = Key { seed: o.seed, step, stream: NOISE };
                let draw = Draw { temperature: self.temperature(step), straight_through: o.straight_through, key };
                let codes = Codes { weight: &weight, bias: &bias, codebook: &codebook };
                let drawn = tape.gumbel(z_e, codes, draw)?;
                let kl = tape.scale(&drawn.kl, o.kl_weight, 0.0)?;
                (drawn.z_q, drawn.index, vec![(Term::Regularizer, kl)])
            }
            Mode::Eval => {
                let index = likeliest(z_e.tensor(), weight.tensor(), bias.tensor())?;
                let codes = gather(codebook.tensor(), &index)?;
                (tape.straight_through(z_e, &codes)?, index, Vec::new())
            }
        };
        let counts = count(&index, k)?;
        let indices = index.reshape(&[index.len(), 1])?;
        Ok(Quantized { z_q, indices, counts, losses, seen: Vec::new() })
    }
    fn decode(&self, pass: &Pass, indices: &Tensor) -> Result<Tensor> {
        gather(pass.param(self.codes.codebook)?.tensor(), &only("decode", indices)?)
    }
    /// Codes are chosen by logits, not by distance: the negative logit, so that the surest choice is the nearest.
    fn distances(&self, pass: &Pass, z_e: &Var) -> Result<Vec<f32>> {
        check_latents("gumbel", z_e.tensor(), self.size[1])?;
        let (weight, bias) = (pass.param(self.codes.weight)?, pass.param(self.codes.bias)?);
        let index = likeliest(z_e.tensor(), weight.tensor(), bias.tensor())?;
        let rows = gather(weight.tensor(), &index)?.read::<f32>()?;
        let (z, bias, index) = (z_e.tensor().read::<f32>()?, bias.tensor().read::<f32>()?, index.read::<u32>()?);
        let d = self.size[1];
        let logit = |(row, z): (&[f32], &[f32])| row.iter().zip(z).map(|(w, z)| w * z).sum::<f32>();
        let logits = rows.chunks(d).zip(z.chunks(d)).map(logit);
        Ok(logits.zip(index).map(|(logit, code)| -(logit + bias[code as usize])).collect())
    }
}
