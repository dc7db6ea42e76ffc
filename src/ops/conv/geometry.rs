//! Sizes of a convolution, which its kernels, its transpose and its patches share.

use crate::gpu::Tensor;
use crate::{Error, Result};

/// Stride and padding of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Pixels from one output to the next, both ways.
    pub stride: usize,
    /// Zeros around the input, on every side.
    pub pad: usize,
    /// More zeros below and to the right: with 1 and no padding, a 3 x 3 convolution of stride 2
    /// halves an even image, as the one of taming-transformers does.
    pub after: usize,
    /// Rectify the input first (`max(x, 0)`), at no pass over memory: the activation before a
    /// convolution.
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
    /// Creates the geometry from the shapes of x and w.
    pub fn new(op: &'static str, x: &Tensor, w: &Tensor, c: Conv) -> Result<Geometry> {
        let (_, _): ([usize; 4], [usize; 4]) = (x.dims(op)?, w.dims(op)?);
        Geometry::from_shapes(op, x.shape(), w.shape(), c)
    }

    /// Creates the geometry from shapes of four dimensions each.
    pub fn from_shapes(op: &'static str, x: &[usize], w: &[usize], c: Conv) -> Result<Geometry> {
        let ([n, h, width, i], [o, kh, kw, i2]) = (x, w) else {
            return Err(Error::shape(op, "four dimensions", format!("{x:?}, {w:?}")));
        };
        let [n, h, width, i, o, kh, kw, i2] = [n, h, width, i, o, kh, kw, i2].map(|v| *v);
        if c.stride == 0 {
            return Err(Error::invalid(op, "a stride of 0; it is at least 1"));
        }
        check_reach(op, c.stride, c.pad.max(c.after))?;
        if i != i2 || i == 0 || o == 0 || kh == 0 || kw == 0 {
            return Err(Error::shape(
                op,
                format!("weights [out, kh, kw, {i}] without a 0"),
                format!("{w:?}"),
            ));
        }
        let zeros = 2 * c.pad + c.after;
        if h + zeros < kh || width + zeros < kw {
            return Err(Error::shape(
                op,
                format!(
                    "an input of at least {kh} x {kw} with its padding of {}",
                    c.pad
                ),
                format!("{x:?}"),
            ));
        }
        let (oh, ow) = (
            (h + zeros - kh) / c.stride + 1,
            (width + zeros - kw) / c.stride + 1,
        );
        Ok(Geometry {
            n,
            h,
            w: width,
            i,
            oh,
            ow,
            o,
            kh,
            kw,
            stride: c.stride,
            pad: c.pad,
        })
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

/// The longest stride and padding: a square of them can be counted in 32 bits, as kernels do.
const FARTHEST: usize = u16::MAX as usize;

/// Checks that kernels can count a stride and a padding.
pub(crate) fn check_reach(op: &'static str, stride: usize, pad: usize) -> Result<()> {
    if stride.max(pad) > FARTHEST {
        let what =
            format!("a stride of {stride} and a padding of {pad}; both are at most {FARTHEST}");
        return Err(Error::invalid(op, what));
    }
    Ok(())
}

pub(crate) fn check_bias(op: &'static str, bias: Option<&Tensor>, channels: usize) -> Result<()> {
    match bias {
        Some(b) if b.shape() != [channels] => Err(Error::shape(
            op,
            format!("a bias [{channels}]"),
            format!("{b:?}"),
        )),
        _ => Ok(()),
    }
}
