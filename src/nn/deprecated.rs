//! Names of version 0.1, which work for one version more.

use super::{ForwardContext, Handle};
use crate::Result;
use crate::autograd::Var;
use crate::gpu::DType;

impl ForwardContext<'_> {
    /// Renamed to [`with_activation_dtype`](Self::with_activation_dtype).
    #[deprecated(since = "0.2.0", note = "renamed to `with_activation_dtype`")]
    pub fn storing(self, dtype: DType) -> Self {
        self.with_activation_dtype(dtype)
    }

    /// Renamed to [`with_checkpointing`](Self::with_checkpointing).
    #[deprecated(since = "0.2.0", note = "renamed to `with_checkpointing`")]
    pub fn recomputing(self, on: bool) -> Self {
        self.with_checkpointing(on)
    }

    /// Renamed to [`with_watched`](Self::with_watched).
    #[deprecated(since = "0.2.0", note = "renamed to `with_watched`")]
    pub fn watching(self, weight: Handle) -> Self {
        self.with_watched(weight)
    }

    /// Renamed to [`checkpoint`](Self::checkpoint).
    ///
    /// # Errors
    /// Returns the errors of `f`.
    #[deprecated(since = "0.2.0", note = "renamed to `checkpoint`")]
    pub fn block(
        &self,
        x: Var,
        f: impl Fn(&ForwardContext, Var) -> Result<Var> + 'static,
    ) -> Result<Var> {
        self.checkpoint(x, f)
    }
}
