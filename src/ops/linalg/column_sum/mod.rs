//! The sum of each column of a matrix: the gradient of a bias.

use super::split_sum::split_sum_to;
use crate::autograd::{Tape, Var, placed};
use crate::gpu::{DType, DeviceClass, Gpu, Kernel, Tensor, Work, groups_for};
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Real, Rng, Tolerance, cases, refused,
};
use crate::{Error, Result, shader};

fn kernel(vec: bool) -> Kernel {
    Kernel::new(shader!("linalg/column_sum")).flag("VEC", vec)
}

/// Invocations that a large matrix is spread over on a processor: a fixed number, so that the order
/// of the sum is fixed too.
const INVOCATIONS: usize = 4096;

/// Slices at most, which a second pass adds.
fn most_slices(class: DeviceClass) -> usize {
    if class.is_gpu() { 1024 } else { 256 }
}

/// Computes `y[c] = sum over r of x[r, c]`: x [R, C], y `[C]`. The order of the sum depends on the
/// shape and the device's class alone.
///
/// # Errors
/// If x is not a matrix of f32.
pub fn column_sum(x: &Tensor) -> Result<Tensor> {
    column_sum_to(x, None)
}

/// [`column_sum`], to a place that waits for it.
pub(crate) fn column_sum_to(x: &Tensor, place: Option<&Tensor>) -> Result<Tensor> {
    let [rows, cols] = x.dims("column_sum")?;
    if x.dtype() != DType::F32 {
        return Err(Error::shape(
            "column_sum",
            "a matrix of f32",
            format!("{x:?}"),
        ));
    }
    let gpu = x.gpu();
    let vec = cols.is_multiple_of(4);
    let units = if vec { cols / 4 } else { cols };
    let class = gpu.class();
    let slices = (class.invocations(INVOCATIONS) / units.max(1))
        .clamp(1, most_slices(class))
        .min(rows.div_ceil(16).max(1));
    let rows_per_slice = rows.div_ceil(slices);
    let place_of_all = place.filter(|_| slices == 1);
    let parts = placed(place_of_all, gpu, &[slices, cols])?;
    let params = [
        rows as u32,
        units as u32,
        rows_per_slice as u32,
        slices as u32,
    ];
    gpu.dispatch(
        "column_sum",
        &kernel(vec),
        &[x, &parts],
        &params,
        groups_for(units * slices, 64),
        work(rows, cols),
    )?;
    if slices == 1 {
        parts.reshape(&[cols])
    } else {
        split_sum_to(&parts, &[cols], place)
    }
}

fn work(rows: usize, cols: usize) -> Work {
    Work {
        flops: (rows * cols) as f64,
        bytes: 4.0 * (rows * cols + cols) as f64,
    }
}

mod reference {
    use super::Real;
    pub fn column_sum<T: Real>(x: &[T], cols: usize) -> Vec<T> {
        (0..cols)
            .map(|c| x.iter().skip(c).step_by(cols).copied().sum())
            .collect()
    }
}

impl Tape {
    /// Computes `y[c] = sum over r of x[r, c]`, see [`column_sum`]. Its gradient repeats the
    /// upstream one on every row.
    pub fn column_sum(&self, x: &Var) -> Result<Var> {
        let y = column_sum(x.tensor())?;
        let [rows, cols] = x.tensor().dims("column_sum")?;
        Ok(self.record(y, &[x], move |g, _| {
            let ones = Tensor::empty(g.gpu(), &[rows, 1], DType::F32)?;
            crate::gpu::fill(&ones, 1.0)?;
            let row = g.reshape(&[1, cols])?;
            Ok(vec![Some(super::matmul::matmul(
                &ones,
                &row,
                super::matmul::Transpose::NONE,
                None,
            )?)])
        }))
    }
}

/// The registry's row.
pub struct ColumnSum;

impl Operation for ColumnSum {
    fn name(&self) -> &'static str {
        "column_sum"
    }
    fn cases(&self) -> Vec<Case> {
        cases(
            ["r", "c"],
            &[
                [1, 1],
                [7, 3],
                [65, 4],
                [1_031, 17],
                [4_099, 64],
                [300, 1_028],
                [32_771, 3],
            ],
        )
    }
    fn bench(&self) -> Vec<Case> {
        cases(["r", "c"], &[[8_192, 64], [2_048, 128], [32_768, 3]])
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        vec![rng.normals(&[case.get("r"), case.get("c")])]
    }
    fn run(&self, _: &Gpu, _: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![column_sum(&inputs[0])?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let c = case.get("c");
        vec![HostTensor::f64(
            &[c],
            reference::column_sum(inputs[0].as_f64(), c),
        )]
    }
    fn tolerance(&self, case: &Case, _: usize) -> Tolerance {
        Tolerance::sum(case.get("r"))
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("r"), case.get("c"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        // Its gradient is a product with a column of ones.
        let own = [kernel(false), kernel(true)];
        own.into_iter()
            .chain(super::matmul::Matmul.kernels())
            .collect()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let vector = Tensor::zeros(gpu, &[4], DType::F32)?;
        let integers = Tensor::zeros(gpu, &[4, 4], DType::U32)?;
        Ok(vec![
            refused("a vector", column_sum(&vector)),
            refused("integers", column_sum(&integers)),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for ColumnSum {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, _: &Case, v: &[Var]) -> Result<Var> {
        tape.column_sum(&v[0])
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let dx = (0..inputs[0].len())
            .map(|i| upstream.as_f64()[i % case.get("c")])
            .collect();
        vec![HostTensor::f64(&inputs[0].shape, dx)]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
}
