//! The Gumbel-softmax (Jang et al. 2016; Ramesh et al. 2021): codes are drawn by their logits, and
//! learn by gradient.

use super::latent_norm::LatentNorm;
use super::latents::{arrive, check_latents, count, only};
use super::options::Options;
use super::projected::Projected;
use super::quantizer::{CodebookBatch, Mode, Quantized, Quantizer, Term};
use crate::Result;
use crate::autograd::Var;
use crate::gpu::{Gpu, Tensor};
use crate::nn::{Builder, ForwardContext, Handle, HostTensors, Init, Parameters};
use crate::ops::quantize::gather::gather;
use crate::ops::quantize::gumbel::{Codes, GumbelOptions};
use crate::ops::quantize::vq_search::linear_argmax;
use crate::ops::sampling::random::Key;

pub(crate) const NOISE: u32 = 0x4755_4d42;

/// A code drawn by the Gumbel-softmax of a linear map of the normalised latent: the parameters
/// `quantize.logits.weight` [K, D], `quantize.logits.bias` `[K]` and `quantize.codebook` [K, D].
#[derive(Debug)]
pub struct Gumbel {
    options: Options,
    size: [usize; 2],
    codes: Codes<Handle>,
    norm: LatentNorm,
}

/// Builds `gumbel`, a codebook behind a Gumbel-softmax (Jang et al. 2016; Ramesh et al. 2021).
///
/// ```
/// use wgvq::autograd::Tape;
/// use wgvq::gpu::{Gpu, Tensor};
/// use wgvq::nn::{ForwardContext, Init, Parameters};
/// use wgvq::quantize::{Mode, Options, gumbel};
///
/// # fn main() -> wgvq::Result<()> {
/// let gpu = Gpu::new(Default::default())?;
/// let mut b = Parameters::builder();
/// b.declare("encoder.weight", &[1], Init::Zeros); // a model's parameters
/// let options = Options { codebook_size: 16, codebook_dim: 2, ..Default::default() };
/// let quantizer = gumbel::build(&gpu, &mut b, &options)?;
/// let params = b.build(&gpu, 0)?;
///
/// let tape = Tape::new(&gpu);
/// let pass = ForwardContext::new(&tape, &params);
/// let z_e = [0.9f32, 0.2, -0.1, 0.1]; // two latents
/// let z_e = tape.leaf(&Tensor::from_slice(&gpu, &[2, 2], &z_e)?);
/// let q = quantizer.quantize(&pass, &z_e, Mode::Eval)?;
/// assert_eq!(q.z_q.shape(), [2, 2]);
/// assert_eq!(q.indices.shape(), [2, 1]);
/// assert_eq!(quantizer.decode(&pass, &q.indices)?.shape(), [2, 2]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If a temperature is not above 0, or the device fails.
pub fn build(gpu: &Gpu, b: &mut Builder, o: &Options) -> Result<Box<dyn Quantizer>> {
    let o = &o.as_kind("gumbel");
    o.check()?;
    let [k, d] = [o.codebook_size, o.code_channels()];
    let init = Init::Uniform(1.0 / (d as f32).sqrt());
    let codes = Codes {
        // Large beside the noise from the start: a choice that noise decides teaches the decoder
        // nothing.
        weight: b.declare("quantize.logits.weight", &[k, d], Init::Normal(1.0)),
        bias: b.declare("quantize.logits.bias", &[k], init),
        codebook: b.declare("quantize.codebook", &[k, d], Init::Normal(1.0)),
    };
    b.without_decay(codes.codebook);
    let norm = LatentNorm::new(gpu, d, o.normalize_latents)?;
    Projected::around(
        b,
        o,
        Box::new(Gumbel {
            options: o.clone(),
            size: [k, d],
            codes,
            norm,
        }),
    )
}

impl Gumbel {
    /// Returns the temperature of a step: along a cosine from the first to the last.
    pub fn temperature(&self, step: u64) -> f32 {
        let o = &self.options;
        let way = (step as f64 / o.temperature_steps.max(1) as f64).min(1.0);
        let share = 0.5 + 0.5 * (std::f64::consts::PI * way).cos();
        (o.temperature_min as f64 + share * (o.temperature as f64 - o.temperature_min as f64))
            as f32
    }
}

