//! Device memory: pooled buffers, tensors over them, and the ways in and out.

mod access;
pub mod fill;
pub(crate) mod guard;
pub(crate) mod ledger;
pub(crate) mod pool;
mod read_ahead;
pub(crate) mod readback;
pub(crate) mod storage;
pub(crate) mod tensor;

use crate::gpu::lock::Mutex;
use ledger::Ledger;
use pool::Pool;
use std::sync::Arc;

/// The memory of an engine: its pool, and what it counts.
pub(crate) struct Memory {
    pub(in crate::gpu) ledger: Arc<Ledger>,
    pub(in crate::gpu) pool: Arc<Mutex<Pool>>,
    pub(in crate::gpu) gone: Arc<storage::Gone>,
    /// Buffers between guard bands that were made or alive since the last check.
    pub(in crate::gpu) guarded: Mutex<Vec<guard::Guarded>>,
}

impl Memory {
    pub(in crate::gpu) fn new(budget: Option<u64>) -> Memory {
        let ledger = Ledger::new(budget);
        Memory {
            pool: Pool::new(&ledger),
            ledger,
            gone: Default::default(),
            guarded: Default::default(),
        }
    }
}
