//! The registry's rows.

use super::{
    MOST, bit_entropy, bit_table, entropy_kernel, kernel, reference, signs, signs_of, table_kernel,
    work,
};
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Rng, Tolerance, case, cases, refused,
};
use crate::{Error, Result};

/// Sharpness in the cases: the bits are neither all certain nor all open.
const SHARP: f32 = 3.0;

/// The registry's row of [`signs`].
pub struct Bits;

/// Refuses channels and bits that no index has.
fn check(c: &Case, op: &dyn Operation) -> Result<()> {
    crate::spec::case::check(c, &op.cases(), op.name())?;
    let (d, last) = (c.get("d"), c.get("first").saturating_add(c.get("bits")));
    if d > MOST || last > d {
        let what = format!("d is at most {MOST}, and first + bits at most d");
        return Err(Error::data(format!("case `{c}`: {what}")));
    }
    Ok(())
}

impl Operation for Bits {
    fn name(&self) -> &'static str {
        "bits"
    }
    fn cases(&self) -> Vec<Case> {
        cases(
            ["n", "d"],
            &[[1, 1], [7, 3], [65, 9], [1_031, 18], [130, 24]],
        )
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 16_384), ("d", 14)])]
    }
    fn check(&self, c: &Case) -> Result<()> {
        check(c, self)
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let (n, d) = (case.get("n"), case.get("d"));
        vec![rng.normals(&[n, d]), rng.indices(&[n], 1 << d)]
    }
    fn run(&self, _: &Gpu, case: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        let (codes, index) = signs(&t[0])?;
        Ok(vec![codes, index, signs_of(&t[1], case.get("d"))?])
    }
    fn time(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<()> {
        signs(&t[0]).map(drop)
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let (n, d) = (case.get("n"), case.get("d"));
        let (codes, index) = reference::signs(inputs[0].as_f64(), d);
        let decoded = reference::signs_of(inputs[1].as_u32(), d);
        vec![
            HostTensor::f64(&[n, d], codes),
            HostTensor::u32(&[n], index),
            HostTensor::f64(&[n, d], decoded),
        ]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::EXACT
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"), case.get("d"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![kernel(false), kernel(true)]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let wide = Tensor::zeros(gpu, &[2, 25], DType::F32)?;
        let index = Tensor::zeros(gpu, &[2], DType::U32)?;
        Ok(vec![
            refused("25 channels", signs(&wide)),
            refused("no channel", signs_of(&index, 0)),
        ])
    }
}

/// The registry's row of [`Tape::bit_entropy`].
pub struct BitEntropy;

impl Operation for BitEntropy {
    fn name(&self) -> &'static str {
        "bit_entropy"
    }
    fn cases(&self) -> Vec<Case> {
        cases(["n", "d"], &[[1, 1], [7, 3], [65, 9], [1_031, 18]])
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 16_384), ("d", 14)])]
    }
    fn check(&self, c: &Case) -> Result<()> {
        check(c, self)
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        vec![rng.normals(&[case.get("n"), case.get("d")])]
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![bit_entropy(&t[0], SHARP)?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        vec![HostTensor::f64(
            &[1],
            vec![reference::bit_entropy(
                inputs[0].as_f64(),
                case.get("n"),
                SHARP as f64,
            )],
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        // `log` near 1 has an absolute error of 2^-21.
        Tolerance {
            abs: 1e-5,
            rel: 1e-5,
        }
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"), 5 * case.get("d"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        let mut all = super::reduce::kernels(&[super::reduce::Term::Value]);
        all.extend([entropy_kernel(false), entropy_kernel(true)]);
        all
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let words = Tensor::zeros(gpu, &[2, 5], DType::U32)?;
        Ok(vec![refused("integers", bit_entropy(&words, 1.0))])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for BitEntropy {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, _: &Case, v: &[Var]) -> Result<Var> {
        tape.bit_entropy(&v[0], SHARP)
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let dx = reference::bit_entropy_grad(
            inputs[0].as_f64(),
            case.get("n"),
            SHARP as f64,
            upstream.as_f64()[0],
        );
        vec![HostTensor::f64(&inputs[0].shape, dx)]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance {
            abs: 1e-6,
            rel: 1e-5,
        }
    }
}

/// The registry's row of [`Tape::bit_table`].
pub struct BitTable;

impl Operation for BitTable {
    fn name(&self) -> &'static str {
        "bit_table"
    }
    fn cases(&self) -> Vec<Case> {
        cases(
            ["n", "d", "first", "bits"],
            &[
                [1, 1, 0, 1],
                [7, 3, 1, 2],
                [65, 9, 4, 5],
                [131, 18, 0, 9],
                [3, 12, 0, 12],
            ],
        )
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 16_384), ("d", 14), ("first", 0), ("bits", 7)])]
    }
    fn check(&self, c: &Case) -> Result<()> {
        check(c, self)
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        vec![rng.normals(&[case.get("n"), case.get("d")])]
    }
    fn run(&self, _: &Gpu, case: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![bit_table(
            &t[0],
            case.get("first"),
            case.get("bits"),
            SHARP,
        )?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let (d, first, bits) = (case.get("d"), case.get("first"), case.get("bits"));
        let table = reference::bit_table(inputs[0].as_f64(), d, first, bits, SHARP as f64);
        vec![HostTensor::f64(&[case.get("n"), 1 << bits], table)]
    }
    fn tolerance(&self, case: &Case, _: usize) -> Tolerance {
        Tolerance {
            abs: 1e-6,
            rel: 4e-6 * case.get("bits") as f64,
        }
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n") << case.get("bits"), case.get("bits"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![table_kernel(false), table_kernel(true)]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let x = Tensor::zeros(gpu, &[2, 20], DType::F32)?;
        Ok(vec![
            refused("channels past the last", bit_table(&x, 18, 3, 1.0)),
            refused("13 bits", bit_table(&x, 0, 13, 1.0)),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for BitTable {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, case: &Case, v: &[Var]) -> Result<Var> {
        tape.bit_table(&v[0], case.get("first"), case.get("bits"), SHARP)
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let (d, first, bits) = (case.get("d"), case.get("first"), case.get("bits"));
        let dx = reference::bit_table_grad(
            inputs[0].as_f64(),
            upstream.as_f64(),
            d,
            first,
            bits,
            SHARP as f64,
        );
        vec![HostTensor::f64(&inputs[0].shape, dx)]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance {
            abs: 5e-6,
            rel: 2e-5,
        }
    }
}
