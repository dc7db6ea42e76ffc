//! Buffers of tensors, and the way of each back to where it came from.

use super::ledger::Ledger;
use super::pool::Pool;
use crate::gpu::lock::Mutex;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// A buffer, and its number.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) buffer: wgpu::Buffer,
    pub(super) id: u64,
}

/// Hosts' buffers over which there are no tensors any more, by number.
#[derive(Debug, Default)]
pub(crate) struct Gone {
    any: AtomicBool,
    ids: Mutex<Vec<u64>>,
}

impl Gone {
    fn push(&self, id: u64) {
        self.ids.lock().push(id);
        self.any.store(true, Ordering::Release);
    }

    /// Takes all out. Mostly there are none, which costs no lock.
    pub(in crate::gpu) fn take(&self) -> Vec<u64> {
        if self.any.swap(false, Ordering::Acquire) {
            std::mem::take(&mut *self.ids.lock())
        } else {
            Vec::new()
        }
    }
}

/// The owner to whom a buffer goes when the last tensor over it is dropped.
#[derive(Debug)]
pub(super) enum Owner {
    Pool(Weak<Mutex<Pool>>, Arc<Ledger>),
    /// A host. Bind groups over the buffer are forgotten by its number.
    Host(Arc<Gone>),
}

/// A buffer, and what is known of its use.
#[derive(Debug)]
pub(crate) struct Storage {
    /// There is one until the storage is dropped.
    pub(super) raw: Option<Raw>,
    /// The last batch of our own that uses this buffer, see [`Gpu::upload`](crate::gpu::Gpu).
    pub(crate) last_use: AtomicU64,
    /// Taken for an upload, and not used by anything that is recorded: the queue may write it at
    /// once.
    pub(crate) fresh: AtomicBool,
    /// Bytes from the buffer's start to the tensor's: a guard band, or none.
    pub(crate) start: u64,
    pub(super) owner: Owner,
}

impl Storage {
    fn raw(&self) -> &Raw {
        self.raw.as_ref().expect("a live storage holds its buffer")
    }
    pub(crate) fn buffer(&self) -> &wgpu::Buffer {
        &self.raw().buffer
    }
    pub(crate) fn id(&self) -> u64 {
        self.raw().id
    }
    /// Whether it goes back to this pool.
    pub(crate) fn is_of(&self, pool: &Arc<Mutex<Pool>>) -> bool {
        matches!(&self.owner, Owner::Pool(owner, _) if owner.as_ptr() == Arc::as_ptr(pool))
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        let Some(raw) = self.raw.take() else {
            return;
        };
        match &self.owner {
            Owner::Host(gone) => gone.push(raw.id),
            Owner::Pool(pool, ledger) => {
                let size = raw.buffer.size();
                ledger.give_back(size);
                if let Some(home) = pool.upgrade() {
                    ledger.keep(size);
                    home.lock().give(Arc::new(Storage {
                        raw: Some(raw),
                        last_use: AtomicU64::new(*self.last_use.get_mut()),
                        fresh: false.into(),
                        start: self.start,
                        owner: Owner::Pool(pool.clone(), ledger.clone()),
                    }));
                }
            }
        }
    }
}

/// A tensor's share of a buffer. The last one to go puts the storage into its pool as it is, so
/// that the next tensor allocates nothing.
#[derive(Clone, Debug)]
pub(crate) struct SharedStorage(Option<Arc<Storage>>);

impl From<Arc<Storage>> for SharedStorage {
    fn from(storage: Arc<Storage>) -> Self {
        SharedStorage(Some(storage))
    }
}

impl Deref for SharedStorage {
    type Target = Arc<Storage>;
    fn deref(&self) -> &Arc<Storage> {
        self.0
            .as_ref()
            .expect("a share is there until it is dropped")
    }
}

impl Drop for SharedStorage {
    fn drop(&mut self) {
        let Some(mut storage) = self.0.take() else {
            return;
        };
        // Where others hold it, or two threads let go at one time, `Storage::drop` does this.
        if Arc::get_mut(&mut storage).is_none() {
            return;
        }
        let Owner::Pool(pool, ledger) = &storage.owner else {
            return;
        };
        if let Some(pool) = pool.upgrade() {
            let size = storage.buffer().size();
            ledger.give_back(size);
            ledger.keep(size);
            pool.lock().give(storage);
        }
    }
}
