//! Polling the device, and waits for it that come to an end: a device that finishes nothing for a
//! long time is taken to hang.

use super::clock::Instant;
use crate::gpu::Inner;
use crate::{Error, Result};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The time for which a device may finish nothing while it is waited for, where
/// [`Options::device_timeout`](crate::gpu::Options::device_timeout) names no other. Drivers compile
/// kernels when they first run, and software Vulkan takes minutes for the largest.
pub const DEVICE_TIMEOUT: Duration = Duration::from_secs(600);

/// The longest look at the device. Of a look in which the process was stopped, by a debugger or by
/// its terminal, twice as much counts at most.
const LOOK: Duration = Duration::from_secs(1);

/// The beginning of what wgpu panics with where a driver reports a loss while it is polled.
pub const LOST_WHILE_POLLED: &str = "Error in Device::poll";

/// A time in which a device has finished nothing.
struct Stall {
    limit: Duration,
    lasted: Duration,
    /// The last batch that was finished.
    finished: u64,
}

impl Stall {
    /// Returns how long the next look may take.
    fn look(&self) -> Duration {
        LOOK.min(self.limit.saturating_sub(self.lasted))
    }

    /// Notes a look of some length that ended without what was waited for. Returns whether the
    /// device is to be waited for no longer.
    fn is_over(&mut self, finished: u64, passed: Duration) -> bool {
        if finished == self.finished {
            self.lasted += passed.min(2 * LOOK);
        } else {
            (self.finished, self.lasted) = (finished, Duration::ZERO);
        }
        self.lasted >= self.limit
    }
}

/// Returns the words of a panic.
fn words(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned
        .or(panic.downcast_ref::<&str>().copied())
        .unwrap_or_default()
}

/// Runs a call that polls. A panic by which wgpu tells of a loss is an error; others go on.
fn polled<T>(poll: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(poll)).map_err(|panic| {
        let said = words(&*panic);
        if !said.starts_with(LOST_WHILE_POLLED) {
            resume_unwind(panic);
        }
        Error::DeviceLost {
            reason: said.to_owned(),
        }
    })
}

impl Inner {
    /// Polls the device: what is done is noticed, and what waits for it is told. Returns `None`
    /// where the time that was given was too short.
    ///
    /// # Errors
    /// If the device was lost.
    pub(in crate::gpu) fn poll(&self, poll: wgpu::PollType) -> Result<Option<wgpu::PollStatus>> {
        match polled(|| self.device.poll(poll)) {
            Ok(Ok(status)) => Ok(Some(status)),
            Ok(Err(wgpu::PollError::Timeout)) => Ok(None),
            Ok(Err(e)) => Err(Error::DeviceLost {
                reason: e.to_string(),
            }),
            // The driver's own words, where the device's handler was told of them.
            Err(lost) => Err(self.gone.get().map_or(lost, |reason| Error::DeviceLost {
                reason: reason.clone(),
            })),
        }
    }

    /// Waits until the device has done everything up to a point in the queue, or all of it.
    ///
    /// # Errors
    /// If the device was lost, or finishes nothing for too long. `what` is what is waited for then.
    pub(in crate::gpu) fn wait_for(
        &self,
        index: Option<wgpu::SubmissionIndex>,
        what: &str,
    ) -> Result<wgpu::PollStatus> {
        let limit = self.options.device_timeout.unwrap_or(DEVICE_TIMEOUT);
        let finished = self.command.completions.newest();
        // One that hung is waited for again once it has finished something.
        let hangs = self.hung.load(Ordering::Relaxed) == finished + 1;
        let mut stall = Stall {
            limit,
            lasted: if hangs { limit } else { Duration::ZERO },
            finished,
        };
        loop {
            let began = Instant::now();
            let polled = self.poll(wgpu::PollType::Wait {
                submission_index: index.clone(),
                timeout: Some(stall.look()),
            })?;
            if let Some(status) = polled {
                return Ok(status);
            }
            if let Some(reason) = self.gone.get() {
                return Err(Error::DeviceLost {
                    reason: reason.clone(),
                });
            }
            let finished = self.command.completions.newest();
            if stall.is_over(finished, began.elapsed()) {
                self.hung.store(finished + 1, Ordering::Relaxed);
                return Err(Error::DeviceHung {
                    what: what.to_owned(),
                    after: limit,
                });
            }
        }
    }
}

