//! Lookup-free quantization (Yu et al. 2023, "Language model beats diffusion", section 3.1): the
//! signs of the channels, with an entropy loss that makes each choice sure and their use even.

use super::latents::{arrive, count, only};
use super::options::Options;
use super::projected::Projected;
use super::quantizer::{Mode, Quantized, Quantizer, Term};
use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::{Gpu, Tensor};
use crate::nn::{Builder, ForwardContext};
use crate::ops::linalg::matmul::Transpose;
use crate::ops::loss::loss::Loss;
use crate::ops::quantize::bits::signs_of;

/// The signs of the channels.
#[derive(Debug)]
pub struct Lfq {
    options: Options,
    channels: usize,
}

/// Builds `lfq`, lookup-free quantization (Yu et al. 2023): the signs of the channels are the bits
/// of the code.
///
/// ```
/// use wgvq::autograd::Tape;
/// use wgvq::gpu::{Gpu, Tensor};
/// use wgvq::nn::{ForwardContext, Init, Parameters};
/// use wgvq::quantize::{Mode, Options, lfq};
///
/// # fn main() -> wgvq::Result<()> {
/// let gpu = Gpu::new(Default::default())?;
/// let mut b = Parameters::builder();
/// b.declare("encoder.weight", &[1], Init::Zeros); // a model's parameters
/// let options = Options { codebook_size: 4, ..Options::of("lfq") };
/// let quantizer = lfq::build(&gpu, &mut b, &options)?;
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
/// If the number of codes is no power of two.
pub fn build(_: &Gpu, b: &mut Builder, o: &Options) -> Result<Box<dyn Quantizer>> {
    let o = &o.as_kind("lfq");
    o.check()?;
    Projected::around(
        b,
        o,
        Box::new(Lfq {
            options: o.clone(),
            channels: o.code_channels(),
        }),
    )
}

impl Tape {
    /// Computes the entropies, in nats, of softmax(sharpness times minus the squared distance) over
    /// all sign vectors as codes, for x [N, D]: the mean over rows of each row's, and that of the
    /// rows' mean, `[1]` each.
    ///
    /// The softmax over 2^D codes is that of D independent bits. So a row's entropy is a sum over
    /// bits, and the mean use of all codes a product of two matrices [N, 2^(D/2)]: nothing of size
    /// N x 2^D is made, and both are exact.
    ///
    /// # Errors
    /// If D is above 24.
    pub fn sign_entropies(&self, x: &Var, sharpness: f32) -> Result<[Var; 2]> {
        let [n, d] = x.tensor().dims("sign_entropies")?;
        // Between the two signs of a channel the squared distance differs by 4 x.
        let a = 4.0 * sharpness;
        let each = self.bit_entropy(x, a)?;
        let high = d / 2;
        let (front, back) = (
            self.bit_table(x, 0, high, a)?,
            self.bit_table(x, high, d - high, a)?,
        );
        let used = self.matmul(&front, &back, Transpose::A)?;
        let used = self.scale(&used, 1.0 / n as f32, 0.0)?;
        Ok([each, self.entropy(&used)?])
    }
}

/// Computes the weighted entropies of each choice and of the codes' use, where the options ask for
/// them.
pub(super) fn entropy_terms(
    tape: &Tape,
    o: &Options,
    x: &Var,
    sharpness: f32,
) -> Result<Vec<(Term, Var)>> {
    let w = o.entropy_loss_weight;
    if w <= 0.0 {
        return Ok(Vec::new());
    }
    let [each, all] = tape.sign_entropies(x, sharpness)?;
    Ok(vec![
        (Term::Regularizer, tape.scale(&each, w, 0.0)?),
        (
            Term::Regularizer,
            tape.scale(&all, -w * o.diversity_gamma, 0.0)?,
        ),
    ])
}

impl Quantizer for Lfq {
    fn name(&self) -> &str {
        "lfq"
    }
    fn codebook_size(&self) -> usize {
        1 << self.channels
    }
    fn dim(&self) -> usize {
        self.channels
    }
    fn spans_latents(&self) -> Option<String> {
        self.options.spans_by_entropy()
    }
    fn quantize(&self, pass: &ForwardContext, z_e: &Var, mode: Mode) -> Result<Quantized> {
        let z_e = &arrive("lfq", pass, z_e, self.channels)?;
        let (tape, o) = (pass.tape, &self.options);
        let (z_q, index) = tape.signs(z_e)?;
        let mut losses = Vec::new();
        if let Mode::Train { .. } = mode {
            losses = entropy_terms(tape, o, z_e, o.inv_temperature)?;
            if o.commitment_weight > 0.0 {
                let loss = tape.loss(Loss::Mse, z_e, &z_q.detach())?;
                losses.push((
                    Term::Commitment,
                    tape.scale(&loss, o.commitment_weight, 0.0)?,
                ));
            }
        }
        let counts = count(&index, self.codebook_size())?;
        let indices = index.reshape(&[index.len(), 1])?;
        Ok(Quantized {
            z_q,
            indices,
            counts,
            losses,
            seen: Vec::new(),
        })
    }
    fn decode(&self, _: &ForwardContext, indices: &Tensor) -> Result<Tensor> {
        signs_of(&only("decode", indices)?, self.channels)
    }
}
