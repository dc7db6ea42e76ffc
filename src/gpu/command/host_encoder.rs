//! Recording into a host's own encoder. The host submits it, when it likes or never; so nothing
//! here submits, waits or polls.
//!
//! Between recording and submission the queue's order protects nothing: other work, of ours or of
//! another encoder, may be submitted first. So what is recorded for a host takes its buffers from a
//! [`BufferSet`] that nothing else uses until the host's encoder has run or was dropped, keeps
//! alive what it reads of others, and writes what it is given into buffers that it has not used
//! yet.

use super::recorder::Recorder;
use super::stream::{Stream, UNIFORM_STEP};
use crate::gpu::Gpu;
use crate::gpu::lock::Mutex;
use crate::gpu::memory::pool::Pool;
use crate::gpu::memory::storage::Storage;
use crate::{Error, Result};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread::ThreadId;

/// A buffer for the parameters of dispatches, on devices without immediates.
#[derive(Clone, Debug)]
pub(crate) struct Arena {
    pub(in crate::gpu) buffer: wgpu::Buffer,
    pub(in crate::gpu) id: u64,
}

impl Arena {
    pub(in crate::gpu) fn new(gpu: &Gpu, bytes: usize) -> Arena {
        let buffer = gpu.inner.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("wgvq parameters"),
            size: (bytes + UNIFORM_STEP) as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Arena {
            buffer,
            id: gpu.next_id(),
        }
    }
}

/// Bytes of parameters in one arena of a set.
const ARENA: usize = 64 * 1024;

/// An arena, and what the queue wrote into it last.
type WrittenArena = (Arena, Vec<u8>);

/// The buffers of one recording.
#[derive(Debug)]
pub(crate) struct BufferSet {
    /// Buffers that kernels write: given back and taken again within the recording, since one
    /// encoder orders its own uses.
    pub(in crate::gpu) kernels: Arc<Mutex<Pool>>,
    /// Buffers that the queue writes before the encoder runs: each is used once.
    pub(in crate::gpu) uploads: Arc<Mutex<Pool>>,
    arenas: Vec<WrittenArena>,
}

/// A recording that is going on.
pub(crate) struct Recording {
    thread: ThreadId,
    pub(in crate::gpu) stream: Stream,
    set: BufferSet,
    /// Arenas of the set that are full or being filled.
    arenas: usize,
    held: Vec<Arc<Storage>>,
}

impl Recording {
    /// Keeps a buffer that is not of the set from going back to its pool before the encoder has
    /// run.
    pub(in crate::gpu) fn hold(&mut self, storage: &Arc<Storage>) {
        if !storage.is_of(&self.set.kernels)
            && !self.held.iter().any(|held| Arc::ptr_eq(held, storage))
        {
            self.held.push(storage.clone());
        }
    }

    /// Returns the arena with room for one more dispatch.
    pub(in crate::gpu) fn arena(&mut self, gpu: &Gpu) -> Arena {
        if self.arenas == 0 || self.stream.uniforms.len() + UNIFORM_STEP > ARENA {
            self.fill(gpu);
            self.arenas += 1;
            if self.set.arenas.len() < self.arenas {
                self.set.arenas.push((Arena::new(gpu, ARENA), Vec::new()));
            }
        }
        self.set.arenas[self.arenas - 1].0.clone()
    }

    /// Writes the parameters of the open arena, where they differ from what it held the last time.
    fn fill(&mut self, gpu: &Gpu) {
        let uniforms = &mut self.stream.uniforms;
        if let Some((arena, content)) = self
            .arenas
            .checked_sub(1)
            .and_then(|open| self.set.arenas.get_mut(open))
            && content != uniforms
        {
            gpu.inner.queue.write_buffer(&arena.buffer, 0, uniforms);
            content.clone_from(uniforms);
        }
        uniforms.clear();
    }
}

/// Gives a set back when the encoder that used it has run, or was dropped.
struct BufferLease {
    set: Option<BufferSet>,
    held: Vec<Arc<Storage>>,
    home: Weak<Mutex<Vec<BufferSet>>>,
}

impl Drop for BufferLease {
    fn drop(&mut self) {
        // Uploads go back to the set before the next recording gets it.
        self.held.clear();
        if let (Some(set), Some(home)) = (self.set.take(), self.home.upgrade()) {
            home.lock().push(set);
        }
    }
}

/// A host's encoder, lent to the recorder of this thread; dropping it gives it back.
struct EncoderGuard<'a> {
    gpu: &'a Gpu,
    encoder: &'a mut wgpu::CommandEncoder,
}

impl<'a> EncoderGuard<'a> {
    fn begin(gpu: &'a Gpu, encoder: &'a mut wgpu::CommandEncoder) -> Result<EncoderGuard<'a>> {
        let mut recorder = gpu.inner.command.recorder.lock();
        let recorder = &mut *recorder;
        let thread = std::thread::current().id();
        if recorder.hosts.iter().any(|host| host.thread == thread) {
            let what = "this thread is recording into an encoder already; end that call first";
            return Err(Error::invalid("record_into", what));
        }
        // What was recorded without an encoder of the host's comes first: it may be what this
        // recording reads.
        if Gpu::has_open_work(recorder) {
            gpu.submit(recorder);
        }
        gpu.forget_gone(recorder);
        let set = gpu
            .inner
            .command
            .idle_sets
            .lock()
            .pop()
            .unwrap_or_else(|| BufferSet {
                kernels: Pool::new(&gpu.inner.memory.ledger),
                uploads: Pool::new(&gpu.inner.memory.ledger),
                arenas: Vec::new(),
            });
        let spare = recorder.spares.pop();
        let mut lent =
            spare.unwrap_or_else(|| gpu.inner.device.create_command_encoder(&Default::default()));
        std::mem::swap(encoder, &mut lent);
        let stream = Stream {
            encoder: Some(lent),
            ..Default::default()
        };
        recorder.hosts.push(Recording {
            thread,
            stream,
            set,
            arenas: 0,
            held: Vec::new(),
        });
        gpu.inner.command.hosts.fetch_add(1, Ordering::Relaxed);
        Ok(EncoderGuard { gpu, encoder })
    }
}

