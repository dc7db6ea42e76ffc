//! Adam and AdamW with moments of 16 bits each: half the memory of the optimiser's state, rounded
//! so that it is kept on average.

pub(crate) mod reference;
mod spec;

pub use spec::AdamBf16;

use super::adam::{Copies, Decay, Hyper, Params, check_copies, check_report};
use crate::gpu::{DType, Kernel, Tensor, Work, chunks, groups_for};
use crate::{Error, Result, shader};

/// The stream of random numbers that moments are rounded by: "mome".
pub(crate) const STREAM: u32 = 0x6d6f_6d65;

/// The state that a step reads and writes, each `[N]` in a buffer of its own.
#[derive(Clone, Copy, Debug)]
pub struct State<'a> {
    /// The parameters, f32.
    pub weights: &'a Tensor,
    /// The running means of the gradient and of its square, u32: the bits of two bfloat16 each, see
    /// [`join`].
    pub moments: &'a Tensor,
}

/// The noise that moments are rounded by: the same in a step that is taken again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noise {
    /// The seed; the step is the optimiser's.
    pub seed: u64,
    /// Elements before these that share the step and the seed: a multiple of 4.
    pub first: usize,
}

/// Returns the word that keeps two moments, which are those of bfloat16: the first below, the
/// second above.
pub fn join(m: f32, v: f32) -> u32 {
    let bits = |x: f32| u32::from(half::bf16::from_f32(x).to_bits());
    bits(m) | bits(v) << 16
}

/// Returns the first moment in a word.
pub fn first_moment(word: u32) -> f32 {
    f32::from_bits(word << 16)
}

/// Returns the second moment in a word.
pub fn second_moment(word: u32) -> f32 {
    f32::from_bits(word & 0xffff_0000)
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct NoiseParams {
    params: Params,
    first: u32,
    stream: u32,
    step: [u32; 2],
    seed: [u32; 2],
}

/// [`NoiseParams`] with the number of the first block of f16 copies.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct CopyParams {
    params: NoiseParams,
    first_block: u32,
}

fn kernel(decay: Decay, clipped: bool, copies: bool) -> Kernel {
    Kernel::new(shader!("optim/adam_bf16"))
        .flag("HALVES", copies)
        .flag("DECOUPLED", decay == Decay::Decoupled)
        .flag("CLIPPED", clipped)
}

fn work(n: usize) -> Work {
    // A quarter of a block of random words, by halves, beside Adam itself.
    Work {
        flops: 100.0 * n as f64,
        bytes: 20.0 * n as f64,
    }
}

/// Step number `step` of Adam, as [`super::adam::adam_with`] takes it, with moments of 16 bits.
///
/// # Errors
/// If the shapes differ, N is no multiple of 4, `step` is 0, a hyperparameter is out of range, or
/// the noise begins within a block of four.
pub fn adam_bf16(
    hyper: &Hyper,
    step: u64,
    state: State,
    gradient: &Tensor,
    (clip, copies): (Option<&Tensor>, Option<Copies>),
    decay_len: usize,
    noise: Noise,
) -> Result<()> {
    let limit = state.weights.gpu().limits().max_storage_buffer_binding_size;
    in_chunks(
        hyper,
        step,
        state,
        gradient,
        (clip, copies),
        (decay_len, noise),
        limit,
    )
}

fn in_chunks(
    hyper: &Hyper,
    step: u64,
    state: State,
    gradient: &Tensor,
    (clip, copies): (Option<&Tensor>, Option<Copies>),
    (decay_len, noise): (usize, Noise),
    limit: u64,
) -> Result<()> {
    let State { weights, moments } = state;
    Params::of(hyper, step, 0, 0)?;
    let dtypes = [
        (weights, DType::F32),
        (moments, DType::U32),
        (gradient, DType::F32),
    ];
    for (t, dtype) in dtypes {
        if t.len() != weights.len() || t.dtype() != dtype || !t.len().is_multiple_of(4) {
            return Err(Error::shape(
                "adam_bf16",
                format!(
                    "f32 weights and gradients and u32 moments, a multiple of 4 of each, like the \
                     weights {weights:?}"
                ),
                format!("{t:?}"),
            ));
        }
    }
    if !noise.first.is_multiple_of(4) || noise.first / 4 > u32::MAX as usize - weights.len() / 4 {
        let what = format!(
            "noise from element {} on: it must be a multiple of 4 below 2^34",
            noise.first
        );
        return Err(Error::invalid("adam_bf16", what));
    }
    check_report(clip)?;
    check_copies(weights, clip, copies)?;
    let gpu = weights.gpu();
    let words = |n: u64| [n as u32, (n >> 32) as u32];
    for (start, n) in chunks(weights.len(), limit) {
        let decays = decay_len.saturating_sub(start).min(n);
        let params = NoiseParams {
            params: Params::of(hyper, step, n / 4, decays)?,
            first: ((noise.first + start) / 4) as u32,
            stream: STREAM,
            step: words(step),
            seed: words(noise.seed),
        };
        let flat = |t: &Tensor| t.reshape(&[t.len()])?.view(start, &[n]);
        let (w, m, g) = (flat(weights)?, flat(moments)?, flat(gradient)?);
        let mut bindings = vec![&w, &m, &g];
        bindings.extend(clip);
        let kernel = kernel(hyper.decay, clip.is_some(), copies.is_some());
        let groups = groups_for(n / 4, 64);
        let Some(Copies { halves, places }) = copies else {
            gpu.dispatch("adam_bf16", &kernel, &bindings, &params, groups, work(n))?;
            continue;
        };
        bindings.extend([halves, places]);
        let params = CopyParams {
            params,
            first_block: (start / super::adam::BLOCK) as u32,
        };
        gpu.dispatch("adam_bf16", &kernel, &bindings, &params, groups, work(n))?;
    }
    if copies.is_none() {
        let sizes = [
            ("n", weights.len()),
            ("t", step.min(i32::MAX as u64) as usize),
            ("decoupled", usize::from(hyper.decay == Decay::Decoupled)),
            ("clip", usize::from(clip.is_some())),
        ];
        gpu.note_call("adam_bf16", weights, sizes);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
