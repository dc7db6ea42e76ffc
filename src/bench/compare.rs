//! Two sets of results against each other: a verdict for each workload, by intervals.
//!
//! What is compared are the medians of processes, since one process differs from the next by more
//! than its own times do from each other. Each is first multiplied by the peak that its process
//! measured (of copies, where memory binds, else of operations), so that a machine that runs slower
//! today changes nothing. Of the logarithms' differences an interval at 95 % is taken by ranks
//! (`statistics`): of pairs where the processes of both sides took turns, else of the shift between
//! two samples.

use super::results::Results;
use super::row::{Header, Row};
use super::statistics::{Interval, median, of_pairs, of_shift, quantile, sorted};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a workload's time changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Change {
    /// By less than matters, surely.
    Same,
    /// It takes less, surely, and by more than matters.
    Faster,
    /// It takes longer, surely, and by more than matters.
    Slower,
    /// None of these is sure.
    Unsure,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Change::Same => "SAME",
            Change::Faster => "FASTER",
            Change::Slower => "SLOWER",
            Change::Unsure => "UNSURE",
        })
    }
}

/// Changes that matter: both hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// The share of the old time, at least.
    pub share: f64,
    /// Milliseconds, at least.
    pub floor_ms: f64,
}

/// One workload in two sets of results.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The workload's name.
    pub name: String,
    /// The matrix core.
    pub core: String,
    /// The elements' type.
    pub dtype: String,
    /// `warm` or `cold`.
    pub cache: String,
    /// The verdict.
    pub verdict: Change,
    /// The new time over the old, normalised; NaN where a side has none.
    pub ratio: f64,
    /// Its interval at 95 %; `None` where the processes are too few for one.
    pub interval: Option<[f64; 2]>,
    /// Medians of the new processes, in milliseconds, as measured.
    pub new_ms: Vec<f64>,
    /// Medians of the old ones.
    pub old_ms: Vec<f64>,
}

/// Which processes stand against which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// Those of both sides took turns: the first against the first.
    Turns,
    /// All against all.
    Apart,
}

/// Returns a process's time for a workload at the speed of a machine of 10^9 operations or bytes
/// per second: its logarithm.
fn normalised((header, row): &(&Header, &Row), bound: &str) -> f64 {
    let peak = match bound {
        "memory" => header.peak_gbps,
        _ => header.peak_gflops,
    };
    (row.ms.unwrap_or(f64::NAN) * peak).ln()
}

/// Judges a ratio of new to old, of which the old is `old_ms`.
fn judge(ratio: Interval, old_ms: f64, threshold: Threshold) -> Change {
    let most = 1.0 + threshold.share;
    let floor = |ratio: f64| (ratio - 1.0).abs() * old_ms >= threshold.floor_ms;
    let matters = |ratio: f64| !(1.0 / most..=most).contains(&ratio) && floor(ratio);
    match ratio {
        r if r.low > 1.0 && r.middle > 1.0 && matters(r.middle) => Change::Slower,
        r if r.high < 1.0 && r.middle < 1.0 && matters(r.middle) => Change::Faster,
        r if r.low <= r.high && !matters(r.low) && !matters(r.high) => Change::Same,
        _ => Change::Unsure,
    }
}

/// Compares two sets of results: every kind of row that both have, in the order of the new ones.
pub fn compare(
    new: &Results,
    old: &Results,
    pairing: Pairing,
    threshold: Threshold,
) -> Vec<Comparison> {
    let known = old.kinds();
    let both = |row: &&Row| known.iter().any(|old| old.key() == row.key());
    new.kinds()
        .into_iter()
        .filter(both)
        .map(|row| one(row, new, old, pairing, threshold))
        .collect()
}

fn one(
    row: &Row,
    new: &Results,
    old: &Results,
    pairing: Pairing,
    threshold: Threshold,
) -> Comparison {
    let logs = |results: &Results| -> Vec<f64> {
        let timed = results.timed(row);
        timed.iter().map(|t| normalised(t, &row.bound)).collect()
    };
    let ms = |results: &Results| -> Vec<f64> {
        let timed = results.timed(row);
        timed.iter().filter_map(|(_, row)| row.ms).collect()
    };
    let (new_ms, old_ms) = (ms(new), ms(old));
    let interval = match pairing {
        Pairing::Apart => of_shift(&logs(new), &logs(old)),
        // A process whose time was refused leaves its partner alone.
        Pairing::Turns => {
            let turns = new.runs.iter().zip(&old.runs);
            let of = |run: &super::results::Run| {
                let row = run.rows.iter().find(|r| r.key() == row.key())?;
                row.ms.map(|_| normalised(&(&run.header, row), &row.bound))
            };
            let pairs = turns.filter_map(|(new, old)| Some(of(new)? - of(old)?));
            of_pairs(&pairs.collect::<Vec<f64>>())
        }
    };
    let interval = interval.map(|i| i.map(f64::exp));
    let ratio = match interval {
        Some(interval) => interval.middle,
        None => (median(&logs(new)) - median(&logs(old))).exp(),
    };
    Comparison {
        name: row.name.clone(),
        core: row.core.clone(),
        dtype: row.dtype.clone(),
        cache: row.cache.name().into(),
        verdict: match interval {
            Some(interval) => judge(interval, median(&old_ms), threshold),
            None => Change::Unsure,
        },
        ratio,
        interval: interval.map(|i| [i.low, i.high]),
        new_ms,
        old_ms,
    }
}

