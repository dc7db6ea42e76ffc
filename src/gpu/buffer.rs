//! Device memory: a pool of size-classed buffers. A dropped tensor's buffer is free for the next one at once, since
//! the one queue orders every use.

use super::Gpu;
use crate::{Error, Result};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// What the engine holds of device memory.
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

#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: BTreeMap<u64, Vec<Raw>>,
    report: MemoryReport,
}

#[derive(Debug)]
struct Raw {
    buffer: wgpu::Buffer,
    id: u64,
    last_use: u64,
}

/// A buffer that goes back to its pool when the last tensor over it is dropped.
#[derive(Debug)]
pub(crate) struct Storage {
    raw: Option<Raw>,
    /// The recording epoch that last used this buffer, see [`Gpu::upload`].
    pub(crate) last_use: AtomicU64,
    pool: Weak<Mutex<Pool>>,
}

impl Storage {
    pub(crate) fn buffer(&self) -> &wgpu::Buffer {
        &self.raw.as_ref().expect("a live storage holds its buffer").buffer
    }
    pub(crate) fn id(&self) -> u64 {
        self.raw.as_ref().expect("a live storage holds its buffer").id
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        if let (Some(mut raw), Some(pool)) = (self.raw.take(), self.pool.upgrade()) {
            raw.last_use = self.last_use.load(Ordering::Relaxed);
            let size = raw.buffer.size();
            let mut pool = pool.lock();
            pool.report.in_use -= size;
            pool.report.pooled += size;
            pool.free.entry(size).or_default().push(raw);
        }
    }
}

/// Rounds up to a size class: at least 256 bytes, and four classes per power of two, so at most a quarter is wasted.
pub(crate) fn size_class(bytes: u64) -> u64 {
    let bytes = bytes.max(256);
    let step = (bytes.next_power_of_two() / 8).max(256);
    bytes.div_ceil(step) * step
}

pub(crate) const USAGES: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

impl Gpu {
    /// A buffer of at least `bytes`, from the pool or new. Its content is undefined.
    pub(crate) fn storage(&self, bytes: u64) -> Result<Arc<Storage>> {
        let limit = self.inner.limits.max_buffer_size;
        let size = size_class(bytes).min(limit.max(bytes));
        if bytes > limit {
            return Err(Error::Limit { what: "a tensor".into(), asked: bytes, limit });
        }
        let pool = &self.inner.pool;
        let reused = {
            let mut pool = pool.lock();
            let raw = pool.free.get_mut(&size).and_then(Vec::pop);
            if raw.is_some() {
                pool.report.pooled -= size;
            }
            raw
        };
        let raw = match reused {
            Some(raw) => raw,
            None => self.allocate(size)?,
        };
        {
            let mut pool = pool.lock();
            pool.report.in_use += size;
            pool.report.peak = pool.report.peak.max(pool.report.in_use);
        }
        let last_use = AtomicU64::new(raw.last_use);
        Ok(Arc::new(Storage { raw: Some(raw), last_use, pool: Arc::downgrade(pool) }))
    }

    fn allocate(&self, size: u64) -> Result<Raw> {
        let device = &self.inner.device;
        for attempt in 0..2 {
            let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
            let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            let buffer = device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("wgvq tensor"),
                size,
                usage: USAGES,
                mapped_at_creation: false,
            });
            let out_of_memory = pollster::block_on(memory.pop());
            if let Some(error) = pollster::block_on(validation.pop()) {
                return Err(Error::Gpu { op: format!("a buffer of {size} bytes"), what: error.to_string() });
            }
            if out_of_memory.is_none() {
                self.inner.pool.lock().report.allocations += 1;
                return Ok(Raw { buffer, id: self.next_id(), last_use: 0 });
            }
            if attempt == 0 {
                // What waits in the pool may be what is missing.
                self.trim();
            }
        }
        Err(Error::OutOfMemory { asked: size, in_use: self.inner.pool.lock().report.in_use })
    }

    /// Gives every pooled buffer back to the device.
    pub fn trim(&self) {
        self.forget_bind_groups();
        let mut pool = self.inner.pool.lock();
        pool.free.clear();
        pool.report.pooled = 0;
    }

    /// What the engine holds of device memory.
    pub fn memory(&self) -> MemoryReport {
        self.inner.pool.lock().report
    }

    /// Runs `work`, and gives the most bytes that were in use meanwhile beside those from before. [`MemoryReport::peak`] is what it
    /// would have been.
    pub(crate) fn peak_of<R>(&self, work: impl FnOnce() -> R) -> (R, u64) {
        let before = self.memory();
        self.reset_peak();
        let result = work();
        let mut pool = self.inner.pool.lock();
        let peak = pool.report.peak;
        pool.report.peak = peak.max(before.peak);
        (result, peak - before.in_use)
    }

    /// Starts a new measurement of [`MemoryReport::peak`] from what is in use now.
    pub fn reset_peak(&self) {
        let mut pool = self.inner.pool.lock();
        pool.report.peak = pool.report.in_use;
    }
}

#[cfg(test)]
mod tests {
    use super::size_class;

    #[test]
    fn classes_hold_what_was_asked_and_waste_little() {
        for bytes in (1..100_000u64).step_by(37).chain([1 << 20, (1 << 20) + 1, (1 << 30) + 12345]) {
            let class = size_class(bytes);
            assert!(class >= bytes && class.is_multiple_of(256));
            assert!(bytes < 2048 || class as f64 <= bytes as f64 * 1.26, "{bytes} -> {class}");
            assert_eq!(size_class(class), class);
        }
    }
}
