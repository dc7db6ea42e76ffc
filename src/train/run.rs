//! A run: a trainer in a folder, with its log, its checkpoints, and a way to stop and go on.

use super::checkpoint;
use super::config::RunConfig;
use super::metrics::{Evaluation, Row};
use super::metrics_log::Log;
use super::run_folder::RunFolder;
use super::{Trainer, atomic};
use crate::data::ImageSet;
use crate::gpu::Gpu;
use crate::quantize::Registry;
use crate::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a run tells whoever watches. All calls come from the training thread.
pub trait Observer {
    /// After every step.
    fn step(&mut self, progress: &Progress);
    /// After a measurement on the test split.
    fn evaluated(&mut self, evaluation: &Evaluation);
    /// Something that the user should read once.
    fn note(&mut self, text: &str);
}

/// Where a run stands.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// The newest row of the log.
    pub row: Option<Row>,
    /// Training pictures per second, lately.
    pub images_per_second: f64,
    /// Time left at that pace.
    pub left: Duration,
}

/// How a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// From step 0.
    Fresh,
    /// From the newest checkpoint that is whole.
    Resume,
}

/// How a run ended.
pub struct Outcome {
    /// The trainer, at its last step.
    pub trainer: Trainer,
    /// The last measurement; `None` for a run that was stopped.
    pub evaluation: Option<Evaluation>,
    /// Was it stopped before its last step? A checkpoint was saved then.
    pub stopped: bool,
    /// Time spent in this process.
    pub elapsed: Duration,
}

/// Trains in `folder` until the configured steps are done or `stop` is set; the step at hand is finished then, and saved.
///
/// # Errors
/// If the configuration or the data cannot be used, a file cannot be written, the device fails, or the run diverges. The
/// folder holds the last checkpoint then.
pub fn run(
    gpu: &Gpu,
    config: &RunConfig,
    data: Arc<ImageSet>,
    folder: &RunFolder,
    start: Start,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome> {
    run_with(gpu, config, data, folder, start, observer, stop, &Registry::default())
}

/// [`run`] where a program has quantizers of its own.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    gpu: &Gpu,
    config: &RunConfig,
    data: Arc<ImageSet>,
    folder: &RunFolder,
    start: Start,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
    registry: &Registry,
) -> Result<Outcome> {
    config.validate_with(registry)?;
    let config = &config.resolved();
    data.notes.iter().for_each(|n| observer.note(n));
    let mut trainer = Trainer::with(gpu, config, data, registry)?;
    // More steps than were planned leave the steps that were done as they are; any other change would not.
    let mut identity = config.clone();
    identity.train.steps = 1;
    let sha = identity.sha256()?;
    if start == Start::Resume {
        match checkpoint::latest(&folder.checkpoints())? {
            Some(latest) => {
                latest.warnings.iter().for_each(|w| observer.note(&format!("passed over: {w}")));
                if latest.format < checkpoint::FORMAT {
                    let what = format!(
                        "were written in format {}, whose runs this version reads but does not continue (their logs and configurations lack what it needs): finish them with the version that began them, or begin anew",
                        latest.format
                    );
                    return Err(Error::file(folder.checkpoints(), what));
                }
                if latest.config_sha256 != sha {
                    let what = "is not the configuration that the checkpoints were made under (train.steps aside): put it back as it was, or begin a new run";
                    return Err(Error::file(folder.config(), what));
                }
                trainer.restore(&latest.checkpoint).map_err(|e| Error::file(folder.checkpoints(), e))?;
                observer.note(&format!("resumed at step {}", latest.step));
            }
            None => observer.note("there is no checkpoint yet: beginning at step 0"),
        }
    } else {
        atomic::write(&folder.config(), config.to_toml()?.as_bytes())?;
    }
    let mut log = Log::open::<Row>(&folder.metrics(), trainer.step_number())?;
    let t = &config.train;
    // The last measurement comes after the last checkpoint: a run that is resumed there makes it again.
    let measured = if trainer.step_number() >= t.steps { t.steps - 1 } else { trainer.step_number() };
    let mut tests = Log::open::<Evaluation>(&folder.test(), measured)?;
    let (began, mut pace) = (Instant::now(), Pace::new(trainer.step_number()));
    let mut newest: Option<Row> = None;
    let mut saved = (start == Start::Resume).then(|| trainer.step_number());
    while trainer.step_number() < t.steps && !stop.load(Ordering::Relaxed) {
        trainer.step()?;
        let step = trainer.step_number();
        let due = |every: u64| every > 0 && step.is_multiple_of(every) && step < t.steps;
        let save = due(t.checkpoint_every);
        // What a resumed run finds in the log must be there before the checkpoint is.
        let arrived = trainer.rows(save).and_then(|mut rows| Ok((trainer.heal(&mut rows)?, rows)));
        let (mended, rows) = match arrived {
            Ok(arrived) => arrived,
            Err(e @ Error::Diverged { .. }) => {
                observer.note(&e.to_string());
                let note = go_back(&mut trainer, config, folder, e)?;
                observer.note(&note);
                log = Log::open::<Row>(&folder.metrics(), trainer.step_number())?;
                tests = Log::open::<Evaluation>(&folder.test(), trainer.step_number())?;
                continue;
            }
            Err(e) => return Err(e),
        };
        for row in rows {
            log.push(&row)?;
            newest = Some(row);
        }
        trainer.ailments().iter().for_each(|a| observer.note(a.text()));
        mended.iter().for_each(|m| observer.note(m));
        if due(t.eval_every) {
            let evaluation = trainer.evaluate()?;
            tests.push(&evaluation)?;
            observer.evaluated(&evaluation);
        }
        if save {
            log.sync()?;
            tests.sync()?;
            checkpoint::save(&folder.checkpoints(), step, &trainer.checkpoint()?, &sha, t.keep_checkpoints)?;
            saved = Some(step);
        }
        let per_second = pace.update(step) * t.batch_size as f64;
        let left = Duration::from_secs_f64((t.steps - step) as f64 * t.batch_size as f64 / per_second.max(1e-9));
        observer.step(&Progress { step, steps: t.steps, row: newest.clone(), images_per_second: per_second, left });
    }
    let stopped = trainer.step_number() < t.steps;
    if !stopped {
        trainer.close_window()?;
    }
    for row in trainer.rows(true)? {
        log.push(&row)?;
    }
    trainer.ailments().iter().for_each(|a| observer.note(a.text()));
    if saved != Some(trainer.step_number()) {
        let step = trainer.step_number();
        log.sync()?;
        tests.sync()?;
        checkpoint::save(&folder.checkpoints(), step, &trainer.checkpoint()?, &sha, t.keep_checkpoints)?;
    }
    let mut evaluation = None;
    if !stopped {
        let last = trainer.evaluate()?;
        tests.push(&last)?;
        observer.evaluated(&last);
        let model = checkpoint::Checkpoint {
            tensors: trainer.weights()?,
            state: super::trained::describe(config, trainer.data()),
        };
        checkpoint::save_file(&folder.model(), &model)?;
        evaluation = Some(last);
    }
    Ok(Outcome { trainer, evaluation, stopped, elapsed: began.elapsed() })
}

