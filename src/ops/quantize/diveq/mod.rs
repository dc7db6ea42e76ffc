//! DiVeQ (Vali et al. 2025, "DiVeQ: differentiable vector quantization using the reparameterization
//! trick"): each latent moves as far as its code lies from it, in the code's direction turned by a
//! little noise. The distance has a gradient, which reaches latents and codes, so that a codebook
//! learns by the reconstruction alone.

mod reference;

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Rng, Tolerance, case, cases, refused,
};
use crate::{Error, Result, shader};

/// Lengths below count as this.
const EPS: f32 = 1e-12;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
    units: u32,
    sigma: f32,
    eps: f32,
}

fn kernels(vec: bool) -> [Kernel; 2] {
    [shader!("quantize/diveq"), shader!("quantize/diveq_grad")]
        .map(|s| Kernel::new(s).flag("VEC", vec))
}

fn work(n: usize, d: usize, tensors: usize) -> Work {
    Work {
        flops: 12.0 * (n * d) as f64,
        bytes: 4.0 * (tensors * n * d) as f64,
    }
}

/// The inputs of the operation: latents, their codes and noise, [N, D] each.
#[derive(Clone)]
struct Inputs {
    z: Tensor,
    z_q: Tensor,
    noise: Tensor,
    sigma: f32,
}

impl Inputs {
    fn new(z: &Tensor, z_q: &Tensor, noise: &Tensor, sigma: f32) -> Result<Inputs> {
        z.dims::<2>("diveq")?;
        let all = [z, z_q, noise];
        let fits = |t: &&Tensor| t.shape() == z.shape() && t.dtype() == DType::F32;
        if !all.iter().all(fits) || z.is_empty() {
            return Err(Error::shape(
                "diveq",
                "three f32 matrices of one shape",
                format!("{z:?}, {z_q:?}, {noise:?}"),
            ));
        }
        if !(sigma >= 0.0 && sigma.is_finite()) {
            let what = format!("noise of a deviation of {sigma}: it is at least 0");
            return Err(Error::invalid("diveq", what));
        }
        let [z, z_q, noise] = all.map(Tensor::clone);
        Ok(Inputs {
            z,
            z_q,
            noise,
            sigma,
        })
    }

    /// Returns whether channels go four at a time, the parameters, and the rows.
    fn params(&self) -> (bool, Params, [usize; 2]) {
        let (n, d) = (self.z.shape()[0], self.z.shape()[1]);
        let vec = d.is_multiple_of(4);
        let params = Params {
            n: n as u32,
            units: if vec { d / 4 } else { d } as u32,
            sigma: self.sigma,
            eps: EPS,
        };
        (vec, params, [n, d])
    }

    fn forward(&self) -> Result<Tensor> {
        let (vec, params, [n, d]) = self.params();
        let gpu = self.z.gpu();
        let y = Tensor::empty(gpu, self.z.shape(), DType::F32)?;
        gpu.dispatch(
            "diveq",
            &kernels(vec)[0],
            &[&self.z, &self.z_q, &self.noise, &y],
            &params,
            groups_for(n, 64),
            work(n, d, 7),
        )?;
        Ok(y)
    }

    fn gradients(&self, g: &Tensor) -> Result<[Tensor; 2]> {
        let (vec, params, [n, d]) = self.params();
        let gpu = self.z.gpu();
        let dz = Tensor::empty(gpu, self.z.shape(), DType::F32)?;
        let dz_q = Tensor::empty(gpu, self.z.shape(), DType::F32)?;
        gpu.dispatch(
            "diveq",
            &kernels(vec)[1],
            &[&self.z, &self.z_q, &self.noise, g, &dz, &dz_q],
            &params,
            groups_for(n, 64),
            work(n, d, 9),
        )?;
        Ok([dz, dz_q])
    }
}

impl Tape {
    /// Computes `z_e + |z_q - z_e| v / |v|` with `v = z_q - z_e + sigma noise`, whose direction has
    /// no gradient: latents `z_e`, their codes `z_q` and standard normal `noise`, [N, D] each.
    ///
    /// # Errors
    /// If the shapes differ, or sigma is below 0.
    pub fn diveq(&self, z_e: &Var, z_q: &Var, noise: &Tensor, sigma: f32) -> Result<Var> {
        let inputs = Inputs::new(z_e.tensor(), z_q.tensor(), noise, sigma)?;
        let y = inputs.forward()?;
        Ok(self.record(y, &[z_e, z_q], move |g, needs| {
            let [dz, dz_q] = inputs.gradients(g)?;
            Ok(vec![needs[0].then_some(dz), needs[1].then_some(dz_q)])
        }))
    }
}

/// The registry's row.
pub struct Diveq;

/// Deviation of the noise in a case: as large as codes are far, so that it matters.
const SIGMA: f32 = 0.4;

impl Operation for Diveq {
    fn name(&self) -> &'static str {
        "diveq"
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
    /// Latents, codes and noise.
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let shape = [case.get("n"), case.get("d")];
        (0..3).map(|_| rng.normals(&shape)).collect()
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![Inputs::new(&t[0], &t[1], &t[2], SIGMA)?.forward()?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let [z, q, noise] = [0, 1, 2].map(|i| inputs[i].as_f64());
        let d = case.get("d");
        let u = reference::directions(z, q, noise, d, f64::from(SIGMA));
        vec![HostTensor::f64(
            &inputs[0].shape,
            reference::moved(z, q, &u, d),
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        // Of a thousand rows in few channels, some have nearly no v, which cancels.
        Tolerance {
            abs: 2e-5,
            rel: 1e-5,
        }
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"), case.get("d"), 7)
    }
    fn kernels(&self) -> Vec<Kernel> {
        [false, true].into_iter().flat_map(kernels).collect()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let (a, b) = (
            Tensor::zeros(gpu, &[3, 4], DType::F32)?,
            Tensor::zeros(gpu, &[3, 5], DType::F32)?,
        );
        let tape = Tape::no_grad(gpu);
        let (x, wide) = (tape.constant(&a), tape.constant(&b));
        Ok(vec![
            refused("shapes differ", tape.diveq(&x, &wide, &a, 0.1)),
            refused("noise of another shape", tape.diveq(&x, &x, &b, 0.1)),
            refused("a deviation below 0", tape.diveq(&x, &x, &a, -0.1)),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for Diveq {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0, 1]
    }
    fn record(&self, tape: &Tape, _: &Case, v: &[Var]) -> Result<Var> {
        tape.diveq(&v[0], &v[1], v[2].tensor(), SIGMA)
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let [z, q, noise] = [0, 1, 2].map(|i| inputs[i].as_f64());
        let d = case.get("d");
        let u = reference::directions(z, q, noise, d, f64::from(SIGMA));
        reference::gradients(z, q, &u, upstream.as_f64(), d)
            .map(|part| HostTensor::f64(&inputs[0].shape, part))
            .into()
    }
    /// Computes the same with the directions of the latents and codes as they were.
    fn surrogate(
        &self,
        _: &dyn Operation,
        case: &Case,
        at: &[HostTensor],
        inputs: &[HostTensor],
    ) -> HostTensor {
        let [z, q, noise] = [0, 1, 2].map(|i| at[i].as_f64());
        let d = case.get("d");
        let u = reference::directions(z, q, noise, d, f64::from(SIGMA));
        let moved = reference::moved(inputs[0].as_f64(), inputs[1].as_f64(), &u, d);
        HostTensor::f64(&inputs[0].shape, moved)
    }
    fn tolerance(&self, case: &Case, _: usize) -> Tolerance {
        Operation::tolerance(self, case, 0)
    }
}
