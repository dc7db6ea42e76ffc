//! The first of two passes of a norm: sums of the squares of equal shares of all elements.

use super::work;
use crate::gpu::{DType, Gpu, Kernel, Tensor, chunks};
use crate::{Error, Result, shader};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct SumParams {
    n: u32,
    share: u32,
    first: u32,
}

pub(super) fn sum_kernel(vec: bool) -> Kernel {
    Kernel::new(shader!("optim/clip_sum")).flag("VEC", vec)
}

/// Workgroups of the first pass at most: enough to fill a device, few enough for one workgroup to
/// add up.
const GROUPS: usize = 1024;

/// A piece of the tensors that the device binds at once: a tensor and the number of its first unit.
struct Piece {
    tensor: Tensor,
    start: usize,
}

/// The sums of the squares of equal shares of all elements, the first of two passes. Where the
/// tensors end changes no share: one that lies in several is brought together first.
pub(super) fn partial_sums(parts: &[Tensor], max_norm: f32, limit: u64) -> Result<Tensor> {
    if max_norm.is_nan() || max_norm <= 0.0 {
        return Err(Error::invalid(
            "clip",
            format!("a maximal norm of {max_norm}: it must be above 0"),
        ));
    }
    for x in parts {
        if x.dtype() != DType::F32 || x.is_empty() {
            return Err(Error::shape(
                "clip",
                "f32, one element at least",
                format!("{x:?}"),
            ));
        }
    }
    let gpu = parts[0].gpu();
    let vec = gpu.class().is_gpu() && parts.iter().all(|x| x.len().is_multiple_of(4));
    let width = if vec { 4 } else { 1 };
    // Whole rounds of a workgroup, so that small tensors do not spread thin: at least four of them,
    // or one of vec4s.
    let units = parts.iter().map(Tensor::len).sum::<usize>() / width;
    let share = units
        .div_ceil(GROUPS)
        .next_multiple_of(256)
        .max(1024 / width);
    let (mut pieces, mut start) = (Vec::new(), 0);
    for x in parts {
        let flat = x.reshape(&[x.len()])?;
        for (at, n) in chunks(x.len(), limit) {
            let tensor = flat.view(at, &[n])?;
            pieces.push(Piece { tensor, start });
            start += n / width;
        }
    }
    let partial = Tensor::empty(gpu, &[units.div_ceil(share)], DType::F32)?;
    let sum = |tensor: &Tensor, first: usize| {
        let n = tensor.len() / width;
        let params = SumParams {
            n: n as u32,
            share: share as u32,
            first: first as u32,
        };
        gpu.dispatch(
            "clip",
            &sum_kernel(vec),
            &[tensor, &partial],
            &params,
            [n.div_ceil(share) as u32, 1, 1],
            work(tensor.len()),
        )
    };
    for piece in &pieces {
        let end = piece.start + piece.tensor.len() / width;
        let (first, last) = match end == units {
            true => (piece.start.div_ceil(share), units.div_ceil(share)),
            false => (piece.start.div_ceil(share), end / share),
        };
        if first < last {
            let at = (first * share - piece.start) * width;
            let n = (last * share).min(end) * width - first * share * width;
            sum(&piece.tensor.view(at, &[n])?, first)?;
        }
        // The share that begins in this piece and ends in another.
        if first <= last && end < units && !end.is_multiple_of(share) {
            let from = end / share * share;
            let to = (from + share).min(units);
            sum(&gathered(gpu, &pieces, width, [from, to])?, end / share)?;
        }
    }
    Ok(partial)
}

/// Returns a copy of the units `from` to `to`, which lie in several pieces.
fn gathered(gpu: &Gpu, pieces: &[Piece], width: usize, [from, to]: [usize; 2]) -> Result<Tensor> {
    let all = Tensor::empty(gpu, &[(to - from) * width], DType::F32)?;
    for Piece { tensor, start } in pieces {
        let end = start + tensor.len() / width;
        let (own, after) = (from.max(*start), to.min(end));
        if own < after {
            let (at, skipped) = ((own - from) * width, (own - start) * width);
            all.copy_part(at, tensor, skipped, (after - own) * width)?;
        }
    }
    Ok(all)
}
