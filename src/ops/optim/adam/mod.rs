//! Adam and AdamW, fused over all parameters: one dispatch reads the gradients and moves weights
//! and moments.

pub(crate) mod reference;

use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, chunks, groups_for};
use crate::spec::{Case, ErrorInputs, HostTensor, Operation, Rng, Tolerance, case};
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

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
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

fn adam_in_chunks(
    hyper: &Hyper,
    step: u64,
    state: State,
    gradient: &Tensor,
    (clip, copies): (Option<&Tensor>, Option<Copies>),
    decay_len: usize,
    limit: u64,
) -> Result<()> {
    hyper.check()?;
    if step == 0 {
        return Err(Error::invalid("adam", "step 0: steps are counted from 1"));
    }
    let State { weights, m, v } = state;
    for t in [m, v, gradient] {
        if t.len() != weights.len() || t.dtype() != DType::F32 || weights.dtype() != DType::F32 {
            return Err(Error::shape(
                "adam",
                format!("f32 like the weights, {weights:?}"),
                format!("{t:?}"),
            ));
        }
    }
    if let Some(clip) = clip
        && (clip.len() != 3 || clip.dtype() != DType::F32)
    {
        return Err(Error::shape(
            "adam",
            "a clip report of 3 f32",
            format!("{clip:?}"),
        ));
    }
    if let Some(Copies { halves, places }) = copies {
        let blocks = weights.len() / BLOCK;
        let held = clip.is_some()
            && weights.len().is_multiple_of(BLOCK)
            && halves.dtype() == DType::F16
            && halves.len().is_multiple_of(BLOCK)
            && places.dtype() == DType::U32
            && places.len() == blocks;
        if !held {
            return Err(Error::shape(
                "adam",
                format!(
                    "weights and f16 copies in blocks of {BLOCK}, u32 places of {blocks}, and a \
                     report"
                ),
                format!("{halves:?} and {places:?}"),
            ));
        }
    }
    // A power of more than 2^31 is 0 for every beta that f64 tells from 1.
    let t = step.min(i32::MAX as u64) as i32;
    let gpu = weights.gpu();
    for (start, n) in chunks(weights.len(), limit) {
        let vec = copies.is_some() || gpu.class().is_gpu() && n.is_multiple_of(4);
        let params = Params {
            units: if vec { n / 4 } else { n } as u32,
            decay_len: decay_len.saturating_sub(start).min(n) as u32,
            decay: hyper.weight_decay as f32,
            shrink: (1.0 - hyper.lr * hyper.weight_decay) as f32,
            rate: (hyper.lr / (1.0 - hyper.beta1.powi(t))) as f32,
            root: (1.0 - hyper.beta2.powi(t)).sqrt() as f32,
            eps: hyper.eps as f32,
            one_minus_beta1: (1.0 - hyper.beta1) as f32,
            beta2: hyper.beta2 as f32,
            one_minus_beta2: (1.0 - hyper.beta2) as f32,
        };
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
            ("t", t.max(1) as usize),
            ("decoupled", usize::from(hyper.decay == Decay::Decoupled)),
            ("clip", usize::from(clip.is_some())),
        ];
        gpu.note_call("adam", weights, sizes);
    }
    Ok(())
}

/// The registry's row.
pub struct Adam;

fn hyper(case: &Case) -> Hyper {
    let decay = if case.get("decoupled") == 1 {
        Decay::Decoupled
    } else {
        Decay::L2
    };
    Hyper {
        lr: 0.01,
        weight_decay: 0.1,
        eps: 1e-6,
        decay,
        ..Default::default()
    }
}
/// Two thirds decay.
fn decay_len(case: &Case) -> usize {
    2 * case.get("n") / 3
}

