//! Metrics of a step that goes over its batch part by part.

use crate::Result;
use crate::autograd::accumulate::add_assign;
use crate::gpu::Tensor;
use crate::ops::elementwise::scale::scale;
use std::collections::BTreeMap;

/// Means of metrics over the parts of a batch, which are of equal size.
pub(crate) struct MeanOfParts {
    /// The weight of a part: 1 over their number.
    share: f32,
    sums: BTreeMap<usize, Tensor>,
}

impl MeanOfParts {
    /// Creates the means of metrics over parts that count `share` each.
    pub(crate) fn new(share: f32) -> MeanOfParts {
        MeanOfParts {
            share,
            sums: BTreeMap::new(),
        }
    }

    /// Adds a part's values from `slot` on.
    ///
    /// # Errors
    /// If they are others than of the part before, or the device fails.
    pub(crate) fn add(&mut self, slot: usize, values: &Tensor) -> Result<()> {
        if let Some(sum) = self.sums.get(&slot) {
            return add_assign(sum, values);
        }
        // A sum is nobody else's.
        let sum = match self.share == 1.0 {
            true => values.clone(),
            false => values.duplicate()?,
        };
        self.sums.insert(slot, sum);
        Ok(())
    }

    /// Returns the means by their slots.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn finish(self) -> Result<BTreeMap<usize, Tensor>> {
        let mean = |(slot, sum): (usize, Tensor)| match self.share == 1.0 {
            true => Ok((slot, sum)),
            false => Ok((slot, scale(&sum, self.share, 0.0)?)),
        };
        self.sums.into_iter().map(mean).collect()
    }
}