/// Takes a run that diverged back to its last checkpoint, to go on from there at half the rate. The checkpoint decides what
/// follows, not the time at which the divergence was noticed, so the run stays repeatable.
///
/// # Errors
/// `diverged`, where the configuration does not allow it, there is no checkpoint, or it helped not.
fn go_back(trainer: &mut Trainer, config: &RunConfig, folder: &RunFolder, diverged: Error) -> Result<String> {
    let halvings = trainer.halvings() + 1;
    let latest = if config.train.auto_heal { checkpoint::latest(&folder.checkpoints())? } else { None };
    let Some(latest) = latest.filter(|_| halvings <= 4) else { return Err(diverged) };
    trainer.restore(&latest.checkpoint).map_err(|e| Error::file(folder.checkpoints(), e))?;
    let mut note = String::new();
    while trainer.halvings() < halvings {
        note = trainer.halve_rate();
    }
    Ok(format!("went back to the checkpoint of step {}; {note}", latest.step))
}

/// Steps per second over the last seconds.
struct Pace {
    marks: std::collections::VecDeque<(Instant, u64)>,
}

impl Pace {
    fn new(step: u64) -> Pace {
        Pace { marks: [(Instant::now(), step)].into() }
    }
    fn update(&mut self, step: u64) -> f64 {
        let now = Instant::now();
        self.marks.push_back((now, step));
        while self.marks.len() > 2 && now - self.marks[0].0 > Duration::from_secs(10) {
            self.marks.pop_front();
        }
        let (then, before) = self.marks[0];
        (step - before) as f64 / (now - then).as_secs_f64().max(1e-6)
    }
}
