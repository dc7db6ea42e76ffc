//! Linear maps without bias, and how their weights begin.

use super::{Builder, ForwardContext, Handle, Init};
use crate::Result;
use crate::autograd::Var;
use crate::gpu::DType;
use crate::ops::linalg::matmul::{Transpose, matmul_among};

/// The standard deviation of initial weights (Radford et al. 2019).
pub const INIT_STD: f32 = 0.02;
/// Returns the standard deviation of the initial weights of maps that add to the residual stream
/// (Radford et al. 2019, section 2.3; two a block).
pub(crate) fn residual_std(layers: usize) -> f32 {
    INIT_STD / (2.0 * layers.max(1) as f32).sqrt()
}

/// A linear map without bias: weight [O, I].
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Handle,
}

impl Linear {
    /// Declares `name.weight`, normal of standard deviation `std`.
    pub fn new(b: &mut Builder, name: &str, i: usize, o: usize, std: f32) -> Self {
        Linear {
            weight: b.declare(format!("{name}.weight"), &[o, i], Init::Normal(std)),
        }
    }

    /// Returns the weight's handle.
    pub(crate) fn weight(&self) -> Handle {
        self.weight
    }

    /// x [N, I] to [N, O], f32. What the backward pass needs of x is stored as the pass stores
    /// activations.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward(&self, pass: &ForwardContext, x: &Var) -> Result<Var> {
        linear(pass, x, &pass.weight(self.weight)?)
    }
}

/// Computes `x w^T`: x [N, I], w [O, I] to [N, O], f32; x is stored as the pass stores activations.
///
/// # Errors
/// If the shapes do not fit.
pub fn linear(pass: &ForwardContext, x: &Var, w: &Var) -> Result<Var> {
    let x = pass.tape.cast(x, pass.activations())?;
    if let Some(rows) = pass.rows_among(x.shape()[0]) {
        let y = matmul_among(x.tensor(), w.tensor(), Transpose::B, DType::F32, rows)?;
        return Ok(pass.tape.constant(&y));
    }
    pass.tape.matmul_as(&x, w, Transpose::B, DType::F32)
}
