//! A codebook that learns with other ranks.

use super::all_latents;
use crate::Result;
use crate::gpu::{DType, Tensor};
use crate::ops::quantize::gather::gather;
use crate::ops::quantize::restart_dead_codes::restart_row;
use crate::ops::sampling::random::Key;
use crate::parallel::Ranks;
use crate::quantize::quantizer::CodebookBatch;

/// Returns the latents that the codes would become, if dead: those that one rank alone would draw
/// for them of what all ranks saw, [K, D]. Each rank supplies those that it saw.
///
/// It is a message of the same length at every step, whatever codes are dead: ranks that differed
/// about that would wait for each other for ever.
pub(super) fn rows_to_restart(
    ranks: &Ranks,
    seen: &[CodebookBatch],
    codes: usize,
    key: Key,
) -> Result<Tensor> {
    let own = all_latents(seen)?;
    let [n, d] = own.dims("revival")?;
    // Of each batch that was seen, the rows of all ranks lie one rank's after another's.
    let each = n / seen.len().max(1);
    let place = |code: usize| {
        let row = restart_row(code, n * ranks.size(), key);
        let (batch, row) = (row / (each * ranks.size()), row % (each * ranks.size()));
        let here = row / each == ranks.rank();
        // The last row is 0.
        if here { batch * each + row % each } else { n }
    };
    let places: Vec<u32> = (0..codes).map(|code| place(code) as u32).collect();
    let zero = Tensor::zeros(own.gpu(), &[1, d], DType::F32)?;
    let table = Tensor::joined(&[own, zero])?;
    let rows = gather(&table, &Tensor::from_slice(table.gpu(), &[codes], &places)?)?;
    ranks.sum_tensors(&[&rows])?;
    Ok(rows)
}
