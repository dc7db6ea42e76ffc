//! A page about runs: where they came, how, and what they look like.

use super::page::{Figure, Page, Section, Strip, Table};
use super::svg::{Series, chart, legend};
use crate::storage::sessions::SessionRecord;

/// The columns of a log by name, the step first.
pub type Columns = Vec<(String, Vec<f64>)>;

/// The results of a run, as a page shows them.
#[derive(Clone, Debug, Default)]
pub struct RunView {
    /// Its name.
    pub name: String,
    /// Its configuration, as its folder keeps it.
    pub config: String,
    /// The training log.
    pub log: Columns,
    /// The measurements on images held out.
    pub tests: Columns,
    /// The processes that trained it.
    pub sessions: Vec<SessionRecord>,
    /// Pictures of reconstructions over time: what each is of, and a PNG file.
    pub strip: Vec<(String, Vec<u8>)>,
    /// Pictures of it: maps of its codebooks.
    pub maps: Vec<Figure>,
    /// Pictures of what priors over its codes draw.
    pub samples: Vec<Figure>,
}

/// Columns of measurements that the table of results has, and their names there.
const RESULTS: [(&str, &str); 10] = [
    ("step", "step"),
    ("mse", "MSE"),
    ("psnr", "PSNR, dB"),
    ("ssim", "SSIM"),
    ("lpips", "LPIPS"),
    ("sharpness", "sharpness"),
    ("perplexity", "perplexity"),
    ("used", "codes used"),
    ("bits_per_pixel", "bits per pixel"),
    ("bits_per_token", "bits per token"),
];

fn last(columns: &Columns, name: &str) -> Option<f64> {
    let (_, values) = columns.iter().find(|(n, _)| n == name)?;
    values.last().copied().filter(|v| v.is_finite())
}

/// A number in a table.
fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        format!("{value:.0}")
    } else {
        super::axes::measured(value)
    }
}

fn results(runs: &[RunView]) -> Table {
    let known: Vec<_> = RESULTS
        .iter()
        .filter(|(name, _)| runs.iter().any(|run| last(&run.tests, name).is_some()))
        .collect();
    let head = std::iter::once("run").chain(known.iter().map(|(_, shown)| *shown));
    let row = |run: &RunView| {
        let values = known.iter().map(|(name, _)| {
            let value = last(&run.tests, name);
            value.map_or("-".to_owned(), number)
        });
        std::iter::once(run.name.clone()).chain(values).collect()
    };
    Table {
        head: head.map(str::to_owned).collect(),
        rows: runs.iter().map(row).collect(),
    }
}

/// Charts of all columns that some runs' logs have, a curve to each run.
fn charts(runs: &[RunView], log: fn(&RunView) -> &Columns) -> Vec<String> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in runs.iter().flat_map(|run| log(run).iter().skip(1)) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let series = |run: &RunView, name: &str| {
        let columns = log(run);
        let of = |name: &str| columns.iter().find(|(n, _)| n == name);
        let points = match (of("step"), of(name)) {
            (Some((_, steps)), Some((_, values))) => {
                steps.iter().copied().zip(values.iter().copied()).collect()
            }
            _ => Vec::new(),
        };
        Series {
            name: run.name.clone(),
            points,
        }
    };
    let of = |name: &&str| {
        let all: Vec<Series> = runs.iter().map(|run| series(run, name)).collect();
        chart(&name.replace('_', " "), &all)
    };
    names.iter().filter_map(of).collect()
}

