//! `wgvq selftest`

mod table;

use crate::cli::common::json;
use crate::cli::common::output;
use crate::cli::{CommandStatus, Global};
use clap::Args;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use table::Line;
use wgvq::gpu::{Core, Gpu, Options};
use wgvq::registry::{find, operations};
use wgvq::spec::{Case, Operation, Verdict};
use wgvq::{Error, Result, verify};

#[derive(Args)]
#[command(after_long_help = "\
Without --thorough some of each operation's cases are run, which takes about a minute on two cores.

Examples:
  wgvq selftest
  wgvq selftest --thorough
  wgvq selftest --thorough --json > here.jsonl
  wgvq selftest --table here.jsonl there.jsonl
  wgvq selftest --adapter nvidia --op vq_search --case n=999,k=77,d=12
  wgvq selftest --emulate-matrices 16x32 --op matmul")]
pub struct Selftest {
    /// Check only this operation, in all of its cases
    #[arg(long)]
    op: Option<String>,
    /// Check only this case, as a line of output names it, such as n=7,k=3,d=5
    #[arg(long, requires = "op")]
    case: Option<Case>,
    /// Check every case of every operation, large ones too: minutes
    #[arg(long)]
    thorough: bool,
    /// Check the coopmat core on any adapter with f16, its cooperative matrices emulated: 16x32,
    /// 16x64, 8x32 or 8x8 (rows and columns of a matrix, lanes of a subgroup)
    #[arg(long, value_name = "SIDExLANES", value_parser = matrices)]
    emulate_matrices: Option<(u32, u32)>,
    /// Seed of the random inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Check nothing: print what --json wrote on one or several devices as a table of Markdown,
    /// the largest error of each operation and of its gradient
    #[arg(
        long,
        value_name = "FILE",
        num_args = 1..,
        conflicts_with_all = ["op", "thorough"]
    )]
    table: Vec<PathBuf>,
}

/// Reads `SIDExLANES`.
fn matrices(text: &str) -> std::result::Result<(u32, u32), String> {
    let (side, lanes) = text.split_once('x').unwrap_or_default();
    match (side.parse(), lanes.parse()) {
        (Ok(side), Ok(lanes)) => Ok((side, lanes)),
        _ => Err("expected rows and lanes, such as 16x32".into()),
    }
}

/// The verdicts of an operation's cases, joined.
#[derive(Default)]
pub struct Outcome {
    pub forward: Option<Verdict>,
    pub gradient: Option<Verdict>,
}

impl Outcome {
    fn add(&mut self, (forward, gradient): (Verdict, Option<Verdict>)) {
        let join = |sum: &mut Option<Verdict>, one: Verdict| {
            *sum = Some(match sum.take() {
                Some(sum) => sum.join(one),
                None => one,
            });
        };
        join(&mut self.forward, forward);
        if let Some(gradient) = gradient {
            join(&mut self.gradient, gradient);
        }
    }

    fn all(&self) -> impl Iterator<Item = &Verdict> {
        [&self.forward, &self.gradient].into_iter().flatten()
    }

    /// Whether something was compared, and all of it agreed.
    pub fn pass(&self) -> bool {
        self.forward.is_some() && self.all().all(|v| v.pass && v.compared > 0)
    }

    /// The worst element in words, where one is wrong.
    pub fn wrong(&self) -> Option<&str> {
        self.all().find(|v| !v.pass).map(|v| v.detail.as_str())
    }
}

/// Operations to be checked, each with its cases.
pub type Plan<'a> = Vec<(&'a dyn Operation, Vec<Case>)>;

