//! Recording and submitting: dispatches gather in one pass of one encoder, and go to the queue in batches.

use super::{Gpu, Kernel, Tensor, kernel::UNIFORM_BINDING};
use crate::{Error, Result};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a dispatch costs, as far as its caller knows: it decides how much work one submission holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Floating-point operations (a fused multiply-add is two).
    pub flops: f64,
    /// Bytes read and written, each tensor counted once.
    pub bytes: f64,
}

impl Work {
    /// One number to add up: a byte moved is taken as two operations.
    fn weight(self) -> f64 {
        self.flops + 2.0 * self.bytes + 1e4
    }
}

/// Counters since the engine was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Compute dispatches recorded.
    pub dispatches: u64,
    /// Submissions to the queue.
    pub submissions: u64,
    /// Copies to the host.
    pub readbacks: u64,
    /// Time spent in handing batches to the driver, which may block until the device has room: llvmpipe computes in it.
    pub submitting: Duration,
}

/// A point in the queue's order, see [`Gpu::flush`].
#[derive(Clone, Debug)]
pub struct Submission(Option<wgpu::SubmissionIndex>);

/// Workgroups, folded to two dimensions, that give each of `items` its own invocation at `per_group` a workgroup.
pub fn groups_for(items: usize, per_group: usize) -> [u32; 3] {
    let groups = items.div_ceil(per_group);
    if groups == 0 {
        return [0, 0, 0];
    }
    let x = groups.min(32_768);
    [x as u32, groups.div_ceil(x) as u32, 1]
}

/// A pipeline, and per binding the buffer, its offset and its size.
type BindGroupKey = (u64, Vec<(u64, u64, u64)>);

#[derive(Default)]
pub(crate) struct Recorder {
    // The pass borrows the encoder in spirit: it is dropped first, always.
    pass: Option<wgpu::ComputePass<'static>>,
    encoder: Option<wgpu::CommandEncoder>,
    recorded: u32,
    weight: f64,
    last: Option<wgpu::SubmissionIndex>,
    /// Parameters of this batch, on devices without immediates.
    uniforms: Vec<u8>,
    bind_groups: HashMap<BindGroupKey, wgpu::BindGroup>,
    counters: Counters,
    work: Work,
}

/// Measured speed of the device in work per second, so that no submission runs for long.
#[derive(Debug)]
pub(crate) struct Pace {
    per_second: AtomicU64,
}

impl Pace {
    pub(crate) fn new(guess: f64) -> Self {
        Pace { per_second: AtomicU64::new(guess.to_bits()) }
    }
    fn get(&self) -> f64 {
        f64::from_bits(self.per_second.load(Ordering::Relaxed))
    }
    fn observe(&self, weight: f64, seconds: f64) {
        if seconds > 1e-4 {
            let blended = 0.75 * self.get() + 0.25 * (weight / seconds);
            self.per_second.store(blended.clamp(1e8, 1e15).to_bits(), Ordering::Relaxed);
        }
    }
}

/// Seconds of work that one submission should hold: far below any driver's watchdog, far above its own cost.
const SUBMIT_SECONDS: f64 = 0.04;
/// Dispatches per submission at most, so that a fast device starts early.
const SUBMIT_DISPATCHES: u32 = 128;
/// Bytes of parameters that one submission can carry where there are no immediates.
const UNIFORM_ARENA: usize = 256 * 1024;
const BIND_GROUPS_KEPT: usize = 8192;

