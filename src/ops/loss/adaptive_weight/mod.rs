//! The weight of an adversarial loss that makes its gradient as large as the reconstruction's
//! (Esser et al. 2021, "Taming transformers", equation 7).

use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::ops::optim::clip;
use crate::ops::optim::clip::global_norm;
use crate::spec::{Case, ErrorInputs, HostTensor, Operation, Rng, Tolerance, case, cases, refused};
use crate::{Error, Result, shader};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    factor: f32,
}

fn kernel() -> Kernel {
    Kernel::new(shader!("loss/adaptive_weight"))
}

/// Computes `factor clamp(|a| / (|b| + 1e-4), 0, 1e4)`: `[1]`, of the norms of two gradients of any
/// shape; 0 where one of them is not finite.
///
/// # Errors
/// If a gradient is empty or no f32, or the factor is not finite.
pub fn adaptive_weight(a: &Tensor, b: &Tensor, factor: f32) -> Result<Tensor> {
    if !factor.is_finite() {
        return Err(Error::invalid(
            "adaptive_weight",
            format!("a factor of {factor}: it must be finite"),
        ));
    }
    let [a, b] = [
        global_norm(a, f32::INFINITY)?,
        global_norm(b, f32::INFINITY)?,
    ];
    let y = Tensor::empty(a.gpu(), &[1], DType::F32)?;
    let work = Work {
        flops: 3.0,
        bytes: 28.0,
    };
    a.gpu().dispatch(
        "adaptive_weight",
        &kernel(),
        &[&a, &b, &y],
        &Params { factor },
        [1, 1, 1],
        work,
    )?;
    Ok(y)
}

/// The registry's row.
pub struct AdaptiveWeight;

const FACTOR: f32 = 0.8;

impl Operation for AdaptiveWeight {
    fn name(&self) -> &'static str {
        "adaptive_weight"
    }
    fn cases(&self) -> Vec<Case> {
        // Where b is 0, the weight is held at its largest; where it is not a number, at 0.
        cases(
            ["n", "odd"],
            &[[1, 0], [61, 0], [4_099, 0], [300, 1], [300, 2]],
        )
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 1 << 12), ("odd", 0)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let n = case.get("n");
        let b = match case.get("odd") {
            0 => rng.normals(&[n]),
            1 => HostTensor::f32(&[n], vec![0.0; n]),
            _ => HostTensor::f32(
                &[n],
                (0..n)
                    .map(|i| if i == 7 { f32::NAN } else { 1.0 })
                    .collect(),
            ),
        };
        let a: Vec<f32> = (0..n).map(|_| 3.0 + rng.normal() as f32).collect();
        vec![HostTensor::f32(&[n], a), b]
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![adaptive_weight(&t[0], &t[1], FACTOR)?])
    }
    fn reference(&self, _: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let [a, b] = [0, 1].map(|i| inputs[i].as_f64().iter().map(|x| x * x).sum::<f64>().sqrt());
        let weight = if b.is_nan() {
            0.0
        } else {
            (a / (b + 1e-4)).min(1e4)
        };
        vec![HostTensor::f64(&[1], vec![f64::from(FACTOR) * weight])]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance {
            abs: 1e-6,
            rel: 2e-5,
        }
    }
    fn work(&self, case: &Case) -> Work {
        Work {
            flops: 4.0 * case.get("n") as f64,
            bytes: 8.0 * case.get("n") as f64,
        }
    }
    fn kernels(&self) -> Vec<Kernel> {
        let mut all = Operation::kernels(&clip::Clip);
        all.push(kernel());
        all
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let (floats, integers) = (
            Tensor::zeros(gpu, &[4], DType::F32)?,
            Tensor::zeros(gpu, &[4], DType::U32)?,
        );
        Ok(vec![
            refused("integers", adaptive_weight(&floats, &integers, 1.0)),
            refused(
                "a factor that is no number",
                adaptive_weight(&floats, &floats, f32::NAN),
            ),
        ])
    }
}
