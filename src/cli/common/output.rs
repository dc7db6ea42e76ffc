//! Output of commands: results to standard output, the rest to standard error.

use crate::cli::Global;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use wgvq::data::DataStall;
use wgvq::pace::{Pace, Rest};

/// Prints a result; a closed pipe is no error.
pub fn result(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints a result, and returns whether there is still somebody to read it.
pub fn is_read(text: &str) -> bool {
    let mut out = std::io::stdout();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    !written.is_err_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// A path as a shell reads it, for commands that are to be copied.
pub fn shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:@%,".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A path as JSON has it, which is Unicode: what of a path is not becomes U+FFFD.
pub fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Text in one line: a line break, of a file's name or a driver's words, would look like another
/// message.
fn one_line(text: &str) -> Cow<'_, str> {
    let breaks = |c: char| c.is_control() || c == '\u{2028}' || c == '\u{2029}';
    if !text.contains(breaks) {
        return text.into();
    }
    let parts: Vec<&str> = text
        .split(breaks)
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    parts.join(" ").into()
}

/// Writes one line to standard error, whatever the text behind its head holds: nothing else in the
/// program writes there, bars and the parser of the command line aside. Nobody may be there to read
/// it.
fn headed(head: &str, text: &str) {
    let space = if head.is_empty() { "" } else { " " };
    if let Some(elsewhere) = &*ELSEWHERE.lock() {
        return (elsewhere.say)(&format!("{head}{space}{}", one_line(text)));
    }
    // In one piece: other processes of an MPI write there too, and may end this one in between.
    let line = format!("{head}{space}{}\n", one_line(text));
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Where lines go while something else has the terminal.
pub struct Elsewhere {
    pub say: Box<dyn Fn(&str) + Send>,
    /// Gives the terminal back.
    pub leave: fn(),
}

static ELSEWHERE: Mutex<Option<Elsewhere>> = Mutex::new(None);

/// Has lines go elsewhere, or to standard error again.
pub fn take_lines(to: Option<Elsewhere>) {
    *ELSEWHERE.lock() = to;
}

/// Has whatever has the terminal give it back.
pub fn leave_screen() {
    let leave = ELSEWHERE.lock().as_ref().map(|elsewhere| elsewhere.leave);
    if let Some(leave) = leave {
        leave();
    }
}

/// Does somebody see what is written to standard error?
pub fn is_seen() -> bool {
    io::stderr().is_terminal()
}

/// Begins a new line behind what a terminal echoes (`^C`).
pub fn break_line() {
    if is_seen() && ELSEWHERE.lock().is_none() {
        let _ = writeln!(io::stderr());
    }
}

/// Prints what an error says, in one line that a script can find; of one of several processes,
/// which it was.
pub fn error(global: &Global, error: &wgvq::Error, rank: Option<usize>) {
    let colour = is_seen() && !global.no_color;
    let head = if colour {
        "\x1b[1;31merror:\x1b[0m"
    } else {
        "error:"
    };
    let rank = rank.map_or(String::new(), |rank| format!("rank {rank}: "));
    headed(head, &format!("{rank}{error}"));
}

/// Tells the user something that is no result, in one line.
pub fn note(global: &Global, text: &str) {
    if !global.quiet {
        headed("", text);
    }
}

/// The bar that is shown now, above which others print.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Tells the user something in one line whatever `--quiet` says, from any thread. Nobody may be
/// there to read it.
pub fn anyway(text: &str) {
    let write = || headed("", text);
    let bar = SHOWN.lock().clone();
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Prints the library's warnings, and how far it is with what takes long, as notes.
pub fn warn_of_what_the_library_says(global: &Global) {
    if global.quiet {
        return;
    }
    let lines = tracing_subscriber::fmt()
        .with_env_filter("warn,wgvq=info")
        .with_writer(|| Lines)
        .with_ansi(false);
    // Fails where there is a subscriber already, which then gets them.
    let _ = lines
        .without_time()
        .with_level(false)
        .with_target(false)
        .log_internal_errors(false)
        .try_init();
}

/// Writes lines where notes go; a closed pipe is no error.
struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        anyway(String::from_utf8_lossy(bytes).trim_end());
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes the bar away.
pub fn clear(bar: Option<&ProgressBar>) {
    if let Some(bar) = bar {
        *SHOWN.lock() = None;
        bar.finish_and_clear();
    }
}

pub fn on_terminal(global: &Global) -> bool {
    is_seen() && !global.quiet && !global.no_color
}

pub fn progress_bar(len: u64, style: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::stderr_with_hz(5));
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("━━─"));
    *SHOWN.lock() = Some(bar.clone());
    bar
}

/// Shows how much of something is done: a bar on a terminal, otherwise a plain line every few
/// seconds.
pub struct Bar<'a> {
    global: &'a Global,
    unit: &'static str,
    bar: Option<ProgressBar>,
    began: Instant,
    last_line: Instant,
    pace: Pace,
    done: usize,
}

impl<'a> Bar<'a> {
    pub fn new(global: &'a Global, unit: &'static str) -> Self {
        let bar =
            on_terminal(global).then(|| progress_bar(0, "{bar:24.cyan/dim} {pos}/{len} {msg}"));
        if let Some(bar) = &bar {
            bar.set_message(unit);
        }
        let now = Instant::now();
        Bar {
            global,
            unit,
            bar,
            began: now,
            last_line: now,
            pace: Pace::new(Duration::ZERO),
            done: 0,
        }
    }

    pub fn show(&mut self, done: usize, all: usize) {
        self.pace
            .stepped(done.saturating_sub(self.done) as u64, self.began.elapsed());
        self.done = done;
        let rest = Rest {
            steps: all.saturating_sub(done) as u64,
            measurements: 0,
            checkpoints: 0,
        };
        let left = self
            .pace
            .left(rest)
            .map(|left| format!("  {} left", duration(left)))
            .unwrap_or_default();
        if let Some(bar) = &self.bar {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
            bar.set_message(format!("{}{left}", self.unit));
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            note(self.global, &format!("{done}/{all} {}{left}", self.unit));
        }
    }

    /// Returns what work calls after each part of it, where nothing stops it.
    pub fn progress(&mut self) -> impl FnMut(usize, usize) -> wgvq::Result<()> {
        |done, all| {
            self.show(done, all);
            Ok(())
        }
    }

    pub fn finish(&self) {
        clear(self.bar.as_ref());
    }
}

/// Between plain lines.
pub const LINE_EVERY: Duration = Duration::from_secs(5);

/// `2 % of the time waiting for data`
pub fn waited(waiting: DataStall) -> String {
    format!(
        "{:.0} % of the time waiting for data",
        100.0 * waiting.share()
    )
}

/// `1 h 05 min`, `2 min 07 s`, `9 s`.
pub fn duration(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        _ => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_said_has_one_line() {
        for (text, want) in [
            ("plain, with  two spaces", "plain, with  two spaces"),
            ("a\nb", "a b"),
            (
                "no TOML:\r\n  |\n1 | x\t= \u{2028}y\n",
                "no TOML: | 1 | x = y",
            ),
            ("\u{1b}[31mred", "[31mred"),
            ("\n", ""),
        ] {
            assert_eq!(super::one_line(text), want);
        }
    }
}
