//! The second pass of a sum that was split: parts added in a fixed order.

use crate::autograd::placed;
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::spec::{
    Case, ErrorInputs, HostTensor, Operation, Real, Rng, Tolerance, case, cases, refused,
};
use crate::{Error, Result, shader};

fn kernel(vec: bool, shared: bool) -> Kernel {
    let kernel = Kernel::new(shader!("linalg/split_sum")).flag("VEC", vec);
    if shared {
        kernel.define("WALKERS", WALKERS)
    } else {
        kernel
    }
}

/// Its variants.
fn kernels() -> [Kernel; 4] {
    [(false, false), (true, false), (false, true), (true, true)]
        .map(|(vec, shared)| kernel(vec, shared))
}

/// Invocations of a workgroup of 64 that share an element's parts.
const WALKERS: u32 = 8;
/// Parts from which on they do, on a GPU, where elements are too few to fill it.
const MANY: usize = 16;

fn work(splits: usize, n: usize) -> Work {
    Work {
        flops: (splits * n) as f64,
        bytes: 4.0 * (splits * n + n) as f64,
    }
}

/// Computes `y[i] = sum over s of parts[s, i]`: parts [S, N], y of `shape`, N elements. The order
/// of the sum depends on the shape and the device's class alone; on a processor it is that of s.
///
/// # Errors
/// If the shapes do not fit.
pub fn split_sum(parts: &Tensor, shape: &[usize]) -> Result<Tensor> {
    split_sum_to(parts, shape, None)
}

/// [`split_sum`], to a place that waits for it.
pub(crate) fn split_sum_to(
    parts: &Tensor,
    shape: &[usize],
    place: Option<&Tensor>,
) -> Result<Tensor> {
    let [splits, n] = parts.dims("split_sum")?;
    if shape.iter().product::<usize>() != n || parts.dtype() != DType::F32 {
        return Err(Error::shape(
            "split_sum",
            format!("f32 parts of {shape:?}"),
            format!("{parts:?}"),
        ));
    }
    let y = placed(place, parts.gpu(), shape)?;
    let class = parts.gpu().class();
    let vec = class.is_gpu() && n.is_multiple_of(4);
    let units = if vec { n / 4 } else { n };
    let shared = class.is_gpu() && splits >= MANY && units < class.invocations(0);
    let params = [units as u32, splits as u32];
    parts.gpu().dispatch(
        "split_sum",
        &kernel(vec, shared),
        &[parts, &y],
        &params,
        groups_for(units, if shared { 64 / WALKERS as usize } else { 64 }),
        work(splits, n),
    )?;
    Ok(y)
}

mod reference {
    use super::Real;
    pub fn split_sum<T: Real>(parts: &[T], n: usize) -> Vec<T> {
        (0..n)
            .map(|i| parts.iter().skip(i).step_by(n).copied().sum())
            .collect()
    }
}

/// The registry's row.
pub struct SplitSum;

impl Operation for SplitSum {
    fn name(&self) -> &'static str {
        "split_sum"
    }
    fn cases(&self) -> Vec<Case> {
        cases(
            ["s", "n"],
            &[
                [1, 1],
                [3, 65],
                [64, 7],
                [17, 1_031],
                [33, 68],
                [5, 260],
                [1_003, 36],
            ],
        )
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("s", 8), ("n", 1 << 17)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        vec![rng.normals(&[case.get("s"), case.get("n")])]
    }
    fn run(&self, _: &Gpu, case: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![split_sum(&inputs[0], &[case.get("n")])?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let n = case.get("n");
        vec![HostTensor::f64(
            &[n],
            reference::split_sum(inputs[0].as_f64(), n),
        )]
    }
    fn tolerance(&self, case: &Case, _: usize) -> Tolerance {
        Tolerance::sum(case.get("s"))
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("s"), case.get("n"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        kernels().to_vec()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let parts = Tensor::zeros(gpu, &[2, 4], DType::F32)?;
        Ok(vec![refused("another shape", split_sum(&parts, &[5]))])
    }
}
