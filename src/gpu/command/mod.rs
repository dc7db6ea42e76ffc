//! Recording and submitting, for this engine or into an encoder of its host's; time on the device.

pub(crate) mod calls;
pub(crate) mod clock;
pub(crate) mod completion;
pub(crate) mod host_encoder;
pub(crate) mod in_flight;
pub(crate) mod profile;
pub(crate) mod recorder;
pub(crate) mod scope;
pub(crate) mod slices;
pub(crate) mod stream;
pub(crate) mod timing;
pub(crate) mod waiting;

use crate::gpu::lock::Mutex;
use calls::Calls;
use completion::Completions;
use host_encoder::{Arena, BufferSet};
use recorder::Recorder;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, OnceLock};
use stream::Pace;

/// State of recording and submission.
pub(crate) struct Commands {
    pub(in crate::gpu) recorder: Mutex<Recorder>,
    /// Sets of buffers that no host's encoder uses now.
    pub(in crate::gpu) idle_sets: Arc<Mutex<Vec<BufferSet>>>,
    /// Recordings for hosts that are going on.
    pub(in crate::gpu) hosts: AtomicUsize,
    pub(in crate::gpu) uniforms: OnceLock<Arena>,
    /// Number of the batch being recorded.
    pub(in crate::gpu) epoch: AtomicU64,
    /// Number of the last batch that was submitted.
    pub(in crate::gpu) submitted: AtomicU64,
    /// Tracker of the batches that the device has finished.
    pub(in crate::gpu) completions: Arc<Completions>,
    pub(in crate::gpu) pace: Pace,
    pub(in crate::gpu) calls: Calls,
}

impl Commands {
    /// Creates the state for a device that does about `guess` units of work a second.
    pub(in crate::gpu) fn new(guess: f64) -> Commands {
        Commands {
            recorder: Default::default(),
            idle_sets: Default::default(),
            hosts: AtomicUsize::new(0),
            uniforms: OnceLock::new(),
            epoch: AtomicU64::new(1),
            submitted: AtomicU64::new(0),
            completions: Default::default(),
            pace: Pace::new(guess),
            calls: Calls::default(),
        }
    }
}
