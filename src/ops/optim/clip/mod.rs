//! The global norm of all gradients and the factor that clips it, both left on the device.

pub(crate) mod reference;

use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, chunks};
use crate::spec::{Case, ErrorInputs, HostTensor, Operation, Rng, Tolerance, case, refused};
use crate::{Error, Result, shader};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct SumParams {
    n: u32,
    share: u32,
    first: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct FactorParams {
    partials: u32,
    max_norm: f32,
}

fn sum_kernel() -> Kernel {
    Kernel::new(shader!("optim/clip_sum"))
}
fn factor_kernel() -> Kernel {
    Kernel::new(shader!("optim/clip_factor"))
}

/// Workgroups of the first pass at most: enough to fill a device, few enough for one workgroup to
/// add up.
const GROUPS: usize = 1024;

fn work(n: usize) -> Work {
    Work {
        flops: 2.0 * n as f64,
        bytes: 4.0 * n as f64,
    }
}

/// Computes `[norm, factor, finite]`, f32 `[3]`: the L2 norm over all of `x`, f32 of any shape, and
/// `factor = min(1, max_norm / (norm + 1e-6))`, by which a clipped gradient is multiplied (Pascanu
/// et al. 2013, in PyTorch's form). An infinite `max_norm` only measures.
///
/// If an element is not finite, or the sum of squares overflows f32 (a norm beyond 1.8e19), the
/// norm is infinite or NaN, and factor and finite are 0; [`super::adam::adam`] then skips the step.
/// Sums are taken in an order that depends on the size alone.
///
/// # Errors
/// If `max_norm` is not above 0, or `x` is empty or no f32.
pub fn global_norm(x: &Tensor, max_norm: f32) -> Result<Tensor> {
    global_norm_in_chunks(
        x,
        max_norm,
        x.gpu().limits().max_storage_buffer_binding_size,
    )
}

fn global_norm_in_chunks(x: &Tensor, max_norm: f32, limit: u64) -> Result<Tensor> {
    if max_norm.is_nan() || max_norm <= 0.0 {
        return Err(Error::invalid(
            "clip",
            format!("a maximal norm of {max_norm}: it must be above 0"),
        ));
    }
    if x.dtype() != DType::F32 || x.is_empty() {
        return Err(Error::shape(
            "clip",
            "f32, one element at least",
            format!("{x:?}"),
        ));
    }
    let gpu = x.gpu();
    // Whole rounds of a workgroup, at least four of them, so that small tensors do not spread thin.
    let share = x.len().div_ceil(GROUPS).next_multiple_of(256).max(1024);
    let parts: Vec<_> = chunks(x.len(), limit).collect();
    let count: usize = parts.iter().map(|(_, n)| n.div_ceil(share)).sum();
    let partial = Tensor::empty(gpu, &[count], DType::F32)?;
    let flat = x.reshape(&[x.len()])?;
    let mut first = 0;
    for (start, n) in parts {
        let groups = n.div_ceil(share);
        let params = SumParams {
            n: n as u32,
            share: share as u32,
            first: first as u32,
        };
        let part = flat.view(start, &[n])?;
        gpu.dispatch(
            "clip",
            &sum_kernel(),
            &[&part, &partial],
            &params,
            [groups as u32, 1, 1],
            work(n),
        )?;
        first += groups;
    }
    let report = Tensor::empty(gpu, &[3], DType::F32)?;
    // f32's largest number stands for infinity, which a driver may assume away.
    let params = FactorParams {
        partials: count as u32,
        max_norm: max_norm.min(f32::MAX),
    };
    gpu.dispatch(
        "clip",
        &factor_kernel(),
        &[&partial, &report],
        &params,
        [1, 1, 1],
        work(count),
    )?;
    Ok(report)
}

/// The registry's row.
pub struct Clip;

const MAX_NORM: f32 = 2.5;

impl Operation for Clip {
    fn name(&self) -> &'static str {
        "clip"
    }
    fn cases(&self) -> Vec<Case> {
        [1, 2, 13, 1024, 1025, 10_007, 1_100_003]
            .into_iter()
            .map(|n| case(&[("n", n)]))
            .collect()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 1 << 20)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        vec![rng.normals(&[case.get("n")])]
    }
    fn run(&self, _: &Gpu, _: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![global_norm(&inputs[0], MAX_NORM)?])
    }
    fn reference(&self, _: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        vec![HostTensor::f64(
            &[3],
            reference::global_norm(inputs[0].as_f64(), MAX_NORM as f64).to_vec(),
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        // A sum of positive terms of few thousand roundings in a row at most, and the root halves
        // its error.
        Tolerance {
            abs: 1e-7,
            rel: 1e-5,
        }
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![sum_kernel(), factor_kernel()]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let (x, integers) = (
            Tensor::zeros(gpu, &[4], DType::F32)?,
            Tensor::zeros(gpu, &[4], DType::U32)?,
        );
        let nothing = Tensor::empty(gpu, &[0], DType::F32)?;
        Ok(vec![
            refused("a norm of 0", global_norm(&x, 0.0)),
            refused("a negative norm", global_norm(&x, -1.0)),
            refused("a norm of NaN", global_norm(&x, f32::NAN)),
            refused("integers", global_norm(&integers, 1.0)),
            refused("nothing", global_norm(&nothing, 1.0)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Options;

    #[test]
    fn what_is_not_finite_is_reported() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let report = |bad: f32, at: usize| -> Vec<f32> {
            let mut x = vec![0.5f32; 5000];
            x[at] = bad;
            global_norm(&Tensor::from_slice(&gpu, &[5000], &x).unwrap(), 1.0)
                .unwrap()
                .read()
                .unwrap()
        };
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30] {
            for at in [0, 63, 1024, 4999] {
                let [norm, factor, finite] = report(bad, at)[..] else {
                    panic!("three numbers")
                };
                assert!(
                    !norm.is_finite() && factor == 0.0 && finite == 0.0,
                    "{bad} at {at}: {norm} {factor} {finite}"
                );
            }
        }
        assert_eq!(report(0.5, 0)[2], 1.0);
    }

    #[test]
    fn an_infinite_bound_only_measures_and_parts_are_summed_alike() {
        let gpu = Gpu::new(Options {
            poison: true,
            ..Default::default()
        })
        .unwrap();
        let x = Rng::new(3).normals(&[10_000]);
        let x = x.upload(&gpu).unwrap();
        let whole: Vec<f32> = global_norm(&x, f32::INFINITY).unwrap().read().unwrap();
        assert_eq!(whole[1..], [1.0, 1.0]);
        // 2,048 elements a part: two workgroups' shares, so even the order of the sums is that of
        // the whole.
        let parts: Vec<f32> = global_norm_in_chunks(&x, f32::INFINITY, 8192)
            .unwrap()
            .read()
            .unwrap();
        assert_eq!(whole[0].to_bits(), parts[0].to_bits());
    }
}
