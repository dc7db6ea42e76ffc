//! Transposed convolution: the gradient of a convolution with respect to its input, as a layer
//! (Zeiler et al. 2010).
//!
//! Its kernels are those of [`super::conv2d`], and so is its reference.

mod spec;

pub use spec::ConvTranspose2dSpec;

use super::conv2d::{Fused, forward, grad_input, grad_weight};
use super::geometry::{Geometry, check_bias, check_reach};
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Tensor};
use crate::ops::linalg::column_sum::column_sum_to;
use crate::{Error, Result};

/// Stride and padding of a transposed convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvTranspose {
    /// Output pixels from one input pixel to the next, both ways.
    pub stride: usize,
    /// Pixels cut from every side of the output.
    pub pad: usize,
    /// Rows and columns added at the output's end; below the stride.
    pub output_pad: usize,
    /// Rectify the input first (`max(x, 0)`), at no pass over memory.
    pub relu: bool,
}

/// Sizes of the convolution that this one transposes: its x is our y, its y our x.
fn geometry(x: &Tensor, w: &Tensor, c: ConvTranspose) -> Result<Geometry> {
    let op = "conv_transpose2d";
    let [n, h, width, i] = x.dims(op)?;
    let [i2, kh, kw, o] = w.dims(op)?;
    if c.stride == 0 || c.output_pad >= c.stride {
        return Err(Error::invalid(
            op,
            format!(
                "stride {} and output_pad {}: the stride is at least 1, and above output_pad",
                c.stride, c.output_pad
            ),
        ));
    }
    check_reach(op, c.stride, c.pad)?;
    if x.is_empty() {
        let what = format!("{x:?}");
        return Err(Error::shape(op, "an input [N, H, W, C] without a 0", what));
    }
    if i != i2 || w.is_empty() {
        return Err(Error::shape(
            op,
            format!("weights [{i}, kh, kw, out] without a 0"),
            format!("{w:?}"),
        ));
    }
    let size = |n: usize, k: usize| {
        ((n - 1) * c.stride + k + c.output_pad)
            .checked_sub(2 * c.pad)
            .filter(|s| *s > 0)
    };
    let (Some(oh), Some(ow)) = (size(h, kh), size(width, kw)) else {
        return Err(Error::shape(
            op,
            format!("an output larger than its padding of {}", c.pad),
            format!("{x:?}, {w:?}"),
        ));
    };
    Ok(Geometry {
        n,
        h: oh,
        w: ow,
        i: o,
        oh: h,
        ow: width,
        o: i,
        kh,
        kw,
        stride: c.stride,
        pad: c.pad,
    })
}

/// Computes `y = conv_transpose(x, w) + bias`: x [N, H, W, I], w [I, KH, KW, O], bias `[O]`, y [N,
/// OH, OW, O], with OH = (H - 1) stride + KH + output_pad - 2 pad and OW likewise.
///
/// x and w may be f16; sums are f32, and y is stored as x is.
///
/// # Errors
/// If the shapes do not fit, the stride is 0, or output_pad is not below it.
pub fn conv_transpose2d(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    c: ConvTranspose,
) -> Result<Tensor> {
    conv_transpose2d_as(x, w, bias, c, x.dtype())
}

/// [`conv_transpose2d`] with a result of type `out`, f32 or f16.
///
/// # Errors
/// As [`conv_transpose2d`]'s, or if a type is another.
pub fn conv_transpose2d_as(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    c: ConvTranspose,
    out: DType,
) -> Result<Tensor> {
    let g = geometry(x, w, c)?;
    check_bias("conv_transpose2d", bias, g.i)?;
    let y = grad_input(
        x,
        w,
        &g,
        Fused {
            relu: c.relu,
            bias,
            ..Default::default()
        },
        out,
    )?;
    if [x, w].iter().all(|t| t.dtype() == DType::F32) {
        // The geometry is that of the convolution whose transpose this is.
        let sizes = [
            ("n", g.n),
            ("h", g.oh),
            ("w", g.ow),
            ("i", g.o),
            ("o", g.i),
            ("kh", g.kh),
            ("kw", g.kw),
            ("s", g.stride),
            ("p", g.pad),
            ("op", c.output_pad),
            ("relu", usize::from(c.relu)),
        ];
        y.gpu().note_call("conv_transpose2d", &y, sizes);
    }
    Ok(y)
}

impl Tape {
    /// Computes `conv_transpose(x, w) + bias`, see [`conv_transpose2d`].
    pub fn conv_transpose2d(
        &self,
        x: &Var,
        w: &Var,
        bias: Option<&Var>,
        c: ConvTranspose,
    ) -> Result<Var> {
        self.conv_transpose2d_as(x, w, bias, c, x.tensor().dtype())
    }

    /// [`Tape::conv_transpose2d`] with a result of type `out`, f32 or f16.
    pub fn conv_transpose2d_as(
        &self,
        x: &Var,
        w: &Var,
        bias: Option<&Var>,
        c: ConvTranspose,
        out: DType,
    ) -> Result<Var> {
        let y = conv_transpose2d_as(x.tensor(), w.tensor(), bias.map(Var::tensor), c, out)?;
        let g = geometry(x.tensor(), w.tensor(), c)?;
        let inputs: Vec<&Var> = [x, w].into_iter().chain(bias).collect();
        let (sx, sw) = (x.tensor().clone(), w.tensor().clone());
        Ok(self.record_placed(y, &inputs, move |dy, needs| {
            let mask = c.relu.then_some(&sx);
            let dx = needs[0]
                .then(|| {
                    forward(
                        dy,
                        &sw,
                        &g,
                        Fused {
                            mask,
                            ..Default::default()
                        },
                        DType::F32,
                    )
                })
                .transpose()?;
            let dw = needs[1]
                .then(|| grad_weight(dy, &sx, &g, false, c.relu, needs.place(1)))
                .transpose()?;
            let mut parts = vec![dx, dw];
            if let Some(wanted) = needs.get(2) {
                let rows = dy.reshape(&[g.n * g.h * g.w, g.i])?;
                let bias = wanted.then(|| column_sum_to(&rows, needs.place(2)));
                parts.push(bias.transpose()?);
            }
            Ok(parts)
        }))
    }
}
