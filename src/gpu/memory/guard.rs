//! Guard bands: a check that no kernel reads or writes outside its tensors.
//!
//! With [`Options::guard`](crate::gpu::Options::guard), each tensor lies in a buffer of its own
//! between two bands of a NaN of its own, and the buffer is full of it until something is written.
//! A binding then reaches to the end of the band behind its tensor, so that neither the driver's
//! robust buffer access nor the shader keeps an index that runs past the end from reaching the
//! band: what is read there is NaN as a float and out of range as an index, and what is written
//! there is found by [`Gpu::check_guard_bands`]. With
//! [`Options::shader_checks`](crate::gpu::Options::shader_checks) too, a binding ends where its
//! tensor does, and naga's bounds checks move such an index back into it. So a kernel that leaves
//! its tensors differs between the two in its results, or in the bands.
//!
//! The NaN is a signalling one, which arithmetic turns into a quiet one, and another for each of
//! some hundred buffers: what was made of one band's content, or copied from it, is seen in another
//! band.

use super::storage::Storage;
use crate::gpu::Gpu;
#[cfg(not(target_arch = "wasm32"))]
use crate::{Error, Result};
use std::ops::Range;
use std::sync::{Arc, Weak};

/// Bytes of a band: more than the rows of any kernel's tile are long in the cases of the registry,
/// and a multiple of every device's `min_storage_buffer_offset_alignment`.
pub const GUARD_BAND: u64 = 1 << 16;

/// A buffer with bands, and where its tensor lies.
#[cfg_attr(
    target_arch = "wasm32",
    expect(dead_code, reason = "to compare bands is to wait for the device")
)]
pub(crate) struct Guarded {
    buffer: wgpu::Buffer,
    tensor: Range<u64>,
    poison: u32,
    owner: Weak<Storage>,
}

impl Gpu {
    /// Lays out a buffer for `bytes` bytes between bands: its size, and where the tensor lies in
    /// it.
    pub(in crate::gpu) fn guard_layout(bytes: u64) -> (u64, Range<u64>) {
        let end = GUARD_BAND + bytes.next_multiple_of(4).max(4);
        (end + GUARD_BAND, GUARD_BAND..end)
    }

    /// Returns the bits of a band: a signalling NaN as f32, NaN in both halves as f16, and out of
    /// range as an index.
    pub(in crate::gpu) fn next_poison(&self) -> u32 {
        0x7f80_7c01 + (self.next_id() % 0x1ff) as u32
    }

    /// Fills a buffer that was created mapped with poison.
    pub(in crate::gpu) fn poison_mapped(buffer: &wgpu::Buffer, poison: u32) {
        let block = [poison; 4096];
        let mut view = buffer
            .slice(..)
            .get_mapped_range_mut()
            .expect("the buffer was created mapped");
        let mut at = 0;
        let size = buffer.size() as usize;
        while at < size {
            let end = (at + size_of_val(&block)).min(size);
            view.slice(at..end)
                .copy_from_slice(&bytemuck::cast_slice(&block)[..end - at]);
            at = end;
        }
        drop(view);
        buffer.unmap();
    }

    /// Whether fresh buffers are to be filled with poison. Those between guard bands are from the
    /// start.
    pub(in crate::gpu) fn poisons(&self) -> bool {
        self.inner.options.poison && !self.inner.options.guard
    }

    /// Remembers a buffer for the next check.
    pub(in crate::gpu) fn watch(&self, storage: &Arc<Storage>, tensor: Range<u64>, poison: u32) {
        let guarded = Guarded {
            buffer: storage.buffer().clone(),
            tensor,
            poison,
            owner: Arc::downgrade(storage),
        };
        self.inner.memory.guarded.lock().push(guarded);
    }

    /// Waits for all work, and compares the bands of every tensor that was made or alive since the
    /// last check with what they were filled with. Returns the number of tensors.
    ///
    /// # Errors
    /// If the engine was made without [`Options::guard`](crate::gpu::Options::guard), or a band was
    /// written.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn check_guard_bands(&self) -> Result<usize> {
        if !self.inner.options.guard {
            return Err(Error::invalid(
                "guard bands",
                "the engine was made without `Options::guard`",
            ));
        }
        self.finish()?;
        // Cached bind groups hold on to their buffers.
        self.forget_bind_groups();
        let guarded = std::mem::take(&mut *self.inner.memory.guarded.lock());
        // A megabyte or two at a time.
        for some in guarded.chunks(16) {
            self.check_some(some)?;
        }
        let count = guarded.len();
        self.inner
            .memory
            .guarded
            .lock()
            .extend(guarded.into_iter().filter(|g| g.owner.strong_count() > 0));
        Ok(count)
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn check_some(&self, guarded: &[Guarded]) -> Result<()> {
        let device = &self.inner.device;
        let staging = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("wgvq guard bands"),
            size: 2 * GUARD_BAND * guarded.len() as u64,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = device.create_command_encoder(&Default::default());
        for (i, g) in guarded.iter().enumerate() {
            let at = 2 * GUARD_BAND * i as u64;
            encoder.copy_buffer_to_buffer(&g.buffer, 0, &staging, at, GUARD_BAND);
            encoder.copy_buffer_to_buffer(
                &g.buffer,
                g.tensor.end,
                &staging,
                at + GUARD_BAND,
                GUARD_BAND,
            );
        }
        encoder.map_buffer_on_submit(&staging, wgpu::MapMode::Read, .., |_| {});
        self.inner.queue.submit([encoder.finish()]);
        self.inner.wait_for(None, "the guard bands")?;
        self.check()?;
        let view = staging
            .slice(..)
            .get_mapped_range()
            .map_err(|e| Error::Gpu {
                op: "guard bands".into(),
                what: e.to_string(),
            })?;
        for (i, band) in view.chunks_exact(GUARD_BAND as usize).enumerate() {
            let poison = guarded[i / 2].poison.to_le_bytes();
            // Each word is the one before it.
            let whole = band[..4] == poison && band[4..] == band[..band.len() - 4];
            if !whole {
                let tensor = &guarded[i / 2].tensor;
                let mut words = band.as_chunks::<4>().0.iter();
                let at = words.position(|word| *word != poison).unwrap_or(0);
                let word = u32::from_le_bytes([0, 1, 2, 3].map(|b| band[4 * at + b]));
                let place = match i % 2 {
                    0 => format!("{} words before", GUARD_BAND as usize / 4 - at),
                    _ => format!("{at} words behind the end of"),
                };
                let what = format!(
                    "{word:#010x} was written {place} a tensor of {} bytes",
                    tensor.end - tensor.start
                );
                return Err(Error::Gpu {
                    op: "guard bands".into(),
                    what,
                });
            }
        }
        Ok(())
    }
}
