//! The session of a run: its steps, what is due after each of them, and the way back where it
//! diverges.

use super::first_step::FirstStep;
use super::record::Record;
use super::{Observer, Progress, Schedule};
use crate::gpu::clock::Instant;
use crate::pace::{Break, Pace, Rest};
use crate::storage::checkpoint;
use crate::storage::checkpoint::LazyCheckpoint;
use crate::storage::metrics_log::{self, Log};
use crate::storage::run_folder::RunFolder;
use crate::trainer::task::{Recovery, Task};
use crate::trainer::trainer::Trainer;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Times that a run is gone on with more carefully.
const MOST_BACK_OFFS: u32 = 4;

/// The checkpoint that a run went back to, until it has come further. It follows from the steps
/// alone, and is kept in checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Setback {
    /// The step of the checkpoint.
    to: u64,
    /// The furthest step that diverged.
    from: u64,
}

/// Under what a checkpoint's state keeps it.
const SETBACK: &str = "setback";

impl Setback {
    /// Returns the setback that a checkpoint records.
    pub(super) fn of(checkpoint: &LazyCheckpoint) -> Option<Setback> {
        serde_json::from_value(checkpoint.state[SETBACK].clone()).ok()
    }
}

/// A run in a folder, from its first step in this process on.
pub(super) struct Session<'a, T: Task> {
    pub(super) trainer: Trainer<T>,
    tests: Log,
    observer: &'a mut dyn Observer,
    log: Log,
    record: Record,
    schedule: &'a Schedule,
    folder: &'a RunFolder,
    began: Instant,
    pace: Pace,
    /// The newest row of the log, in words.
    newest: Option<String>,
    /// The step of the newest checkpoint.
    saved: Option<u64>,
    setback: Option<Setback>,
    /// The first step is taken, and what is due after it is not done yet.
    is_ahead: bool,
}

impl<'a, T: Task> Session<'a, T> {
    /// Creates a session. `first` is the step that was taken before, where one was; `saved` is the
    /// step of the checkpoint that the trainer stands at, where it stands at one, and `setback`
    /// the setback that it records.
    pub(super) fn new(
        trainer: Trainer<T>,
        schedule: &'a Schedule,
        folder: &'a RunFolder,
        observer: &'a mut dyn Observer,
        first: Option<FirstStep>,
        saved: Option<u64>,
        setback: Option<Setback>,
    ) -> Result<Self> {
        let (row_columns, test_columns) = trainer.task.columns();
        let is_ahead = first.is_some();
        let step = if is_ahead { 0 } else { trainer.step_number() };
        // The last measurement comes after the last checkpoint: a run that is resumed there makes
        // it again.
        let measured = if step >= schedule.steps {
            schedule.steps - 1
        } else {
            step
        };
        let log = Log::open(&folder.metrics(), &row_columns, step)?;
        let tests = Log::open(&folder.test(), &test_columns, measured)?;
        let asked = observer.event_files();
        let record = Record::open(
            folder,
            trainer.gpu(),
            [step, measured],
            &schedule.toml,
            asked,
        )?;
        let pace = Pace::new(Duration::ZERO).expect(trainer.task.measurement_cost());
        let began = Instant::now();
        let newest = None;
        let mut session = Session {
            trainer,
            tests,
            observer,
            log,
            record,
            schedule,
            folder,
            began,
            pace,
            newest,
            saved,
            setback,
            is_ahead,
        };
        // What a run goes back to that diverges before its first checkpoint. It is on disk, so that
        // a resumed run has it too.
        match first {
            Some(first) => {
                if let Some(before) = first.before {
                    session.save_as(0, before.into())?;
                }
            }
            None if step == 0 && session.recovery().is_some_and(|r| r.can_restore()) => {
                session.save()?;
            }
            None => {}
        }
        session.count_compiled();
        session.pace.skip(session.began.elapsed());
        Ok(session)
    }

    /// Is the trainer a step ahead of what is written?
    pub(super) fn is_ahead(&self) -> bool {
        self.is_ahead
    }

