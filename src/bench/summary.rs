//! Results as they are shown: one line to each workload of a file, whatever the number of its
//! processes; as Markdown, as CSV, and in a page of HTML that needs nothing else.

use super::compare::spread_of;
use super::environment::Environment;
use super::peer::PeerRow;
use super::results::Results;
use super::row::{Header, Row};
use super::statistics::median;
use super::workload::find;
use crate::storage::table::{self, cell};
use serde::Serialize;
use std::collections::BTreeMap;

/// A file of results.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The file's name.
    pub file: String,
    /// The machine, and its peaks: those of the first process.
    pub header: Header,
    /// The number of processes.
    pub processes: usize,
    /// A line to each workload, core, type and cache.
    pub rows: Vec<SummaryRow>,
}

/// A workload in a file.
#[derive(Clone, Debug, Serialize)]
pub struct SummaryRow {
    /// The workload.
    pub name: String,
    /// Its operation, where it is one.
    pub op: Option<String>,
    /// Its sizes.
    pub sizes: BTreeMap<String, usize>,
    /// The matrix core.
    pub core: String,
    /// The elements' type.
    pub dtype: String,
    /// `warm` or `cold`.
    pub cache: String,
    /// Whether it agreed with f64 in every process.
    pub pass: bool,
    /// The number of processes that have a time for it.
    pub processes: usize,
    /// The median of the processes' medians, in milliseconds.
    pub ms: Option<f64>,
    /// The relative range of the middle half of a process's times.
    pub within: Option<f64>,
    /// That of the processes' medians, where there are several.
    pub between: Option<f64>,
    /// From the call to its end on the device.
    pub wall_ms: Option<f64>,
    /// Operations per nanosecond.
    pub gflops: Option<f64>,
    /// Bytes per nanosecond.
    pub gbps: Option<f64>,
    /// Share of what binds.
    pub peak_share: Option<f64>,
    /// `compute`, `memory` or `launch`.
    pub bound: String,
    /// Dispatches of a call.
    pub dispatches: u64,
    /// Bytes beyond the inputs.
    pub memory: u64,
    /// Largest error against f64.
    pub max_err: Option<f64>,
    /// Other libraries.
    pub peers: Vec<PeerRow>,
}

/// Returns the median of what rows have, if any has it.
fn middle(rows: &[(&Header, &Row)], of: impl Fn(&Row) -> Option<f64>) -> Option<f64> {
    let values: Vec<f64> = rows.iter().filter_map(|(_, row)| of(row)).collect();
    (!values.is_empty()).then(|| median(&values))
}

impl Summary {
    /// Sums up the results of a file.
    pub fn new(file: &str, results: &Results) -> Summary {
        let row = |kind: &Row| {
            let timed = results.timed(kind);
            let all = results.runs.iter().flat_map(|run| &run.rows);
            let mut all = all.filter(|row| row.key() == kind.key());
            let spread = spread_of(results, kind);
            let workload = find(&kind.name).ok();
            let sizes = workload.as_ref().map(|w| w.case());
            let sizes = sizes.iter().flat_map(|case| case.sizes());
            SummaryRow {
                name: kind.name.clone(),
                op: workload
                    .as_ref()
                    .and_then(|w| w.op())
                    .map(|op| op.name().into()),
                sizes: sizes.map(|(name, n)| (name.to_owned(), n)).collect(),
                core: kind.core.clone(),
                dtype: kind.dtype.clone(),
                cache: kind.cache.name().into(),
                pass: all.all(|row| row.pass),
                processes: timed.len(),
                ms: middle(&timed, |row| row.ms),
                within: Some(spread.within).filter(|s| s.is_finite()),
                between: Some(spread.between).filter(|s| s.is_finite() && timed.len() > 1),
                wall_ms: middle(&timed, |row| row.wall_ms),
                gflops: middle(&timed, |row| row.gflops),
                gbps: middle(&timed, |row| row.gbps),
                peak_share: middle(&timed, |row| row.peak_share),
                bound: kind.bound.clone(),
                dispatches: kind.dispatches,
                memory: kind.memory,
                max_err: kind.max_err,
                peers: kind.peers.clone(),
            }
        };
        Summary {
            file: file.to_owned(),
            header: results.header().clone(),
            processes: results.runs.len(),
            rows: results.kinds().into_iter().map(row).collect(),
        }
    }

    fn environment(&self) -> Environment {
        self.header.environment.clone().unwrap_or_default()
    }
}

/// The page; `RESULTS` stands where the results belong.
const PAGE: &str = include_str!("site/page.html");
const STYLE: &str = include_str!("site/page.css");
const SCRIPT: &str = include_str!("site/page.js");

