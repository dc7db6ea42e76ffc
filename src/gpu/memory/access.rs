//! The rules by which a call uses a tensor's buffer: whose it is, what it may be used for, and who
//! else lies in it.

use crate::gpu::{Gpu, Tensor};
use crate::{Error, Result};
use std::sync::Arc;

impl Tensor {
    /// Checks that the buffer may be used so: a host's, see [`Tensor::from_buffer`], may lack it.
    pub(in crate::gpu) fn check_usage(
        &self,
        op: &'static str,
        asked: wgpu::BufferUsages,
    ) -> Result<()> {
        let usages = self.storage.buffer().usage();
        if usages.contains(asked) {
            return Ok(());
        }
        let what = format!(
            "the tensor lies in a host's buffer of the usages {usages:?}; create it with {asked:?} \
             too"
        );
        Err(Error::invalid(op, what))
    }

    /// Whether another tensor lies in the same buffer: of an engine's own, or of a host's.
    pub(in crate::gpu) fn shares_buffer(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(&self.storage, &other.storage)
            || self.storage.buffer() == other.storage.buffer()
    }

    /// Checks that another engine's work does not get into this one's: neither knows the order of
    /// the other's.
    pub(in crate::gpu) fn check_engine(&self, op: &'static str, gpu: &Gpu) -> Result<()> {
        if Arc::ptr_eq(&self.gpu().inner, &gpu.inner) {
            return Ok(());
        }
        let what = format!(
            "{self:?} belongs to another engine; read it there and make it here again, or share \
             one engine: `Gpu` is cheap to clone"
        );
        Err(Error::invalid(op, what))
    }
}
