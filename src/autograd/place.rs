//! Places for gradients: parts of an optimiser's buffer that the operation which computes a
//! gradient writes, so that nothing is copied there afterwards.

use crate::Result;
use crate::gpu::{DType, Gpu, Tensor};
use smallvec::SmallVec;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A part of a buffer that waits for a gradient.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    tensor: Tensor,
    /// Whether it may hold something other than 0.
    filled: Arc<AtomicBool>,
}

impl Place {
    /// A place over zeros.
    pub(crate) fn new(tensor: Tensor) -> Place {
        Place {
            tensor,
            filled: Arc::default(),
        }
    }

    pub(crate) fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Returns the tensor to be written. From here on it is taken to be.
    pub(crate) fn offer(&self) -> &Tensor {
        self.filled.store(true, Ordering::Relaxed);
        &self.tensor
    }

    /// Whether the place may hold something other than 0; from here on it does not.
    pub(crate) fn take_filled(&self) -> bool {
        self.filled.swap(false, Ordering::Relaxed)
    }

    /// Whether `gradient` is what lies here.
    pub(crate) fn holds(&self, gradient: &Tensor) -> bool {
        Arc::ptr_eq(&gradient.storage, &self.tensor.storage)
            && gradient.offset == self.tensor.offset
    }
}

/// The gradients that a rule is asked for: to each input whether, and where to.
#[derive(Default)]
pub(crate) struct Wanted {
    needs: SmallVec<[bool; 8]>,
    places: SmallVec<[Option<Tensor>; 4]>,
}

impl Wanted {
    pub(super) fn push(&mut self, needed: bool, place: Option<&Tensor>) {
        self.needs.push(needed);
        self.places.push(place.cloned());
    }

    /// Returns where the gradient of an input should be written, if anywhere. A gradient that is
    /// not is right all the same.
    pub(crate) fn place(&self, input: usize) -> Option<&Tensor> {
        self.places.get(input)?.as_ref()
    }
}

impl Deref for Wanted {
    type Target = [bool];
    fn deref(&self) -> &[bool] {
        &self.needs
    }
}

/// Returns the place under a shape, or a new tensor of it.
pub(crate) fn placed(place: Option<&Tensor>, gpu: &Gpu, shape: &[usize]) -> Result<Tensor> {
    match place {
        Some(place) => place.reshape(shape),
        None => Tensor::empty(gpu, shape, DType::F32),
    }
}
