//! Scaled dot-product attention (Vaswani et al. 2017, equation 1) without the matrix of scores, and
//! its gradients. Heads of more than [`MOST_CHANNELS`] channels make it.

mod coopmat;
mod kernels;
mod mask;
mod reference;
mod spec;
mod tile;
mod wide;

pub use mask::Mask;
pub use spec::AttentionSpec;

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Tensor};
use crate::{Error, Result};
use kernels::{Layout, Problem, Strides, Targets};

/// Options of attention: causality, mask and the scale of scores.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Query i of Tq sees the keys j <= i + Tk - Tq of Tk: with as many keys as queries, itself
    /// and those before. With fewer queries than keys they are the last ones, as in generating
    /// with keys kept from before.
    pub causal: bool,
    /// The factor of q . k; `None` is 1 / sqrt D.
    pub scale: Option<f32>,
    /// Keys that a query may see, of those that it would see without a mask; `None` is all of them.
    pub mask: Option<&'a Mask>,
}

impl Attention<'_> {
    /// Every query sees itself and the keys before it.
    pub const CAUSAL: Attention<'static> = Attention {
        causal: true,
        scale: None,
        mask: None,
    };
    /// Every query sees every key.
    pub const FULL: Attention<'static> = Attention {
        causal: false,
        scale: None,
        mask: None,
    };

    fn scale(&self, d: usize) -> f32 {
        self.scale.unwrap_or_else(|| 1.0 / (d as f32).sqrt())
    }
}

/// Channels of a head at most where queries, keys and values are packed, masked, or kept in a
/// cache; elsewhere, those up to which the matrix of scores is never made.
pub const MOST_CHANNELS: usize = 256;

const OP: &str = "attention";

fn problem(q: &Tensor, k: &Tensor, v: &Tensor, options: Attention) -> Result<(Problem, Layout)> {
    let [b, h, tq, d] = q.dims(OP)?;
    let [kb, kh, tk, kd] = k.dims(OP)?;
    let floats = [q, k, v].iter().all(|t| t.dtype() == DType::F32);
    if [kb, kh, kd] != [b, h, d] || v.shape() != k.shape() || !floats {
        let expected = format!(
            "f32 keys and values [{b}, {h}, Tk, {d}] for queries {:?}",
            q.shape()
        );
        return Err(Error::shape(OP, expected, format!("{k:?}, {v:?}")));
    }
    let heads = |t: usize| Strides {
        batch: h * t * d,
        head: t * d,
        row: d,
    };
    let layout = Layout {
        q: heads(tq),
        k: heads(tk),
        o: heads(tq),
        q_at: 0,
        k_at: 0,
        v_at: 0,
    };
    Ok((
        check([b, h, tq, tk, d], options, options.mask.is_some())?,
        layout,
    ))
}

fn packed_problem(qkv: &Tensor, options: Attention) -> Result<(Problem, Layout)> {
    let [b, t, three, h, d] = qkv.dims(OP)?;
    if three != 3 || qkv.dtype() != DType::F32 {
        return Err(Error::shape(OP, "f32 [B, T, 3, H, D]", format!("{qkv:?}")));
    }
    let part = Strides {
        batch: t * 3 * h * d,
        head: d,
        row: 3 * h * d,
    };
    let o = Strides {
        batch: t * h * d,
        head: d,
        row: h * d,
    };
    let layout = Layout {
        q: part,
        k: part,
        o,
        q_at: 0,
        k_at: h * d,
        v_at: 2 * h * d,
    };
    Ok((check([b, h, t, t, d], options, true)?, layout))
}

