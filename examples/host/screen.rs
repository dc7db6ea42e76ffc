//! A window that a host draws into.

use super::host::Host;
use std::sync::Arc;
use wgvq::{Error, FeatureRequest, Result, wgpu};
use winit::event_loop::ActiveEventLoop;
use winit::window::{Window, WindowAttributes};

/// A window and its surface.
pub struct Screen {
    window: Arc<Window>,
    surface: wgpu::Surface<'static>,
    config: wgpu::SurfaceConfiguration,
    device: wgpu::Device,
    queue: wgpu::Queue,
}

/// An error of the window system.
pub fn refused(what: impl std::fmt::Display) -> Error {
    Error::Gpu {
        op: "window".into(),
        what: what.to_string(),
    }
}

impl Screen {
    /// Opens a window whose textures have this format, and a host on a device that can draw there.
    pub fn open(
        events: &ActiveEventLoop,
        title: &str,
        format: wgpu::TextureFormat,
    ) -> Result<(Screen, Host)> {
        let attributes = WindowAttributes::default().with_title(title);
        let window = Arc::new(events.create_window(attributes).map_err(refused)?);
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let surface = instance.create_surface(window.clone()).map_err(refused)?;
        let host = Host::on(&instance, Some(&surface), FeatureRequest::default());
        let size = window.inner_size();
        let config = wgpu::SurfaceConfiguration {
            usage: wgpu::TextureUsages::RENDER_ATTACHMENT,
            format,
            color_space: Default::default(),
            width: size.width.max(1),
            height: size.height.max(1),
            present_mode: wgpu::PresentMode::Fifo,
            desired_maximum_frame_latency: 2,
            alpha_mode: wgpu::CompositeAlphaMode::Auto,
            view_formats: Vec::new(),
        };
        let (device, queue) = (host.device.clone(), host.queue.clone());
        surface.configure(&device, &config);
        let screen = Screen {
            window,
            surface,
            config,
            device,
            queue,
        };
        Ok((screen, host))
    }

    pub fn resize(&mut self, width: u32, height: u32) {
        (self.config.width, self.config.height) = (width.max(1), height.max(1));
        self.surface.configure(&self.device, &self.config);
    }

    pub fn set_title(&self, title: &str) {
        self.window.set_title(title);
    }

    /// Lets `draw` draw the window's next frame, shows it, and asks for another.
    pub fn show(&self, draw: impl FnOnce(&wgpu::Texture) -> Result<()>) -> Result<()> {
        use wgpu::CurrentSurfaceTexture::{Suboptimal, Success};
        match self.surface.get_current_texture() {
            Success(frame) | Suboptimal(frame) => {
                draw(&frame.texture)?;
                self.queue.present(frame);
            }
            // Moved to another screen, say: the next frame fits again.
            _ => self.surface.configure(&self.device, &self.config),
        }
        self.window.request_redraw();
        Ok(())
    }
}