    /// Does a step, and what is due after it.
    ///
    /// # Errors
    /// [`Error::Diverged`], and if the device fails or a file cannot be written.
    pub(super) fn step(&mut self) -> Result<()> {
        let s = self.schedule;
        if !std::mem::take(&mut self.is_ahead) {
            self.trainer.step()?;
        }
        let step = self.trainer.step_number();
        let due = |every: u64| every > 0 && step.is_multiple_of(every) && step < s.steps;
        let save = due(s.checkpoint_every);
        // What a resumed run finds in the log must be there before the checkpoint is.
        let mut rows = self.observed_rows(save)?;
        let mut recovered = Vec::new();
        if self.recovery().is_some_and(|r| r.is_due(step)) {
            // At fixed steps and with all rows at hand, so that a run resumed recovers at the same
            // step as the run left alone.
            rows.extend(self.observed_rows(true)?);
            if let Some(recovery) = self.recovery() {
                recovered = recovery.recover(step);
            }
            if !recovered.is_empty() {
                self.trainer.share()?;
            }
        }
        for row in rows {
            self.push(&row)?;
            self.newest = Some(row.to_string());
        }
        self.warn();
        recovered.iter().for_each(|done| self.observer.note(done));
        self.count_compiled();
        self.pace.stepped(1, self.began.elapsed());
        if due(s.eval_every) {
            self.measure(false)?;
            self.count_compiled();
            self.pace.took(Break::Measuring, self.began.elapsed());
        }
        if save {
            self.save()?;
            self.count_compiled();
            self.pace.took(Break::Saving, self.began.elapsed());
        }
        let (per_step, unit) = self.trainer.task.per_step();
        let per_second = self.pace.per_second().map(|steps| steps * per_step as f64);
        let (row, waiting, left) = (
            self.newest.clone(),
            self.trainer.waiting(),
            self.pace.left(s.rest(step)),
        );
        self.observer.step(&Progress {
            step,
            steps: s.steps,
            row,
            per_second,
            unit,
            left,
            waiting,
        });
        Ok(())
    }

    /// Measures, and shows and keeps what was measured.
    ///
    /// # Errors
    /// If the device fails or a file cannot be written.
    pub(super) fn measure(&mut self, last: bool) -> Result<T::Evaluation> {
        let step = self.trainer.step_number();
        let evaluation = self.trainer.measure(last)?;
        self.tests.push(&evaluation)?;
        self.observer.evaluated(step, &evaluation);
        let (_, columns) = self.trainer.task.columns();
        let row = metrics_log::named_values(&columns, &evaluation);
        self.observer.measured(&row);
        let views = self.trainer.views(&evaluation)?;
        self.observer.viewed(step, &views);
        self.record.measured(self.folder, step, &row, &views)?;
        Ok(evaluation)
    }

    /// Lets the other ranks go, where there are some, once it is known that all ended alike.
    ///
    /// # Errors
    /// If one is gone.
    pub(super) fn part(&mut self) -> Result<()> {
        let ranks = self.trainer.ranks();
        if ranks.leads() {
            let last = self.trainer.saved()?;
            let apart = self.trainer.compare_ranks(&last)?;
            let alike = || format!("{} ranks ended with the same bytes", ranks.size());
            self.observer.note(&apart.unwrap_or_else(alike));
        }
        self.trainer.part()
    }

