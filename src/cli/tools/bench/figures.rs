//! The chart and the table of a benchmark.

use wgvq::bench::{Cache, Row, Workload};
use wgvq::report::study::Point;
use wgvq::report::sweep::{Legend, Series, sweep};
use wgvq::spec::Case;
use wgvq::storage::table;
use wgvq::{Error, Result};

/// Rows that differ in one size only: that size's name, the others in words, and points of (size,
/// milliseconds).
pub(super) type Line = (String, String, Vec<(f64, f64)>);

pub(super) fn lines(rows: &[(Workload, Row)]) -> Vec<Line> {
    let mut found: Vec<Line> = Vec::new();
    for (workload, row) in rows {
        let (Some(ms), case) = (row.ms, workload.case()) else {
            continue;
        };
        let kind = kind(workload);
        for (size, value) in case.sizes() {
            let rest: Vec<String> = case
                .sizes()
                .filter(|(n, _)| *n != size)
                .map(|(n, v)| format!("{n}={v}"))
                .collect();
            let cold = if row.cache == Cache::Cold {
                " cold"
            } else {
                ""
            };
            let several = format!("{} {}{cold}", kind, row.core);
            let rest = format!("{several} {}", rest.join(","));
            match found.iter_mut().find(|(s, r, _)| s == size && *r == rest) {
                Some((_, _, points)) => points.push((value as f64, ms)),
                None => found.push((size.to_owned(), rest, vec![(value as f64, ms)])),
            }
        }
    }
    for (_, _, points) in &mut found {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points.dedup_by(|a, b| a.0 == b.0);
    }
    found.retain(|(_, _, points)| points.len() >= 2);
    found
}

/// The part of a workload's name before its sizes.
fn kind(workload: &Workload) -> &str {
    let name = workload.name().split("_n").next().unwrap_or_default();
    name.trim_end_matches(|c: char| c.is_ascii_digit())
}

/// Checks that a chart can be drawn of workloads: some differ in one size alone.
///
/// # Errors
/// If no two do.
pub(super) fn check_chart<'a>(workloads: impl IntoIterator<Item = &'a Workload>) -> Result<()> {
    let all: Vec<(&str, Case)> = workloads.into_iter().map(|w| (kind(w), w.case())).collect();
    let apart = |a: &Case, b: &Case| {
        let names = |case: &Case| {
            case.sizes()
                .map(|(name, _)| name.to_owned())
                .collect::<Vec<_>>()
        };
        let differing = a.sizes().zip(b.sizes()).filter(|(a, b)| a.1 != b.1);
        names(a) == names(b) && differing.count() == 1
    };
    let pair = |(i, (kind, case)): (usize, &(&str, Case))| {
        all[i + 1..]
            .iter()
            .any(|(other, sizes)| kind == other && apart(case, sizes))
    };
    match all.iter().enumerate().any(pair) {
        true => Ok(()),
        false => Err(no_chart()),
    }
}

fn no_chart() -> Error {
    let what = "needs a size with two values or more, such as --n 1024,4096";
    Error::config("--plot", what)
}

/// Time against the size with the most values; one line per combination of the others.
pub(super) fn chart(rows: &[(Workload, Row)], machine: &str) -> Result<Vec<u8>> {
    let lines = lines(rows);
    let count = |size: &str| {
        lines
            .iter()
            .filter(|(s, ..)| s == size)
            .map(|(_, _, p)| p.len())
            .max()
            .unwrap_or(0)
    };
    let mut sizes: Vec<&str> = lines.iter().map(|(s, ..)| s.as_str()).collect();
    sizes.dedup();
    let Some(size) = sizes.into_iter().rev().max_by_key(|s| count(s)) else {
        return Err(no_chart());
    };
    let series: Vec<Series> = lines
        .iter()
        .filter(|(s, ..)| s == size)
        .map(|(_, rest, points)| Series::new(rest.trim(), points.clone()))
        .collect();
    let title = format!("milliseconds against {size}");
    sweep([&title, machine, size], &series, Legend::Column, 900, 560)?.png()
}

/// The quantizer study's measurements: `quantizer_ema_n4096_k512_d8` says what each is.
pub(super) fn studied(rows: &[(Workload, Row)]) -> Vec<Point> {
    let point = |(workload, row): &(Workload, Row)| {
        let quantizer = row
            .name
            .strip_prefix("quantizer_")?
            .split('_')
            .next()?
            .to_owned();
        let case = workload.case();
        Some(Point {
            quantizer,
            k: case.get("k"),
            d: case.get("d"),
            ms: row.ms?,
        })
    };
    rows.iter().filter_map(point).collect()
}

pub(super) fn csv(rows: &[(Workload, Row)]) -> String {
    let header = "name,case,core,cache,ms,wall_ms,gflops,peak_share,memory_bytes,max_error";
    let row = |(workload, r): &(Workload, Row)| {
        let or = |v: Option<f64>| v.map_or(String::new(), |v| format!("{v:.4}"));
        vec![
            r.name.to_string(),
            workload.case().to_string(),
            r.core.to_string(),
            r.cache.name().to_owned(),
            or(r.ms),
            or(r.wall_ms),
            or(r.gflops),
            or(r.peak_share),
            r.memory.to_string(),
            r.max_err.map_or(String::new(), |e| format!("{e:.3e}")),
        ]
    };
    let header = header.split(',').map(str::to_owned).collect();
    table::csv(std::iter::once(header).chain(rows.iter().map(row)))
}
