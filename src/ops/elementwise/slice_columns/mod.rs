//! SliceColumns of a matrix cut out and put together: the groups of a product quantizer.

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::spec::{
    Case, ErrorInputs, Extremes, Gradient, HostTensor, Operation, Real, Rng, Tolerance, case,
    cases, refused,
};
use crate::{Error, Result, shader};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
    w: u32,
    cx: u32,
    cy: u32,
    at_x: u32,
    at_y: u32,
}

fn kernel(pad: bool) -> Kernel {
    Kernel::new(shader!("elementwise/slice_columns")).flag("PAD", pad)
}

/// Copies `w` columns of x, from `at_x`, to the columns of y from `at_y`; with `pad` the rest of y
/// becomes 0.
fn copy(x: &Tensor, at_x: usize, y: &Tensor, at_y: usize, w: usize, pad: bool) -> Result<()> {
    let ([n, cx], [_, cy]) = (x.dims("slice_columns")?, y.dims("slice_columns")?);
    let [n_, w_, cx_, cy_, ax, ay] = [n, w, cx, cy, at_x, at_y].map(|v| v as u32);
    let params = Params {
        n: n_,
        w: w_,
        cx: cx_,
        cy: cy_,
        at_x: ax,
        at_y: ay,
    };
    let made = if pad { n * cy } else { n * w };
    let work = Work {
        flops: 0.0,
        bytes: 4.0 * (n * w + made) as f64,
    };
    x.gpu().dispatch(
        "slice_columns",
        &kernel(pad),
        &[x, y],
        &params,
        groups_for(made, 64),
        work,
    )
}

/// SliceColumns `at..at + w` of x [N, C], f32 or u32: [N, w].
///
/// # Errors
/// If there are no such columns.
pub fn slice_columns(x: &Tensor, at: usize, w: usize) -> Result<Tensor> {
    let [n, c] = x.dims("slice_columns")?;
    if w == 0 || at + w > c || x.dtype() == DType::U8 {
        return Err(Error::shape(
            "slice_columns",
            format!("f32 or u32 with the columns {at}..{}", at + w),
            format!("{x:?}"),
        ));
    }
    let y = Tensor::empty(x.gpu(), &[n, w], x.dtype())?;
    copy(x, at, &y, 0, w, false)?;
    Ok(y)
}

/// Matrices [N, C1], [N, C2], .. side by side: [N, C1 + C2 + ..].
///
/// # Errors
/// If there is none, or one has another number of rows.
pub fn concat_columns(parts: &[&Tensor]) -> Result<Tensor> {
    let wrong = || {
        Error::shape(
            "concat_columns",
            "matrices of as many rows and one type",
            format!("{parts:?}"),
        )
    };
    let first = parts.first().ok_or_else(wrong)?;
    let [n, _] = first.dims("concat_columns")?;
    let mut widths = Vec::new();
    for part in parts {
        let [rows, w] = part.dims("concat_columns")?;
        if rows != n || part.dtype() != first.dtype() || part.dtype() == DType::U8 {
            return Err(wrong());
        }
        widths.push(w);
    }
    let y = Tensor::empty(first.gpu(), &[n, widths.iter().sum()], first.dtype())?;
    let mut at = 0;
    for (part, w) in parts.iter().zip(widths) {
        copy(part, 0, &y, at, w, false)?;
        at += w;
    }
    Ok(y)
}

impl Tape {
    /// SliceColumns `at..at + w` of x [N, C], see [`slice_columns`].
    ///
    /// # Errors
    /// As [`slice_columns`].
    pub fn slice_columns(&self, x: &Var, at: usize, w: usize) -> Result<Var> {
        let y = slice_columns(x.tensor(), at, w)?;
        let shape = x.shape().to_vec();
        Ok(self.record(y, &[x], move |g, _| {
            let dx = Tensor::empty(g.gpu(), &shape, DType::F32)?;
            copy(g, 0, &dx, at, w, true)?;
            Ok(vec![Some(dx)])
        }))
    }

