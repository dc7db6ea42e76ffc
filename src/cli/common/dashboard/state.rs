//! The state of the dashboard of a run.

use std::time::Duration;
use wgvq::train::View;

/// Lines that are kept of what a run says.
const LINES: usize = 1000;
/// Points that are kept of a column; more of them are thinned to half as many.
const POINTS: usize = 4096;
/// Columns of logs that are looked at first, in this order.
const FIRST: [&str; 6] = [
    "loss",
    "perplexity",
    "used",
    "reconstruction",
    "gradient_norm",
    "lr",
];

/// A column of a log over the steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

impl Series {
    /// Returns the newest value.
    pub fn newest(&self) -> Option<f64> {
        self.points.last().map(|(_, value)| *value)
    }

    /// Whether there is something to be seen: a value that is not 0.
    fn is_seen(&self) -> bool {
        self.points.iter().any(|(_, value)| *value != 0.0)
    }
}

/// Images held out, and what the model makes of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Pictures {
    pub step: u64,
    /// Height, width and channels of an image.
    pub size: [usize; 3],
    pub originals: Vec<u8>,
    pub reconstructions: Vec<u8>,
}

/// The state that is shown.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The model and its data.
    pub title: String,
    /// The work before the first step.
    pub status: String,
    pub step: u64,
    pub steps: u64,
    /// Units a second, and the unit.
    pub pace: Option<(f64, &'static str)>,
    pub left: Option<Duration>,
    /// Bytes of device memory in use, and at peak.
    pub memory: [u64; 2],
    /// The share of the time in which training waited for data.
    pub waited: Option<f64>,
    /// The training log, and the measurements.
    pub log: Vec<Series>,
    pub tests: Vec<Series>,
    pub pictures: Option<Pictures>,
    /// The messages, the newest last.
    pub lines: Vec<String>,
    /// Places by which the charts are turned.
    pub turned: usize,
    pub paused: bool,
    pub stopping: bool,
    /// Whether the terminal shows all colours, and not 256.
    pub true_colour: bool,
}

impl State {
    /// Appends a row of a log; what an earlier attempt at its step left goes.
    pub fn push(log: &mut Vec<Series>, row: &[(String, f64)]) {
        let Some(((_, step), values)) = row.split_first() else {
            return;
        };
        for (name, value) in values {
            let known = log.iter().position(|series| series.name == *name);
            let at = known.unwrap_or_else(|| {
                log.push(Series {
                    name: name.clone(),
                    points: Vec::new(),
                });
                log.len() - 1
            });
            let points = &mut log[at].points;
            while points.last().is_some_and(|(at, _)| at >= step) {
                points.pop();
            }
            if value.is_finite() {
                points.push((*step, *value));
            }
            if points.len() > POINTS {
                *points = thinned(points, POINTS / 4);
            }
        }
    }

    /// Keeps the newest views of the model.
    pub fn view(&mut self, step: u64, views: &[View]) {
        for view in views {
            if let View::Reconstructions {
                size,
                originals,
                reconstructions,
            } = view
            {
                self.pictures = Some(Pictures {
                    step,
                    size: *size,
                    originals: originals.clone(),
                    reconstructions: reconstructions.clone(),
                });
            }
        }
    }

    /// Keeps a line of what is said.
    pub fn say(&mut self, text: &str) {
        if self.lines.len() >= LINES {
            self.lines.remove(0);
        }
        self.lines.push(text.to_owned());
    }

    /// Returns the columns that there is something to be seen of, with their names: those of the
    /// training log, then those of the measurements.
    pub fn charts(&self) -> Vec<(String, &Series)> {
        let place = |series: &Series| {
            let first = FIRST.iter().position(|name| *name == series.name);
            first.unwrap_or(FIRST.len())
        };
        let mut log: Vec<&Series> = self.log.iter().filter(|s| s.is_seen()).collect();
        log.sort_by_key(|series| place(series));
        let plain = |s: &str| s.replace('_', " ");
        let log = log.into_iter().map(|s| (plain(&s.name), s));
        let tests = self.tests.iter().filter(|s| s.is_seen());
        let tests = tests.map(|s| (format!("test {}", plain(&s.name)), s));
        log.chain(tests).collect()
    }

    /// Turns the charts by so many places.
    pub fn turn(&mut self, by: isize) {
        let charts = self.charts().len().max(1) as isize;
        self.turned = (self.turned as isize + by).rem_euclid(charts) as usize;
    }
}

/// Returns points of which each column has its least and greatest, in their order.
pub fn thinned(points: &[(f64, f64)], columns: usize) -> Vec<(f64, f64)> {
    if points.len() <= 2 * columns {
        return points.to_vec();
    }
    let mut out = Vec::with_capacity(2 * columns);
    for part in points.chunks(points.len().div_ceil(columns)) {
        let by = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let (low, high) = (part.iter().min_by(by), part.iter().max_by(by));
        let mut both: Vec<(f64, f64)> = low.into_iter().chain(high).copied().collect();
        both.sort_by(|a, b| a.0.total_cmp(&b.0));
        both.dedup();
        out.extend(both);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: f64, values: &[(&str, f64)]) -> Vec<(String, f64)> {
        let values = values.iter().map(|(name, v)| ((*name).to_owned(), *v));
        std::iter::once(("step".to_owned(), step))
            .chain(values)
            .collect()
    }

    #[test]
    fn a_step_that_is_done_again_counts_once() {
        let mut log = Vec::new();
        for (step, loss) in [
            (10.0, 5.0),
            (20.0, 4.0),
            (30.0, 9.0),
            (20.0, 3.0),
            (30.0, f64::NAN),
        ] {
            State::push(&mut log, &row(step, &[("loss", loss)]));
        }
        assert_eq!(log[0].points, [(10.0, 5.0), (20.0, 3.0)]);
    }

    #[test]
    fn a_long_curve_keeps_its_extremes_and_few_points() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|i| (f64::from(i), 1.0)).collect();
        (points[70_001].1, points[70_002].1) = (9.0, -3.0);
        let few = thinned(&points, 100);
        assert!(few.len() <= 200);
        assert!(few.contains(&(70_001.0, 9.0)) && few.contains(&(70_002.0, -3.0)));
        assert!(few.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(thinned(&points[..50], 100), points[..50]);
        let mut log = Vec::new();
        for (step, value) in points {
            State::push(&mut log, &row(step, &[("loss", value)]));
        }
        let kept = &log[0].points;
        assert!(kept.len() <= POINTS && log[0].newest() == Some(1.0));
        assert!(kept.contains(&(70_001.0, 9.0)) && kept.contains(&(70_002.0, -3.0)));
    }

    #[test]
    fn charts_turn_round_and_begin_with_the_loss() {
        let mut state = State::default();
        let values = [
            ("commitment", 1.0),
            ("used", 3.0),
            ("loss", 2.0),
            ("revived", 0.0),
        ];
        State::push(&mut state.log, &row(1.0, &values));
        State::push(&mut state.tests, &row(1.0, &[("mse", 0.5)]));
        let names = |state: &State| -> Vec<String> {
            state.charts().into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names(&state), ["loss", "used", "commitment", "test mse"]);
        state.turn(-1);
        assert_eq!(state.turned, 3);
        state.turn(2);
        assert_eq!(state.turned, 1);
        State::default().turn(1);
    }
}
