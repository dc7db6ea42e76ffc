//! Binary spherical quantization (Zhao et al. 2024, "Image and video tokenization with binary
//! spherical quantization"): a latent goes to the sphere, and its code is the corner of the cube
//! inscribed there that lies nearest.

use super::latents::{arrive, check_latents, count, only, squared_distances};
use super::lfq::entropy_terms;
use super::options::Options;
use super::projected::Projected;
use super::quantizer::{Mode, Quantized, Quantizer, Term};
use crate::Result;
use crate::autograd::Var;
use crate::gpu::{Gpu, Tensor};
use crate::nn::{Builder, ForwardContext};
use crate::ops::elementwise::scale::scale;
use crate::ops::loss::loss::Loss;
use crate::ops::quantize::bits::{signs, signs_of};

/// The signs of the channels, over the root of their number.
#[derive(Debug)]
pub struct Bsq {
    options: Options,
    channels: usize,
}

/// Builds `bsq`, binary spherical quantization (Zhao et al. 2024): the signs of the channels of a
/// latent of length 1 are the bits of the code, whose vector has length 1, too.
///
/// ```
/// use wgvq::autograd::Tape;
/// use wgvq::gpu::{Gpu, Tensor};
/// use wgvq::nn::{ForwardContext, Init, Parameters};
/// use wgvq::quantize::{Mode, Options, bsq};
///
/// # fn main() -> wgvq::Result<()> {
/// let gpu = Gpu::new(Default::default())?;
/// let mut b = Parameters::builder();
/// b.declare("encoder.weight", &[1], Init::Zeros); // a model's parameters
/// let options = Options { codebook_size: 4, ..Options::of("bsq") };
/// let quantizer = bsq::build(&gpu, &mut b, &options)?;
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
    let o = &o.as_kind("bsq");
    o.check()?;
    Projected::around(
        b,
        o,
        Box::new(Bsq {
            options: o.clone(),
            channels: o.code_channels(),
        }),
    )
}

impl Bsq {
    /// Returns the side of a corner's coordinates: 1 over the root of the channels.
    fn side(&self) -> f32 {
        1.0 / (self.channels as f32).sqrt()
    }
}

impl Quantizer for Bsq {
    fn name(&self) -> &str {
        "bsq"
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
        let z_e = &arrive("bsq", pass, z_e, self.channels)?;
        let (tape, o) = (pass.tape, &self.options);
        let u = tape.l2_norm(z_e)?;
        let (signs, index) = signs(u.tensor())?;
        let z_q = tape.straight_through(&u, &scale(&signs, self.side(), 0.0)?)?;
        let mut losses = Vec::new();
        if let Mode::Train { .. } = mode {
            // As in `lfq`, whose codes are the corners at 1 and -1.
            losses = entropy_terms(tape, o, &u, o.inv_temperature * self.side())?;
            if o.commitment_weight > 0.0 {
                let loss = tape.loss(Loss::Mse, &u, &z_q.detach())?;
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
        let signs = signs_of(&only("decode", indices)?, self.channels)?;
        scale(&signs, self.side(), 0.0)
    }
    /// Computes the squared distances of the latents from their codes, on the sphere.
    fn distances(&self, pass: &ForwardContext, z_e: &Var) -> Result<Vec<f32>> {
        check_latents("bsq", z_e.tensor(), self.channels)?;
        let u = pass.tape.l2_norm(z_e)?;
        let q = self.quantize(pass, z_e, Mode::Eval)?;
        squared_distances(u.tensor(), q.z_q.tensor())
    }
}
