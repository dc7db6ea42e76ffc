//! Recording and submitting: dispatches gather in one pass of one encoder, and go to the queue in
//! batches.

use super::clock::Instant;
use super::host_encoder::{Arena, Recording};
use super::profile::{Profile, Span};
use super::slices::{Slice, Slices};
use super::stream::{BindGroupKey, Counters, Stream, Submission, UNIFORM_STEP};
use crate::gpu::kernel::pipelines::UNIFORM_BINDING;
use crate::gpu::kernel::reflect::Elements;
use crate::gpu::{Gpu, Kernel, Tensor, Work};
use crate::{Error, Result};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[derive(Default)]
pub(crate) struct Recorder {
    own: Stream,
    recorded: u32,
    weight: f64,
    pub(in crate::gpu) last: Option<wgpu::SubmissionIndex>,
    pub(in crate::gpu) hosts: Vec<Recording>,
    /// Encoders that stand in for a host's while it is lent.
    pub(in crate::gpu) spares: Vec<wgpu::CommandEncoder>,
    pub(in crate::gpu) slices: Slices,
    bind_groups: HashMap<BindGroupKey, wgpu::BindGroup>,
    counters: Counters,
    work: Work,
    pub(in crate::gpu) profile: Option<Profile>,
}

/// Seconds of work that one submission should hold: far below any driver's watchdog, far above its
/// own cost.
const SUBMIT_SECONDS: f64 = 0.04;
/// Dispatches per submission at most, so that a fast device starts early.
const SUBMIT_DISPATCHES: u32 = 128;
/// Bytes of parameters that one submission can carry where there are no immediates.
const UNIFORM_ARENA: usize = 256 * 1024;
const BIND_GROUPS_KEPT: usize = 8192;

