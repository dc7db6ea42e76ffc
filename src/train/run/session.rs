//! The session of a run: its steps, what is due after each of them, and the way back where it
//! diverges.

use super::pace::{Break, Pace, Rest};
use crate::gpu::clock::Instant;
use crate::storage::checkpoint;
use crate::storage::checkpoint::Checkpoint;
use crate::storage::metrics_log::Log;
use crate::storage::run_folder::RunFolder;
use crate::train::task::{Recovery, Task};
use crate::train::{Observer, Progress, Schedule, Trainer};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Times that a run is gone on with more carefully.
const MOST_BACK_OFFS: u32 = 4;

/// Where a run went back to, until it has come further. It follows from the steps alone, and is
/// kept in checkpoints.
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
    /// What a checkpoint says of it.
    pub(super) fn of(checkpoint: &Checkpoint) -> Option<Setback> {
        serde_json::from_value(checkpoint.state[SETBACK].clone()).ok()
    }
}

/// A run in a folder, from its first step in this process on.
pub(super) struct Session<'a, T: Task> {
    pub(super) trainer: Trainer<T>,
    pub(super) tests: Log,
    pub(super) observer: &'a mut dyn Observer,
    log: Log,
    schedule: &'a Schedule,
    folder: &'a RunFolder,
    began: Instant,
    pace: Pace,
    /// The newest row of the log, in words.
    newest: Option<String>,
    /// The step of the newest checkpoint.
    saved: Option<u64>,
    setback: Option<Setback>,
}

impl<'a, T: Task> Session<'a, T> {
    /// `saved` is the step of the checkpoint that the trainer stands at, where it stands at one,
    /// and `setback` what that says.
    pub(super) fn new(
        trainer: Trainer<T>,
        schedule: &'a Schedule,
        folder: &'a RunFolder,
        observer: &'a mut dyn Observer,
        saved: Option<u64>,
        setback: Option<Setback>,
    ) -> Result<Self> {
        let (row_columns, test_columns) = trainer.task.columns();
        let step = trainer.step_number();
        // The last measurement comes after the last checkpoint: a run that is resumed there makes
        // it again.
        let measured = if step >= schedule.steps {
            schedule.steps - 1
        } else {
            step
        };
        let log = Log::open(&folder.metrics(), &row_columns, step)?;
        let tests = Log::open(&folder.test(), &test_columns, measured)?;
        let (began, pace) = (Instant::now(), Pace::new(Duration::ZERO));
        let newest = None;
        let mut session = Session {
            trainer,
            tests,
            observer,
            log,
            schedule,
            folder,
            began,
            pace,
            newest,
            saved,
            setback,
        };
        if step == 0
            && session
                .trainer
                .task
                .recovery()
                .is_some_and(|r| r.can_restore())
        {
            // What a run goes back to that diverges before its first checkpoint. It is on disk, so
            // that a resumed run has it too.
            session.save()?;
        }
        session.pace.skip(session.began.elapsed());
        Ok(session)
    }

    /// Does a step, and what is due after it.
    ///
    /// # Errors
    /// [`Error::Diverged`], and if the device fails or a file cannot be written.
    pub(super) fn step(&mut self) -> Result<()> {
        let s = self.schedule;
        self.trainer.step()?;
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
        }
        for row in rows {
            self.log.push(&row)?;
            self.newest = Some(row.to_string());
        }
        self.warn();
        recovered.iter().for_each(|done| self.observer.note(done));
        self.pace.stepped(1, self.began.elapsed());
        if due(s.eval_every) {
            let evaluation = self.trainer.measure(false)?;
            self.tests.push(&evaluation)?;
            self.observer.evaluated(step, &evaluation);
            self.pace.took(Break::Measuring, self.began.elapsed());
        }
        if save {
            self.save()?;
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
            self.log.push(&row)?;
        }
        self.warn();
        if self.saved == Some(self.trainer.step_number()) {
            Ok(())
        } else {
            self.save()
        }
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