    /// Notes what the whole run took.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn close(&mut self) -> Result<()> {
        let step = self.trainer.step_number();
        self.record.saved(self.folder, step, self.began.elapsed())
    }

    /// After the last step: writes down what is on its way, and saves. The row at hand ends with
    /// the run's last step, not where it is stopped.
    ///
    /// # Errors
    /// As [`Session::step`].
    pub(super) fn end(&mut self) -> Result<()> {
        if self.trainer.step_number() >= self.schedule.steps {
            self.trainer.close_row()?;
        }
        for row in self.observed_rows(true)? {
            self.push(&row)?;
        }
        self.warn();
        if self.saved == Some(self.trainer.step_number()) {
            Ok(())
        } else {
            self.save()
        }
    }

    /// Tells the pace what was compiled so far.
    fn count_compiled(&mut self) {
        let compiled = self.trainer.gpu().compiled();
        self.pace.compiled(compiled.kernels, compiled.time);
    }

    fn recovery(&mut self) -> Option<&mut dyn Recovery<T::Row>> {
        self.trainer.task.recovery()
    }

    /// The rows that have arrived, each of which what watches over the run has seen.
    fn observed_rows(&mut self, wait: bool) -> Result<Vec<T::Row>> {
        let mut rows = Vec::new();
        while let Some(row) = self.trainer.next_row(wait)? {
            if let Some(recovery) = self.recovery() {
                recovery.observe(&row)?;
            }
            rows.push(row);
        }
        Ok(rows)
    }

    /// Appends a row to the log, and shows it.
    fn push(&mut self, row: &T::Row) -> Result<()> {
        self.log.push(row)?;
        let (columns, _) = self.trainer.task.columns();
        let row = metrics_log::named_values(&columns, row);
        self.observer.logged(&row);
        let step = row.first().map_or(0, |(_, step)| *step as u64);
        let rate = self.trainer.task.rate(step.saturating_sub(1));
        self.record.row(step, &row, rate)
    }

    fn warn(&mut self) {
        let warnings = self.recovery().map(|r| r.warnings()).unwrap_or_default();
        warnings.iter().for_each(|w| self.observer.note(w));
    }

    /// Saves a checkpoint, unless it is one that nothing can go on from.
    fn save(&mut self) -> Result<()> {
        let checkpoint = self.trainer.saved()?;
        self.save_as(self.trainer.step_number(), checkpoint)
    }

    fn save_as(&mut self, step: u64, mut checkpoint: LazyCheckpoint) -> Result<()> {
        let s = self.schedule;
        self.trainer.check_row(&checkpoint.state)?;
        // The state before the first step is kept after it: the others stand further by then.
        let stands = checkpoint.state["step"].as_u64() == Some(self.trainer.step_number());
        if stands && let Some(note) = self.trainer.compare_ranks(&checkpoint)? {
            self.observer.note(&note);
        }
        let setback = self.setback.filter(|setback| step <= setback.from);
        if let Some(setback) = &setback {
            checkpoint.state[SETBACK] = serde_json::json!(setback);
        }
        self.log.sync()?;
        self.tests.sync()?;
        self.record.sync()?;
        let (trainer, state) = (&self.trainer, &checkpoint.state);
        checkpoint::save_lazy(
            &self.folder.checkpoints(),
            step,
            &checkpoint,
            &s.identity,
            s.keep_checkpoints,
            // One that is not finite would be gone back to in vain.
            |name, dtype, bytes| match checkpoint::finite(name, dtype, bytes) {
                true => Ok(()),
                false => Err(trainer.not_finite(state, name)),
            },
        )?;
        (self.saved, self.setback) = (Some(step), setback);
        self.record.saved(self.folder, step, self.began.elapsed())?;
        // Before its first step it is not known whether the run can run at all.
        if step > 0 { self.establish() } else { Ok(()) }
    }

    /// Puts the run in the place of the one that it replaces, where it does.
    fn establish(&mut self) -> Result<()> {
        let Some(from) = self.folder.establish()? else {
            return Ok(());
        };
        self.trainer.relocate(&from, self.folder.path())?;
        let (step, (row_columns, test_columns)) =
            (self.trainer.step_number(), self.trainer.task.columns());
        self.log = Log::open(&self.folder.metrics(), &row_columns, step)?;
        self.tests = Log::open(&self.folder.test(), &test_columns, step)?;
        self.record.reopen(self.folder, step, &self.schedule.toml)
    }

    /// Takes a run that diverged back to its last good checkpoint, to go on from there more
    /// carefully; what came after it goes. The checkpoints decide what follows, not the time at
    /// which the divergence was noticed, so the run stays repeatable.
    ///
    /// # Errors
    /// `diverged`, where the configuration does not allow it, there is no checkpoint, or it helped
    /// not.
    pub(super) fn back(&mut self, diverged: Error) -> Result<()> {
        let Error::Diverged { step, what } = &diverged else {
            return Err(diverged);
        };
        let Some(back_off) = self.recovery().and_then(|r| r.back_off(*step)) else {
            return Err(diverged);
        };
        if back_off.times() >= MOST_BACK_OFFS {
            let what = format!(
                "{what}. It was gone on with more carefully {MOST_BACK_OFFS} times, and that did \
                 not help"
            );
            return Err(Error::Diverged { step: *step, what });
        }
        self.observer.note(&diverged.to_string());
        let place = self.folder.checkpoints();
        let failed = self.setback.map(|setback| setback.to);
        let from = self
            .setback
            .map_or(*step, |setback| setback.from.max(*step));
        // Where there is none before the one that failed, that one once more, and yet more
        // carefully.
        let late = |c: &LazyCheckpoint| {
            failed.is_some_and(|failed| c.state["step"].as_u64().is_none_or(|s| s > failed))
        };
        let trainer = &mut self.trainer;
        let mut accepts = |c: &LazyCheckpoint, failed: Option<u64>| {
            let accepted = trainer.task.recovery().is_none_or(|r| r.accepts(c, failed));
            accepted && trainer.check_saved(c).is_ok()
        };
        let found = match checkpoint::whole_that(&place, |c| Ok(accepts(c, failed)))? {
            Some(found) => Some(found),
            None => checkpoint::whole_that(&place, |c| Ok(!late(c) && accepts(c, None)))?,
        };
        let Some(latest) = found else {
            return Err(diverged);
        };
        checkpoint::remove_after(&place, latest.step)?;
        self.trainer
            .restore_from(&latest.checkpoint)
            .map_err(|e| Error::file(&place, e))?;
        let (row_columns, test_columns) = self.trainer.task.columns();
        self.log = Log::open(&self.folder.metrics(), &row_columns, latest.step)?;
        self.tests = Log::open(&self.folder.test(), &test_columns, latest.step)?;
        let toml = &self.schedule.toml;
        self.record.reopen(self.folder, latest.step, toml)?;
        (self.saved, self.setback) = (
            Some(latest.step),
            Some(Setback {
                to: latest.step,
                from,
            }),
        );
        let applied = self.recovery().map(|r| r.apply(latest.step, back_off));
        let applied = applied.unwrap_or_default();
        self.trainer.share()?;
        self.observer.note(&format!(
            "went back to the checkpoint of step {}; {applied}",
            latest.step
        ));
        self.pace.skip(self.began.elapsed());
        Ok(())
    }
}