/// Runs the cases of a plan on the device, one after the other, while other threads compute their
/// references. `each` gets every operation's outcome, in the plan's order, as soon as all of its
/// cases are judged; where it returns false, no more are run.
///
/// # Errors
/// If a case does not run.
pub fn check(
    gpu: &Gpu,
    plan: &Plan,
    seed: u64,
    mut each: impl FnMut(&dyn Operation, usize, &Outcome) -> bool,
) -> Result<()> {
    type Judged = (usize, Result<(Verdict, Option<Verdict>)>);
    let threads = thread::available_parallelism().map_or(1, |n| n.get());
    // What the device made waits in memory for its turn: no more of it than keeps all busy.
    let (jobs, taken) = sync_channel::<(usize, usize, verify::Ran)>(threads);
    let (judged, results) = std::sync::mpsc::channel::<Judged>();
    let taken = Mutex::new(taken);
    thread::scope(|scope| {
        for _ in 0..threads {
            let (taken, judged) = (&taken, judged.clone());
            scope.spawn(move || {
                while let Some((op, case, ran)) = next(taken) {
                    let (operation, cases) = &plan[op];
                    let verdicts = ran.judge(gpu, *operation, &cases[case]);
                    if judged.send((op, verdicts)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(judged);
        let mut outcomes: Vec<(usize, Outcome)> = Vec::new();
        outcomes.resize_with(plan.len(), Default::default);
        let mut told = 0;
        // Takes what is judged, and tells of the operations that are complete.
        let mut take = |result: Judged| -> Result<bool> {
            let (op, verdicts) = result;
            outcomes[op].0 += 1;
            outcomes[op].1.add(verdicts?);
            while told < plan.len() && outcomes[told].0 == plan[told].1.len() {
                let (operation, cases) = &plan[told];
                if !each(*operation, cases.len(), &outcomes[told].1) {
                    return Ok(false);
                }
                told += 1;
            }
            Ok(true)
        };
        for (op, (operation, cases)) in plan.iter().enumerate() {
            for (i, case) in cases.iter().enumerate() {
                let ran = verify::run(gpu, *operation, case, seed)?;
                if jobs.send((op, i, ran)).is_err() {
                    return Err(Error::data("a thread that computes references ended"));
                }
                for result in results.try_iter() {
                    if !take(result)? {
                        return Ok(());
                    }
                }
            }
        }
        drop(jobs);
        for result in results.iter() {
            if !take(result)? {
                break;
            }
        }
        Ok(())
    })
}

/// Returns the next job; `None` after the last.
fn next<T>(jobs: &Mutex<Receiver<T>>) -> Option<T> {
    jobs.lock().recv().ok()
}

impl Selftest {
    /// Opens the adapter, which has the `coopmat` core where its matrices are to be emulated.
    fn gpu(&self, global: &Global) -> Result<Gpu> {
        if self.emulate_matrices.is_none() {
            return global.gpu();
        }
        if let Some(other) = global.core.iter().find(|core| **core != Core::Coopmat) {
            let what = format!(
                "emulates matrices for the coopmat core; leave `--core {}` out",
                other.name()
            );
            return Err(Error::config("--emulate-matrices", what));
        }
        Gpu::new(Options {
            emulated_matrices: self.emulate_matrices,
            ..global.engine(Some(Core::Coopmat))
        })
    }

    /// Returns the name of the core that is checked, and how its matrices are emulated.
    fn core(&self, gpu: &Gpu) -> String {
        match self.emulate_matrices {
            Some((side, lanes)) => format!("{} emulated {side}x{lanes}", gpu.core().name()),
            None => gpu.core().name().to_owned(),
        }
    }

    fn plan(&self) -> Result<Plan<'static>> {
        Ok(match (&self.op, &self.case) {
            (Some(name), Some(case)) => vec![(find(name)?, vec![case.clone()])],
            (Some(name), None) => {
                let op = find(name)?;
                vec![(op, op.cases())]
            }
            (None, _) if self.thorough => operations().iter().map(|op| (*op, op.cases())).collect(),
            (None, _) => {
                let quick = operations().iter();
                quick.map(|op| (*op, verify::chosen(*op))).collect()
            }
        })
    }

    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        if !self.table.is_empty() {
            let lines = self.table.iter().map(|path| table::read(path));
            let lines = lines.collect::<Result<Vec<_>>>()?.concat();
            output::result(table::markdown(&lines).trim_end());
            return Ok(CommandStatus::Done);
        }
        let plan = self.plan()?;
        let gpu = self.gpu(global)?;
        output::note(
            global,
            &format!(
                "{}, {} core, seed {}",
                gpu.info().name,
                self.core(&gpu),
                self.seed
            ),
        );
        if !global.json {
            output::result(&format!(
                "{:<18} {:>5} {:>10} {:>12} {:>12}  result",
                "operation", "cases", "elements", "forward", "gradient"
            ));
        }
        let (mut failed, mut read) = (0, true);
        check(&gpu, &plan, self.seed, |op, cases, outcome| {
            read = output::is_read(&row(global, &gpu, &self.core(&gpu), (op, cases), outcome));
            if !outcome.pass() {
                failed += 1;
                if let Some(wrong) = outcome.wrong() {
                    output::note(global, &format!("  {wrong}"));
                }
            }
            read
        })?;
        if !read {
            // Nobody reads the rest, and what was checked until then is not all.
            return Ok(CommandStatus::Failed);
        }
        if !global.json {
            output::result(&if failed == 0 {
                "every operation agrees with its reference".into()
            } else {
                format!("{failed} operations FAILED")
            });
        }
        Ok(if failed == 0 {
            CommandStatus::Done
        } else {
            CommandStatus::Failed
        })
    }
}

/// The line of an operation.
fn row(
    global: &Global,
    gpu: &Gpu,
    core: &str,
    (op, cases): (&dyn Operation, usize),
    outcome: &Outcome,
) -> String {
    let compared: usize = outcome.all().map(|v| v.compared).sum();
    let (forward, gradient) = (&outcome.forward, &outcome.gradient);
    if global.json {
        let error = |v: &Option<Verdict>| v.as_ref().map(|v| v.max_error);
        let info = gpu.info();
        let line = Line {
            op: op.name().into(),
            adapter: info.name.clone(),
            driver: format!("{} {}", info.driver, info.driver_info),
            core: core.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            cases,
            compared,
            pass: outcome.pass(),
            forward_max_error: error(forward),
            gradient_max_error: error(gradient),
        };
        return json::text("selftest", &line);
    }
    let error = |v: &Option<Verdict>| {
        v.as_ref()
            .map_or("-".into(), |v| format!("{:.1e}", v.max_error))
    };
    let (f, b) = (error(forward), error(gradient));
    format!(
        "{:<18} {cases:>5} {compared:>10} {f:>12} {b:>12}  {}",
        op.name(),
        if outcome.pass() { "ok" } else { "FAILED" }
    )
}
