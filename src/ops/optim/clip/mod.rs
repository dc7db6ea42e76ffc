//! The global norm of all gradients and the factor that clips it, both left on the device.

pub(crate) mod reference;
mod sums;

use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::spec::{Case, ErrorInputs, HostTensor, Operation, Rng, Tolerance, case, refused};
use crate::{Error, Result, shader};
use sums::{partial_sums, sum_kernel};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct FactorParams {
    partials: u32,
    max_norm: f32,
}

/// The ways in which a norm is made of its sums.
#[derive(Clone, Copy, PartialEq)]
enum Factor {
    Plain,
    Scaled,
    /// Scaled, and finite only where others are.
    Beside,
    /// As those others take it, by the report of the first.
    Follows,
}

fn factor_kernel(factor: Factor) -> Kernel {
    Kernel::new(shader!("optim/clip_factor"))
        .flag("SCALED", matches!(factor, Factor::Scaled | Factor::Beside))
        .flag("BESIDE", factor == Factor::Beside)
        .flag("FOLLOWS", factor == Factor::Follows)
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct ScaledParams {
    partials: u32,
    max_norm: f32,
    growth: f32,
    most: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct BesideParams {
    scaled: ScaledParams,
    beside: u32,
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
        &factor_kernel(Factor::Plain),
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
    scaled_norm_over(std::slice::from_ref(x), max_norm, scaled, None)
}

/// The squares of gradients at a loss scale, summed in parts: what their norm is made of, once it
/// is known whether all that belongs to the step is finite.
#[derive(Clone, Debug)]
pub(crate) struct Squares(Tensor);

/// Returns the squares of gradients in tensors, as [`global_norm_over`] takes them.
///
/// # Errors
/// As there.
pub(crate) fn squares_over(parts: &[Tensor]) -> Result<Squares> {
    let sums = partial_sums(parts, f32::INFINITY, binding_limit(parts)?)?;
    Ok(Squares(sums))
}

/// Returns the norm of the gradients whose squares these are, as [`global_norm`] does without a
/// bound, by the `[norm, factor, finite, scale]` of [`scaled_norm_over`] that they were beside: at
/// its scale, and finite where all were.
///
/// # Errors
/// If the report is no f32 `[4]`, or the device fails.
pub(crate) fn following_norm(squares: &Squares, first: &Tensor) -> Result<Tensor> {
    if first.dtype() != DType::F32 || first.shape() != [4] {
        let expected = "the report of gradients at a loss scale, f32 [4]";
        return Err(Error::shape("clip", expected, format!("{first:?}")));
    }
    let Squares(partial) = squares;
    let report = Tensor::empty(partial.gpu(), &[3], DType::F32)?;
    let params = FactorParams {
        partials: partial.len() as u32,
        max_norm: f32::MAX,
    };
    partial.gpu().dispatch(
        "clip",
        &factor_kernel(Factor::Follows),
        &[partial, &report, first],
        &params,
        [1, 1, 1],
        work(partial.len()),
    )?;
    Ok(report)
}

/// [`scaled_norm`] over tensors, as [`global_norm_over`] takes them. Where there are others
/// `beside`, at the same scale, a step is finite only where these are too.
///
/// # Errors
/// As [`scaled_norm`].
pub(crate) fn scaled_norm_over(
    parts: &[Tensor],
    max_norm: f32,
    scaled: Scaled,
    beside: Option<&Squares>,
) -> Result<Tensor> {
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
    let (one, work) = ([1, 1, 1], work(partial.len()));
    let bindings = [&partial, &report, state];
    match beside {
        None => gpu.dispatch(
            "clip",
            &factor_kernel(Factor::Scaled),
            &bindings,
            &params,
            one,
            work,
        )?,
        Some(Squares(others)) => {
            let params = BesideParams {
                scaled: params,
                beside: others.len() as u32,
            };
            let [partial, report, state] = bindings;
            gpu.dispatch(
                "clip",
                &factor_kernel(Factor::Beside),
                &[partial, report, state, others],
                &params,
                one,
                work,
            )?;
        }
    }
    Ok(report)
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
        // As if these were of other parameters too, whose norm is theirs without a bound.
        let squares = squares_over(&inputs[..1])?;
        let again = inputs[1].duplicate()?;
        let beside = Scaled {
            state: &again,
            growth: GROWTH,
            most: 65536.0,
        };
        let bound = MAX_NORM / 1024.0;
        let beside = scaled_norm_over(&inputs[..1], bound, beside, Some(&squares))?;
        let follows = following_norm(&squares, &beside)?;
        let plain = global_norm(&inputs[0], MAX_NORM)?;
        Ok(vec![plain, scaled, state, beside, again, follows])
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
        let [plain, scaled, state] = [
            HostTensor::f64(&[3], reference::global_norm(x, MAX_NORM as f64).to_vec()),
            HostTensor::f64(&[4], scaled.to_vec()),
            HostTensor::f64(&[2], state.to_vec()),
        ];
        let of_scale = inputs[1].as_f64()[0];
        let own: Vec<f64> = x.iter().map(|x| x / of_scale).collect();
        let [norm, ..] = reference::global_norm(&own, f64::MAX);
        let follows = HostTensor::f64(&[3], vec![norm, 1.0 / of_scale, 1.0]);
        let (beside, again) = (scaled.clone(), state.clone());
        vec![plain, scaled, state, beside, again, follows]
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
            factor_kernel(Factor::Plain),
            factor_kernel(Factor::Scaled),
            factor_kernel(Factor::Beside),
            factor_kernel(Factor::Follows),
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

    /// A step of two is finite where both are, and both are told so, at the scale before it moved.
    #[test]
    fn gradients_beside_others_move_with_them_or_not_at_all() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let of = |value: f32| Tensor::from_slice(&gpu, &[3], &[0.0, value, 0.0]).unwrap();
        let bad = f32::INFINITY;
        for (own, others, finite) in [(6.0, 8.0, 1.0), (bad, 8.0, 0.0), (6.0, f32::NAN, 0.0)] {
            let state = Tensor::from_slice(&gpu, &[2], &[4.0f32, 0.0]).unwrap();
            let scaled = Scaled {
                state: &state,
                growth: 2,
                most: 8.0,
            };
            let squares = squares_over(&[of(others)]).unwrap();
            let first = scaled_norm_over(&[of(own)], bad, scaled, Some(&squares)).unwrap();
            let follows = following_norm(&squares, &first).unwrap();
            let [first, follows] = [first, follows].map(|report| report.read::<f32>().unwrap());
            assert_eq!(first[1..], [finite / 4.0, finite, 4.0]);
            assert_eq!(follows[1..], [finite / 4.0, finite]);
            if finite == 1.0 {
                assert_eq!((first[0], follows[0]), (1.5, 2.0));
            }
            let after = if finite == 1.0 {
                [4.0, 1.0]
            } else {
                [2.0, 0.0]
            };
            assert_eq!(state.read::<f32>().unwrap(), after);
        }
        let squares = squares_over(&[of(1.0)]).unwrap();
        let error = following_norm(&squares, &of(1.0)).unwrap_err();
        assert!(error.to_string().contains("loss scale"), "{error}");
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
