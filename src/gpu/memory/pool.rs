//! Device memory: a pool of size-classed buffers. A dropped tensor's buffer is free for the next
//! one at once, since the one queue orders every use.

use super::ledger::{Ledger, MemoryReport};
use super::storage::{Owner, Raw, SharedStorage, Storage};
use crate::gpu::Gpu;
use crate::gpu::lock::Mutex;
use crate::{Error, Result, memory};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Buffers that wait for the next tensor of their size class.
#[derive(Debug)]
pub(crate) struct Pool {
    /// By [`class_index`]; of each class the one that was made first comes last. What is taken so
    /// depends on what is free and not on the order in which it came back: steps that ask for the
    /// same get the same buffers, and their bind groups are found.
    free: Vec<Vec<Arc<Storage>>>,
    ledger: Arc<Ledger>,
}

impl Pool {
    pub(crate) fn new(ledger: &Arc<Ledger>) -> Arc<Mutex<Pool>> {
        Arc::new(Mutex::new(Pool {
            free: Vec::new(),
            ledger: ledger.clone(),
        }))
    }

    /// Takes a storage that nobody else holds.
    pub(super) fn give(&mut self, storage: Arc<Storage>) {
        let class = class_index(storage.buffer().size());
        if self.free.len() <= class {
            self.free.resize_with(class + 1, Vec::new);
        }
        let free = &mut self.free[class];
        let at = free.partition_point(|other| other.id() > storage.id());
        free.insert(at, storage);
    }

    /// Returns the buffer of this size that was made first, of those that no batch after
    /// `submitted` uses.
    fn take(&mut self, size: u64, submitted: u64) -> Option<Arc<Storage>> {
        let free = self.free.get_mut(class_index(size))?;
        let at = free.iter().rposition(|storage| {
            // The largest buffer of a device may be a class of its own.
            storage.last_use.load(Ordering::Relaxed) <= submitted && storage.buffer().size() == size
        })?;
        self.ledger.let_go(size);
        Some(free.remove(at))
    }