impl Gpu {
    /// Records one dispatch of `kernel` over `groups` workgroups.
    ///
    /// `bindings` follow the kernel's storage bindings in order; a buffer that the kernel writes may not be bound
    /// twice. `params` is the kernel's parameter struct.
    ///
    /// # Errors
    /// If the number of bindings or the size of the parameters differs from what the kernel declares, if a tensor is
    /// too large to bind, or if the kernel does not compile.
    pub fn dispatch<P: bytemuck::NoUninit>(
        &self,
        op: &'static str,
        kernel: &Kernel,
        bindings: &[&Tensor],
        params: &P,
        groups: [u32; 3],
        work: Work,
    ) -> Result<()> {
        // An operation that was not written for 16-bit floats would take two of them for one number.
        if !kernel.reads_halves()
            && let Some(t) = bindings.iter().find(|t| t.dtype().is_half())
        {
            return Err(Error::shape(op, "f32: `ops::cast` makes it", format!("{t:?}")));
        }
        let pipeline = self.pipeline(kernel)?;
        let declared = &pipeline.reflection;
        if bindings.len() != declared.storage.len() {
            return Err(Error::shape(
                op,
                format!("{} bindings for kernel {}", declared.storage.len(), pipeline.label),
                bindings.len(),
            ));
        }
        let params = bytemuck::bytes_of(params);
        if params.len() != declared.params as usize {
            return Err(Error::shape(
                op,
                format!("{} bytes of parameters for kernel {}", declared.params, pipeline.label),
                params.len(),
            ));
        }
        if groups.contains(&0) {
            return Ok(()); // an empty tensor
        }
        if groups.iter().any(|g| *g > self.inner.limits.max_compute_workgroups_per_dimension) {
            return Err(Error::Limit {
                what: format!("{op}: workgroups {groups:?}"),
                asked: groups.iter().copied().max().unwrap_or(0) as u64,
                limit: self.inner.limits.max_compute_workgroups_per_dimension as u64,
            });
        }
        let limit = self.inner.limits.max_storage_buffer_binding_size;
        let mut key = Vec::with_capacity(bindings.len());
        for (i, t) in bindings.iter().enumerate() {
            if t.binding_size() > limit {
                return Err(Error::Limit {
                    what: format!("{op}: a tensor of shape {:?}", t.shape()),
                    asked: t.binding_size(),
                    limit,
                });
            }
            let twice = |other: &&&Tensor| Arc::ptr_eq(&other.storage, &t.storage);
            if declared.storage[i].1 && bindings.iter().filter(twice).count() > 1 {
                return Err(Error::invalid(op, "a tensor that the kernel writes is bound twice"));
            }
            key.push((t.storage.id(), t.offset, t.binding_size()));
        }

        let mut recorder = self.inner.recorder.lock();
        let recorder = &mut *recorder;
        let weight = work.weight();
        let budget = self.inner.pace.get() * SUBMIT_SECONDS;
        let full = recorder.recorded >= SUBMIT_DISPATCHES
            || recorder.uniforms.len() + 256 > UNIFORM_ARENA
            || (recorder.recorded > 0 && recorder.weight + weight > budget);
        if full {
            self.submit(recorder);
        }
        let epoch = self.inner.epoch.load(Ordering::Relaxed);
        for t in bindings {
            t.storage.last_use.store(epoch, Ordering::Relaxed);
        }
        let bind_group = match recorder.bind_groups.entry((pipeline.id, key)) {
            std::collections::hash_map::Entry::Occupied(e) => e.into_mut(),
            std::collections::hash_map::Entry::Vacant(e) => e.insert(self.bind_group(&pipeline, bindings)),
        };
        if recorder.encoder.is_none() {
            recorder.encoder = Some(self.inner.device.create_command_encoder(&Default::default()));
        }
        if recorder.pass.is_none() {
            let encoder = recorder.encoder.as_mut().expect("made above");
            recorder.pass = Some(encoder.begin_compute_pass(&Default::default()).forget_lifetime());
        }
        let pass = recorder.pass.as_mut().expect("made above");
        pass.set_pipeline(&pipeline.pipeline);
        if self.inner.immediates || params.is_empty() {
            pass.set_bind_group(0, &*bind_group, &[]);
            if !params.is_empty() {
                pass.set_immediates(0, params);
            }
        } else {
            let offset = recorder.uniforms.len() as u32;
            pass.set_bind_group(0, &*bind_group, &[offset]);
            recorder.uniforms.extend_from_slice(params);
            let aligned = recorder.uniforms.len().next_multiple_of(256);
            recorder.uniforms.resize(aligned, 0);
        }
        pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
        recorder.recorded += 1;
        recorder.weight += weight;
        recorder.counters.dispatches += 1;
        recorder.work.flops += work.flops;
        recorder.work.bytes += work.bytes;
        Ok(())
    }

