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
    /// Weight of each pipeline's dispatches. What they take is asked when they are sent: by then
    /// more may be known than when they were recorded.
    work: Vec<(u64, f64)>,
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
            work: Vec::new(),
        }
    }
}

/// Batches that wait, and what is known of their pace.
pub(in crate::gpu) struct Slices {
    waiting: VecDeque<Slice>,
    /// Seconds of work that a batch holds at most, while batches are being kept.
    length: Option<f64>,
    /// Weight of the open batch's dispatches, by pipeline.
    open: Vec<(u64, f64)>,
    /// Seconds per weight of each pipeline, as measured.
    rates: HashMap<u64, f64>,
    /// Seconds that a piece takes whatever is in it: submission and waiting.
    latency: f64,
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
            latency: 0.0,
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
        let open = self.seconds(&self.open, pace);
        !self.open.is_empty() && open + self.expected(pipeline, weight, pace) > length
    }

    /// Seconds that so much work is expected to take.
    fn seconds(&self, work: &[(u64, f64)], pace: f64) -> f64 {
        let of = |(pipeline, weight): &(u64, f64)| self.expected(*pipeline, *weight, pace);
        work.iter().map(of).sum()
    }

    pub(in crate::gpu) fn count(&mut self, pipeline: u64, weight: f64) {
        if self.keeping() {
            add(&mut self.open, pipeline, weight);
        }
    }

    pub(in crate::gpu) fn push(&mut self, mut slice: Slice) {
        slice.work = std::mem::take(&mut self.open);
        self.waiting.push_back(slice);
    }

    /// Returns how many of the batches that wait, one at least, are together expected to take no
    /// longer than a piece may, and how long.
    fn piece(&self, length: f64, pace: f64) -> Option<(usize, f64)> {
        let mut waiting = self
            .waiting
            .iter()
            .map(|slice| self.seconds(&slice.work, pace));
        let (mut count, mut all) = (1, waiting.next()?);
        for seconds in waiting {
            if all + seconds > length {
                break;
            }
            (count, all) = (count + 1, all + seconds);
        }
        Some((count, all))
    }

    pub(in crate::gpu) fn pop(&mut self) -> Option<Slice> {
        self.waiting.pop_front()
    }

    /// Learns from a piece that took so long. One kernel's share is not seen: each is taken to have
    /// erred by as much as its share of the piece makes likely. (Where all erred alike, what little
    /// a small kernel adds would never draw its rate back, and rates would drift apart for ever.)
    fn learn(&mut self, work: &[(u64, f64)], seconds: f64, pace: f64) {
        // A piece shorter than any before shows what submission takes; what it takes may rise, too.
        self.latency = match self.latency {
            0.0 => 0.5 * seconds,
            latency => (latency * 1.002).min(0.9 * seconds),
        };
        let expected = self.seconds(work, pace);
        if expected.is_nan() || expected <= 0.0 {
            return;
        }
        let ratio = (seconds - self.latency) / expected;
        self.overrun = if ratio > self.overrun {
            0.5 * (self.overrun + ratio.min(8.0))
        } else {
            self.overrun * 0.99
        };
        self.overrun = self.overrun.max(1.0);
        let error = 0.5 * ratio.clamp(0.1, 10.0).ln();
        let of = |(pipeline, weight): &(u64, f64)| self.expected(*pipeline, *weight, pace);
        let shares: Vec<f64> = work.iter().map(of).collect();
        let most = shares.iter().copied().fold(0.0, f64::max);
        let usual = 1.0 / pace;
        for ((pipeline, _), share) in work.iter().zip(shares) {
            let rate = self.rates.entry(*pipeline).or_insert(usual);
            *rate *= (error * share / most).exp();
            *rate = rate.clamp(usual / FARTHEST, usual * FARTHEST);
        }
    }
}

/// Adds work to that of the same pipeline.
fn add(work: &mut Vec<(u64, f64)>, pipeline: u64, weight: f64) {
    match work.iter_mut().find(|(own, _)| *own == pipeline) {
        Some((_, all)) => *all += weight,
        None => work.push((pipeline, weight)),
    }
}

/// The factor by which a kernel is taken to be faster or slower than the device's mean, at most.
const FARTHEST: f64 = 1e4;

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

/// Whether nothing may wait for the device: in browsers.
const NEVER_WAITS: bool = cfg!(target_arch = "wasm32");

