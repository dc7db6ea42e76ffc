//! The live example in a window.

use super::Live;
use super::host::Host;
use std::sync::Arc;
use std::time::Duration;
use wgvq::{Error, FeatureRequest, Result, wgpu};
use winit::application::ApplicationHandler;
use winit::event::WindowEvent;
use winit::event_loop::{ActiveEventLoop, EventLoop};
use winit::window::{Window, WindowAttributes, WindowId};

/// A window and what is drawn into it.
struct Shown {
    window: Arc<Window>,
    device: wgpu::Device,
    queue: wgpu::Queue,
    surface: wgpu::Surface<'static>,
    config: wgpu::SurfaceConfiguration,
    live: Live,
}

struct App {
    budget: Duration,
    shown: Option<Shown>,
    error: Option<Error>,
}

fn refused(what: impl std::fmt::Display) -> Error {
    Error::Gpu {
        op: "window".into(),
        what: what.to_string(),
    }
}

impl Shown {
    fn new(events: &ActiveEventLoop, budget: Duration) -> Result<Shown> {
        let attributes = WindowAttributes::default().with_title("wgvq: live training");
        let window = Arc::new(events.create_window(attributes).map_err(refused)?);
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let surface = instance.create_surface(window.clone()).map_err(refused)?;
        let host = Host::on(&instance, Some(&surface), FeatureRequest::default());
        let size = window.inner_size();
        // The formats that every window system has.
        let config = wgpu::SurfaceConfiguration {
            usage: wgpu::TextureUsages::RENDER_ATTACHMENT,
            format: wgpu::TextureFormat::Bgra8UnormSrgb,
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
        let live = Live::new(host, config.format, budget, "emoji")?;
        Ok(Shown {
            window,
            device,
            queue,
            surface,
            config,
            live,
        })
    }

    fn resize(&mut self, width: u32, height: u32) {
        (self.config.width, self.config.height) = (width.max(1), height.max(1));
        self.surface.configure(&self.device, &self.config);
    }

    fn frame(&mut self) -> Result<()> {
        use wgpu::CurrentSurfaceTexture::{Suboptimal, Success};
        match self.surface.get_current_texture() {
            Success(frame) | Suboptimal(frame) => {
                self.live.frame(&frame.texture)?;
                self.queue.present(frame);
            }
            // Moved to another screen, say: the next frame fits again.
            _ => self.surface.configure(&self.device, &self.config),
        }
        let (within, _) = self.live.pacing();
        let title = format!(
            "wgvq: step {}, {:.0} % of the frames within their budget",
            self.live.steps(),
            100.0 * within
        );
        self.window.set_title(&title);
        self.window.request_redraw();
        Ok(())
    }
}

impl ApplicationHandler for App {
    fn resumed(&mut self, events: &ActiveEventLoop) {
        match Shown::new(events, self.budget) {
            Ok(shown) => self.shown = Some(shown),
            Err(error) => {
                self.error = Some(error);
                events.exit();
            }
        }
    }

    fn window_event(&mut self, events: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        let Some(shown) = &mut self.shown else { return };
        match event {
            WindowEvent::CloseRequested => events.exit(),
            WindowEvent::Resized(size) => shown.resize(size.width, size.height),
            WindowEvent::RedrawRequested => {
                if let Err(error) = shown.frame() {
                    self.error = Some(error);
                    events.exit();
                }
            }
            _ => {}
        }
    }
}

/// Trains in a window until it is closed.
pub fn run(budget: Duration) -> Result<()> {
    let mut app = App {
        budget,
        shown: None,
        error: None,
    };
    EventLoop::new()
        .and_then(|events| events.run_app(&mut app))
        .map_err(refused)?;
    app.error.map_or(Ok(()), Err)
}
