//! Checkpoints that another process sends, a tensor at a time.

use super::{LazyCheckpoint, LazyTensor, Source};
use crate::{Error, Result};
use safetensors::tensor::Dtype;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// A checkpoint but for the elements of its tensors.
#[derive(Serialize, Deserialize)]
pub(super) struct Outline {
    pub(super) state: serde_json::Value,
    pub(super) tensors: VecDeque<(String, Dtype, Vec<usize>)>,
}

/// A checkpoint of which tensors are still to come.
pub(crate) struct Arriving {
    outline: Outline,
    arrived: LazyCheckpoint,
}

impl Arriving {
    /// Begins with what [`LazyCheckpoint::outline`] gave.
    ///
    /// # Errors
    /// If it is none.
    pub(crate) fn new(outline: &[u8]) -> Result<Arriving> {
        let outline = serde_json::from_slice(outline);
        let outline = outline.map_err(|e| {
            let what = format!("a checkpoint that another process sends is damaged: {e}");
            Error::data(what)
        })?;
        Ok(Arriving {
            outline,
            arrived: LazyCheckpoint::default(),
        })
    }

    /// Takes the elements of the next tensor.
    ///
    /// # Errors
    /// If there is none, or it has other elements.
    pub(crate) fn add(&mut self, elements: Vec<u8>) -> Result<()> {
        let next = self.outline.tensors.pop_front();
        let more = || Error::data("another process sends more tensors than its checkpoint has");
        let (name, dtype, shape) = next.ok_or_else(more)?;
        let tensor = LazyTensor {
            shape,
            dtype,
            source: Source::Memory(elements),
        };
        tensor.check_len(&name)?;
        self.arrived.tensors.insert(name, tensor);
        Ok(())
    }

    /// Returns the checkpoint.
    ///
    /// # Errors
    /// If tensors are missing.
    pub(crate) fn whole(mut self) -> Result<LazyCheckpoint> {
        if let Some((name, ..)) = self.outline.tensors.front() {
            let what = format!("another process did not send the tensor `{name}`");
            return Err(Error::data(what));
        }
        self.arrived.state = self.outline.state;
        Ok(self.arrived)
    }
}
