//! Waiting for the device without blocking the thread.

use crate::Result;
use crate::gpu::Gpu;
use parking_lot::Mutex;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

impl Gpu {
    /// [`Gpu::finish`] as a future: submits what was recorded, and is done when the device has done
    /// all of it. For browsers, and for hosts that poll the device themselves: someone has to.
    ///
    /// # Errors
    /// If the device was lost or refused something since the last call.
    pub async fn finish_async(&self) -> Result<()> {
        self.flush()?;
        let done: Arc<Mutex<(bool, Option<Waker>)>> = Default::default();
        let told = done.clone();
        self.inner.queue.on_submitted_work_done(move || {
            let mut told = told.lock();
            told.0 = true;
            if let Some(waker) = told.1.take() {
                waker.wake();
            }
        });
        poll_fn(|context| {
            let mut state = done.lock();
            if state.0 {
                return Poll::Ready(());
            }
            state.1 = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
        self.check()
    }
}
