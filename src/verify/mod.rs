//! Checking operations against their references. Every comparison is written so that NaN and
//! "nothing was compared" fail.

mod answers;
mod chosen;
mod gradient_check;
pub mod pairwise;

pub use answers::{gradients, outputs, shapes};
pub use chosen::chosen;
pub use gradient_check::{GradientCheck, gradient_check};

use crate::autograd::Tape;
use crate::gpu::{Core, DType, Gpu, Tensor};
use crate::ops::elementwise::cast::cast;
use crate::spec::{Case, Data, HostTensor, Operation, Rng, Tolerance};
use crate::spec::{Verdict, compare};
use crate::{Error, Result};

fn widen(inputs: &[HostTensor]) -> Vec<HostTensor> {
    inputs.iter().map(HostTensor::widened).collect()
}

/// Inputs that the device's matrix core takes as they are. The `coopmat` core rounds its operands
/// to f16: they get values that f16 has (11 bits, and below 2^-14 an error under 2^-25), so that
/// its sums are held to what f32 sums are held to.
fn representable(gpu: &Gpu, mut inputs: Vec<HostTensor>) -> Vec<HostTensor> {
    if gpu.core() == Core::Coopmat {
        for host in &mut inputs {
            if let Data::F32(values) = &mut host.data {
                for v in values.iter_mut().filter(|v| v.is_finite()) {
                    *v = f32::from_bits((v.to_bits() + 0x1000) & !0x1fff);
                }
            }
        }
    }
    inputs
}

/// Returns the inputs of a case as the operation takes them: those that a case of `half=1` has as
/// f16 are rounded to it.
pub fn made(gpu: &Gpu, op: &dyn Operation, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
    let mut inputs = representable(gpu, op.inputs(case, rng));
    if case.get("half") == 1 {
        for i in op.halves() {
            if let Data::F32(values) = &mut inputs[*i].data {
                values
                    .iter_mut()
                    .for_each(|v| *v = half::f16::from_f32(*v).to_f32());
            }
        }
    }
    inputs
}

/// Returns the inputs of a case on the device.
///
/// # Errors
/// If they do not fit it.
pub fn upload(
    gpu: &Gpu,
    op: &dyn Operation,
    case: &Case,
    inputs: &[HostTensor],
) -> Result<Vec<Tensor>> {
    let halves = if case.get("half") == 1 {
        op.halves()
    } else {
        &[]
    };
    let one = |(i, host): (usize, &HostTensor)| {
        let tensor = host.upload(gpu)?;
        if halves.contains(&i) {
            cast(&tensor, DType::F16)
        } else {
            Ok(tensor)
        }
    };
    inputs.iter().enumerate().map(one).collect()
}

/// Returns the tolerance of a value that was rounded to a type of 16 bits on its way to memory:
/// half a unit in the last place, one where a device's own conversion cuts off.
fn stored(dtype: DType, tolerance: Tolerance) -> Tolerance {
    match dtype {
        DType::F16 => Tolerance {
            abs: tolerance.abs + 6e-8,
            rel: tolerance.rel + 1.0 / 1024.0,
        },
        _ => tolerance,
    }
}

/// Returns the tolerance with what the `coopmat` core adds to it where it rounds, `rounded`.
fn on_core(gpu: &Gpu, rounded: f64, tolerance: Tolerance) -> Tolerance {
    let rounded = if gpu.core() == Core::Coopmat {
        rounded
    } else {
        0.0
    };
    Tolerance {
        abs: tolerance.abs + rounded,
        ..tolerance
    }
}

/// The outputs of a case on a device.
struct Forward {
    inputs: Vec<HostTensor>,
    outputs: Vec<HostTensor>,
    types: Vec<DType>,
    /// Which of the reference's outputs they are; none for all.
    which: &'static [usize],
}

/// The gradients of a case on a device, by [`Gradient::wrt`](crate::spec::Gradient::wrt), for a
/// random upstream gradient.
struct Backward {
    inputs: Vec<HostTensor>,
    upstream: HostTensor,
    gradients: Vec<Option<HostTensor>>,
}

