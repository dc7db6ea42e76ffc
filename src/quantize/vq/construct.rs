//! The four ways in which a codebook learns.

use super::{INITIAL, VectorQuantizer};
use crate::Result;
use crate::gpu::{DType, Gpu, Tensor};
use crate::nn::Builder;
use crate::ops::sampling::random;
use crate::ops::sampling::random::Key;
use crate::quantize::options::Options;
use crate::quantize::projected::Projected;
use crate::quantize::quantizer::Quantizer;

pub(super) fn numbers(gpu: &Gpu, k: usize, d: usize, seed: u64) -> Result<Tensor> {
    let codes = Tensor::empty(gpu, &[k, d], DType::F32)?;
    random::normal(
        &codes,
        Key {
            seed,
            step: 0,
            stream: INITIAL,
        },
    )?;
    Ok(codes)
}

pub(super) fn ones(gpu: &Gpu, k: usize) -> Result<Tensor> {
    let counts = Tensor::empty(gpu, &[k], DType::F32)?;
    crate::gpu::fill(&counts, 1.0)?;
    Ok(counts)
}

/// Builds `ema`: the codebook is a moving average of its latents (van den Oord et al. 2017,
/// appendix A.1).
///
/// ```
/// use wgvq::autograd::Tape;
/// use wgvq::gpu::{Gpu, Tensor};
/// use wgvq::nn::{ForwardContext, Init, Parameters};
/// use wgvq::quantize::{Mode, Options, vq};
///
/// # fn main() -> wgvq::Result<()> {
/// let gpu = Gpu::new(Default::default())?;
/// let mut b = Parameters::builder();
/// b.declare("encoder.weight", &[1], Init::Zeros); // a model's parameters
/// let options = Options {
///     codebook_size: 16,
///     codebook_dim: 2,
///     kmeans_init: false,
///     ..Default::default()
/// };
/// let quantizer = vq::ema(&gpu, &mut b, &options)?;
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
/// If the device cannot hold the codebook.
pub fn ema(gpu: &Gpu, b: &mut Builder, o: &Options) -> Result<Box<dyn Quantizer>> {
    Projected::around(b, o, Box::new(VectorQuantizer::average(gpu, "ema", o)?))
}

/// Builds `vq`: the codebook learns by gradient (van den Oord et al. 2017, equation 3).
///
/// ```
/// use wgvq::autograd::Tape;
/// use wgvq::gpu::{Gpu, Tensor};
/// use wgvq::nn::{ForwardContext, Init, Parameters};
/// use wgvq::quantize::{Mode, Options, vq};
///
/// # fn main() -> wgvq::Result<()> {
/// let gpu = Gpu::new(Default::default())?;
/// let mut b = Parameters::builder();
/// b.declare("encoder.weight", &[1], Init::Zeros); // a model's parameters
/// let options = Options {
///     codebook_size: 16,
///     codebook_dim: 2,
///     kmeans_init: false,
///     ..Default::default()
/// };
/// let quantizer = vq::gradient(&gpu, &mut b, &options)?;
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
/// If the device cannot hold the codebook.
pub fn gradient(gpu: &Gpu, b: &mut Builder, o: &Options) -> Result<Box<dyn Quantizer>> {
    let inner = Box::new(VectorQuantizer::gradient(gpu, b, o)?);
    Projected::around(b, o, inner)
}

/// Builds `cosine`: latents and codes have length 1, in few channels (ViT-VQGAN: Yu et al. 2021).
///
/// ```
/// use wgvq::autograd::Tape;
/// use wgvq::gpu::{Gpu, Tensor};
/// use wgvq::nn::{ForwardContext, Init, Parameters};
/// use wgvq::quantize::{Mode, Options, vq};
///
/// # fn main() -> wgvq::Result<()> {
/// let gpu = Gpu::new(Default::default())?;
/// let mut b = Parameters::builder();
/// b.declare("encoder.weight", &[1], Init::Zeros); // a model's parameters
/// let options = Options { dim: 4, codebook_dim: 2, kmeans_init: false, ..Default::default() };
/// let quantizer = vq::cosine(&gpu, &mut b, &options)?;
/// let params = b.build(&gpu, 0)?;
///
/// let tape = Tape::new(&gpu);
/// let pass = ForwardContext::new(&tape, &params);
/// let z_e = [0.9f32, 0.2, -0.1, 0.1, 0.0, 0.5, -0.5, 1.0]; // two latents
/// let z_e = tape.leaf(&Tensor::from_slice(&gpu, &[2, 4], &z_e)?);
/// let q = quantizer.quantize(&pass, &z_e, Mode::Eval)?;
/// assert_eq!(q.z_q.shape(), [2, 4]);
/// assert_eq!(q.indices.shape(), [2, 1]);
/// assert_eq!(quantizer.decode(&pass, &q.indices)?.shape(), [2, 4]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the device cannot hold the codebook.
pub fn cosine(gpu: &Gpu, b: &mut Builder, o: &Options) -> Result<Box<dyn Quantizer>> {
    let o = Options {
        use_cosine_sim: true,
        ..o.clone()
    };
    Projected::around(
        b,
        &o,
        Box::new(VectorQuantizer::average(gpu, "cosine", &o)?),
    )
}

/// Builds `simvq`: a frozen codebook behind a learned linear map (Zhu et al. 2024).
///
/// ```
/// use wgvq::autograd::Tape;
/// use wgvq::gpu::{Gpu, Tensor};
/// use wgvq::nn::{ForwardContext, Init, Parameters};
/// use wgvq::quantize::{Mode, Options, vq};
///
/// # fn main() -> wgvq::Result<()> {
/// let gpu = Gpu::new(Default::default())?;
/// let mut b = Parameters::builder();
/// b.declare("encoder.weight", &[1], Init::Zeros); // a model's parameters
/// let options = Options { codebook_size: 16, codebook_dim: 2, ..Default::default() };
/// let quantizer = vq::simvq(&gpu, &mut b, &options)?;
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
/// If the device cannot hold the codebook.
pub fn simvq(gpu: &Gpu, b: &mut Builder, o: &Options) -> Result<Box<dyn Quantizer>> {
    let inner = Box::new(VectorQuantizer::mapped(gpu, b, o)?);
    Projected::around(b, o, inner)
}
