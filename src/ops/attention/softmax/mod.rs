//! The softmax of rows of scores: what attention weighs values by, where its matrix of scores is
//! made.

mod reference;
mod spec;

pub use spec::SoftmaxSpec;

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Kernel, ROW_GROUPS, Tensor, Work, groups_for, row_group};
use crate::{Error, Result, shader};

/// The scale and the mask of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Softmax {
    /// The factor of every score.
    pub scale: f32,
    /// Row i of T sees the columns j <= i + C - T of C, as in
    /// [`Attention`](super::attention::Attention).
    pub causal: bool,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    rows: u32,
    t: u32,
    c: u32,
    diagonal: i32,
    scale: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct GradParams {
    rows: u32,
    units: u32,
    scale: f32,
}

/// Columns from which on more invocations share a row.
const LONG: usize = 4096;

fn forward(vec: bool, group: u32) -> Kernel {
    Kernel::new(shader!("attention/softmax"))
        .define("GROUP", group)
        .flag("VEC", vec)
}
fn backward(vec: bool, group: u32) -> Kernel {
    Kernel::new(shader!("attention/softmax_grad"))
        .define("GROUP", group)
        .flag("VEC", vec)
}

fn kernels() -> Vec<Kernel> {
    let variants = ROW_GROUPS
        .into_iter()
        .flat_map(|group| [(false, group), (true, group)]);
    variants
        .flat_map(|(vec, group)| [forward(vec, group), backward(vec, group)])
        .collect()
}

/// `tensors` of as many elements read or written.
fn work(elements: usize, tensors: usize) -> Work {
    Work {
        flops: 6.0 * elements as f64,
        bytes: 4.0 * (tensors * elements) as f64,
    }
}

/// x as [N, T, C].
fn check(x: &Tensor, scale: f32) -> Result<[usize; 3]> {
    let [n, t, c] = x.dims("softmax")?;
    if x.dtype() != DType::F32 || c == 0 {
        return Err(Error::shape(
            "softmax",
            "f32 [N, T, C] with at least one column",
            format!("{x:?}"),
        ));
    }
    // Positions are 32-bit signed numbers in the kernels.
    if t.max(c) > 1 << 30 {
        return Err(Error::invalid(
            "softmax",
            format!("{t} rows of {c} columns: each is at most 2^30"),
        ));
    }
    if !scale.is_finite() {
        return Err(Error::invalid("softmax", "a scale that is not finite"));
    }
    Ok([n, t, c])
}

/// Computes the softmax y [N, T, C] of the rows of `scale x`, x [N, T, C], over the columns that
/// they see, and the logarithm of each row's denominator [N, T]. Elsewhere y is 0, and a row that
/// sees nothing is 0 all over, with the largest f32 for the logarithm.
///
/// # Errors
/// If x is no f32 [N, T, C] with at least one column, or the scale is not finite.
pub fn softmax(x: &Tensor, options: Softmax) -> Result<(Tensor, Tensor)> {
    let [n, t, c] = check(x, options.scale)?;
    let gpu = x.gpu();
    let y = Tensor::empty(gpu, x.shape(), DType::F32)?;
    let lse = Tensor::empty(gpu, &[n, t], DType::F32)?;
    let diagonal = if options.causal {
        c as i32 - t as i32
    } else {
        c as i32
    };
    let params = Params {
        rows: (n * t) as u32,
        t: t as u32,
        c: c as u32,
        diagonal,
        scale: options.scale,
    };
    let kernel = forward(c.is_multiple_of(4), row_group(gpu, c > LONG, 2 * c));
    gpu.dispatch(
        "softmax",
        &kernel,
        &[x, &y, &lse],
        &params,
        groups_for(n * t, 1),
        work(x.len(), 3),
    )?;
    Ok((y, lse))
}

/// Computes the gradient of [`softmax`] with respect to x, from its y and dy [N, T, C].
///
/// # Errors
/// As [`softmax`]'s, or if dy has another shape than y.
pub fn softmax_grad(y: &Tensor, dy: &Tensor, scale: f32) -> Result<Tensor> {
    let [n, t, c] = check(y, scale)?;
    if dy.shape() != y.shape() || dy.dtype() != DType::F32 {
        return Err(Error::shape(
            "softmax gradient",
            format!("f32 {:?}", y.shape()),
            format!("{dy:?}"),
        ));
    }
    let gpu = y.gpu();
    let dx = Tensor::empty(gpu, y.shape(), DType::F32)?;
    let vec = c.is_multiple_of(4);
    let params = GradParams {
        rows: (n * t) as u32,
        units: if vec { c / 4 } else { c } as u32,
        scale,
    };
    let kernel = backward(vec, row_group(gpu, c > LONG, 2 * c));
    gpu.dispatch(
        "softmax gradient",
        &kernel,
        &[y, dy, &dx],
        &params,
        groups_for(n * t, 1),
        work(y.len(), 5),
    )?;
    Ok(dx)
}

impl Tape {
    /// The softmax of rows, see [`softmax`].
    ///
    /// # Errors
    /// As [`softmax`].
    pub fn softmax(&self, x: &Var, options: Softmax) -> Result<Var> {
        let (y, _) = softmax(x.tensor(), options)?;
        let saved = y.clone();
        Ok(self.record(y, &[x], move |g, _| {
            Ok(vec![Some(softmax_grad(&saved, g, options.scale)?)])
        }))
    }
}
