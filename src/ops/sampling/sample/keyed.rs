//! Drawing tokens of several places of several sequences at a time.

use super::{OP, Output, SampleOutputs, Sampling, group, kernel, work};
use crate::gpu::{DType, Tensor, groups_for};
use crate::ops::sampling::random::Key;
use crate::{Error, Result};

/// [`sample`](super::sample) with noise of its own for each row: `key_of` u32 [B, 2] has the step
/// and the row's number that `sample` would take. So a token is the same whichever others are drawn
/// in the same call.
///
/// # Errors
/// As [`sample`](super::sample); if a sequence is given, which rows of several places have not.
pub fn sample_keyed(
    logits: &Tensor,
    sampling: &Sampling,
    seed: u64,
    stream: u32,
    key_of: &Tensor,
    to: SampleOutputs,
) -> Result<()> {
    let [rows, v] = sampling.rows(logits)?;
    to.check(rows, sampling)?;
    if key_of.shape() != [rows, 2] || key_of.dtype() != DType::U32 || to.sequence.is_some() {
        let expected = format!("u32 keys [{rows}, 2], and no sequence");
        return Err(Error::shape(OP, expected, format!("{key_of:?}, {to:?}")));
    }
    let step = 0; // each row's own
    let params = sampling.params([rows, v], 0, Key { seed, step, stream });
    let guided = sampling.guidance.is_some();
    logits.gpu().dispatch(
        OP,
        &kernel(Output::KeyedToken, v, guided, group(logits, v)),
        &[logits, to.token, to.log_prob, key_of],
        &params,
        groups_for(rows, 1),
        work(rows, v, sampling),
    )
}
