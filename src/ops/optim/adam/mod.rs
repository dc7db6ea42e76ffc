//! Adam and AdamW, fused over all parameters: one dispatch reads the gradients and moves weights
//! and moments.

pub(crate) mod reference;
pub(in crate::ops::optim) mod rounding;
pub(in crate::ops::optim) mod spec;

pub use spec::Adam;

use crate::gpu::{DType, Kernel, Tensor, Work, chunks, groups_for};
use crate::{Error, Result, shader};

/// The kind of weight decay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decay {
    /// `weight_decay * w` joins the gradient, and so the moments (PyTorch's `Adam`).
    L2,
    /// `w` shrinks by `lr * weight_decay` beside the step (AdamW).
    #[default]
    Decoupled,
}

/// Hyperparameters of a step of Adam (Kingma and Ba 2014). The defaults are PyTorch's, without
/// weight decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hyper {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment, in [0, 1).
    pub beta1: f64,
    /// Decay of the second moment, in [0, 1).
    pub beta2: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// Strength of weight decay; 0 for none.
    pub weight_decay: f64,
    /// The kind of weight decay.
    pub decay: Decay,
}

impl Default for Hyper {
    fn default() -> Self {
        Hyper {
            lr: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            decay: Decay::default(),
        }
    }
}

impl Hyper {
    /// Checks that these are usable.
    ///
    /// # Errors
    /// Names the first that is not, and what it may be.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::invalid("adam", what));
        if !(self.lr >= 0.0 && self.lr.is_finite()) {
            return wrong(format!(
                "a learning rate of {}: it must be 0 or more",
                self.lr
            ));
        }
        for (name, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                return wrong(format!(
                    "{name} of {beta}: it must be at least 0 and below 1"
                ));
            }
        }
        // f32 must still tell eps from 0, or a parameter without gradient becomes 0 / 0.
        if !(self.eps as f32 >= f32::MIN_POSITIVE && self.eps.is_finite()) {
            return wrong(format!("eps of {}: it must be above 1e-37", self.eps));
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return wrong(format!(
                "a weight decay of {}: it must be 0 or more",
                self.weight_decay
            ));
        }
        Ok(())
    }
}

/// The kernels' parameters of a step.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
pub(in crate::ops::optim) struct Params {
    units: u32,
    decay_len: u32,
    decay: f32,
    shrink: f32,
    rate: f32,
    root: f32,
    eps: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
}

impl Params {
    /// Returns those of step number `step`, of so many units, whose first `decay_len` elements
    /// decay.
    ///
    /// # Errors
    /// If `step` is 0 or a hyperparameter is out of range.
    pub(in crate::ops::optim) fn of(
        hyper: &Hyper,
        step: u64,
        units: usize,
        decay_len: usize,
    ) -> Result<Params> {
        hyper.check()?;
        if step == 0 {
            return Err(Error::invalid("adam", "step 0: steps are counted from 1"));
        }
        // A power of more than 2^31 is 0 for every beta that f64 tells from 1.
        let t = step.min(i32::MAX as u64) as i32;
        Ok(Params {
            units: units as u32,
            decay_len: decay_len as u32,
            decay: hyper.weight_decay as f32,
            shrink: (1.0 - hyper.lr * hyper.weight_decay) as f32,
            rate: (hyper.lr / (1.0 - hyper.beta1.powi(t))) as f32,
            root: (1.0 - hyper.beta2.powi(t)).sqrt() as f32,
            eps: hyper.eps as f32,
            one_minus_beta1: (1.0 - hyper.beta1) as f32,
            beta2: hyper.beta2 as f32,
            one_minus_beta2: (1.0 - hyper.beta2) as f32,
        })
    }
}

/// [`Params`] with the number of the first block of f16 copies.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct CopyParams {
    params: Params,
    first_block: u32,
}

/// On a GPU an invocation makes one vec4 where there are such, and four elements otherwise.
fn kernel(vec: bool, decay: Decay, clipped: bool, copies: bool) -> Kernel {
    Kernel::new(shader!("optim/adam"))
        .flag("HALVES", copies)
        .flag("VEC", vec)
        .define("EACH", if vec { 1 } else { 4 })
        .flag("DECOUPLED", decay == Decay::Decoupled)
        .flag("CLIPPED", clipped)
}

fn work(n: usize) -> Work {
    Work {
        flops: 14.0 * n as f64,
        bytes: 28.0 * n as f64,
    }
}

/// The state that a step reads and writes, each f32 `[N]` in a buffer of its own.
#[derive(Clone, Copy, Debug)]
pub struct State<'a> {
    /// The parameters.
    pub weights: &'a Tensor,
    /// The running mean of the gradient.
    pub m: &'a Tensor,
    /// The running mean of its square.
    pub v: &'a Tensor,
}

/// Elements of a block of [`Copies`].
pub const BLOCK: usize = 64;

/// Copies of the weights in f16, which a step writes beside them.
#[derive(Clone, Copy, Debug)]
pub struct Copies<'a> {
    /// f16, of blocks of [`BLOCK`] elements.
    pub halves: &'a Tensor,
    /// The block of `halves` that each block of weights goes to: u32 `[N / BLOCK]`.
    pub places: &'a Tensor,
}