impl Forward {
    fn run(gpu: &Gpu, op: &dyn Operation, case: &Case, seed: u64) -> Result<Forward> {
        let inputs = made(gpu, op, case, &mut Rng::new(seed));
        let tensors = upload(gpu, op, case, &inputs)?;
        let outputs = op.run(gpu, case, &tensors)?;
        let types: Vec<DType> = outputs.iter().map(Tensor::dtype).collect();
        let outputs = outputs
            .iter()
            .map(HostTensor::download)
            .collect::<Result<Vec<HostTensor>>>()?;
        Ok(Forward {
            inputs,
            outputs,
            types,
            which: &[],
        })
    }

    fn judge(self, gpu: &Gpu, op: &dyn Operation, case: &Case, flops: f64) -> Result<Verdict> {
        let Forward {
            inputs,
            outputs: got,
            types,
            which,
        } = self;
        let part = if op.work(case).flops > flops {
            op.excerpt(case, &inputs, &got, flops)
        } else {
            None
        };
        let (case, inputs, got) = part.unwrap_or_else(|| (case.clone(), inputs, got));
        let mut want = op.reference(&case, &widen(&inputs));
        let all: Vec<usize> = (0..want.len()).collect();
        let which = if which.is_empty() { &all[..] } else { which };
        want = which.iter().filter_map(|i| want.get(*i).cloned()).collect();
        if let Some(verdict) = op.compare(&case, &inputs, &got, &want) {
            return Ok(verdict);
        }
        if got.len() != want.len() || want.is_empty() {
            return Ok(Verdict::failure(format!(
                "{}: {} outputs, expected {}",
                op.name(),
                got.len(),
                want.len()
            )));
        }
        let verdicts = got.iter().zip(&want).enumerate().map(|(i, (got, want))| {
            let output = which[i];
            let tolerance = op.tolerance(&case, output);
            let rounded = op.rounded_output(&case, output);
            let tolerance = on_core(gpu, rounded, stored(types[i], tolerance));
            compare(
                &format!("{}({case}) output {output}", op.name()),
                got,
                want,
                tolerance,
            )
        });
        verdicts
            .reduce(Verdict::join)
            .ok_or_else(|| Error::data(format!("{}: no output", op.name())))
    }
}

impl Backward {
    fn run(gpu: &Gpu, op: &dyn Operation, case: &Case, seed: u64) -> Result<Option<Backward>> {
        let Some(gradient) = op.gradient() else {
            return Ok(None);
        };
        let mut rng = Rng::new(seed);
        let inputs = made(gpu, op, case, &mut rng);
        let wrt = gradient.wrt(case);
        let tape = Tape::new(gpu);
        let mut vars = Vec::new();
        for (i, tensor) in upload(gpu, op, case, &inputs)?.iter().enumerate() {
            vars.push(if wrt.contains(&i) {
                tape.leaf(tensor)
            } else {
                tape.constant(tensor)
            });
        }
        let output = gradient.record(&tape, case, &vars)?;
        let upstream =
            representable(gpu, vec![rng.normals(output.tensor().shape())]).swap_remove(0);
        let gradients = tape.backward_with(&output, upstream.upload(gpu)?)?;
        let download = |input: &usize| {
            gradients
                .get(&vars[*input])
                .map(HostTensor::download)
                .transpose()
        };
        let gradients = wrt.iter().map(download).collect::<Result<_>>()?;
        Ok(Some(Backward {
            inputs,
            upstream,
            gradients,
        }))
    }

    fn judge(&self, gpu: &Gpu, op: &dyn Operation, case: &Case) -> Option<Verdict> {
        let gradient = op.gradient()?;
        let want = gradient.reference(case, &widen(&self.inputs), &self.upstream.widened());
        let slots = gradient
            .wrt(case)
            .into_iter()
            .zip(&self.gradients)
            .zip(&want)
            .enumerate();
        let verdicts = slots.map(|(slot, ((input, got), want))| {
            let what = format!("{}({case}) gradient of input {input}", op.name());
            match got {
                Some(got) => compare(
                    &what,
                    got,
                    want,
                    on_core(gpu, op.rounded(case), gradient.tolerance(case, slot)),
                ),
                None => Verdict::failure(format!("{what}: none arrived")),
            }
        });
        verdicts.reduce(Verdict::join)
    }
}

