//! Rows of a table by index: codes become latents.

use super::{Case, Host, Operation, Real, Rng, Tolerance, case, groups_for};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::{Error, Result, shader};

fn kernel(vec: bool) -> Kernel {
    Kernel::new(shader!("gather")).flag("VEC", vec)
}

fn work(n: usize, d: usize) -> Work {
    Work { flops: 0.0, bytes: 4.0 * (2 * n * d + n) as f64 }
}

/// `y[n, :] = table[index[n], :]`: table [K, D], index u32 [N], y [N, D]. An index past K reads the last row.
///
/// # Errors
/// If the shapes do not fit or the table is empty.
pub fn gather(table: &Tensor, index: &Tensor) -> Result<Tensor> {
    let [k, d] = table.dims("gather")?;
    let [n] = index.dims("gather")?;
    if index.dtype() != DType::U32 || table.dtype() != DType::F32 || k == 0 {
        return Err(Error::shape("gather", "an f32 table with rows and u32 indices", format!("{table:?}, {index:?}")));
    }
    let gpu = table.gpu();
    let vec = d.is_multiple_of(4);
    let units = if vec { d / 4 } else { d };
    let y = Tensor::empty(gpu, &[n, d], DType::F32)?;
    let params = [n as u32, k as u32, units as u32];
    gpu.dispatch("gather", &kernel(vec), &[table, index, &y], &params, groups_for(n * units, 64), work(n, d))?;
    Ok(y)
}

mod twin {
    use super::Real;
    pub fn gather<T: Real>(table: &[T], index: &[u32], d: usize) -> Vec<T> {
        index.iter().flat_map(|i| table[*i as usize * d..(*i as usize + 1) * d].to_vec()).collect()
    }
}

/// The registry's row.
pub struct Gather;

impl Operation for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }
    fn cases(&self) -> Vec<Case> {
        [(1, 1, 1), (67, 5, 3), (130, 33, 64), (1_031, 512, 20)]
            .map(|(n, k, d)| case(&[("n", n), ("k", k), ("d", d)]))
            .to_vec()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 16_384), ("k", 1_024), ("d", 64)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<Host> {
        let (n, k, d) = (case.get("n"), case.get("k"), case.get("d"));
        vec![rng.normals(&[k, d]), rng.indices(&[n], k)]
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![gather(&t[0], &t[1])?])
    }
    fn twin(&self, case: &Case, inputs: &[Host]) -> Vec<Host> {
        let (n, d) = (case.get("n"), case.get("d"));
        vec![Host::f64(&[n, d], twin::gather(inputs[0].as_f64(), inputs[1].as_u32(), d))]
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
    fn hostile(&self, gpu: &Gpu) -> Vec<(&'static str, Result<()>)> {
        let calls = || -> Result<_> {
            let table = Tensor::zeros(gpu, &[3, 4], DType::F32)?;
            let none = Tensor::zeros(gpu, &[0, 4], DType::F32)?;
            let index = Tensor::zeros(gpu, &[2], DType::U32)?;
            let floats = Tensor::zeros(gpu, &[2], DType::F32)?;
            Ok(vec![
                ("floats as indices", gather(&table, &floats).map(drop)),
                ("an empty table", gather(&none, &index).map(drop)),
            ])
        };
        calls().unwrap_or_else(|e| vec![("set-up", Err(e))])
    }
}