impl Operation for Adam {
    fn name(&self) -> &'static str {
        "adam"
    }
    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for (decoupled, clip) in [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)] {
            for (n, t) in [(1, 1), (13, 2), (257, 1000), (10_007, 100_000), (1_036, 7)] {
                cases.push(case(&[
                    ("n", n),
                    ("t", t),
                    ("decoupled", decoupled),
                    ("clip", clip),
                ]));
            }
        }
        cases
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[
            ("n", 1 << 20),
            ("t", 10),
            ("decoupled", 1),
            ("clip", 1),
        ])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let n = case.get("n");
        let squares = (0..n)
            .map(|_| (rng.normal().powi(2) + 1e-3) as f32)
            .collect();
        let (w, m, g) = (rng.normals(&[n]), rng.normals(&[n]), rng.normals(&[n]));
        // A clip of 2 stands for a gradient that was found not to be finite: its factor is 0.
        let factor = [1.0, 0.3, 0.0][case.get("clip").min(2)];
        vec![
            w,
            m,
            HostTensor::f32(&[n], squares),
            g,
            HostTensor::f32(&[3], vec![7.0, factor, 1.0]),
        ]
    }
    fn run(&self, _: &Gpu, case: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let (w, m, v) = (
            inputs[0].duplicate()?,
            inputs[1].duplicate()?,
            inputs[2].duplicate()?,
        );
        let state = State {
            weights: &w,
            m: &m,
            v: &v,
        };
        let clip = (case.get("clip") > 0).then_some(&inputs[4]);
        adam(
            &hyper(case),
            case.get("t") as u64,
            state,
            &inputs[3],
            clip,
            decay_len(case),
        )?;
        Ok(vec![w, m, v])
    }
    fn time(&self, _: &Gpu, case: &Case, inputs: &[Tensor]) -> Result<()> {
        let state = State {
            weights: &inputs[0],
            m: &inputs[1],
            v: &inputs[2],
        };
        let clip = (case.get("clip") > 0).then_some(&inputs[4]);
        adam(
            &hyper(case),
            case.get("t") as u64,
            state,
            &inputs[3],
            clip,
            decay_len(case),
        )
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let [w, m, v, g, clip] = [0, 1, 2, 3, 4].map(|i| inputs[i].as_f64());
        let mut out = [w.to_vec(), m.to_vec(), v.to_vec()];
        for i in 0..w.len() {
            if clip[1] != 0.0 {
                let before = [w[i], m[i], v[i]];
                let after = reference::adam(
                    &hyper(case),
                    case.get("t") as u64,
                    i < decay_len(case),
                    before,
                    g[i] * clip[1],
                );
                for (out, value) in out.iter_mut().zip(after) {
                    out[i] = value;
                }
            }
        }
        out.map(|data| HostTensor::f64(&[w.len()], data)).to_vec()
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        let variants = [
            (Decay::L2, false),
            (Decay::L2, true),
            (Decay::Decoupled, false),
            (Decay::Decoupled, true),
        ];
        let mut all = Vec::new();
        for (decay, clipped) in variants {
            for vec in [false, true] {
                let copies = [false, true]
                    .into_iter()
                    .take(1 + usize::from(clipped && vec));
                all.extend(copies.map(|copies| kernel(vec, decay, clipped, copies)));
            }
        }
        all
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let [a, b, c, g] = [0; 4].map(|_| Tensor::zeros(gpu, &[4], DType::F32));
        let (a, b, c, g) = (a?, b?, c?, g?);
        let short = Tensor::zeros(gpu, &[3], DType::F32)?;
        let integers = Tensor::zeros(gpu, &[4], DType::U32)?;
        let state = State {
            weights: &a,
            m: &b,
            v: &c,
        };
        let good = Hyper::default();
        let with = |hyper: Hyper| adam(&hyper, 1, state, &g, None, 0);
        Ok(vec![
            ("a short gradient", adam(&good, 1, state, &short, None, 0)),
            (
                "a gradient of integers",
                adam(&good, 1, state, &integers, None, 0),
            ),
            (
                "a short moment",
                adam(&good, 1, State { m: &short, ..state }, &g, None, 0),
            ),
            (
                "one buffer for both moments",
                adam(&good, 1, State { m: &c, ..state }, &g, None, 0),
            ),
            (
                "a clip report of four",
                adam(&good, 1, state, &g, Some(&g), 0),
            ),
            ("step 0", adam(&good, 0, state, &g, None, 0)),
            ("a negative rate", with(Hyper { lr: -1.0, ..good })),
            (
                "a rate of NaN",
                with(Hyper {
                    lr: f64::NAN,
                    ..good
                }),
            ),
            ("beta1 of 1", with(Hyper { beta1: 1.0, ..good })),
            (
                "beta2 of NaN",
                with(Hyper {
                    beta2: f64::NAN,
                    ..good
                }),
            ),
            ("eps of 0", with(Hyper { eps: 0.0, ..good })),
            (
                "a negative decay",
                with(Hyper {
                    weight_decay: -0.1,
                    ..good
                }),
            ),
        ])
    }
}

#[cfg(test)]
mod tests;
