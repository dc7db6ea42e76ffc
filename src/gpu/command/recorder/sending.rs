//! Submitting what was recorded, and waiting for it.

use super::{FIRST_DISPATCHES, Recorder, SUBMIT_DISPATCHES};
use crate::Result;
use crate::gpu::Gpu;
use crate::gpu::command::clock::Instant;
use crate::gpu::command::slices::Slice;
use crate::gpu::command::stream::Submission;
use std::sync::Arc;
use std::sync::atomic::Ordering;
#[cfg(not(target_arch = "wasm32"))]
use std::time::Duration;

impl Recorder {
    /// Returns how many dispatches go to the queue together.
    pub(super) fn dispatches_per_batch(&self) -> u32 {
        if self.slices.keeping() {
            return SUBMIT_DISPATCHES;
        }
        (FIRST_DISPATCHES << self.doublings).min(SUBMIT_DISPATCHES)
    }
}

/// The time in which a thread asks again and again before it sleeps until the device is done: a
/// wake-up by the system takes longer than a short kernel does.
#[cfg(not(target_arch = "wasm32"))]
pub(in crate::gpu) const SPIN: Duration = Duration::from_micros(200);

impl Gpu {
    /// Returns the last batch that went to the queue.
    pub(crate) fn submitted(&self) -> u64 {
        self.inner.command.submitted.load(Ordering::Relaxed)
    }

    /// Whether some of the engine's own work is recorded and not closed yet.
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
            doublings,
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
            *doublings = (*doublings + 1).min(SUBMIT_DISPATCHES.ilog2());
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
        let index = self.inner.queue.submit([commands]);
        recorder.last = Some(index.clone());
        self.inner.command.completions.submitted(epoch, index);
        recorder.counters.submitting += start.elapsed();
        recorder.counters.submissions += 1;
        self.inner.command.submitted.store(epoch, Ordering::Relaxed);
        let (start, inner) = (Instant::now(), Arc::downgrade(&self.inner));
        let completions = self.inner.command.completions.clone();
        self.inner.queue.on_submitted_work_done(move || {
            let now = Instant::now();
            let before = completions.finished(epoch, now);
            if let Some(inner) = inner.upgrade() {
                let begun = before.map_or(start, |done| done.max(start));
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
            // Where batches are kept for later, the last that was sent is none of what is meant.
            let sent = !recorder.slices.keeping();
            Submission {
                index: recorder.last.clone().filter(|_| sent),
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
    ///
    /// # Errors
    /// If the device was lost or refused something since the last call, or finishes nothing for
    /// [`Options::device_timeout`](crate::gpu::Options::device_timeout).
    pub fn wait(&self, submission: &Submission) -> Result<()> {
        self.send_up_to(submission.epoch);
        // What was kept for later has been sent since, as a part of the last or before it.
        let index = submission.index.clone();
        let index = index.or_else(|| self.inner.command.recorder.lock().last.clone());
        #[cfg(not(target_arch = "wasm32"))]
        self.spin_until(submission.epoch)?;
        if index.is_some() {
            self.inner.wait_for(index, "work that was submitted")?;
        }
        self.note_idle();
        self.check()
    }

    /// Whether asking for the device again and again makes it no slower: one that is the processor
    /// needs it.
    #[cfg(not(target_arch = "wasm32"))]
    pub(in crate::gpu) fn spins(&self) -> bool {
        self.inner.info.device_type != wgpu::DeviceType::Cpu
    }

    /// Asks for a short time whether a batch is done.
    #[cfg(not(target_arch = "wasm32"))]
    fn spin_until(&self, epoch: u64) -> Result<()> {
        let (start, completions) = (Instant::now(), &self.inner.command.completions);
        while self.spins() && !completions.has_finished(epoch) && start.elapsed() < SPIN {
            self.inner.poll(wgpu::PollType::Poll)?;
            std::hint::spin_loop();
        }
        Ok(())
    }

    /// Notes whether the device has nothing to do, so that the next batch should come early.
    pub(in crate::gpu) fn note_idle(&self) {
        if self.inner.command.completions.all_finished() {
            self.inner.command.recorder.lock().doublings = 0;
        }
    }

    /// Submits what was recorded and waits for all of it.
    ///
    /// # Errors
    /// As [`Gpu::wait`].
    pub fn finish(&self) -> Result<()> {
        let submission = self.flush()?;
        self.wait(&submission)
    }
}
