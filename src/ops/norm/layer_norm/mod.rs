//! Layer normalisation (Ba et al. 2016) over the last dimension: group normalisation with one group
//! and one position.

use super::group_norm::{Layout, kernels, reference, work};
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Rng, Tolerance, case, cases, refused,
};
use crate::{Error, Result};

fn layout(x: &Tensor, eps: f32) -> Result<Layout> {
    match x.shape().split_last() {
        Some((c, rest)) => Ok(Layout {
            n: rest.iter().product(),
            s: 1,
            c: *c,
            g: 1,
            eps,
        }),
        None => Err(Error::shape(
            "layer_norm",
            "at least one dimension",
            format!("{x:?}"),
        )),
    }
}

/// Computes `w (x - mean) / sqrt(var + eps) + b`, mean and variance over the last dimension: x [..,
/// C], weight and bias `[C]`.
///
/// # Errors
/// If the shapes do not fit.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
    Ok(layout(x, eps)?.forward("layer_norm", x, weight, bias)?.0)
}

impl Tape {
    /// Layer normalisation, see [`layer_norm`].
    pub fn layer_norm(&self, x: &Var, weight: &Var, bias: &Var, eps: f32) -> Result<Var> {
        layout(x.tensor(), eps)?.record("layer_norm", self, x, weight, bias)
    }
}

/// The registry's row.
pub struct LayerNorm;

const EPS: f32 = 1e-5;

fn of(case: &Case) -> Layout {
    Layout {
        n: case.get("n"),
        s: 1,
        c: case.get("c"),
        g: 1,
        eps: EPS,
    }
}

impl Operation for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }
    fn cases(&self) -> Vec<Case> {
        cases(
            ["n", "c"],
            &[
                [1, 2],
                [7, 5],
                [65, 64],
                [33, 257],
                [1_031, 20],
                [67, 260],
                [3, 4_100],
            ],
        )
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 8_192), ("c", 256)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let (n, c) = (case.get("n"), case.get("c"));
        vec![rng.normals(&[n, c]), rng.normals(&[c]), rng.normals(&[c])]
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![layer_norm(&t[0], &t[1], &t[2], EPS)?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let y = reference::forward(
            inputs[0].as_f64(),
            inputs[1].as_f64(),
            inputs[2].as_f64(),
            &of(case),
        );
        vec![HostTensor::f64(&inputs[0].shape, y)]
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
        let short = Tensor::zeros(gpu, &[5], DType::F32)?;
        Ok(vec![refused(
            "a weight of another size",
            layer_norm(&x, &short, &short, EPS),
        )])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for LayerNorm {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0, 1, 2]
    }
    fn record(&self, tape: &Tape, _: &Case, v: &[Var]) -> Result<Var> {
        tape.layer_norm(&v[0], &v[1], &v[2], EPS)
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let (dx, dw, db) = reference::gradients(
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
        // Rows of two values can lie close together, and then dx is large.
        if input == 0 {
            Tolerance {
                abs: 1e-4,
                rel: 1e-4,
            }
        } else {
            Tolerance::sum(16 * case.get("n"))
        }
    }
}
