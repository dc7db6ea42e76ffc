//! Several new rows of each sequence at a time, to the bits of as many steps.

use super::{Keys, KvCache, OP, scale, step};
use crate::gpu::{DType, Tensor};
use crate::ops::attention::attention::Attention;
use crate::{Error, Result};

impl KvCache {
    /// Writes keys and values, qkv [N, T, 3, H, D], as T rows of sequence s of the cache from row t
    /// on, (s, t) = `at[n]`, u32 [N, 2]; rows past the cache's last are left out. No two may fall
    /// on one place.
    ///
    /// # Errors
    /// If the shapes do not fit, or T is more than the cache has.
    pub fn store(&self, qkv: &Tensor, at: &Tensor) -> Result<()> {
        check_places(qkv, at)?;
        self.fill(qkv, Some(at))
    }
}

fn check_places(qkv: &Tensor, at: &Tensor) -> Result<()> {
    let n = qkv.shape().first().copied().unwrap_or(0);
    if at.shape() == [n, 2] && at.dtype() == DType::U32 {
        return Ok(());
    }
    let expected = format!("u32 places [{n}, 2]");
    Err(Error::shape(OP, expected, format!("{at:?}")))
}

/// The attended values [R, 1, H, D] of rows qkv [R, 1, 3, H, D], of which several may be of one
/// sequence: row r is row t of sequence s of the cache, (s, t) = `at[r]`, u32 [R, 2]. Its key and
/// value join the cache, and its query sees that row and those before it, or, with a mask of T
/// queries and T keys for all sequences, those of them that row t of the mask lets it see. What a
/// row gives has the bits that [`attention_decode`](super::attention_decode) gives it alone, over
/// the same keys.
///
/// A row past the cache's last, which pads the others, joins nothing and sees itself alone.
///
/// # Errors
/// If the shapes do not fit.
pub fn attention_window(
    qkv: &Tensor,
    cache: &KvCache,
    at: &Tensor,
    options: Attention,
) -> Result<Tensor> {
    let ([r, t, h, d], most) = cache.check(qkv, true)?;
    if t != 1 {
        let expected = format!("rows alone, [{r}, 1, 3, {h}, {d}]");
        return Err(Error::shape(OP, expected, format!("{qkv:?}")));
    }
    let scale = scale(options, d)?;
    let mask = options
        .mask
        .map(|m| m.check(OP, [r, most, most]).map(|()| m.by_query()))
        .transpose()?;
    // A mask for each sequence would go by the cache's.
    if mask.is_some_and(|m| m.strides[0] != 0) {
        let what = "rows of several places of a sequence take one mask for all sequences";
        return Err(Error::invalid(OP, what));
    }
    cache.store(qkv, at)?;
    let keys = if mask.is_some() {
        Keys::Masked
    } else {
        Keys::All
    };
    let strides = mask.map_or([0; 2], |m| [0, m.strides[1]]);
    let inputs = [qkv, at, &cache.k, &cache.v];
    let words = mask.map(|m| &m.words);
    step(
        OP,
        keys,
        [r, most, h, d],
        scale,
        strides,
        &inputs,
        words,
        Some(at),
    )
}
