//! Scaled dot-product attention (Vaswani et al. 2017, equation 1) without the matrix of scores, and its gradients. Heads of more than
//! [`MOST_CHANNELS`] channels make it.

mod kernels;
mod row;
mod twin;
mod wide;

pub use row::AttentionRow;

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Tensor};
use crate::{Error, Result};
use kernels::{Layout, Problem, Strides};

/// Which keys a query sees, and how scores are scaled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Query i of Tq sees the keys j <= i + Tk - Tq of Tk: with as many keys as queries, itself and those before. With fewer
    /// queries than keys they are the last ones, as in generating with keys kept from before.
    pub causal: bool,
    /// The factor of q . k; `None` is 1 / sqrt D.
    pub scale: Option<f32>,
}

impl Attention {
    /// Every query sees itself and the keys before it.
    pub const CAUSAL: Attention = Attention { causal: true, scale: None };
    /// Every query sees every key.
    pub const FULL: Attention = Attention { causal: false, scale: None };
}

/// Channels of a head at most where queries, keys and values are packed, or kept in a cache; elsewhere, those up to which the matrix of
/// scores is never made.
pub const MOST_CHANNELS: usize = 256;

fn problem(q: &Tensor, k: &Tensor, v: &Tensor, options: Attention) -> Result<(Problem, Layout)> {
    let op = "attention";
    let [b, h, tq, d] = q.dims(op)?;
    let [kb, kh, tk, kd] = k.dims(op)?;
    let floats = [q, k, v].iter().all(|t| t.dtype() == DType::F32);
    if [kb, kh, kd] != [b, h, d] || v.shape() != k.shape() || !floats {
        let expected = format!("f32 keys and values [{b}, {h}, Tk, {d}] for queries {:?}", q.shape());
        return Err(Error::shape(op, expected, format!("{k:?}, {v:?}")));
    }
    let heads = |t: usize| Strides { batch: h * t * d, head: t * d, row: d };
    let layout = Layout { q: heads(tq), k: heads(tk), o: heads(tq), q_at: 0, k_at: 0, v_at: 0 };
    Ok((check(Problem { b, h, tq, tk, d, options })?, layout))
}

fn packed_problem(qkv: &Tensor, options: Attention) -> Result<(Problem, Layout)> {
    let op = "attention";
    let [b, t, three, h, d] = qkv.dims(op)?;
    if three != 3 || qkv.dtype() != DType::F32 {
        return Err(Error::shape(op, "f32 [B, T, 3, H, D]", format!("{qkv:?}")));
    }
    let part = Strides { batch: t * 3 * h * d, head: d, row: 3 * h * d };
    let o = Strides { batch: t * h * d, head: d, row: h * d };
    let layout = Layout { q: part, k: part, o, q_at: 0, k_at: h * d, v_at: 2 * h * d };
    if d > MOST_CHANNELS {
        let what = format!("packed heads of {d} channels: at most {MOST_CHANNELS}; take more heads");
        return Err(Error::invalid(op, what));
    }
    Ok((check(Problem { b, h, tq: t, tk: t, d, options })?, layout))
}

fn check(p: Problem) -> Result<Problem> {
    let op = "attention";
    if p.d == 0 || p.tk == 0 {
        return Err(Error::invalid(op, format!("{} keys of {} channels: at least one of each", p.tk, p.d)));
    }
    if p.options.scale.is_some_and(|s| !s.is_finite()) {
        return Err(Error::invalid(op, "a scale that is not finite"));
    }
    // Positions are 32-bit signed numbers in the kernels.
    if p.tq.max(p.tk) > 1 << 30 || p.b * p.h * p.tq.max(p.tk) * p.d * 3 > u32::MAX as usize {
        return Err(Error::Limit {
            what: format!("{op}: {} heads of {} positions", p.b * p.h, p.tq.max(p.tk)),
            asked: 12 * (p.b * p.h * p.tq.max(p.tk) * p.d) as u64,
            limit: u64::from(u32::MAX),
        });
    }
    Ok(p)
}

/// The attended values [B, H, Tq, D], and the logarithm of each query's softmax denominator [B, H, Tq], for q [B, H, Tq, D] and
/// k, v [B, H, Tk, D]. A query that sees no key gives 0. Memory beyond inputs and outputs: none up to [`MOST_CHANNELS`] channels a head;
/// above, two matrices [B, H, Tq, Tk], of which the tape keeps one.
///
/// # Errors
/// If the shapes do not fit, or there is no key or no channel.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, options: Attention) -> Result<(Tensor, Tensor)> {
    let (p, layout) = problem(q, k, v, options)?;
    if p.d > MOST_CHANNELS {
        let (o, lse, _) = wide::forward([q, k, v], &p)?;
        return Ok((o, lse));
    }
    kernels::forward([q, k, v], &p, &layout, &[p.b, p.h, p.tq, p.d])
}

/// [`attention`] over queries, keys and values that one projection made: qkv [B, T, 3, H, D] to [B, T, H, D], read and written where
/// they lie.
///
/// # Errors
/// As [`attention`]'s, or if D is above [`MOST_CHANNELS`].
pub fn attention_packed(qkv: &Tensor, options: Attention) -> Result<(Tensor, Tensor)> {
    let (p, layout) = packed_problem(qkv, options)?;
    kernels::forward([qkv; 3], &p, &layout, &[p.b, p.tq, p.h, p.d])
}

impl Tape {
    /// See [`attention`].
    pub fn attention(&self, q: &Var, k: &Var, v: &Var, options: Attention) -> Result<Var> {
        let (p, layout) = problem(q.tensor(), k.tensor(), v.tensor(), options)?;
        let (sq, sk, sv) = (q.tensor().clone(), k.tensor().clone(), v.tensor().clone());
        if p.d > MOST_CHANNELS {
            let (o, _, kept) = wide::forward([&sq, &sk, &sv], &p)?;
            return Ok(self.record(o, &[q, k, v], move |g, needs| wide::backward([&sq, &sk, &sv], &kept, g, needs)));
        }
        let (o, lse) = attention(&sq, &sk, &sv, options)?;
        let so = o.clone();
        Ok(self.record(o, &[q, k, v], move |g, _| {
            let gpu = g.gpu();
            let dq = Tensor::empty(gpu, sq.shape(), DType::F32)?;
            // One buffer for both, the second part where a view may begin.
            let n = sk.len().next_multiple_of(64);
            let dkv = Tensor::empty(gpu, &[2 * n], DType::F32)?;
            kernels::backward([&sq, &sk, &sv], &so, g, &lse, &p, &layout, &dq, &dkv, [0, 0, n])?;
            let part = |at| dkv.view(at, sk.shape());
            Ok(vec![Some(dq), Some(part(0)?), Some(part(n)?)])
        }))
    }

    /// See [`attention_packed`].
    pub fn attention_packed(&self, qkv: &Var, options: Attention) -> Result<Var> {
        let (p, layout) = packed_problem(qkv.tensor(), options)?;
        let (o, lse) = attention_packed(qkv.tensor(), options)?;
        let (s, so) = (qkv.tensor().clone(), o.clone());
        Ok(self.record(o, &[qkv], move |g, _| {
            let d = Tensor::empty(g.gpu(), s.shape(), DType::F32)?;
            kernels::backward([&s; 3], &so, g, &lse, &p, &layout, &d, &d, [layout.q_at, layout.k_at, layout.v_at])?;
            Ok(vec![Some(d)])
        }))
    }
}