    /// Matrices side by side, see [`concat_columns`].
    ///
    /// # Errors
    /// As [`concat_columns`].
    pub fn concat_columns(&self, parts: &[Var]) -> Result<Var> {
        let tensors: Vec<&Tensor> = parts.iter().map(Var::tensor).collect();
        let y = concat_columns(&tensors)?;
        let widths: Vec<usize> = tensors.iter().map(|t| t.shape()[1]).collect();
        let inputs: Vec<&Var> = parts.iter().collect();
        Ok(self.record(y, &inputs, move |g, _| {
            let mut at = 0;
            let part = |w: &usize| {
                at += w;
                slice_columns(g, at - w, *w).map(Some)
            };
            widths.iter().map(part).collect()
        }))
    }
}

mod reference {
    use super::Real;
    /// SliceColumns `at..at + w` of rows of `c`.
    pub fn slice_columns<T: Real>(x: &[T], c: usize, at: usize, w: usize) -> Vec<T> {
        x.chunks(c)
            .flat_map(|row| row[at..at + w].to_vec())
            .collect()
    }
}

/// The registry's row: columns cut out, and set before the whole again.
pub struct SliceColumns;

impl Operation for SliceColumns {
    fn name(&self) -> &'static str {
        "slice_columns"
    }
    fn cases(&self) -> Vec<Case> {
        cases(
            ["n", "c", "at", "w"],
            &[
                [1, 1, 0, 1],
                [7, 5, 2, 3],
                [65, 64, 16, 16],
                [1_031, 17, 16, 1],
            ],
        )
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 16_384), ("c", 64), ("at", 16), ("w", 16)])]
    }
    fn extremes(&self) -> Extremes {
        Extremes::any(&[0])
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        vec![rng.normals(&[case.get("n"), case.get("c")])]
    }
    fn run(&self, _: &Gpu, case: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        let part = slice_columns(&t[0], case.get("at"), case.get("w"))?;
        Ok(vec![concat_columns(&[&part, &t[0]])?])
    }
    fn time(&self, _: &Gpu, case: &Case, t: &[Tensor]) -> Result<()> {
        slice_columns(&t[0], case.get("at"), case.get("w")).map(drop)
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let (n, c, at, w) = (case.get("n"), case.get("c"), case.get("at"), case.get("w"));
        let x = inputs[0].as_f64();
        let part = reference::slice_columns(x, c, at, w);
        let y = (0..n)
            .flat_map(|i| [&part[i * w..][..w], &x[i * c..][..c]].concat())
            .collect();
        vec![HostTensor::f64(&[n, w + c], y)]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::EXACT
    }
    fn work(&self, case: &Case) -> Work {
        Work {
            flops: 0.0,
            bytes: 8.0 * (case.get("n") * case.get("w")) as f64,
        }
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![kernel(false), kernel(true)]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let (a, b) = (
            Tensor::zeros(gpu, &[3, 4], DType::F32)?,
            Tensor::zeros(gpu, &[2, 4], DType::F32)?,
        );
        Ok(vec![
            refused("columns past the last", slice_columns(&a, 2, 3)),
            refused("other rows", concat_columns(&[&a, &b])),
            refused("nothing to put together", concat_columns(&[])),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for SliceColumns {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, case: &Case, v: &[Var]) -> Result<Var> {
        let part = tape.slice_columns(&v[0], case.get("at"), case.get("w"))?;
        tape.concat_columns(&[part, v[0].clone()])
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let (c, at, w) = (case.get("c"), case.get("at"), case.get("w"));
        let row = |g: &[f64]| -> Vec<f64> {
            (0..c)
                .map(|j| {
                    g[w + j]
                        + if (at..at + w).contains(&j) {
                            g[j - at]
                        } else {
                            0.0
                        }
                })
                .collect()
        };
        vec![HostTensor::f64(
            &inputs[0].shape,
            upstream.as_f64().chunks(w + c).flat_map(row).collect(),
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
}
