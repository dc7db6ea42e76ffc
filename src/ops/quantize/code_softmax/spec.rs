//! The registry's rows.

use super::{Metric, average, kernels, reference, sample_codes};
use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::ops::sampling::random::Key;
use crate::ops::sampling::random::philox::gumbel;
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Rng, Tolerance, case, refused,
};

const KEY: Key = Key {
    seed: 0xfeed_f00d,
    step: 3,
    stream: 8,
};
const SHARPNESS: f32 = 2.0;

fn metric(case: &Case) -> Metric {
    if case.get("cosine") == 1 {
        Metric::Cosine
    } else {
        Metric::Euclidean
    }
}

fn work(case: &Case) -> Work {
    let (n, k, d) = (case.get("n"), case.get("k"), case.get("d"));
    Work {
        flops: 2.0 * (n * k * d) as f64,
        bytes: 4.0 * (n * d + k * d) as f64,
    }
}

fn cases() -> Vec<Case> {
    let shapes = [(1, 1, 1), (7, 3, 5), (65, 33, 4), (131, 257, 16)];
    (0..2)
        .flat_map(|c| shapes.map(|(n, k, d)| case(&[("cosine", c), ("n", n), ("k", k), ("d", d)])))
        .collect()
}

fn latents_and_codes(case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
    let (n, k, d) = (case.get("n"), case.get("k"), case.get("d"));
    vec![rng.normals(&[n, d]), rng.normals(&[k, d])]
}

/// The registry's row of [`Tape::code_average`].
pub struct CodeAverage;

impl Operation for CodeAverage {
    fn name(&self) -> &'static str {
        "code_average"
    }
    fn cases(&self) -> Vec<Case> {
        cases()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[
            ("cosine", 0),
            ("n", 16_384),
            ("k", 1_024),
            ("d", 64),
        ])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        latents_and_codes(case, rng)
    }
    fn run(&self, _: &Gpu, case: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        let problem = super::Problem::new(&t[0], &t[1], metric(case), SHARPNESS, KEY)?;
        Ok(vec![average(&problem)?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let (x, e) = (inputs[0].as_f64(), inputs[1].as_f64());
        let y = reference::average(x, e, case.get("d"), metric(case), SHARPNESS as f64);
        vec![HostTensor::f64(&[case.get("k")], y)]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance {
            abs: 2e-6,
            rel: 5e-5,
        }
    }
    fn work(&self, case: &Case) -> Work {
        work(case)
    }
    fn kernels(&self) -> Vec<Kernel> {
        kernels()
            .into_iter()
            .chain(crate::ops::linalg::matmul::Matmul.kernels())
            .collect()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let f = |shape: &[usize]| Tensor::zeros(gpu, shape, DType::F32);
        let tape = Tape::no_grad(gpu);
        let [x, e, wide] = [f(&[3, 4])?, f(&[5, 4])?, f(&[5, 3])?].map(|t| tape.constant(&t));
        Ok(vec![
            refused(
                "a sharpness of 0",
                tape.code_average(&x, &e, Metric::Cosine, 0.0),
            ),
            refused(
                "codes of another size",
                tape.code_average(&x, &wide, Metric::Cosine, 1.0),
            ),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for CodeAverage {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0, 1]
    }
    fn record(&self, tape: &Tape, case: &Case, v: &[Var]) -> Result<Var> {
        tape.code_average(&v[0], &v[1], metric(case), SHARPNESS)
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let (x, e) = (inputs[0].as_f64(), inputs[1].as_f64());
        let parts = reference::average_grad(
            x,
            e,
            case.get("d"),
            metric(case),
            SHARPNESS as f64,
            upstream.as_f64(),
        );
        parts
            .into_iter()
            .enumerate()
            .map(|(i, part)| HostTensor::f64(&inputs[i].shape, part))
            .collect()
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance {
            abs: 1e-5,
            rel: 1e-4,
        }
    }
}

/// The registry's row of [`sample_codes`].
pub struct CodeSample;

impl Operation for CodeSample {
    fn name(&self) -> &'static str {
        "code_sample"
    }
    fn cases(&self) -> Vec<Case> {
        cases()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[
            ("cosine", 0),
            ("n", 16_384),
            ("k", 1_024),
            ("d", 64),
        ])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        latents_and_codes(case, rng)
    }
    fn run(&self, _: &Gpu, case: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![sample_codes(&t[0], &t[1], metric(case), 0.5, KEY)?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let d = case.get("d");
        let choose = |(row, x): (usize, &[f64])| {
            let value = |(k, e): (usize, &[f64])| {
                reference::score(x, e, metric(case)) / 0.5 + gumbel(KEY, row, k)
            };
            let values: Vec<f64> = inputs[1]
                .as_f64()
                .chunks(d)
                .enumerate()
                .map(value)
                .collect();
            (0..values.len()).fold(0, |best, k| if values[k] > values[best] { k } else { best })
                as u32
        };
        vec![HostTensor::u32(
            &[case.get("n")],
            inputs[0]
                .as_f64()
                .chunks(d)
                .enumerate()
                .map(choose)
                .collect(),
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::EXACT
    }
    fn work(&self, case: &Case) -> Work {
        work(case)
    }
    fn kernels(&self) -> Vec<Kernel> {
        kernels()
            .into_iter()
            .chain(crate::ops::linalg::matmul::Matmul.kernels())
            .collect()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let (x, e) = (
            Tensor::zeros(gpu, &[3, 4], DType::F32)?,
            Tensor::zeros(gpu, &[5, 4], DType::F32)?,
        );
        Ok(vec![refused(
            "a temperature of 0",
            sample_codes(&x, &e, Metric::Euclidean, 0.0, KEY),
        )])
    }
}
