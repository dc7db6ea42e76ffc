//! Codes decoded into the textures of images, before the frame is drawn that shows them.

use crate::code_image::{Request, Requests};
use bevy::asset::{AssetId, Assets};
use bevy::ecs::resource::Resource;
use bevy::ecs::system::{Res, ResMut};
use bevy::image::Image;
use bevy::render::MainWorld;
use bevy::render::render_asset::RenderAssets;
use bevy::render::render_resource::{CommandEncoder, CommandEncoderDescriptor};
use bevy::render::renderer::{RenderDevice, RenderQueue};
use bevy::render::texture::GpuImage;
use std::collections::HashMap;
use wgvq::gpu::Tensor;
use wgvq::{Error, Result};

/// Images of one decoder that are decoded together: more would take more memory.
const BATCH: usize = 16;

/// Codes that wait for the texture of their image: the newest of each.
#[derive(Default, Resource)]
pub(crate) struct Pending(HashMap<AssetId<Image>, Request>);

/// Takes the requests of a frame from the main world.
pub(crate) fn extract(mut main: ResMut<MainWorld>, mut pending: ResMut<Pending>) {
    for request in std::mem::take(&mut main.resource_mut::<Requests>().0) {
        pending.0.insert(request.image, request);
    }
    let images = main.resource::<Assets<Image>>();
    pending.0.retain(|id, _| images.contains(*id));
}

/// Decodes what waits and has a texture by now. The commands go to the queue before those of the
/// frame.
pub(crate) fn draw(
    mut pending: ResMut<Pending>,
    images: Res<RenderAssets<GpuImage>>,
    device: Res<RenderDevice>,
    queue: Res<RenderQueue>,
) {
    let mut ready: Vec<(Request, &GpuImage)> = Vec::new();
    for (id, request) in std::mem::take(&mut pending.0) {
        let [width, height, _] = request.decoder.image();
        match images.get(id) {
            Some(image) if image.size_2d().to_array() == [width, height].map(|n| n as u32) => {
                ready.push((request, image));
            }
            _ => {
                pending.0.insert(id, request);
            }
        }
    }
    if ready.is_empty() {
        return;
    }
    ready.sort_by_key(|(request, _)| (request.decoder.address(), request.entity));
    let mut encoder = device.create_command_encoder(&CommandEncoderDescriptor {
        label: Some("codes to images"),
    });
    for same in ready.chunk_by(|(a, _), (b, _)| a.decoder.address() == b.decoder.address()) {
        for batch in same.chunks(BATCH) {
            if let Err(error) = decode(&mut encoder, &device, batch) {
                tracing::error!("{} images were not decoded: {error}", batch.len());
            }
        }
    }
    queue.submit([encoder.finish()]);
}

/// Records the decoding of images of one decoder.
fn decode(
    encoder: &mut CommandEncoder,
    device: &RenderDevice,
    batch: &[(Request, &GpuImage)],
) -> Result<()> {
    let Some((first, _)) = batch.first() else {
        return Ok(());
    };
    let model = first.decoder.lock();
    let gpu = model.gpu();
    if gpu.device() != device.wgpu_device() {
        return Err(Error::invalid(
            "decode",
            "the decoder is on another device than bevy's",
        ));
    }
    let codes: Vec<u32> = batch
        .iter()
        .flat_map(|(request, _)| &request.codes)
        .copied()
        .collect();
    gpu.record_into(encoder, || {
        let decoded = model.images(&Tensor::from_slice(gpu, &[codes.len()], &codes)?)?;
        for (i, (_, image)) in batch.iter().enumerate() {
            decoded.to_texture(i, &*image.texture_view)?;
        }
        Ok(())
    })
}
