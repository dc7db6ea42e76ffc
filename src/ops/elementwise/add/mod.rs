//! Elementwise sum of two tensors of equal shape: residual connections. The kernel is that of
//! gradients that meet.

use crate::Result;
use crate::autograd::accumulate::{add, add_assign, add_counts, counts_kernel, kernel, work};
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::spec::{
    Case, ErrorInputs, Extremes, Gradient, HostTensor, Operation, Rng, Tolerance, case, refused,
};

impl Tape {
    /// Computes `a + b`, shapes equal.
    pub fn add(&self, a: &Var, b: &Var) -> Result<Var> {
        let y = add(a.tensor(), b.tensor())?;
        y.gpu().note_call("add", &y, [("n", y.len())]);
        Ok(self.record(y, &[a, b], |g, _| {
            Ok(vec![Some(g.clone()), Some(g.clone())])
        }))
    }
}

/// The registry's row.
pub struct Add;

impl Operation for Add {
    fn name(&self) -> &'static str {
        "add"
    }
    fn cases(&self) -> Vec<Case> {
        [1, 13, 255, 257, 10_007]
            .into_iter()
            .map(|n| case(&[("n", n)]))
            .collect()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 1 << 20)])]
    }
    fn extremes(&self) -> Extremes {
        Extremes::huge(&[0, 1])
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let n = case.get("n");
        let counts = |rng: &mut Rng| rng.indices(&[n], 1 << 30);
        vec![
            rng.normals(&[n]),
            rng.normals(&[n]),
            counts(rng),
            counts(rng),
        ]
    }
    fn run(&self, _: &Gpu, _: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let sum = inputs[0].duplicate()?;
        add_assign(&sum, &inputs[1])?;
        let counts = inputs[2].duplicate()?;
        add_counts(&counts, &inputs[3])?;
        Ok(vec![add(&inputs[0], &inputs[1])?, sum, counts])
    }
    fn time(&self, _: &Gpu, _: &Case, inputs: &[Tensor]) -> Result<()> {
        add(&inputs[0], &inputs[1]).map(drop)
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let y: Vec<f64> = inputs[0]
            .as_f64()
            .iter()
            .zip(inputs[1].as_f64())
            .map(|(a, b)| a + b)
            .collect();
        let counts = inputs[2].as_u32().iter().zip(inputs[3].as_u32());
        let counts = counts.map(|(a, b)| a + b).collect();
        vec![
            HostTensor::f64(&[case.get("n")], y.clone()),
            HostTensor::f64(&[case.get("n")], y),
            HostTensor::u32(&[case.get("n")], counts),
        ]
    }
    fn tolerance(&self, _: &Case, output: usize) -> Tolerance {
        match output {
            2 => Tolerance::EXACT,
            _ => Tolerance::POINTWISE,
        }
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![kernel(false), kernel(true), counts_kernel()]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let (a, b) = (
            Tensor::zeros(gpu, &[3], DType::F32)?,
            Tensor::zeros(gpu, &[4], DType::F32)?,
        );
        Ok(vec![
            refused("shapes differ", add(&a, &b)),
            ("one buffer twice", add_assign(&a, &a)),
            ("counts of f32", add_counts(&a, &a.duplicate()?)),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for Add {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0, 1]
    }
    fn record(&self, tape: &Tape, _: &Case, inputs: &[Var]) -> Result<Var> {
        tape.add(&inputs[0], &inputs[1])
    }
    fn reference(&self, _: &Case, _: &[HostTensor], upstream: &HostTensor) -> Vec<HostTensor> {
        vec![upstream.clone(), upstream.clone()]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
}
