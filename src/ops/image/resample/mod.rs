//! Another size of images: their rows by one filter, their columns by another.

mod filter;
mod reference;
mod spec;

pub use filter::{Filter, Resampling};
pub use spec::Resample;

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Kernel, Tensor, Work, groups_for};
use crate::{Error, Result, shader};

/// The kernels' parameters, as their text has them: 128 bytes at most.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    units: u32,
    c: u32,
    from: [u32; 2],
    to: [u32; 2],
    row: [u32; 2],
    column: [u32; 2],
}

fn kernel(vec: bool) -> Kernel {
    let kernel = Kernel::new(shader!("image/resample"));
    if vec { kernel.define("VEC", 1) } else { kernel }
}

/// Returns the cost of filters without a 0, from `[h, w]` to `[H, W]`, of `planes` images and
/// channels.
fn work(planes: usize, from: [usize; 2], to: [usize; 2]) -> Work {
    let (small, large) = (from[0] * from[1], to[0] * to[1]);
    Work {
        flops: 2.0 * (planes * large) as f64 * (small + from[0]) as f64,
        bytes: 4.0 * (planes * (small + large)) as f64,
    }
}

fn dispatch(op: &'static str, x: &Tensor, by: &Resampling, back: bool) -> Result<Tensor> {
    let [n, h, w, c] = x.dims(op)?;
    let ([tall, short], [wide, narrow]) = (by.rows.dims(op)?, by.columns.dims(op)?);
    let (from, to) = match back {
        false => ([short, narrow], [tall, wide]),
        true => ([tall, wide], [short, narrow]),
    };
    let floats = [x, &by.rows, &by.columns]
        .iter()
        .all(|t| t.dtype() == DType::F32);
    if !floats || [h, w] != from || x.is_empty() || to.contains(&0) {
        return Err(Error::shape(
            op,
            format!(
                "f32 [N, {}, {}, C], as the filters have it",
                from[0], from[1]
            ),
            format!("{x:?}, rows {:?}, columns {:?}", by.rows, by.columns),
        ));
    }
    let vec = c.is_multiple_of(4);
    let lanes = if vec { 4 } else { 1 };
    let y = Tensor::empty(x.gpu(), &[n, to[0], to[1], c], DType::F32)?;
    let units = y.len() / lanes;
    let steps = |of: usize| if back { [1, of as u32] } else { [of as u32, 1] };
    let params = Params {
        units: units as u32,
        c: (c / lanes) as u32,
        from: from.map(|n| n as u32),
        to: to.map(|n| n as u32),
        row: steps(short),
        column: steps(narrow),
    };
    x.gpu().dispatch(
        op,
        &kernel(vec),
        &[x, &by.rows, &by.columns, &y],
        &params,
        groups_for(units, 64),
        work(n * c, from, to),
    )?;
    Ok(y)
}

/// Computes `y[n, Y, X, c] = sum over i, j of rows[Y, i] columns[X, j] x[n, i, j, c]`: f32 x
/// [N, h, w, C] to y [N, H, W, C].
///
/// # Errors
/// If x is no f32 [N, h, w, C] of the size that the filters take.
pub fn resample(x: &Tensor, by: &Resampling) -> Result<Tensor> {
    dispatch("resample", x, by, false)
}

/// Computes the gradient of [`resample`] with respect to x [N, h, w, C], of dy [N, H, W, C].
///
/// # Errors
/// If dy is no f32 [N, H, W, C] of the size that the filters make.
pub fn resample_grad(dy: &Tensor, by: &Resampling) -> Result<Tensor> {
    dispatch("resample gradient", dy, by, true)
}

impl Tape {
    /// See [`resample`]. The filters get no gradient.
    ///
    /// # Errors
    /// As [`resample`].
    pub fn resample(&self, x: &Var, by: &Resampling) -> Result<Var> {
        let (y, by) = (resample(x.tensor(), by)?, by.clone());
        Ok(self.record(y, &[x], move |dy, _| {
            Ok(vec![Some(resample_grad(dy, &by)?)])
        }))
    }
}
