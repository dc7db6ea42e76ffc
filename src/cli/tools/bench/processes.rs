//! The same workloads in several processes, by turns with another build's.

use super::Bench;
use super::print::{Columns, end, peaks, processes, verdicts};
use crate::cli::common::output;
use crate::cli::{CommandStatus, Global};
use clap::ValueEnum;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use wgvq::bench::{
    self, Cache, Change, Comparison, Pairing, Peak, Results, Row, Run, Threshold, Workload, compare,
};
use wgvq::gpu::{Gpu, RobustAccess};
use wgvq::{Error, Result};

/// The variable by which a process learns the adapter's ceilings from the one that started it: with
/// several cores they are those of the first.
const PEAKS: &str = "WGVQ_BENCH_PEAKS";
/// Processes of each side where none are asked for: an interval of pairs needs six.
const PAIRS: usize = 6;
/// The same where the fastest fifth is compared, and the least that its interval needs.
const FASTEST_PAIRS: usize = 30;
const FASTEST_LEAST: usize = 20;
/// Processes that `--compare` needs on each side for a verdict.
const APART: usize = 4;

/// The processes by which two builds are compared.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum CompareBy {
    /// All, by their medians.
    Median,
    /// The fastest fifth, by their least times.
    Fastest,
}

/// The side that the new results stand against.
enum Against {
    /// Nothing.
    Nothing,
    /// A file's.
    File(Results),
    /// Another program's, process by process.
    Program(PathBuf),
}

impl Bench {
    /// Whether workloads are measured by processes of their own.
    pub(super) fn has_processes(&self) -> bool {
        self.processes.is_some() || self.against.is_some()
    }

    pub(super) fn threshold(&self) -> Threshold {
        Threshold {
            share: self.fail_above.map_or(0.05, |p| p.share()),
            floor_ms: self.floor.ms(),
        }
    }

    /// Returns the number of processes of each side, and the least for a verdict by turns.
    fn counts(&self) -> [usize; 2] {
        let [usual, least] = match self.compare_by {
            CompareBy::Median => [PAIRS; 2],
            CompareBy::Fastest => [FASTEST_PAIRS, FASTEST_LEAST],
        };
        [self.processes.map_or(usual, usize::from), least]
    }

    /// Checks that a verdict can be had, where the exit code is to be one.
    pub(super) fn check_gate(&self) -> Result<()> {
        let needs = |least: usize, what: &str| {
            let what = format!(
                "needs {least} processes a side at least, below which no interval is 95 % \
                 sure{what}"
            );
            Err(Error::config("--fail-above", what))
        };
        let [count, least] = self.counts();
        if self.compare_by == CompareBy::Fastest && !(FASTEST_LEAST..=1000).contains(&count) {
            let what = format!("lies between {FASTEST_LEAST} and 1000 with --compare-by fastest");
            return Err(Error::config("--processes", what));
        }
        if let Some(most) = self
            .most_processes
            .filter(|most| usize::from(*most) < count)
        {
            let what =
                format!("is at least the {count} processes that are taken first, not {most}");
            return Err(Error::config("--most-processes", what));
        }
        match self.fail_above {
            None => Ok(()),
            Some(_) if self.against.is_some() && count < least => needs(least, ""),
            Some(_) if self.against.is_none() && self.processes.unwrap_or(1) < APART as u16 => {
                needs(APART, "; set --processes")
            }
            Some(_) => Ok(()),
        }
    }

