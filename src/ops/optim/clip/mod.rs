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

fn sum_kernel(vec: bool) -> Kernel {
    Kernel::new(shader!("optim/clip_sum")).flag("VEC", vec)
}
fn factor_kernel(scaled: bool) -> Kernel {
    Kernel::new(shader!("optim/clip_factor")).flag("SCALED", scaled)
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct ScaledParams {
    partials: u32,
    max_norm: f32,
    growth: f32,
    most: f32,
}

/// A loss scale (Micikevicius et al. 2018, "Mixed precision training"), and how it moves.
#[derive(Clone, Copy, Debug)]
pub struct Scaled<'a> {
    /// `[scale, finite gradients in a row]`, f32 `[2]`.
    pub state: &'a Tensor,
    /// Finite gradients in a row after which it doubles.
    pub growth: u32,
    /// The largest that it doubles to.
    pub most: f32,
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
/// Sums are taken in an order that depends on the size and the device's class alone.
///
/// # Errors
/// If `max_norm` is not above 0, or `x` is empty or no f32.
pub fn global_norm(x: &Tensor, max_norm: f32) -> Result<Tensor> {
    global_norm_over(std::slice::from_ref(x), max_norm)
}

/// [`global_norm`] over tensors, one behind the other, all but the last of whole blocks of 64
/// elements. The bits are those of one tensor that holds them all.
///
/// # Errors
/// As [`global_norm`].
pub(crate) fn global_norm_over(parts: &[Tensor], max_norm: f32) -> Result<Tensor> {
    let limit = binding_limit(parts)?;
    global_norm_in_chunks(parts, max_norm, limit)
}

/// Returns the bytes that the device binds at once.
fn binding_limit(parts: &[Tensor]) -> Result<u64> {
    let none = || Error::shape("clip", "f32, one element at least", "no tensor");
    let gpu = parts.first().ok_or_else(none)?.gpu();
    Ok(gpu.limits().max_storage_buffer_binding_size)
}

fn global_norm_in_chunks(parts: &[Tensor], max_norm: f32, limit: u64) -> Result<Tensor> {
    let partial = partial_sums(parts, max_norm, limit)?;
    let report = Tensor::empty(partial.gpu(), &[3], DType::F32)?;
    // f32's largest number stands for infinity, which a driver may assume away.
    let params = FactorParams {
        partials: partial.len() as u32,
        max_norm: max_norm.min(f32::MAX),
    };
    partial.gpu().dispatch(
        "clip",
        &factor_kernel(false),
        &[&partial, &report],
        &params,
        [1, 1, 1],
        work(partial.len()),
    )?;
    Ok(report)
}

/// [`global_norm`] of gradients that were multiplied by a loss scale: `[norm, factor, finite,
/// scale]`, f32 `[4]`. The norm is that of the gradients without it, and the factor, which clips
/// them to `max_norm`, takes the scale off them. Then the scale moves: it halves, to 1 at least,
/// where they were not finite, and doubles after a run of those that were.
///
/// # Errors
/// As [`global_norm`], or if the state is no f32 `[2]`.
pub fn scaled_norm(x: &Tensor, max_norm: f32, scaled: Scaled) -> Result<Tensor> {
    scaled_norm_over(std::slice::from_ref(x), max_norm, scaled)
}

/// [`scaled_norm`] over tensors, as [`global_norm_over`] takes them.
///
/// # Errors
/// As [`scaled_norm`].
pub(crate) fn scaled_norm_over(parts: &[Tensor], max_norm: f32, scaled: Scaled) -> Result<Tensor> {
    let state = scaled.state;
    if state.dtype() != DType::F32 || state.shape() != [2] {
        let expected = "the state of a loss scale, f32 [2]";
        return Err(Error::shape("clip", expected, format!("{state:?}")));
    }
    let partial = partial_sums(parts, max_norm, binding_limit(parts)?)?;
    let gpu = partial.gpu();
    let report = Tensor::empty(gpu, &[4], DType::F32)?;
    let params = ScaledParams {
        partials: partial.len() as u32,
        max_norm: max_norm.min(f32::MAX),
        growth: scaled.growth as f32,
        most: scaled.most,
    };
    gpu.dispatch(
        "clip",
        &factor_kernel(true),
        &[&partial, &report, state],
        &params,
        [1, 1, 1],
        work(partial.len()),
    )?;
    Ok(report)
}

/// A piece of the tensors that the device binds at once: a tensor and the number of its first unit.
struct Piece {
    tensor: Tensor,
    start: usize,
}

/// The sums of the squares of equal shares of all elements, the first of two passes. Where the
/// tensors end changes no share: one that lies in several is brought together first.
fn partial_sums(parts: &[Tensor], max_norm: f32, limit: u64) -> Result<Tensor> {
    if max_norm.is_nan() || max_norm <= 0.0 {
        return Err(Error::invalid(
            "clip",
            format!("a maximal norm of {max_norm}: it must be above 0"),
        ));
    }
    for x in parts {
        if x.dtype() != DType::F32 || x.is_empty() {
            return Err(Error::shape(
                "clip",
                "f32, one element at least",
                format!("{x:?}"),
            ));
        }
    }
    let gpu = parts[0].gpu();
    let vec = gpu.class().is_gpu() && parts.iter().all(|x| x.len().is_multiple_of(4));
    let width = if vec { 4 } else { 1 };
    // Whole rounds of a workgroup, so that small tensors do not spread thin: at least four of them,
    // or one of vec4s.
    let units = parts.iter().map(Tensor::len).sum::<usize>() / width;
    let share = units
        .div_ceil(GROUPS)
        .next_multiple_of(256)
        .max(1024 / width);
    let (mut pieces, mut start) = (Vec::new(), 0);
    for x in parts {
        let flat = x.reshape(&[x.len()])?;
        for (at, n) in chunks(x.len(), limit) {
            let tensor = flat.view(at, &[n])?;
            pieces.push(Piece { tensor, start });
            start += n / width;
        }
    }
    let partial = Tensor::empty(gpu, &[units.div_ceil(share)], DType::F32)?;
    let sum = |tensor: &Tensor, first: usize| {
        let n = tensor.len() / width;
        let params = SumParams {
            n: n as u32,
            share: share as u32,
            first: first as u32,
        };
        gpu.dispatch(
            "clip",
            &sum_kernel(vec),
            &[tensor, &partial],
            &params,
            [n.div_ceil(share) as u32, 1, 1],
            work(tensor.len()),
        )
    };
    for piece in &pieces {
        let end = piece.start + piece.tensor.len() / width;
        let (first, last) = match end == units {
            true => (piece.start.div_ceil(share), units.div_ceil(share)),
            false => (piece.start.div_ceil(share), end / share),
        };
        if first < last {
            let at = (first * share - piece.start) * width;
            let n = (last * share).min(end) * width - first * share * width;
            sum(&piece.tensor.view(at, &[n])?, first)?;
        }
        // The share that begins in this piece and ends in another.
        if first <= last && end < units && !end.is_multiple_of(share) {
            let from = end / share * share;
            let to = (from + share).min(units);
            sum(&gathered(gpu, &pieces, width, [from, to])?, end / share)?;
        }
    }
    Ok(partial)
}

/// Returns a copy of the units `from` to `to`, which lie in several pieces.
fn gathered(gpu: &Gpu, pieces: &[Piece], width: usize, [from, to]: [usize; 2]) -> Result<Tensor> {
    let all = Tensor::empty(gpu, &[(to - from) * width], DType::F32)?;
    for Piece { tensor, start } in pieces {
        let end = start + tensor.len() / width;
        let (own, after) = (from.max(*start), to.min(end));
        if own < after {
            let (at, skipped) = ((own - from) * width, (own - start) * width);
            all.copy_part(at, tensor, skipped, (after - own) * width)?;
        }
    }
    Ok(all)
}

/// The registry's row.
pub struct Clip;

const MAX_NORM: f32 = 2.5;
const GROWTH: u32 = 5;

impl Operation for Clip {
    fn name(&self) -> &'static str {
        "clip"
    }
    fn cases(&self) -> Vec<Case> {
        [1, 2, 13, 1024, 1025, 5_004, 10_007, 1_100_003, 1_100_004]
            .into_iter()
            .map(|n| case(&[("n", n)]))
            .collect()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 1 << 20)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        // Every other scale is at the end of its run.
        let run = GROWTH - 1 - case.get("n") as u32 % 2;
        vec![
            rng.normals(&[case.get("n")]),
            HostTensor::f32(&[2], vec![1024.0, run as f32]),
        ]
    }
    fn run(&self, _: &Gpu, _: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let state = inputs[1].duplicate()?;
        let scaled = scaled_norm(
            &inputs[0],
            MAX_NORM / 1024.0,
            Scaled {
                state: &state,
                growth: GROWTH,
                most: 65536.0,
            },
        )?;
        Ok(vec![global_norm(&inputs[0], MAX_NORM)?, scaled, state])
    }
    fn time(&self, _: &Gpu, _: &Case, inputs: &[Tensor]) -> Result<()> {
        global_norm(&inputs[0], MAX_NORM).map(drop)
    }
    fn timed_outputs(&self) -> &'static [usize] {
        &[0]
    }
    fn reference(&self, _: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let (x, state) = (inputs[0].as_f64(), inputs[1].as_f64());
        let (scaled, state) =
            reference::scaled_norm(x, MAX_NORM as f64 / 1024.0, [state[0], state[1]], GROWTH);
        vec![
            HostTensor::f64(&[3], reference::global_norm(x, MAX_NORM as f64).to_vec()),
            HostTensor::f64(&[4], scaled.to_vec()),
            HostTensor::f64(&[2], state.to_vec()),
        ]
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
        vec![
            sum_kernel(false),
            sum_kernel(true),
            factor_kernel(false),
            factor_kernel(true),
        ]
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
            refused(
                "a scale of four numbers",
                scaled_norm(
                    &x,
                    1.0,
                    Scaled {
                        state: &x,
                        growth: 1,
                        most: 1.0,
                    },
                ),
            ),
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

    /// A scale halves where gradients are not finite, and doubles after a run of those that are,
    /// between its bounds; the report has the scale that they were multiplied by.
    #[test]
    fn a_scale_halves_and_doubles() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let state = Tensor::from_slice(&gpu, &[2], &[4.0f32, 0.0]).unwrap();
        let mut seen = Vec::new();
        for value in [1.0, 1.0, 1.0, 1.0, f32::INFINITY, 1.0, 1.0, f32::NAN, 1e38] {
            let x = Tensor::from_slice(&gpu, &[3], &[0.0, value, 0.0]).unwrap();
            let scaled = Scaled {
                state: &state,
                growth: 2,
                most: 8.0,
            };
            let report = scaled_norm(&x, f32::INFINITY, scaled).unwrap();
            let [norm, factor, finite, scale] = report.read::<f32>().unwrap()[..] else {
                panic!("four numbers")
            };
            if value == 1.0 {
                assert_eq!((norm, factor, finite), (1.0 / scale, 1.0 / scale, 1.0));
            } else {
                assert_eq!((factor, finite), (0.0, 0.0));
            }
            seen.push(scale);
        }
        assert_eq!(seen, [4.0, 4.0, 8.0, 8.0, 8.0, 4.0, 4.0, 8.0, 4.0]);
        for _ in 0..3 {
            let x = Tensor::from_slice(&gpu, &[1], &[f32::NAN]).unwrap();
            let scaled = Scaled {
                state: &state,
                growth: 2,
                most: 8.0,
            };
            scaled_norm(&x, 1.0, scaled).unwrap();
        }
        assert_eq!(state.read::<f32>().unwrap(), [1.0, 0.0]);
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
        let bits = |parts: &[Tensor], limit| {
            let norm = global_norm_in_chunks(parts, f32::INFINITY, limit).unwrap();
            norm.read::<f32>().unwrap()[0].to_bits()
        };
        let one = std::slice::from_ref(&x);
        // Parts that end within shares, and that are smaller than one.
        for limit in [8192, 4096 + 256, 2048, 256] {
            assert_eq!(bits(one, limit), whole[0].to_bits(), "{limit}");
        }
        let mut parts = Vec::new();
        let mut at = 0;
        for n in [64, 3200, 64, 192, 4096, 2384] {
            parts.push(x.view(at, &[n]).unwrap());
            at += n;
        }
        assert_eq!(at, x.len());
        assert_eq!(bits(&parts, 1 << 20), whole[0].to_bits());
        assert_eq!(bits(&parts, 1024), whole[0].to_bits());
    }
}
