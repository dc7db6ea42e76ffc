//! The registry's row.

use super::{Softmax, kernels, reference, softmax, softmax_grad, work};
use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::spec::{
    Case, ErrorInputs, Extremes, Gradient, HostTensor, Operation, Rng, Tolerance, case, refused,
};

/// The registry's row of [`softmax`].
pub struct SoftmaxSpec;

/// A scale that makes some rows nearly one-hot.
fn options(case: &Case) -> Softmax {
    Softmax {
        scale: 3.0,
        causal: case.get("causal") == 1,
    }
}

fn size(case: &Case) -> [usize; 3] {
    ["n", "t", "c"].map(|name| case.get(name))
}

fn sized([n, t, c, causal]: [usize; 4]) -> Case {
    case(&[("n", n), ("t", t), ("c", c), ("causal", causal)])
}

impl Operation for SoftmaxSpec {
    fn name(&self) -> &'static str {
        "softmax"
    }
    fn cases(&self) -> Vec<Case> {
        [
            [1, 1, 1, 0],
            [2, 3, 7, 0],
            [3, 37, 37, 1],
            [1, 5, 12, 1],
            // More rows than columns: the first see nothing.
            [2, 9, 4, 1],
            [1, 65, 256, 1],
            [1, 4, 1_031, 0],
            [1, 3, 8_192, 0],
        ]
        .map(sized)
        .to_vec()
    }
    fn bench(&self) -> Vec<Case> {
        vec![sized([16, 256, 256, 0])]
    }
    fn extremes(&self) -> Extremes {
        Extremes::huge(&[0])
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        vec![rng.normals(&size(case))]
    }
    fn run(&self, _: &Gpu, case: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let (y, lse) = softmax(&inputs[0], options(case))?;
        Ok(vec![y, lse])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let [n, t, c] = size(case);
        let (y, lse) = reference::softmax(inputs[0].as_f64(), [t, c], options(case));
        vec![
            HostTensor::f64(&[n, t, c], y),
            HostTensor::f64(&[n, t], lse),
        ]
    }
    /// Exponents are up to 30, and so are their roundings' shares of the results; sums are of
    /// positive terms.
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance {
            abs: 2e-6,
            rel: 2e-5,
        }
    }
    fn work(&self, case: &Case) -> Work {
        work(size(case).iter().product(), 3)
    }
    fn kernels(&self) -> Vec<Kernel> {
        kernels()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let zeros = |shape: &[usize], dtype| Tensor::zeros(gpu, shape, dtype);
        let (plain, x) = (
            Softmax {
                scale: 1.0,
                causal: false,
            },
            zeros(&[2, 3, 4], DType::F32)?,
        );
        Ok(vec![
            refused("a matrix", softmax(&zeros(&[3, 4], DType::F32)?, plain)),
            refused("integers", softmax(&zeros(&[2, 3, 4], DType::U32)?, plain)),
            refused("no column", softmax(&zeros(&[2, 3, 0], DType::F32)?, plain)),
            refused(
                "a scale of NaN",
                softmax(
                    &x,
                    Softmax {
                        scale: f32::NAN,
                        ..plain
                    },
                ),
            ),
            refused(
                "a gradient of another shape",
                softmax_grad(&x, &zeros(&[2, 4, 3], DType::F32)?, 1.0),
            ),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for SoftmaxSpec {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, case: &Case, v: &[Var]) -> Result<Var> {
        tape.softmax(&v[0], options(case))
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let ([_, t, c], options) = (size(case), options(case));
        let (y, _) = reference::softmax(inputs[0].as_f64(), [t, c], options);
        vec![HostTensor::f64(
            &inputs[0].shape,
            reference::gradient(&y, upstream.as_f64(), c, options.scale.into()),
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance {
            abs: 6e-6,
            rel: 2e-5,
        }
    }
}
