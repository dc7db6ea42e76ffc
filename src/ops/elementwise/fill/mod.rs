//! A tensor filled with one value: the promises of [`crate::gpu::fill`].

use crate::Result;
use crate::gpu::memory::fill::kernel;
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, fill};
use crate::spec::{Case, ErrorInputs, HostTensor, Operation, Rng, Tolerance, case, refused};

/// The registry's row.
pub struct Fill;

impl Operation for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }
    fn cases(&self) -> Vec<Case> {
        [1, 7, 255, 256, 257, 40_000]
            .into_iter()
            .map(|n| case(&[("n", n)]))
            .collect()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 1 << 20)])]
    }
    fn inputs(&self, _: &Case, _: &mut Rng) -> Vec<HostTensor> {
        Vec::new()
    }
    fn run(&self, gpu: &Gpu, case: &Case, _: &[Tensor]) -> Result<Vec<Tensor>> {
        let y = Tensor::empty(gpu, &[case.get("n")], DType::F32)?;
        fill(&y, 1.25)?;
        Ok(vec![y])
    }
    fn reference(&self, case: &Case, _: &[HostTensor]) -> Vec<HostTensor> {
        let n = case.get("n");
        vec![HostTensor::f64(&[n], vec![1.25; n])]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::EXACT
    }
    fn work(&self, case: &Case) -> Work {
        Work {
            flops: 0.0,
            bytes: 4.0 * case.get("n") as f64,
        }
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![kernel()]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        Ok(vec![refused(
            "a shape beyond any memory",
            Tensor::zeros(gpu, &[usize::MAX / 2, 3], DType::F32),
        )])
    }
}
