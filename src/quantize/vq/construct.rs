//! The four ways in which a codebook learns.

use super::{INITIAL, VectorQuantizer};
use crate::Result;
use crate::gpu::{DType, Gpu, Tensor};
use crate::nn::Builder;
use crate::ops::sampling::random;
use crate::ops::sampling::random::Key;
use crate::quantize::{Options, Projected, Quantizer};

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

/// `ema`: the codebook is a moving average of its latents.
///
/// # Errors
/// If the device cannot hold the codebook.
pub fn ema(gpu: &Gpu, b: &mut Builder, o: &Options) -> Result<Box<dyn Quantizer>> {
    Projected::around(b, o, Box::new(VectorQuantizer::average(gpu, "ema", o)?))
}

/// `vq`: the codebook learns by gradient.
///
/// # Errors
/// If the device cannot hold the codebook.
pub fn gradient(gpu: &Gpu, b: &mut Builder, o: &Options) -> Result<Box<dyn Quantizer>> {
    let inner = Box::new(VectorQuantizer::gradient(gpu, b, o)?);
    Projected::around(b, o, inner)
}

/// `cosine`: latents and codes of length 1, in few channels (Yu et al. 2021).
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

/// `simvq`: a frozen codebook behind a learned linear map.
///
/// # Errors
/// If the device cannot hold the codebook.
pub fn simvq(gpu: &Gpu, b: &mut Builder, o: &Options) -> Result<Box<dyn Quantizer>> {
    let inner = Box::new(VectorQuantizer::mapped(gpu, b, o)?);
    Projected::around(b, o, inner)
}
