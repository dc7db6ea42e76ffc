//! Sums of two tensors of equal shape, as gradients meet.

use crate::gpu::{DType, Kernel, Tensor, Work, groups_for};
use crate::{Error, Result, shader};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
}

pub(crate) fn kernel(in_place: bool) -> Kernel {
    Kernel::new(shader!("elementwise/add")).flag("IN_PLACE", in_place)
}

/// The kernel of [`add_counts`].
pub(crate) fn counts_kernel() -> Kernel {
    kernel(true).flag("COUNTS", true)
}

fn check(a: &Tensor, b: &Tensor, dtype: DType) -> Result<()> {
    if a.shape() != b.shape() || a.dtype() != dtype || b.dtype() != dtype {
        return Err(Error::shape(
            "add",
            format!("two {} tensors of equal shape", dtype.name()),
            format!("{a:?} and {b:?}"),
        ));
    }
    Ok(())
}

pub(crate) fn work(n: usize) -> Work {
    Work {
        flops: n as f64,
        bytes: 12.0 * n as f64,
    }
}

/// Computes `a + b`, shapes equal.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    check(a, b, DType::F32)?;
    let y = Tensor::empty(a.gpu(), a.shape(), DType::F32)?;
    let params = Params { n: a.len() as u32 };
    a.gpu().dispatch(
        "add",
        &kernel(false),
        &[a, b, &y],
        &params,
        groups_for(a.len(), 256),
        work(a.len()),
    )?;
    Ok(y)
}

/// `a += b`, shapes equal, over different buffers.
pub fn add_assign(a: &Tensor, b: &Tensor) -> Result<()> {
    check(a, b, DType::F32)?;
    assign(a, b, &kernel(true))
}

/// `a += b` for counts u32, shapes equal, over different buffers.
pub(crate) fn add_counts(a: &Tensor, b: &Tensor) -> Result<()> {
    check(a, b, DType::U32)?;
    assign(a, b, &counts_kernel())
}

fn assign(a: &Tensor, b: &Tensor, kernel: &Kernel) -> Result<()> {
    let params = Params { n: a.len() as u32 };
    a.gpu().dispatch(
        "add",
        kernel,
        &[a, b],
        &params,
        groups_for(a.len(), 256),
        work(a.len()),
    )
}

/// Computes `a + b`, in one of the two buffers where nobody else holds it.
pub fn accumulate(a: Tensor, b: Tensor) -> Result<Tensor> {
    if a.is_sole() {
        add_assign(&a, &b)?;
        Ok(a)
    } else if b.is_sole() {
        add_assign(&b, &a)?;
        Ok(b)
    } else {
        add(&a, &b)
    }
}
