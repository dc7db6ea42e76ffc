//! A run as its command shows it: on the whole terminal, in a bar, or in plain lines.

use super::dashboard::Dashboard;
use super::output::{LINE_EVERY, clear, duration, note, on_terminal, progress_bar, waited};
use super::signals::stop_flag;
use super::starting::{self, Starting};
use crate::cli::Global;
use clap::Args;
use indicatif::ProgressBar;
use std::fmt::Display;
use std::io::{IsTerminal, stdin};
use std::time::Instant;
use wgvq::gpu::Gpu;
use wgvq::storage::run_folder::RunFolder;
use wgvq::train::{Observer, Progress, Start, View};

/// The options of how a run is seen.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Write event files for TensorBoard into the run's folder: metrics, and of a first stage
    /// reconstructions and the use of codes; a run that has some goes on with them
    #[arg(long)]
    pub tensorboard: bool,
    /// Show the run on the whole terminal: curves, figures and the newest reconstructions; q saves
    /// and stops, p pauses, arrows change the charts. Plain lines where there is no terminal
    #[arg(long)]
    pub tui: bool,
}

/// Shows a run: on the whole terminal where that is asked for, as a bar on a terminal, otherwise as
/// a plain line every few seconds.
pub struct Watch<'a> {
    global: &'a Global,
    bar: Option<ProgressBar>,
    screen: Option<Dashboard>,
    last_line: Option<Instant>,
    starting: Option<Starting>,
    event_files: bool,
    /// The device, for tests that take it away.
    #[cfg(test)]
    gpu: Option<Gpu>,
}

impl<'a> Watch<'a> {
    pub fn new(global: &'a Global, steps: u64) -> Self {
        let bar =
            on_terminal(global).then(|| progress_bar(steps, "{bar:24.cyan/dim} {pos}/{len} {msg}"));
        Watch {
            global,
            bar,
            screen: None,
            last_line: None,
            starting: None,
            event_files: false,
            #[cfg(test)]
            gpu: None,
        }
    }

    /// Shows a run in a folder as its options ask for. `title` says what is trained, on what.
    pub fn seen(
        mut self,
        seen: Seen,
        title: &str,
        steps: u64,
        gpu: &Gpu,
        (folder, start): (&RunFolder, Start),
    ) -> Self {
        self.event_files = seen.tensorboard;
        if seen.tui && on_terminal(self.global) && stdin().is_terminal() {
            clear(self.bar.take().as_ref());
            self.screen = Dashboard::open(title, steps, gpu, stop_flag());
            if start == Start::Resume {
                let logs = |screen: Dashboard| screen.with_logs(&folder.metrics(), &folder.test());
                self.screen = self.screen.map(logs);
            }
        }
        if seen.tui && self.screen.is_none() {
            let what = "--tui: there is no terminal that could be had, so plain lines follow";
            note(self.global, what);
        }
        self
    }

    /// Has the run write TensorBoard's event files.
    pub fn with_event_files(mut self, wanted: bool) -> Self {
        self.event_files = wanted;
        self
    }

    /// Says how many kernels are compiled, until the first step is done.
    pub fn starting(mut self, gpu: &Gpu) -> Self {
        #[cfg(test)]
        {
            self.gpu = Some(gpu.clone());
        }
        if !self.global.quiet {
            self.starting = Some(match (&self.screen, self.bar.clone()) {
                (Some(screen), _) => screen.starting(gpu),
                (None, Some(bar)) => Starting::new(gpu, starting::BAR_EVERY, move |text| {
                    bar.set_message(text.to_owned());
                }),
                (None, None) => starting::in_lines(gpu),
            });
        }
        self
    }

    /// Returns the dashboard, where it has the terminal.
    fn screen(&self) -> Option<&Dashboard> {
        self.screen.as_ref().filter(|screen| screen.is_shown())
    }

    fn say(&self, text: &str) {
        match (self.screen(), &self.bar) {
            (Some(screen), _) => screen.say(text),
            (None, Some(bar)) => bar.suspend(|| note(self.global, text)),
            (None, None) => note(self.global, text),
        }
    }

    pub fn finish(&mut self) {
        self.starting = None;
        clear(self.bar.as_ref());
        if let Some(screen) = self.screen.take() {
            // What was said on the screen is read afterwards, too.
            screen
                .close()
                .iter()
                .for_each(|line| note(self.global, line));
        }
    }
}

fn describe(p: &Progress) -> String {
    let figures = p
        .row
        .as_ref()
        .map(|row| format!("{row}  "))
        .unwrap_or_default();
    let waited = p
        .waiting
        .map(|w| format!("  {}", waited(w)))
        .unwrap_or_default();
    let pace = p
        .per_second
        .map(|n| format!("{n:.0} {}/s  ", p.unit))
        .unwrap_or_default();
    let left = p
        .left
        .map(|left| format!("{} left", duration(left)))
        .unwrap_or_default();
    format!("{figures}{pace}{left}{waited}")
        .trim_end()
        .to_owned()
}

impl Observer for Watch<'_> {
    fn step(&mut self, p: &Progress) {
        #[cfg(test)]
        super::losses::tests::stepped(self.gpu.as_ref(), p.step);
        // The first is recorded before the device has run it.
        if p.step > 1 {
            self.starting = None;
        }
        if let Some(screen) = self.screen() {
            screen.step(p);
        } else if let Some(bar) = &self.bar {
            bar.set_position(p.step);
            bar.set_message(describe(p));
        } else if !self.global.quiet && self.last_line.is_none_or(|t| t.elapsed() >= LINE_EVERY) {
            self.last_line = Some(Instant::now());
            note(
                self.global,
                format!("step {}/{}  {}", p.step, p.steps, describe(p)).trim_end(),
            );
        }
    }
    fn logged(&mut self, row: &[(String, f64)]) {
        if let Some(screen) = &self.screen {
            screen.logged(row);
        }
    }
    fn evaluated(&mut self, step: u64, evaluation: &dyn Display) {
        self.say(&format!("step {step}: {evaluation}"));
    }
    fn measured(&mut self, row: &[(String, f64)]) {
        if let Some(screen) = &self.screen {
            screen.measured(row);
        }
    }
    fn viewed(&mut self, step: u64, views: &[View]) {
        if let Some(screen) = &self.screen {
            screen.viewed(step, views);
        }
    }
    fn event_files(&self) -> bool {
        self.event_files
    }
    fn note(&mut self, text: &str) {
        self.say(text);
    }
}
