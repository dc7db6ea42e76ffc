//! `--tui`: a run on the whole terminal, with curves, figures and the newest reconstructions.
//!
//! The run tells what it does as it tells it to the plain lines; a thread draws what is known and
//! reads the keys. Nothing of it reaches the run but that it is asked to stop, or held between two
//! steps, so that its bytes are the same.

mod charts;
mod draw;
mod pictures;
mod screen;
mod state;

use crate::cli::common::starting::{self, Starting};
use parking_lot::{Condvar, Mutex};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use wgvq::gpu::Gpu;
use wgvq::storage::metrics_log;
use wgvq::train::{Progress, View};

use screen::Screen;
use state::State;

/// Between two looks at whether a paused run is to go on.
const HELD: Duration = Duration::from_millis(200);

/// The state that the run and the thread that draws share.
struct Shared {
    state: Mutex<State>,
    /// A run that is paused is told to go on.
    goes_on: Condvar,
    over: AtomicBool,
    stop: &'static AtomicBool,
}

/// A run on the terminal.
pub struct Dashboard {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    gpu: Gpu,
}

impl Dashboard {
    /// Takes the terminal for a run of so many steps; `None` where it cannot be had. `stop` asks
    /// the run to stop.
    pub fn open(
        title: &str,
        steps: u64,
        gpu: &Gpu,
        stop: &'static AtomicBool,
    ) -> Option<Dashboard> {
        let colours = std::env::var("COLORTERM").unwrap_or_default();
        let state = State {
            title: title.to_owned(),
            status: "preparing the first step".into(),
            steps,
            true_colour: ["truecolor", "24bit"].contains(&&*colours),
            ..Default::default()
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            goes_on: Condvar::new(),
            over: AtomicBool::new(false),
            stop,
        });
        let (said, drawn) = (shared.clone(), shared.clone());
        let screen = Screen::take(move |text| said.state.lock().say(text))?;
        let thread = std::thread::Builder::new().spawn(move || screen.show(&drawn));
        let Ok(thread) = thread else {
            screen::give_back();
            return None;
        };
        Some(Dashboard {
            shared,
            thread: Some(thread),
            gpu: gpu.clone(),
        })
    }

    /// Shows the rows that a run has from before.
    pub fn with_logs(self, log: &Path, tests: &Path) -> Dashboard {
        let mut state = self.shared.state.lock();
        let State {
            log: own,
            tests: measured,
            ..
        } = &mut *state;
        for (path, series) in [(log, own), (tests, measured)] {
            // Logs that cannot be read are the run's to complain of.
            let columns = metrics_log::columns(path).unwrap_or_default();
            let rows = columns.first().map_or(0, |(_, steps)| steps.len());
            for row in 0..rows {
                let value = |(name, values): &(String, Vec<f64>)| {
                    (name.clone(), values.get(row).copied().unwrap_or(f64::NAN))
                };
                State::push(series, &columns.iter().map(value).collect::<Vec<_>>());
            }
        }
        drop(state);
        self
    }

    /// Says how many kernels are compiled, until what is returned is dropped.
    pub fn starting(&self, gpu: &Gpu) -> Starting {
        let shared = self.shared.clone();
        Starting::new(gpu, starting::BAR_EVERY, move |text| {
            shared.state.lock().status = text.to_owned();
        })
    }

    /// Whether the terminal is still the dashboard's.
    pub fn is_shown(&self) -> bool {
        screen::is_taken()
    }

    pub fn say(&self, text: &str) {
        self.shared.state.lock().say(text);
    }

    /// After a step; holds the run while it is paused.
    pub fn step(&self, p: &Progress) {
        let memory = self.gpu.memory();
        let mut state = self.shared.state.lock();
        if p.step > 1 {
            state.status.clear();
        }
        (state.step, state.steps) = (p.step, p.steps);
        state.pace = p.per_second.map(|pace| (pace, p.unit));
        (state.left, state.waited) = (p.left, p.waiting.map(|w| w.share()));
        state.memory = [memory.in_use, memory.peak];
        while state.paused && !self.shared.stop.load(Ordering::Relaxed) && screen::is_taken() {
            // A signal sets the flag without a word.
            self.shared.goes_on.wait_for(&mut state, HELD);
        }
    }

    pub fn logged(&self, row: &[(String, f64)]) {
        State::push(&mut self.shared.state.lock().log, row);
    }

    pub fn measured(&self, row: &[(String, f64)]) {
        State::push(&mut self.shared.state.lock().tests, row);
    }

    pub fn viewed(&self, step: u64, views: &[View]) {
        self.shared.state.lock().view(step, views);
    }

    /// Gives the terminal back, and returns what was said on it.
    pub fn close(mut self) -> Vec<String> {
        self.end();
        std::mem::take(&mut self.shared.state.lock().lines)
    }

    fn end(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        screen::give_back();
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.end();
    }
}
