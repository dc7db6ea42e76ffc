//! Index backpropagation quantization (Shi et al. 2024, "Scalable image tokenization with index
//! backpropagation quantization"): the code of the largest product with the latent, and a gradient
//! for every code by the softmax of all products.

use super::latent_norm::LatentNorm;
use super::latents::{arrive, check_latents, count, only};
use super::options::Options;
use super::projected::Projected;
use super::quantizer::{CodebookBatch, Mode, Quantized, Quantizer, Term};
use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Tensor};
use crate::nn::{Builder, ForwardContext, Handle, HostTensors, Init, Parameters};
use crate::ops::loss::loss::Loss;
use crate::ops::quantize::code_softmax::Metric;
use crate::ops::quantize::gather::gather;
use crate::ops::quantize::gumbel::{Codes, GumbelOutput};
use crate::ops::quantize::vq_search::linear_argmax;

/// The likeliest code by products, of a codebook that is the parameter `quantize.codebook` [K, D].
///
/// The authors' encoder is large and trained for long; a small one's latents differ by far less
/// than their common mean, and few codes win them all. So latents are normalised unless
/// `normalize_latents` is false, and codes begin as normal numbers. That holds latents and codes at
/// one length, for which the authors have the double quantization loss; beside it the codes would
/// settle where the latents are, before these tell images apart.
#[derive(Debug)]
pub struct Ibq {
    options: Options,
    /// Codes and channels.
    size: [usize; 2],
    codebook: Handle,
    norm: LatentNorm,
    /// Logits are the products alone: `[K]`.
    zeros: Tensor,
}

/// Builds `ibq`, index backpropagation quantization (Shi et al. 2024): the code of the largest
/// product with the latent, from a codebook all of which learns in every step.
///
/// ```
/// use wgvq::autograd::Tape;
/// use wgvq::gpu::{Gpu, Tensor};
/// use wgvq::nn::{ForwardContext, Init, Parameters};
/// use wgvq::quantize::{Mode, Options, ibq};
///
/// # fn main() -> wgvq::Result<()> {
/// let gpu = Gpu::new(Default::default())?;
/// let mut b = Parameters::builder();
/// b.declare("encoder.weight", &[1], Init::Zeros); // a model's parameters
/// let options = Options { codebook_size: 16, codebook_dim: 2, ..Options::of("ibq") };
/// let quantizer = ibq::build(&gpu, &mut b, &options)?;
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
/// If an option cannot be used, or the device fails.
pub fn build(gpu: &Gpu, b: &mut Builder, o: &Options) -> Result<Box<dyn Quantizer>> {
    let o = &o.as_kind("ibq");
    o.check()?;
    let [k, d] = [o.codebook_size, o.code_channels()];
    let init = match o.normalize_latents {
        true => Init::Normal(1.0),
        // The authors' short codes: at first every code is about as likely, and learns about as
        // much.
        false => Init::Uniform(1.0 / k as f32),
    };
    let codebook = b.declare("quantize.codebook", &[k, d], init);
    b.without_decay(codebook);
    let inner = Ibq {
        options: o.clone(),
        size: [k, d],
        codebook,
        norm: LatentNorm::new(gpu, d, o.normalize_latents)?,
        zeros: Tensor::zeros(gpu, &[k], DType::F32)?,
    };
    Projected::around(b, o, Box::new(inner))
}

impl Ibq {
    fn choose(&self, tape: &Tape, x: &Var, codebook: &Var) -> Result<GumbelOutput> {
        let codes = Codes {
            weight: codebook,
            bias: &tape.constant(&self.zeros),
            codebook,
        };
        tape.index_backpropagation(x, codes)
    }

    /// Computes the double quantization loss (Shi et al. 2024, equation 7): latents and codes
    /// through the softmax, latents to their codes, codes to their latents.
    fn double_quantization(
        &self,
        tape: &Tape,
        z_e: &Var,
        chosen: &GumbelOutput,
        codebook: &Var,
    ) -> Result<Vec<(Term, Var)>> {
        let codes = tape.gather(codebook, &chosen.index)?;
        let both = tape.loss(Loss::Mse, &chosen.z_q, z_e)?;
        let commitment = tape.loss(Loss::Mse, z_e, &codes.detach())?;
        let own = tape.loss(Loss::Mse, &codes, &z_e.detach())?;
        let (beta, w) = (self.options.commitment_weight, self.options.codebook_weight);
        Ok(vec![
            (Term::Commitment, tape.scale(&both, beta, 0.0)?),
            (Term::Commitment, tape.scale(&commitment, beta, 0.0)?),
            (Term::Codebook, tape.scale(&own, w, 0.0)?),
        ])
    }

