//! One step of sampling: filters and draws a code, with a cache or without.

use crate::Result;
use crate::gpu::Tensor;
use crate::inference::PriorModel;
use crate::inference::sampling::request::SamplingOptions;
use crate::ops::sampling::random::Key;
use crate::ops::sampling::repetition_penalty;
use crate::ops::sampling::repetition_penalty::Columns;

/// The stream of random numbers that codes are drawn with: "draw".
const STREAM: u32 = 0x6472_6177;

impl PriorModel {
    /// Returns the key of the random numbers of the `i`-th code; each level has its own.
    pub(super) fn key(&self, options: &SamplingOptions, i: usize) -> Key {
        let level = self.info().vocabulary.above.len() as u32;
        Key {
            seed: options.seed,
            step: i as u64,
            stream: STREAM.wrapping_add(level),
        }
    }

    /// Returns the logits of the `i`-th code, less those of the codes of its codebook that come
    /// before it in sequences [B, T].
    pub(super) fn penalized(
        &self,
        logits: &Tensor,
        sequence: &Tensor,
        i: usize,
        options: &SamplingOptions,
    ) -> Result<Tensor> {
        if options.repetition_penalty == 1.0 {
            return Ok(logits.clone());
        }
        let books = self.info().vocabulary.codebooks;
        let columns = Columns {
            first: i % books,
            stride: books,
            count: i / books,
        };
        repetition_penalty::repetition_penalty(
            logits,
            sequence,
            columns,
            options.repetition_penalty,
        )
    }
}