/// Returns a page of HTML with everything in it: charts, and tables to sort and to filter.
///
/// # Errors
/// If the results are none of JSON's.
pub fn page(files: &[Summary]) -> crate::Result<String> {
    // Within a script no text may end it.
    let results = serde_json::to_string(files).map_err(crate::Error::data)?;
    let results = results
        .replace('<', "\\u003c")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029");
    Ok(PAGE
        .replace("/*STYLE*/", STYLE)
        .replace("/*SCRIPT*/", SCRIPT)
        .replace("/*RESULTS*/", &results))
}

/// Returns every row of every file as CSV.
pub fn csv(files: &[Summary]) -> String {
    let head = "file,adapter,driver,processor,version,commit,date,processes,name,core,dtype,cache,\
                pass,ms,within,between,wall_ms,gflops,gbps,peak_share,bound,dispatches,\
                memory_bytes,max_error";
    let head = head.split(',').map(str::to_owned).collect();
    let number = |n: Option<f64>| n.map_or(String::new(), |n| format!("{n:.6}"));
    let rows = files.iter().flat_map(|file| {
        let environment = file.environment();
        file.rows.iter().map(move |row| {
            vec![
                file.file.clone(),
                file.header.adapter.clone(),
                file.header.driver.clone(),
                file.header.processor.clone(),
                file.header.version.clone(),
                environment.commit.clone().unwrap_or_default(),
                environment.date.clone(),
                row.processes.to_string(),
                row.name.clone(),
                row.core.clone(),
                row.dtype.clone(),
                row.cache.clone(),
                row.pass.to_string(),
                number(row.ms),
                number(row.within),
                number(row.between),
                number(row.wall_ms),
                number(row.gflops),
                number(row.gbps),
                number(row.peak_share),
                row.bound.clone(),
                row.dispatches.to_string(),
                row.memory.to_string(),
                row.max_err.map_or(String::new(), |e| format!("{e:.3e}")),
            ]
        })
    });
    table::csv(std::iter::once(head).chain(rows))
}

/// A number of milliseconds, to three digits.
fn short(ms: f64) -> String {
    match ms {
        ms if ms >= 100.0 => format!("{ms:.0}"),
        ms if ms >= 10.0 => format!("{ms:.1}"),
        ms if ms >= 1.0 => format!("{ms:.2}"),
        ms => format!("{ms:.3}"),
    }
}

/// Returns the machines with their peaks, and a table of workloads with a column to each file, as
/// Markdown.
pub fn markdown(files: &[Summary]) -> String {
    let mut text = String::from(
        "| | adapter | driver | processor | version | date | GFLOP/s | GB/s | us a dispatch | \
         processes |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (i, file) in files.iter().enumerate() {
        text += &format!("{}\n", machine(i + 1, file));
    }
    text += "\nMilliseconds on the device, the median of the processes' medians; in brackets the \
             matrix core, and the number of processes where it is not one:\n\n| workload |";
    for i in 1..=files.len() {
        text += &format!(" {i} |");
    }
    text += &format!("\n| --- |{}\n", " --- |".repeat(files.len()));
    for (name, cells) in pivot(files) {
        text += &format!("| {name} | {} |\n", cells.join(" | "));
    }
    text
}

/// Returns the row of a machine in a table of Markdown.
pub fn machine(number: usize, file: &Summary) -> String {
    let (header, environment) = (&file.header, file.environment());
    let commit = environment.commit.iter().map(|c| {
        let dirty = if environment.dirty == Some(true) {
            "+"
        } else {
            ""
        };
        let commit: String = c.chars().take(9).collect();
        format!(" ({}{dirty})", cell(&commit))
    });
    let launch = match header.peak_launch_us {
        0.0 => String::new(),
        us => format!("{us:.1}"),
    };
    format!(
        "| {number} | {} | {} | {} | {}{} | {} | {:.0} | {:.0} | {launch} | {} |",
        cell(&header.adapter),
        cell(&header.driver),
        cell(&header.processor),
        cell(&header.version),
        commit.collect::<String>(),
        cell(environment.date.split('T').next().unwrap_or_default()),
        header.peak_gflops,
        header.peak_gbps,
        file.processes,
    )
}

