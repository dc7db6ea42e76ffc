//! A texture that the engine draws into and egui shows.

use egui::epaint::mutex::RwLock;
use egui::load::SizedTexture;
use egui_wgpu::{RenderState, Renderer, wgpu};
use std::sync::Arc;
use wgvq::Result;
use wgvq::gpu::{Gpu, Tensor};
use wgvq::inference::Decoder;

/// A texture of egui's renderer for an image that the engine computes. It is freed when dropped.
///
/// The engine's commands go to the queue at once, and egui's of the same frame after them: what is
/// decoded while the interface is laid out is seen in that frame.
pub struct Picture {
    device: wgpu::Device,
    queue: wgpu::Queue,
    renderer: Arc<RwLock<Renderer>>,
    view: wgpu::TextureView,
    id: egui::TextureId,
    size: [usize; 2],
}

impl Picture {
    /// Creates a texture of so many pixels, width and height, which is transparent at first. Its
    /// pixels stay sharp where they are enlarged.
    ///
    /// # Panics
    /// If a side is 0 or larger than the device's textures.
    pub fn new(state: &RenderState, size: [usize; 2]) -> Picture {
        let [width, height] = size.map(|n| n as u32);
        let texture = state.device.create_texture(&wgpu::TextureDescriptor {
            label: Some("picture of wgvq"),
            size: wgpu::Extent3d {
                width,
                height,
                depth_or_array_layers: 1,
            },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            // The format that egui asks of textures of others: display-encoded numbers.
            format: wgpu::TextureFormat::Rgba8Unorm,
            usage: wgpu::TextureUsages::RENDER_ATTACHMENT
                | wgpu::TextureUsages::TEXTURE_BINDING
                | wgpu::TextureUsages::COPY_SRC,
            view_formats: &[],
        });
        let view = texture.create_view(&Default::default());
        let id = state.renderer.write().register_native_texture(
            &state.device,
            &view,
            wgpu::FilterMode::Nearest,
        );
        Picture {
            device: state.device.clone(),
            queue: state.queue.clone(),
            renderer: state.renderer.clone(),
            view,
            id,
            size,
        }
    }

    /// Draws the image of codes, of all levels, the coarsest first.
    ///
    /// # Errors
    /// As [`Decoder::decode_into`].
    pub fn decode(&self, decoder: &Decoder, codes: &[u32]) -> Result<()> {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        decoder.decode_into(&mut encoder, codes, &self.view)?;
        self.queue.submit([encoder.finish()]);
        Ok(())
    }

    /// Draws one of the images f32 \[B, H, W, C] in \[-1, 1].
    ///
    /// # Errors
    /// As [`Tensor::to_texture`].
    pub fn draw(&self, gpu: &Gpu, images: &Tensor, image: usize) -> Result<()> {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        gpu.record_into(&mut encoder, || images.to_texture(image, &self.view))?;
        self.queue.submit([encoder.finish()]);
        Ok(())
    }

    /// Returns the view that the engine draws into, for what else draws into it.
    pub fn view(&self) -> &wgpu::TextureView {
        &self.view
    }

    /// Returns width and height in pixels.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Returns the texture as egui's widgets take it, such as [`egui::Image::new`], so many points
    /// to a pixel.
    pub fn texture(&self, zoom: f32) -> SizedTexture {
        let [width, height] = self.size.map(|n| n as f32 * zoom);
        SizedTexture::new(self.id, [width, height])
    }

    /// Shows the picture, so many points to a pixel.
    pub fn show(&self, ui: &mut egui::Ui, zoom: f32) -> egui::Response {
        ui.image(self.texture(zoom))
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        self.renderer.write().free_texture(&self.id);
    }
}
