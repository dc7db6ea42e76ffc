//! Mean squared error and mean absolute error.

mod reference;

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::ops::linalg::reduce;
use crate::ops::linalg::reduce::{Term, reduce};
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Rng, Tolerance, case, refused,
};
use crate::{Result, shader};

/// A loss between a prediction and a target, averaged over all elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Mean of `(a - b)^2`.
    Mse,
    /// Mean of `|a - b|`; its gradient at 0 is 0.
    L1,
}

impl Loss {
    fn term(self) -> Term {
        match self {
            Loss::Mse => Term::SquaredDifference,
            Loss::L1 => Term::AbsoluteDifference,
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
    scale: f32,
}

fn grad_kernel(loss: Loss) -> Kernel {
    Kernel::new(shader!("loss/loss_grad")).define(
        if loss == Loss::Mse {
            "SQUARED"
        } else {
            "ABSOLUTE"
        },
        1,
    )
}

/// Computes the loss between `prediction` and `target`, shapes equal: `[1]`.
///
/// # Errors
/// If the shapes differ or there is no element.
pub fn loss(kind: Loss, prediction: &Tensor, target: &Tensor) -> Result<Tensor> {
    let y = reduce(
        "loss",
        kind.term(),
        prediction,
        Some(target),
        1.0 / prediction.len() as f32,
    )?;
    let sizes = [
        ("mae", usize::from(kind == Loss::L1)),
        ("n", prediction.len()),
    ];
    y.gpu().note_call("loss", &y, sizes);
    Ok(y)
}

fn gradient(kind: Loss, a: &Tensor, b: &Tensor, g: &Tensor, sign: f32) -> Result<Tensor> {
    let n = a.len();
    let da = Tensor::empty(a.gpu(), a.shape(), DType::F32)?;
    let params = Params {
        n: n as u32,
        scale: sign / n as f32,
    };
    let work = Work {
        flops: 3.0 * n as f64,
        bytes: 12.0 * n as f64,
    };
    a.gpu().dispatch(
        "loss",
        &grad_kernel(kind),
        &[a, b, g, &da],
        &params,
        groups_for(n, 256),
        work,
    )?;
    Ok(da)
}

impl Tape {
    /// Computes the loss between `prediction` and `target`, shapes equal: `[1]`.
    pub fn loss(&self, kind: Loss, prediction: &Var, target: &Var) -> Result<Var> {
        let y = loss(kind, prediction.tensor(), target.tensor())?;
        let (a, b) = (prediction.tensor().clone(), target.tensor().clone());
        Ok(self.record(y, &[prediction, target], move |g, needs| {
            let da = needs[0]
                .then(|| gradient(kind, &a, &b, g, 1.0))
                .transpose()?;
            let db = needs[1]
                .then(|| gradient(kind, &a, &b, g, -1.0))
                .transpose()?;
            Ok(vec![da, db])
        }))
    }
}

/// The registry's row.
pub struct LossSpec;

fn kind(case: &Case) -> Loss {
    if case.get("mae") == 1 {
        Loss::L1
    } else {
        Loss::Mse
    }
}

impl Operation for LossSpec {
    fn name(&self) -> &'static str {
        "loss"
    }
    fn cases(&self) -> Vec<Case> {
        let sizes = [1, 61, 257, 65_540];
        (0..2)
            .flat_map(|l1| sizes.map(|n| case(&[("mae", l1), ("n", n)])))
            .collect()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("mae", 0), ("n", 98_304)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        // A few pairs are equal, where the absolute difference has a corner.
        let n = case.get("n");
        let (a, b) = (rng.normals(&[n]), rng.normals(&[n]));
        let (crate::spec::Data::F32(a), crate::spec::Data::F32(mut b)) = (a.data, b.data) else {
            return Vec::new();
        };
        (0..n).skip(3).step_by(7).for_each(|i| b[i] = a[i]);
        vec![HostTensor::f32(&[n], a), HostTensor::f32(&[n], b)]
    }
    fn run(&self, _: &Gpu, case: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![loss(kind(case), &inputs[0], &inputs[1])?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        vec![HostTensor::f64(
            &[1],
            vec![reference::loss(
                kind(case),
                inputs[0].as_f64(),
                inputs[1].as_f64(),
            )],
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
    fn work(&self, case: &Case) -> Work {
        Work {
            flops: 3.0 * case.get("n") as f64,
            bytes: 8.0 * case.get("n") as f64,
        }
    }
    fn kernels(&self) -> Vec<Kernel> {
        let mut all = reduce::kernels(&[Term::SquaredDifference, Term::AbsoluteDifference]);
        all.extend([grad_kernel(Loss::Mse), grad_kernel(Loss::L1)]);
        all
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let (a, b) = (
            Tensor::zeros(gpu, &[3], DType::F32)?,
            Tensor::zeros(gpu, &[4], DType::F32)?,
        );
        Ok(vec![refused("shapes differ", loss(Loss::Mse, &a, &b))])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for LossSpec {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0, 1]
    }
    fn record(&self, tape: &Tape, case: &Case, v: &[Var]) -> Result<Var> {
        tape.loss(kind(case), &v[0], &v[1])
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let da = reference::gradient(
            kind(case),
            inputs[0].as_f64(),
            inputs[1].as_f64(),
            upstream.as_f64()[0],
        );
        let db = da.iter().map(|d| -d).collect();
        vec![
            HostTensor::f64(&inputs[0].shape, da),
            HostTensor::f64(&inputs[0].shape, db),
        ]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
}