/// The spread of a workload's times: a quarter of them lies below this share of the median, and a
/// quarter above it, taken together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median of the processes' medians, in milliseconds.
    pub median: f64,
    /// Of the times of a process, in the middle one of the processes.
    pub within: f64,
    /// Of the medians of the processes.
    pub between: f64,
}

/// Returns the spread of a kind of rows within processes and between them.
pub fn spread_of(results: &Results, kind: &Row) -> Spread {
    let timed = results.timed(kind);
    let within: Vec<f64> = timed
        .iter()
        .filter_map(|(_, row)| {
            let [low, high] = row.ms_quartiles?;
            Some((high - low) / row.ms?)
        })
        .collect();
    let medians: Vec<f64> = timed.iter().filter_map(|(_, row)| row.ms).collect();
    let medians = sorted(&medians);
    let range = quantile(&medians, 0.75) - quantile(&medians, 0.25);
    let middle = quantile(&medians, 0.5);
    Spread {
        median: middle,
        within: median(&within),
        between: range / middle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::planted::{header, row};
    use crate::bench::results::Run;
    use crate::spec::Rng;

    const FIVE: Threshold = Threshold {
        share: 0.05,
        floor_ms: 0.02,
    };

    /// Processes of one workload, a machine's speed and a time to each.
    fn results(of: &[(f64, f64)]) -> Results {
        let run = |(speed, ms): &(f64, f64)| Run {
            header: Header {
                peak_gflops: 100.0 * speed,
                ..header()
            },
            rows: vec![row("a", ms / speed)],
        };
        Results {
            runs: of.iter().map(run).collect(),
        }
    }

    /// Processes whose time differs by a share from one to the next, on a machine whose speed
    /// wanders.
    fn noisy(rng: &mut Rng, count: usize, ms: f64, noise: f64) -> Vec<(f64, f64)> {
        (0..count)
            .map(|_| {
                let speed = 1.0 + 0.3 * rng.uniform();
                (speed, ms * (noise * rng.normal()).exp())
            })
            .collect()
    }

    #[test]
    fn a_planted_change_is_found_either_way_and_none_where_there_is_none() {
        let mut rng = Rng::new(3);
        for pairing in [Pairing::Turns, Pairing::Apart] {
            for _ in 0..20 {
                let base = results(&noisy(&mut rng, 10, 4.0, 0.01));
                let slow = results(&noisy(&mut rng, 10, 4.4, 0.01));
                let same = results(&noisy(&mut rng, 10, 4.0, 0.01));
                let verdict =
                    |new: &Results, old: &Results| compare(new, old, pairing, FIVE)[0].verdict;
                assert_eq!(verdict(&slow, &base), Change::Slower);
                assert_eq!(verdict(&base, &slow), Change::Faster);
                assert_eq!(verdict(&same, &base), Change::Same);
            }
        }
    }

    #[test]
    fn noise_and_few_processes_make_no_verdict() {
        let mut rng = Rng::new(5);
        let wild = results(&noisy(&mut rng, 6, 4.4, 0.5));
        let other = results(&noisy(&mut rng, 6, 4.0, 0.5));
        let found = &compare(&wild, &other, Pairing::Turns, FIVE)[0];
        assert_eq!(found.verdict, Change::Unsure, "{found:?}");
        // One process a side, and twice the time: nobody knows what the next would say.
        let (one, two) = (results(&[(1.0, 4.0)]), results(&[(1.0, 8.0)]));
        for pairing in [Pairing::Turns, Pairing::Apart] {
            let found = &compare(&two, &one, pairing, FIVE)[0];
            assert_eq!((found.verdict, found.interval), (Change::Unsure, None));
            assert!((found.ratio - 2.0).abs() < 1e-9);
        }
    }

    #[test]
    fn changes_below_the_floor_are_none() {
        let ratio = |low: f64, middle: f64, high: f64| Interval { low, middle, high };
        let slower = ratio(1.08, 1.1, 1.12);
        assert_eq!(judge(slower, 4.0, FIVE), Change::Slower);
        // A tenth of 0.1 ms is 10 us, and the floor 20.
        assert_eq!(judge(slower, 0.1, FIVE), Change::Same);
        assert_eq!(judge(ratio(0.98, 1.0, 1.02), 4.0, FIVE), Change::Same);
        assert_eq!(judge(ratio(0.98, 1.1, 1.2), 4.0, FIVE), Change::Unsure);
        assert_eq!(judge(ratio(1.01, 1.03, 1.08), 4.0, FIVE), Change::Unsure);
        assert_eq!(judge(ratio(0.8, 0.9, 0.95), 4.0, FIVE), Change::Faster);
        let nan = f64::NAN;
        assert_eq!(judge(ratio(nan, nan, nan), 4.0, FIVE), Change::Unsure);
    }

    #[test]
    fn spread_is_told_within_and_between() {
        let results = results(&[(1.0, 4.0), (1.0, 5.0), (1.0, 4.0), (1.0, 5.0)]);
        let spread = spread_of(&results, &row("a", 0.0));
        assert!((spread.median - 4.5).abs() < 1e-9, "{spread:?}");
        assert!((spread.within - 0.03).abs() < 1e-9, "{spread:?}");
        assert!((spread.between - 1.0 / 4.5).abs() < 1e-9, "{spread:?}");
    }
}