/// Waits for a device before it goes; returns whether it cannot go, because it hangs or wgpu fails
/// at it. A panic ends here: it would end a process in which another unwinds already.
fn is_stuck<T>(wait: impl FnOnce() -> Result<T>) -> bool {
    let waited = catch_unwind(AssertUnwindSafe(|| wait().map(drop)));
    matches!(waited, Err(_) | Ok(Err(Error::DeviceHung { .. })))
}

impl Drop for Inner {
    /// wgpu waits without an end for a device that goes. One that hangs is left to the end of the
    /// process.
    fn drop(&mut self) {
        if self.own && is_stuck(|| self.wait_for(None, "the end of its work")) {
            std::mem::forget((self.device.clone(), self.queue.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn stall(seconds: u32) -> Stall {
        Stall {
            limit: seconds * S,
            lasted: Duration::ZERO,
            finished: 7,
        }
    }

    #[test]
    fn a_device_hangs_where_nothing_is_finished_for_long() {
        let mut stall = stall(3);
        assert!(!stall.is_over(7, S));
        assert!(!stall.is_over(7, S));
        assert!(stall.is_over(7, S));
    }

    /// However long it takes in all.
    #[test]
    fn a_slow_device_does_not_hang() {
        let mut stall = stall(3);
        for finished in 8..100 {
            assert!(!stall.is_over(finished - 1, S));
            assert!(!stall.is_over(finished - 1, S));
            assert!(!stall.is_over(finished, S));
        }
    }

    #[test]
    fn time_in_which_the_process_was_stopped_is_no_time_of_the_device() {
        let mut stall = stall(5);
        assert!(!stall.is_over(7, 3600 * S));
        assert!(!stall.is_over(7, 3600 * S));
        assert!(stall.is_over(7, S));
    }

    #[test]
    fn no_look_is_longer_than_what_is_left() {
        let mut stall = stall(3);
        assert_eq!(stall.look(), S);
        stall.is_over(7, 2 * S);
        stall.is_over(7, S / 2);
        assert_eq!(stall.look(), S / 2);
        stall.limit = Duration::MAX;
        assert_eq!(stall.look(), S);
    }

    /// wgpu panics where a driver says that the device is gone; other panics are none of ours.
    #[test]
    fn a_loss_that_a_driver_reports_is_an_error() {
        assert_eq!(polled(|| 3).unwrap(), 3);
        let lost = polled(|| panic!("{LOST_WHILE_POLLED}: Parent device is lost"));
        let Err(Error::DeviceLost { reason }) = lost else {
            panic!("no error")
        };
        assert!(reason.ends_with("Parent device is lost"), "{reason}");
        let other = catch_unwind(|| polled(|| panic!("another")).map(|(): ()| ()));
        assert_eq!(words(&*other.unwrap_err()), "another");
    }

    /// Without that, the process would end.
    #[test]
    fn a_device_that_goes_while_a_panic_unwinds_adds_no_other() {
        struct Going;
        impl Drop for Going {
            fn drop(&mut self) {
                assert!(is_stuck(|| polled::<()>(|| panic!("wgpu fails"))));
            }
        }
        fn first() {
            let _going = Going;
            panic!("the first")
        }
        let first = catch_unwind(first);
        assert_eq!(words(&*first.unwrap_err()), "the first");
        let hung = || Error::DeviceHung {
            what: "its work".into(),
            after: S,
        };
        assert!(is_stuck(|| Err::<(), _>(hung())));
        assert!(!is_stuck(|| Ok(())));
        let lost = "gone".to_owned();
        assert!(!is_stuck(|| Err::<(), _>(Error::DeviceLost {
            reason: lost
        })));
    }
}
