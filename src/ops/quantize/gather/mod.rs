//! Rows of a table by index: codes become latents, tokens become embeddings.

use super::assignment::assign;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::spec::{
    Case, ErrorInputs, Extremes, Gradient, HostTensor, Operation, Real, Rng, Tolerance, case,
    cases, refused,
};
use crate::{Error, Result, shader};

fn kernel(vec: bool) -> Kernel {
    Kernel::new(shader!("quantize/gather")).flag("VEC", vec)
}

fn work(n: usize, d: usize) -> Work {
    Work {
        flops: 0.0,
        bytes: 4.0 * (2 * n * d + n) as f64,
    }
}

/// Computes `y[n, :] = table[index[n], :]`: table [K, D] of f32 or u32, index u32 `[N]`, y [N, D]
/// like the table. An index past K reads the last row.
///
/// # Errors
/// If the shapes do not fit or the table is empty.
pub fn gather(table: &Tensor, index: &Tensor) -> Result<Tensor> {
    let [k, d] = table.dims("gather")?;
    let [n] = index.dims("gather")?;
    if index.dtype() != DType::U32 || table.dtype() == DType::U8 || k == 0 {
        return Err(Error::shape(
            "gather",
            "a table with rows, of f32 or u32, and u32 indices",
            format!("{table:?}, {index:?}"),
        ));
    }
    let gpu = table.gpu();
    let vec = d.is_multiple_of(4);
    let units = if vec { d / 4 } else { d };
    let y = Tensor::empty(gpu, &[n, d], table.dtype())?;
    let params = [n as u32, k as u32, units as u32];
    gpu.dispatch(
        "gather",
        &kernel(vec),
        &[table, index, &y],
        &params,
        groups_for(n * units, 64),
        work(n, d),
    )?;
    gpu.note_call("gather", &y, [("n", n), ("k", k), ("d", d)]);
    Ok(y)
}

impl Tape {
    /// Computes `y[n, :] = table[index[n], :]`, see [`gather`]. The gradient of a row of the table
    /// is the sum over its places, in their order.
    ///
    /// # Errors
    /// As [`gather`].
    pub fn gather(&self, table: &Var, index: &Tensor) -> Result<Var> {
        let y = gather(table.tensor(), index)?;
        let [k, _] = table.tensor().dims("gather")?;
        let index = index.clone();
        Ok(self.record_placed(y, &[table], move |g, needs| {
            Ok(vec![Some(assign(&index, k)?.sums_to(g, needs.place(0))?)])
        }))
    }

    /// Computes the adjoint of [`Tape::gather`]: rows [M, D] laid at their places among `n`, the
    /// others 0; rows of one place add.
    ///
    /// # Errors
    /// If the index has another length, or `n` is 0.
    pub fn scatter(&self, rows: &Var, index: &Tensor, n: usize) -> Result<Var> {
        let y = assign(index, n)?.sums(rows.tensor())?;
        let index = index.clone();
        Ok(self.record(y, &[rows], move |g, _| Ok(vec![Some(gather(g, &index)?)])))
    }
}

mod reference {
    use super::Real;
    pub fn gather<T: Real>(table: &[T], index: &[u32], d: usize) -> Vec<T> {
        index
            .iter()
            .flat_map(|i| table[*i as usize * d..(*i as usize + 1) * d].to_vec())
            .collect()
    }
}

/// The registry's row.
pub struct Gather;

impl Operation for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }
    fn cases(&self) -> Vec<Case> {
        cases(
            ["n", "k", "d"],
            &[[1, 1, 1], [67, 5, 3], [130, 33, 64], [1_031, 512, 20]],
        )
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 16_384), ("k", 1_024), ("d", 64)])]
    }
    fn extremes(&self) -> Extremes {
        Extremes::any(&[0])
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let (n, k, d) = (case.get("n"), case.get("k"), case.get("d"));
        vec![rng.normals(&[k, d]), rng.indices(&[n], k)]
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![gather(&t[0], &t[1])?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let (n, d) = (case.get("n"), case.get("d"));
        vec![HostTensor::f64(
            &[n, d],
            reference::gather(inputs[0].as_f64(), inputs[1].as_u32(), d),
        )]
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
        let table = Tensor::zeros(gpu, &[3, 4], DType::F32)?;
        let none = Tensor::zeros(gpu, &[0, 4], DType::F32)?;
        let index = Tensor::zeros(gpu, &[2], DType::U32)?;
        let floats = Tensor::zeros(gpu, &[2], DType::F32)?;
        Ok(vec![
            refused("floats as indices", gather(&table, &floats)),
            refused("an empty table", gather(&none, &index)),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for Gather {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, _: &Case, v: &[Var]) -> Result<Var> {
        tape.gather(&v[0], v[1].tensor())
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let (k, d) = (case.get("k"), case.get("d"));
        let mut table = vec![0.0; k * d];
        for (row, i) in upstream.as_f64().chunks(d).zip(inputs[1].as_u32()) {
            row.iter()
                .zip(&mut table[*i as usize * d..])
                .for_each(|(g, sum)| *sum += g);
        }
        vec![HostTensor::f64(&[k, d], table)]
    }
    fn tolerance(&self, case: &Case, _: usize) -> Tolerance {
        Tolerance::sum(case.get("n"))
    }
}
