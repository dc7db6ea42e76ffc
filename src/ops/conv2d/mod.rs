//! Convolution over NHWC images, and its gradients, on the matrix cores.
//!
//! The three kernels here also make the transposed convolution, which is the gradient of a convolution with respect
//! to its input: see [`super::conv_transpose2d`].

mod kernels;
mod row;
mod row_kernel;
pub(crate) mod twin;

pub use row::Conv2dRow;

pub(crate) use kernels::{Fused, forward, grad_input, grad_weight, kernels, work};

use super::column_sum::column_sum;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Tensor};
use crate::{Error, Result};

/// How a convolution walks its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Pixels from one output to the next, both ways.
    pub stride: usize,
    /// Zeros around the input, on every side.
    pub pad: usize,
    /// Rectify the input first (`max(x, 0)`), at no pass over memory: the activation before a convolution.
    pub relu: bool,
}

/// Sizes of a convolution: x [n, h, w, i], w [o, kh, kw, i], y [n, oh, ow, o].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub i: usize,
    pub oh: usize,
    pub ow: usize,
    pub o: usize,
    pub kh: usize,
    pub kw: usize,
    pub stride: usize,
    pub pad: usize,
}

impl Geometry {
    /// From the shapes of x and w.
    pub fn new(op: &'static str, x: &Tensor, w: &Tensor, c: Conv) -> Result<Geometry> {
        let (_, _): ([usize; 4], [usize; 4]) = (x.dims(op)?, w.dims(op)?);
        Geometry::from_shapes(op, x.shape(), w.shape(), c)
    }

    /// From shapes of four dimensions each.
    pub fn from_shapes(op: &'static str, x: &[usize], w: &[usize], c: Conv) -> Result<Geometry> {
        let ([n, h, width, i], [o, kh, kw, i2]) = (x, w) else {
            return Err(Error::shape(op, "four dimensions", format!("{x:?}, {w:?}")));
        };
        let [n, h, width, i, o, kh, kw, i2] = [n, h, width, i, o, kh, kw, i2].map(|v| *v);
        if c.stride == 0 {
            return Err(Error::invalid(op, "a stride of 0; it is at least 1"));
        }
        if i != i2 || i == 0 || o == 0 || kh == 0 || kw == 0 {
            return Err(Error::shape(op, format!("weights [out, kh, kw, {i}] without a 0"), format!("{w:?}")));
        }
        if h + 2 * c.pad < kh || width + 2 * c.pad < kw {
            return Err(Error::shape(
                op,
                format!("an input of at least {kh} x {kw} with its padding of {}", c.pad),
                format!("{x:?}"),
            ));
        }
        let (oh, ow) = ((h + 2 * c.pad - kh) / c.stride + 1, (width + 2 * c.pad - kw) / c.stride + 1);
        Ok(Geometry { n, h, w: width, i, oh, ow, o, kh, kw, stride: c.stride, pad: c.pad })
    }
    pub fn x_shape(&self) -> [usize; 4] {
        [self.n, self.h, self.w, self.i]
    }
    pub fn y_shape(&self) -> [usize; 4] {
        [self.n, self.oh, self.ow, self.o]
    }
    pub fn w_shape(&self) -> [usize; 4] {
        [self.o, self.kh, self.kw, self.i]
    }
}

pub(crate) fn check_bias(op: &'static str, bias: Option<&Tensor>, channels: usize) -> Result<()> {
    match bias {
        Some(b) if b.shape() != [channels] => Err(Error::shape(op, format!("a bias [{channels}]"), format!("{b:?}"))),
        _ => Ok(()),
    }
}

/// `y = conv(x, w) + bias + residual`: x [N, H, W, I], w [O, KH, KW, I], bias [O], residual and y [N, OH, OW, O], with
/// OH = (H + 2 pad - KH) / stride + 1 and OW likewise.
///
/// x and the residual may be f16; sums are f32, and y is stored as x is.
///
/// # Errors
/// If the shapes do not fit, or the stride is 0.
pub fn conv2d(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, residual: Option<&Tensor>, c: Conv) -> Result<Tensor> {
    conv2d_as(x, w, bias, residual, c, x.dtype())
}

/// [`conv2d`] with a result of type `out`, f32 or f16.
///
/// # Errors
/// As [`conv2d`]'s, or if a type is another.
pub fn conv2d_as(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
    c: Conv,
    out: DType,
) -> Result<Tensor> {
    let g = Geometry::new("conv2d", x, w, c)?;
    check_bias("conv2d", bias, g.o)?;
    if let Some(r) = residual
        && r.shape() != g.y_shape()
    {
        return Err(Error::shape("conv2d", format!("a residual {:?}", g.y_shape()), format!("{r:?}")));
    }
    forward(x, w, &g, Fused { relu: c.relu, bias, residual, mask: None }, out)
}

impl Tape {
    /// `conv(x, w) + bias + residual`, see [`conv2d`]. The residual connection and the activation before the convolution
    /// cost no pass over memory, forward or backward.
    pub fn conv2d(&self, x: &Var, w: &Var, bias: Option<&Var>, residual: Option<&Var>, c: Conv) -> Result<Var> {
        self.conv2d_as(x, w, bias, residual, c, x.tensor().dtype())
    }

    /// [`Tape::conv2d`] with a result of type `out`, f32 or f16.
    pub fn conv2d_as(
        &self,
        x: &Var,
        w: &Var,
        bias: Option<&Var>,
        residual: Option<&Var>,
        c: Conv,
        out: DType,
    ) -> Result<Var> {
        let y = conv2d_as(x.tensor(), w.tensor(), bias.map(Var::tensor), residual.map(Var::tensor), c, out)?;
        let g = Geometry::new("conv2d", x.tensor(), w.tensor(), c)?;
        let inputs: Vec<&Var> = [x, w].into_iter().chain(bias).chain(residual).collect();
        let (sx, sw, has_bias) = (x.tensor().clone(), w.tensor().clone(), bias.is_some());
        Ok(self.record(y, &inputs, move |dy, needs| {
            let mask = c.relu.then_some(&sx);
            let dx = needs[0]
                .then(|| grad_input(dy, &sw, &g, Fused { mask, ..Default::default() }, DType::F32))
                .transpose()?;
            let dw = needs[1].then(|| grad_weight(&sx, dy, &g, c.relu, false)).transpose()?;
            let mut parts = vec![dx, dw];
            if has_bias {
                let rows = dy.reshape(&[g.n * g.oh * g.ow, g.o])?;
                parts.push(needs[2].then(|| column_sum(&rows)).transpose()?);
            }
            if needs.len() > parts.len() {
                parts.push(Some(dy.clone()));
            }
            Ok(parts)
        }))
    }
}