    /// Measures `workloads` by processes, prints what they say, compares, and writes their table
    /// and their chart into `files`, where there are such.
    pub(super) fn by_processes(
        &self,
        global: &Global,
        workloads: &[Workload],
        baseline: Option<Results>,
        files: [&Option<PathBuf>; 2],
    ) -> Result<CommandStatus> {
        let against = match (baseline, &self.against) {
            (Some(results), _) => Against::File(results),
            (None, Some(program)) => Against::Program(program.clone()),
            (None, None) => Against::Nothing,
        };
        if let (Against::File(old), Some(_)) = (&against, self.fail_above)
            && old.runs.len() < APART
        {
            let what = format!(
                "needs {APART} processes in the file to compare with, and it has {}; \
                 `wgvq bench --processes {APART} --json` makes one",
                old.runs.len()
            );
            return Err(Error::config("--fail-above", what));
        }
        // A workload is there once for each type; a process measures it in all of them.
        let mut names: Vec<&str> = Vec::new();
        for workload in workloads {
            if !names.contains(&workload.name()) {
                names.push(workload.name());
            }
        }
        let shared = match &self.share {
            None => None,
            Some(_) => {
                let gpu = global.gpu_with(global.core.first().copied())?;
                self.shared(global, &gpu)?
            }
        };
        let pairing = match against {
            Against::Program(_) if self.compare_by == CompareBy::Fastest => Pairing::Fastest,
            Against::Program(_) => Pairing::Turns,
            _ => Pairing::Apart,
        };
        let (new, old, mut found) = self.compared(global, &names, &against, pairing)?;
        let columns = Columns::new(global, names.iter().copied(), self.shown(), false);
        processes(global, &new, &columns);
        if let Some(shared) = &shared {
            shared.write(global, &new)?;
        }
        let header = new.header();
        let machine = [header.adapter.as_str(), header.driver.as_str()];
        self.draw(global, &middle(&new, workloads), machine, files)?;
        let rows: Vec<&Row> = new.runs.iter().flat_map(|run| &run.rows).collect();
        let wrong = rows.iter().filter(|row| !row.pass).count();
        let refused = rows.iter().filter(|row| row.refused.is_some()).count();
        let refused = if self.any_clock { 0 } else { refused };
        for (count, what) in [
            (wrong, "WRONG: no speed is given for their workloads"),
            (refused, "REFUSED: the clock moved while they were measured"),
        ] {
            if count > 0 {
                let all = rows.len();
                output::note(global, &format!("{count} of {all} results are {what}"));
            }
        }
        let Some(old) = old else {
            return Ok(status(wrong + refused == 0));
        };
        if pairing == Pairing::Apart {
            peaks(global, &new, &old);
        }
        self.confirm(global, &mut found, &against, pairing)?;
        verdicts(global, &found, &columns);
        let slower = found.iter().filter(|c| c.verdict == Change::Slower).count();
        let unmeasured = found.iter().filter(|c| c.interval.is_none()).count();
        if let Some(most) = self.fail_above {
            let left = new.kinds().len() - found.len();
            let said = [
                (
                    slower,
                    format!("slower by more than {most} and {}", self.floor),
                ),
                (unmeasured, "measured too seldom for a verdict".to_owned()),
                (left, "not among what they are compared with".to_owned()),
            ];
            for (count, what) in said.iter().filter(|(count, _)| *count > 0) {
                let all = new.kinds().len();
                output::note(global, &format!("{count} of {all} workloads are {what}"));
            }
            // Results that are refused leave fewer times, which decide by their number here.
            return Ok(status(wrong + slower + unmeasured + left == 0));
        }
        Ok(status(wrong + refused == 0))
    }

