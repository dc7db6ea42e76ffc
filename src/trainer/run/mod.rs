//! A run: training in a folder, with its log, its checkpoints, and a way to stop and go on.

mod continuation;
mod first_step;
mod record;
mod session;

pub(crate) use continuation::configured;

use crate::config::learning_rate;
use crate::data::DataStall;
use crate::gpu::clock::Instant;
use crate::storage::atomic;
use crate::storage::checkpoint;
use crate::storage::checkpoint::LazyCheckpoint;
use crate::storage::run_folder::RunFolder;
use crate::trainer::task::{Task, View};
use crate::trainer::trainer::Trainer;
use crate::{Error, Result};
use first_step::FirstStep;
use session::{Session, Setback};
use std::fmt::Display;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The length of a run, and the steps at which it measures and saves.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Steps in all.
    pub steps: u64,
    /// Steps between measurements; 0 measures at the end alone.
    pub eval_every: u64,
    /// Steps between checkpoints; 0 saves at the end alone.
    pub checkpoint_every: u64,
    /// Checkpoints that are kept.
    pub keep_checkpoints: usize,
    /// The configuration, as the folder keeps it.
    pub toml: String,
    /// A hash of what a resumed run may not change.
    pub identity: String,
    /// Identities in earlier versions: their checkpoints are resumed from, too.
    pub earlier: Vec<String>,
}

/// An observer of a run. All calls come from the training thread.
pub trait Observer {
    /// After every step.
    fn step(&mut self, progress: &Progress);
    /// After a row of the log: its columns by name, `step` the first; NaN where a row has no value.
    /// By default nothing.
    fn logged(&mut self, row: &[(String, f64)]) {
        let _ = row;
    }
    /// After a measurement on images held out.
    fn evaluated(&mut self, step: u64, evaluation: &dyn Display);
    /// Likewise, with the measurement's columns by name. By default nothing.
    fn measured(&mut self, row: &[(String, f64)]) {
        let _ = row;
    }
    /// After a measurement: what there is to be seen of the model, which the run keeps as pictures.
    /// By default nothing.
    fn viewed(&mut self, step: u64, views: &[View]) {
        let _ = (step, views);
    }
    /// Whether the run is to write TensorBoard's event files too. Asked once. By default it writes
    /// them where its folder holds some.
    fn event_files(&self) -> bool {
        false
    }
    /// Something that the user should read once.
    fn note(&mut self, text: &str);
}

/// Progress of a run.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// The newest row of the log, in words.
    pub row: Option<String>,
    /// Units per second, lately; `None` before it is known.
    pub per_second: Option<f64>,
    /// The unit: images, say.
    pub unit: &'static str,
    /// Time left at that pace, measurements and checkpoints counted; `None` before it is known.
    pub left: Option<Duration>,
    /// Time that training waited for its data so far; `None` where they lie ready.
    pub waiting: Option<DataStall>,
}

/// The way in which a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Begins at step 0.
    Fresh,
    /// Resumes from the newest checkpoint that is whole.
    Resume,
}

/// The result of a run.
pub struct Outcome<T: Task> {
    /// The trainer, at its last step.
    pub trainer: Trainer<T>,
    /// The last measurement; `None` for a run that was stopped.
    pub evaluation: Option<T::Evaluation>,
    /// Whether it was stopped before its last step. A checkpoint was saved then.
    pub stopped: bool,
    /// Time spent in this process.
    pub elapsed: Duration,
}

