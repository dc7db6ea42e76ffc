//! Counts of compiled kernels, and of the time that callers waited for them.

use parking_lot::Mutex;
use std::time::Duration;
#[cfg(not(target_arch = "wasm32"))]
use std::time::Instant;
#[cfg(target_arch = "wasm32")]
use web_time::Instant;

/// Kernels that an engine compiled so far, and the time that it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    /// Kernels.
    pub kernels: u64,
    /// The time that callers waited for them. A driver may compile on its own, when a kernel first
    /// runs: llvmpipe does.
    pub time: Duration,
}

/// The count of an engine.
#[derive(Default)]
pub(super) struct Count(Mutex<Compiled>);

impl Count {
    /// Compiles a kernel by `compile`, and counts it.
    pub(super) fn kernel<R, E>(&self, compile: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
        let began = Instant::now();
        let compiled = compile()?;
        let mut count = self.0.lock();
        count.kernels += 1;
        count.time += began.elapsed();
        Ok(compiled)
    }

    /// Returns the count until now.
    pub(super) fn get(&self) -> Compiled {
        *self.0.lock()
    }
}
