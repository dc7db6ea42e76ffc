//! The dream in a window: arrow keys move the paddle, the space bar changes between the game and
//! the dream, once there is one.

use super::game::{Game, Key};
use super::learning::Learning;
use super::options::Options;
use super::play::Play;
use super::screen::{Screen, refused};
use super::world::World;
use wgvq::{Error, Result, wgpu};
use winit::application::ApplicationHandler;
use winit::event::{ElementState, KeyEvent, WindowEvent};
use winit::event_loop::{ActiveEventLoop, EventLoop};
use winit::keyboard::{KeyCode, PhysicalKey};
use winit::window::WindowId;

/// The window's frames to one of the game.
const FRAMES: u64 = 6;

/// A window and what is drawn into it.
struct Shown {
    screen: Screen,
    pipeline: wgpu::RenderPipeline,
    options: Options,
    learning: Learning,
    world: Option<(World, Play)>,
    /// Whether the left and the right arrow are held.
    held: [bool; 2],
    frames: u64,
}

struct App {
    options: Options,
    shown: Option<Shown>,
    error: Option<Error>,
}

impl Shown {
    fn new(events: &ActiveEventLoop, options: Options) -> Result<Shown> {
        // Frames hold display-encoded colours, and are drawn as they are.
        let format = wgpu::TextureFormat::Bgra8Unorm;
        let (screen, host) = Screen::open(events, "wgvq: a dream", format)?;
        let pipeline = host.quad(format);
        let learning = Learning::new(host, options.settings.clone(), options.budget)?;
        Ok(Shown {
            screen,
            pipeline,
            options,
            learning,
            world: None,
            held: [false; 2],
            frames: 0,
        })
    }

    fn key(&self) -> Key {
        match self.held {
            [true, false] => Key::Left,
            [false, true] => Key::Right,
            _ => Key::None,
        }
    }

    fn pressed(&mut self, event: &KeyEvent) -> Result<()> {
        let is_down = event.state == ElementState::Pressed;
        match event.physical_key {
            PhysicalKey::Code(KeyCode::ArrowLeft) => self.held[0] = is_down,
            PhysicalKey::Code(KeyCode::ArrowRight) => self.held[1] = is_down,
            PhysicalKey::Code(KeyCode::Space) if is_down && !event.repeat => {
                let Learning { host, gpu, .. } = &self.learning;
                match &mut self.world {
                    Some((_, play)) if play.dreams() => play.wake_up(host),
                    Some((world, play)) => play.fall_asleep(host, gpu, world)?,
                    None => {}
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Goes on with what there is: learning, the game, or the dream.
    fn advance(&mut self) -> Result<()> {
        let (key, budget) = (self.key(), self.options.budget);
        self.frames += 1;
        if let Some((world, play)) = &mut self.world {
            let Learning { host, gpu, .. } = &self.learning;
            if play.dreams() {
                play.dream(host, gpu, world, key, budget)?;
            } else if self.frames.is_multiple_of(FRAMES) {
                play.play(host, key);
            }
        } else if let Some(world) = self.learning.frame(None)? {
            let mut play = Play::new(&self.learning.host, Game::new());
            play.fall_asleep(&self.learning.host, &self.learning.gpu, &world)?;
            self.world = Some((world, play));
        }
        let title = match &self.world {
            Some((_, play)) if play.dreams() => "the dream; space wakes up".into(),
            Some(_) => "the game; space falls asleep".into(),
            None => {
                let (what, share) = self.learning.progress();
                format!("{what}, {:.0} %", 100.0 * share)
            }
        };
        self.screen.set_title(&format!("wgvq: {title}"));
        Ok(())
    }

    fn frame(&mut self) -> Result<()> {
        self.advance()?;
        let host = &self.learning.host;
        self.screen.show(|to| {
            let mut encoder = host.device.create_command_encoder(&Default::default());
            host.clear(&mut encoder, to, wgpu::Color::BLACK);
            let [w, h] = [to.width() as f32, to.height() as f32];
            let (side, picture) = (w.min(h), self.world.as_ref().map(|(_, p)| p.picture()));
            let picture = picture.unwrap_or(self.learning.picture());
            let at = [(w - side) / 2.0, (h - side) / 2.0, side, side];
            host.draw_with(&self.pipeline, &mut encoder, picture, to, at);
            host.queue.submit([encoder.finish()]);
            Ok(())
        })
    }
}

impl ApplicationHandler for App {
    fn resumed(&mut self, events: &ActiveEventLoop) {
        match Shown::new(events, self.options.clone()) {
            Ok(shown) => self.shown = Some(shown),
            Err(error) => {
                self.error = Some(error);
                events.exit();
            }
        }
    }

    fn window_event(&mut self, events: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        let Some(shown) = &mut self.shown else { return };
        let done = match event {
            WindowEvent::CloseRequested => {
                events.exit();
                Ok(())
            }
            WindowEvent::Resized(size) => {
                shown.screen.resize(size.width, size.height);
                Ok(())
            }
            WindowEvent::KeyboardInput { event, .. } => shown.pressed(&event),
            WindowEvent::RedrawRequested => shown.frame(),
            _ => Ok(()),
        };
        if let Err(error) = done {
            self.error = Some(error);
            events.exit();
        }
    }
}

/// Learns and plays in a window until it is closed.
///
/// # Errors
/// If there is no window or device, or the device fails.
pub fn run(options: Options) -> Result<()> {
    let mut app = App {
        options,
        shown: None,
        error: None,
    };
    EventLoop::new()
        .and_then(|events| events.run_app(&mut app))
        .map_err(refused)?;
    app.error.map_or(Ok(()), Err)
}
