//! Output of a benchmark.

use super::{lines, processor};
use crate::cli::Global;
use crate::cli::common::json;
use crate::cli::common::output;
use indicatif::HumanBytes;
use wgvq::bench::{
    self, Comparison, Environment, FORMAT, Header, Pairing, Peak, PeerRow, Results, Row, Run,
    Share, Stop, Threshold, Workload, exponent,
};
use wgvq::gpu::Gpu;

/// Contents of a table's first column beside the name, and its width.
pub(super) struct Columns {
    width: usize,
    /// Whether there are several matrix cores.
    cores: bool,
    /// Whether there are several types.
    types: bool,
    /// Whether rows differ in whether their inputs lie in a cache.
    caches: bool,
    compared: bool,
}

impl Columns {
    /// `shown` says whether rows tell their type, and their cache.
    pub(super) fn new<'a>(
        global: &Global,
        names: impl Iterator<Item = &'a str>,
        [types, caches]: [bool; 2],
        compared: bool,
    ) -> Columns {
        Columns {
            width: names.map(str::len).max().unwrap_or(0).max(26),
            cores: global.core.len() > 1,
            types,
            caches,
            compared,
        }
    }

    fn width(&self) -> usize {
        let cells = [(self.cores, 9), (self.types, 4), (self.caches, 5)];
        let wanted = cells.iter().filter(|(shown, _)| *shown);
        self.width + wanted.map(|(_, width)| width).sum::<usize>()
    }

    fn first(&self, row: &Row) -> String {
        self.cells(&row.name, [&row.dtype, row.cache.name(), &row.core])
    }

    fn cells(&self, name: &str, [dtype, cache, core]: [&str; 3]) -> String {
        let cells = [
            (self.types, dtype),
            (self.caches, cache),
            (self.cores, core),
        ];
        let shown = cells.iter().filter(|(shown, _)| *shown);
        shown.fold(name.to_owned(), |name, (_, cell)| format!("{name} {cell}"))
    }
}

/// Returns the header of results of this machine.
pub(super) fn header(gpu: &Gpu, peak: &Peak, seed: u64, environment: Environment) -> Header {
    let info = gpu.info();
    // JSON has no infinity, which is what a clock that stands still makes of a peak.
    let finite = |peak: f64| match peak.is_nan() {
        true => 0.0,
        false => peak.clamp(0.0, 1e12),
    };
    Header {
        wgvq_bench: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        adapter: info.name.clone(),
        driver: format!("{} {}", info.driver, info.driver_info),
        processor: processor(),
        seed,
        peak_gflops: finite(peak.gflops),
        peak_gbps: finite(peak.gbps),
        peak_launch_us: finite(peak.launch_us),
        environment: Some(environment),
    }
}

pub(super) fn head(
    global: &Global,
    gpu: &Gpu,
    peak: &Peak,
    seed: u64,
    environment: Environment,
    columns: &Columns,
) -> Header {
    let width = columns.width();
    let header = header(gpu, peak, seed, environment);
    if global.json {
        json::print("bench-header", &header);
        return header;
    }
    output::note(
        global,
        &format!(
            "{} ({}), {}",
            header.adapter, header.driver, header.processor
        ),
    );
    let clock = if gpu.has_timestamps() {
        "timestamp queries"
    } else {
        "wall time around a synchronised submission"
    };
    output::note(
        global,
        &format!(
            "measured peak {:.1} GFLOP/s (multiply-adds), {:.1} GB/s (copy), {:.1} us a dispatch; \
             times by {clock}; seed {seed}",
            header.peak_gflops, header.peak_gbps, header.peak_launch_us
        ),
    );
    output::result(&format!(
        "{:<width$} {:>9} {:>17} {:>6} {:>9} {:>8} {:>8} {:>8} {:>7} {:>7} {:>11} {:>8} {:>6}{}",
        "workload",
        "ms",
        "quartiles",
        "spread",
        "wall ms",
        "record",
        "first ms",
        "GFLOP/s",
        "GB/s",
        "of peak",
        "memory",
        "error",
        "MHz",
        if columns.compared {
            "  against the baseline"
        } else {
            ""
        }
    ));
    header
}

