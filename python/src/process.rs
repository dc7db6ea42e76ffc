//! State of one process. The threads of a driver are not in a process that was forked from
//! it: what waits for them there would wait for ever.

use crate::errors;
use pyo3::prelude::*;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// The process that opened a device first; 0 where none did.
static OPENED: AtomicU32 = AtomicU32::new(0);

/// Enters the driver.
///
/// # Errors
/// In a process that was forked from one that had done so.
pub fn enter() -> PyResult<()> {
    let own = process::id();
    match OPENED.compare_exchange(0, own, Ordering::Relaxed, Ordering::Relaxed) {
        Err(opened) if opened != own => Err(forked()),
        _ => Ok(()),
    }
}

fn forked() -> PyErr {
    errors::raised(
        "DeviceError",
        "this process was forked from one that uses a device, whose driver does not outlive that: \
         start processes by `multiprocessing.get_context(\"spawn\")`, or fork before the first use",
    )
}

/// A value of the process that made it. Elsewhere it is neither used nor dropped.
pub struct OfProcess<T> {
    value: Option<T>,
    process: u32,
}

impl<T> OfProcess<T> {
    pub fn new(value: T) -> Self {
        OfProcess {
            value: Some(value),
            process: process::id(),
        }
    }

    /// Returns the value.
    ///
    /// # Errors
    /// In another process.
    pub fn get(&self) -> PyResult<&T> {
        let own = self.process == process::id();
        self.value.as_ref().filter(|_| own).ok_or_else(forked)
    }
}

impl<T> Drop for OfProcess<T> {
    fn drop(&mut self) {
        if self.process != process::id() {
            std::mem::forget(self.value.take());
        }
    }
}
