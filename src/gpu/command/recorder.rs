//! Recording and submitting: dispatches gather in one pass of one encoder, and go to the queue in
//! batches.

mod binding;
mod plan;
pub(in crate::gpu) mod sending;

use super::host_encoder::Recording;
use super::profile::{Profile, Span};
use super::slices::Slices;
use super::stream::{Counters, Stream, UNIFORM_STEP};
use crate::gpu::kernel::reflect::Elements;
use crate::gpu::memory::storage::SharedStorage;
use crate::gpu::{Gpu, Kernel, Tensor, Work};
use crate::{Error, Result};
use plan::{Bound, Plan};
use std::sync::atomic::Ordering;
use std::time::Duration;

#[derive(Default)]
pub(crate) struct Recorder {
    own: Stream,
    recorded: u32,
    /// Doublings of the dispatches that a batch holds, since the device had nothing to do.
    doublings: u32,
    weight: f64,
    pub(in crate::gpu) last: Option<wgpu::SubmissionIndex>,
    pub(in crate::gpu) hosts: Vec<Recording>,
    /// Encoders that stand in for a host's while it is lent.
    pub(in crate::gpu) spares: Vec<wgpu::CommandEncoder>,
    pub(in crate::gpu) slices: Slices,
    plan: Plan,
    counters: Counters,
    work: Work,
    pub(in crate::gpu) profile: Option<Profile>,
}

