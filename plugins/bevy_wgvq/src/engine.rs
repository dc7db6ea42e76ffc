//! The engine on the device that bevy draws with.

use bevy::ecs::resource::Resource;
use bevy::ecs::world::World;
use bevy::render::renderer::{RenderAdapterInfo, RenderDevice, RenderQueue};
use wgvq::gpu::Gpu;

/// The engine on bevy's device, which decoders are loaded on: a resource of the main world.
#[derive(Clone, Resource)]
pub struct Engine(Gpu);

impl Engine {
    /// Creates an engine on the device of an application, if it has one.
    pub(crate) fn of(world: &World) -> Option<Engine> {
        let device = world.get_resource::<RenderDevice>()?;
        let queue = world.get_resource::<RenderQueue>()?;
        let info = world.get_resource::<RenderAdapterInfo>()?;
        Some(Engine(on(device, queue, info)))
    }

    /// Returns the engine, for models of your own that compute on bevy's device.
    pub fn gpu(&self) -> Gpu {
        self.0.clone()
    }

    /// Returns another engine on the same device, with its own memory and its own recording: for
    /// what is recorded on one thread while another records on this one.
    pub fn another(&self) -> Gpu {
        let gpu = self.gpu();
        Gpu::from_wgpu(
            gpu.info().clone(),
            gpu.device().clone(),
            gpu.queue().clone(),
        )
    }
}

/// Creates an engine, and tells what its device goes without.
fn on(device: &RenderDevice, queue: &RenderQueue, info: &RenderAdapterInfo) -> Gpu {
    let gpu = Gpu::from_wgpu(
        (**info).clone(),
        device.wgpu_device().clone(),
        (**queue).clone(),
    );
    for missing in gpu.missing_features() {
        tracing::info!("wgvq on bevy's device: {missing}");
    }
    gpu
}
