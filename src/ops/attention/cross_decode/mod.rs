//! Attention of one new token per sequence over another sequence, whose keys and values stay as
//! they are: the cross-attention of a step of generation.

mod spec;

pub use spec::CrossDecodeSpec;

use super::attention::{Attention, MOST_CHANNELS};
use super::attention_decode::{Keys, scale, step};
use crate::gpu::{DType, Tensor};
use crate::{Error, Result};

const OP: &str = "cross_decode";

/// Computes the attended values [B, 1, H, D] for q [B, 1, H, D] over the first `lengths[b]` of the
/// keys and values kv [B, S, 2, H, D], as [`attention_cross`](super::attention::attention_cross)
/// takes them; lengths u32 `[B]`, and those past S count as S. A sequence without keys gives 0.
///
/// # Errors
/// If the shapes do not fit, there is no key, or D is above [`MOST_CHANNELS`].
pub fn cross_decode(
    q: &Tensor,
    kv: &Tensor,
    lengths: &Tensor,
    scaled: Option<f32>,
) -> Result<Tensor> {
    cross(q, kv, lengths, scaled, None)
}

/// [`cross_decode`] of rows of which several may be of one sequence: q [R, 1, H, D], of sequence
/// s where `at[r]` = (s, ..), u32 [R, 2]; what is second there is not looked at.
///
/// # Errors
/// As [`cross_decode`].
pub fn cross_window(
    q: &Tensor,
    kv: &Tensor,
    lengths: &Tensor,
    at: &Tensor,
    scaled: Option<f32>,
) -> Result<Tensor> {
    cross(q, kv, lengths, scaled, Some(at))
}

fn cross(
    q: &Tensor,
    kv: &Tensor,
    lengths: &Tensor,
    scaled: Option<f32>,
    at: Option<&Tensor>,
) -> Result<Tensor> {
    let [b, one, h, d] = q.dims(OP)?;
    let [kb, s, two, kh, kd] = kv.dims(OP)?;
    let floats = q.dtype() == DType::F32 && kv.dtype() == DType::F32;
    let each = at.map_or(kb == b, |at| {
        at.shape() == [b, 2] && at.dtype() == DType::U32
    });
    let fits = one == 1 && two == 2 && each && [kh, kd] == [h, d] && floats;
    if !fits || lengths.shape() != [kb] || lengths.dtype() != DType::U32 {
        let expected = "f32 [B, 1, H, D], f32 [B, S, 2, H, D] and u32 lengths [B]";
        return Err(Error::shape(
            OP,
            expected,
            format!("{q:?}, {kv:?}, {lengths:?}, {at:?}"),
        ));
    }
    if s == 0 || d == 0 || d > MOST_CHANNELS || s > 1 << 30 {
        let what = format!("{s} keys of {d} channels: 1 to 2^30 of 1 to {MOST_CHANNELS}");
        return Err(Error::invalid(OP, what));
    }
    let scale = scale(
        Attention {
            scale: scaled,
            ..Attention::FULL
        },
        d,
    )?;
    step(
        OP,
        Keys::Cross,
        [b, s, h, d],
        scale,
        [0; 2],
        &[q, lengths, kv],
        None,
        at,
    )
}
