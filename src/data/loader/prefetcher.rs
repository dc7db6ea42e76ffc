//! Batches made by other threads before they are needed.
//!
//! Threads take the steps that come next, one each, and put what they make where
//! [`Prefetcher::take`] finds it; so many may wait there and no more. What a step needs is a
//! function of its number, so that neither the number of threads nor their pace shows in what is
//! taken, and a jump to another step (a run resumed, a run that went back) only throws away what
//! was made for the steps that do not come.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::{Error, Result};

/// The time for which the taker of batches had to wait, out of the time that passed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DataStall {
    /// Waiting for what was not made yet.
    pub waited: Duration,
    /// Since the first was asked for.
    pub of: Duration,
}

impl DataStall {
    /// Returns the share, from 0 to 1.
    pub fn share(&self) -> f64 {
        if self.of.is_zero() {
            0.0
        } else {
            (self.waited.as_secs_f64() / self.of.as_secs_f64()).min(1.0)
        }
    }
}

/// Values of the next steps, made ahead by other threads. Dropping it ends its threads.
pub struct Prefetcher<T> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared<T> {
    make: Box<dyn Fn(u64) -> Result<T> + Send + Sync>,
    state: Mutex<State<T>>,
    /// A step was made.
    made: Condvar,
    /// Signals that there is room for another, or that the end has come.
    room: Condvar,
    ahead: u64,
}

struct State<T> {
    /// Changes with each jump: what was begun before one is not wanted after it.
    jumps: u64,
    /// The step that will be taken next, and the one that will be made next.
    wanted: u64,
    next: u64,
    ready: BTreeMap<u64, Result<T>>,
    stop: bool,
    waited: Duration,
    since: Option<Instant>,
}

impl<T: Send + 'static> Prefetcher<T> {
    /// Makes steps by `make` on so many threads, from step 0 until another is taken; at most
    /// `ahead` beyond the one that is taken next are made or waiting. Both are at least 1.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn new(
        threads: usize,
        ahead: usize,
        make: impl Fn(u64) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Prefetcher<T>> {
        let state = State {
            jumps: 0,
            wanted: 0,
            next: 0,
            ready: BTreeMap::new(),
            stop: false,
            waited: Duration::ZERO,
            since: None,
        };
        let shared = Arc::new(Shared {
            make: Box::new(make),
            state: Mutex::new(state),
            made: Condvar::new(),
            room: Condvar::new(),
            ahead: ahead.max(1) as u64,
        });
        // Made first, so that should a thread fail to start, those before it are ended.
        let mut all = Prefetcher {
            shared,
            threads: Vec::new(),
        };
        for i in 0..threads.max(1) {
            let shared = all.shared.clone();
            let thread = std::thread::Builder::new()
                .name(format!("data {i}"))
                .spawn(move || shared.work());
            all.threads.push(thread.map_err(|e| {
                Error::data(format!(
                    "no thread to load data with: {e}; set data.workers to a smaller number"
                ))
            })?);
        }
        Ok(all)
    }

    /// Returns the value of `step`; waits for it.
    ///
    /// # Errors
    /// If making it failed.
    pub fn take(&self, step: u64) -> Result<T> {
        let shared = &self.shared;
        let mut state = shared.state.lock();
        let asked = Instant::now();
        if state.since.is_none() || state.wanted != step {
            state.since.get_or_insert(asked);
            state.jumps += 1;
            state.ready.clear();
            (state.wanted, state.next) = (step, step);
            // The threads sleep before the first step, too.
            shared.room.notify_all();
        }
        let made = loop {
            if let Some(made) = state.ready.remove(&step) {
                break made;
            }
            shared.made.wait(&mut state);
        };
        state.waited += asked.elapsed();
        state.wanted = step.wrapping_add(1);
        shared.room.notify_all();
        made
    }

    /// Returns the time for which takers had to wait so far.
    pub fn waiting(&self) -> DataStall {
        let state = self.shared.state.lock();
        DataStall {
            waited: state.waited,
            of: state.since.map_or(Duration::ZERO, |since| since.elapsed()),
        }
    }
}

