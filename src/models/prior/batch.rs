//! A batch of codes and their conditions, on the device.

use crate::gpu::Tensor;
use crate::models::text::TextBatch;
use crate::{Error, Result};

/// Classes u32 `[B]`, and the codes of each codebook u32 [B h w], on the device.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Classes; as many as there are for none.
    pub classes: Tensor,
    /// Codes by codebook.
    pub codes: Vec<Tensor>,
    /// The halves of the codes of each codebook, where the model predicts them so.
    pub(super) halves: Vec<[Tensor; 2]>,
    /// Codes of each level above, by codebook.
    pub above: Vec<Vec<Tensor>>,
    /// The order of the cells of each image, u32 [B, h w], in which its codes stand here; `None` is
    /// row by row.
    pub order: Option<Vec<u32>>,
    /// The codes that a masked prior is to predict.
    pub hidden: Option<Hidden>,
    /// The sums of the coarser scales, brought to the next ones, f32 [B, T, C], where the model is
    /// over scales.
    pub scales: Option<Tensor>,
    /// The images' texts, where the model reads them.
    pub text: Option<TextBatch>,
}

/// Codes that are hidden from a masked prior, on the device.
#[derive(Clone, Debug)]
pub struct Hidden {
    /// The codes as the model sees them, by codebook, u32 [B h w]: K for those that are hidden.
    pub(super) inputs: Vec<Tensor>,
    /// The hidden codes, by codebook, u32 [B h w]; 2^32 - 1 for the others.
    pub(super) targets: Vec<Tensor>,
    /// Number of hidden codes.
    pub count: usize,
}

impl Batch {
    pub(super) fn text(&self) -> Result<&TextBatch> {
        self.text.as_ref().ok_or_else(|| {
            Error::invalid(
                "prior",
                "a batch without texts, for a model that reads them",
            )
        })
    }
}