/// Seconds of work that one submission should hold: far below any driver's watchdog, far above its
/// own cost.
const SUBMIT_SECONDS: f64 = 0.04;
/// Dispatches of the first submission to a device that has nothing to do, so that it starts early,
/// and of each submission at most: twice as many from one to the next.
const FIRST_DISPATCHES: u32 = 16;
const SUBMIT_DISPATCHES: u32 = 128;
/// Bytes of parameters that one submission can carry where there are no immediates.
const UNIFORM_ARENA: usize = 256 * 1024;

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
        let mut recorder = self.inner.command.recorder.lock();
        let pipeline = match recorder.plan.pipeline(kernel) {
            Some(pipeline) => pipeline,
            None => {
                // It may have to be compiled, which others should not wait for.
                drop(recorder);
                let pipeline = self.pipeline(kernel)?;
                recorder = self.inner.command.recorder.lock();
                pipeline
            }
        };
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
                Elements::Words => "32-bit elements: `ops::elementwise::cast` makes f32",
                Elements::F16 => "f16: `ops::elementwise::cast` makes it",
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
        let mut bound = Bound::new();
        for (i, t) in bindings.iter().enumerate() {
            self.check_binding(op, t)?;
            let twice = |other: &&&Tensor| other.shares_buffer(t);
            if declared.storage[i].write && bindings.iter().filter(twice).count() > 1 {
                return Err(Error::invalid(
                    op,
                    "a tensor that the kernel writes is bound twice",
                ));
            }
            bound.push((t.storage.id(), t.offset, t.bound_size()));
        }

        let recorder = &mut *recorder;
        let weight = work.weight();
        let host = recorder.host();
        if host.is_none() {
            let budget = self.inner.command.pace.get() * SUBMIT_SECONDS;
            let full = recorder.recorded >= recorder.dispatches_per_batch()
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
        for t in bindings {
            self.mark(recorder, host, &t.storage);
        }
        let uniform = !self.inner.immediates && !params.is_empty();
        let arena = match host {
            _ if !uniform => None,
            Some(i) => Some(recorder.hosts[i].arena(self)),
            None => Some(self.uniform_arena()),
        };
        bound.extend(
            arena
                .as_ref()
                .map(|arena| (arena.id, 0, params.len() as u64)),
        );
        let Recorder { plan, counters, .. } = recorder;
        let bind_group = match plan.go_on(&pipeline, &bound) {
            Some(known) => known.bind_group.clone(),
            None => {
                let bind_group = plan.bind_group(pipeline.layout.id, &bound, || {
                    counters.bind_groups += 1;
                    self.bind_group(&pipeline, bindings, arena.as_ref())
                });
                plan.add(kernel, bound, &pipeline, bind_group.clone());
                bind_group
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
        let offset = uniform.then(|| stream.push_params(params));
        let begun = stream.passes;
        stream.pass(&self.inner.device);
        let new_pipeline = stream.pipeline != pipeline.id;
        let new_bind_group = stream.bind_group != bind_group.id || uniform;
        (stream.pipeline, stream.bind_group) = (pipeline.id, bind_group.id);
        let pass = stream.pass(&self.inner.device);
        if new_pipeline {
            pass.set_pipeline(&pipeline.pipeline);
        }
        if new_bind_group {
            pass.set_bind_group(0, &bind_group.group, offset.as_slice());
        }
        if offset.is_none() && !params.is_empty() {
            pass.set_immediates(0, params);
        }
        pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
        let passes = stream.passes - begun;
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
            recorder.slices.count(pipeline.id, weight);
        }
        recorder.counters.dispatches += 1;
        recorder.counters.pipelines += u64::from(new_pipeline);
        recorder.counters.bindings += u64::from(new_bind_group);
        recorder.counters.passes += passes;
        recorder.work.flops += work.flops;
        recorder.work.bytes += work.bytes;
        Ok(())
    }

    /// Ends the pass and hands out the encoder, for copies, queries and render passes that use
    /// these buffers. They are marked under the lock under which the work is recorded: in between,
    /// another thread could submit the batch that they were marked for.
    pub(crate) fn with_encoder<R>(
        &self,
        used: &[&SharedStorage],
        f: impl FnOnce(&mut wgpu::CommandEncoder) -> R,
    ) -> R {
        let mut recorder = self.inner.command.recorder.lock();
        let recorder = &mut *recorder;
        let host = recorder.host();
        for storage in used {
            self.mark(recorder, host, storage);
        }
        let stream = match host {
            Some(i) => &mut recorder.hosts[i].stream,
            None => {
                recorder.recorded += 1;
                &mut recorder.own
            }
        };
        f(stream.encoder(&self.inner.device))
    }

    /// Marks a buffer as used by what is recorded next, under the recorder's lock.
    fn mark(&self, recorder: &mut Recorder, host: Option<usize>, storage: &SharedStorage) {
        storage.fresh.store(false, Ordering::Relaxed);
        match host {
            Some(i) => recorder.hosts[i].hold(storage),
            None => storage.last_use.store(
                self.inner.command.epoch.load(Ordering::Relaxed),
                Ordering::Relaxed,
            ),
        }
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
                let target = tensor.storage.buffer();
                self.copy_buffers(
                    &[&staging, &tensor.storage],
                    (staging.buffer(), staging.start),
                    (target, tensor.offset),
                    size,
                );
                return Ok(());
            }
            if waits {
                self.flush()?;
            }
        }
        self.write(tensor.storage.buffer(), tensor.offset, bytes);
        Ok(())
    }

    /// Sends uploads that wait for the next submission, and waits until they are done where that
    /// may be: the copies of the host's bytes that they are made from are let go then. They come
    /// before all that is recorded in any case.
    ///
    /// # Errors
    /// If the device was lost, or finishes nothing for too long.
    pub(crate) fn send_uploads(&self) -> Result<()> {
        if self.host_set().is_some() {
            return Ok(());
        }
        let index = self.inner.queue.submit([]);
        #[cfg(not(target_arch = "wasm32"))]
        self.inner.wait_for(Some(index), "uploads")?;
        #[cfg(target_arch = "wasm32")]
        drop(index);
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
        let (source, target) = (from.storage.buffer(), to.storage.buffer());
        self.copy_buffers(
            &[&from.storage, &to.storage],
            (source, from.offset),
            (target, to.offset),
            bytes,
        );
    }

    /// Records a copy of `bytes` bytes between two buffers, each from an offset on; `used` are
    /// those of the two that tensors have.
    pub(in crate::gpu) fn copy_buffers(
        &self,
        used: &[&SharedStorage],
        from: (&wgpu::Buffer, u64),
        to: (&wgpu::Buffer, u64),
        bytes: u64,
    ) {
        self.with_encoder(used, |e| {
            e.copy_buffer_to_buffer(from.0, from.1, to.0, to.1, bytes);
        });
        let mut recorder = self.inner.command.recorder.lock();
        recorder.counters.copies += 1;
        recorder.counters.copied_bytes += bytes;
    }
}
