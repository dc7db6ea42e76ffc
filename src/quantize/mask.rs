//! Sequences of several lengths: positions that are padding are not quantized, and nothing learns
//! from them.

use super::latents::arrive;
use super::quantizer::{Mode, Quantized, Quantizer};
use crate::autograd::Var;
use crate::gpu::{DType, Tensor};
use crate::nn::ForwardContext;
use crate::ops::quantize::gather::gather;
use crate::{Error, Result};

/// The code of a padded position.
pub const PADDING: u32 = u32::MAX;

/// Quantizes the latents [N, D] that `keep` says to keep; those of padded positions become 0, with
/// [`PADDING`] for their codes and no part in losses, counts or what the quantizer learns.
///
/// # Errors
/// If `keep` has another length, or keeps nothing.
pub fn quantize_kept(
    quantizer: &dyn Quantizer,
    pass: &ForwardContext,
    z_e: &Var,
    keep: &[bool],
    mode: Mode,
) -> Result<Quantized> {
    let z_e = &arrive("mask", pass, z_e, quantizer.dim())?;
    let (n, tape, gpu) = (z_e.shape()[0], pass.tape, pass.tape.gpu());
    if keep.len() != n {
        return Err(Error::shape(
            "mask",
            format!("{n} positions, as there are latents"),
            format!("{}", keep.len()),
        ));
    }
    let kept: Vec<u32> = (0..n as u32).filter(|i| keep[*i as usize]).collect();
    if kept.is_empty() {
        return Err(Error::invalid(
            "mask",
            "every position is padding: there is nothing to quantize",
        ));
    }
    let rows = Tensor::from_slice(gpu, &[kept.len()], &kept)?;
    let q = quantizer.quantize(pass, &tape.gather(z_e, &rows)?, mode)?;
    // Codes go back to their places from a table whose last row is padding.
    let width = q.indices.shape()[1];
    let table = Tensor::empty(gpu, &[kept.len() + 1, width], DType::U32)?;
    table.copy_into(0, &q.indices)?;
    table.copy_into(
        kept.len() * width,
        &Tensor::from_slice(gpu, &[width], &vec![PADDING; width])?,
    )?;
    let mut next = 0;
    let place = |keep: &bool| {
        next += u32::from(*keep);
        if *keep { next - 1 } else { kept.len() as u32 }
    };
    let places: Vec<u32> = keep.iter().map(place).collect();
    let indices = gather(&table, &Tensor::from_slice(gpu, &[n], &places)?)?;
    Ok(Quantized {
        z_q: tape.scatter(&q.z_q, &rows, n)?,
        indices,
        ..q
    })
}