/// The outputs of a case on the device, forward and backward, before they are compared with the
/// reference. The device's part and the reference's may run on threads of their own.
pub struct Ran {
    forward: Forward,
    backward: Option<Backward>,
}

/// Runs a case on the device, forward and with a random upstream gradient backward.
///
/// # Errors
/// If the case does not run.
pub fn run(gpu: &Gpu, op: &dyn Operation, case: &Case, seed: u64) -> Result<Ran> {
    Ok(Ran {
        forward: Forward::run(gpu, op, case, seed)?,
        backward: Backward::run(gpu, op, case, seed)?,
    })
}

impl Ran {
    /// Compares every output and every gradient with the reference's. The second is `None` for an
    /// operation that has no gradient.
    ///
    /// # Errors
    /// If the operation has no output.
    pub fn judge(
        self,
        gpu: &Gpu,
        op: &dyn Operation,
        case: &Case,
    ) -> Result<(Verdict, Option<Verdict>)> {
        let backward = self.backward.and_then(|ran| ran.judge(gpu, op, case));
        Ok((self.forward.judge(gpu, op, case, f64::INFINITY)?, backward))
    }
}

/// Runs a case on the device and compares every output with the reference's.
pub fn forward(gpu: &Gpu, op: &dyn Operation, case: &Case, seed: u64) -> Result<Verdict> {
    forward_part(gpu, op, case, seed, f64::INFINITY)
}

/// [`forward`], comparing an [`Operation::excerpt`] where the whole would cost more than `flops`.
pub fn forward_part(
    gpu: &Gpu,
    op: &dyn Operation,
    case: &Case,
    seed: u64,
    flops: f64,
) -> Result<Verdict> {
    Forward::run(gpu, op, case, seed)?.judge(gpu, op, case, flops)
}

/// Runs a case on the tape with a random upstream gradient and compares every gradient with the
/// reference's. `None` for an operation that has no gradient.
pub fn backward(gpu: &Gpu, op: &dyn Operation, case: &Case, seed: u64) -> Result<Option<Verdict>> {
    Ok(Backward::run(gpu, op, case, seed)?.and_then(|ran| ran.judge(gpu, op, case)))
}

/// Whether the elements of both are equal, bit by bit.
#[cfg(not(target_arch = "wasm32"))]
fn same_bits(what: &str, one: &HostTensor, other: &HostTensor) -> Verdict {
    let bits = |host: &HostTensor| -> Vec<u64> {
        match &host.data {
            Data::F32(v) => v.iter().map(|x| u64::from(x.to_bits())).collect(),
            Data::F64(v) => v.iter().map(|x| x.to_bits()).collect(),
            Data::U32(v) => v.iter().map(|x| u64::from(*x)).collect(),
            Data::U8(v) => v.iter().map(|x| u64::from(*x)).collect(),
        }
    };
    let (a, b) = (bits(one), bits(other));
    match a.iter().zip(&b).position(|(a, b)| a != b) {
        _ if one.shape != other.shape || a.len() != b.len() => Verdict::failure(format!(
            "{what}: shapes {:?} and {:?}",
            one.shape, other.shape
        )),
        Some(i) => Verdict::failure(format!(
            "{what}[{i}] of {}: {:#x} without naga's bounds checks, {:#x} with them",
            a.len(),
            a[i],
            b[i]
        )),
        None => Verdict {
            compared: a.len(),
            worst: 0.0,
            max_error: 0.0,
            detail: format!("{what}: the same bits"),
            pass: true,
        },
    }
}

