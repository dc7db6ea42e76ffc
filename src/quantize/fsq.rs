//! Finite scalar quantization (Mentzer et al. 2023): no codebook, no loss of its own.

use super::latents::{arrive, check_latents, count, only};
use super::options::Options;
use super::projected::Projected;
use super::quantizer::{Mode, Quantized, Quantizer};
use crate::Result;
use crate::autograd::Var;
use crate::gpu::{Gpu, Tensor};
use crate::nn::{Builder, ForwardContext};
use crate::ops::quantize::fsq::{Activation, Levels};

/// Each channel rounded to a few levels.
#[derive(Debug)]
pub struct Fsq {
    levels: Levels,
}

impl Fsq {
    /// Creates a quantizer of these levels, one number per channel.
    ///
    /// # Errors
    /// If a level is below 2, or there are more than 2^24 codes.
    pub fn new(gpu: &Gpu, levels: &[usize]) -> Result<Fsq> {
        Fsq::with_activation(gpu, levels, Activation::Tanh)
    }

    /// Creates a quantizer of these levels, whose channels `activation` bounds.
    ///
    /// # Errors
    /// As [`Fsq::new`].
    pub fn with_activation(gpu: &Gpu, levels: &[usize], activation: Activation) -> Result<Fsq> {
        Ok(Fsq {
            levels: Levels::with_activation(gpu, levels, activation)?,
        })
    }
}

/// Builds `fsq`, finite scalar quantization (Mentzer et al. 2023): each channel is rounded to one
/// of a few levels, and the code is the tuple of levels.
///
/// ```
/// use wgvq::autograd::Tape;
/// use wgvq::gpu::{Gpu, Tensor};
/// use wgvq::nn::{ForwardContext, Init, Parameters};
/// use wgvq::quantize::{Mode, Options, fsq};
///
/// # fn main() -> wgvq::Result<()> {
/// let gpu = Gpu::new(Default::default())?;
/// let mut b = Parameters::builder();
/// b.declare("encoder.weight", &[1], Init::Zeros); // a model's parameters
/// let options = Options { levels: vec![5, 3], ..Options::of("fsq") };
/// let quantizer = fsq::build(&gpu, &mut b, &options)?;
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
/// As [`Fsq::new`].
pub fn build(gpu: &Gpu, b: &mut Builder, o: &Options) -> Result<Box<dyn Quantizer>> {
    let o = &o.as_kind("fsq");
    o.check()?;
    let inner = Fsq::with_activation(gpu, &o.levels, o.activation)?;
    Projected::around(b, o, Box::new(inner))
}

impl Quantizer for Fsq {
    fn name(&self) -> &str {
        "fsq"
    }
    fn codebook_size(&self) -> usize {
        self.levels.codes()
    }
    fn dim(&self) -> usize {
        self.levels.channels()
    }
    fn quantize(&self, pass: &ForwardContext, z_e: &Var, _: Mode) -> Result<Quantized> {
        let z_e = &arrive("fsq", pass, z_e, self.dim())?;
        let (z_q, index) = pass.tape.fsq(z_e, &self.levels)?;
        let counts = count(&index, self.codebook_size())?;
        let indices = index.reshape(&[index.len(), 1])?;
        Ok(Quantized {
            z_q,
            indices,
            counts,
            losses: Vec::new(),
            seen: Vec::new(),
        })
    }
    fn decode(&self, _: &ForwardContext, indices: &Tensor) -> Result<Tensor> {
        self.levels.codes_of(&only("decode", indices)?)
    }
    /// Computes the distances from the bounded latents, before they are rounded.
    fn distances(&self, _: &ForwardContext, z_e: &Var) -> Result<Vec<f32>> {
        check_latents("fsq", z_e.tensor(), self.dim())?;
        self.levels.distances(z_e.tensor())
    }
}