/// Workloads by name, type, cache and core, in the order in which files first have them, with a
/// cell to each file.
fn pivot(files: &[Summary]) -> Vec<(String, Vec<String>)> {
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    for (i, file) in files.iter().enumerate() {
        for row in &file.rows {
            let mut name = row.name.clone();
            for (said, usual) in [(&row.dtype, "f32"), (&row.cache, "warm")] {
                if said != usual {
                    name += &format!(", {said}");
                }
            }
            let processes = match row.processes {
                1 => String::new(),
                several => format!(", {several}"),
            };
            let value = match row.ms {
                Some(ms) => format!("{} ({}{processes})", short(ms), cell(&row.core)),
                None if row.pass => "refused".to_owned(),
                None => "WRONG".to_owned(),
            };
            let name = cell(&name);
            let at = match rows.iter().position(|(n, _)| *n == name) {
                Some(at) => at,
                None => {
                    rows.push((name, vec![String::new(); files.len()]));
                    rows.len() - 1
                }
            };
            let there = &mut rows[at].1[i];
            if !there.is_empty() {
                there.push_str(", ");
            }
            there.push_str(&value);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::planted::{header, row};
    use crate::bench::results::Run;

    fn planted() -> Vec<Summary> {
        let run = |ms: f64| Run {
            header: header(),
            rows: vec![
                row("scale_n1000", ms),
                Row {
                    pass: false,
                    ms: None,
                    ..row("launch_d10", 1.0)
                },
            ],
        };
        let several = Results {
            runs: vec![run(1.0), run(3.0), run(2.0)],
        };
        let mut at_times = several.clone();
        at_times.runs[1].rows[0].pass = false;
        at_times.runs[1].rows[0].ms = None;
        let hostile = Results {
            runs: vec![Run {
                header: Header {
                    adapter: "</script><script>alert(1)</script> | x \\| y".into(),
                    ..header()
                },
                rows: vec![Row {
                    core: "a | b".into(),
                    ..row("scale_n1000", 9.5)
                }],
            }],
        };
        vec![
            Summary::new("a.jsonl", &several),
            Summary::new("b.jsonl", &hostile),
            Summary::new("c.jsonl", &at_times),
        ]
    }

    #[test]
    fn processes_become_one_line() {
        let files = planted();
        assert_eq!((files[0].processes, files[0].rows.len()), (3, 2));
        let one = &files[0].rows[0];
        assert_eq!((one.ms, one.op.as_deref()), (Some(2.0), Some("scale")));
        assert_eq!(one.sizes, BTreeMap::from([("n".to_owned(), 1000)]));
        assert!((one.between.unwrap() - 0.5).abs() < 1e-12);
        assert_eq!((files[0].rows[1].pass, files[0].rows[1].ms), (false, None));
        assert_eq!(files[1].rows[0].between, None);
        assert_eq!((one.processes, files[1].rows[0].processes), (3, 1));
        // Wrong in one of three processes is wrong.
        let at_times = &files[2].rows[0];
        assert_eq!((at_times.pass, at_times.processes), (false, 0));
        assert_eq!((at_times.ms, at_times.gflops), (None, None));
        assert_eq!((at_times.within, at_times.between), (None, None));
    }

    #[test]
    fn tables_hold_every_file() {
        let text = markdown(&planted());
        assert!(
            text.contains("| scale_n1000 | 2.00 (subgroup, 3) | 9.50 (a \\| b) | WRONG |"),
            "{text}"
        );
        assert!(text.contains("| launch_d10 | WRONG |  | WRONG |"), "{text}");
        assert!(
            text.contains("&lt;script>") && text.contains("\\| x \\\\\\| y"),
            "{text}"
        );
        let csv = csv(&planted());
        assert_eq!(csv.lines().count(), 6);
        assert!(
            csv.lines()
                .nth(1)
                .unwrap()
                .contains("scale_n1000,subgroup,f32,warm,true,2.0")
        );
    }

    #[test]
    fn a_page_holds_everything_and_no_name_becomes_markup() {
        let page = page(&planted()).unwrap();
        assert_eq!(
            page.matches("</script>").count(),
            page.matches("<script").count()
        );
        assert!(!page.contains("<script>alert") && page.contains("scale_n1000"));
        for mark in [
            "/*STYLE*/",
            "/*SCRIPT*/",
            "/*RESULTS*/",
            "src=\"",
            "@import",
            "url(",
        ] {
            assert!(!page.contains(mark), "{mark}");
        }
        // What is drawn is made by the script: it has the results between its marks.
        let json = page.split("id=\"results\">").nth(1).unwrap();
        let json = json.split("</script>").next().unwrap();
        let read: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(read.as_array().unwrap().len(), 3);
        assert!(
            read[1]["header"]["adapter"]
                .as_str()
                .unwrap()
                .starts_with("</script>")
        );
    }
}
