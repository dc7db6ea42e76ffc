//! Work in slices: recorded as ever, but submitted a little at a time, so that a render loop
//! between two frames goes on with it for as long as the frame has time, and no longer.

use super::clock::Instant;
use super::recorder::Recorder;
use crate::gpu::{Gpu, Submission};
use crate::{Error, Result};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A batch that was recorded and waits for its submission.
pub(in crate::gpu) struct Slice {
    pub(in crate::gpu) commands: wgpu::CommandBuffer,
    pub(in crate::gpu) uniforms: Vec<u8>,
    pub(in crate::gpu) weight: f64,
    pub(in crate::gpu) epoch: u64,
    /// Pipelines, and the seconds that their dispatches were expected to take.
    expected: Vec<(u64, f64)>,
}

impl Slice {
    pub(in crate::gpu) fn new(
        commands: wgpu::CommandBuffer,
        uniforms: Vec<u8>,
        weight: f64,
        epoch: u64,
    ) -> Slice {
        Slice {
            commands,
            uniforms,
            weight,
            epoch,
            expected: Vec::new(),
        }
    }

    fn seconds(&self) -> f64 {
        self.expected.iter().map(|(_, seconds)| seconds).sum()
    }
}

/// Batches that wait, and what is known of their pace.
pub(in crate::gpu) struct Slices {
    waiting: VecDeque<Slice>,
    /// Seconds of work that a batch holds at most, while batches are being kept.
    length: Option<f64>,
    /// Expected seconds of the open batch, by pipeline.
    open: Vec<(u64, f64)>,
    /// Seconds per weight of each pipeline, as measured.
    rates: HashMap<u64, f64>,
    /// Factor by which slices took longer than expected lately, nearer the worst of them than the
    /// mean: a machine that others use too is not even.
    overrun: f64,
    /// Seconds that recording took the last time.
    recording: f64,
}

impl Default for Slices {
    fn default() -> Self {
        let (waiting, open, rates) = Default::default();
        Slices {
            waiting,
            length: None,
            open,
            rates,
            overrun: 2.0,
            recording: 0.0,
        }
    }
}

impl Slices {
    pub(in crate::gpu) fn keeping(&self) -> bool {
        self.length.is_some()
    }

    fn expected(&self, pipeline: u64, weight: f64, pace: f64) -> f64 {
        self.rates
            .get(&pipeline)
            .map_or(weight / pace, |rate| rate * weight)
    }

    /// Whether one more dispatch would make the open batch too long.
    pub(in crate::gpu) fn full(&self, pipeline: u64, weight: f64, pace: f64) -> bool {
        let Some(length) = self.length else {
            return false;
        };
        let open: f64 = self.open.iter().map(|(_, seconds)| seconds).sum();
        !self.open.is_empty() && open + self.expected(pipeline, weight, pace) > length
    }

    pub(in crate::gpu) fn count(&mut self, pipeline: u64, weight: f64, pace: f64) {
        if self.keeping() {
            self.open
                .push((pipeline, self.expected(pipeline, weight, pace)));
        }
    }

    pub(in crate::gpu) fn push(&mut self, mut slice: Slice) {
        slice.expected = std::mem::take(&mut self.open);
        self.waiting.push_back(slice);
    }

    pub(in crate::gpu) fn pop(&mut self) -> Option<Slice> {
        self.waiting.pop_front()
    }

    /// Learns from a slice that took so long. One kernel's share is not seen, so each is taken to
    /// have erred alike.
    fn learn(&mut self, slice: &[(u64, f64)], seconds: f64, pace: f64) {
        let expected: f64 = slice.iter().map(|(_, s)| s).sum();
        if expected <= 0.0 {
            return;
        }
        let ratio = seconds / expected;
        self.overrun = if ratio > self.overrun {
            0.5 * (self.overrun + ratio.min(8.0))
        } else {
            self.overrun * 0.99
        };
        self.overrun = self.overrun.max(1.0);
        let factor = ratio.clamp(0.1, 10.0).sqrt();
        let mut seen: Vec<u64> = slice.iter().map(|(pipeline, _)| *pipeline).collect();
        seen.sort_unstable();
        seen.dedup();
        for pipeline in seen {
            *self.rates.entry(pipeline).or_insert(1.0 / pace) *= factor;
        }
    }
}

/// Progress that one call of [`Gpu::run_for_budget`] made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SliceProgress {
    /// Time that the call took, waiting for the device included.
    pub took: Duration,
    /// Pieces of work that the device finished.
    pub slices: u32,
    /// Whether nothing is left of what was recorded.
    pub done: bool,
}

/// Slices in a frame's budget: more cost more submissions, fewer end further from the budget.
const SLICES: f64 = 4.0;