/// Step number `step`, counted from 1, with `gradient`, f32 `[N]`. Weight decay reaches the first
/// `decay_len` elements. `clip`, f32 `[3]` as [`super::clip::global_norm`] writes it, scales the
/// gradient by its factor; where it reports a gradient that is not finite, weights and moments stay
/// as they are.
///
/// One dispatch, or as many as the device's binding size asks for.
///
/// # Errors
/// If the shapes differ, `step` is 0 or a hyperparameter is out of range.
pub fn adam(
    hyper: &Hyper,
    step: u64,
    state: State,
    gradient: &Tensor,
    clip: Option<&Tensor>,
    decay_len: usize,
) -> Result<()> {
    adam_with(hyper, step, state, gradient, (clip, None), decay_len)
}

/// [`adam`] that also writes copies of the weights, where there are some; they go with a report.
///
/// # Errors
/// As [`adam`], or if there are other blocks than the weights have, or copies without a report.
pub fn adam_with(
    hyper: &Hyper,
    step: u64,
    state: State,
    gradient: &Tensor,
    (clip, copies): (Option<&Tensor>, Option<Copies>),
    decay_len: usize,
) -> Result<()> {
    let limit = state.weights.gpu().limits().max_storage_buffer_binding_size;
    adam_in_chunks(
        hyper,
        step,
        state,
        gradient,
        (clip, copies),
        decay_len,
        limit,
    )
}

/// Checks a report of clipping.
pub(in crate::ops::optim) fn check_report(clip: Option<&Tensor>) -> Result<()> {
    match clip.filter(|clip| clip.len() != 3 || clip.dtype() != DType::F32) {
        Some(clip) => Err(Error::shape(
            "adam",
            "a clip report of 3 f32",
            format!("{clip:?}"),
        )),
        None => Ok(()),
    }
}

/// Checks that copies of the weights have their blocks, and go with a report.
pub(in crate::ops::optim) fn check_copies(
    weights: &Tensor,
    clip: Option<&Tensor>,
    copies: Option<Copies>,
) -> Result<()> {
    let Some(Copies { halves, places }) = copies else {
        return Ok(());
    };
    let blocks = weights.len() / BLOCK;
    let held = clip.is_some()
        && weights.len().is_multiple_of(BLOCK)
        && halves.dtype() == DType::F16
        && halves.len().is_multiple_of(BLOCK)
        && places.dtype() == DType::U32
        && places.len() == blocks;
    if held {
        return Ok(());
    }
    Err(Error::shape(
        "adam",
        format!(
            "weights and f16 copies in blocks of {BLOCK}, u32 places of {blocks}, and a report"
        ),
        format!("{halves:?} and {places:?}"),
    ))
}

fn adam_in_chunks(
    hyper: &Hyper,
    step: u64,
    state: State,
    gradient: &Tensor,
    (clip, copies): (Option<&Tensor>, Option<Copies>),
    decay_len: usize,
    limit: u64,
) -> Result<()> {
    let State { weights, m, v } = state;
    Params::of(hyper, step, 0, 0)?;
    for t in [m, v, gradient] {
        if t.len() != weights.len() || t.dtype() != DType::F32 || weights.dtype() != DType::F32 {
            return Err(Error::shape(
                "adam",
                format!("f32 like the weights, {weights:?}"),
                format!("{t:?}"),
            ));
        }
    }
    check_report(clip)?;
    check_copies(weights, clip, copies)?;
    let gpu = weights.gpu();
    for (start, n) in chunks(weights.len(), limit) {
        let vec = copies.is_some() || gpu.class().is_gpu() && n.is_multiple_of(4);
        let units = if vec { n / 4 } else { n };
        let params = Params::of(hyper, step, units, decay_len.saturating_sub(start).min(n))?;
        let flat = |t: &Tensor| t.reshape(&[t.len()])?.view(start, &[n]);
        let (w, m, v, g) = (flat(weights)?, flat(m)?, flat(v)?, flat(gradient)?);
        let mut bindings = vec![&w, &m, &v, &g];
        bindings.extend(clip);
        let kernel = kernel(vec, hyper.decay, clip.is_some(), copies.is_some());
        let groups = groups_for(n, 256);
        let Some(Copies { halves, places }) = copies else {
            gpu.dispatch("adam", &kernel, &bindings, &params, groups, work(n))?;
            continue;
        };
        bindings.extend([halves, places]);
        let params = CopyParams {
            params,
            first_block: (start / BLOCK) as u32,
        };
        gpu.dispatch("adam", &kernel, &bindings, &params, groups, work(n))?;
    }
    if copies.is_none() {
        let sizes = [
            ("n", weights.len()),
            ("t", step.min(i32::MAX as u64) as usize),
            ("decoupled", usize::from(hyper.decay == Decay::Decoupled)),
            ("clip", usize::from(clip.is_some())),
        ];
        gpu.note_call("adam", weights, sizes);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
