//! Quantizers: what turns latents into codes, behind one small trait.

mod ema;

pub use ema::{EmaOptions, EmaVq};

use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::{Gpu, Tensor};
use crate::nn::{HostTensors, Pass};

/// What a quantizer is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Quantize and learn; `step` keys the random numbers.
    Train {
        /// The training step, from 0.
        step: u64,
    },
    /// Quantize alone.
    Eval,
}

/// Latents, quantized.
#[derive(Debug)]
pub struct Quantized {
    /// The quantized latents [N, D], through which the gradient reaches the latents.
    pub z_q: Var,
    /// The code of each latent: u32 [N].
    pub indices: Tensor,
    /// How often each code was chosen: u32 [K].
    pub counts: Tensor,
    /// What the quantizer adds to the loss, weighted: [1]. `None` where it adds nothing.
    pub loss: Option<Var>,
}

/// A quantizer. State that training moves outside the optimiser (an EMA codebook) is its own, saved by name.
pub trait Quantizer: Send {
    /// Its name in configurations: `ema`, `fsq`, ..
    fn name(&self) -> &'static str;
    /// Codes that there are.
    fn codebook_size(&self) -> usize;
    /// Channels of a latent.
    fn dim(&self) -> usize;
    /// Does it still want latents of the first batches before it can quantize? See [`Quantizer::initialize`].
    fn wants_init(&self) -> bool {
        false
    }
    /// Places the codes among `latents` [N, D], those of the first batches; a training step will bring `per_step` of them.
    ///
    /// # Errors
    /// If the latents have another size.
    fn initialize(&mut self, latents: &Tensor, per_step: usize) -> Result<()> {
        let _ = (latents, per_step);
        Ok(())
    }
    /// Quantizes latents [N, D]; while training, learns from them.
    ///
    /// # Errors
    /// If the latents have another size.
    fn quantize(&mut self, pass: &Pass, z_e: &Var, mode: Mode) -> Result<Quantized>;
    /// The latents [N, D] of codes u32 [N].
    fn decode(&self, indices: &Tensor) -> Result<Tensor>;
    /// Its state on the host, by name. Waits for the device.
    fn save(&self) -> Result<HostTensors>;
    /// Takes a state that [`Quantizer::save`] gave.
    ///
    /// # Errors
    /// If a tensor is missing or of another shape.
    fn load(&mut self, state: &HostTensors) -> Result<()>;
}

/// Makes a quantizer on a device: K codes, D channels, seed.
pub type Build = fn(&Gpu, usize, usize, u64) -> Result<Box<dyn Quantizer>>;

/// One way to quantize, as benchmarks and lists of choices name it.
#[derive(Debug)]
pub struct Kind {
    /// Its [`Quantizer::name`].
    pub name: &'static str,
    /// A quantizer of that many codes and channels with default options, its codes random from the seed: no code is ever
    /// revived, and none placed by k-means.
    pub build: Build,
}

/// Every quantizer there is.
pub fn all() -> &'static [Kind] {
    &[Kind { name: "ema", build: ema::plain }]
}

/// The quantizer of that name.
///
/// # Errors
/// If there is none; the message lists them.
pub fn find(name: &str) -> Result<&'static Kind> {
    all().iter().find(|kind| kind.name == name).ok_or_else(|| {
        let names: Vec<&str> = all().iter().map(|kind| kind.name).collect();
        crate::Error::data(format!("no quantizer is called `{name}`; there are {}", names.join(", ")))
    })
}

impl Tape {
    /// The straight-through estimator (Bengio et al. 2013): the value of `z_q`, and for `z_e` the gradient that arrives,
    /// as if quantizing were the identity.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn straight_through(&self, z_e: &Var, z_q: &Tensor) -> Result<Var> {
        if z_e.shape() != z_q.shape() {
            let (expected, got) = (format!("{:?}", z_e.shape()), format!("{:?}", z_q.shape()));
            return Err(crate::Error::shape("straight_through", expected, got));
        }
        Ok(self.record(z_q.clone(), &[z_e], |g, _| Ok(vec![Some(g.clone())])))
    }
}
