//! Batch normalisation (Ioffe and Szegedy 2015) of rows: each column by its mean and deviation over
//! the rows, or by those that were kept. The kernels are those of group normalisation, to which
//! rows are the positions of one image and each column a group.

use super::group_norm::wide::Stored;
use super::group_norm::{self, Layout, kernels, work};
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Rng, Tolerance, case, cases, refused,
};
use crate::{Error, Result};

fn layout(x: &Tensor, eps: f32) -> Result<Layout> {
    let [n, c] = x.dims("batch_norm")?;
    Ok(Layout {
        n: 1,
        s: n,
        c,
        g: c,
        eps,
    })
}

/// Computes `w (x - mean) / sqrt(var + eps) + b`, mean and variance of each column: x [N, C],
/// weight and bias `[C]`. And what it went by, (mean, 1 / sqrt(var + eps)) of each column: [C, 2].
///
/// # Errors
/// If the shapes do not fit, or eps is not above 0.
pub fn batch_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f32,
) -> Result<(Tensor, Tensor)> {
    layout(x, eps)?.forward_wide("batch_norm", [x, weight, bias], Stored::default())
}

/// Normalises by given moments [C, 2].
///
/// # Errors
/// If the shapes do not fit.
pub fn batch_norm_by(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    moments: &Tensor,
) -> Result<Tensor> {
    let l = layout(x, 1.0)?;
    if moments.shape() != [l.c, 2] || moments.dtype() != DType::F32 {
        return Err(Error::shape(
            "batch_norm",
            format!("moments f32 [{}, 2]", l.c),
            format!("{moments:?}"),
        ));
    }
    l.apply_wide("batch_norm", [x, weight, bias], moments, Stored::default())
}

impl Tape {
    /// Batch normalisation, see [`batch_norm`]; gradients reach the moments too.
    ///
    /// # Errors
    /// As there.
    pub fn batch_norm(&self, x: &Var, weight: &Var, bias: &Var, eps: f32) -> Result<(Var, Tensor)> {
        let l = layout(x.tensor(), eps)?;
        l.record_with_moments("batch_norm", self, [x, weight, bias], Stored::default())
    }
}

pub(crate) mod reference {
    use super::Layout;
    use crate::ops::norm::group_norm::reference;
    use crate::spec::Real;

    /// Rows x [N, C] by their own moments.
    pub fn batch_norm<T: Real>(x: &[T], w: &[T], b: &[T], eps: f32) -> Vec<T> {
        reference::forward(
            x,
            w,
            b,
            &Layout {
                n: 1,
                s: x.len() / w.len(),
                c: w.len(),
                g: w.len(),
                eps,
            },
        )
    }
}

/// The registry's row.
pub struct BatchNorm;

const EPS: f32 = 1e-5;

fn of(case: &Case) -> Layout {
    Layout {
        n: 1,
        s: case.get("n"),
        c: case.get("c"),
        g: case.get("c"),
        eps: EPS,
    }
}

impl Operation for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }
    fn cases(&self) -> Vec<Case> {
        cases(
            ["n", "c"],
            &[[2, 1], [7, 5], [65, 64], [33, 257], [1_031, 20]],
        )
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 16_384), ("c", 64)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let (n, c) = (case.get("n"), case.get("c"));
        vec![
            rng.normals(&[n, c]),
            rng.normals(&[c]),
            rng.normals(&[c]),
            rng.normals(&[c, 2]),
        ]
    }
    /// Runs it by the batch's moments, and by those that are given.
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        let (y, moments) = batch_norm(&t[0], &t[1], &t[2], EPS)?;
        Ok(vec![y, moments, batch_norm_by(&t[0], &t[1], &t[2], &t[3])?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let [x, w, b, kept] = [0, 1, 2, 3].map(|i| inputs[i].as_f64());
        let (l, c) = (of(case), case.get("c"));
        let by = x
            .iter()
            .enumerate()
            .map(|(i, x)| (x - kept[2 * (i % c)]) * kept[2 * (i % c) + 1] * w[i % c] + b[i % c]);
        vec![
            HostTensor::f64(&inputs[0].shape, reference::batch_norm(x, w, b, EPS)),
            HostTensor::f64(&[c, 2], group_norm::reference::moments(x, &l)),
            HostTensor::f64(&inputs[0].shape, by.collect()),
        ]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance {
            abs: 2e-5,
            rel: 2e-5,
        }
    }
    fn work(&self, case: &Case) -> Work {
        work(&of(case))
    }
    fn kernels(&self) -> Vec<Kernel> {
        kernels()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let x = Tensor::zeros(gpu, &[3, 6], DType::F32)?;
        let (w, short) = (
            Tensor::zeros(gpu, &[6], DType::F32)?,
            Tensor::zeros(gpu, &[5], DType::F32)?,
        );
        let moments = Tensor::zeros(gpu, &[5, 2], DType::F32)?;
        Ok(vec![
            refused("a weight of another size", batch_norm(&x, &short, &w, EPS)),
            refused("an eps of 0", batch_norm(&x, &w, &w, 0.0)),
            refused(
                "moments of other columns",
                batch_norm_by(&x, &w, &w, &moments),
            ),
            refused(
                "a bias of another size",
                batch_norm_by(&x, &w, &short, &moments),
            ),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for BatchNorm {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0, 1, 2]
    }
    fn record(&self, tape: &Tape, _: &Case, v: &[Var]) -> Result<Var> {
        Ok(tape.batch_norm(&v[0], &v[1], &v[2], EPS)?.0)
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let (dx, dw, db) = group_norm::reference::gradients(
            inputs[0].as_f64(),
            inputs[1].as_f64(),
            upstream.as_f64(),
            &of(case),
        );
        vec![
            HostTensor::f64(&inputs[0].shape, dx),
            HostTensor::f64(&inputs[1].shape, dw),
            HostTensor::f64(&inputs[1].shape, db),
        ]
    }
    fn tolerance(&self, case: &Case, input: usize) -> Tolerance {
        if input == 0 {
            Tolerance {
                abs: 5e-5,
                rel: 5e-5,
            }
        } else {
            Tolerance::sum(16 * case.get("n"))
        }
    }
}
