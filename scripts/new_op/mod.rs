//! The softplus `ln(1 + e^x)`, elementwise.

mod reference;
mod spec;

pub use spec::Softplus;

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Kernel, Tensor, Work, groups_for};
use crate::{Error, Result, shader};

fn forward_kernel() -> Kernel {
    Kernel::new(shader!("elementwise/softplus"))
}

fn grad_kernel() -> Kernel {
    Kernel::new(shader!("elementwise/softplus_grad"))
}

/// The kernels' parameters, as their text has them: 128 bytes at most.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
}

/// Returns the cost of a call that reads and writes `tensors` of `n` elements.
fn work(n: usize, tensors: usize) -> Work {
    Work {
        flops: 5.0 * n as f64,
        bytes: 4.0 * (tensors * n) as f64,
    }
}

/// `ln(1 + e^x)`, elementwise, any shape.
///
/// # Errors
/// If x is not f32.
pub fn softplus(x: &Tensor) -> Result<Tensor> {
    if x.dtype() != DType::F32 {
        let got = format!("{x:?}");
        return Err(Error::shape("softplus", "a tensor of f32", got));
    }
    let n = x.len();
    let y = Tensor::empty(x.gpu(), x.shape(), DType::F32)?;
    x.gpu().dispatch(
        "softplus",
        &forward_kernel(),
        &[x, &y],
        &Params { n: n as u32 },
        groups_for(n, 64),
        work(n, 2),
    )?;
    Ok(y)
}

fn softplus_grad(x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let n = x.len();
    let dx = Tensor::empty(x.gpu(), x.shape(), DType::F32)?;
    x.gpu().dispatch(
        "softplus gradient",
        &grad_kernel(),
        &[x, dy, &dx],
        &Params { n: n as u32 },
        groups_for(n, 64),
        work(n, 3),
    )?;
    Ok(dx)
}

impl Tape {
    /// `ln(1 + e^x)`, elementwise, see [`softplus`].
    ///
    /// # Errors
    /// As [`softplus`].
    pub fn softplus(&self, x: &Var) -> Result<Var> {
        let (y, saved) = (softplus(x.tensor())?, x.tensor().clone());
        Ok(self.record(y, &[x], move |dy, _| {
            Ok(vec![Some(softplus_grad(&saved, dy)?)])
        }))
    }
}
