//! A program's own task in the trainer: how a run that diverges goes back, and how far.

use std::fmt::Display;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use wgvq::gpu::{Gpu, Options};
use wgvq::metrics::Steps;
use wgvq::nn::{Init, Parameters};
use wgvq::ops::optim::adam::Hyper;
use wgvq::storage::checkpoint::{self, LazyCheckpoint};
use wgvq::storage::metrics_log::Record;
use wgvq::storage::run_folder::RunFolder;
use wgvq::train::{
    BackOff, Observer, OptimizerOptions, OptimizerState, Progress, Recovery, Schedule, Start, Task,
    Trainer, train_loop,
};
use wgvq::{Error, Result};

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
    fn save(&self, checkpoint: &mut LazyCheckpoint) -> Result<()> {
        checkpoint.state["back_offs"] = self.back_offs.into();
        Ok(())
    }
    fn check_checkpoint(&self, _: &LazyCheckpoint) -> Result<()> {
        Ok(())
    }
    fn load(&mut self, _: &mut OptimizerState, checkpoint: &LazyCheckpoint) -> Result<()> {
        self.back_offs = checkpoint.state["back_offs"].as_u64().unwrap() as u32;
        Ok(())
    }
    fn trained(&mut self, state: &mut OptimizerState) -> Result<LazyCheckpoint> {
        Ok(state.save()?.into())
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
    fn accepts(&self, checkpoint: &LazyCheckpoint, failed: Option<u64>) -> bool {
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
    let options = OptimizerOptions {
        hyper: Hyper::default(),
        moments: Default::default(),
        sharded: false,
        ema_decay: 0.0,
        metrics: 1,
        log_every: 1,
        loss_scale: None,
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

/// Follows a run: where it goes back to, its log, and how it ends.
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
        ended.map(|outcome| outcome.trainer.task().back_offs),
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
