//! Bind groups of dispatches, kept while their buffers live.

use super::plan::{BindGroup, Bound};
use super::{Recorder, UNIFORM_ARENA};
use crate::gpu::command::host_encoder::Arena;
use crate::gpu::kernel::pipelines::UNIFORM_BINDING;
use crate::gpu::{Gpu, Tensor};
use crate::{Error, Result};

impl Gpu {
    /// Checks that the tensor is this engine's, and small enough to bind.
    pub(in crate::gpu) fn check_binding(&self, op: &'static str, t: &Tensor) -> Result<()> {
        t.check_engine(op, self)?;
        let (asked, limit) = (
            t.binding_size(),
            self.inner.limits.max_storage_buffer_binding_size,
        );
        if asked > limit {
            return Err(Error::Limit {
                what: format!("{op}: a tensor of shape {:?}", t.shape()),
                asked,
                limit,
            });
        }
        Ok(())
    }

    /// Returns the bind group over buffers of what draws into a texture, by its number; made at
    /// the first use.
    pub(in crate::gpu) fn bind_group_for(
        &self,
        draw: u64,
        bound: &Bound,
        make: impl FnOnce() -> wgpu::BindGroup,
    ) -> wgpu::BindGroup {
        let mut recorder = self.inner.command.recorder.lock();
        let make = || BindGroup {
            id: self.next_id(),
            group: make(),
        };
        recorder.plan.bind_group(draw, bound, make).group
    }

    pub(super) fn bind_group(
        &self,
        pipeline: &crate::gpu::kernel::pipelines::Pipeline,
        bindings: &[&Tensor],
        arena: Option<&Arena>,
    ) -> BindGroup {
        let mut entries: Vec<wgpu::BindGroupEntry> = bindings
            .iter()
            .zip(&pipeline.reflection.storage)
            .map(|(t, at)| wgpu::BindGroupEntry {
                binding: at.binding,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: t.storage.buffer(),
                    offset: t.offset,
                    size: std::num::NonZeroU64::new(t.bound_size()),
                }),
            })
            .collect();
        if let Some(arena) = arena {
            entries.push(wgpu::BindGroupEntry {
                binding: UNIFORM_BINDING,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &arena.buffer,
                    offset: 0,
                    size: std::num::NonZeroU64::new(pipeline.reflection.params as u64),
                }),
            });
        }
        let descriptor = wgpu::BindGroupDescriptor {
            label: Some("wgvq"),
            layout: &pipeline.layout.bind_group,
            entries: &entries,
        };
        BindGroup {
            id: self.next_id(),
            group: self.inner.device.create_bind_group(&descriptor),
        }
    }

    pub(super) fn uniform_arena(&self) -> Arena {
        let arena = self
            .inner
            .command
            .uniforms
            .get_or_init(|| Arena::new(self, UNIFORM_ARENA));
        arena.clone()
    }

    pub(crate) fn forget_bind_groups(&self) {
        self.inner.command.recorder.lock().plan.clear();
    }

    /// Forgets the bind groups over buffers that their host took back.
    pub(in crate::gpu) fn forget_gone(&self, recorder: &mut Recorder) {
        let gone = self.inner.memory.gone.take();
        recorder.plan.forget(&gone);
    }
}