impl Gpu {
    /// Records one dispatch of `kernel` over `groups` workgroups.
    ///
    /// `bindings` follow the kernel's storage bindings in order; a buffer that the kernel writes
    /// may not be bound twice. `params` is the kernel's parameter struct.
    ///
    /// # Errors
    /// If the number of bindings or the size of the parameters differs from what the kernel
    /// declares, if a tensor is too large to bind, or if the kernel does not compile.
    pub fn dispatch<P: bytemuck::NoUninit>(
        &self,
        op: &'static str,
        kernel: &Kernel,
        bindings: &[&Tensor],
        params: &P,
        groups: [u32; 3],
        work: Work,
    ) -> Result<()> {
        let pipeline = self.pipeline(kernel)?;
        let declared = &pipeline.reflection;
        if bindings.len() != declared.storage.len() {
            return Err(Error::shape(
                op,
                format!(
                    "{} bindings for kernel {}",
                    declared.storage.len(),
                    pipeline.label
                ),
                bindings.len(),
            ));
        }
        // An operation that was not written for 16-bit floats would take two of them for one
        // number.
        let mut pairs = bindings.iter().zip(&declared.storage);
        if let Some((t, at)) = pairs.find(|(t, at)| !t.dtype().fits(at.elements)) {
            let expected = match at.elements {
                Elements::Words => "32-bit elements: `ops::cast` makes f32",
                Elements::F16 => "f16: `ops::cast` makes it",
                Elements::Halves => "16-bit floats",
            };
            return Err(Error::shape(op, expected, format!("{t:?}")));
        }
        let params = bytemuck::bytes_of(params);
        if params.len() != declared.params as usize {
            return Err(Error::shape(
                op,
                format!(
                    "{} bytes of parameters for kernel {}",
                    declared.params, pipeline.label
                ),
                params.len(),
            ));
        }
        if groups.contains(&0) {
            return Ok(()); // an empty tensor
        }
        if groups
            .iter()
            .any(|g| *g > self.inner.limits.max_compute_workgroups_per_dimension)
        {
            return Err(Error::Limit {
                what: format!("{op}: workgroups {groups:?}"),
                asked: groups.iter().copied().max().unwrap_or(0) as u64,
                limit: self.inner.limits.max_compute_workgroups_per_dimension as u64,
            });
        }
        let mut key = Vec::with_capacity(bindings.len() + 1);
        for (i, t) in bindings.iter().enumerate() {
            self.check_binding(op, t)?;
            let twice = |other: &&&Tensor| Arc::ptr_eq(&other.storage, &t.storage);
            if declared.storage[i].write && bindings.iter().filter(twice).count() > 1 {
                return Err(Error::invalid(
                    op,
                    "a tensor that the kernel writes is bound twice",
                ));
            }
            key.push((t.storage.id(), t.offset, t.bound_size()));
        }

        let mut recorder = self.inner.command.recorder.lock();
        let recorder = &mut *recorder;
        let weight = work.weight();
        let host = recorder.host();
        if host.is_none() {
            let budget = self.inner.command.pace.get() * SUBMIT_SECONDS;
            let full = recorder.recorded >= SUBMIT_DISPATCHES
                || recorder.own.uniforms.len() + UNIFORM_STEP > UNIFORM_ARENA
                || (recorder.recorded > 0 && recorder.weight + weight > budget);
            if recorder
                .slices
                .full(pipeline.id, weight, self.inner.command.pace.get())
                || full
            {
                self.submit(recorder);
            }
        }
        let epoch = self.inner.command.epoch.load(Ordering::Relaxed);
        for t in bindings {
            t.storage.fresh.store(false, Ordering::Relaxed);
            match host {
                Some(i) => recorder.hosts[i].hold(&t.storage),
                None => t.storage.last_use.store(epoch, Ordering::Relaxed),
            }
        }
        let uniform = !self.inner.immediates && !params.is_empty();
        let arena = match host {
            _ if !uniform => None,
            Some(i) => Some(recorder.hosts[i].arena(self)),
            None => Some(self.uniform_arena()),
        };
        key.extend(arena.as_ref().map(|arena| (arena.id, 0, 0)));
        let bind_group = match recorder.bind_groups.entry((pipeline.id, key)) {
            std::collections::hash_map::Entry::Occupied(e) => e.into_mut(),
            std::collections::hash_map::Entry::Vacant(e) => {
                e.insert(self.bind_group(&pipeline, bindings, arena.as_ref()))
            }
        };
        let stream = match host {
            Some(i) => &mut recorder.hosts[i].stream,
            None => &mut recorder.own,
        };
        let mut profile = recorder.profile.as_mut().filter(|_| host.is_none());
        if let Some(profile) = &mut profile {
            profile.before(stream, &self.inner.device);
        }
        let offset = uniform.then(|| stream.lay_down(params));
        let pass = stream.pass(&self.inner.device);
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, &*bind_group, offset.as_slice());
        if offset.is_none() && !params.is_empty() {
            pass.set_immediates(0, params);
        }
        pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
        if let Some(profile) = profile {
            let span = Span {
                op,
                kernel: pipeline.label.clone(),
                groups,
                work,
                time: Duration::ZERO,
            };
            profile.after(stream, &self.inner.device, span);
        }
        if host.is_none() {
            recorder.recorded += 1;
            recorder.weight += weight;
            recorder
                .slices
                .count(pipeline.id, weight, self.inner.command.pace.get());
        }
        recorder.counters.dispatches += 1;
        recorder.work.flops += work.flops;
        recorder.work.bytes += work.bytes;
        Ok(())
    }

    /// Is the tensor small enough to bind?
    pub(in crate::gpu) fn check_binding(&self, op: &'static str, t: &Tensor) -> Result<()> {
        let (asked, limit) = (
            t.binding_size(),
            self.inner.limits.max_storage_buffer_binding_size,
        );
        if asked > limit {
            return Err(Error::Limit {
                what: format!("{op}: a tensor of shape {:?}", t.shape()),
                asked,
                limit,
            });
        }
        Ok(())
    }

    /// The bind group of a pipeline and buffers, made at the first use.
    pub(in crate::gpu) fn bind_group_for(
        &self,
        key: BindGroupKey,
        make: impl FnOnce() -> wgpu::BindGroup,
    ) -> wgpu::BindGroup {
        self.inner
            .command
            .recorder
            .lock()
            .bind_groups
            .entry(key)
            .or_insert_with(make)
            .clone()
    }

    fn bind_group(
        &self,
        pipeline: &crate::gpu::kernel::pipelines::Pipeline,
        bindings: &[&Tensor],
        arena: Option<&Arena>,
    ) -> wgpu::BindGroup {
        let mut entries: Vec<wgpu::BindGroupEntry> = bindings
            .iter()
            .zip(&pipeline.reflection.storage)
            .map(|(t, at)| wgpu::BindGroupEntry {
                binding: at.binding,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: t.storage.buffer(),
                    offset: t.offset,
                    size: std::num::NonZeroU64::new(t.bound_size()),
                }),
            })
            .collect();
        if let Some(arena) = arena {
            entries.push(wgpu::BindGroupEntry {
                binding: UNIFORM_BINDING,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &arena.buffer,
                    offset: 0,
                    size: std::num::NonZeroU64::new(pipeline.reflection.params as u64),
                }),
            });
        }
        self.inner
            .device
            .create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(&pipeline.label),
                layout: &pipeline.layout,
                entries: &entries,
            })
    }

    fn uniform_arena(&self) -> Arena {
        let arena = self
            .inner
            .command
            .uniforms
            .get_or_init(|| Arena::new(self, UNIFORM_ARENA));
        arena.clone()
    }

    pub(crate) fn forget_bind_groups(&self) {
        self.inner.command.recorder.lock().bind_groups.clear();
    }

    /// Forgets the bind groups over buffers that their host took back.
    pub(in crate::gpu) fn forget_gone(&self, recorder: &mut Recorder) {
        let gone = std::mem::take(&mut *self.inner.memory.gone.lock());
        if !gone.is_empty() {
            recorder
                .bind_groups
                .retain(|(_, key), _| !key.iter().any(|(id, ..)| gone.contains(id)));
        }
        if recorder.bind_groups.len() > BIND_GROUPS_KEPT {
            recorder.bind_groups.clear();
        }
    }

    /// Ends the pass and lends the encoder, for copies, queries and render passes.
    pub(crate) fn with_encoder<R>(&self, f: impl FnOnce(&mut wgpu::CommandEncoder) -> R) -> R {
        let mut recorder = self.inner.command.recorder.lock();
        let stream = match recorder.host() {
            Some(i) => &mut recorder.hosts[i].stream,
            None => {
                recorder.recorded += 1;
                &mut recorder.own
            }
        };
        f(stream.encoder(&self.inner.device))
    }

    /// Marks a tensor's buffer as used by what is being recorded now.
    pub(crate) fn mark(&self, tensor: &Tensor) {
        tensor.storage.fresh.store(false, Ordering::Relaxed);
        let mut recorder = self.inner.command.recorder.lock();
        match recorder.host() {
            Some(i) => recorder.hosts[i].hold(&tensor.storage),
            None => tensor.storage.last_use.store(
                self.inner.command.epoch.load(Ordering::Relaxed),
                Ordering::Relaxed,
            ),
        }
    }

    /// The last batch that went to the queue.
    pub(crate) fn submitted(&self) -> u64 {
        self.inner.command.submitted.load(Ordering::Relaxed)
    }

    /// Is there work of our own that is recorded and has not been closed?
    pub(in crate::gpu) fn has_open_work(recorder: &Recorder) -> bool {
        recorder.own.encoder.is_some()
    }

    /// Closes the batch. It is submitted, after those that wait, unless batches are being kept for
    /// later.
    pub(in crate::gpu) fn submit(&self, recorder: &mut Recorder) {
        self.forget_gone(recorder);
        let Recorder {
            own,
            slices,
            recorded,
            weight,
            ..
        } = recorder;
        own.pass = None;
        if let Some(encoder) = own.encoder.take() {
            let epoch = self.inner.command.epoch.fetch_add(1, Ordering::Relaxed);
            let uniforms = std::mem::take(&mut own.uniforms);
            slices.push(Slice::new(
                encoder.finish(),
                uniforms,
                std::mem::take(weight),
                epoch,
            ));
            *recorded = 0;
        }
        if !recorder.slices.keeping() {
            self.send_all(recorder);
        }
    }

    /// Submits all batches that wait.
    pub(in crate::gpu) fn send_all(&self, recorder: &mut Recorder) {
        while let Some(slice) = recorder.slices.pop() {
            self.send(recorder, slice);
        }
    }

    /// Submits one batch.
    pub(in crate::gpu) fn send(&self, recorder: &mut Recorder, slice: Slice) {
        let Slice {
            commands,
            mut uniforms,
            weight,
            epoch,
            ..
        } = slice;
        if !uniforms.is_empty() {
            // Ordered by the queue after what was submitted before, and before what is submitted
            // now.
            self.inner
                .queue
                .write_buffer(&self.uniform_arena().buffer, 0, &uniforms);
            uniforms.clear();
            if recorder.own.uniforms.capacity() == 0 {
                recorder.own.uniforms = uniforms;
            }
        }
        let start = Instant::now();
        recorder.last = Some(self.inner.queue.submit([commands]));
        recorder.counters.submitting += start.elapsed();
        recorder.counters.submissions += 1;
        self.inner.command.submitted.store(epoch, Ordering::Relaxed);
        let (start, inner) = (Instant::now(), Arc::downgrade(&self.inner));
        self.inner.queue.on_submitted_work_done(move || {
            if let Some(inner) = inner.upgrade() {
                let now = Instant::now();
                let begun = inner
                    .command
                    .last_done
                    .lock()
                    .replace(now)
                    .map_or(start, |done| done.max(start));
                inner
                    .command
                    .pace
                    .observe(weight, (now - begun).as_secs_f64());
            }
        });
    }

    /// Submits what was recorded. Returns the point in the queue up to which all is then on its
    /// way.
    ///
    /// # Errors
    /// If the device was lost or refused something since the last call.
    pub fn flush(&self) -> Result<Submission> {
        let submission = {
            let mut recorder = self.inner.command.recorder.lock();
            self.submit(&mut recorder);
            Submission {
                index: recorder.last.clone(),
                epoch: self.inner.command.epoch.load(Ordering::Relaxed) - 1,
            }
        };
        self.check()?;
        Ok(submission)
    }

    /// Sends what waits, up to this batch, whether it is being kept for later or not.
    pub(crate) fn send_up_to(&self, epoch: u64) {
        if epoch > self.submitted() {
            let mut recorder = self.inner.command.recorder.lock();
            self.submit(&mut recorder);
            self.send_all(&mut recorder);
        }
    }

    /// Waits until the device has done everything up to `submission`. In a browser nothing may
    /// wait: this returns at once, and [`Gpu::finish_async`] is what waits.
    pub fn wait(&self, submission: &Submission) -> Result<()> {
        let mut index = submission.index.clone();
        if submission.epoch > self.submitted() {
            self.send_up_to(submission.epoch);
            index = self.inner.command.recorder.lock().last.clone();
        }
        if let Some(index) = index {
            let poll = wgpu::PollType::Wait {
                submission_index: Some(index),
                timeout: None,
            };
            self.inner
                .device
                .poll(poll)
                .map_err(|e| Error::DeviceLost {
                    reason: e.to_string(),
                })?;
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
        self.inner.command.recorder.lock().counters
    }

    pub(in crate::gpu) fn count_readback(&self) {
        self.inner.command.recorder.lock().counters.readbacks += 1;
    }

    /// Operations and bytes of everything dispatched so far, as the operations state them.
    pub fn work_done(&self) -> Work {
        self.inner.command.recorder.lock().work
    }

    /// Writes `bytes` into `tensor`, in order with what is recorded around the call.
    ///
    /// `queue.write_buffer` runs before everything recorded and not yet submitted. So a buffer that
    /// such work uses is flushed first; where that may not be, what is recorded is a copy from a
    /// buffer that nothing else uses.
    pub(crate) fn upload(&self, tensor: &Tensor, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if !tensor.storage.fresh.swap(false, Ordering::Relaxed) {
            let for_host = self.host_set().is_some();
            let waits = tensor.storage.last_use.load(Ordering::Relaxed) > self.submitted();
            if for_host || (waits && self.deferring()) {
                let staging = self.storage_for_upload(bytes.len() as u64)?;
                self.write(staging.buffer(), staging.start, bytes);
                let size = (bytes.len() as u64).next_multiple_of(4);
                staging.last_use.store(
                    self.inner.command.epoch.load(Ordering::Relaxed),
                    Ordering::Relaxed,
                );
                self.mark(tensor);
                let target = tensor.storage.buffer();
                self.with_encoder(|e| {
                    e.copy_buffer_to_buffer(
                        staging.buffer(),
                        staging.start,
                        target,
                        tensor.offset,
                        size,
                    )
                });
                return Ok(());
            }
            if waits {
                self.flush()?;
            }
        }
        self.write(tensor.storage.buffer(), tensor.offset, bytes);
        Ok(())
    }

    /// Writes whole words, the last filled up with 0.
    fn write(&self, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) {
        let whole = bytes.len() & !3;
        self.inner
            .queue
            .write_buffer(buffer, offset, &bytes[..whole]);
        if whole < bytes.len() {
            let mut tail = [0u8; 4];
            tail[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
            self.inner
                .queue
                .write_buffer(buffer, offset + whole as u64, &tail);
        }
    }

    /// Records a copy of `bytes` bytes between two tensors.
    pub(crate) fn copy(&self, from: &Tensor, to: &Tensor, bytes: u64) {
        self.mark(from);
        self.mark(to);
        self.with_encoder(|encoder| {
            encoder.copy_buffer_to_buffer(
                from.storage.buffer(),
                from.offset,
                to.storage.buffer(),
                to.offset,
                bytes,
            )
        });
    }
}
