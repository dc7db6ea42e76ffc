//! Layouts of pipelines and bind groups: one for all kernels that bind alike, so that a bind group
//! serves every one of them and the driver need not bind again where only the pipeline changes.

use super::pipelines::UNIFORM_BINDING;
use super::reflect::Reflection;
use crate::gpu::Gpu;
use crate::gpu::device::features::IMMEDIATE_BYTES;
use smallvec::SmallVec;

/// The properties of a kernel's bindings that decide its layout.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bindings {
    /// The number of each storage binding, and whether the kernel writes it.
    storage: SmallVec<[(u32, bool); 12]>,
    /// Whether parameters come from a uniform buffer.
    uniform: bool,
}

/// The layouts of a pipeline and of what it binds.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(in crate::gpu) id: u64,
    pub(in crate::gpu) bind_group: wgpu::BindGroupLayout,
    pub(in crate::gpu) pipeline: wgpu::PipelineLayout,
}

impl Gpu {
    /// Returns the layout of what a kernel binds, made at the first use.
    pub(super) fn layout(&self, reflection: &Reflection) -> Layout {
        let storage = reflection.storage.iter();
        let bindings = Bindings {
            storage: storage.map(|at| (at.binding, at.write)).collect(),
            uniform: !self.inner.immediates && reflection.params > 0,
        };
        let mut layouts = self.inner.kernel.layouts.lock();
        if let Some(layout) = layouts.get(&bindings) {
            return layout.clone();
        }
        let layout = self.make_layout(&bindings);
        layouts.insert(bindings, layout.clone());
        layout
    }

    fn make_layout(&self, bindings: &Bindings) -> Layout {
        let device = &self.inner.device;
        let entry = |binding, ty, has_dynamic_offset| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty,
                has_dynamic_offset,
                min_binding_size: None,
            },
            count: None,
        };
        let storage = bindings.storage.iter().map(|(binding, write)| {
            let read_only = !*write;
            entry(
                *binding,
                wgpu::BufferBindingType::Storage { read_only },
                false,
            )
        });
        let uniform = entry(UNIFORM_BINDING, wgpu::BufferBindingType::Uniform, true);
        let entries: Vec<_> = storage.chain(bindings.uniform.then_some(uniform)).collect();
        let bind_group = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("wgvq"),
            entries: &entries,
        });
        let pipeline = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some("wgvq"),
            bind_group_layouts: &[Some(&bind_group)],
            // Of one size for all kernels: another makes another layout to the driver.
            immediate_size: if self.inner.immediates {
                IMMEDIATE_BYTES
            } else {
                0
            },
        });
        Layout {
            id: self.next_id(),
            bind_group,
            pipeline,
        }
    }
}