/// Prints a row; `change` says how it changed.
pub(super) fn line(global: &Global, row: &Row, change: &str, columns: &Columns) {
    if global.json {
        json::print("bench-row", row);
        return;
    }
    let (width, name) = (columns.width(), columns.first(row));
    let (Some(ms), Some([q1, q3])) = (row.ms, row.ms_quartiles) else {
        let why = match &row.refused {
            Some(why) => format!("REFUSED: {why}"),
            None => format!("WRONG: {}", row.detail),
        };
        output::result(&format!("{name:<width$} {why}"));
        return;
    };
    let or = |v: Option<f64>| v.unwrap_or(f64::NAN);
    // The second, where it is another.
    let clock = match (row.mhz, &row.refused) {
        (Some([before, after]), Some(_)) => format!("{before:.0}->{after:.0}"),
        (Some([before, _]), None) => format!("{before:.0}"),
        (None, _) => "-".into(),
    };
    output::result(&format!(
        "{name:<width$} {ms:>9.3} {:>17} {:>6} {:>9.3} {:>8.3} {:>8} {:>8.2} {:>7.2} {:>6.0}%{} \
         {:>11} {:>8} {clock:>6}{change}",
        format!("{q1:.3}..{q3:.3}"),
        spread(row),
        or(row.wall_ms),
        or(row.record_ms),
        row.first_ms.map_or("-".into(), |ms| format!("{ms:.1}")),
        or(row.gflops),
        or(row.gbps),
        100.0 * or(row.peak_share),
        &row.bound[..1],
        HumanBytes(row.memory).to_string(),
        row.max_err.map_or("-".into(), |e| format!("{e:.1e}")),
    ));
    row.peers.iter().for_each(|beside| peer(beside, width));
}

/// Prints a peer's line under ours.
fn peer(beside: &PeerRow, width: usize) {
    let name = format!("  {}", beside.peer);
    let line = match (beside.ms, beside.pass) {
        (Some(ms), _) => {
            let interval = beside.interval.map_or(String::new(), |[low, high]| {
                format!(" [{low:.2}..{high:.2}]")
            });
            format!(
                "{ms:>9.3} wall ms, ours {:.3} by turns: x{:.2}{interval}",
                beside.ours_ms.unwrap_or(f64::NAN),
                beside.ratio.unwrap_or(f64::NAN),
            )
        }
        (None, Some(false)) => format!("WRONG: {}", beside.detail),
        (None, _) => format!("passed over: {}", beside.detail),
    };
    output::result(&format!("{name:<width$} {line}"));
}

/// Says how the peaks of two sides differ, by which their times are multiplied.
pub(super) fn peaks(global: &Global, new: &Results, old: &Results) {
    let [gflops, gbps] = bench::peak_ratios(new, old);
    output::note(
        global,
        &format!(
            "peaks over those of the file, by which times are multiplied: x{gflops:.3} \
             (multiply-adds), x{gbps:.3} (copy). A build that is slower everywhere lowers them \
             too; --against does without them"
        ),
    );
}

/// Returns how a row changed against what was measured before, in words.
pub(super) fn change(header: &Header, row: &Row, old: &Results, threshold: Threshold) -> String {
    let new = Results {
        runs: vec![Run {
            header: header.clone(),
            rows: vec![row.clone()],
        }],
    };
    match bench::compare(&new, old, Pairing::Apart, threshold).first() {
        None => "  not in it".into(),
        Some(one) => format!("  {}", ratio(one)),
    }
}

/// `x1.10 [1.08..1.12] SLOWER`
fn ratio(one: &Comparison) -> String {
    if one.ratio.is_nan() {
        return "no time to compare".into();
    }
    let interval = one
        .interval
        .map(|[low, high]| format!("[{low:.3}..{high:.3}] "));
    let interval = interval.unwrap_or_default();
    format!("x{:.3} {interval}{}", one.ratio, one.verdict)
}

