//! Notes on the first seconds of a run: kernels are compiled before anything is computed.

use super::output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use wgvq::gpu::{Compiled, Gpu};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Before which nothing is said: with a driver's cache it takes less.
const PATIENCE: Duration = Duration::from_secs(2);

/// Says how many kernels are compiled, until it is dropped or the first step is done.
pub struct Starting {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Starting {
    /// Begins. `say` shows a line; `every` is the time between two of them.
    pub fn new(gpu: &Gpu, every: Duration, say: impl Fn(&str) + Send + 'static) -> Starting {
        let over = Arc::new(AtomicBool::new(false));
        let (gpu, told) = (gpu.clone(), over.clone());
        let watch = move || {
            let (began, mut newest, before) = (Instant::now(), gpu.compiled(), gpu.compiled());
            let (mut changed, mut said) = (began, began);
            while !told.load(Ordering::Relaxed) {
                thread::sleep(LOOK_EVERY);
                let now = gpu.compiled();
                if now != newest {
                    (newest, changed) = (now, Instant::now());
                }
                if began.elapsed() < PATIENCE || said.elapsed() < every {
                    continue;
                }
                said = Instant::now();
                say(&words(before, newest, began.elapsed(), changed.elapsed()));
            }
        };
        // Without a thread nothing is said, and all else goes on.
        let thread = thread::Builder::new().spawn(watch).ok();
        Starting { over, thread }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Says what is being done, `since` the beginning, with kernels compiled `before` it and until
/// `now`, of which the last was `ago`.
fn words(before: Compiled, now: Compiled, since: Duration, ago: Duration) -> String {
    let kernels = now.kernels - before.kernels;
    let seconds = since.as_secs();
    if kernels == 0 {
        return format!("preparing the first step, {seconds} s");
    }
    if ago > Duration::from_secs(2) {
        return format!(
            "running the first step, whose {kernels} kernels the driver compiles as it meets \
             them; {seconds} s"
        );
    }
    format!("compiling kernels for the first step: {kernels} done, {seconds} s")
}

/// Between lines where there is no bar.
pub const LINE_EVERY: Duration = Duration::from_secs(5);
/// Between changes of a bar.
pub const BAR_EVERY: Duration = Duration::from_millis(400);

/// Says so where notes go.
pub fn in_lines(gpu: &Gpu) -> Starting {
    Starting::new(gpu, LINE_EVERY, output::anyway)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_follows_what_is_compiled() {
        let at = |kernels| Compiled {
            kernels,
            time: Duration::ZERO,
        };
        let s = Duration::from_secs;
        let said = |kernels, ago| words(at(3), at(kernels), s(7), s(ago));
        assert_eq!(said(3, 7), "preparing the first step, 7 s");
        assert!(said(40, 0).starts_with("compiling kernels for the first step: 37 done"));
        assert!(said(40, 3).starts_with("running the first step, whose 37 kernels"));
    }
}