impl Quantizer for Gumbel {
    fn name(&self) -> &str {
        "gumbel"
    }
    fn codebook_numbers(&self) -> usize {
        self.size.iter().product()
    }
    fn codebook_size(&self) -> usize {
        self.size[0]
    }
    fn dim(&self) -> usize {
        self.size[1]
    }
    fn spans_latents(&self) -> Option<String> {
        let normalised = match self.norm.is_some() {
            true => "the normalisation of the latents, and ",
            false => "",
        };
        Some(format!(
            "{normalised}noise that is numbered by latent, of quantizer.kind = gumbel (choose \
             another quantizer)"
        ))
    }
    fn quantize(&self, pass: &ForwardContext, z_e: &Var, mode: Mode) -> Result<Quantized> {
        let (tape, o, [k, d]) = (pass.tape, &self.options, self.size);
        let z_e = &arrive("gumbel", pass, z_e, d)?;
        let [weight, bias, codebook] = [
            pass.param(self.codes.weight)?,
            pass.param(self.codes.bias)?,
            pass.param(self.codes.codebook)?,
        ];
        let (z_q, index, losses, moments) = match mode {
            Mode::Train { step } => {
                let key = Key {
                    seed: o.seed,
                    step,
                    stream: NOISE,
                };
                let draw = GumbelOptions {
                    temperature: self.temperature(step),
                    straight_through: o.straight_through,
                    key,
                };
                let codes = Codes {
                    weight: &weight,
                    bias: &bias,
                    codebook: &codebook,
                };
                let (x, moments) = self.norm.of_step(tape, z_e)?;
                let drawn = tape.gumbel(&x, codes, draw)?;
                let kl = tape.scale(&drawn.kl, o.kl_weight, 0.0)?;
                (
                    drawn.z_q,
                    drawn.index,
                    vec![(Term::Regularizer, kl)],
                    moments,
                )
            }
            Mode::Eval => {
                let index = linear_argmax(
                    &self.norm.of_use(z_e.tensor())?,
                    weight.tensor(),
                    bias.tensor(),
                )?;
                let codes = gather(codebook.tensor(), &index)?;
                (tape.straight_through(z_e, &codes)?, index, Vec::new(), None)
            }
        };
        let counts = count(&index, k)?;
        let indices = index.reshape(&[index.len(), 1])?;
        let seen = vec![CodebookBatch {
            codebook: 0,
            latents: z_e.tensor().clone(),
            index,
            moments,
        }];
        Ok(Quantized {
            z_q,
            indices,
            counts,
            losses,
            seen,
        })
    }
    fn learn(
        &mut self,
        _: &Parameters,
        seen: &[CodebookBatch],
        step: u64,
    ) -> Result<Option<Tensor>> {
        self.norm.learn(seen, step)?;
        Ok(None)
    }
    fn decode(&self, pass: &ForwardContext, indices: &Tensor) -> Result<Tensor> {
        gather(
            pass.param(self.codes.codebook)?.tensor(),
            &only("decode", indices)?,
        )
    }
    /// Codes are chosen by logits, not by distance: the negative logit, so that the surest choice
    /// is the nearest.
    fn distances(&self, pass: &ForwardContext, z_e: &Var) -> Result<Vec<f32>> {
        check_latents("gumbel", z_e.tensor(), self.size[1])?;
        let (weight, bias) = (pass.param(self.codes.weight)?, pass.param(self.codes.bias)?);
        let x = self.norm.of_use(z_e.tensor())?;
        let index = linear_argmax(&x, weight.tensor(), bias.tensor())?;
        let rows = gather(weight.tensor(), &index)?.read::<f32>()?;
        let (z, bias, index) = (
            x.read::<f32>()?,
            bias.tensor().read::<f32>()?,
            index.read::<u32>()?,
        );
        let d = self.size[1];
        let logit = |(row, z): (&[f32], &[f32])| row.iter().zip(z).map(|(w, z)| w * z).sum::<f32>();
        let logits = rows.chunks(d).zip(z.chunks(d)).map(logit);
        Ok(logits
            .zip(index)
            .map(|(logit, code)| -(logit + bias[code as usize]))
            .collect())
    }
    fn save(&self) -> Result<HostTensors> {
        self.norm.save()
    }
    fn check_state(&self, state: &HostTensors) -> Result<()> {
        self.norm.check_state("gumbel", state)
    }
    fn load(&mut self, state: &HostTensors) -> Result<()> {
        self.norm.load("gumbel", state)
    }
    fn learned(&self) -> Vec<&Tensor> {
        self.norm.learned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autograd::Tape;
    use crate::gpu::Options as Device;

    /// Latents that share a large mean still take several codes, in training and after it; a model
    /// of before the normalisation, which has no state, takes one for all.
    #[test]
    fn a_common_mean_does_not_decide_the_codes() {
        let gpu = Gpu::new(Device {
            poison: true,
            ..Default::default()
        })
        .unwrap();
        let options = Options {
            codebook_size: 7,
            codebook_dim: 3,
            ..Options::of("gumbel")
        };
        let mut b = Parameters::builder();
        let mut quantizer = build(&gpu, &mut b, &options).unwrap();
        let params = b.build(&gpu, 3).unwrap();
        let n = 41;
        let latents: Vec<f32> = (0..n * 3)
            .map(|i| 20.0 + 0.01 * ((i * 7919 % 97) as f32 / 48.5 - 1.0))
            .collect();
        let latents = Tensor::from_slice(&gpu, &[n, 3], &latents).unwrap();
        let codes = |quantizer: &dyn Quantizer, mode: Mode| {
            let tape = Tape::new(&gpu);
            let q = quantizer
                .quantize(
                    &ForwardContext::new(&tape, &params),
                    &tape.leaf(&latents),
                    mode,
                )
                .unwrap();
            let indices = q.indices.read::<u32>().unwrap();
            (
                indices
                    .iter()
                    .collect::<std::collections::BTreeSet<_>>()
                    .len(),
                indices,
                q.seen,
            )
        };
        let (drawn, _, seen) = codes(&*quantizer, Mode::Train { step: 0 });
        assert!(drawn > 3, "{drawn} codes of 7");
        quantizer.learn(&params, &seen, 0).unwrap();
        let (used, taken, _) = codes(&*quantizer, Mode::Eval);
        assert!(used > 3, "{used} codes of 7");

        let state = quantizer.save().unwrap();
        let mut again = build(&gpu, &mut Parameters::builder(), &options).unwrap();
        again.load(&state).unwrap();
        assert_eq!(codes(&*again, Mode::Eval).1, taken);
        again.load(&HostTensors::new()).unwrap();
        assert_eq!(codes(&*again, Mode::Eval).0, 1);
    }
}