impl Schedule {
    /// Returns the work that is left after `step` steps, the last measurement and the last
    /// checkpoint included.
    fn rest(&self, step: u64) -> Rest {
        // Those that are due at the last step are the last ones.
        let between = |every: u64| match every {
            0 => 0,
            every => (self.steps.saturating_sub(1) / every).saturating_sub(step / every),
        };
        let last = u64::from(step < self.steps);
        Rest {
            steps: self.steps.saturating_sub(step),
            measurements: between(self.eval_every) + 1,
            checkpoints: between(self.checkpoint_every) + last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_counts_what_is_due() {
        let schedule = Schedule {
            steps: 100,
            eval_every: 20,
            checkpoint_every: 0,
            keep_checkpoints: 1,
            toml: String::new(),
            identity: String::new(),
            earlier: Vec::new(),
        };
        let rest = |step| {
            let Rest {
                steps,
                measurements,
                checkpoints,
            } = schedule.rest(step);
            [steps, measurements, checkpoints]
        };
        // At 20, 40, 60 and 80, and the last one.
        assert_eq!(rest(1), [99, 5, 1]);
        assert_eq!(rest(20), [80, 4, 1]);
        assert_eq!(rest(99), [1, 1, 1]);
        assert_eq!(rest(100), [0, 1, 0]);
    }
}
