//! Convolution over NHWC images, and its gradients, on the matrix cores.
//!
//! The three kernels here also make the transposed convolution, which is the gradient of a
//! convolution with respect to its input: see [`super::conv_transpose2d`].

mod fused;
mod kernels;
mod parts;
pub(crate) mod reference;
mod row_kernel;
mod spec;

pub use spec::Conv2dSpec;
pub(crate) use spec::{in_f16_weights, weight_type, weights};

pub(crate) use fused::Fused;
pub(crate) use kernels::{forward, grad_input, grad_weight, kernels, work};

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Tensor};
use crate::ops::conv::Conv;
use crate::ops::conv::geometry::{Geometry, check_bias};
use crate::ops::linalg::column_sum::column_sum_to;
use crate::{Error, Result};

/// Computes `y = conv(x, w) + bias + residual`: x [N, H, W, I], w [O, KH, KW, I], bias `[O]`,
/// residual and y [N, OH, OW, O], with OH = (H + 2 pad + after - KH) / stride + 1 and OW likewise.
///
/// x, w and the residual may be f16; sums are f32, and y is stored as x is.
///
/// # Errors
/// If the shapes do not fit, or the stride is 0.
pub fn conv2d(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
    c: Conv,
) -> Result<Tensor> {
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
        return Err(Error::shape(
            "conv2d",
            format!("a residual {:?}", g.y_shape()),
            format!("{r:?}"),
        ));
    }
    let y = forward(
        x,
        w,
        &g,
        Fused {
            relu: c.relu,
            bias,
            residual,
            mask: None,
        },
        out,
    )?;
    // Others are no cases of the registry.
    if c.after == 0 && [x, w].iter().all(|t| t.dtype() == DType::F32) {
        let sizes = [
            ("n", g.n),
            ("h", g.h),
            ("w", g.w),
            ("i", g.i),
            ("o", g.o),
            ("kh", g.kh),
            ("kw", g.kw),
            ("s", g.stride),
            ("p", g.pad),
            ("relu", usize::from(c.relu)),
        ];
        y.gpu().note_call("conv2d", &y, sizes);
    }
    Ok(y)
}

impl Tape {
    /// Computes `conv(x, w) + bias + residual`, see [`conv2d`]. The residual connection and the
    /// activation before the convolution cost no pass over memory, forward or backward.
    pub fn conv2d(
        &self,
        x: &Var,
        w: &Var,
        bias: Option<&Var>,
        residual: Option<&Var>,
        c: Conv,
    ) -> Result<Var> {
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
        let y = conv2d_as(
            x.tensor(),
            w.tensor(),
            bias.map(Var::tensor),
            residual.map(Var::tensor),
            c,
            out,
        )?;
        let g = Geometry::new("conv2d", x.tensor(), w.tensor(), c)?;
        let inputs: Vec<&Var> = [x, w].into_iter().chain(bias).chain(residual).collect();
        let (sx, sw, has_bias) = (x.tensor().clone(), w.tensor().clone(), bias.is_some());
        Ok(self.record_placed(y, &inputs, move |dy, needs| {
            let mask = c.relu.then_some(&sx);
            let dx = needs[0]
                .then(|| {
                    grad_input(
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
                .then(|| grad_weight(&sx, dy, &g, c.relu, false, needs.place(1)))
                .transpose()?;
            let mut parts = vec![dx, dw];
            if has_bias {
                let rows = dy.reshape(&[g.n * g.oh * g.ow, g.o])?;
                let bias = needs[2].then(|| column_sum_to(&rows, needs.place(2)));
                parts.push(bias.transpose()?);
            }
            if needs.len() > parts.len() {
                parts.push(Some(dy.clone()));
            }
            Ok(parts)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Gpu, Options};
    use crate::spec::Rng;

    /// Zeros after the input are zeros written there, forward and backward, whichever kernel runs:
    /// few channels in or many, a stride of 1 or 2, a 3-wide kernel or another.
    #[test]
    fn zeros_after_the_input_are_an_input_that_ends_in_zeros() {
        let gpu = Gpu::new(Options {
            poison: true,
            ..Default::default()
        })
        .unwrap();
        let mut rng = Rng::new(5);
        for (h, w, i, o, k, stride) in [
            (8, 6, 12, 20, 3, 2),
            (7, 9, 3, 8, 3, 2),
            (5, 4, 8, 36, 3, 1),
            (6, 6, 5, 7, 2, 3),
        ] {
            let mut normals = |shape: &[usize]| rng.normals(shape).upload(&gpu).unwrap();
            let (x, weights) = (normals(&[2, h, w, i]), normals(&[o, k, k, i]));
            let values: Vec<f32> = x.read().unwrap();
            let mut padded = vec![0.0; 2 * (h + 1) * (w + 1) * i];
            for (n, row) in values.chunks(w * i).enumerate() {
                padded[(n / h * (h + 1) + n % h) * (w + 1) * i..][..w * i].copy_from_slice(row);
            }
            let padded = Tensor::from_slice(&gpu, &[2, h + 1, w + 1, i], &padded).unwrap();
            let run = |x: &Tensor, after: usize| {
                let tape = Tape::new(&gpu);
                let (x, w) = (tape.leaf(x), tape.leaf(&weights));
                let y = tape
                    .conv2d(
                        &x,
                        &w,
                        None,
                        None,
                        Conv {
                            stride,
                            pad: 0,
                            relu: true,
                            after,
                        },
                    )
                    .unwrap();
                let upstream: Vec<f32> = (0..y.tensor().len())
                    .map(|i| (i % 7) as f32 - 3.0)
                    .collect();
                let upstream = Tensor::from_slice(&gpu, y.shape(), &upstream).unwrap();
                let shape = y.shape().to_vec();
                let out: Vec<f32> = y.tensor().read().unwrap();
                let gradients = tape.backward_with(&y, upstream).unwrap();
                let of = |v: &Var| gradients.get(v).unwrap().read::<f32>().unwrap();
                (shape, out, of(&x), of(&w))
            };
            let ((shape, y, dx, dw), (shape2, y2, dx2, dw2)) = (run(&x, 1), run(&padded, 0));
            let close = |a: &[f32], b: &[f32]| {
                assert_eq!(a.len(), b.len());
                let worst = a
                    .iter()
                    .zip(b)
                    .map(|(a, b)| (a - b).abs() / (1.0 + b.abs()))
                    .fold(0.0, f32::max);
                assert!(
                    worst < 1e-4,
                    "{h} x {w}, {i} to {o}, {k} wide, stride {stride}: {worst}"
                );
            };
            assert_eq!(shape, shape2);
            close(&y, &y2);
            close(&dw, &dw2);
            let inside: Vec<f32> = (0..2 * h)
                .flat_map(|n| &dx2[(n / h * (h + 1) + n % h) * (w + 1) * i..][..w * i])
                .copied()
                .collect();
            close(&dx, &inside);
        }
    }
}
