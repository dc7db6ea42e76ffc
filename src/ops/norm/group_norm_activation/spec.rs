//! The specification of the operation.

use super::{FUNCTIONS, NormActivation, OP, group_norm_activation, kernels};
use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::ops::elementwise::activation::{Function, reference as function};
use crate::ops::norm::group_norm::{Layout, reference};
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Rng, Tolerance, case, cases, refused,
};

/// The registry's row.
pub struct GroupNormActivation;

const EPS: f32 = 1e-5;

fn of(case: &Case) -> Layout {
    Layout {
        n: case.get("n"),
        s: case.get("h") * case.get("w"),
        c: case.get("c"),
        g: case.get("g"),
        eps: EPS,
    }
}

fn options(case: &Case) -> NormActivation {
    NormActivation {
        groups: case.get("g"),
        eps: EPS,
        function: FUNCTIONS[case.get("f").min(1)],
        dtype: if case.get("half") == 1 {
            DType::F16
        } else {
            DType::F32
        },
    }
}

/// The values that the activation is given.
fn before(case: &Case, inputs: &[HostTensor]) -> Vec<f64> {
    let [x, w, b] = [0, 1, 2].map(|i| inputs[i].as_f64());
    reference::forward(x, w, b, &of(case))
}

impl Operation for GroupNormActivation {
    fn name(&self) -> &'static str {
        OP
    }
    /// With `half=1` the result is f16, as which the kernel writes multiples of 4 channels.
    fn cases(&self) -> Vec<Case> {
        cases(
            ["n", "h", "w", "c", "g", "f", "half"],
            &[
                [1, 1, 2, 1, 1, 0, 0],
                [2, 3, 5, 6, 3, 0, 1],
                [3, 7, 7, 33, 11, 0, 0],
                [2, 8, 8, 64, 32, 0, 1],
                [5, 4, 3, 20, 1, 0, 0],
                [4, 1, 1, 8, 1, 0, 0],
                [1, 37, 61, 8, 8, 0, 0],
                [2, 19, 23, 48, 4, 0, 1],
                [2, 3, 5, 6, 3, 1, 0],
                [3, 1, 1, 12, 4, 1, 1],
                [1, 37, 61, 8, 8, 1, 0],
                [5, 4, 3, 20, 1, 1, 0],
                [2, 19, 23, 48, 4, 1, 1],
            ],
        )
    }
    fn bench(&self) -> Vec<Case> {
        let sizes = [("n", 16), ("h", 32), ("w", 32), ("c", 128), ("g", 32)];
        vec![case(&sizes).and("f", 0).and("half", 0)]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let [n, h, w, c] = ["n", "h", "w", "c"].map(|k| case.get(k));
        vec![
            rng.normals(&[n, h, w, c]),
            rng.normals(&[c]),
            rng.normals(&[c]),
        ]
    }
    fn run(&self, _: &Gpu, case: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        let y = group_norm_activation(&t[0], &t[1], &t[2], options(case))?;
        Ok(vec![y])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let f = options(case).function;
        let y = before(case, inputs)
            .into_iter()
            .map(|u| function::activate(f, u))
            .collect();
        vec![HostTensor::f64(&inputs[0].shape, y)]
    }
    /// The norm's, 2e-5, times the largest slope, 1.1, and the activation's own, under 4e-6.
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance {
            abs: 3e-5,
            rel: 3e-5,
        }
    }
    fn work(&self, case: &Case) -> Work {
        let (l, half) = (of(case), case.get("half"));
        let values = (l.n * l.s * l.c) as f64;
        Work {
            flops: 16.0 * values,
            bytes: (16 - 2 * half) as f64 * values,
        }
    }
    fn kernels(&self) -> Vec<Kernel> {
        kernels()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let x = Tensor::zeros(gpu, &[1, 2, 2, 8], DType::F32)?;
        let halves = Tensor::zeros(gpu, &[1, 2, 2, 8], DType::F16)?;
        let (w, short) = (
            Tensor::zeros(gpu, &[8], DType::F32)?,
            Tensor::zeros(gpu, &[7], DType::F32)?,
        );
        let right = NormActivation {
            groups: 2,
            eps: EPS,
            function: Function::Silu,
            dtype: DType::F32,
        };
        let call = |options: NormActivation| group_norm_activation(&x, &w, &w, options);
        let groups = |groups| call(NormActivation { groups, ..right });
        let dtype = |dtype| call(NormActivation { dtype, ..right });
        let function = Function::Gelu;
        Ok(vec![
            refused("groups that do not divide", groups(3)),
            refused("no group", groups(0)),
            refused("an eps of 0", call(NormActivation { eps: 0.0, ..right })),
            refused(
                "an activation without a kernel",
                call(NormActivation { function, ..right }),
            ),
            refused("a result of integers", dtype(DType::U32)),
            refused("a result in bf16", dtype(DType::Bf16)),
            refused(
                "a bias of another size",
                group_norm_activation(&x, &w, &short, right),
            ),
            refused(
                "f16 where f32 is read",
                group_norm_activation(&halves, &w, &w, right),
            ),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for GroupNormActivation {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0, 1, 2]
    }
    fn record(&self, tape: &Tape, case: &Case, v: &[Var]) -> Result<Var> {
        tape.group_norm_activation(&v[0], &v[1], &v[2], options(case))
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let f = options(case).function;
        let slopes = before(case, inputs)
            .into_iter()
            .map(|u| function::slope(f, u));
        let dy: Vec<f64> = slopes
            .zip(upstream.as_f64())
            .map(|(slope, dy)| dy * slope)
            .collect();
        let [x, w] = [0, 1].map(|i| inputs[i].as_f64());
        let (dx, dw, db) = reference::gradients(x, w, &dy, &of(case));
        vec![
            HostTensor::f64(&inputs[0].shape, dx),
            HostTensor::f64(&inputs[1].shape, dw),
            HostTensor::f64(&inputs[1].shape, db),
        ]
    }
    /// The norm's with a slope at each element: one that errs by half of what the norm errs by,
    /// 1e-5.
    fn tolerance(&self, case: &Case, input: usize) -> Tolerance {
        if input == 0 {
            Tolerance {
                abs: 8e-5,
                rel: 8e-5,
            }
        } else {
            Tolerance::sum(16 * of(case).n * of(case).s)
        }
    }
}
