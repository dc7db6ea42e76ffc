//! Names of version 0.1, which work for one version more.

use super::{ColorSpace, Gpu, ImageTexture, MissingFeature, SliceProgress};
use crate::Result;
use std::time::Duration;

impl Gpu {
    /// Renamed to [`missing_features`](Self::missing_features).
    #[deprecated(since = "0.2.0", note = "renamed to `missing_features`")]
    pub fn lost(&self) -> Vec<MissingFeature> {
        self.missing_features()
    }

    /// Renamed to [`run_for_budget`](Self::run_for_budget).
    ///
    /// # Errors
    /// Returns the errors of [`Gpu::run_for_budget`].
    #[deprecated(since = "0.2.0", note = "renamed to `run_for_budget`")]
    pub fn work_for(
        &self,
        budget: Duration,
        more: impl FnMut() -> Result<bool>,
    ) -> Result<SliceProgress> {
        self.run_for_budget(budget, more)
    }
}

impl ImageTexture<'_> {
    /// Renamed to [`with_color_space`](Self::with_color_space).
    #[deprecated(since = "0.2.0", note = "renamed to `with_color_space`")]
    pub fn holding(self, space: ColorSpace) -> Self {
        self.with_color_space(space)
    }
}