/// `2 h 05 min`, `3 min 20 s`, `12.3 s`.
fn time(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A time as a date and a clock's time in UTC, by days since 1 March of the year 0 (Hinnant, 2013).
fn date(seconds: u64) -> String {
    let (days, rest) = (seconds as i64 / 86400 + 719_468, seconds % 86400);
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let years = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * years + years / 4 - years / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = years + era * 400 + i64::from(month <= 2);
    let (hours, minutes) = (rest / 3600, rest % 3600 / 60);
    format!("{year}-{month:02}-{day:02} {hours:02}:{minutes:02} UTC")
}

fn sessions(run: &RunView) -> Option<Table> {
    let head = [
        "began",
        "command",
        "version",
        "adapter",
        "driver",
        "core",
        "steps",
        "time",
        "steps/s",
        "device memory",
    ];
    let row = |s: &SessionRecord| {
        let (done, spent) = (s.to.saturating_sub(s.from), s.seconds);
        let pace = if done > 0 && spent > 0.0 {
            super::axes::measured(done as f64 / spent)
        } else {
            "-".into()
        };
        // Of a program's path its name alone.
        let words = s.command.iter().enumerate().map(|(i, word)| match i {
            0 => word.rsplit(['/', '\\']).next().unwrap_or(word),
            _ => word,
        });
        vec![
            date(s.began),
            words.collect::<Vec<_>>().join(" "),
            s.version.clone(),
            format!("{} ({})", s.adapter, s.backend),
            s.driver.trim().to_owned(),
            s.core.clone(),
            format!("{} to {}", s.from, s.to),
            time(spent),
            pace,
            format!("{} MiB", s.peak_device_bytes >> 20),
        ]
    };
    (!run.sessions.is_empty()).then(|| Table {
        head: head.map(str::to_owned).into(),
        rows: run.sessions.iter().map(row).collect(),
    })
}

/// Returns the page about some runs.
pub fn run_page(runs: &[RunView]) -> Page {
    let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
    let legend = match runs.len() {
        0 | 1 => Default::default(),
        _ => legend(&names),
    };
    let mut sections = vec![
        Section {
            id: "results".into(),
            title: "Results".into(),
            text: vec!["The last measurement of each, on images held out.".into()],
            table: Some(results(runs)),
            ..Default::default()
        },
        Section {
            id: "measured".into(),
            title: "On images held out".into(),
            legend: legend.clone(),
            charts: charts(runs, |run| &run.tests),
            ..Default::default()
        },
        Section {
            id: "training".into(),
            title: "In training".into(),
            text: vec![
                "A line is the mean of what lies close together, the band around it from the \
                 least to the greatest."
                    .into(),
            ],
            legend,
            charts: charts(runs, |run| &run.log),
            ..Default::default()
        },
    ];
    for (i, run) in runs.iter().enumerate() {
        let of = |what: &str| match runs.len() {
            1 => what.to_owned(),
            _ => format!("{}: {what}", run.name),
        };
        let id = |what: &str| format!("{what}-{}", i + 1);
        if !run.strip.is_empty() {
            sections.push(Section {
                id: id("time"),
                title: of("reconstructions over time"),
                text: vec![
                    "Images held out, and what the model made of them at some steps.".into(),
                ],
                strip: run
                    .strip
                    .iter()
                    .map(|(label, png)| Strip {
                        label: label.clone(),
                        png: png.clone(),
                    })
                    .collect(),
                ..Default::default()
            });
        }
        for (what, figures) in [("codebook", &run.maps), ("samples", &run.samples)] {
            if !figures.is_empty() {
                sections.push(Section {
                    id: id(what),
                    title: of(what),
                    figures: figures.clone(),
                    ..Default::default()
                });
            }
        }
        sections.push(Section {
            id: id("run"),
            title: of("how it was trained"),
            table: sessions(run),
            code: run.config.clone(),
            ..Default::default()
        });
    }
    sections.retain(|s| {
        s.table.is_some()
            || !(s.charts.is_empty() && s.strip.is_empty() && s.figures.is_empty())
            || !s.code.is_empty()
    });
    let title = match names.as_slice() {
        [one] => format!("Run {one}"),
        all => format!("Runs {}", all.join(", ")),
    };
    Page {
        title,
        intro: Vec::new(),
        sections,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, rows: usize) -> RunView {
        let steps: Vec<f64> = (1..=rows).map(|i| i as f64).collect();
        let column = |f: fn(f64) -> f64| steps.iter().map(|s| f(*s)).collect::<Vec<_>>();
        let names = ["loss", "perplexity", "used", "revived"].map(str::to_owned);
        let fill: [fn(f64) -> f64; 4] = [|s| 1.0 / s, |s| s.sqrt(), |s| s.sin() + 9.0, |_| 0.0];
        let mut log: Columns = vec![("step".into(), steps.clone())];
        log.extend(names.into_iter().zip(fill.map(column)));
        RunView {
            name: name.into(),
            config: "[train]\nsteps = 3".into(),
            tests: log.iter().take(3).cloned().collect(),
            log,
            sessions: vec![SessionRecord {
                command: vec!["/home/somebody/bin/wgvq".into(), "train".into()],
                from: 0,
                to: 50,
                seconds: 125.0,
                ..Default::default()
            }],
            strip: vec![("original".into(), vec![1]), ("step 5".into(), vec![2])],
            ..Default::default()
        }
    }

    #[test]
    fn a_page_of_a_long_run_is_small_and_stands_alone() {
        let html = run_page(&[run("a", 100_000), run("b<", 50)]).html();
        assert!(html.len() < 300_000, "{} bytes", html.len());
        for there in [
            "Runs a, b&lt;",
            "reconstructions over time",
            "data:image/png;base64,AQ==",
            "<pre>[train]\nsteps = 3</pre>",
            "<td>2 min 05 s</td><td>0.400</td>",
            "<td>wgvq train</td>",
            ">loss<tspan class=\"s\">, log scale",
        ] {
            assert!(html.contains(there), "{there}");
        }
        for bad in ["<script", "http", "b<<", "/home/somebody", ">revived<"] {
            assert!(!html.contains(bad), "{bad}");
        }
        // What nothing is known of has no part.
        let bare = run_page(&[RunView {
            name: "x".into(),
            ..Default::default()
        }])
        .html();
        assert!(!bare.contains("<svg") && bare.contains("Run x"));
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, want) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_795_975_380, "2026-11-29 18:03 UTC"),
            (4_102_444_799, "2099-12-31 23:59 UTC"),
        ] {
            assert_eq!(date(seconds), want);
        }
    }
}