impl Drop for EncoderGuard<'_> {
    fn drop(&mut self) {
        let mut recorder = self.gpu.inner.command.recorder.lock();
        let Some(mut recording) = recorder.host().map(|i| recorder.hosts.swap_remove(i)) else {
            return;
        };
        self.gpu.inner.command.hosts.fetch_sub(1, Ordering::Relaxed);
        recording.fill(self.gpu);
        let Recording {
            mut stream,
            set,
            held,
            ..
        } = recording;
        stream.pass = None;
        if let Some(mut lent) = stream.encoder {
            std::mem::swap(self.encoder, &mut lent);
            recorder.spares.push(lent);
        }
        let lease = BufferLease {
            set: Some(set),
            held,
            home: Arc::downgrade(&self.gpu.inner.command.idle_sets),
        };
        self.encoder.on_submitted_work_done(move || drop(lease));
    }
}

impl Recorder {
    /// Returns the recording of this thread, among those for hosts.
    pub(in crate::gpu) fn host(&self) -> Option<usize> {
        if self.hosts.is_empty() {
            return None;
        }
        let thread = std::thread::current().id();
        self.hosts.iter().position(|host| host.thread == thread)
    }
}

/// The buffer pools of this thread's recording.
pub(crate) struct Pools {
    pub(in crate::gpu) kernels: Arc<Mutex<Pool>>,
    pub(in crate::gpu) uploads: Arc<Mutex<Pool>>,
}

impl Gpu {
    /// Records all that `record` computes on this thread into a host's encoder, between what the
    /// host has recorded there and what it will: nothing of it is submitted, waited for or polled
    /// here.
    ///
    /// ```
    /// # use wgvq::gpu::{Gpu, Options, Tensor};
    /// # use wgvq::ops::elementwise::scale::scale;
    /// # fn main() -> wgvq::Result<()> {
    /// # let gpu = Gpu::new(Options::default())?;
    /// # let (device, queue) = (gpu.device().clone(), gpu.queue().clone());
    /// let x = Tensor::from_slice(&gpu, &[3], &[1.0f32, 2.0, 3.0])?;
    /// let mut encoder = device.create_command_encoder(&Default::default());
    /// let y = gpu.record_into(&mut encoder, || scale(&x, 2.0, 1.0)?.read_async())?;
    /// queue.submit([encoder.finish()]);
    /// assert_eq!(y.wait::<f32>()?, [3.0, 5.0, 7.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Tensors that come out of it hold their content from the host's submission on: work that
    /// reads them is recorded into the same encoder, or after it was submitted. Memory that it used
    /// goes back when the device is done, which the engine learns when the host polls the device or
    /// submits again; a host that drops the encoder instead gives it back at once. Slices, tensors
    /// and bytes that `record` is given are read before it returns, but for tensors' content, which
    /// is read when the encoder runs.
    ///
    /// Work of the engine's own that was recorded before and waits for its submission is submitted
    /// first, since it may be what this reads; where all work goes by this call, there is none.
    /// Work that [`Gpu::run_for_budget`] keeps for later is not waited for.
    ///
    /// # Errors
    /// Returns the error of `record`; the encoder then holds what was recorded before it. Returns
    /// an error if this thread is within such a call already.
    pub fn record_into<R>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        record: impl FnOnce() -> Result<R>,
    ) -> Result<R> {
        let loan = EncoderGuard::begin(self, encoder)?;
        let result = record();
        drop(loan);
        let result = result?;
        self.check()?;
        Ok(result)
    }

    /// Returns the pools of this thread's recording for a host.
    pub(crate) fn host_set(&self) -> Option<Pools> {
        if self.inner.command.hosts.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let recorder = self.inner.command.recorder.lock();
        let set = &recorder.hosts[recorder.host()?].set;
        Some(Pools {
            kernels: set.kernels.clone(),
            uploads: set.uploads.clone(),
        })
    }

    /// Keeps a buffer for as long as this thread's recording for a host needs it.
    pub(in crate::gpu) fn hold(&self, storage: &Arc<Storage>) {
        let mut recorder = self.inner.command.recorder.lock();
        if let Some(i) = recorder.host() {
            recorder.hosts[i].hold(storage);
        }
    }

    /// Whether work that this thread records runs later than writes that are given to the queue
    /// now.
    pub(crate) fn is_deferred_here(&self) -> bool {
        self.host_set().is_some() || self.deferring()
    }

    /// Lets go of the buffers of recordings that are over.
    pub(in crate::gpu) fn forget_idle_sets(&self) {
        let sets = std::mem::take(&mut *self.inner.command.idle_sets.lock());
        drop(sets);
    }
}
