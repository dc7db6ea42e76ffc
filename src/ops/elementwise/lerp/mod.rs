//! Moving one tensor a part of the way to another: the moving average of weights.

use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, chunks, groups_for};
use crate::spec::{Case, ErrorInputs, HostTensor, Operation, Rng, Tolerance, case};
use crate::{Error, Result, shader};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
    weight: f32,
}

fn kernel(gated: bool) -> Kernel {
    Kernel::new(shader!("elementwise/lerp")).flag("GATED", gated)
}

fn work(n: usize) -> Work {
    Work {
        flops: 3.0 * n as f64,
        bytes: 12.0 * n as f64,
    }
}

/// `y += weight (x - y)`, f32 of equal shape in different buffers. With `weight = 1 - decay` this
/// is the exponential moving average `y = decay y + (1 - decay) x`.
///
/// # Errors
/// If the shapes differ, or the weight is outside [0, 1].
pub fn lerp_assign(y: &Tensor, x: &Tensor, weight: f64) -> Result<()> {
    moved(y, x, weight, None)
}

/// [`lerp_assign`] where the report of a step's gradients, `[norm, factor, finite]`, says that they
/// were finite; otherwise y stays as it is, whatever x is.
///
/// # Errors
/// As [`lerp_assign`], and if the report is no f32 `[3]`.
pub(crate) fn lerp_if_finite(y: &Tensor, x: &Tensor, weight: f64, report: &Tensor) -> Result<()> {
    if report.shape() != [3] || report.dtype() != DType::F32 {
        let expected = "the report of gradients, f32 [3]";
        return Err(Error::shape("lerp", expected, format!("{report:?}")));
    }
    moved(y, x, weight, Some(report))
}

fn moved(y: &Tensor, x: &Tensor, weight: f64, report: Option<&Tensor>) -> Result<()> {
    if y.shape() != x.shape() || y.dtype() != DType::F32 || x.dtype() != DType::F32 {
        return Err(Error::shape(
            "lerp",
            "two f32 tensors of equal shape",
            format!("{y:?} and {x:?}"),
        ));
    }
    if !(0.0..=1.0).contains(&weight) {
        return Err(Error::invalid(
            "lerp",
            format!("a weight of {weight}: it must lie between 0 and 1"),
        ));
    }
    let gpu = y.gpu();
    let (y, x) = (y.reshape(&[y.len()])?, x.reshape(&[x.len()])?);
    for (start, n) in chunks(y.len(), gpu.limits().max_storage_buffer_binding_size) {
        let (y, x) = (y.view(start, &[n])?, x.view(start, &[n])?);
        let params = Params {
            n: n as u32,
            weight: weight as f32,
        };
        let bindings: Vec<&Tensor> = [&y, &x].into_iter().chain(report).collect();
        gpu.dispatch(
            "lerp",
            &kernel(report.is_some()),
            &bindings,
            &params,
            groups_for(n, 256),
            work(n),
        )?;
    }
    Ok(())
}

/// The registry's row.
pub struct Lerp;

impl Operation for Lerp {
    fn name(&self) -> &'static str {
        "lerp"
    }
    fn cases(&self) -> Vec<Case> {
        [1, 13, 255, 257, 10_007]
            .into_iter()
            .map(|n| case(&[("n", n)]))
            .collect()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 1 << 20)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let n = case.get("n");
        vec![rng.normals(&[n]), rng.normals(&[n])]
    }
    fn run(&self, _: &Gpu, _: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let copy = || inputs[0].duplicate();
        let (y, gated, held) = (copy()?, copy()?, copy()?);
        lerp_assign(&y, &inputs[1], 0.3)?;
        for (to, finite) in [(&gated, 1.0f32), (&held, 0.0)] {
            let report = Tensor::from_slice(to.gpu(), &[3], &[f32::NAN, 0.0, finite])?;
            lerp_if_finite(to, &inputs[1], 0.3, &report)?;
        }
        Ok(vec![y, gated, held])
    }
    fn timed_outputs(&self) -> &'static [usize] {
        &[0]
    }
    fn time(&self, _: &Gpu, _: &Case, inputs: &[Tensor]) -> Result<()> {
        lerp_assign(&inputs[0], &inputs[1], 0.3)
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let (n, y) = (case.get("n"), inputs[0].as_f64());
        let pairs = y.iter().zip(inputs[1].as_f64());
        let moved: Vec<f64> = pairs.map(|(y, x)| 0.7 * y + 0.3 * x).collect();
        let all = [moved.clone(), moved, y.to_vec()];
        all.map(|values| HostTensor::f64(&[n], values)).to_vec()
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![kernel(false), kernel(true)]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let (a, b) = (
            Tensor::zeros(gpu, &[3], DType::F32)?,
            Tensor::zeros(gpu, &[3], DType::F32)?,
        );
        let longer = Tensor::zeros(gpu, &[4], DType::F32)?;
        Ok(vec![
            ("shapes differ", lerp_assign(&a, &longer, 0.5)),
            ("one buffer twice", lerp_assign(&a, &a, 0.5)),
            ("a weight above 1", lerp_assign(&a, &b, 1.5)),
            ("a weight of NaN", lerp_assign(&a, &b, f64::NAN)),
        ])
    }
}
