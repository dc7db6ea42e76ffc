//! Heads of more channels than an invocation can hold rows of: products of matrices around a
//! softmax. Here the matrix of scores is made, [B H, Tq, Tk], and its softmax kept for the
//! gradients.

use super::kernels::Problem;
use crate::Result;
use crate::gpu::Tensor;
use crate::ops::attention::softmax::{Softmax, softmax, softmax_grad};
use crate::ops::linalg::matmul::{Transpose, matmul};

/// Activations that the backward pass needs: the shares of the values, [B H, Tq, Tk].
pub(super) struct Kept {
    shares: Tensor,
    p: Problem,
}

/// Reshapes by heads: x [B, H, rows, D] as [B H, rows, D].
fn heads(p: &Problem, x: &Tensor, rows: usize) -> Result<Tensor> {
    x.reshape(&[p.b * p.h, rows, p.d])
}

/// The attended values and log-sum-exp, as `kernels::forward` gives them.
pub(super) fn forward([q, k, v]: [&Tensor; 3], p: &Problem) -> Result<(Tensor, Tensor, Kept)> {
    let scores = matmul(&heads(p, q, p.tq)?, &heads(p, k, p.tk)?, Transpose::B, None)?;
    let (shares, lse) = softmax(
        &scores,
        Softmax {
            scale: p.scale,
            causal: p.causal,
        },
    )?;
    let o = matmul(&shares, &heads(p, v, p.tk)?, Transpose::NONE, None)?;
    let lse = lse.reshape(&[p.b, p.h, p.tq])?;
    Ok((
        o.reshape(&[p.b, p.h, p.tq, p.d])?,
        lse,
        Kept { shares, p: *p },
    ))
}

/// Computes the gradients of those of q, k and v that are wanted.
pub(super) fn backward(
    [q, k, v]: [&Tensor; 3],
    kept: &Kept,
    upstream: &Tensor,
    wanted: &[bool],
) -> Result<Vec<Option<Tensor>>> {
    let p = &kept.p;
    let (q, k, v) = (heads(p, q, p.tq)?, heads(p, k, p.tk)?, heads(p, v, p.tk)?);
    let g = heads(p, upstream, p.tq)?;
    let back = |x: Tensor, rows: usize| x.reshape(&[p.b, p.h, rows, p.d]);
    let product = |a: &Tensor, b: &Tensor, t, rows| back(matmul(a, b, t, None)?, rows);
    let dv = wanted[2]
        .then(|| product(&kept.shares, &g, Transpose::A, p.tk))
        .transpose()?;
    if !wanted[0] && !wanted[1] {
        return Ok(vec![None, None, dv]);
    }
    let d_scores = softmax_grad(&kept.shares, &matmul(&g, &v, Transpose::B, None)?, p.scale)?;
    let dq = wanted[0]
        .then(|| product(&d_scores, &k, Transpose::NONE, p.tq))
        .transpose()?;
    let dk = wanted[1]
        .then(|| product(&d_scores, &q, Transpose::A, p.tk))
        .transpose()?;
    Ok(vec![dq, dk, dv])
}