    fn warn(&mut self) {
        let warnings = self.recovery().map(|r| r.warnings()).unwrap_or_default();
        warnings.iter().for_each(|w| self.observer.note(w));
    }

    /// Saves a checkpoint, unless it is one that nothing can go on from.
    fn save(&mut self) -> Result<()> {
        let (step, s) = (self.trainer.step_number(), self.schedule);
        let mut checkpoint = self.trainer.checkpoint()?;
        self.trainer.check(&checkpoint)?;
        self.setback = self.setback.filter(|setback| step <= setback.from);
        if let Some(setback) = &self.setback {
            checkpoint.state[SETBACK] = serde_json::json!(setback);
        }
        self.log.sync()?;
        self.tests.sync()?;
        checkpoint::save(
            &self.folder.checkpoints(),
            step,
            &checkpoint,
            &s.identity,
            s.keep_checkpoints,
        )?;
        self.saved = Some(step);
        // Before its first step it is not known whether the run can run at all.
        if step > 0 { self.establish() } else { Ok(()) }
    }

    /// Puts the run in the place of the one that it replaces, where it does.
    fn establish(&mut self) -> Result<()> {
        let Some(from) = self.folder.establish()? else {
            return Ok(());
        };
        self.trainer.moved(&from, self.folder.path());
        let (step, (row_columns, test_columns)) =
            (self.trainer.step_number(), self.trainer.task.columns());
        self.log = Log::open(&self.folder.metrics(), &row_columns, step)?;
        self.tests = Log::open(&self.folder.test(), &test_columns, step)?;
        Ok(())
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
                "{what}. It was gone on with more carefully {MOST_BACK_OFFS} times, and that did not \
                 help"
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
        let late = |c: &Checkpoint| {
            failed.is_some_and(|failed| c.state["step"].as_u64().is_none_or(|s| s > failed))
        };
        let trainer = &mut self.trainer;
        let mut accepts = |c: &Checkpoint, failed: Option<u64>| {
            let accepted = trainer.task.recovery().is_none_or(|r| r.accepts(c, failed));
            accepted && trainer.check(c).is_ok()
        };
        let found = match checkpoint::latest_that(&place, |c| accepts(c, failed))? {
            Some(found) => Some(found),
            None => checkpoint::latest_that(&place, |c| !late(c) && accepts(c, None))?,
        };
        let Some(latest) = found else {
            return Err(diverged);
        };
        checkpoint::remove_after(&place, latest.step)?;
        self.trainer
            .restore(&latest.checkpoint)
            .map_err(|e| Error::file(&place, e))?;
        let (row_columns, test_columns) = self.trainer.task.columns();
        self.log = Log::open(&self.folder.metrics(), &row_columns, latest.step)?;
        self.tests = Log::open(&self.folder.test(), &test_columns, latest.step)?;
        (self.saved, self.setback) = (
            Some(latest.step),
            Some(Setback {
                to: latest.step,
                from,
            }),
        );
        let applied = self.recovery().map(|r| r.apply(latest.step, back_off));
        let applied = applied.unwrap_or_default();
        self.observer.note(&format!(
            "went back to the checkpoint of step {}; {applied}",
            latest.step
        ));
        self.pace.skip(self.began.elapsed());
        Ok(())
    }
}

impl Schedule {
    /// What is still to be done after `step` steps, the last measurement and the last checkpoint
    /// too.
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
    use crate::gpu::{Gpu, Options};
    use crate::nn::{HostTensors, Init, Parameters};
    use crate::ops::optim::adam::Hyper;
    use crate::storage::metrics_log::Record;
    use crate::train::metrics::Steps;
    use crate::train::optimizer_state::{self, OptimizerState};
    use crate::train::task::BackOff;
    use crate::train::{Start, train_loop};
    use std::collections::BTreeMap;
    use std::fmt::Display;
    use std::path::Path;
    use std::sync::atomic::AtomicBool;

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

    /// A task that diverges where its step and the times that it backed off say so.
    struct Fake {
        back_offs: u32,
        diverges: fn(u64, u32) -> bool,
    }

