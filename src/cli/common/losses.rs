//! Trainings that go on by themselves, on a device that is opened anew, where theirs was lost.

use crate::cli::common::output;
use crate::cli::{CommandStatus, Global};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use wgvq::gpu::LOST_WHILE_POLLED;
use wgvq::parallel::Ranks;
use wgvq::storage::checkpoint;
use wgvq::storage::run_folder::RunFolder;
use wgvq::{Error, Result};

/// Losses without a new checkpoint between them after which a command ends with the next.
pub const MOST_LOSSES: u32 = 5;

/// Has a loss that a driver reports pass without the words of a panic, which the library catches:
/// what is said of it is the error.
pub fn quiet_losses() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload().downcast_ref::<String>();
        if !said.is_some_and(|said| said.starts_with(LOST_WHILE_POLLED)) {
            before(panic);
        }
    }));
}

/// Whether a command has begun something that can be gone on with.
#[derive(Debug, Default)]
pub struct Begun(Cell<bool>);

impl Begun {
    /// Notes that it has.
    pub fn note(&self) {
        self.0.set(true);
    }

    /// Notes whether the run in a folder can be gone on with, where what became of it is an error.
    /// One that replaces another is not there yet before its first checkpoint.
    pub fn in_folder<T>(&self, folder: &RunFolder, outcome: Result<T>) -> Result<T> {
        if outcome.is_err() && folder.has_begun() {
            self.note();
        }
        outcome
    }
}

/// Trains in a folder: begins and, where the device is lost, opens it again and goes on from the
/// last checkpoint, or begins again where nothing can be gone on with. Losses are counted from the
/// newest checkpoint on. Several ranks end with the error: the others wait for the one whose device
/// is gone.
///
/// # Errors
/// Returns the error of the training, also if the device was lost once more than
/// [`MOST_LOSSES`] times without a new checkpoint.
pub fn through_losses(
    global: &Global,
    folder: &Path,
    begin: impl Fn(&Begun) -> Result<CommandStatus>,
    go_on: impl Fn() -> Result<CommandStatus>,
) -> Result<CommandStatus> {
    let (begun, mut losses) = (Begun::default(), 0);
    let mut before = None;
    loop {
        let ended = if begun.0.get() {
            go_on()
        } else {
            begin(&begun)
        };
        let what = match &ended {
            Err(Error::DeviceLost { reason }) => format!("the device was lost ({reason})"),
            // A driver that is just starting again has no device yet.
            Err(Error::NoAdapter { what }) if losses > 0 => format!("no device yet ({what})"),
            _ => return ended,
        };
        let now = newest_checkpoints(folder);
        // A run that went back has fewer checkpoints, and nothing new.
        let newer = |before: &BTreeMap<PathBuf, u64>| {
            let is_newer =
                |(run, step): (&PathBuf, &u64)| before.get(run).is_none_or(|before| step > before);
            now.iter().any(is_newer)
        };
        if before.as_ref().is_some_and(newer) {
            losses = 0;
        }
        before = Some(now);
        if losses == MOST_LOSSES || !Ranks::world().is_alone() {
            return ended;
        }
        losses += 1;
        let next = if begun.0.get() {
            "going on from the last checkpoint"
        } else {
            "beginning again"
        };
        let folder = output::shell(folder);
        output::note(
            global,
            &format!("{folder}: {what}; opening it again and {next} ({losses} of {MOST_LOSSES})"),
        );
        thread::sleep(pause(losses));
    }
}

/// [`through_losses`] of a command that goes on where it was when it is given again.
///
/// # Errors
/// As [`through_losses`].
pub fn repeated_through_losses(
    global: &Global,
    folder: &Path,
    command: impl Fn() -> Result<CommandStatus>,
) -> Result<CommandStatus> {
    let first = |begun: &Begun| {
        let ended = command();
        if ended.is_err() {
            begun.note();
        }
        ended
    };
    through_losses(global, folder, first, &command)
}

/// Returns the step of the newest checkpoint of the run in a folder, and of each run that lies in
/// it: what a command has come to.
fn newest_checkpoints(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let runs = entries.map(|entry| entry.path()).filter(|run| run.is_dir());
    let newest = |run: PathBuf| {
        let (step, _) = checkpoint::newest(&run.join("checkpoints")).ok()??;
        Some((run, step))
    };
    let all = runs.chain([folder.to_owned()]);
    all.filter_map(newest).collect()
}

/// The time that a driver is given to start again.
fn pause(losses: u32) -> Duration {
    let unit = if cfg!(test) { 1 } else { 1000 };
    Duration::from_millis(unit << (losses - 1))
}

#[cfg(test)]
pub mod tests;
