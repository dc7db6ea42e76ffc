//! The engine's locks: parking_lot's, which count how often this thread took one.

use parking_lot::MutexGuard;
use std::cell::Cell;

thread_local! {
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    TAKEN.with(|taken| taken.set(taken.get() + 1));
}

/// Returns how often the calling thread has taken a lock of an engine: a part of what recording
/// costs, see `tests/recording.rs`.
pub fn locks_taken() -> u64 {
    TAKEN.with(Cell::get)
}

/// A lock that counts.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Mutex(parking_lot::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        count();
        self.0.lock()
    }
}
