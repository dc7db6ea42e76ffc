//! Latents, their codes and distances, as several quantizers treat them.

use crate::autograd::Var;
use crate::gpu::{DType, Tensor};
use crate::nn::ForwardContext;
use crate::ops::quantize::assignment::assign;
use crate::{Error, Result};

/// Latents must be [N, D].
pub(crate) fn check_latents(op: &'static str, latents: &Tensor, d: usize) -> Result<()> {
    match latents.shape() {
        [_, have] if *have == d && latents.dtype() == DType::F32 => Ok(()),
        _ => Err(Error::shape(
            op,
            format!("f32 latents [N, {d}]"),
            format!("{latents:?}"),
        )),
    }
}

/// Returns the latents [N, D] as a quantizer computes with them: f32, whatever they were stored
/// as. Choices are f32's, so that storage in 16 bits changes none.
pub(crate) fn arrive(
    op: &'static str,
    pass: &ForwardContext,
    latents: &Var,
    d: usize,
) -> Result<Var> {
    let wide = pass.tape.cast(latents, DType::F32)?;
    check_latents(op, wide.tensor(), d)?;
    Ok(wide)
}

/// One codebook's indices u32 [N], of indices [N, 1].
pub(crate) fn only(op: &'static str, indices: &Tensor) -> Result<Tensor> {
    match indices.shape() {
        [n, 1] => indices.reshape(&[*n]),
        _ => Err(Error::shape(
            op,
            "u32 indices [N, 1]",
            format!("{indices:?}"),
        )),
    }
}

/// Counts the uses of each of `k` codes in an index u32 [N]: [1, K].
pub(crate) fn count(index: &Tensor, k: usize) -> Result<Tensor> {
    assign(index, k)?.counts.reshape(&[1, k])
}

/// Computes the squared distance of each row of `a` from that of `b`, both [N, D]: N. Waits for the
/// device.
pub(crate) fn squared_distances(a: &Tensor, b: &Tensor) -> Result<Vec<f32>> {
    let [_, d] = a.dims("distances")?;
    if b.shape() != a.shape() {
        return Err(Error::shape(
            "distances",
            format!("{a:?}"),
            format!("{b:?}"),
        ));
    }
    let (a, b) = (a.read::<f32>()?, b.read::<f32>()?);
    let row = |(a, b): (&[f32], &[f32])| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    Ok(a.chunks(d.max(1))
        .zip(b.chunks(d.max(1)))
        .map(row)
        .collect())
}

/// [N, Q], row-major, of Q columns of N.
pub(crate) fn interleaved(columns: &[Vec<f32>]) -> Vec<f32> {
    let rows = columns.iter().map(Vec::len).min().unwrap_or(0);
    (0..rows)
        .flat_map(|row| columns.iter().map(move |c| c[row]))
        .collect()
}
