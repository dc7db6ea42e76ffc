//! The registry's row.

use super::{
    Choice, Codes, GumbelOptions, GumbelOutput, WITHOUT_NOISE, grad_kernel, kernel, reference,
};
use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::ops::sampling::random::Key;
use crate::spec::{
    Case, Data, ErrorInputs, Gradient, HostTensor, Operation, Rng, Tolerance, case, refused,
};

/// The registry's row of [`Tape::gumbel`]: the codes drawn, and beside them `3 kl` as one more row,
/// so that the gradient of both is checked at once.
pub struct GumbelSpec;

fn draw(case: &Case) -> GumbelOptions {
    let key = Key {
        seed: 0x1234_5678_9abc,
        step: 17,
        stream: 5,
    };
    GumbelOptions {
        temperature: 0.7,
        straight_through: case.get("hard") == 1,
        key,
    }
}

fn choice(case: &Case) -> Choice {
    if case.get("plain") == 1 {
        return WITHOUT_NOISE;
    }
    Choice {
        options: draw(case),
        noise: true,
    }
}

fn codes<T>(v: &[T]) -> Codes<&T> {
    Codes {
        weight: &v[1],
        bias: &v[2],
        codebook: &v[3],
    }
}

fn slices(inputs: &[HostTensor]) -> Codes<&[f64]> {
    Codes {
        weight: inputs[1].as_f64(),
        bias: inputs[2].as_f64(),
        codebook: inputs[3].as_f64(),
    }
}

/// Weight of the KL term in what the row computes.
const KL: f32 = 3.0;

impl GumbelSpec {
    fn chosen(tape: &Tape, case: &Case, v: &[Var]) -> Result<GumbelOutput> {
        if case.get("plain") == 1 {
            return tape.index_backpropagation(&v[0], codes(v));
        }
        tape.gumbel(&v[0], codes(v), draw(case))
    }

    fn record(tape: &Tape, case: &Case, v: &[Var]) -> Result<(Var, Tensor)> {
        let drawn = GumbelSpec::chosen(tape, case, v)?;
        // z_q plus 3 kl in every element: one output that depends on both.
        let (n, e) = (case.get("n"), case.get("d"));
        let ones = Tensor::empty(tape.gpu(), &[n * e, 1], DType::F32)?;
        crate::gpu::fill(&ones, KL)?;
        let kl = tape.reshape(&drawn.kl, &[1, 1])?;
        let spread = tape.matmul(
            &tape.constant(&ones),
            &kl,
            crate::ops::linalg::matmul::Transpose::NONE,
        )?;
        Ok((
            tape.add(&drawn.z_q, &tape.reshape(&spread, &[n, e])?)?,
            drawn.index,
        ))
    }
}

