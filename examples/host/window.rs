//! The live example in a window.

use super::Live;
use super::screen::{Screen, refused};
use std::time::Duration;
use wgvq::{Error, Result, wgpu};
use winit::application::ApplicationHandler;
use winit::event::WindowEvent;
use winit::event_loop::{ActiveEventLoop, EventLoop};
use winit::window::WindowId;

/// A window and what is drawn into it.
struct Shown {
    screen: Screen,
    live: Live,
}

struct App {
    budget: Duration,
    shown: Option<Shown>,
    error: Option<Error>,
}

impl Shown {
    fn new(events: &ActiveEventLoop, budget: Duration) -> Result<Shown> {
        // The format that every window system has.
        let format = wgpu::TextureFormat::Bgra8UnormSrgb;
        let (screen, host) = Screen::open(events, "wgvq: live training", format)?;
        let live = Live::new(host, format, budget, "emoji")?;
        Ok(Shown { screen, live })
    }

    fn frame(&mut self) -> Result<()> {
        self.screen
            .show(|texture| self.live.frame(texture).map(drop))?;
        let (within, _) = self.live.pacing();
        self.screen.set_title(&format!(
            "wgvq: step {}, {:.0} % of the frames within their budget",
            self.live.steps(),
            100.0 * within
        ));
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
            WindowEvent::Resized(size) => shown.screen.resize(size.width, size.height),
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
