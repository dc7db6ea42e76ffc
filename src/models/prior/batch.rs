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
    /// Codes of each level above, by codebook.
    pub above: Vec<Vec<Tensor>>,
    /// The order of the cells of each image, u32 [B, h w], in which its codes stand here; `None` is
    /// row by row.
    pub order: Option<Vec<u32>>,
    /// The images' texts, where the model reads them.
    pub text: Option<TextBatch>,
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