impl Operation for GumbelSpec {
    fn name(&self) -> &'static str {
        "gumbel"
    }
    fn cases(&self) -> Vec<Case> {
        // The last goes through in two parts.
        let shapes = [
            (1, 1, 1),
            (7, 3, 5),
            (65, 33, 4),
            (130, 257, 16),
            (67, 268, 8),
            (1_091, 1_000, 4),
        ];
        let drawn = (0..2).flat_map(|hard| {
            shapes.map(|(n, k, d)| case(&[("hard", hard), ("n", n), ("k", k), ("d", d)]))
        });
        let plain = shapes
            .map(|(n, k, d)| case(&[("plain", 1), ("hard", 1), ("n", n), ("k", k), ("d", d)]));
        drawn.chain(plain).collect()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("hard", 1), ("n", 16_384), ("k", 1_024), ("d", 64)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let (n, k, d) = (case.get("n"), case.get("k"), case.get("d"));
        // Logits of about one deviation, whatever D.
        let scale = 1.0 / (d as f32).sqrt();
        let x = (0..n * d).map(|_| scale * rng.normal() as f32).collect();
        vec![
            HostTensor::f32(&[n, d], x),
            rng.normals(&[k, d]),
            rng.normals(&[k]),
            rng.normals(&[k, d]),
        ]
    }
    fn run(&self, gpu: &Gpu, case: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        let tape = Tape::no_grad(gpu);
        let v: Vec<Var> = t.iter().map(|t| tape.constant(t)).collect();
        let (y, index) = GumbelSpec::record(&tape, case, &v)?;
        Ok(vec![y.tensor().clone(), index])
    }
    fn time(&self, gpu: &Gpu, case: &Case, t: &[Tensor]) -> Result<()> {
        let tape = Tape::no_grad(gpu);
        let v: Vec<Var> = t.iter().map(|t| tape.constant(t)).collect();
        GumbelSpec::chosen(&tape, case, &v).map(drop)
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let f = reference::forward(
            inputs[0].as_f64(),
            slices(inputs),
            case.get("d"),
            choice(case),
        );
        let y = f.z_q.iter().map(|z| z + KL as f64 * f.kl).collect();
        vec![
            HostTensor::f64(&[case.get("n"), case.get("d")], y),
            HostTensor::u32(&[case.get("n")], f.index),
        ]
    }
    /// Returns the softmax at temperature 0.7 of sums of 16 terms; an index that ties within f32
    /// would fail, and none does.
    fn tolerance(&self, _: &Case, output: usize) -> Tolerance {
        if output == 1 {
            Tolerance::EXACT
        } else {
            Tolerance {
                abs: 3e-5,
                rel: 2e-5,
            }
        }
    }
    fn work(&self, case: &Case) -> Work {
        let (n, k, d) = (case.get("n"), case.get("k"), case.get("d"));
        Work {
            flops: 4.0 * (n * k * d) as f64,
            bytes: 4.0 * (2 * n * d + 2 * k * d + 2 * n) as f64,
        }
    }
    fn kernels(&self) -> Vec<Kernel> {
        let both = [false, true];
        both.into_iter()
            .flat_map(|vec| [kernel(vec, true), kernel(vec, false), grad_kernel(vec)])
            .chain(crate::ops::linalg::matmul::Matmul.kernels())
            .collect()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let f = |shape: &[usize]| Tensor::zeros(gpu, shape, DType::F32);
        let tape = Tape::no_grad(gpu);
        let v: Vec<Var> = [f(&[3, 4])?, f(&[5, 4])?, f(&[5])?, f(&[5, 4])?]
            .iter()
            .map(|t| tape.constant(t))
            .collect();
        let fine = draw(&case(&[]));
        let (cold, frozen) = (
            GumbelOptions {
                temperature: 0.0,
                ..fine
            },
            GumbelOptions {
                temperature: f32::NAN,
                ..fine
            },
        );
        let short = [v[0].clone(), v[1].clone(), v[1].clone(), v[3].clone()];
        Ok(vec![
            refused("a temperature of 0", tape.gumbel(&v[0], codes(&v), cold)),
            refused(
                "a temperature of NaN",
                tape.gumbel(&v[0], codes(&v), frozen),
            ),
            refused(
                "a bias that is a matrix",
                tape.gumbel(&v[0], codes(&short), fine),
            ),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for GumbelSpec {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0, 1, 2, 3]
    }
    fn record(&self, tape: &Tape, case: &Case, v: &[Var]) -> Result<Var> {
        Ok(GumbelSpec::record(tape, case, v)?.0)
    }
    fn time(&self, tape: &Tape, case: &Case, v: &[Var]) -> Result<Var> {
        Ok(GumbelSpec::chosen(tape, case, v)?.z_q)
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let g = upstream.as_f64();
        let g_kl = KL as f64 * g.iter().sum::<f64>();
        let parts = reference::backward(
            inputs[0].as_f64(),
            slices(inputs),
            case.get("d"),
            choice(case),
            g,
            g_kl,
        );
        parts
            .into_iter()
            .enumerate()
            .map(|(i, part)| HostTensor::f64(&inputs[i].shape, part))
            .collect()
    }
    /// Straight through, the latents' gradient is that of the mixture and the codebook's that of
    /// the code chosen: `y(x) E0 + onehot(x0) (E - E0)`, with x0 and E0 where the gradient is
    /// taken.
    fn surrogate(
        &self,
        op: &dyn Operation,
        case: &Case,
        at: &[HostTensor],
        inputs: &[HostTensor],
    ) -> HostTensor {
        if case.get("hard") == 0 {
            return op.reference(case, inputs).swap_remove(0);
        }
        let (d, mut soft) = (case.get("d"), choice(case));
        soft.options.straight_through = false;
        let moved = reference::forward(
            inputs[0].as_f64(),
            Codes {
                codebook: at[3].as_f64(),
                ..slices(inputs)
            },
            d,
            soft,
        );
        let chosen = reference::forward(at[0].as_f64(), slices(at), d, soft).index;
        let code = |i: usize, e: &HostTensor| e.as_f64()[chosen[i / d] as usize * d + i % d];
        let Data::F64(_) = &inputs[3].data else {
            return inputs[0].clone();
        };
        let y = moved.z_q.iter().enumerate();
        let y = y
            .map(|(i, z)| z + code(i, &inputs[3]) - code(i, &at[3]) + KL as f64 * moved.kl)
            .collect();
        HostTensor::f64(&inputs[0].shape, y)
    }
    fn tolerance(&self, case: &Case, _: usize) -> Tolerance {
        Tolerance {
            abs: 2e-6 * case.get("n") as f64 + 2e-4,
            rel: 5e-5,
        }
    }
}
