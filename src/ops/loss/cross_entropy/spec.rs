//! The registry's row.

use super::reference::{self, Rows};
use super::{CrossEntropy, backward, cross_entropy, forward, work};
use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, ROW_GROUPS, Tensor, Work};
use crate::spec::{
    Case, ErrorInputs, Extremes, Gradient, HostTensor, Operation, Rng, Tolerance, case, excerpt,
    refused,
};

/// The registry's row of [`cross_entropy`]: `smooth` in percent; `ignore` 1 ignores class 0, 2 a
/// number that is no class; `weighted` 1 gives every row a factor.
pub struct CrossEntropySpec;

fn sized([n, v, smooth, ignore, weighted]: [usize; 5]) -> Case {
    case(&[
        ("n", n),
        ("v", v),
        ("smooth", smooth),
        ("ignore", ignore),
        ("weighted", weighted),
    ])
}

fn ignored(c: &Case) -> Option<u32> {
    [None, Some(0), Some(u32::MAX)][c.get("ignore").min(2)]
}

fn smoothing(c: &Case) -> f32 {
    c.get("smooth") as f32 / 100.0
}

fn options<'a>(c: &Case, weight: &'a Tensor) -> CrossEntropy<'a> {
    let weight = (c.get("weighted") == 1).then_some(weight);
    CrossEntropy {
        smoothing: smoothing(c),
        ignore: ignored(c),
        weight,
    }
}

fn rows<'a>(c: &Case, inputs: &'a [HostTensor]) -> Rows<'a, f64> {
    let weight = (c.get("weighted") == 1).then(|| inputs[2].as_f64());
    let smoothing = smoothing(c) as f64;
    Rows {
        targets: inputs[1].as_u32(),
        weight,
        smoothing,
        ignore: ignored(c),
        v: c.get("v"),
    }
}

