//! Samples, on the host or on their way there.

use crate::Result;
use crate::gpu::{Gpu, Readback};
use crate::inference::sampling::batch::by_place;

/// Codes that were sampled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// Codes, u32 [N, T]; of a [`Hierarchy`](super::super::Hierarchy), those of all levels, which
    /// [`FirstStageModel::decode_async`](super::super::FirstStageModel::decode_async) takes.
    pub codes: Vec<u32>,
    /// The log-likelihood in nats of what was drawn of each image, `[N]`, under the model without
    /// temperature and filters (but guided and penalized).
    pub log_likelihood: Vec<f32>,
    /// The passes of the model that each image took, `[N]`, the one over what was known at the
    /// start included: drawn one by one as many as it has codes from there on, and fewer in
    /// [parallel](super::Parallel).
    pub passes: Vec<u32>,
}

/// Samples on their way to the host: await them, poll them with [`PendingSamples::ready`], or
/// [`PendingSamples::wait`] for them.
pub struct PendingSamples {
    #[cfg_attr(
        target_arch = "wasm32",
        expect(dead_code, reason = "for those that wait for the device")
    )]
    pub(super) gpu: Gpu,
    pub(super) codes: Readback,
    /// The order of the cells in which the codes come.
    pub(super) order: Option<Vec<u32>>,
    /// Codes of a cell, and of an image.
    pub(super) books: usize,
    pub(super) tokens: usize,
    pub(super) log_probs: Readback,
    /// The length of a row of the log-probabilities.
    pub(super) stride: usize,
    pub(super) images: usize,
    /// Steps that each image took.
    pub(super) steps: usize,
}

impl PendingSamples {
    /// Returns whether they have arrived. Never waits.
    pub fn ready(&self) -> bool {
        self.codes.ready() && self.log_probs.ready()
    }

    /// Waits without blocking the thread: in browsers, and where the host polls the device.
    ///
    /// # Errors
    /// If the device fails.
    pub async fn get(self) -> Result<Samples> {
        let codes = self.codes.get().await?;
        let codes = by_place(codes, self.order.as_deref(), self.books, self.tokens);
        let log_probs = self.log_probs.get::<f32>().await?;
        let sum = |n: usize| {
            log_probs
                .iter()
                .skip(n)
                .step_by(self.stride)
                .map(|p| f64::from(*p))
                .sum::<f64>() as f32
        };
        Ok(Samples {
            codes,
            log_likelihood: (0..self.images).map(sum).collect(),
            passes: vec![self.steps as u32; self.images],
        })
    }

    /// [`PendingSamples::get`], blocking the thread.
    ///
    /// # Errors
    /// As [`PendingSamples::get`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn wait(self) -> Result<Samples> {
        self.gpu.clone().block_on(self.get())
    }
}
