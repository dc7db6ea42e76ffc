//! Max pooling: the largest value of each window of an image, channel by channel.

mod reference;
mod spec;

pub use spec::MaxPool;

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Kernel, Tensor, Work, groups_for};
use crate::ops::elementwise::cast::cast;
use crate::{Error, Result, shader};
use std::ops::Range;

/// Size and stride of windows, both ways alike and without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Pixels of a window each way, 1 to 1024.
    pub window: usize,
    /// Pixels from one window to the next, 1 to 1024.
    pub stride: usize,
    /// Whether windows that reach past the end count too, as far as they lie in the image
    /// (PyTorch's `ceil_mode`); otherwise the pixels that fill no window are left out.
    pub ceil: bool,
}

/// Windows and strides up to this.
const MOST: usize = 1024;

impl Pool {
    /// Squares of four pixels to one.
    pub const HALVE: Pool = Pool {
        window: 2,
        stride: 2,
        ceil: false,
    };

    /// Windows over `n` pixels; `None` where not one fits.
    pub fn windows(&self, n: usize) -> Option<usize> {
        let past = if self.ceil {
            self.stride.checked_sub(1)?
        } else {
            0
        };
        let count = (n + past)
            .checked_sub(self.window)?
            .checked_div(self.stride)?
            + 1;
        // The last one must begin within the image.
        let count = if (count - 1) * self.stride >= n {
            count - 1
        } else {
            count
        };
        (count > 0).then_some(count)
    }

    /// Returns the pixels of window `i`, of `n`.
    fn reach(&self, i: usize, n: usize) -> Range<usize> {
        i * self.stride..(i * self.stride + self.window).min(n)
    }
}

/// Sizes of a pooling: x [n, h, w, c], y [n, oh, ow, c].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    n: usize,
    h: usize,
    w: usize,
    c: usize,
    oh: usize,
    ow: usize,
    pool: Pool,
}

impl Geometry {
    fn new([n, h, w, c]: [usize; 4], pool: Pool) -> Result<Geometry> {
        let op = "max_pool";
        if ![pool.window, pool.stride]
            .iter()
            .all(|v| (1..=MOST).contains(v))
        {
            let what = format!(
                "a window of {} and a stride of {}: each is from 1 to {MOST}",
                pool.window, pool.stride
            );
            return Err(Error::invalid(op, what));
        }
        let (Some(oh), Some(ow)) = (pool.windows(h), pool.windows(w)) else {
            let expected = format!("an image that holds a window of {0} x {0}", pool.window);
            return Err(Error::shape(op, expected, format!("{h} x {w}")));
        };
        Ok(Geometry {
            n,
            h,
            w,
            c,
            oh,
            ow,
            pool,
        })
    }

    fn of(x: &Tensor, pool: Pool) -> Result<Geometry> {
        let sizes = x.dims("max_pool")?;
        if !matches!(x.dtype(), DType::F32 | DType::F16) {
            return Err(Error::shape(
                "max_pool",
                "f32 or f16 [N, H, W, C]",
                format!("{x:?}"),
            ));
        }
        Geometry::new(sizes, pool)
    }

    fn y_shape(&self) -> [usize; 4] {
        [self.n, self.oh, self.ow, self.c]
    }

    fn params(&self, elements: usize, vec: bool) -> Params {
        let lanes = if vec { 4 } else { 1 };
        let [
            units,
            height,
            width,
            out_height,
            out_width,
            c,
            window,
            stride,
        ] = [
            elements / lanes,
            self.h,
            self.w,
            self.oh,
            self.ow,
            self.c / lanes,
            self.pool.window,
            self.pool.stride,
        ]
        .map(|v| v as u32);
        Params {
            units,
            height,
            width,
            out_height,
            out_width,
            c,
            window,
            stride,
        }
    }