impl Gpu {
    /// Goes on with work for about `budget`, in pieces, and leaves the rest to the next call: for
    /// training or sampling between the frames of a render loop. Where nothing is left over, `more`
    /// records the next (a training step, a sample), which is not submitted but cut into pieces by
    /// the pace that was measured of each kernel; `false` says that there is no more.
    ///
    /// The call waits for each piece, and begins none that is not expected to end within the
    /// budget, but for the first: every call goes on by one piece at least, and one dispatch is
    /// never cut. Recording counts too. Results are those of the same work at once, to the bit.
    ///
    /// Work left over is done when anything waits for it ([`Gpu::finish`], reading a tensor), and
    /// before work that is recorded outside.
    ///
    /// # Errors
    /// Returns the error of `more`, or one if the device fails, or if it is called from within
    /// `more` or within [`Gpu::record_into`].
    pub fn run_for_budget(
        &self,
        budget: Duration,
        mut more: impl FnMut() -> Result<bool>,
    ) -> Result<SliceProgress> {
        let start = Instant::now();
        if self.deferring() || self.host_set().is_some() {
            return Err(Error::invalid(
                "run_for_budget",
                "is called from within itself, or while recording for a host",
            ));
        }
        let mut worked = SliceProgress::default();
        let mut ended = false;
        loop {
            let (next, recording) = {
                let slices = &self.inner.command.recorder.lock().slices;
                (
                    slices
                        .waiting
                        .front()
                        .map(|slice| slice.seconds() * slices.overrun),
                    slices.recording,
                )
            };
            let left = budget.as_secs_f64() - start.elapsed().as_secs_f64();
            let Some(next) = next else {
                if ended {
                    worked.done = true;
                    break;
                }
                // A step is recorded as quickly as the one before; its first slice comes on top.
                if worked.slices > 0 && recording + budget.as_secs_f64() / SLICES > left {
                    worked.done = true;
                    break;
                }
                let began = Instant::now();
                let (going, recorded) = self.keep(budget.as_secs_f64() / SLICES, &mut more)?;
                ended = !going;
                let slices = &mut self.inner.command.recorder.lock().slices;
                slices.recording = began.elapsed().as_secs_f64();
                if going && !recorded {
                    return Err(Error::invalid(
                        "run_for_budget",
                        "`more` says that there is more, and recorded nothing",
                    ));
                }
                // What `more` waited for itself is done.
                worked.slices += u32::from(recorded && slices.waiting.is_empty());
                continue;
            };
            if worked.slices > 0 && next > left {
                break;
            }
            self.run_slice(worked.slices == 0)?;
            worked.slices += 1;
        }
        worked.took = start.elapsed();
        Ok(worked)
    }

    /// Records `more`, in batches of `length` seconds that wait, and returns what it says and
    /// whether it recorded something.
    fn keep(&self, length: f64, more: &mut impl FnMut() -> Result<bool>) -> Result<(bool, bool)> {
        let before = self.set_slices(Some(length));
        // Nothing is kept any more where `more` panics and the host goes on.
        struct End<'a>(&'a Gpu);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.set_slices(None);
            }
        }
        let end = End(self);
        let going = more()?;
        drop(end);
        let after = self.inner.command.epoch.load(Ordering::Relaxed);
        Ok((going, after > before))
    }

    /// Closes the open batch, sets how long batches are that are kept, and returns the number of
    /// the batch that is recorded next.
    fn set_slices(&self, length: Option<f64>) -> u64 {
        let mut recorder = self.inner.command.recorder.lock();
        self.submit(&mut recorder);
        recorder.slices.length = length;
        self.inner.command.epoch.load(Ordering::Relaxed)
    }

    /// Submits the first batch that waits, waits for it, and learns how long it took. What `first`
    /// had to wait for may be the host's.
    fn run_slice(&self, first: bool) -> Result<()> {
        let began = Instant::now();
        let (expected, submission) = {
            let mut recorder = self.inner.command.recorder.lock();
            let recorder: &mut Recorder = &mut recorder;
            let Some(mut slice) = recorder.slices.pop() else {
                return Ok(());
            };
            let (expected, epoch) = (std::mem::take(&mut slice.expected), slice.epoch);
            self.send(recorder, slice);
            (expected, Submission::at(recorder.last.clone(), epoch))
        };
        self.wait(&submission)?;
        let seconds = began.elapsed().as_secs_f64();
        let guessed: f64 = expected.iter().map(|(_, s)| s).sum();
        if !first || seconds < guessed {
            self.inner.command.recorder.lock().slices.learn(
                &expected,
                seconds,
                self.inner.command.pace.get(),
            );
        }
        Ok(())
    }

    /// Whether work that is recorded now is kept for later.
    pub(crate) fn deferring(&self) -> bool {
        self.inner.command.recorder.lock().slices.keeping()
    }
}
