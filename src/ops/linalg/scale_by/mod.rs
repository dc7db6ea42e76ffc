//! A tensor times a number that lies on the device, or divided by it.

use super::reduce::{self, Term, reduce};
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Rng, Tolerance, case, refused,
};
use crate::{Error, Result, shader};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
}

fn kernel(divide: bool) -> Kernel {
    Kernel::new(shader!("linalg/scale_by")).flag("DIVIDE", divide)
}

fn work(n: usize) -> Work {
    Work {
        flops: n as f64,
        bytes: 8.0 * n as f64,
    }
}

fn dispatch(x: &Tensor, s: &Tensor, divide: bool) -> Result<Tensor> {
    if x.dtype() != DType::F32 || s.dtype() != DType::F32 || s.len() != 1 {
        return Err(Error::shape(
            "scale_by",
            "a tensor of f32 and f32 [1]",
            format!("{x:?} and {s:?}"),
        ));
    }
    let y = Tensor::empty(x.gpu(), x.shape(), DType::F32)?;
    let params = Params { n: x.len() as u32 };
    x.gpu().dispatch(
        "scale_by",
        &kernel(divide),
        &[x, s, &y],
        &params,
        groups_for(x.len(), 256),
        work(x.len()),
    )?;
    Ok(y)
}

/// Computes `s x`, elementwise: x of any shape, s `[1]`.
///
/// # Errors
/// If either is not f32, or s has more than one element.
pub fn scale_by(x: &Tensor, s: &Tensor) -> Result<Tensor> {
    dispatch(x, s, false)
}

/// Computes `x / s`, elementwise: x of any shape, s `[1]`.
///
/// # Errors
/// As [`scale_by`].
pub fn divide_by(x: &Tensor, s: &Tensor) -> Result<Tensor> {
    dispatch(x, s, true)
}

/// Computes the sum of `a b` over all elements: `[1]`.
///
/// # Errors
/// If the shapes differ or there is no element.
pub fn dot(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    reduce("dot", Term::Product, a, Some(b), 1.0)
}

impl Tape {
    /// See [`scale_by`].
    ///
    /// # Errors
    /// As [`scale_by`].
    pub fn scale_by(&self, x: &Var, s: &Var) -> Result<Var> {
        let y = scale_by(x.tensor(), s.tensor())?;
        let (a, b) = (x.tensor().clone(), s.tensor().clone());
        Ok(self.record(y, &[x, s], move |g, needs| {
            let dx = needs[0].then(|| scale_by(g, &b)).transpose()?;
            let ds = needs[1]
                .then(|| dot(g, &a)?.reshape(b.shape()))
                .transpose()?;
            Ok(vec![dx, ds])
        }))
    }

    /// See [`divide_by`].
    ///
    /// # Errors
    /// As [`scale_by`].
    pub fn divide_by(&self, x: &Var, s: &Var) -> Result<Var> {
        let y = divide_by(x.tensor(), s.tensor())?;
        let (quotient, b) = (y.clone(), s.tensor().clone());
        Ok(self.record(y, &[x, s], move |g, needs| {
            let dx = needs[0].then(|| divide_by(g, &b)).transpose()?;
            let ds = || {
                divide_by(
                    &crate::ops::elementwise::scale::scale(&dot(g, &quotient)?, -1.0, 0.0)?,
                    &b,
                )?
                .reshape(b.shape())
            };
            let ds = needs[1].then(ds).transpose()?;
            Ok(vec![dx, ds])
        }))
    }
}

/// The registry's row.
pub struct ScaleBy;

fn divides(case: &Case) -> bool {
    case.get("divide") == 1
}

impl Operation for ScaleBy {
    fn name(&self) -> &'static str {
        "scale_by"
    }
    fn cases(&self) -> Vec<Case> {
        (0..2)
            .flat_map(|divide| [1, 61, 257, 10_007].map(|n| case(&[("divide", divide), ("n", n)])))
            .collect()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("divide", 0), ("n", 1 << 20)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        vec![
            rng.normals(&[case.get("n")]),
            HostTensor::f32(&[1], vec![1.5 + rng.normal().abs() as f32]),
        ]
    }
    fn run(&self, _: &Gpu, case: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![dispatch(&t[0], &t[1], divides(case))?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let s = inputs[1].as_f64()[0];
        let factor = if divides(case) { 1.0 / s } else { s };
        vec![HostTensor::f64(
            &inputs[0].shape,
            inputs[0].as_f64().iter().map(|x| x * factor).collect(),
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        let mut all = reduce::kernels(&[Term::Product]);
        all.extend([kernel(false), kernel(true)]);
        all
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let zeros = |n: usize, dtype| Tensor::zeros(gpu, &[n], dtype);
        Ok(vec![
            refused(
                "integers",
                scale_by(&zeros(4, DType::U32)?, &zeros(1, DType::F32)?),
            ),
            refused(
                "two factors",
                scale_by(&zeros(4, DType::F32)?, &zeros(2, DType::F32)?),
            ),
            refused(
                "lengths differ",
                dot(&zeros(4, DType::F32)?, &zeros(3, DType::F32)?),
            ),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for ScaleBy {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0, 1]
    }
    fn record(&self, tape: &Tape, case: &Case, v: &[Var]) -> Result<Var> {
        if divides(case) {
            tape.divide_by(&v[0], &v[1])
        } else {
            tape.scale_by(&v[0], &v[1])
        }
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let (x, s, g) = (inputs[0].as_f64(), inputs[1].as_f64()[0], upstream.as_f64());
        let dot: f64 = x.iter().zip(g).map(|(x, g)| x * g).sum();
        let (factor, ds) = if divides(case) {
            (1.0 / s, -dot / (s * s))
        } else {
            (s, dot)
        };
        vec![
            HostTensor::f64(&inputs[0].shape, g.iter().map(|g| g * factor).collect()),
            HostTensor::f64(&[1], vec![ds]),
        ]
    }
    fn tolerance(&self, case: &Case, input: usize) -> Tolerance {
        if input == 0 {
            Tolerance::POINTWISE
        } else {
            Tolerance::sum(case.get("n"))
        }
    }
}
