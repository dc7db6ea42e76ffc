//! Open encoders and submissions: points of the queue, counters, the pace of the device.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters since the engine was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Compute dispatches recorded.
    pub dispatches: u64,
    /// Compute passes begun.
    pub passes: u64,
    /// Pipelines set in passes.
    pub pipelines: u64,
    /// Bind groups set in passes.
    pub bindings: u64,
    /// Bind groups created.
    pub bind_groups: u64,
    /// Copies recorded between buffers, to the host included.
    pub copies: u64,
    /// Bytes of these copies.
    pub copied_bytes: u64,
    /// Submissions to the queue.
    pub submissions: u64,
    /// Copies to the host.
    pub readbacks: u64,
    /// Time spent in handing batches to the driver, which may block until the device has room:
    /// llvmpipe computes in it.
    pub submitting: Duration,
}

/// A point in the queue's order, see [`Gpu::flush`](crate::gpu::Gpu::flush).
#[derive(Clone, Debug)]
pub struct Submission {
    pub(in crate::gpu) index: Option<wgpu::SubmissionIndex>,
    /// The last batch before it.
    pub(in crate::gpu) epoch: u64,
}

impl Submission {
    pub(in crate::gpu) fn at(index: Option<wgpu::SubmissionIndex>, epoch: u64) -> Submission {
        Submission { index, epoch }
    }
    pub(in crate::gpu) fn epoch(&self) -> u64 {
        self.epoch
    }
}

/// An open command encoder and its current compute pass.
#[derive(Default)]
pub(in crate::gpu) struct Stream {
    // `pass` logically borrows `encoder` (`forget_lifetime`): drop it first.
    pub(in crate::gpu) pass: Option<wgpu::ComputePass<'static>>,
    pub(in crate::gpu) encoder: Option<wgpu::CommandEncoder>,
    /// Parameters of this batch, on devices without immediates.
    pub(in crate::gpu) uniforms: Vec<u8>,
    /// Passes begun in this encoder and those before it.
    pub(in crate::gpu) passes: u64,
    /// The numbers of the pipeline and of the bind group that the pass has set, 0 for none.
    pub(in crate::gpu) pipeline: u64,
    pub(in crate::gpu) bind_group: u64,
}

impl Stream {
    pub(in crate::gpu) fn pass(
        &mut self,
        device: &wgpu::Device,
    ) -> &mut wgpu::ComputePass<'static> {
        let Stream {
            pass,
            encoder,
            passes,
            pipeline,
            bind_group,
            ..
        } = self;
        pass.get_or_insert_with(|| {
            *passes += 1;
            (*pipeline, *bind_group) = (0, 0);
            let encoder =
                encoder.get_or_insert_with(|| device.create_command_encoder(&Default::default()));
            encoder
                .begin_compute_pass(&Default::default())
                .forget_lifetime()
        })
    }

    /// Returns the encoder between passes.
    pub(in crate::gpu) fn encoder(&mut self, device: &wgpu::Device) -> &mut wgpu::CommandEncoder {
        self.pass = None;
        self.encoder
            .get_or_insert_with(|| device.create_command_encoder(&Default::default()))
    }

    /// Appends the parameters of a dispatch, on devices without immediates, and returns their
    /// offset in bytes.
    pub(in crate::gpu) fn push_params(&mut self, params: &[u8]) -> u32 {
        let offset = self.uniforms.len() as u32;
        self.uniforms.extend_from_slice(params);
        let aligned = self.uniforms.len().next_multiple_of(UNIFORM_STEP);
        self.uniforms.resize(aligned, 0);
        offset
    }
}

/// Measured speed of the device in work per second, so that no submission runs for long.
#[derive(Debug)]
pub(crate) struct Pace {
    per_second: AtomicU64,
}

impl Pace {
    pub(crate) fn new(guess: f64) -> Self {
        Pace {
            per_second: AtomicU64::new(guess.to_bits()),
        }
    }
    pub(in crate::gpu) fn get(&self) -> f64 {
        f64::from_bits(self.per_second.load(Ordering::Relaxed))
    }
    pub(in crate::gpu) fn observe(&self, weight: f64, seconds: f64) {
        // A copy alone says nothing of kernels, and a short batch more of its submission.
        if seconds > 1e-4 && weight > 0.0 {
            let blended = 0.75 * self.get() + 0.25 * (weight / seconds);
            self.per_second
                .store(blended.clamp(1e8, 1e15).to_bits(), Ordering::Relaxed);
        }
    }
}

/// Bytes from one dispatch's parameters to the next's: the offset alignment that every device has.
pub(in crate::gpu) const UNIFORM_STEP: usize = 256;
