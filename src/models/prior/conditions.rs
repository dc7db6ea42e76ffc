//! The conditions of a batch of codes.

use super::{Batch, Prior, Reader};
use crate::Result;
use crate::autograd::Var;
use crate::gpu::Tensor;
use crate::models::prior::conditioning::Conditioning;
use crate::nn::transformer::{Block, Dropout};
use crate::nn::{EncoderStates, ForwardContext};
use crate::ops::attention::attention::Mask;

/// Conditions of the codes of a batch: all that is known beside the codes before each.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// Rows of the levels above, for each cell: see [`Conditioning::rows`].
    pub above: Vec<Var>,
    /// Keys and values of the encoded texts.
    pub memory: Option<Memory>,
}

/// The keys and values of texts, for each block.
#[derive(Clone, Debug)]
pub struct Memory {
    /// [B, S, 2, H, D / H], for each block.
    pub keys: Vec<Var>,
    /// Mask of the S rows that every query of an image sees.
    pub mask: Mask,
    /// Rows that are seen, u32 `[B]`.
    pub lengths: Tensor,
}

impl Memory {
    pub(super) fn encoder_states(&self, block: usize) -> Option<EncoderStates<'_>> {
        let kv = self.keys.get(block)?;
        Some(EncoderStates {
            kv,
            mask: &self.mask,
            lengths: &self.lengths,
        })
    }
}

impl Prior {
    /// Computes the conditions of a batch: the rows of the levels above, and the encoded texts.
    ///
    /// # Errors
    /// If the device fails, or a text is missing.
    pub fn conditions(
        &self,
        pass: &ForwardContext,
        batch: &Batch,
        dropout: Dropout,
    ) -> Result<Conditions> {
        // Behind the places of the model's own blocks.
        let mut place = 1 + 2 * self.blocks.len();
        let of = |(layers, codes): (&Conditioning, &Vec<Tensor>)| {
            let at = (dropout, place);
            place += layers.places();
            layers.rows(pass, codes, at)
        };
        let above = self
            .above
            .iter()
            .zip(&batch.above)
            .map(of)
            .collect::<Result<_>>()?;
        let Reader::Encoder(encoder) = &self.reader else {
            return Ok(Conditions {
                above,
                memory: None,
            });
        };
        let text = batch.text()?;
        let rows = encoder.forward(pass, text, (dropout, place))?;
        let keys = self
            .blocks
            .iter()
            .filter_map(Block::cross)
            .map(|cross| cross.keys(pass, &rows));
        let keys = keys.collect::<Result<_>>()?;
        let memory = Memory {
            keys,
            mask: text.mask.clone(),
            lengths: text.lengths.clone(),
        };
        Ok(Conditions {
            above,
            memory: Some(memory),
        })
    }
}