/// Pieces in a frame's budget: more cost more submissions, fewer end further from the budget.
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
    /// In browsers nothing waits: a call sends what is expected to fit, and nothing while the
    /// device has not done what the last one sent.
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
        // In a browser nothing waits: what is sent there adds up, and the device has to have done
        // all of it before more is sent.
        if NEVER_WAITS && !self.inner.command.completions.all_finished() {
            return Ok(worked);
        }
        let mut on_its_way = 0.0;
        let length = budget.as_secs_f64() / SLICES;
        let mut ended = false;
        loop {
            let (next, recording) = {
                let slices = &self.inner.command.recorder.lock().slices;
                let next = slices.piece(length, self.inner.command.pace.get());
                let seconds = |seconds: f64| seconds * slices.overrun + slices.latency;
                let next = next.map(|(count, expected)| (count, seconds(expected)));
                (next, slices.recording)
            };
            let left = budget.as_secs_f64() - start.elapsed().as_secs_f64() - on_its_way;
            let Some((count, next)) = next else {
                if ended {
                    worked.done = true;
                    break;
                }
                // A step is recorded as quickly as the one before; its first slice comes on top.
                if worked.slices > 0 && recording + length > left {
                    worked.done = true;
                    break;
                }
                let began = Instant::now();
                let (going, recorded) = self.keep(length, &mut more)?;
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
            self.run_piece(count, worked.slices == 0)?;
            worked.slices += 1;
            if NEVER_WAITS {
                on_its_way += next;
            }
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

    /// Submits the first batches that wait, waits for them, and learns how long they took. What
    /// `first` had to wait for may be the host's.
    fn run_piece(&self, count: usize, first: bool) -> Result<()> {
        let began = Instant::now();
        let mut work = Vec::new();
        let submission = {
            let mut recorder = self.inner.command.recorder.lock();
            let recorder: &mut Recorder = &mut recorder;
            let mut last = 0;
            for _ in 0..count {
                let Some(mut slice) = recorder.slices.pop() else {
                    break;
                };
                for (pipeline, weight) in std::mem::take(&mut slice.work) {
                    add(&mut work, pipeline, weight);
                }
                last = slice.epoch;
                self.send(recorder, slice);
            }
            Submission::at(recorder.last.clone(), last)
        };
        if NEVER_WAITS {
            return self.check();
        }
        self.wait(&submission)?;
        let (seconds, pace) = (began.elapsed().as_secs_f64(), self.inner.command.pace.get());
        let slices = &mut self.inner.command.recorder.lock().slices;
        if !first || seconds < slices.seconds(&work, pace) {
            slices.learn(&work, seconds, pace);
        }
        Ok(())
    }

    /// Whether work that is recorded now is kept for later.
    pub(crate) fn deferring(&self) -> bool {
        self.inner.command.recorder.lock().slices.keeping()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kernels of very different speeds, in pieces of changing mixtures: after thousands of steps
    /// what is expected of each is still near what it takes.
    #[test]
    fn rates_do_not_drift_apart() {
        let mut slices = Slices::default();
        let (pace, latency) = (1e9, 2e-4);
        let rates = [2e-10, 1e-9, 3e-8, 1e-9, 5e-10];
        let weights = [1e7, 4e6, 1e4, 2e2, 3e5];
        let mut state = 1u64;
        for step in 0..20_000 {
            let mut work = Vec::new();
            for kernel in 0..rates.len() {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(99);
                if !(state >> 33).is_multiple_of(3) {
                    add(&mut work, kernel as u64, weights[kernel]);
                }
            }
            // Machines that others use too are not even.
            let noise = 0.7 + 0.6 * ((state >> 40) % 100) as f64 / 100.0;
            let of = |(kernel, weight): &(u64, f64)| rates[*kernel as usize] * weight;
            let seconds = latency + noise * work.iter().map(of).sum::<f64>();
            if !work.is_empty() {
                slices.learn(&work, seconds, pace);
            }
            if step == 200 || step == 19_999 {
                for (kernel, rate) in rates.iter().enumerate() {
                    let expected = slices.expected(kernel as u64, 1.0, pace);
                    let most = if kernel < 2 { 3.0 } else { 100.0 };
                    let ratio = expected / rate;
                    assert!((1.0 / most..most).contains(&ratio), "{kernel}: {ratio}");
                }
            }
        }
        assert!(
            (0.3..1.5).contains(&(slices.latency / latency)),
            "{}",
            slices.latency
        );
    }

    #[test]
    fn small_batches_go_together() {
        let mut slices = Slices {
            length: Some(1.0),
            ..Default::default()
        };
        assert!(slices.piece(1.0, 1.0).is_none());
        slices.rates = HashMap::from([(1, 0.1), (2, 5.0)]);
        assert!(!slices.full(2, 1.0, 1.0), "one dispatch is never cut");
        slices.count(1, 4.0);
        slices.count(1, 4.0);
        assert_eq!(slices.open, [(1, 8.0)]);
        assert!(slices.full(1, 4.0, 1.0) && !slices.full(1, 1.0, 1.0));
    }
}