    /// Gives buffers back to the device, the largest first, until `enough`.
    fn shrink(&mut self, enough: impl Fn(&MemoryReport) -> bool) {
        for free in self.free.iter_mut().rev() {
            while !enough(&self.ledger.report())
                && let Some(storage) = free.pop()
            {
                self.ledger.let_go(storage.buffer().size());
                // Its own way back leads here.
                if let Some(mut storage) = Arc::into_inner(storage) {
                    storage.raw = None;
                }
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shrink(|_| false);
    }
}

/// Rounds up to a size class: at least 256 bytes, and four classes per power of two, so at most a
/// quarter is wasted.
pub(crate) fn size_class(bytes: u64) -> u64 {
    let bytes = bytes.max(256);
    let step = (bytes.next_power_of_two() / 8).max(256);
    bytes.div_ceil(step) * step
}

/// Returns the number of a size class, in order of size: 8 up to 2 KiB, then 4 to each power of
/// two. Other sizes have that of the class above.
fn class_index(size: u64) -> usize {
    if size <= 2048 {
        return size.div_ceil(256).max(1) as usize - 1;
    }
    let top = size.next_power_of_two();
    let quarter = (size - top / 2).div_ceil(top / 8) as usize - 1;
    8 + 4 * (top.trailing_zeros() as usize - 12) + quarter
}

/// Above this many bytes, a buffer in the host's memory is worth asking the system whether there is
/// so much.
const LARGE: u64 = 64 << 20;

pub(crate) const USAGES: wgpu::BufferUsages = wgpu::BufferUsages::STORAGE
    .union(wgpu::BufferUsages::COPY_SRC)
    .union(wgpu::BufferUsages::COPY_DST);

impl Gpu {
    /// Returns a buffer of at least `bytes`, from the pool or new. Its content is undefined.
    ///
    /// A recording for a host gets buffers of its own, see [`Gpu::record_into`].
    pub(crate) fn storage(&self, bytes: u64) -> Result<SharedStorage> {
        match self.host_set() {
            Some(set) => self.storage_from(&set.kernels, bytes, self.submitted()),
            None => self.storage_from(&self.inner.memory.pool, bytes, u64::MAX),
        }
    }

    /// Returns a buffer of at least `bytes` for an upload that follows: where the queue's order
    /// could not keep the upload apart from work that is recorded and not submitted, one that no
    /// such work uses.
    pub(crate) fn storage_for_upload(&self, bytes: u64) -> Result<SharedStorage> {
        let submitted = self.submitted();
        if let Some(set) = self.host_set() {
            let storage = self.storage_from(&set.uploads, bytes, submitted)?;
            self.hold(&storage);
            storage.fresh.store(true, Ordering::Relaxed);
            return Ok(storage);
        }
        let storage = self.storage_from(
            &self.inner.memory.pool,
            bytes,
            if self.deferring() {
                submitted
            } else {
                u64::MAX
            },
        )?;
        storage.fresh.store(
            storage.last_use.load(Ordering::Relaxed) <= submitted,
            Ordering::Relaxed,
        );
        Ok(storage)
    }

    fn storage_from(
        &self,
        pool: &Arc<Mutex<Pool>>,
        bytes: u64,
        submitted: u64,
    ) -> Result<SharedStorage> {
        if self.inner.options.guard {
            return self.guarded_storage(bytes);
        }
        let limit = self.inner.limits.max_buffer_size;
        let size = size_class(bytes).min(limit.max(bytes));
        if bytes > limit {
            return Err(Error::Limit {
                what: "a tensor".into(),
                asked: bytes,
                limit,
            });
        }
        let ledger = &self.inner.memory.ledger;
        let reused = pool.lock().take(size, submitted);
        let storage = match reused {
            Some(storage) => {
                storage.fresh.store(false, Ordering::Relaxed);
                storage
            }
            None => Arc::new(Storage {
                raw: Some(self.allocate(size, false)?),
                last_use: AtomicU64::new(0),
                fresh: false.into(),
                start: 0,
                owner: Owner::Pool(Arc::downgrade(pool), ledger.clone()),
            }),
        };
        ledger.lend(size);
        Ok(storage.into())
    }

    /// Returns a new buffer between guard bands. It is never pooled, so that its bands can still be
    /// read after its tensors are gone.
    fn guarded_storage(&self, bytes: u64) -> Result<SharedStorage> {
        let (size, tensor) = Gpu::guard_layout(bytes);
        let limit = self.inner.limits.max_buffer_size;
        if size > limit {
            return Err(Error::Limit {
                what: "a tensor between guard bands".into(),
                asked: size,
                limit,
            });
        }
        let raw = self.allocate(size, true)?;
        let poison = self.next_poison();
        Gpu::poison_mapped(&raw.buffer, poison);
        self.inner.memory.ledger.lend(size);
        let owner = Owner::Pool(Weak::new(), self.inner.memory.ledger.clone());
        let (raw, start) = (Some(raw), tensor.start);
        let storage = Arc::new(Storage {
            last_use: AtomicU64::new(0),
            raw,
            fresh: false.into(),
            start,
            owner,
        });
        self.watch(&storage, tensor, poison);
        Ok(storage.into())
    }

    /// Returns a host's buffer as a tensor's storage: it is not counted and never pooled.
    pub(crate) fn storage_of(&self, buffer: &wgpu::Buffer) -> SharedStorage {
        let raw = Raw {
            buffer: buffer.clone(),
            id: self.next_id(),
        };
        let owner = Owner::Host(self.inner.memory.gone.clone());
        Arc::new(Storage {
            raw: Some(raw),
            last_use: AtomicU64::new(0),
            fresh: false.into(),
            start: 0,
            owner,
        })
        .into()
    }

    /// Keeps the budget: what waits in pools goes before an allocation fails.
    fn make_room(&self, size: u64) -> Result<()> {
        let budget = self.inner.memory.ledger.budget();
        let fits =
            |r: &MemoryReport| r.in_use + r.pooled <= budget.saturating_sub(size) && size <= budget;
        if fits(&self.inner.memory.ledger.report()) {
            return Ok(());
        }
        // Cached bind groups hold on to their buffers.
        self.forget_bind_groups();
        self.inner.memory.pool.lock().shrink(fits);
        if !fits(&self.inner.memory.ledger.report()) {
            self.forget_idle_sets();
        }
        let report = self.inner.memory.ledger.report();
        if fits(&report) {
            return Ok(());
        }
        Err(Error::Budget {
            asked: size,
            in_use: report.in_use + report.pooled,
            budget,
        })
    }

    /// Whether the host's memory has room for `size` bytes, where the device has no memory of its
    /// own. Such a device grants any size, and the system ends the process once it is written to.
    /// Earlier grants may not have been written to yet, so the memory that there was at the start
    /// counts too.
    fn host_has(&self, size: u64) -> bool {
        let most = self.inner.host_memory;
        let held = || {
            let report = self.inner.memory.ledger.report();
            (report.in_use + report.pooled).saturating_add(size)
        };
        most == u64::MAX || held() <= most && (size <= LARGE || size <= crate::memory::available())
    }

    fn allocate(&self, size: u64, mapped: bool) -> Result<Raw> {
        self.make_room(size)?;
        if !self.host_has(size) {
            self.trim();
        }
        if !self.host_has(size) {
            return Err(self.out_of_memory(size));
        }
        let device = &self.inner.device;
        for attempt in 0..2 {
            let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
            let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            let buffer = device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("wgvq tensor"),
                size,
                usage: USAGES,
                mapped_at_creation: mapped,
            });
            let out_of_memory = self.caught(memory, "a buffer");
            if let Some(error) = self.caught(validation, "a buffer") {
                return Err(Error::Gpu {
                    op: format!("a buffer of {size} bytes"),
                    what: error.to_string(),
                });
            }
            if out_of_memory.is_none() {
                self.inner.memory.ledger.count_allocation();
                return Ok(Raw {
                    buffer,
                    id: self.next_id(),
                });
            }
            if attempt == 0 {
                // What waits in the pool may be what is missing.
                self.trim();
            }
        }
        Err(self.out_of_memory(size))
    }

