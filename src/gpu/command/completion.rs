//! Completion of submitted batches, and futures of it: waiting without blocking the thread, and
//! running such a future on a thread that may block.

use super::clock::Instant;
use crate::Result;
use crate::gpu::lock::Mutex;
use crate::gpu::{Gpu, Submission};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

/// Batches that were submitted, and those that wait for one of them.
#[derive(Default)]
pub(in crate::gpu) struct Completions {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last batch that the device has finished.
    finished: u64,
    /// Batches on the device, the oldest first, each with its point in the queue.
    unfinished: VecDeque<(u64, wgpu::SubmissionIndex)>,
    wakers: Vec<Waker>,
    /// When the last batch was found to be done.
    last_done: Option<Instant>,
}

impl Completions {
    /// Notes that a batch was submitted.
    pub(in crate::gpu) fn submitted(&self, epoch: u64, index: wgpu::SubmissionIndex) {
        self.state.lock().unfinished.push_back((epoch, index));
    }

    /// Notes that the device has finished a batch, and with it those before; returns when the one
    /// before was found to be.
    pub(in crate::gpu) fn finished(&self, epoch: u64, now: Instant) -> Option<Instant> {
        let (wakers, before) = {
            let mut state = self.state.lock();
            state.finished = state.finished.max(epoch);
            let finished = state.finished;
            state.unfinished.retain(|(epoch, _)| *epoch > finished);
            (
                std::mem::take(&mut state.wakers),
                state.last_done.replace(now),
            )
        };
        wakers.into_iter().for_each(Waker::wake);
        before
    }

    /// Whether the device is known to have finished a batch.
    #[cfg(not(target_arch = "wasm32"))]
    pub(in crate::gpu) fn has_finished(&self, epoch: u64) -> bool {
        self.state.lock().finished >= epoch
    }

    /// Returns the last batch that the device is known to have finished.
    pub(in crate::gpu) fn newest(&self) -> u64 {
        self.state.lock().finished
    }

    /// Whether nothing is known to be on the device.
    pub(in crate::gpu) fn all_finished(&self) -> bool {
        self.state.lock().unfinished.is_empty()
    }

    /// Ready once the device has finished a batch.
    fn poll(&self, epoch: u64, context: &Context) -> Poll<()> {
        let mut state = self.state.lock();
        if state.finished >= epoch {
            return Poll::Ready(());
        }
        state.wakers.push(context.waker().clone());
        Poll::Pending
    }

    /// Returns the oldest batch on the device.
    #[cfg(not(target_arch = "wasm32"))]
    fn oldest(&self) -> Option<wgpu::SubmissionIndex> {
        let state = self.state.lock();
        state.unfinished.front().map(|(_, index)| index.clone())
    }
}

impl Gpu {
    /// [`Gpu::wait`] as a future: done when the device has done everything up to `submission`. For
    /// browsers, and for hosts that poll the device themselves: someone has to.
    ///
    /// # Errors
    /// If the device was lost or refused something since the last call.
    pub async fn wait_async(&self, submission: &Submission) -> Result<()> {
        self.send_up_to(submission.epoch());
        let completions = &self.inner.command.completions;
        poll_fn(|context| completions.poll(submission.epoch(), context)).await;
        self.check()
    }

    /// [`Gpu::finish`] as a future: submits what was recorded, and is done when the device has done
    /// all of it.
    ///
    /// # Errors
    /// As [`Gpu::wait_async`].
    pub async fn finish_async(&self) -> Result<()> {
        let submission = self.flush()?;
        self.wait_async(&submission).await
    }

    /// Runs a future of this device's work to its end: blocks the thread, submits what was
    /// recorded, and polls the device. Every blocking call of the library that has an `async` one
    /// beside it is that one, run by this. Not in browsers, where nothing may block.
    ///
    /// ```
    /// use wgvq::gpu::{Gpu, Options, Tensor};
    ///
    /// # fn main() -> wgvq::Result<()> {
    /// let gpu = Gpu::new(Options::default())?;
    /// let tensor = Tensor::from_slice(&gpu, &[2], &[1.0f32, 2.0])?;
    /// let values = gpu.block_on(async { tensor.read_async()?.get::<f32>().await })?;
    /// assert_eq!(values, [1.0, 2.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns the future's error, or one if the device was lost, if it finishes nothing for
    /// [`Options::device_timeout`](crate::gpu::Options::device_timeout), or if the future waits for
    /// a host's encoder that was not submitted.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn block_on<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        use super::recorder::sending::SPIN;
        use crate::Error;
        use std::sync::atomic::Ordering;
        let mut future = std::pin::pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        let (mut idle, mut last) = (0, 0);
        let mut since = Instant::now();
        loop {
            if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
                self.note_idle();
                return result;
            }
            // What is recorded in between is progress. With nothing of it and nothing under way,
            // only another thread that just polled can still bring what the future waits for.
            let epoch = self.inner.command.epoch.load(Ordering::Relaxed);
            if epoch != last {
                (idle, last) = (0, epoch);
                since = Instant::now();
            }
            if idle > 1_000 {
                let what = "the copy was recorded into a host's encoder, and that has not been \
                            submitted; wait after `queue.submit`";
                return Err(Error::invalid("readback", what));
            }
            self.send_up_to(epoch - 1);
            if self.spins() && since.elapsed() < SPIN {
                self.inner.poll(wgpu::PollType::Poll)?;
                std::hint::spin_loop();
                continue;
            }
            // The oldest alone: the future may record more while the others run.
            let oldest = self.inner.command.completions.oldest();
            let status = self.inner.wait_for(oldest, "the copy of a result")?;
            self.check_lost()?;
            idle += u32::from(status.is_queue_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{DType, Options, Tensor};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn finishing_a_batch_finishes_those_before_and_wakes() {
        let completions = Completions::default();
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = count.clone().into();
        let context = Context::from_waker(&waker);
        assert!(completions.poll(0, &context).is_ready());
        assert!(completions.poll(2, &context).is_pending());
        completions.finished(1, Instant::now());
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(completions.poll(2, &context).is_pending());
        completions.finished(3, Instant::now());
        completions.finished(2, Instant::now());
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
        assert!(completions.poll(3, &context).is_ready());
    }

    /// However many readbacks a future awaits, each is progress.
    #[test]
    fn a_future_may_wait_for_many_readbacks() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let tensor = Tensor::from_slice(&gpu, &[1], &[3.0f32]).unwrap();
        let many = async {
            for _ in 0..1_500 {
                assert_eq!(tensor.read_async()?.get::<f32>().await?, [3.0]);
            }
            Ok(())
        };
        gpu.block_on(many).unwrap();
    }

    #[test]
    fn submissions_are_awaited_one_by_one() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let tensor = Tensor::zeros(&gpu, &[64], DType::F32).unwrap();
        let mut submissions = Vec::new();
        for i in 1..=4 {
            let values = [i as f32; 64];
            let from = Tensor::from_slice(&gpu, &[64], &values).unwrap();
            tensor.copy_from(&from).unwrap();
            submissions.push(gpu.flush().unwrap());
        }
        let all = async {
            for submission in &submissions {
                gpu.wait_async(submission).await?;
            }
            gpu.finish_async().await
        };
        gpu.block_on(all).unwrap();
        assert!(gpu.inner.command.completions.oldest().is_none());
        assert_eq!(tensor.read::<f32>().unwrap()[0], 4.0);
    }
}