fn cross_problem(q: &Tensor, kv: &Tensor, options: Attention) -> Result<(Problem, Layout)> {
    let [b, tq, h, d] = q.dims(OP)?;
    let [kb, tk, two, kh, kd] = kv.dims(OP)?;
    if two != 2 || [kb, kh, kd] != [b, h, d] || q.dtype() != DType::F32 || kv.dtype() != DType::F32
    {
        let expected = format!(
            "f32 keys and values [{b}, Tk, 2, {h}, {d}] for f32 queries {:?}",
            q.shape()
        );
        return Err(Error::shape(OP, expected, format!("{q:?}, {kv:?}")));
    }
    let rows = Strides {
        batch: tq * h * d,
        head: d,
        row: h * d,
    };
    let keys = Strides {
        batch: tk * 2 * h * d,
        head: d,
        row: 2 * h * d,
    };
    let layout = Layout {
        q: rows,
        k: keys,
        o: rows,
        q_at: 0,
        k_at: 0,
        v_at: h * d,
    };
    Ok((check([b, h, tq, tk, d], options, true)?, layout))
}

/// `bounded` where only the kernels that hold a head's channels will do.
fn check([b, h, tq, tk, d]: [usize; 5], options: Attention, bounded: bool) -> Result<Problem> {
    if d == 0 || tk == 0 {
        return Err(Error::invalid(
            OP,
            format!("{tk} keys of {d} channels: at least one of each"),
        ));
    }
    if bounded && d > MOST_CHANNELS {
        let what = format!(
            "packed or masked heads of {d} channels: at most {MOST_CHANNELS}; take more heads"
        );
        return Err(Error::invalid(OP, what));
    }
    if options.scale.is_some_and(|s| !s.is_finite()) {
        return Err(Error::invalid(OP, "a scale that is not finite"));
    }
    options.mask.map_or(Ok(()), |m| m.check(OP, [b, tq, tk]))?;
    // Positions are 32-bit signed numbers in the kernels.
    if tq.max(tk) > 1 << 30 || b * h * tq.max(tk) * d * 3 > u32::MAX as usize {
        return Err(Error::Limit {
            what: format!("{OP}: {} heads of {} positions", b * h, tq.max(tk)),
            asked: 12 * (b * h * tq.max(tk) * d) as u64,
            limit: u64::from(u32::MAX),
        });
    }
    Ok(Problem {
        b,
        h,
        tq,
        tk,
        d,
        causal: options.causal,
        scale: options.scale(d),
    })
}

/// Computes the attended values [B, H, Tq, D], and the logarithm of each query's softmax
/// denominator [B, H, Tq], for q [B, H, Tq, D] and k, v [B, H, Tk, D]. A query that sees no key
/// gives 0. Memory beyond inputs and outputs: none up to [`MOST_CHANNELS`] channels a head; above,
/// two matrices [B, H, Tq, Tk], of which the tape keeps one.
///
/// # Errors
/// If the shapes do not fit, there is no key or no channel, or there is a mask and D is above
/// [`MOST_CHANNELS`].
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    options: Attention,
) -> Result<(Tensor, Tensor)> {
    let (p, layout) = problem(q, k, v, options)?;
    if p.d > MOST_CHANNELS {
        let (o, lse, _) = wide::forward([q, k, v], &p)?;
        return Ok((o, lse));
    }
    let shape = [p.b, p.h, p.tq, p.d];
    let found = kernels::forward([q, k, v], &p, &layout, options.mask, &shape)?;
    note(&found.0, &p, options, 0);
    Ok(found)
}

/// Tells of a call without a mask; those with one are no cases of sizes alone.
fn note(o: &Tensor, p: &Problem, options: Attention, packed: usize) {
    if options.mask.is_some() || options.scale.is_some() {
        return;
    }
    let sizes = [
        ("b", p.b),
        ("h", p.h),
        ("tq", p.tq),
        ("tk", p.tk),
        ("d", p.d),
        ("causal", usize::from(p.causal)),
        ("packed", packed),
        ("mask", 0),
    ];
    o.gpu().note_call(OP, o, sizes);
}

/// [`attention`] over queries, keys and values that one projection made: qkv [B, T, 3, H, D] to [B,
/// T, H, D], read and written where they lie.
///
/// # Errors
/// As [`attention`]'s, or if D is above [`MOST_CHANNELS`].
pub fn attention_packed(qkv: &Tensor, options: Attention) -> Result<(Tensor, Tensor)> {
    let (p, layout) = packed_problem(qkv, options)?;
    let shape = [p.b, p.tq, p.h, p.d];
    let found = kernels::forward([qkv; 3], &p, &layout, options.mask, &shape)?;
    note(&found.0, &p, options, 1);
    Ok(found)
}

