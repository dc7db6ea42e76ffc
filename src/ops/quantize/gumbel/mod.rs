//! The Gumbel-softmax over a codebook (Jang et al. 2016, "Categorical reparameterization with
//! Gumbel-softmax"; Ramesh et al. 2021, "Zero-shot text-to-image generation", section 2.1).
//!
//! Logits are a linear map of the latents, and what is chosen is a mixture of codes, or the
//! likeliest code with the mixture's gradient. Without noise it is index backpropagation (Shi et
//! al. 2024, "Scalable image tokenization with index backpropagation quantization"): the likeliest
//! code, and a gradient for all of them. Latents go through in parts, forward and again backward,
//! so that the N x K matrices never exist as a whole.

pub(crate) mod reference;
mod spec;

pub use spec::GumbelSpec;

use super::assignment;
use super::gather::gather;
use crate::autograd::accumulate::accumulate;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Kernel, Tensor, Work};
use crate::ops::linalg::column_sum::column_sum;
use crate::ops::linalg::matmul::{Transpose, matmul};
use crate::ops::linalg::reduce;
use crate::ops::sampling::random::Key;
use crate::{Error, Result, shader};

/// Elements of one N x K matrix that exist at a time.
const PART: usize = 1 << 20;

/// Options of the Gumbel-softmax.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GumbelOptions {
    /// Temperature of the softmax, above 0.
    pub temperature: f32,
    /// The likeliest code forward, the mixture backward; else the mixture both ways.
    pub straight_through: bool,
    /// Key of the noise.
    pub key: Key,
}

/// Parameters of logits and codes: weight [K, D], bias `[K]`, codebook [K, E].
#[derive(Clone, Copy, Debug)]
pub struct Codes<T> {
    /// Logits are `weight z + bias`: [K, D].
    pub weight: T,
    /// `[K]`.
    pub bias: T,
    /// Code vectors that are mixed: [K, E].
    pub codebook: T,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    rows: u32,
    k: u32,
    row0: u32,
    stream: u32,
    step: [u32; 2],
    seed: [u32; 2],
    inv_tau: f32,
    log_k: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct GradParams {
    rows: u32,
    k: u32,
    inv_tau: f32,
    scale: f32,
}

/// The way in which codes are chosen: by the Gumbel-softmax, or without its noise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    options: GumbelOptions,
    noise: bool,
}

/// The softmax alone, straight through.
const WITHOUT_NOISE: Choice = Choice {
    options: GumbelOptions {
        temperature: 1.0,
        straight_through: true,
        key: Key {
            seed: 0,
            step: 0,
            stream: 0,
        },
    },
    noise: false,
};

/// The forward kernel; `vec` where 4 divides K.
fn kernel(vec: bool, noise: bool) -> Kernel {
    Kernel::new(shader!("quantize/gumbel"))
        .flag("VEC", vec)
        .flag("PLAIN", !noise)
}

/// The backward kernel; `vec` where 4 divides K.
fn grad_kernel(vec: bool) -> Kernel {
    Kernel::new(shader!("quantize/gumbel_grad")).flag("VEC", vec)
}

/// Rows that go through at a time: a multiple of 64, where parts of a tensor may begin.
pub(super) fn rows_per_part(k: usize) -> usize {
    (PART / k.max(1) / 64 * 64).max(64)
}

/// A part of the rows.
struct Part {
    start: usize,
    x: Tensor,
    logits: Tensor,
    y: Tensor,
    index: Tensor,
    kl: Tensor,
}

