//! The promises of the operation.

use super::{forward_kernel, grad_kernel, reference, softplus, work};
use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Rng, Tolerance, case, refused,
};

/// The specification of [`softplus`].
pub struct Softplus;

impl Operation for Softplus {
    fn name(&self) -> &'static str {
        "softplus"
    }
    /// One element, fewer than a workgroup and one more, many workgroups.
    fn cases(&self) -> Vec<Case> {
        [1, 61, 65, 4_099].map(|n| case(&[("n", n)])).to_vec()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 1 << 20)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        // Wide, so that both flat ends are met too.
        let n = case.get("n");
        let x = (0..n).map(|_| 3.0 * rng.normal() as f32).collect();
        vec![HostTensor::f32(&[n], x)]
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![softplus(&t[0])?])
    }
    fn reference(&self, _: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let y = reference::forward(inputs[0].as_f64());
        vec![HostTensor::f64(&inputs[0].shape, y)]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        // exp errs by 1.8e-7 at most, 1 + . by 6e-8, log near 1 by 4.8e-7, the last sum by 6e-8 of
        // itself: 7.2e-7 and 6e-8. This is 1e-6 and 4e-6.
        Tolerance::POINTWISE
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"), 2)
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![forward_kernel(), grad_kernel()]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let integers = Tensor::zeros(gpu, &[4], DType::U32)?;
        Ok(vec![refused("integers", softplus(&integers))])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for Softplus {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, _: &Case, v: &[Var]) -> Result<Var> {
        tape.softplus(&v[0])
    }
    fn reference(&self, _: &Case, inputs: &[HostTensor], upstream: &HostTensor) -> Vec<HostTensor> {
        let dx = reference::backward(inputs[0].as_f64(), upstream.as_f64());
        vec![HostTensor::f64(&inputs[0].shape, dx)]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
}