    /// Computes the entropy loss: that of each choice, less that of the codes' average use, under a
    /// softmax of sharper products.
    fn entropy_terms(&self, tape: &Tape, z_e: &Var, codebook: &Var) -> Result<Vec<(Term, Var)>> {
        let (o, w) = (&self.options, self.options.entropy_loss_weight);
        let sharp = tape.scale(z_e, o.inv_temperature, 0.0)?;
        // The divergence from even use is ln K less the entropy.
        let kl = self.choose(tape, &sharp, codebook)?.kl;
        let each = tape.scale(&kl, -w, w * (self.size[0] as f32).ln())?;
        let used = tape.code_average(z_e, codebook, Metric::Cosine, o.inv_temperature)?;
        let all = tape.scale(&tape.entropy(&used)?, -w * o.diversity_gamma, 0.0)?;
        Ok(vec![(Term::Regularizer, each), (Term::Regularizer, all)])
    }
}

impl Quantizer for Ibq {
    fn name(&self) -> &str {
        "ibq"
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
        match self.norm.is_some() {
            true => Some(
                "the normalisation of the latents (set quantizer.normalize_latents = false)".into(),
            ),
            false => self.options.spans_by_entropy(),
        }
    }
    fn quantize(&self, pass: &ForwardContext, z_e: &Var, mode: Mode) -> Result<Quantized> {
        let (tape, o, [k, d]) = (pass.tape, &self.options, self.size);
        let z_e = &arrive("ibq", pass, z_e, d)?;
        let codebook = pass.param(self.codebook)?;
        let (z_q, index, losses, moments) = match mode {
            Mode::Train { .. } => {
                let (z_e, moments) = &self.norm.of_step(tape, z_e)?;
                let chosen = self.choose(tape, z_e, &codebook)?;
                let mut losses = match moments {
                    Some(_) => Vec::new(),
                    None => self.double_quantization(tape, z_e, &chosen, &codebook)?,
                };
                if o.entropy_loss_weight > 0.0 {
                    losses.extend(self.entropy_terms(tape, z_e, &codebook)?);
                }
                (chosen.z_q, chosen.index, losses, moments.clone())
            }
            Mode::Eval => {
                let x = self.norm.of_use(z_e.tensor())?;
                let index = linear_argmax(&x, codebook.tensor(), &self.zeros)?;
                let codes = gather(codebook.tensor(), &index)?;
                (tape.straight_through(z_e, &codes)?, index, Vec::new(), None)
            }
        };
        let counts = count(&index, k)?;
        let indices = index.reshape(&[index.len(), 1])?;
        let seen = moments.map(|moments| CodebookBatch {
            codebook: 0,
            latents: z_e.tensor().clone(),
            index,
            moments: Some(moments),
        });
        Ok(Quantized {
            z_q,
            indices,
            counts,
            losses,
            seen: seen.into_iter().collect(),
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
        let codebook = pass.param(self.codebook)?;
        gather(codebook.tensor(), &only("decode", indices)?)
    }
    /// Codes are chosen by products, not by distance: the negative product, so that the surest
    /// choice is the nearest.
    fn distances(&self, pass: &ForwardContext, z_e: &Var) -> Result<Vec<f32>> {
        let d = self.size[1];
        check_latents("ibq", z_e.tensor(), d)?;
        let q = self.quantize(pass, z_e, Mode::Eval)?;
        let z = self.norm.of_use(z_e.tensor())?.read::<f32>()?;
        let codes = q.z_q.tensor().read::<f32>()?;
        let product = |(z, code): (&[f32], &[f32])| -> f32 {
            z.iter().zip(code).map(|(z, code)| -z * code).sum()
        };
        Ok(z.chunks(d).zip(codes.chunks(d)).map(product).collect())
    }
    fn save(&self) -> Result<HostTensors> {
        self.norm.save()
    }
    fn check_state(&self, state: &HostTensors) -> Result<()> {
        self.norm.check_state("ibq", state)
    }
    fn load(&mut self, state: &HostTensors) -> Result<()> {
        self.norm.load("ibq", state)
    }
    fn learned(&self) -> Vec<&Tensor> {
        self.norm.learned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Options as Device;
    use crate::quantize::latent_norm::EPS;

    /// Normalised, a step is the published one without double quantization on latents that batch
    /// norm has passed, gradients and all; in use the moments of the steps stand for those of the
    /// batch; a model of before, which has no state, goes on without.
    #[test]
    fn normalised_latents_go_through_the_published_step() {
        let gpu = Gpu::new(Device {
            poison: true,
            ..Default::default()
        })
        .unwrap();
        let (k, d, n) = (7, 3, 41);
        let build = |normalize_latents| {
            let options = Options {
                codebook_size: k,
                codebook_dim: d,
                normalize_latents,
                commitment_weight: 0.0,
                codebook_weight: 0.0,
                ..Options::of("ibq")
            };
            let mut b = Parameters::builder();
            let quantizer = build(&gpu, &mut b, &options).unwrap();
            (quantizer, b.build(&gpu, 3).unwrap())
        };
        let ((mut normalised, params), (published, _)) = (build(true), build(false));
        let values: Vec<f32> = (0..n * d)
            .map(|i| 20.0 + 0.01 * ((i * 7919 % 97) as f32 / 48.5 - 1.0))
            .collect();
        let latents = Tensor::from_slice(&gpu, &[n, d], &values).unwrap();
        let ones = Tensor::from_slice(&gpu, &[d], &vec![1.0f32; d]).unwrap();
        let zeros = Tensor::zeros(&gpu, &[d], DType::F32).unwrap();
        let step = |quantizer: &dyn Quantizer, by_hand: bool| {
            let tape = Tape::new(&gpu);
            let pass = ForwardContext::new(&tape, &params);
            let z = tape.leaf(&latents);
            let x = match by_hand {
                true => {
                    let (ones, zeros) = (tape.constant(&ones), tape.constant(&zeros));
                    tape.batch_norm(&z, &ones, &zeros, EPS).unwrap().0
                }
                false => z.clone(),
            };
            let q = quantizer
                .quantize(&pass, &x, Mode::Train { step: 0 })
                .unwrap();
            let squares = tape.loss(Loss::Mse, &q.z_q, &tape.constant(&latents));
            let total = q.total(&tape).unwrap().unwrap();
            let loss = tape.add(&squares.unwrap(), &total).unwrap();
            let mut gradients = tape.backward(&loss).unwrap();
            let read = |t: &Tensor| t.read::<f32>().unwrap();
            let dz = read(&gradients.take(&z).unwrap());
            let own = pass.gradients(gradients);
            let own: Vec<Vec<f32>> = own.iter().map(|(_, g)| read(g)).collect();
            let (z_q, index) = (read(q.z_q.tensor()), q.indices.read::<u32>().unwrap());
            ((z_q, index, dz, own), q.seen)
        };
        let (got, seen) = step(&*normalised, false);
        let (want, none) = step(&*published, true);
        assert!(got == want && none.is_empty());
        let distinct = |codes: &[u32]| {
            let codes: std::collections::BTreeSet<&u32> = codes.iter().collect();
            codes.len()
        };
        assert!(distinct(&got.1) > 3, "{:?}", got.1);

        normalised.learn(&params, &seen, 0).unwrap();
        let taken = |quantizer: &dyn Quantizer| {
            let tape = Tape::no_grad(&gpu);
            let pass = ForwardContext::new(&tape, &params);
            let z = tape.constant(&latents);
            let codes = quantizer.quantize(&pass, &z, Mode::Eval).unwrap().indices;
            let distances = quantizer.distances(&pass, &z).unwrap();
            (codes.read::<u32>().unwrap(), distances)
        };
        // After one step the averaged moments are that step's.
        let (codes, distances) = taken(&*normalised);
        assert_eq!(codes, got.1);
        assert_eq!(distances.len(), n);
        let state = normalised.save().unwrap();
        let (mut again, _) = build(true);
        again.check_state(&state).unwrap();
        again.load(&state).unwrap();
        assert_eq!(taken(&*again), (codes, distances));
        again.load(&HostTensors::new()).unwrap();
        assert_eq!(taken(&*again), taken(&*published));
        assert_eq!(distinct(&taken(&*again).0), 1);
        let (mut other, _) = build(false);
        assert!(other.load(&state).is_err());
    }
}