fn part(x: &Tensor, codes: Codes<&Tensor>, choice: Choice, start: usize) -> Result<Part> {
    let draw = choice.options;
    let ([n, d], [k, _], gpu) = (x.dims("gumbel")?, codes.weight.dims("gumbel")?, x.gpu());
    let rows = rows_per_part(k).min(n - start);
    let x = x.view(start * d, &[rows, d])?;
    let logits = matmul(&x, codes.weight, Transpose::B, Some(codes.bias))?;
    let y = Tensor::empty(gpu, &[rows, k], DType::F32)?;
    let index = Tensor::empty(gpu, &[rows], DType::U32)?;
    let kl = Tensor::empty(gpu, &[rows], DType::F32)?;
    let words = |x: u64| [x as u32, (x >> 32) as u32];
    let params = Params {
        rows: rows as u32,
        k: k as u32,
        row0: start as u32,
        stream: draw.key.stream,
        step: words(draw.key.step),
        seed: words(draw.key.seed),
        inv_tau: 1.0 / draw.temperature,
        log_k: (k as f32).ln(),
    };
    let bindings = [&logits, &y, &index, &kl];
    gpu.dispatch(
        "gumbel",
        &kernel(k.is_multiple_of(4), choice.noise),
        &bindings,
        &params,
        crate::gpu::groups_for(rows, 1),
        row_work(rows, k),
    )?;
    Ok(Part {
        start,
        x,
        logits,
        y,
        index,
        kl,
    })
}

fn row_work(rows: usize, k: usize) -> Work {
    Work {
        flops: 60.0 * (rows * k) as f64,
        bytes: 24.0 * (rows * k) as f64,
    }
}

fn check(x: &Tensor, codes: Codes<&Tensor>, draw: GumbelOptions) -> Result<[usize; 4]> {
    let op = "gumbel";
    let ([n, d], [k, d2], [k2, e]) = (
        x.dims(op)?,
        codes.weight.dims(op)?,
        codes.codebook.dims(op)?,
    );
    let floats = [x, codes.weight, codes.bias, codes.codebook]
        .iter()
        .all(|t| t.dtype() == DType::F32);
    if d != d2 || k != k2 || codes.bias.shape() != [k] || n == 0 || k == 0 || !floats {
        let got = format!("{x:?}, {codes:?}");
        return Err(Error::shape(
            op,
            "f32 latents [N, D], weight [K, D], bias [K] and codebook [K, E]",
            got,
        ));
    }
    if !(draw.temperature > 0.0 && draw.temperature.is_finite()) {
        return Err(Error::invalid(
            op,
            format!("a temperature of {}: it is above 0", draw.temperature),
        ));
    }
    Ok([n, d, k, e])
}

/// The result of [`Tape::gumbel`].
#[derive(Debug)]
pub struct GumbelOutput {
    /// Codes, or mixtures of them: [N, E].
    pub z_q: Var,
    /// The likeliest code under the noise: u32 `[N]`.
    pub index: Tensor,
    /// The mean over rows of KL(softmax(logits) || uniform), in nats: `[1]`.
    pub kl: Var,
}

impl Tape {
    /// Draws a code for each row of x [N, D] by the Gumbel-softmax.
    ///
    /// # Errors
    /// If the shapes do not fit, or the temperature is not above 0.
    pub fn gumbel(&self, x: &Var, codes: Codes<&Var>, draw: GumbelOptions) -> Result<GumbelOutput> {
        let noise = true;
        let options = draw;
        self.chosen(x, codes, Choice { options, noise })
    }

    /// Chooses the likeliest code for each row of x [N, D], with the gradient of the mixture that
    /// the softmax of all logits makes: index backpropagation (Shi et al. 2024, equation 5). Where
    /// `weight` and `codebook` are one, every code learns from every row.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn index_backpropagation(&self, x: &Var, codes: Codes<&Var>) -> Result<GumbelOutput> {
        self.chosen(x, codes, WITHOUT_NOISE)
    }

    fn chosen(&self, x: &Var, codes: Codes<&Var>, choice: Choice) -> Result<GumbelOutput> {
        let draw = choice.options;
        let saved = Codes {
            weight: codes.weight.tensor().clone(),
            bias: codes.bias.tensor().clone(),
            codebook: codes.codebook.tensor().clone(),
        };
        let x_saved = x.tensor().clone();
        let [n, _, k, e] = check(&x_saved, borrow(&saved), draw)?;
        let gpu = self.gpu();
        let z_q = Tensor::empty(gpu, &[n, e], DType::F32)?;
        let index = Tensor::empty(gpu, &[n], DType::U32)?;
        let kl = Tensor::empty(gpu, &[n], DType::F32)?;
        let mut only = None;
        for start in (0..n).step_by(rows_per_part(k)) {
            let p = part(&x_saved, borrow(&saved), choice, start)?;
            let rows = if draw.straight_through {
                gather(&saved.codebook, &p.index)?
            } else {
                matmul(&p.y, &saved.codebook, Transpose::NONE, None)?
            };
            z_q.copy_into(start * e, &rows)?;
            index.copy_into(start, &p.index)?;
            kl.copy_into(start, &p.kl)?;
            // What is one part is kept for the way back; of several each is made again there.
            only = (p.index.len() == n && self.is_recording()).then_some(p);
        }
        let mean = reduce::mean(&kl)?;
        let inputs = [x, codes.weight, codes.bias, codes.codebook];
        let values = self.record_many(vec![z_q, mean], &inputs, move |g, _| {
            backward(&x_saved, &saved, choice, &g, only)
        });
        let [z_q, kl] = <[Var; 2]>::try_from(values)
            .map_err(|_| Error::invalid("gumbel", "two values were made"))?;
        Ok(GumbelOutput { z_q, index, kl })
    }
}

