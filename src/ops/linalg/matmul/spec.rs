//! The specification of a matrix product.

use super::{Halves, Transpose, kernel, matmul, matmul_as, reference, work};
use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::kernel::gemm::{OperandLayout, Tile};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Rng, Tolerance, case, excerpt, refused,
};

/// The registry's row.
pub struct Matmul;

fn transpose(case: &Case) -> Transpose {
    Transpose {
        a: case.get("ta") == 1,
        b: case.get("tb") == 1,
    }
}

impl Operation for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }
    fn cases(&self) -> Vec<Case> {
        let shapes = [
            (1, 1, 1, 1),
            (1, 7, 5, 3),
            (1, 65, 33, 17),
            (3, 20, 12, 36),
            (1, 68, 100, 64),
            (2, 129, 8, 20),
        ];
        // The last falls into parts along k.
        let shapes = shapes
            .into_iter()
            .chain([(1, 20, 13, 1100), (1, 36, 12, 1096)]);
        let mut cases = Vec::new();
        for (b, m, n, k) in shapes {
            for (ta, tb) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                cases.push(case(&[
                    ("b", b),
                    ("m", m),
                    ("n", n),
                    ("k", k),
                    ("ta", ta),
                    ("tb", tb),
                ]));
            }
        }
        let halves: Vec<Case> = cases
            .iter()
            .skip(8)
            .filter_map(|c| self.in_f16(c))
            .collect();
        cases.extend(halves);
        cases
    }
    fn bench(&self) -> Vec<Case> {
        let square = |ta, tb| {
            case(&[
                ("b", 1),
                ("m", 1024),
                ("n", 1024),
                ("k", 1024),
                ("ta", ta),
                ("tb", tb),
            ])
        };
        vec![square(0, 0), square(0, 1), square(1, 0)]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let (b, m, n, k) = (case.get("b"), case.get("m"), case.get("n"), case.get("k"));
        let t = transpose(case);
        let a_shape = if t.a { [b, k, m] } else { [b, m, k] };
        let b_shape = if t.b { [b, n, k] } else { [b, k, n] };
        vec![
            rng.normals(&a_shape),
            rng.normals(&b_shape),
            rng.normals(&[n]),
        ]
    }
    fn halves(&self) -> &'static [usize] {
        &[0, 1]
    }
    fn timed_outputs(&self) -> &'static [usize] {
        &[0]
    }
    fn run(&self, _: &Gpu, case: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let t = transpose(case);
        let mut all = vec![
            matmul(&inputs[0], &inputs[1], t, None)?,
            matmul(&inputs[0], &inputs[1], t, Some(&inputs[2]))?,
        ];
        if case.get("half") == 1 {
            // As a map reads activations and weights, for a sum that stays in f32.
            all.push(matmul_as(&inputs[0], &inputs[1], t, None, DType::F32)?);
        }
        Ok(all)
    }
    fn time(&self, _: &Gpu, case: &Case, inputs: &[Tensor]) -> Result<()> {
        matmul(&inputs[0], &inputs[1], transpose(case), None).map(drop)
    }
    /// Rows of the first matrix, where it is one and stored by rows.
    fn excerpt(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        got: &[HostTensor],
        flops: f64,
    ) -> Option<(Case, Vec<HostTensor>, Vec<HostTensor>)> {
        if case.get("b") != 1 || case.get("ta") != 0 {
            return None;
        }
        let m = case.get("m");
        let chosen = excerpt::spread(m, excerpt::affordable(m, self.work(case).flops, flops));
        let flat = |h: &HostTensor| HostTensor {
            shape: h.shape[1..].to_vec(),
            data: h.data.clone(),
        };
        let some = |h: &HostTensor| {
            let part = excerpt::rows(&flat(h), &chosen);
            HostTensor {
                shape: [&[1], &part.shape[..]].concat(),
                data: part.data,
            }
        };
        let a = some(&inputs[0]);
        Some((
            case.with("m", chosen.len()),
            vec![a, inputs[1].clone(), inputs[2].clone()],
            got.iter().map(some).collect(),
        ))
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let (b, m, n, k) = (case.get("b"), case.get("m"), case.get("n"), case.get("k"));
        let plain = reference::matmul(
            inputs[0].as_f64(),
            inputs[1].as_f64(),
            transpose(case),
            b,
            m,
            n,
            k,
        );
        let biased = plain
            .iter()
            .enumerate()
            .map(|(i, y)| y + inputs[2].as_f64()[i % n])
            .collect();
        let mut all = vec![
            HostTensor::f64(&[b, m, n], plain.clone()),
            HostTensor::f64(&[b, m, n], biased),
        ];
        if case.get("half") == 1 {
            all.push(HostTensor::f64(&[b, m, n], plain));
        }
        all
    }
    fn tolerance(&self, case: &Case, _: usize) -> Tolerance {
        Tolerance::sum(case.get("k"))
    }
    fn work(&self, case: &Case) -> Work {
        let work = work(case.get("b"), case.get("m"), case.get("n"), case.get("k"));
        Work {
            bytes: work.bytes / (1 + case.get("half")) as f64,
            ..work
        }
    }
    fn kernels(&self) -> Vec<Kernel> {
        let mut all = Vec::new();
        let forms = [OperandLayout::K, OperandLayout::M, OperandLayout::Scalar];
        let operands = || {
            forms
                .into_iter()
                .flat_map(|lhs| forms.map(|rhs| (lhs, rhs)))
        };
        for (tile, (lhs, rhs)) in Tile::all()
            .into_iter()
            .flat_map(|tile| operands().map(move |operands| (tile, operands)))
        {
            let wholes = [false, true]
                .into_iter()
                .filter(|whole| !whole || tile.has_whole(lhs, rhs));
            // A B read by vec4 along the columns means columns in fours; otherwise both can be.
            for out_vec in [false, true]
                .into_iter()
                .filter(|v| *v || rhs != OperandLayout::M)
            {
                let plain = Halves::default();
                for whole in wholes.clone() {
                    all.extend(
                        [false, true]
                            .map(|bias| kernel(tile, lhs, rhs, out_vec, bias, plain, whole)),
                    );
                }
            }
            // f16 is read and written four at a time, or not at all.
            if lhs != OperandLayout::Scalar && rhs != OperandLayout::Scalar {
                let variants = Halves::KERNELS
                    .into_iter()
                    .flat_map(|h| [(h, false), (h, true)]);
                all.extend(variants.flat_map(|(h, bias)| {
                    let of = move |whole| kernel(tile, lhs, rhs, true, bias, h, whole);
                    wholes.clone().map(of)
                }));
            }
        }
        all
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let a = Tensor::zeros(gpu, &[3, 4], DType::F32)?;
        let bias = Tensor::zeros(gpu, &[5], DType::F32)?;
        Ok(vec![
            refused("inner sizes differ", matmul(&a, &a, Transpose::NONE, None)),
            refused(
                "a bias of another size",
                matmul(&a, &a, Transpose::B, Some(&bias)),
            ),
            refused("a vector", matmul(&a, &bias, Transpose::NONE, None)),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for Matmul {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0, 1]
    }
    fn record(&self, tape: &Tape, case: &Case, inputs: &[Var]) -> Result<Var> {
        tape.matmul(&inputs[0], &inputs[1], transpose(case))
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let (b, m, n, k) = (case.get("b"), case.get("m"), case.get("n"), case.get("k"));
        let (da, db) = reference::gradients(
            inputs[0].as_f64(),
            inputs[1].as_f64(),
            upstream.as_f64(),
            transpose(case),
            b,
            m,
            n,
            k,
        );
        vec![
            HostTensor::f64(&inputs[0].shape, da),
            HostTensor::f64(&inputs[1].shape, db),
        ]
    }
    fn tolerance(&self, case: &Case, input: usize) -> Tolerance {
        Tolerance::sum(if input == 0 {
            case.get("n")
        } else {
            case.get("m")
        })
    }
}
