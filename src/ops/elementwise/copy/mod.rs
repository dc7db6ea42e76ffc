//! A copy by a kernel: the measure of bandwidth that others are held against.

use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::spec::{
    Case, ErrorInputs, Extremes, HostTensor, Operation, Rng, Tolerance, case, refused,
};
use crate::{Error, Result, shader};

fn kernel() -> Kernel {
    Kernel::new(shader!("elementwise/copy"))
}

fn work(n: usize) -> Work {
    Work {
        flops: 0.0,
        bytes: 8.0 * n as f64,
    }
}

/// Copies x, f32 of a multiple of four elements, made by a kernel that loads and stores
/// vec4. [`Tensor::duplicate`] takes any tensor, and lets the driver copy.
///
/// # Errors
/// If x has another type or number of elements.
pub fn copy(x: &Tensor) -> Result<Tensor> {
    if x.dtype() != DType::F32 || !x.len().is_multiple_of(4) {
        return Err(Error::shape(
            "copy",
            "an f32 tensor of a multiple of four elements",
            format!("{x:?}"),
        ));
    }
    let y = Tensor::empty(x.gpu(), x.shape(), DType::F32)?;
    let groups = groups_for(x.len() / 4, 256);
    x.gpu().dispatch(
        "copy",
        &kernel(),
        &[x, &y],
        &[x.len() as u32],
        groups,
        work(x.len()),
    )?;
    Ok(y)
}

/// The registry's row.
pub struct Copy;

impl Operation for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }
    fn cases(&self) -> Vec<Case> {
        [4, 12, 1028, 20_004].map(|n| case(&[("n", n)])).to_vec()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 1 << 22)])]
    }
    fn extremes(&self) -> Extremes {
        Extremes::any(&[0])
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        vec![rng.normals(&[case.get("n")])]
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![copy(&t[0])?])
    }
    fn reference(&self, _: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        inputs.to_vec()
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::EXACT
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![kernel()]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let three = Tensor::zeros(gpu, &[3], DType::F32)?;
        let integers = Tensor::zeros(gpu, &[4], DType::U32)?;
        Ok(vec![
            refused("three elements", copy(&three)),
            refused("integers", copy(&integers)),
        ])
    }
}
