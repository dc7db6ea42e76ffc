//! Index backpropagation quantization (Shi et al. 2024, "Scalable image tokenization with index
//! backpropagation quantization"): the code of the largest product with the latent, and a gradient
//! for every code by the softmax of all products.

use super::latents::{arrive, check_latents, count, only};
use super::options::Options;
use super::projected::Projected;
use super::quantizer::{Mode, Quantized, Quantizer, Term};
use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Tensor};
use crate::nn::{Builder, ForwardContext, Handle, Init};
use crate::ops::loss::loss::Loss;
use crate::ops::quantize::code_softmax::Metric;
use crate::ops::quantize::gather::gather;
use crate::ops::quantize::gumbel::{Codes, GumbelOutput};
use crate::ops::quantize::vq_search::linear_argmax;

/// The likeliest code by products, of a codebook that is the parameter `quantize.codebook` [K, D].
#[derive(Debug)]
pub struct Ibq {
    options: Options,
    /// Codes and channels.
    size: [usize; 2],
    codebook: Handle,
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
    // Short codes: at first every code is about as likely, and learns about as much.
    let codebook = b.declare("quantize.codebook", &[k, d], Init::Uniform(1.0 / k as f32));
    b.without_decay(codebook);
    let inner = Ibq {
        options: o.clone(),
        size: [k, d],
        codebook,
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
        self.options.spans_by_entropy()
    }
    fn quantize(&self, pass: &ForwardContext, z_e: &Var, mode: Mode) -> Result<Quantized> {
        let (tape, o, [k, d]) = (pass.tape, &self.options, self.size);
        let z_e = &arrive("ibq", pass, z_e, d)?;
        let codebook = pass.param(self.codebook)?;
        let (z_q, index, losses) = match mode {
            Mode::Train { .. } => {
                let chosen = self.choose(tape, z_e, &codebook)?;
                let codes = tape.gather(&codebook, &chosen.index)?;
                // The double quantization loss (Shi et al. 2024, equation 7): latents and codes
                // through the softmax, latents to their codes, codes to their latents.
                let both = tape.loss(Loss::Mse, &chosen.z_q, z_e)?;
                let commitment = tape.loss(Loss::Mse, z_e, &codes.detach())?;
                let own = tape.loss(Loss::Mse, &codes, &z_e.detach())?;
                let (beta, w) = (o.commitment_weight, o.codebook_weight);
                let mut losses = vec![
                    (Term::Commitment, tape.scale(&both, beta, 0.0)?),
                    (Term::Commitment, tape.scale(&commitment, beta, 0.0)?),
                    (Term::Codebook, tape.scale(&own, w, 0.0)?),
                ];
                if o.entropy_loss_weight > 0.0 {
                    losses.extend(self.entropy_terms(tape, z_e, &codebook)?);
                }
                (chosen.z_q, chosen.index, losses)
            }
            Mode::Eval => {
                let index = linear_argmax(z_e.tensor(), codebook.tensor(), &self.zeros)?;
                let codes = gather(codebook.tensor(), &index)?;
                (tape.straight_through(z_e, &codes)?, index, Vec::new())
            }
        };
        let counts = count(&index, k)?;
        let indices = index.reshape(&[index.len(), 1])?;
        Ok(Quantized {
            z_q,
            indices,
            counts,
            losses,
            seen: Vec::new(),
        })
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
        let (z, codes) = (z_e.tensor().read::<f32>()?, q.z_q.tensor().read::<f32>()?);
        let product = |(z, code): (&[f32], &[f32])| -> f32 {
            z.iter().zip(code).map(|(z, code)| -z * code).sum()
        };
        Ok(z.chunks(d).zip(codes.chunks(d)).map(product).collect())
    }
}