    fn work(&self) -> Work {
        let outputs = self.y_shape().iter().product::<usize>() as f64;
        let read = (self.pool.window * self.pool.window) as f64 * outputs;
        Work {
            flops: read,
            bytes: 4.0 * (read + outputs),
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    units: u32,
    height: u32,
    width: u32,
    out_height: u32,
    out_width: u32,
    c: u32,
    window: u32,
    stride: u32,
}

fn forward(vec: bool, half: bool) -> Kernel {
    let kernel = Kernel::new(shader!("conv/max_pool")).flag("VEC", vec);
    kernel.flag("X_HALF", half)
}
fn backward(vec: bool, half: bool) -> Kernel {
    let kernel = Kernel::new(shader!("conv/max_pool_grad")).flag("VEC", vec);
    kernel.flag("X_HALF", half)
}

/// Returns whether kernels read `x`, which is f16, as it is: four channels at a time.
fn reads_halves(x: &Tensor, g: &Geometry) -> bool {
    x.gpu().shader_f16() && g.c.is_multiple_of(4)
}

/// Computes `y[n, i, j, c] = max of x[n, S i + a, S j + b, c]` over the places of a window,
/// `0 <= a, b < K`, that lie in x: x [N, H, W, C], f32 or f16, to y [N, OH, OW, C] of that type,
/// with as many rows and columns as [`Pool::windows`] says.
///
/// # Errors
/// If x is no such tensor or too small for a window, or the window or the stride is 0 or above
/// 1024.
pub fn max_pool(x: &Tensor, pool: Pool) -> Result<Tensor> {
    let g = Geometry::of(x, pool)?;
    let half = x.dtype() == DType::F16;
    if half && !reads_halves(x, &g) {
        return cast(&max_pool(&cast(x, DType::F32)?, pool)?, DType::F16);
    }
    let y = Tensor::empty(x.gpu(), &g.y_shape(), x.dtype())?;
    let vec = g.c.is_multiple_of(4);
    let params = g.params(y.len(), vec);
    let groups = groups_for(params.units as usize, 64);
    x.gpu().dispatch(
        "max_pool",
        &forward(vec, half),
        &[x, &y],
        &params,
        groups,
        g.work(),
    )?;
    Ok(y)
}

/// Computes the gradient of [`max_pool`] with respect to x, of dy [N, OH, OW, C]: each element goes
/// to the largest value of its window, to the first, row by row, where several are as large. It is
/// f32, and so is dy, whatever x is.
///
/// # Errors
/// As [`max_pool`]'s, or if dy has another shape than its result.
pub fn max_pool_grad(x: &Tensor, dy: &Tensor, pool: Pool) -> Result<Tensor> {
    let g = Geometry::of(x, pool)?;
    if dy.shape() != g.y_shape() || dy.dtype() != DType::F32 {
        return Err(Error::shape(
            "max_pool gradient",
            format!("f32 {:?}", g.y_shape()),
            format!("{dy:?}"),
        ));
    }
    let half = x.dtype() == DType::F16;
    if half && !reads_halves(x, &g) {
        return max_pool_grad(&cast(x, DType::F32)?, dy, pool);
    }
    let dx = Tensor::empty(x.gpu(), x.shape(), DType::F32)?;
    let vec = g.c.is_multiple_of(4);
    let params = g.params(dx.len(), vec);
    let groups = groups_for(params.units as usize, 64);
    x.gpu().dispatch(
        "max_pool gradient",
        &backward(vec, half),
        &[x, dy, &dx],
        &params,
        groups,
        g.work(),
    )?;
    Ok(dx)
}

impl Tape {
    /// See [`max_pool`].
    ///
    /// # Errors
    /// As [`max_pool`].
    pub fn max_pool(&self, x: &Var, pool: Pool) -> Result<Var> {
        let y = max_pool(x.tensor(), pool)?;
        let saved = x.tensor().clone();
        Ok(self.record(y, &[x], move |g, _| {
            Ok(vec![Some(max_pool_grad(&saved, g, pool)?)])
        }))
    }
}