    fn bind_group(&self, pipeline: &super::kernel::Pipeline, bindings: &[&Tensor]) -> wgpu::BindGroup {
        let mut entries: Vec<wgpu::BindGroupEntry> = bindings
            .iter()
            .zip(&pipeline.reflection.storage)
            .map(|(t, (binding, _))| wgpu::BindGroupEntry {
                binding: *binding,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: t.storage.buffer(),
                    offset: t.offset,
                    size: std::num::NonZeroU64::new(t.binding_size()),
                }),
            })
            .collect();
        if !self.inner.immediates && pipeline.reflection.params > 0 {
            entries.push(wgpu::BindGroupEntry {
                binding: UNIFORM_BINDING,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: self.uniform_arena(),
                    offset: 0,
                    size: std::num::NonZeroU64::new(pipeline.reflection.params as u64),
                }),
            });
        }
        self.inner.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&pipeline.label),
            layout: &pipeline.layout,
            entries: &entries,
        })
    }

    fn uniform_arena(&self) -> &wgpu::Buffer {
        self.inner.uniforms.get_or_init(|| {
            self.inner.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("wgvq parameters"),
                size: (UNIFORM_ARENA + 256) as u64,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        })
    }

    pub(crate) fn forget_bind_groups(&self) {
        self.inner.recorder.lock().bind_groups.clear();
    }

    /// Ends the pass and lends the encoder, for copies and queries.
    pub(crate) fn with_encoder<R>(&self, f: impl FnOnce(&mut wgpu::CommandEncoder) -> R) -> R {
        let mut recorder = self.inner.recorder.lock();
        recorder.pass = None;
        let device = &self.inner.device;
        recorder.recorded += 1;
        f(recorder.encoder.get_or_insert_with(|| device.create_command_encoder(&Default::default())))
    }

    fn submit(&self, recorder: &mut Recorder) {
        recorder.pass = None;
        let Some(encoder) = recorder.encoder.take() else { return };
        if !recorder.uniforms.is_empty() {
            // Ordered by the queue after what was submitted before, and before what is submitted now.
            self.inner.queue.write_buffer(self.uniform_arena(), 0, &recorder.uniforms);
            recorder.uniforms.clear();
        }
        let buffer = encoder.finish();
        let start = Instant::now();
        recorder.last = Some(self.inner.queue.submit([buffer]));
        recorder.counters.submitting += start.elapsed();
        self.inner.epoch.fetch_add(1, Ordering::Relaxed);
        recorder.counters.submissions += 1;
        let (weight, start, inner) = (recorder.weight, Instant::now(), Arc::downgrade(&self.inner));
        self.inner.queue.on_submitted_work_done(move || {
            if let Some(inner) = inner.upgrade() {
                let now = Instant::now();
                let begun = inner.last_done.lock().replace(now).map_or(start, |done| done.max(start));
                inner.pace.observe(weight, (now - begun).as_secs_f64());
            }
        });
        recorder.recorded = 0;
        recorder.weight = 0.0;
        if recorder.bind_groups.len() > BIND_GROUPS_KEPT {
            recorder.bind_groups.clear();
        }
    }

    /// Submits what was recorded. Returns the point in the queue up to which all is then on its way.
    ///
    /// # Errors
    /// If the device was lost or refused something since the last call.
    pub fn flush(&self) -> Result<Submission> {
        let last = {
            let mut recorder = self.inner.recorder.lock();
            self.submit(&mut recorder);
            recorder.last.clone()
        };
        self.check()?;
        Ok(Submission(last))
    }

    /// Waits until the device has done everything up to `submission`.
    pub fn wait(&self, submission: &Submission) -> Result<()> {
        if let Some(index) = &submission.0 {
            let poll = wgpu::PollType::Wait { submission_index: Some(index.clone()), timeout: None };
            self.inner.device.poll(poll).map_err(|e| Error::DeviceLost { reason: e.to_string() })?;
        }
        self.check()
    }

    /// Submits what was recorded and waits for all of it.
    pub fn finish(&self) -> Result<()> {
        let submission = self.flush()?;
        self.wait(&submission)
    }

    /// Dispatches, submissions and readbacks so far.
    pub fn counters(&self) -> Counters {
        self.inner.recorder.lock().counters
    }

    pub(super) fn count_readback(&self) {
        self.inner.recorder.lock().counters.readbacks += 1;
    }

    /// Operations and bytes of everything dispatched so far, as the operations state them.
    pub fn work_done(&self) -> Work {
        self.inner.recorder.lock().work
    }

    /// Writes `bytes` into `tensor`, in order with what is recorded around the call.
    ///
    /// `queue.write_buffer` runs before everything recorded and not yet submitted, so a buffer that such work uses is
    /// flushed first.
    pub(crate) fn upload(&self, tensor: &Tensor, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if tensor.storage.last_use.load(Ordering::Relaxed) == self.inner.epoch.load(Ordering::Relaxed) {
            self.flush()?;
        }
        let whole = bytes.len() & !3;
        self.inner.queue.write_buffer(tensor.storage.buffer(), tensor.offset, &bytes[..whole]);
        if whole < bytes.len() {
            let mut tail = [0u8; 4];
            tail[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
            self.inner.queue.write_buffer(tensor.storage.buffer(), tensor.offset + whole as u64, &tail);
        }
        Ok(())
    }

    /// Records a copy of `bytes` bytes between two tensors.
    pub(crate) fn copy(&self, from: &Tensor, to: &Tensor, bytes: u64) {
        let epoch = self.inner.epoch.load(Ordering::Relaxed);
        from.storage.last_use.store(epoch, Ordering::Relaxed);
        to.storage.last_use.store(epoch, Ordering::Relaxed);
        self.with_encoder(|encoder| {
            encoder.copy_buffer_to_buffer(from.storage.buffer(), from.offset, to.storage.buffer(), to.offset, bytes)
        });
    }
}