/// [`attention`] of one sequence to another, whose keys and values one projection made: q [B, Tq,
/// H, D] and kv [B, Tk, 2, H, D] to [B, Tq, H, D].
///
/// # Errors
/// As [`attention`]'s, or if D is above [`MOST_CHANNELS`].
pub fn attention_cross(q: &Tensor, kv: &Tensor, options: Attention) -> Result<(Tensor, Tensor)> {
    let (p, layout) = cross_problem(q, kv, options)?;
    let shape = [p.b, p.tq, p.h, p.d];
    let found = kernels::forward([q, kv, kv], &p, &layout, options.mask, &shape)?;
    note(&found.0, &p, options, 2);
    Ok(found)
}

impl Tape {
    /// See [`attention`].
    pub fn attention(&self, q: &Var, k: &Var, v: &Var, options: Attention) -> Result<Var> {
        let (p, layout) = problem(q.tensor(), k.tensor(), v.tensor(), options)?;
        let (sq, sk, sv) = (q.tensor().clone(), k.tensor().clone(), v.tensor().clone());
        if p.d > MOST_CHANNELS {
            let (o, _, kept) = wide::forward([&sq, &sk, &sv], &p)?;
            return Ok(self.record(o, &[q, k, v], move |g, needs| {
                wide::backward([&sq, &sk, &sv], &kept, g, needs)
            }));
        }
        let (o, lse) = attention(&sq, &sk, &sv, options)?;
        let (so, mask) = (o.clone(), options.mask.cloned());
        Ok(self.record(o, &[q, k, v], move |g, _| {
            // One buffer for k and v, the second part where a view may begin.
            let n = sk.len().next_multiple_of(64);
            let dkv = [2 * n];
            let targets = Targets {
                dq: sq.shape(),
                dkv: Some(&dkv),
                to: [0, 0, n],
            };
            let inputs = [&sq, &sk, &sv];
            let (dq, dkv) =
                kernels::backward(inputs, &so, g, &lse, &p, &layout, mask.as_ref(), &targets)?;
            let part = |at| dkv.as_ref().map(|dkv| dkv.view(at, sk.shape())).transpose();
            Ok(vec![Some(dq), part(0)?, part(n)?])
        }))
    }

    /// See [`attention_packed`].
    pub fn attention_packed(&self, qkv: &Var, options: Attention) -> Result<Var> {
        let (p, layout) = packed_problem(qkv.tensor(), options)?;
        let (o, lse) = attention_packed(qkv.tensor(), options)?;
        let (s, so, mask) = (qkv.tensor().clone(), o.clone(), options.mask.cloned());
        Ok(self.record(o, &[qkv], move |g, _| {
            let targets = Targets {
                dq: s.shape(),
                dkv: None,
                to: [layout.q_at, layout.k_at, layout.v_at],
            };
            let (d, _) =
                kernels::backward([&s; 3], &so, g, &lse, &p, &layout, mask.as_ref(), &targets)?;
            Ok(vec![Some(d)])
        }))
    }

    /// See [`attention_cross`].
    pub fn attention_cross(&self, q: &Var, kv: &Var, options: Attention) -> Result<Var> {
        let (p, layout) = cross_problem(q.tensor(), kv.tensor(), options)?;
        let (o, lse) = attention_cross(q.tensor(), kv.tensor(), options)?;
        let (sq, skv, so, mask) = (
            q.tensor().clone(),
            kv.tensor().clone(),
            o.clone(),
            options.mask.cloned(),
        );
        Ok(self.record(o, &[q, kv], move |g, _| {
            let targets = Targets {
                dq: sq.shape(),
                dkv: Some(skv.shape()),
                to: [0, layout.k_at, layout.v_at],
            };
            let inputs = [&sq, &skv, &skv];
            let (dq, dkv) =
                kernels::backward(inputs, &so, g, &lse, &p, &layout, mask.as_ref(), &targets)?;
            Ok(vec![Some(dq), dkv])
        }))
    }
}
