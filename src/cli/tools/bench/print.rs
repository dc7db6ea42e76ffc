//! Output of a benchmark.

use super::{lines, processor};
use crate::cli::Global;
use crate::cli::common::output;
use indicatif::HumanBytes;
use wgvq::bench::{Baseline, Change, FORMAT, Header, Peak, Row, Share, Workload, exponent};
use wgvq::gpu::Gpu;

pub(super) fn head(
    global: &Global,
    gpu: &Gpu,
    peak: &Peak,
    seed: u64,
    baseline: Option<&Baseline>,
    width: usize,
) {
    let info = gpu.info();
    let header = Header {
        wgvq_bench: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        adapter: info.name.clone(),
        driver: format!("{} {}", info.driver, info.driver_info),
        processor: processor(),
        seed,
        peak_gflops: peak.gflops,
        peak_gbps: peak.gbps,
    };
    if global.json {
        // A line of our own type always serialises.
        output::result(&serde_json::to_string(&header).unwrap_or_default());
        return;
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
            "measured peak {:.1} GFLOP/s (multiply-adds), {:.1} GB/s (copy); times by {clock}; \
             seed {seed}",
            peak.gflops, peak.gbps
        ),
    );
    if let Some(old) = baseline.filter(|b| {
        (&b.header.adapter, &b.header.processor) != (&header.adapter, &header.processor)
    }) {
        let (a, p) = (&old.header.adapter, &old.header.processor);
        output::note(
            global,
            &format!("the baseline is another machine's: {a}, {p}"),
        );
    }
    output::result(&format!(
        "{:<width$} {:>9} {:>17} {:>9} {:>8} {:>8} {:>8} {:>7} {:>7} {:>11} {:>8} {:>6}{}",
        "workload",
        "ms",
        "quartiles",
        "wall ms",
        "record",
        "cold ms",
        "GFLOP/s",
        "GB/s",
        "of peak",
        "memory",
        "error",
        "MHz",
        if baseline.is_some() {
            "  against the baseline"
        } else {
            ""
        }
    ));
}

pub(super) fn line(
    global: &Global,
    row: &Row,
    baseline: Option<&Baseline>,
    width: usize,
    types: bool,
) {
    if global.json {
        output::result(&serde_json::to_string(row).unwrap_or_default());
        return;
    }
    let several = if global.core.len() > 1 {
        format!(" {}", row.core)
    } else {
        String::new()
    };
    let dtype = if types {
        format!(" {}", row.dtype)
    } else {
        String::new()
    };
    let name = format!("{}{dtype}{several}", row.name);
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
    let change = match baseline.map(|b| b.change(row)) {
        None => String::new(),
        Some(Change::New) => "  not in it".into(),
        Some(Change::Within(ratio)) => format!("  x{ratio:.2}, within the spread"),
        Some(Change::Apart(ratio)) => format!(
            "  x{ratio:.2}{}",
            if ratio > 1.0 { " SLOWER" } else { " faster" }
        ),
    };
    output::result(&format!(
        "{name:<width$} {ms:>9.3} {:>17} {:>9.3} {:>8.3} {:>8.1} {:>8.2} {:>7.2} {:>6.0}%{} \
         {:>11} {:>8} {clock:>6}{change}",
        format!("{q1:.3}..{q3:.3}"),
        or(row.wall_ms),
        or(row.record_ms),
        or(row.cold_ms),
        or(row.gflops),
        or(row.gbps),
        100.0 * or(row.peak_share),
        &row.bound[..1],
        HumanBytes(row.memory).to_string(),
        row.max_err.map_or("-".into(), |e| format!("{e:.1e}")),
    ));
}

/// Prints the shares of a workload's time: every variant of a kernel as JSON, else a line for all
/// of them.
pub(super) fn shares(global: &Global, shares: &[Share]) {
    if global.json {
        shares
            .iter()
            .for_each(|s| output::result(&serde_json::to_string(s).unwrap_or_default()));
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