    /// Measures again what is faster or slower, and a third time where that is unsure: it has to be
    /// so in two measurements, and the same in none.
    fn confirm(
        &self,
        global: &Global,
        found: &mut [Comparison],
        against: &Against,
        pairing: Pairing,
    ) -> Result<()> {
        let kind = |c: &Comparison| {
            let [name, core, dtype, cache] = [&c.name, &c.core, &c.dtype, &c.cache];
            [name, core, dtype, cache].map(String::clone)
        };
        let mut verdicts: Vec<Vec<Change>> = found.iter().map(|c| vec![c.verdict]).collect();
        let open = |verdicts: &[Change]| Change::confirmed(verdicts).is_none();
        while verdicts.iter().any(|v| open(v)) {
            let suspects = || found.iter().zip(&verdicts).filter(|(_, v)| open(v));
            let mut names: Vec<&str> = suspects().map(|(c, _)| c.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            let said = names.join(", ");
            output::note(global, &format!("once more, to be sure: {said}"));
            let (_, _, again) = self.compared(global, &names, against, pairing)?;
            for (one, verdicts) in found.iter().zip(&mut verdicts).filter(|(_, v)| open(v)) {
                let same = again.iter().find(|c| kind(c) == kind(one));
                verdicts.push(same.map_or(Change::Same, |c| c.verdict));
            }
        }
        for (one, verdicts) in found.iter_mut().zip(&verdicts) {
            one.verdict = Change::confirmed(verdicts).unwrap_or(Change::Unsure);
        }
        Ok(())
    }

    /// Measures `names` and compares what both sides have: with more processes where that is
    /// unsure, and more may be taken.
    fn compared(
        &self,
        global: &Global,
        names: &[&str],
        against: &Against,
        pairing: Pairing,
    ) -> Result<(Results, Option<Results>, Vec<Comparison>)> {
        let [count, _] = self.counts();
        let most = self.most_processes.map_or(0, usize::from);
        let (mut new, mut old) = self.measured(global, names, against)?;
        loop {
            let found = match &old {
                Some(old) => compare(&new, old, pairing, self.threshold()),
                None => Vec::new(),
            };
            // Where a result is wrong there is no time, and more processes change nothing.
            let timed = |c: &Comparison| c.new_ms.len().min(c.old_ms.len()) > 0;
            let unsure = found
                .iter()
                .filter(|c| c.verdict == Change::Unsure && timed(c));
            let mut names: Vec<&str> = unsure.map(|c| c.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            let processes = new.runs.len() + count;
            if names.is_empty() || processes > most {
                return Ok((new, old, found));
            }
            let said = names.join(", ");
            output::note(
                global,
                &format!("unsure, on to {processes} processes: {said}"),
            );
            let (more, others) = self.measured(global, &names, against)?;
            new.runs.extend(more.runs);
            if let (Some(old), Some(others)) = (&mut old, others) {
                old.runs.extend(others.runs);
            }
        }
    }

    /// Runs the processes, and those of the other program by turns.
    fn measured(
        &self,
        global: &Global,
        names: &[&str],
        against: &Against,
    ) -> Result<(Results, Option<Results>)> {
        let this = std::env::current_exe()
            .map_err(|e| Error::data(format!("the program's own file cannot be found: {e}")))?;
        let (mut new, mut old) = (Vec::new(), Vec::new());
        // What is refused is measured again, at most as often as there are processes of a side.
        let mut told: Option<Peak> = None;
        let mut alone = false;
        let [count, _] = self.counts();
        let mut spare = if self.any_clock { 0 } else { count };
        for turn in 0..count {
            let mut sides = vec![(&this, &mut new)];
            if let Against::Program(program) = against {
                sides.push((program, &mut old));
                // What wanders with time strikes both alike.
                if turn % 2 == 1 {
                    sides.reverse();
                }
            }
            for (program, runs) in sides {
                let (turn, all) = (turn + 1, count);
                let program = program.as_path();
                output::note(global, &format!("{turn} of {all}: {}", program.display()));
                let run = Run::steady(names, &mut spare, |names, again| {
                    if again {
                        let said = names.join(", ");
                        output::note(global, &format!("once more, the clock moved: {said}"));
                    }
                    self.child(global, program, names, told)
                })?;
                // By turns times are compared as they are: one process's ceilings serve all. A
                // build that measures its own all the same is warmer when it comes to its
                // workloads, and so both are left to it.
                if let Against::Program(_) = against {
                    let h = &run.header;
                    let own = Peak {
                        gflops: h.peak_gflops,
                        gbps: h.peak_gbps,
                        launch_us: h.peak_launch_us,
                    };
                    told = match told {
                        None if turn == 1 && runs.is_empty() && !alone => Some(own),
                        Some(said) if said == own => Some(said),
                        _ => {
                            alone = true;
                            None
                        }
                    };
                }
                runs.push(run);
            }
        }
        let (new, old) = (Results { runs: new }, Results { runs: old });
        even(&new)?;
        let rows: Vec<&Row> = new.kinds();
        let old = match against {
            Against::Nothing => None,
            Against::File(results) => Some(results.clone()),
            Against::Program(_) => {
                even(&old)?;
                Some(old)
            }
        };
        if let Some(old) = &old {
            old.comparable(new.header(), &rows)?;
        }
        Ok((new, old))
    }

    /// Runs one process, and returns what it wrote: rows of everything that was asked for.
    fn child(
        &self,
        global: &Global,
        program: &Path,
        names: &[&str],
        told: Option<Peak>,
    ) -> Result<Run> {
        let mut command = Command::new(program);
        // Another build may pass over variables that it does not know, and measures again.
        match told {
            Some(peak) => command.env(PEAKS, peak.to_words()),
            None => command.env_remove(PEAKS),
        };
        let out = command
            .args(self.words(global, names))
            // As here, where the variable says otherwise.
            .env("WGVQ_ROBUST_ACCESS", global.robust_access.name())
            .stdin(Stdio::null())
            .output()
            .map_err(|e| Error::file(program, format!("cannot be run: {e}")))?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let what = match whole(&text, names, out.status) {
            Ok(run) => return Ok(run),
            Err(what) => what,
        };
        let said = end(&String::from_utf8_lossy(&out.stderr));
        Err(Error::file(
            program,
            format!("as a benchmark: {what}{said}"),
        ))
    }

    /// Returns a device's peaks: as a process that takes turns is told them (what it measures is
    /// compared as it is), or measured.
    pub(super) fn peak(&self, gpu: &Gpu) -> Result<Peak> {
        let told = std::env::var(PEAKS).ok();
        match told.as_deref().and_then(Peak::from_words) {
            Some(peak) => Ok(peak),
            None if self.seconds == 0.0 => bench::rough_peak(gpu),
            None => bench::peak(gpu),
        }
    }

    /// The command of one process. What is at its default is left out: another build may not know
    /// it.
    fn words(&self, global: &Global, names: &[&str]) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["bench".into()];
        words.extend(names.iter().map(OsString::from));
        let mut set = |name: &str, value: String| {
            words.push(name.into());
            words.push(value.into());
        };
        set("--seconds", self.seconds.to_string());
        set("--seed", self.seed.to_string());
        if self.dtype != ["f32"] {
            set("--dtype", self.dtype.join(","));
        }
        if self.spread != super::DEFAULT_SPREAD.parse().unwrap_or(self.spread) {
            set("--spread", self.spread.to_string());
        }
        if self.cache != [Cache::Warm] {
            let names: Vec<&str> = self.cache.iter().map(|c| c.name()).collect();
            set("--cache", names.join(","));
        }
        if let Some(mib) = self.last_level_cache {
            set("--last-level-cache", mib.to_string());
        }
        if let Some(adapter) = &global.adapter {
            set("--adapter", adapter.clone());
        }
        if !global.core.is_empty() {
            let names: Vec<&str> = global.core.iter().map(|c| c.name()).collect();
            set("--core", names.join(","));
        }
        if global.robust_access != RobustAccess::default() {
            set("--robust-access", global.robust_access.name().into());
        }
        if self.any_clock {
            words.push("--any-clock".into());
        }
        words.extend(["--json", "--quiet"].map(OsString::from));
        words
    }
}

/// Returns each kind's row of the process in the middle by its median.
fn middle(results: &Results, workloads: &[Workload]) -> Vec<(Workload, Row)> {
    let of = |kind: &Row| {
        let workload = workloads.iter().find(|w| w.name() == kind.name)?;
        let all = results.runs.iter().flat_map(|run| &run.rows);
        let mut rows: Vec<&Row> = all.filter(|row| row.key() == kind.key()).collect();
        // What has no time comes last.
        let time = |row: &Row| row.ms.unwrap_or(f64::INFINITY);
        rows.sort_by(|a, b| time(a).total_cmp(&time(b)));
        let row = rows.get(rows.len().saturating_sub(1) / 2)?;
        Some((workload.clone(), (*row).clone()))
    };
    results.kinds().into_iter().filter_map(of).collect()
}

/// Checks that a process measured all that was asked of it.
fn whole(text: &str, names: &[&str], status: ExitStatus) -> std::result::Result<Run, String> {
    let results = Results::parse(text);
    let results = results.map_err(|what| format!("{status}, and what it wrote is {what}"))?;
    let mut runs = results.runs.into_iter();
    let (Some(run), None) = (runs.next(), runs.next()) else {
        return Err(format!("{status}, and it wrote no results, or several"));
    };
    let rows = &run.rows;
    if let Some(name) = names
        .iter()
        .find(|name| rows.iter().all(|row| row.name != **name))
    {
        return Err(format!("it wrote no row of {name} ({status})"));
    }
    // A row that is wrong or refused is a failure too, and a result: it has no time then.
    let failed = rows.iter().any(|row| row.ms.is_none());
    match status.success() || failed {
        true => Ok(run),
        false => Err(format!("{status}, though all of its rows are right")),
    }
}

/// Checks that each process of a side has a row of each kind.
fn even(results: &Results) -> Result<()> {
    let kinds = results.kinds();
    for (i, run) in results.runs.iter().enumerate() {
        let has = |kind: &Row| run.rows.iter().any(|row| row.key() == kind.key());
        if let Some(kind) = kinds.iter().find(|kind| !has(kind)) {
            return Err(Error::data(format!(
                "process {} has no row of {} ({} core, {}, {}), and another of its side has",
                i + 1,
                kind.name,
                kind.core,
                kind.dtype,
                kind.cache.name()
            )));
        }
    }
    Ok(())
}

fn status(good: bool) -> CommandStatus {
    match good {
        true => CommandStatus::Done,
        false => CommandStatus::Failed,
    }
}
