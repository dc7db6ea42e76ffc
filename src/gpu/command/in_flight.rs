//! Submissions that the device has not finished.

use crate::Result;
use crate::gpu::{Gpu, Submission};
use std::collections::VecDeque;

/// Steps that may be on the device while the next is recorded.
pub const STEPS_IN_FLIGHT: usize = 2;

/// Submissions that the device has not finished: a few, so that it has work while the next is
/// recorded, and memory stays bounded.
pub struct InFlight {
    most: usize,
    submissions: VecDeque<Submission>,
}

impl InFlight {
    /// Creates a limit of `most` batches.
    pub fn new(most: usize) -> Self {
        InFlight {
            most,
            submissions: VecDeque::new(),
        }
    }

    /// Submits what is recorded, and waits for the oldest where there are too many.
    pub fn submit(&mut self, gpu: &Gpu) -> Result<()> {
        match self.push(gpu)? {
            Some(oldest) => gpu.wait(&oldest),
            None => Ok(()),
        }
    }

    /// [`InFlight::submit`] without blocking the thread.
    pub async fn submit_async(&mut self, gpu: &Gpu) -> Result<()> {
        match self.push(gpu)? {
            Some(oldest) => gpu.wait_async(&oldest).await,
            None => Ok(()),
        }
    }

    /// Submits what is recorded; returns what is then to be waited for.
    fn push(&mut self, gpu: &Gpu) -> Result<Option<Submission>> {
        let submission = gpu.flush()?;
        if gpu.deferring() {
            // What waits is submitted bit by bit, and bounded by whoever does that.
            return Ok(None);
        }
        self.submissions.push_back(submission);
        let full = self.submissions.len() > self.most;
        Ok(full.then(|| self.submissions.pop_front()).flatten())
    }
}
