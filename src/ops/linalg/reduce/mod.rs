//! The sum or mean of a whole tensor, in two passes whose order depends on the length and the
//! device's class alone.

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Real, Rng, Tolerance, case, refused,
};
use crate::{Error, Result, shader};

/// The term that is summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Term {
    Value,
    SquaredDifference,
    AbsoluteDifference,
    Product,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Finish {
    parts: u32,
    scale: f32,
}

/// Partial sums at most on a processor: enough to fill it, few enough for one workgroup to finish.
const PARTS: usize = 4096;
/// Invocations that make a partial sum on a GPU.
const GROUP: u32 = 256;

fn kernel(term: Term, vec: bool, shared: bool) -> Kernel {
    let kernel = Kernel::new(shader!("linalg/reduce"))
        .flag("VEC", vec)
        .flag("PAIR", term != Term::Value);
    let kernel = if shared {
        kernel.define("GROUP", GROUP)
    } else {
        kernel
    };
    let kernel = kernel.flag("SQUARED", term == Term::SquaredDifference);
    kernel
        .flag("ABSOLUTE", term == Term::AbsoluteDifference)
        .flag("PRODUCT", term == Term::Product)
}

fn finish_kernel() -> Kernel {
    Kernel::new(shader!("linalg/reduce_finish"))
}

pub(crate) fn kernels(terms: &[Term]) -> Vec<Kernel> {
    let all = terms.iter().flat_map(|t| {
        [(false, false), (true, false), (false, true), (true, true)]
            .map(|(vec, shared)| kernel(*t, vec, shared))
    });
    all.chain([finish_kernel()]).collect()
}

/// Computes `scale * sum of term(a, b)`: [1].
pub(crate) fn reduce(
    op: &'static str,
    term: Term,
    a: &Tensor,
    b: Option<&Tensor>,
    scale: f32,
) -> Result<Tensor> {
    if a.dtype() != DType::F32
        || a.is_empty()
        || b.is_some_and(|b| b.shape() != a.shape() || b.dtype() != DType::F32)
    {
        return Err(Error::shape(
            op,
            "f32 tensors of one shape with at least one element",
            format!("{a:?}, {b:?}"),
        ));
    }
    let gpu = a.gpu();
    let vec = a.len().is_multiple_of(4);
    let units = if vec { a.len() / 4 } else { a.len() };
    let (class, group) = (gpu.class(), GROUP as usize);
    let (count, groups) = if class.is_gpu() {
        let most = class.invocations(0) / group;
        let count = units.div_ceil(4 * group).min(most);
        (count, groups_for(count, 1))
    } else {
        let count = units.div_ceil(4).min(PARTS);
        (count, groups_for(count, 64))
    };
    let parts = Tensor::empty(gpu, &[count], DType::F32)?;
    let bindings: Vec<&Tensor> = [a, &parts].into_iter().chain(b).collect();
    let bytes = 4.0 * a.len() as f64 * if b.is_some() { 2.0 } else { 1.0 };
    let work = Work {
        flops: 2.0 * a.len() as f64,
        bytes,
    };
    gpu.dispatch(
        op,
        &kernel(term, vec, class.is_gpu()),
        &bindings,
        &[units as u32, count as u32],
        groups,
        work,
    )?;
    let y = Tensor::empty(gpu, &[1], DType::F32)?;
    let params = Finish {
        parts: count as u32,
        scale,
    };
    gpu.dispatch(
        op,
        &finish_kernel(),
        &[&parts, &y],
        &params,
        [1, 1, 1],
        Work {
            flops: count as f64,
            bytes: 4.0 * count as f64,
        },
    )?;
    Ok(y)
}

/// Computes the sum of all elements: `[1]`.
pub fn sum(x: &Tensor) -> Result<Tensor> {
    reduce("sum", Term::Value, x, None, 1.0)
}

/// Computes the mean of all elements: `[1]`.
pub fn mean(x: &Tensor) -> Result<Tensor> {
    reduce("mean", Term::Value, x, None, 1.0 / x.len() as f32)
}

impl Tape {
    /// Computes the sum of all elements: `[1]`.
    pub fn sum(&self, x: &Var) -> Result<Var> {
        self.reduction(x, sum(x.tensor())?, 1.0)
    }

    /// Computes the mean of all elements: `[1]`.
    pub fn mean(&self, x: &Var) -> Result<Var> {
        self.reduction(x, mean(x.tensor())?, 1.0 / x.tensor().len() as f32)
    }

    fn reduction(&self, x: &Var, y: Tensor, scale: f32) -> Result<Var> {
        let shape = x.shape().to_vec();
        Ok(self.record(y, &[x], move |g, _| {
            // The upstream gradient, scaled, on every element: a product with a column of
            // constants.
            let n = shape.iter().product();
            let column = Tensor::empty(g.gpu(), &[n, 1], DType::F32)?;
            crate::gpu::fill(&column, scale)?;
            let product = super::matmul::matmul(
                &column,
                &g.reshape(&[1, 1])?,
                super::matmul::Transpose::NONE,
                None,
            )?;
            Ok(vec![Some(product.reshape(&shape)?)])
        }))
    }
}

mod reference {
    use super::Real;
    pub fn sum<T: Real>(x: &[T]) -> T {
        x.iter().copied().sum()
    }
}

/// The registry's row.
pub struct Reduce;

impl Operation for Reduce {
    fn name(&self) -> &'static str {
        "reduce"
    }
    fn cases(&self) -> Vec<Case> {
        [1, 3, 64, 1_031, 65_540, 131_071]
            .map(|n| case(&[("n", n)]))
            .to_vec()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 1 << 20)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        vec![rng.normals(&[case.get("n")])]
    }
    fn run(&self, _: &Gpu, _: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![mean(&inputs[0])?, sum(&inputs[0])?])
    }
    fn time(&self, _: &Gpu, _: &Case, inputs: &[Tensor]) -> Result<()> {
        mean(&inputs[0]).map(drop)
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let sum = reference::sum(inputs[0].as_f64());
        vec![
            HostTensor::f64(&[1], vec![sum / case.get("n") as f64]),
            HostTensor::f64(&[1], vec![sum]),
        ]
    }
    fn tolerance(&self, case: &Case, output: usize) -> Tolerance {
        let sum = Tolerance::sum(case.get("n"));
        if output == 1 {
            sum
        } else {
            Tolerance {
                abs: sum.abs / case.get("n") as f64,
                ..sum
            }
        }
    }
    fn work(&self, case: &Case) -> Work {
        Work {
            flops: case.get("n") as f64,
            bytes: 4.0 * case.get("n") as f64,
        }
    }
    fn kernels(&self) -> Vec<Kernel> {
        // Its gradient is a product with a column of ones.
        kernels(&[Term::Value])
            .into_iter()
            .chain(super::matmul::Matmul.kernels())
            .collect()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let empty = Tensor::zeros(gpu, &[0], DType::F32)?;
        Ok(vec![refused("no element", mean(&empty))])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for Reduce {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, _: &Case, v: &[Var]) -> Result<Var> {
        tape.mean(&v[0])
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let n = case.get("n");
        vec![HostTensor::f64(
            &inputs[0].shape,
            vec![upstream.as_f64()[0] / n as f64; n],
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
}
