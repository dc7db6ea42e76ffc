//! The terminal while a dashboard has it: taken whole, and given back however the program ends.

use super::Shared;
use super::draw::draw;
use super::state::State;
use crate::cli::common::output;
use parking_lot::Mutex;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use std::io::{self, Stderr};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two pictures.
const DRAW_EVERY: Duration = Duration::from_millis(250);
/// Between two looks at the keys.
const KEYS_EVERY: Duration = Duration::from_millis(50);
/// The time that a picture may take to be finished before the terminal is given back all the same.
const PATIENCE: Duration = Duration::from_millis(500);

/// Whether a dashboard has the terminal.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// Held while a picture is drawn: what is written after the terminal is given back would stay
/// there.
static DRAWING: Mutex<()> = Mutex::new(());

/// Whether a dashboard has the terminal.
pub fn is_taken() -> bool {
    TAKEN.load(Ordering::Relaxed)
}

/// Gives the terminal back, from any thread and as often as anybody asks.
pub fn give_back() {
    if !TAKEN.swap(false, Ordering::Relaxed) {
        return;
    }
    let _drawn = DRAWING.try_lock_for(PATIENCE);
    output::take_lines(None);
    // Nobody is left to be told where it fails.
    let _ = execute!(io::stderr(), Show, LeaveAlternateScreen);
    let _ = disable_raw_mode();
}

/// The terminal.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stderr>>,
}

impl Screen {
    /// Takes the terminal; `None` where it cannot be had. What others print is handed to `say`.
    pub fn take(say: impl Fn(&str) + Send + 'static) -> Option<Screen> {
        static HOOKED: Once = Once::new();
        HOOKED.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                before(panic);
            }));
        });
        enable_raw_mode().ok()?;
        TAKEN.store(true, Ordering::Relaxed);
        output::take_lines(Some(output::Elsewhere {
            say: Box::new(say),
            leave: give_back,
        }));
        let entered = execute!(io::stderr(), EnterAlternateScreen, Hide);
        let terminal = entered.and_then(|()| Terminal::new(CrosstermBackend::new(io::stderr())));
        match terminal {
            Ok(terminal) => Some(Screen { terminal }),
            Err(_) => {
                give_back();
                None
            }
        }
    }

    /// Draws and reads keys until the run is over.
    pub fn show(mut self, shared: &Shared) {
        let mut drawn: Option<Instant> = None;
        while !shared.over.load(Ordering::Relaxed) && is_taken() {
            let changed = match event::poll(KEYS_EVERY) {
                Ok(true) => event::read().is_ok_and(|event| heard(&event, shared)),
                Ok(false) => false,
                // Without keys the picture is still worth something.
                Err(_) => {
                    std::thread::sleep(KEYS_EVERY);
                    false
                }
            };
            if changed || drawn.is_none_or(|at| at.elapsed() >= DRAW_EVERY) {
                drawn = Some(Instant::now());
                let mut state = shared.state.lock().clone();
                state.stopping = shared.stop.load(Ordering::Relaxed);
                let _alone = DRAWING.lock();
                if is_taken() && self.terminal.draw(|frame| draw(frame, &state)).is_err() {
                    break;
                }
            }
        }
    }
}

/// Does what a key asks for. Returns whether there is something new to be seen.
fn heard(event: &Event, shared: &Shared) -> bool {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => pressed(key, shared),
        Event::Resize(..) => true,
        _ => false,
    }
}

fn pressed(key: &KeyEvent, shared: &Shared) -> bool {
    let turn = |by: isize| State::turn(&mut shared.state.lock(), by);
    match key.code {
        // Raw terminals send no signal for it.
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
            crate::cli::common::signals::interrupt();
        }
        KeyCode::Char('q') => {
            shared.stop.store(true, Ordering::Relaxed);
            shared.goes_on.notify_all();
        }
        KeyCode::Char('p') | KeyCode::Char(' ') => {
            let mut state = shared.state.lock();
            state.paused = !state.paused;
            shared.goes_on.notify_all();
        }
        KeyCode::Right | KeyCode::Down => turn(1),
        KeyCode::Left | KeyCode::Up => turn(-1),
        _ => return false,
    }
    true
}