/// Trains in `folder` by a schedule, until its steps are done or `stop` is set; the step at hand is
/// finished then, and saved.
///
/// # Errors
/// If a file cannot be written, the device fails, or the run diverges. The folder holds the last
/// checkpoint then.
pub fn train_loop<T: Task>(
    mut trainer: Trainer<T>,
    schedule: &Schedule,
    folder: &RunFolder,
    start: Start,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome<T>> {
    let s = schedule;
    let (mut setback, mut saved) = (None, None);
    trainer.lead();
    if start == Start::Resume {
        setback = resume(&mut trainer, schedule, folder, observer)?;
        saved = Some(trainer.step_number());
        if trainer.step_number() > s.steps {
            let what = format!(
                "{} is not allowed: {} steps are done",
                s.steps,
                trainer.step_number()
            );
            return Err(Error::config("train.steps", what));
        }
        let (before, at) = (steps_of(&folder.config()), trainer.step_number());
        if let (Some(before), true) = (before.filter(|n| *n != s.steps), at < s.steps) {
            let rate = |step| trainer.task().rate(step);
            observer.note(&learning_rate::extension(before, s.steps, at, rate));
        }
    }
    // A checkpoint that was restored has reached the others.
    if trainer.step_number() == 0 {
        trainer.share()?;
    }
    let began = Instant::now();
    let first = folder.or_nothing(FirstStep::take(&mut trainer, s.steps, stop))?;
    if folder.replaces() {
        observer.note("the run that is there stays until this one has its first checkpoint");
    }
    for (name, bytes) in trainer.task().kept_files()? {
        let kept = folder.path().join(name);
        if start == Start::Fresh || !kept.exists() {
            atomic::write(&kept, &bytes)?;
        }
    }
    atomic::write(&folder.config(), s.toml.as_bytes())?;
    let mut session = Session::new(trainer, schedule, folder, observer, first, saved, setback)?;
    let stopped = loop {
        let more = session.is_ahead()
            || session.trainer.step_number() < s.steps && !stop.load(Ordering::Relaxed);
        if !more && session.trainer.step_number() == 0 && folder.replaces() {
            let what = "stopped before the first step: the run that is there is as it was";
            return Err(Error::file(folder.place(), what));
        }
        match if more { session.step() } else { session.end() } {
            Ok(()) if more => {}
            Ok(()) => break session.trainer.step_number() < s.steps,
            Err(e @ Error::Diverged { .. }) => session.back(e)?,
            Err(e) => return Err(e),
        }
    };
    let mut evaluation = None;
    if !stopped {
        evaluation = Some(session.measure(true)?);
        save_model(&folder.model(), &session.trainer.saved_model()?)?;
        session.close()?;
    }
    session.part()?;
    Ok(Outcome {
        trainer: session.trainer,
        evaluation,
        stopped,
        elapsed: began.elapsed(),
    })
}

/// Writes what was trained. The same model stays as it stands there: what was made of it knows it
/// by its file's sum.
fn save_model(path: &Path, trained: &LazyCheckpoint) -> Result<()> {
    let all = |_: &str| true;
    if path.is_file()
        && let Ok((there, stated)) = LazyCheckpoint::open(path)
    {
        let sum = trained.sum_of(all)?;
        if stated == sum && there.sum_of(all).ok() == Some(sum) {
            return Ok(());
        }
    }
    trained.write(path, |_, _, _| Ok(())).map(drop)
}

/// Returns the steps that a configuration of any kind says.
fn steps_of(config: &Path) -> Option<u64> {
    let table: toml::Table = std::fs::read_to_string(config).ok()?.parse().ok()?;
    table
        .get("train")?
        .get("steps")?
        .as_integer()?
        .try_into()
        .ok()
}

/// Takes a trainer to the newest checkpoint of its folder that is whole.
fn resume<T: Task>(
    trainer: &mut Trainer<T>,
    schedule: &Schedule,
    folder: &RunFolder,
    observer: &mut dyn Observer,
) -> Result<Option<Setback>> {
    let Some(latest) = checkpoint::whole_that(&folder.checkpoints(), |_| Ok(true))? else {
        if folder.model().exists() {
            let what = "holds no checkpoint to go on from, though the run has ended; begin anew \
                        with `--overwrite`";
            return Err(Error::file(folder.checkpoints(), what));
        }
        observer.note("there is no checkpoint yet: beginning at step 0");
        return Ok(None);
    };
    latest
        .warnings
        .iter()
        .for_each(|w| observer.note(&format!("passed over: {w}")));
    if latest.format < checkpoint::CONTINUED {
        let what = format!(
            "were written in format {}, whose runs this version reads but does not continue \
             (their logs and configurations lack what it needs): finish them with the version \
             that began them, or begin anew",
            latest.format
        );
        return Err(Error::file(folder.checkpoints(), what));
    }
    let known = latest.config_sha256 == schedule.identity
        || schedule.earlier.contains(&latest.config_sha256);
    if !known {
        let what = "is not the configuration that the checkpoints were made under (data.source \
                    aside, and train.steps, but where all steps matter, as to `prior.order = \
                    \"annealed\"`): put it back as it was, or begin a new run";
        return Err(Error::file(folder.config(), what));
    }
    trainer
        .restore_from(&latest.checkpoint)
        .map_err(|e| Error::file(folder.checkpoints(), e))?;
    // Before the folder's configuration is written, by which an earlier version's identity is
    // known.
    checkpoint::rename_identity(
        &folder.checkpoints(),
        &latest.config_sha256,
        &schedule.identity,
    )?;
    checkpoint::prune(
        &folder.checkpoints(),
        latest.step,
        schedule.keep_checkpoints,
    )?;
    observer.note(&format!("resumed at step {}", latest.step));
    Ok(Setback::of(&latest.checkpoint))
}
