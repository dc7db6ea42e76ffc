//! The bytes that all pools of an engine hold, and its budget: counters, which nobody waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Device memory that the engine holds, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryReport {
    /// Bytes of buffers that live tensors own.
    pub in_use: u64,
    /// Bytes of buffers that wait in the pool.
    pub pooled: u64,
    /// The most bytes that were in use at one time.
    pub peak: u64,
    /// Buffers ever created on the device.
    pub allocations: u64,
}

/// The sum of what all pools of an engine hold, and its budget.
#[derive(Debug)]
pub(crate) struct Ledger {
    in_use: AtomicU64,
    pooled: AtomicU64,
    peak: AtomicU64,
    allocations: AtomicU64,
    /// `u64::MAX` without a budget.
    budget: AtomicU64,
}

impl Ledger {
    pub(crate) fn new(budget: Option<u64>) -> Arc<Ledger> {
        Arc::new(Ledger {
            in_use: AtomicU64::new(0),
            pooled: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            allocations: AtomicU64::new(0),
            budget: AtomicU64::new(budget.unwrap_or(u64::MAX)),
        })
    }

    pub(in crate::gpu) fn report(&self) -> MemoryReport {
        MemoryReport {
            in_use: self.in_use.load(Ordering::Relaxed),
            pooled: self.pooled.load(Ordering::Relaxed),
            peak: self.peak.load(Ordering::Relaxed),
            allocations: self.allocations.load(Ordering::Relaxed),
        }
    }

    pub(in crate::gpu) fn budget(&self) -> u64 {
        self.budget.load(Ordering::Relaxed)
    }

    pub(in crate::gpu) fn set_budget(&self, bytes: u64) {
        self.budget.store(bytes, Ordering::Relaxed);
    }

    /// Counts a buffer that was made.
    pub(in crate::gpu) fn count_allocation(&self) {
        self.allocations.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a buffer that a tensor got.
    pub(in crate::gpu) fn lend(&self, size: u64) {
        let in_use = self.in_use.fetch_add(size, Ordering::Relaxed) + size;
        self.peak.fetch_max(in_use, Ordering::Relaxed);
    }

    /// Counts a buffer that no tensor holds any more.
    pub(in crate::gpu) fn give_back(&self, size: u64) {
        self.in_use.fetch_sub(size, Ordering::Relaxed);
    }

    /// Counts a buffer that came into a pool.
    pub(in crate::gpu) fn keep(&self, size: u64) {
        self.pooled.fetch_add(size, Ordering::Relaxed);
    }

    /// Counts a buffer that left a pool.
    pub(in crate::gpu) fn let_go(&self, size: u64) {
        self.pooled.fetch_sub(size, Ordering::Relaxed);
    }

    /// Starts a new measurement of the peak from `bytes`.
    pub(in crate::gpu) fn set_peak(&self, bytes: u64) {
        self.peak.store(bytes, Ordering::Relaxed);
    }
}
