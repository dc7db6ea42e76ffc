//! Names of version 0.1, which work for one version more.

use super::{ForwardContext, Handle};
use crate::Result;
use crate::autograd::Var;
use crate::gpu::DType;

impl ForwardContext<'_> {
    /// Renamed.
    #[deprecated(since = "0.2.0", note = "renamed to `with_activation_dtype`")]
    pub fn storing(self, dtype: DType) -> Self {
        self.with_activation_dtype(dtype)
    }

    /// Renamed.
    #[deprecated(since = "0.2.0", note = "renamed to `with_checkpointing`")]
    pub fn recomputing(self, on: bool) -> Self {
        self.with_checkpointing(on)
    }

    /// Renamed.
    #[deprecated(since = "0.2.0", note = "renamed to `with_watched`")]
    pub fn watching(self, weight: Handle) -> Self {
        self.with_watched(weight)
    }

    /// Renamed.
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