impl Operation for CrossEntropySpec {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }
    fn cases(&self) -> Vec<Case> {
        [
            [1, 1, 0, 0, 0],
            [7, 3, 0, 1, 0],
            [65, 4, 10, 2, 1],
            [33, 257, 0, 0, 0],
            [33, 259, 10, 1, 0],
            [130, 512, 0, 2, 1],
            [131, 1_000, 5, 0, 0],
            [3, 65_536, 0, 0, 0],
            [2, 70_001, 20, 0, 1],
        ]
        .map(sized)
        .to_vec()
    }
    fn bench(&self) -> Vec<Case> {
        [
            [4_096, 512, 0, 0, 0],
            [1_024, 16_384, 0, 0, 0],
            [256, 65_536, 10, 0, 0],
        ]
        .map(sized)
        .to_vec()
    }
    fn check(&self, c: &Case) -> Result<()> {
        crate::spec::case::check(c, &self.cases(), self.name())?;
        let wrong = |what| Err(crate::Error::data(format!("case `{c}`: {what}")));
        if c.get("smooth") > 99 {
            return wrong("smooth is a percentage below 100");
        }
        if c.get("ignore") > 2 || c.get("weighted") > 1 {
            return wrong("ignore is 0, 1 or 2, and weighted 0 or 1");
        }
        Ok(())
    }
    fn extremes(&self) -> Extremes {
        Extremes::huge(&[0])
    }
    fn inputs(&self, c: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let (n, v) = (c.get("n"), c.get("v"));
        // Three deviations wide, so that some rows are nearly certain.
        let x = (0..n * v).map(|_| 3.0 * rng.normal() as f32).collect();
        let mut targets: Vec<u32> = (0..n).map(|_| rng.below(v) as u32).collect();
        if let Some(ignore) = ignored(c) {
            targets
                .iter_mut()
                .skip(1)
                .step_by(3)
                .for_each(|t| *t = ignore);
        }
        vec![
            HostTensor::f32(&[n, v], x),
            HostTensor::u32(&[n], targets),
            rng.normals(&[n]),
        ]
    }
    fn run(&self, _: &Gpu, c: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        let (loss, stats) = cross_entropy(&t[0], &t[1], options(c, &t[2]))?;
        Ok(vec![loss, stats])
    }
    fn excerpt(
        &self,
        c: &Case,
        inputs: &[HostTensor],
        got: &[HostTensor],
        flops: f64,
    ) -> Option<(Case, Vec<HostTensor>, Vec<HostTensor>)> {
        let n = c.get("n");
        let chosen = excerpt::spread(n, excerpt::affordable(n, self.work(c).flops, flops));
        let some = |all: &[HostTensor]| all.iter().map(|h| excerpt::rows(h, &chosen)).collect();
        Some((c.with("n", chosen.len()), some(inputs), some(got)))
    }
    fn reference(&self, c: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let n = c.get("n");
        let stats = inputs[0]
            .as_f64()
            .chunks(c.get("v"))
            .map(reference::stats)
            .flat_map(|(m, z)| [m, z])
            .collect();
        let loss = reference::forward(inputs[0].as_f64(), &rows(c, inputs));
        vec![HostTensor::f64(&[n], loss), HostTensor::f64(&[n, 2], stats)]
    }
    /// Logits of three deviations, their largest of fifteen: the sums of exponentials are relative
    /// to it, and log z is below 12.
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance {
            abs: 1e-5,
            rel: 4e-6,
        }
    }
    fn work(&self, c: &Case) -> Work {
        work(c.get("n"), c.get("v"), 1)
    }
    fn kernels(&self) -> Vec<Kernel> {
        let mut all = Vec::new();
        for group in ROW_GROUPS {
            for v in [1, 4] {
                for flag in [false, true] {
                    all.extend([false, true].map(|weighted| forward(v, flag, weighted, group)));
                    all.extend([false, true].map(|weighted| backward(v, weighted, flag, group)));
                }
            }
        }
        all
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let zeros = |shape: &[usize], dtype| Tensor::zeros(gpu, shape, dtype);
        let (x, t) = (zeros(&[3, 4], DType::F32)?, zeros(&[3], DType::U32)?);
        let (short, floats) = (zeros(&[2], DType::U32)?, zeros(&[3], DType::F32)?);
        let (none, matrix) = (zeros(&[3, 0], DType::F32)?, zeros(&[3, 1], DType::F32)?);
        let fine = CrossEntropy::default();
        let smooth = |smoothing| CrossEntropy { smoothing, ..fine };
        let weighted = CrossEntropy {
            weight: Some(&matrix),
            ..fine
        };
        Ok(vec![
            refused("fewer targets than rows", cross_entropy(&x, &short, fine)),
            refused("targets that are floats", cross_entropy(&x, &floats, fine)),
            refused("logits of one dimension", cross_entropy(&floats, &t, fine)),
            refused("no class", cross_entropy(&none, &t, fine)),
            refused("weights of two dimensions", cross_entropy(&x, &t, weighted)),
            refused("a smoothing of 1", cross_entropy(&x, &t, smooth(1.0))),
            refused("a smoothing below 0", cross_entropy(&x, &t, smooth(-0.1))),
            refused(
                "a smoothing of NaN",
                cross_entropy(&x, &t, smooth(f32::NAN)),
            ),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for CrossEntropySpec {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, c: &Case, v: &[Var]) -> Result<Var> {
        tape.cross_entropy(&v[0], v[1].tensor(), options(c, v[2].tensor()))
    }
    fn reference(&self, c: &Case, inputs: &[HostTensor], upstream: &HostTensor) -> Vec<HostTensor> {
        let dx = reference::backward(inputs[0].as_f64(), &rows(c, inputs), upstream.as_f64());
        vec![HostTensor::f64(&inputs[0].shape, dx)]
    }
    /// Probabilities, which err by as much as the exponent: 4e-6 at an exponent of 30. Times an
    /// upstream gradient and a weight.
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance {
            abs: 1e-5,
            rel: 2e-5,
        }
    }
}
