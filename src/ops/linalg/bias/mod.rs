//! A vector added to every row: the bias of a layer whose product does not add it itself.

mod reference;

use super::column_sum::column_sum_to;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for, row_chunks};
use crate::spec::{
    Case, ErrorInputs, Extremes, Gradient, HostTensor, Operation, Rng, Tolerance, cases, refused,
};
use crate::{Error, Result, shader};

/// Rows that one invocation adds the bias to, for one load of it.
const ROWS: usize = 4;

fn kernel(vec: bool) -> Kernel {
    Kernel::new(shader!("linalg/bias"))
        .define("ROWS", ROWS as u32)
        .flag("VEC", vec)
}

fn work(rows: usize, cols: usize) -> Work {
    Work {
        flops: (rows * cols) as f64,
        bytes: 4.0 * (2 * rows * cols + cols) as f64,
    }
}

/// x [.., C] as (rows, C), if b is its bias.
fn rows_of(x: &Tensor, b: &Tensor) -> Result<(usize, usize)> {
    match x.shape().split_last() {
        Some((c, rest))
            if b.shape() == [*c] && x.dtype() == DType::F32 && b.dtype() == DType::F32 =>
        {
            Ok((rest.iter().product(), *c))
        }
        _ => Err(Error::shape(
            "bias",
            "f32 [.., C] and a bias [C]",
            format!("{x:?} and {b:?}"),
        )),
    }
}

/// Computes `y[r, c] = x[r, c] + b[c]`: x and y [.., C], b `[C]`; the dimensions before the last
/// count as rows.
///
/// # Errors
/// If b is not as long as a row of x, or either is not f32.
pub fn bias(x: &Tensor, b: &Tensor) -> Result<Tensor> {
    bias_in_parts(x, b, x.gpu().limits().max_storage_buffer_binding_size)
}

/// Adds the bias, binding at most `limit` bytes of x at a time where rows allow it.
fn bias_in_parts(x: &Tensor, b: &Tensor, limit: u64) -> Result<Tensor> {
    let (rows, cols) = rows_of(x, b)?;
    let y = Tensor::empty(x.gpu(), x.shape(), DType::F32)?;
    let vec = cols.is_multiple_of(4);
    let units = if vec { cols / 4 } else { cols };
    for (first, n) in row_chunks(rows, cols, limit) {
        let part = |t: &Tensor| t.view(first * cols, &[n, cols]);
        let params = [n as u32, units as u32];
        let groups = groups_for(n.div_ceil(ROWS) * units, 64);
        x.gpu().dispatch(
            "bias",
            &kernel(vec),
            &[&part(x)?, b, &part(&y)?],
            &params,
            groups,
            work(n, cols),
        )?;
    }
    x.gpu().note_call("bias", &y, [("r", rows), ("c", cols)]);
    Ok(y)
}

impl Tape {
    /// Computes `x + b` on every row, see [`bias`]. The gradient of b is the sum of the upstream
    /// one's columns.
    pub fn bias(&self, x: &Var, b: &Var) -> Result<Var> {
        let (rows, cols) = rows_of(x.tensor(), b.tensor())?;
        let y = bias(x.tensor(), b.tensor())?;
        Ok(self.record_placed(y, &[x, b], move |dy, needs| {
            let db = needs[1]
                .then(|| column_sum_to(&dy.reshape(&[rows, cols])?, needs.place(1)))
                .transpose()?;
            Ok(vec![needs[0].then(|| dy.clone()), db])
        }))
    }
}

/// The registry's row.
pub struct Bias;