impl<T> Shared<T> {
    fn work(&self) {
        let mut state = self.state.lock();
        while !state.stop {
            // Nothing is made before the first is asked for: a run that is resumed begins elsewhere
            // than at step 0.
            if state.since.is_none() || state.next.wrapping_sub(state.wanted) >= self.ahead {
                self.room.wait(&mut state);
                continue;
            }
            let (step, jumps) = (state.next, state.jumps);
            state.next = step.wrapping_add(1);
            drop(state);
            // Whoever takes would wait for ever for a thread that is no more.
            let made = catch_unwind(AssertUnwindSafe(|| (self.make)(step)));
            let made = made.unwrap_or_else(|_| {
                Err(Error::data(format!(
                    "loading the data of step {step} failed"
                )))
            });
            state = self.state.lock();
            if jumps == state.jumps {
                state.ready.insert(step, made);
                self.made.notify_all();
            }
        }
    }
}

impl<T> Drop for Prefetcher<T> {
    fn drop(&mut self) {
        self.shared.state.lock().stop = true;
        self.shared.room.notify_all();
        for thread in self.threads.drain(..) {
            // It catches what it runs, so that joining it gives no error.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    /// Returns a number that costs another time at each step.
    fn uneven(step: u64) -> Result<u64> {
        std::thread::sleep(Duration::from_micros(step * 7919 % 13 * 100));
        Ok(step * step)
    }

    #[test]
    fn steps_come_in_order_whatever_the_threads() {
        for threads in [1, 2, 4, 9] {
            for ahead in [1, 3, 20] {
                let all = Prefetcher::new(threads, ahead, uneven).unwrap();
                for step in (0..30).chain(5..12).chain(100..103).chain([7, 7, 8]) {
                    assert_eq!(
                        all.take(step).unwrap(),
                        step * step,
                        "{threads} threads, {ahead} ahead"
                    );
                }
                assert_eq!(all.take(u64::MAX - 1).is_ok(), all.take(u64::MAX).is_ok());
            }
        }
    }

    #[test]
    fn no_more_is_made_than_may_wait() {
        let (begun, top) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
        let (count, most) = (begun.clone(), top.clone());
        let all = Prefetcher::new(4, 3, move |step| {
            count.fetch_add(1, Ordering::SeqCst);
            most.fetch_max(step, Ordering::SeqCst);
            Ok(step)
        })
        .unwrap();
        assert_eq!(
            begun.load(Ordering::SeqCst),
            0,
            "nothing before the first is asked for"
        );
        for step in 10..20 {
            all.take(step).unwrap();
            assert!(top.load(Ordering::SeqCst) <= step + 3);
        }
        while begun.load(Ordering::SeqCst) < 13 {
            std::thread::yield_now();
        }
        // Ends the threads: none begins another.
        drop(all);
        assert_eq!(
            (begun.load(Ordering::SeqCst), top.load(Ordering::SeqCst)),
            (13, 22)
        );
    }

    #[test]
    fn errors_and_panics_reach_whoever_takes() {
        let all = Prefetcher::new(3, 4, |step| match step {
            3 => Err(Error::file("/pictures/three.png", "is damaged")),
            5 => panic!("a bug"),
            _ => Ok(step),
        })
        .unwrap();
        for step in 0..3 {
            assert_eq!(all.take(step).unwrap(), step);
        }
        assert!(all.take(3).unwrap_err().to_string().contains("three.png"));
        assert_eq!(all.take(4).unwrap(), 4);
        assert!(all.take(5).unwrap_err().to_string().contains("step 5"));
        assert_eq!(all.take(6).unwrap(), 6);
        assert!(all.take(3).is_err(), "and again");
    }

    #[test]
    fn dropping_ends_the_threads() {
        let alive = Arc::new(());
        let held = alive.clone();
        let all = Prefetcher::new(4, 2, move |step| {
            std::thread::sleep(Duration::from_millis(5));
            let _ = &held;
            Ok(step)
        })
        .unwrap();
        all.take(0).unwrap();
        drop(all);
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[test]
    fn a_slow_source_shows_as_waiting_and_a_slow_taker_does_not() {
        let share = |make: u64, take: u64| {
            let all = Prefetcher::new(2, 4, move |step| {
                std::thread::sleep(Duration::from_millis(make));
                Ok(step)
            })
            .unwrap();
            for step in 0..8 {
                all.take(step).unwrap();
                std::thread::sleep(Duration::from_millis(take));
            }
            all.waiting().share()
        };
        // 8 x 40 ms by two threads are 160 ms, of which 8 ms are the taker's; 8 x 40 ms hide 4 ms
        // each but the first. Resize large the shares are depends on what else the machine does.
        let (starved, fed) = (share(40, 1), share(4, 40));
        assert!(starved > fed, "{starved}, {fed}");
        assert_eq!(DataStall::default().share(), 0.0);
    }
}
