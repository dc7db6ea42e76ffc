//! The first step of a run, taken before anything is written.

use crate::storage::checkpoint::Checkpoint;
use crate::trainer::task::Task;
use crate::trainer::trainer::Trainer;
use crate::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};

/// A first step that is taken, and of which nothing is written yet. Whether a batch can be held is
/// known once one was: no estimate refuses a run that could be trained, and a run that cannot be
/// leaves nothing behind.
pub(super) struct FirstStep {
    /// The state to which a run returns that diverges before its first checkpoint, where it may.
    pub(super) before: Option<Checkpoint>,
}

impl FirstStep {
    /// Takes it, where there is one to take and the run was not stopped before.
    ///
    /// # Errors
    /// If the device fails, or cannot hold what a step takes: the message says whose.
    pub(super) fn take<T: Task>(
        trainer: &mut Trainer<T>,
        steps: u64,
        stop: &AtomicBool,
    ) -> Result<Option<FirstStep>> {
        if trainer.step_number() > 0 || steps == 0 || stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let restores = trainer.task.recovery().is_some_and(|r| r.can_restore());
        let before = match restores {
            true => Some(trainer.checkpoint()?),
            false => None,
        };
        trainer.step().map_err(|error| asked_by(trainer, error))?;
        Ok(Some(FirstStep { before }))
    }
}

/// The error of a step that asks for too much, with the name of what asks.
fn asked_by<T: Task>(trainer: &Trainer<T>, mut error: Error) -> Error {
    if let Error::Limit { what, .. } | Error::OutOfMemory { what, .. } = &mut error {
        let (count, unit) = trainer.task.per_step();
        *what = format!("{count} {unit} in a step (train.batch_size): {what}");
    }
    error
}
