//! Learned embeddings of positions, added to the rows of every sequence: the bias of rows that are
//! whole sequences.

use crate::autograd::{Tape, Var, placed};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, fill};
use crate::ops::linalg::bias;
use crate::ops::linalg::column_sum::column_sum_to;
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Real, Rng, Tolerance, case, cases, refused,
};
use crate::{Error, Result};

/// x [B, T, D] and the T first rows of a table [P, D], both with sequences as rows.
fn rows(x: &Tensor, table: &Tensor) -> Result<(Tensor, Tensor)> {
    let op = "positions";
    let ([b, t, d], [p, d2]) = (x.dims(op)?, table.dims(op)?);
    if d != d2 || t > p || x.dtype() != DType::F32 || table.dtype() != DType::F32 {
        let expected = "f32 [B, T, D] and embeddings [P, D] of at least T positions";
        return Err(Error::shape(op, expected, format!("{x:?} and {table:?}")));
    }
    Ok((x.reshape(&[b, t * d])?, table.view(0, &[t * d])?))
}

/// Computes `y[b, t, :] = x[b, t, :] + table[t, :]`: x, y [B, T, D], table [P, D] with P at least
/// T.
///
/// # Errors
/// If the shapes do not fit.
pub fn positions(x: &Tensor, table: &Tensor) -> Result<Tensor> {
    let (rows, table) = rows(x, table)?;
    bias::bias(&rows, &table)?.reshape(x.shape())
}

impl Tape {
    /// See [`positions`]. The gradient of the table is the sum over sequences, in their order; 0
    /// past the T first rows.
    ///
    /// # Errors
    /// As [`positions`].
    pub fn positions(&self, x: &Var, table: &Var) -> Result<Var> {
        let y = positions(x.tensor(), table.tensor())?;
        let [b, t, d] = y.dims("positions")?;
        let shape = table.shape().to_vec();
        Ok(self.record_placed(y, &[x, table], move |g, needs| {
            let at_table = || -> Result<Tensor> {
                let rows = g.reshape(&[b, t * d])?;
                if shape[0] == t {
                    return column_sum_to(&rows, needs.place(1))?.reshape(&shape);
                }
                let sum = column_sum_to(&rows, None)?;
                let whole = placed(needs.place(1), g.gpu(), &shape)?;
                fill(&whole, 0.0)?;
                whole.copy_into(0, &sum)?;
                Ok(whole)
            };
            Ok(vec![
                needs[0].then(|| g.clone()),
                needs[1].then(at_table).transpose()?,
            ])
        }))
    }
}

mod reference {
    use super::Real;
    pub fn positions<T: Real>(x: &[T], table: &[T], row: usize) -> Vec<T> {
        x.iter()
            .enumerate()
            .map(|(i, x)| *x + table[i % row])
            .collect()
    }
    /// Computes the gradient with respect to the table, of `len` elements.
    pub fn gradient<T: Real>(dy: &[T], row: usize, len: usize) -> Vec<T> {
        (0..len)
            .map(|i| {
                if i < row {
                    dy.iter().skip(i).step_by(row).copied().sum()
                } else {
                    T::zero()
                }
            })
            .collect()
    }
}

/// The registry's row.
pub struct Positions;

fn row(case: &Case) -> usize {
    case.get("t") * case.get("d")
}

impl Operation for Positions {
    fn name(&self) -> &'static str {
        "positions"
    }
    fn cases(&self) -> Vec<Case> {
        cases(
            ["b", "t", "d", "p"],
            &[[1, 1, 1, 1], [7, 5, 3, 5], [3, 16, 20, 33], [67, 7, 12, 7]],
        )
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("b", 16), ("t", 256), ("d", 256), ("p", 256)])]
    }
    fn check(&self, c: &Case) -> Result<()> {
        crate::spec::case::check(c, &self.cases(), self.name())?;
        if c.get("t") > c.get("p") {
            return Err(Error::data(format!(
                "case `{c}`: there are p positions, and t is at most p"
            )));
        }
        Ok(())
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let [b, t, d, p] = ["b", "t", "d", "p"].map(|n| case.get(n));
        vec![rng.normals(&[b, t, d]), rng.normals(&[p, d])]
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![positions(&t[0], &t[1])?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let y = reference::positions(inputs[0].as_f64(), inputs[1].as_f64(), row(case));
        vec![HostTensor::f64(&inputs[0].shape, y)]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
    fn work(&self, case: &Case) -> Work {
        let n = case.get("b") * row(case);
        Work {
            flops: n as f64,
            bytes: 4.0 * (2 * n + row(case)) as f64,
        }
    }
    fn kernels(&self) -> Vec<Kernel> {
        bias::Bias.kernels()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let zeros = |shape: &[usize]| Tensor::zeros(gpu, shape, DType::F32);
        let (x, fine) = (zeros(&[2, 3, 4])?, zeros(&[3, 4])?);
        let integers = Tensor::zeros(gpu, &[3, 4], DType::U32)?;
        Ok(vec![
            refused("more rows than positions", positions(&x, &zeros(&[2, 4])?)),
            refused(
                "embeddings of another size",
                positions(&x, &zeros(&[3, 5])?),
            ),
            refused("embeddings of integers", positions(&x, &integers)),
            refused("a matrix", positions(&fine, &fine)),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for Positions {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0, 1]
    }
    fn record(&self, tape: &Tape, _: &Case, v: &[Var]) -> Result<Var> {
        tape.positions(&v[0], &v[1])
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let table = reference::gradient(upstream.as_f64(), row(case), inputs[1].len());
        vec![upstream.clone(), HostTensor::f64(&inputs[1].shape, table)]
    }
    fn tolerance(&self, case: &Case, input: usize) -> Tolerance {
        if input == 0 {
            Tolerance::EXACT
        } else {
            Tolerance::sum(case.get("b"))
        }
    }
}
