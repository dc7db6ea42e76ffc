//! The learning of a codebook, and the part of it that a checkpoint keeps.

use super::super::state::restore;
use super::VectorQuantizer;
use crate::Result;
use crate::gpu::Tensor;
use crate::nn::{Handle, HostTensors};
use crate::ops::quantize::ema_update::Ema;

/// The way in which a codebook learns.
#[derive(Debug)]
pub(super) enum Learning {
    /// A moving average of the latents that chose each code (van den Oord et al. 2017, appendix
    /// A.1).
    Average(Ema),
    /// By gradient: the codebook loss of van den Oord et al. 2017, equation 3. Counts are kept for
    /// the revival.
    Gradient { codes: Handle, counts: Tensor },
    /// A frozen codebook behind a learned linear map (Zhu et al. 2024, "Addressing representation
    /// collapse in vector quantized models with one linear layer").
    Mapped { frozen: Tensor, map: Handle },
}

impl Learning {
    /// Returns the tensors of the state that decoding reads.
    pub(super) fn codes(&self) -> Vec<(&'static str, &Tensor)> {
        match self {
            Learning::Average(ema) => vec![("codebook", &ema.codebook)],
            Learning::Gradient { .. } => Vec::new(),
            Learning::Mapped { frozen, .. } => vec![("frozen_codebook", frozen)],
        }
    }

    /// The state by name.
    pub(super) fn state(&self) -> Vec<(&'static str, &Tensor)> {
        match self {
            Learning::Average(ema) => {
                vec![
                    ("codebook", &ema.codebook),
                    ("ema_counts", &ema.counts),
                    ("ema_sums", &ema.sums),
                ]
            }
            Learning::Gradient { counts, .. } => vec![("ema_counts", counts)],
            Learning::Mapped { frozen, .. } => vec![("frozen_codebook", frozen)],
        }
    }
}

impl VectorQuantizer {
    /// The tensors that [`super::Quantizer::save`] gives, by name.
    pub(in crate::quantize) fn state(&self) -> Vec<(&'static str, &Tensor)> {
        self.book.state()
    }

    /// Takes the values of `parts`.
    pub(super) fn take(
        &mut self,
        state: &HostTensors,
        parts: fn(&Learning) -> Vec<(&'static str, &Tensor)>,
    ) -> Result<()> {
        restore(self.name, state, &parts(&self.book))?;
        self.initialized = true;
        Ok(())
    }
}