fn borrow(c: &Codes<Tensor>) -> Codes<&Tensor> {
    Codes {
        weight: &c.weight,
        bias: &c.bias,
        codebook: &c.codebook,
    }
}

/// Gradients of latents, weight, bias and codebook, from those of the codes drawn and of the mean
/// KL.
fn backward(
    x: &Tensor,
    codes: &Codes<Tensor>,
    choice: Choice,
    g: &[Option<Tensor>],
    mut only: Option<Part>,
) -> Result<Vec<Option<Tensor>>> {
    let draw = choice.options;
    let [n, d, k, e] = check(x, borrow(codes), draw)?;
    let gpu = x.gpu();
    let [g_z, g_kl] = [&g[0], &g[1]];
    let g_kl = g_kl
        .clone()
        .map_or_else(|| Tensor::zeros(gpu, &[1], DType::F32), Ok)?;
    let dx = Tensor::empty(gpu, &[n, d], DType::F32)?;
    let mut sums: [Option<Tensor>; 3] = [None, None, None];
    let mut add = |i: usize, part: Tensor| -> Result<()> {
        sums[i] = Some(match sums[i].take() {
            Some(before) => accumulate(before, part)?,
            None => part,
        });
        Ok(())
    };
    for start in (0..n).step_by(rows_per_part(k)) {
        let p = only
            .take()
            .map_or_else(|| part(x, borrow(codes), choice, start), Ok)?;
        let rows = p.index.len();
        let dl = match g_z {
            Some(g) => {
                let g = g.view(start * e, &[rows, e])?;
                let at_codebook = if draw.straight_through {
                    assignment::assign(&p.index, k)?.sums(&g)?
                } else {
                    matmul(&p.y, &g, Transpose::A, None)?
                };
                add(2, at_codebook)?;
                matmul(&g, &codes.codebook, Transpose::B, None)?
            }
            None => Tensor::zeros(gpu, &[rows, k], DType::F32)?,
        };
        let params = GradParams {
            rows: rows as u32,
            k: k as u32,
            inv_tau: 1.0 / draw.temperature,
            scale: 1.0 / n as f32,
        };
        let bindings = [&p.logits, &p.y, &g_kl, &dl];
        gpu.dispatch(
            "gumbel",
            &grad_kernel(k.is_multiple_of(4)),
            &bindings,
            &params,
            crate::gpu::groups_for(rows, 1),
            row_work(rows, k),
        )?;
        dx.copy_into(
            p.start * d,
            &matmul(&dl, &codes.weight, Transpose::NONE, None)?,
        )?;
        add(0, matmul(&dl, &p.x, Transpose::A, None)?)?;
        add(1, column_sum(&dl)?)?;
    }
    let [weight, bias, codebook] = sums;
    Ok(vec![Some(dx), weight, bias, codebook])
}

/// Renamed to [`GumbelOutput`].
#[deprecated(since = "0.2.0", note = "renamed to `GumbelOutput`")]
pub type Drawn = GumbelOutput;
/// Renamed to [`GumbelOptions`].
#[deprecated(since = "0.2.0", note = "renamed to `GumbelOptions`")]
pub type Draw = GumbelOptions;