    fn out_of_memory(&self, asked: u64) -> Error {
        Error::OutOfMemory {
            what: "a tensor".into(),
            asked,
            in_use: self.memory().in_use,
            has: self.device_memory(),
        }
    }

    /// The bytes that there are for this engine, as far as the system says: on a software adapter
    /// those of the host that this process could use when the engine was made, under Vulkan those
    /// of the largest heap of the device's own. Others may hold some of the latter, and what of it
    /// is free only an allocation tells. `None` elsewhere.
    pub fn device_memory(&self) -> Option<u64> {
        let host = Some(self.inner.host_memory).filter(|bytes| *bytes < u64::MAX);
        host.or(self.inner.heap)
    }

    /// Returns the bytes that tensors may take beside those that are in use, as far as the budget
    /// and the device's memory tell.
    pub(crate) fn room(&self) -> u64 {
        let host = match self.info().device_type {
            // A device with memory of its own takes none of this process's.
            wgpu::DeviceType::Cpu => {
                let pooled = self.memory().pooled;
                memory::available().saturating_add(pooled)
            }
            _ => u64::MAX,
        };
        let in_use = self.memory().in_use;
        let known = self.memory_budget().into_iter().chain(self.device_memory());
        known
            .map(|bytes| bytes.saturating_sub(in_use))
            .fold(host, u64::min)
    }

    /// Gives every pooled buffer back to the device: for a host that will not need the engine for a
    /// while. What live tensors own, and what a host's encoder that has not run yet uses, stays.
    pub fn trim(&self) {
        self.forget_bind_groups();
        self.forget_idle_sets();
        self.inner.memory.pool.lock().shrink(|_| false);
    }

    /// Sets how many bytes of device memory the engine may hold, tensors and pooled buffers
    /// together; `None` for no limit but the device's. What waits in the pools is given back first;
    /// an allocation that still does not fit is an [`Error::Budget`]. What is held already stays.
    /// Pipelines, copies on their way to the host, and a host's own buffers and textures do not
    /// count.
    pub fn set_memory_budget(&self, bytes: Option<u64>) {
        self.inner
            .memory
            .ledger
            .set_budget(bytes.unwrap_or(u64::MAX));
        if let Some(budget) = bytes {
            self.forget_bind_groups();
            self.inner
                .memory
                .pool
                .lock()
                .shrink(|r| r.in_use + r.pooled <= budget);
        }
    }

    /// Returns the budget that [`Gpu::set_memory_budget`] set, in bytes.
    pub fn memory_budget(&self) -> Option<u64> {
        Some(self.inner.memory.ledger.budget()).filter(|bytes| *bytes < u64::MAX)
    }

    /// Returns the device memory that the engine holds.
    pub fn memory(&self) -> MemoryReport {
        self.inner.memory.ledger.report()
    }

    /// Awaits `work`, and gives the most bytes that were in use meanwhile beside those from before.
    /// [`MemoryReport::peak`] is what it would have been.
    pub(crate) async fn peak_of<R>(&self, work: impl Future<Output = R>) -> (R, u64) {
        let before = self.memory();
        self.reset_peak();
        let result = work.await;
        let peak = self.memory().peak;
        self.inner.memory.ledger.set_peak(peak.max(before.peak));
        (result, peak.saturating_sub(before.in_use))
    }

    /// Starts a new measurement of [`MemoryReport::peak`] from what is in use now.
    pub fn reset_peak(&self) {
        self.inner.memory.ledger.set_peak(self.memory().in_use);
    }
}

#[cfg(test)]
mod tests {
    use super::{class_index, size_class};

    #[test]
    fn classes_are_numbered_in_order() {
        let mut classes: Vec<u64> = (1..1 << 20).step_by(64).map(size_class).collect();
        classes.dedup();
        let numbers: Vec<usize> = classes.iter().map(|size| class_index(*size)).collect();
        assert_eq!(numbers, (0..classes.len()).collect::<Vec<_>>());
        // What lies between two is found with the larger.
        assert_eq!(class_index(4096 + 256), class_index(4096 + 1024));
        assert_eq!(class_index(1), 0);
    }

    #[test]
    fn classes_hold_what_was_asked_and_waste_little() {
        for bytes in (1..100_000u64)
            .step_by(37)
            .chain([1 << 20, (1 << 20) + 1, (1 << 30) + 12345])
        {
            let class = size_class(bytes);
            assert!(class >= bytes && class.is_multiple_of(256));
            assert!(
                bytes < 2048 || class as f64 <= bytes as f64 * 1.26,
                "{bytes} -> {class}"
            );
            assert_eq!(size_class(class), class);
        }
    }
}