impl Operation for Bias {
    fn name(&self) -> &'static str {
        "bias"
    }
    fn cases(&self) -> Vec<Case> {
        cases(
            ["r", "c"],
            &[[1, 1], [7, 3], [65, 4], [1_031, 17], [257, 64], [5, 1_028]],
        )
    }
    fn bench(&self) -> Vec<Case> {
        cases(["r", "c"], &[[8_192, 64], [32_768, 3]])
    }
    fn extremes(&self) -> Extremes {
        Extremes::huge(&[0, 1])
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let (r, c) = (case.get("r"), case.get("c"));
        vec![rng.normals(&[r, c]), rng.normals(&[c])]
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![bias(&t[0], &t[1])?])
    }
    fn reference(&self, _: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        vec![HostTensor::f64(
            &inputs[0].shape,
            reference::bias(inputs[0].as_f64(), inputs[1].as_f64()),
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("r"), case.get("c"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![kernel(false), kernel(true)]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let (x, b) = (
            Tensor::zeros(gpu, &[3, 4], DType::F32)?,
            Tensor::zeros(gpu, &[4], DType::F32)?,
        );
        let (short, matrix) = (
            Tensor::zeros(gpu, &[3], DType::F32)?,
            Tensor::zeros(gpu, &[1, 4], DType::F32)?,
        );
        let (scalar, integers) = (
            Tensor::zeros(gpu, &[], DType::F32)?,
            Tensor::zeros(gpu, &[4], DType::U32)?,
        );
        Ok(vec![
            refused("a bias as long as a column", bias(&x, &short)),
            refused("a bias of two dimensions", bias(&x, &matrix)),
            refused("a tensor without dimensions", bias(&scalar, &b)),
            refused("a bias of integers", bias(&x, &integers)),
            refused("integers", bias(&integers, &b)),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for Bias {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0, 1]
    }
    fn record(&self, tape: &Tape, _: &Case, v: &[Var]) -> Result<Var> {
        tape.bias(&v[0], &v[1])
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let db = reference::gradient(upstream.as_f64(), case.get("c"));
        vec![upstream.clone(), HostTensor::f64(&inputs[1].shape, db)]
    }
    fn tolerance(&self, case: &Case, input: usize) -> Tolerance {
        if input == 0 {
            Tolerance::EXACT
        } else {
            Tolerance::sum(case.get("r"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Options;

    #[test]
    fn parts_give_the_same_bits_as_the_whole() {
        let gpu = Gpu::new(Options {
            poison: true,
            ..Default::default()
        })
        .unwrap();
        let mut rng = Rng::new(5);
        for (rows, cols) in [(1_031, 3), (257, 8), (64, 17)] {
            let x = rng.normals(&[rows, cols]).upload(&gpu).unwrap();
            let b = rng.normals(&[cols]).upload(&gpu).unwrap();
            let whole: Vec<f32> = bias(&x, &b).unwrap().read().unwrap();
            // 64 rows at a time, the least there is.
            let parts: Vec<f32> = bias_in_parts(&x, &b, 256).unwrap().read().unwrap();
            assert!(
                whole
                    .iter()
                    .zip(&parts)
                    .all(|(w, p)| w.to_bits() == p.to_bits()),
                "{rows} x {cols}"
            );
        }
    }

    /// More workgroups than one dimension of a dispatch holds.
    #[test]
    fn a_folded_grid_reaches_every_row() {
        let gpu = Gpu::new(Options {
            poison: true,
            ..Default::default()
        })
        .unwrap();
        let rows = ROWS * 64 * 32_768 + 5;
        let x = Tensor::zeros(&gpu, &[rows, 1], DType::F32).unwrap();
        let b = Tensor::from_slice(&gpu, &[1], &[1.5f32]).unwrap();
        let y: Vec<f32> = bias(&x, &b).unwrap().read().unwrap();
        assert_eq!(y.len(), rows);
        assert!(y.iter().all(|y| *y == 1.5));
    }

    #[test]
    fn no_row_is_no_work() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let (x, b) = (
            Tensor::zeros(&gpu, &[0, 4], DType::F32).unwrap(),
            Tensor::zeros(&gpu, &[4], DType::F32).unwrap(),
        );
        assert_eq!(bias(&x, &b).unwrap().shape(), [0, 4]);
    }
}