    struct Metric(u64);

    impl Record for Metric {
        fn header() -> String {
            "step".into()
        }
        fn values(&self) -> String {
            self.0.to_string()
        }
    }

    impl Display for Metric {
        fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
            write!(f, "{}", self.0)
        }
    }

    impl Task for Fake {
        type Row = Metric;
        type Evaluation = Metric;
        const PREFIXES: &'static [&'static str] = &[];
        fn per_step(&self) -> (usize, &'static str) {
            (1, "images")
        }
        fn rate(&self, _: u64) -> f64 {
            0.0
        }
        fn step(&mut self, state: &mut OptimizerState) -> Result<()> {
            state.metrics().begin()
        }
        fn check(&self, steps: &Steps) -> Result<()> {
            match (self.diverges)(steps.step, self.back_offs) && steps.each().count() > 0 {
                true => Err(self.diverged(steps.step, "diverged")),
                false => Ok(()),
            }
        }
        fn diverged(&self, step: u64, what: &str) -> Error {
            Error::Diverged {
                step,
                what: what.into(),
            }
        }
        fn row(&self, steps: &Steps) -> Metric {
            Metric(steps.step)
        }
        fn evaluate(&mut self, state: &mut OptimizerState, _: bool) -> Result<Metric> {
            Ok(Metric(state.number()))
        }
        fn save(&self, checkpoint: &mut Checkpoint) -> Result<()> {
            checkpoint.state["back_offs"] = self.back_offs.into();
            Ok(())
        }
        fn belongs(&self, _: &Checkpoint) -> Result<()> {
            Ok(())
        }
        fn load(
            &mut self,
            _: &mut OptimizerState,
            checkpoint: &Checkpoint,
            _: BTreeMap<&'static str, HostTensors>,
        ) -> Result<()> {
            self.back_offs = checkpoint.state["back_offs"].as_u64().unwrap() as u32;
            Ok(())
        }
        fn trained(&mut self, state: &mut OptimizerState) -> Result<Checkpoint> {
            state.save()
        }
        fn recovery(&mut self) -> Option<&mut dyn Recovery<Metric>> {
            Some(self)
        }
    }

    impl Recovery<Metric> for Fake {
        fn observe(&mut self, _: &Metric) -> Result<()> {
            Ok(())
        }
        fn warnings(&mut self) -> Vec<String> {
            Vec::new()
        }
        fn is_due(&self, _: u64) -> bool {
            false
        }
        fn recover(&mut self, _: u64) -> Vec<String> {
            Vec::new()
        }
        fn can_restore(&self) -> bool {
            true
        }
        fn back_off(&self, _: u64) -> Option<BackOff> {
            Some(BackOff::Rate(self.back_offs))
        }
        fn accepts(&self, checkpoint: &Checkpoint, failed: Option<u64>) -> bool {
            failed.is_none_or(|failed| checkpoint.state["step"].as_u64().unwrap() < failed)
        }
        fn apply(&mut self, _: u64, back_off: BackOff) -> String {
            self.back_offs = back_off.times() + 1;
            "backed off".into()
        }
    }

    fn fake(diverges: fn(u64, u32) -> bool) -> Trainer<Fake> {
        let gpu = Gpu::new(Options::default()).unwrap();
        let mut b = Parameters::builder();
        b.declare("w", &[1], Init::Zeros);
        let options = optimizer_state::Options {
            hyper: Hyper::default(),
            ema_decay: 0.0,
            metrics: 1,
            log_every: 1,
        };
        let state = OptimizerState::new(&gpu, b.build(&gpu, 0).unwrap(), options).unwrap();
        let task = Fake {
            back_offs: 0,
            diverges,
        };
        Trainer::of(&gpu, task, state)
    }

    #[derive(Default)]
    struct Notes(Vec<String>);

    impl Observer for Notes {
        fn step(&mut self, _: &Progress) {}
        fn evaluated(&mut self, _: u64, _: &dyn Display) {}
        fn note(&mut self, text: &str) {
            self.0.push(text.to_owned());
        }
    }

    /// Where a run goes back to, its log, and how it ends.
    fn followed(
        path: &Path,
        steps: u64,
        start: Start,
        diverges: fn(u64, u32) -> bool,
    ) -> (Vec<u64>, String, Result<u32>) {
        let schedule = Schedule {
            steps,
            eval_every: 0,
            checkpoint_every: 4,
            keep_checkpoints: 9,
            toml: "[train]\n".into(),
            identity: "same".into(),
            earlier: Vec::new(),
        };
        let folder = match start {
            Start::Fresh => RunFolder::create(path, false),
            Start::Resume => RunFolder::resume(path),
        };
        let (folder, mut notes) = (folder.unwrap(), Notes::default());
        let ended = train_loop(
            fake(diverges),
            &schedule,
            &folder,
            start,
            &mut notes,
            &AtomicBool::new(false),
        );
        let to = |note: &String| {
            note.strip_prefix("went back to the checkpoint of step ")?
                .split(';')
                .next()?
                .parse()
                .ok()
        };
        let back = notes.0.iter().filter_map(to).collect();
        (
            back,
            std::fs::read_to_string(folder.metrics()).unwrap(),
            ended.map(|outcome| outcome.trainer.task.back_offs),
        )
    }

    #[test]
    fn what_fails_again_goes_back_further_and_no_more_than_four_times() {
        let place = tempfile::tempdir().unwrap();
        // Three times calmer it passes. A checkpoint that is made again on the way does not count
        // as further.
        let (back, log, ended) = followed(
            &place.path().join("a"),
            20,
            Start::Fresh,
            |step, back_offs| step == 11 && back_offs < 3,
        );
        assert_eq!((back, ended.unwrap()), (vec![8, 4, 0], 3));
        assert_eq!(log.lines().count(), 1 + 20, "each step once");
        // Past it, another divergence is another matter.
        let (back, _, ended) = followed(
            &place.path().join("b"),
            20,
            Start::Fresh,
            |step, back_offs| (step == 6 && back_offs < 1) || (step == 18 && back_offs < 2),
        );
        assert_eq!((back, ended.unwrap()), (vec![4, 16], 2));
        // Before the first checkpoint there is that of step 0, again and again.
        let (back, _, ended) = followed(&place.path().join("c"), 20, Start::Fresh, |step, _| {
            step == 3
        });
        let said = ended.unwrap_err().to_string();
        assert_eq!(back, [0; 4]);
        assert!(
            said.contains("4 times") && said.contains("did not help"),
            "{said}"
        );
        // What only shows after the last step is mended, too.
        let (back, _, ended) = followed(
            &place.path().join("d"),
            10,
            Start::Fresh,
            |step, back_offs| step == 10 && back_offs < 1,
        );
        assert_eq!((back, ended.unwrap()), (vec![8], 1));
    }

    #[test]
    fn a_run_that_is_cut_short_while_it_recovers_goes_the_same_way() {
        let place = tempfile::tempdir().unwrap();
        let diverges = |step, back_offs| step == 11 && back_offs < 3;
        let path = place.path().join("a");
        let (_, whole, _) = followed(&path, 20, Start::Fresh, diverges);
        let checkpoints = |path: &Path| {
            checkpoint::latest(&path.join("checkpoints"))
                .unwrap()
                .unwrap()
        };
        for cut in 1..11 {
            let path = place.path().join(format!("cut-{cut}"));
            followed(&path, cut, Start::Fresh, diverges).2.unwrap();
            let (_, log, ended) = followed(&path, 20, Start::Resume, diverges);
            assert_eq!(ended.unwrap(), 3, "cut at {cut}");
            let steps = |log: &str| {
                log.lines()
                    .map(str::to_owned)
                    .collect::<std::collections::BTreeSet<_>>()
            };
            assert_eq!(steps(&log), steps(&whole));
            assert_eq!(
                checkpoints(&path).checkpoint,
                checkpoints(&place.path().join("a")).checkpoint
            );
        }
    }
}