/// Prints what several processes measured: as JSON a run behind another, else a line to each kind
/// of row.
pub(super) fn processes(global: &Global, results: &Results, columns: &Columns) {
    if global.json {
        for run in &results.runs {
            json::print("bench-header", &run.header);
            run.rows
                .iter()
                .for_each(|row| json::print("bench-row", row));
        }
        return;
    }
    let width = columns.width();
    output::result(&format!(
        "{:<width$} {:>9} {:>17} {:>9} {:>9} {:>9}",
        "workload", "ms", "of processes", "within", "between", "processes"
    ));
    for kind in results.kinds() {
        let name = columns.first(kind);
        let timed = results.timed(kind);
        let mut medians: Vec<f64> = timed.iter().filter_map(|(_, row)| row.ms).collect();
        medians.sort_by(f64::total_cmp);
        let (Some(least), Some(most)) = (medians.first(), medians.last()) else {
            let rows = results.runs.iter().flat_map(|run| &run.rows);
            let failed = rows.filter(|row| row.key() == kind.key());
            // What is wrong counts more than what is refused.
            let why = failed
                .max_by_key(|row| !row.pass)
                .map(|row| match &row.refused {
                    Some(why) if row.pass => format!("REFUSED: {why}"),
                    _ => format!("WRONG: {}", row.detail),
                });
            let why = why.unwrap_or_default();
            output::result(&format!("{name:<width$} {why}"));
            continue;
        };
        let spread = bench::spread_of(results, kind);
        output::result(&format!(
            "{name:<width$} {:>9.3} {:>17} {:>8.1}% {:>8.1}% {:>9}",
            spread.median,
            format!("{least:.3}..{most:.3}"),
            100.0 * spread.within,
            100.0 * spread.between,
            format!("{}/{}", medians.len(), results.runs.len()),
        ));
    }
}

/// Prints the verdicts.
pub(super) fn verdicts(global: &Global, found: &[Comparison], columns: &Columns) {
    let width = columns.width();
    for one in found {
        if global.json {
            json::print("bench-comparison", one);
            continue;
        }
        let name = columns.cells(&one.name, [&one.dtype, &one.cache, &one.core]);
        output::result(&format!("{name:<width$} {}", ratio(one)));
    }
}

/// Returns how sure a median is, and whether that is less than was asked for.
fn spread(row: &Row) -> String {
    let mark = if row.stopped == Some(Stop::Spread) {
        ""
    } else {
        "!"
    };
    let share = row.spread.map(|s| format!("{:.1}%", 100.0 * s));
    format!("{}{mark}", share.unwrap_or("-".into()))
}

/// Prints the shares of a workload's time: every variant of a kernel as JSON, else a line for all
/// of them.
pub(super) fn shares(global: &Global, shares: &[Share]) {
    if global.json {
        shares.iter().for_each(|s| json::print("bench-share", s));
        return;
    }
    let mut kernels: Vec<(String, Vec<&Share>)> = Vec::new();
    for s in shares {
        let name = format!(
            "{}: {}",
            s.op,
            s.kernel.split('(').next().unwrap_or_default()
        );
        match kernels.iter_mut().find(|(n, _)| *n == name) {
            Some((_, variants)) => variants.push(s),
            None => kernels.push((name, vec![s])),
        }
    }
    let sum = |of: fn(&Share) -> f64, all: &[&Share]| all.iter().map(|s| of(s)).sum::<f64>();
    kernels.sort_by(|a, b| sum(|s| s.ms, &b.1).total_cmp(&sum(|s| s.ms, &a.1)));
    for (name, variants) in kernels {
        let ms = sum(|s| s.ms, &variants);
        let per_ms = |total: f64| if ms > 0.0 { total / ms } else { 0.0 };
        output::result(&format!(
            "  {:>6.0} x {:>9.3} ms {:>5.1}% {:>9.1} GFLOP/s {:>7.1} GB/s  {name}",
            sum(|s| s.dispatches, &variants),
            ms,
            100.0 * sum(|s| s.share, &variants),
            per_ms(sum(|s| s.gflops * s.ms, &variants)),
            per_ms(sum(|s| s.gbps * s.ms, &variants)),
        ));
    }
}

/// Says with which power of a size the time grows, where three or more values were measured.
pub(super) fn growth(global: &Global, rows: &[(Workload, Row)]) {
    for (size, rest, points) in lines(rows) {
        let Some(power) = exponent(&points) else {
            continue;
        };
        let (low, high) = (points[0].0, points[points.len() - 1].0);
        if global.json {
            continue; // whoever reads the rows can fit them
        }
        output::result(&format!(
            "time grows as {size}^{power:.2} from {low} to {high}  ({})",
            rest.trim()
        ));
    }
}

/// Returns the last lines of what a process said.
pub(super) fn end(said: &str) -> String {
    let lines: Vec<&str> = said.lines().filter(|l| !l.trim().is_empty()).collect();
    match &lines[lines.len().saturating_sub(3)..] {
        [] => String::new(),
        last => format!("; it said: {}", last.join(" / ")),
    }
}
