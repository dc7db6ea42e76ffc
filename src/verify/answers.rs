//! Answers of other libraries, held against the references.

use super::{Forward, on_core, upload, widen};
use crate::Result;
use crate::gpu::{DType, Gpu};
use crate::spec::{Case, HostTensor, Operation, Verdict, compare};

/// Returns the shapes of an operation's outputs, those that the timed call makes, as ours has them.
///
/// # Errors
/// If the operation does not run.
pub fn shapes(
    gpu: &Gpu,
    op: &dyn Operation,
    case: &Case,
    inputs: &[HostTensor],
) -> Result<Vec<Vec<usize>>> {
    let outputs = op.run(gpu, case, &upload(gpu, op, case, inputs)?)?;
    let all = outputs.iter().map(|y| y.shape().to_vec()).enumerate();
    let timed = op.timed_outputs();
    Ok(all
        .filter(|(i, _)| timed.is_empty() || timed.contains(i))
        .map(|(_, shape)| shape)
        .collect())
}

/// Compares what another library made of inputs with the reference's outputs, or an
/// [`Operation::excerpt`] of them where the whole would cost more than `flops`. `shapes` are those
/// of the outputs that ours has: [`shapes`].
///
/// # Errors
/// If the operation has no output.
pub fn outputs(
    gpu: &Gpu,
    op: &dyn Operation,
    case: &Case,
    inputs: Vec<HostTensor>,
    outputs: Vec<HostTensor>,
    shapes: &[Vec<usize>],
    flops: f64,
) -> Result<Verdict> {
    let outputs = op.answer(case, &inputs, outputs);
    let there: Vec<Vec<usize>> = outputs.iter().map(|y| y.shape.clone()).collect();
    // A part is taken only of what has its shape.
    if there != shapes {
        let what = format!("{}: shapes {there:?}, expected {shapes:?}", op.name());
        return Ok(Verdict::failure(what));
    }
    let types = vec![DType::F32; outputs.len()];
    let forward = Forward {
        inputs,
        outputs,
        types,
        which: op.timed_outputs(),
    };
    forward.judge(gpu, op, case, flops)
}

/// Compares the gradients that another library computed, by
/// [`Gradient::timed_wrt`](crate::spec::Gradient::timed_wrt), with the reference's. `None` for an
/// operation that has no gradient.
pub fn gradients(
    gpu: &Gpu,
    op: &dyn Operation,
    case: &Case,
    inputs: &[HostTensor],
    upstream: &HostTensor,
    got: &[HostTensor],
) -> Option<Verdict> {
    let gradient = op.gradient()?;
    let (wrt, timed) = (gradient.wrt(case), gradient.timed_wrt(case));
    if got.len() != timed.len() {
        let (there, wanted) = (got.len(), timed.len());
        let what = format!("{}: {there} gradients, expected {wanted}", op.name());
        return Some(Verdict::failure(what));
    }
    let want = gradient.reference(case, &widen(inputs), &upstream.widened());
    let verdicts = timed.iter().zip(got).filter_map(|(input, got)| {
        let slot = wrt.iter().position(|i| i == input)?;
        Some(compare(
            &format!("{}({case}) gradient of input {input}", op.name()),
            got,
            want.get(slot)?,
            on_core(gpu, op.rounded(case), gradient.tolerance(case, slot)),
        ))
    });
    verdicts.reduce(Verdict::join)
}