/// Runs a case, forward and backward, on two engines with guard bands, the first without naga's
/// bounds checks and the second with them: both leave the bands as they were, both give the same
/// bits, and the first agrees with the reference. `checked` is asked for the second once the first
/// has run, when it is known what that dispatched; where it returns none, there is no second run.
///
/// # Errors
/// If the case does not run.
#[cfg(not(target_arch = "wasm32"))]
pub fn guarded<'a>(
    unchecked: &Gpu,
    checked: impl FnOnce() -> Option<&'a Gpu>,
    op: &dyn Operation,
    case: &Case,
    seed: u64,
) -> Result<Vec<Verdict>> {
    let mut verdicts = Vec::new();
    let mut run = |gpu: &Gpu, checks: &str| -> Result<(Forward, Option<Backward>)> {
        let ran = (
            Forward::run(gpu, op, case, seed)?,
            Backward::run(gpu, op, case, seed)?,
        );
        if let Err(e) = gpu.check_guard_bands() {
            verdicts.push(Verdict::failure(format!(
                "{}({case}), bounds checks {checks}: {e}",
                op.name()
            )));
        }
        Ok(ran)
    };
    let (forward, backward) = run(unchecked, "off")?;
    let again = checked().map(|gpu| run(gpu, "on")).transpose()?;
    if let Some((forward_checked, backward_checked)) = again {
        for (i, (one, other)) in forward
            .outputs
            .iter()
            .zip(&forward_checked.outputs)
            .enumerate()
        {
            verdicts.push(same_bits(
                &format!("{}({case}) output {i}", op.name()),
                one,
                other,
            ));
        }
        if let (Some(one), Some(other)) = (&backward, &backward_checked) {
            for (i, pair) in one.gradients.iter().zip(&other.gradients).enumerate() {
                if let (Some(one), Some(other)) = pair {
                    verdicts.push(same_bits(
                        &format!("{}({case}) gradient {i}", op.name()),
                        one,
                        other,
                    ));
                }
            }
        }
    }
    verdicts.extend(backward.and_then(|ran| ran.judge(unchecked, op, case)));
    verdicts.push(forward.judge(unchecked, op, case, f64::INFINITY)?);
    Ok(verdicts)
}

/// Compares the reference's gradient with central differences of the reference in f64, at up to
/// `samples` elements per input: eps 1e-6, tolerance 1e-3 relative and 1e-5 absolute, as PyTorch's
/// gradcheck has them.
pub fn differences(op: &dyn Operation, case: &Case, seed: u64, samples: usize) -> Option<Verdict> {
    let gradient = op.gradient()?;
    let mut rng = Rng::new(seed);
    let inputs = widen(&op.inputs(case, &mut rng));
    let output = gradient.surrogate(op, case, &inputs, &inputs);
    let upstream = rng.normals(&output.shape).widened();
    let analytic = gradient.reference(case, &inputs, &upstream);
    let objective = |moved: &[HostTensor]| -> f64 {
        let y = gradient.surrogate(op, case, &inputs, moved);
        y.as_f64()
            .iter()
            .zip(upstream.as_f64())
            .map(|(y, g)| y * g)
            .sum()
    };
    let (mut got, mut want) = (Vec::new(), Vec::new());
    for (slot, input) in gradient.wrt(case).into_iter().enumerate() {
        let len = inputs[input].len();
        let chosen: Vec<usize> = if len <= samples {
            (0..len).collect()
        } else {
            (0..samples).map(|_| rng.below(len)).collect()
        };
        for i in chosen {
            let shifted = |by: f64| {
                let mut moved = inputs.clone();
                if let Data::F64(v) = &mut moved[input].data {
                    v[i] += by;
                }
                objective(&moved)
            };
            let eps = 1e-6;
            got.push(analytic[slot].as_f64()[i]);
            want.push((shifted(eps) - shifted(-eps)) / (2.0 * eps));
        }
    }
    let n = got.len();
    let tolerance = Tolerance {
        abs: 1e-5,
        rel: 1e-3,
    };
    Some(compare(
        &format!("{}({case}) reference against differences", op.name()),
        &HostTensor::f64(&[n], got),
        &HostTensor::f64(&[n], want),
        tolerance,
    ))
}
