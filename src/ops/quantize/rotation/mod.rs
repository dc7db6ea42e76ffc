//! The rotation trick (Fifty et al. 2024, "Restructuring vector quantization with the rotation
//! trick"): the gradient reaches the latents through the rotation and scaling that take each latent
//! to its code, instead of straight through.

mod reference;

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Rng, Tolerance, case, cases, refused,
};
use crate::{Error, Result, shader};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
    units: u32,
    eps: f32,
}

fn kernel(vec: bool) -> Kernel {
    Kernel::new(shader!("quantize/rotation_grad")).flag("VEC", vec)
}

fn work(n: usize, d: usize) -> Work {
    Work {
        flops: 20.0 * (n * d) as f64,
        bytes: 36.0 * (n * d) as f64,
    }
}

fn check(z: &Tensor, z_q: &Tensor) -> Result<[usize; 2]> {
    let dims = z.dims("rotation")?;
    if z.shape() != z_q.shape() || z.dtype() != DType::F32 || z_q.dtype() != DType::F32 {
        return Err(Error::shape(
            "rotation",
            "two f32 matrices of one shape",
            format!("{z:?}, {z_q:?}"),
        ));
    }
    Ok(dims)
}

/// Computes the gradient with respect to the latents z [N, D] of what has gradient g [N, D] with
/// respect to the codes z_q [N, D].
///
/// # Errors
/// If the shapes differ.
pub fn rotation_grad(z: &Tensor, z_q: &Tensor, g: &Tensor) -> Result<Tensor> {
    let [n, d] = check(z, z_q)?;
    check(z, g)?;
    let vec = d.is_multiple_of(4);
    let dz = Tensor::empty(z.gpu(), z.shape(), DType::F32)?;
    let params = Params {
        n: n as u32,
        units: if vec { d / 4 } else { d } as u32,
        eps: 1e-6,
    };
    z.gpu().dispatch(
        "rotation",
        &kernel(vec),
        &[z, z_q, g, &dz],
        &params,
        groups_for(n, 64),
        work(n, d),
    )?;
    Ok(dz)
}

impl Tape {
    /// Computes the value of `z_q` [N, D], and for `z_e` [N, D] the gradient that arrives, turned
    /// and scaled as z_q is z_e turned and scaled: see [`rotation_grad`].
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn rotate(&self, z_e: &Var, z_q: &Tensor) -> Result<Var> {
        check(z_e.tensor(), z_q)?;
        let (z, q) = (z_e.tensor().clone(), z_q.clone());
        Ok(self.record(z_q.clone(), &[z_e], move |g, _| {
            Ok(vec![Some(rotation_grad(&z, &q, g)?)])
        }))
    }
}

/// The registry's row.
pub struct Rotation;

impl Operation for Rotation {
    fn name(&self) -> &'static str {
        "rotation"
    }
    fn cases(&self) -> Vec<Case> {
        cases(
            ["n", "d"],
            &[[1, 2], [7, 3], [65, 4], [1_031, 17], [130, 64]],
        )
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 16_384), ("d", 64)])]
    }
    /// Latents, codes near them (where they are used) and far from them, and a gradient.
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let shape = [case.get("n"), case.get("d")];
        (0..3).map(|_| rng.normals(&shape)).collect()
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![rotation_grad(&t[0], &t[1], &t[2])?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let [z, q, g] = [0, 1, 2].map(|i| inputs[i].as_f64());
        vec![HostTensor::f64(
            &inputs[0].shape,
            reference::rotation_grad(z, q, g, case.get("d")),
        )]
    }
    fn tolerance(&self, case: &Case, _: usize) -> Tolerance {
        // Of a thousand random pairs in the plane some are nearly opposite, where w is lost.
        let abs = if case.get("d") < 4 { 1e-3 } else { 1e-4 };
        Tolerance { abs, rel: 1e-5 }
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"), case.get("d"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![kernel(false), kernel(true)]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let (a, b) = (
            Tensor::zeros(gpu, &[3, 4], DType::F32)?,
            Tensor::zeros(gpu, &[3, 5], DType::F32)?,
        );
        Ok(vec![refused("shapes differ", rotation_grad(&a, &b, &a))])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for Rotation {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, _: &Case, v: &[Var]) -> Result<Var> {
        tape.rotate(&v[0], v[1].tensor())
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let (z, q) = (inputs[0].as_f64(), inputs[1].as_f64());
        vec![HostTensor::f64(
            &inputs[0].shape,
            reference::rotation_grad(z, q, upstream.as_f64(), case.get("d")),
        )]
    }
    /// Computes `s R z` with the rotation R and the scale s of the latents as they were.
    fn surrogate(
        &self,
        _: &dyn Operation,
        case: &Case,
        at: &[HostTensor],
        inputs: &[HostTensor],
    ) -> HostTensor {
        let [z, q, moved] = [at[0].as_f64(), at[1].as_f64(), inputs[0].as_f64()];
        HostTensor::f64(
            &inputs[0].shape,
            reference::rotate(z, q, moved, case.get("d")),
        )
    }
    fn tolerance(&self, case: &Case, _: usize) -> Tolerance {
        Operation::tolerance(self, case, 0)
    }
}
