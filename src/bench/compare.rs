//! Two sets of results against each other: a verdict for each workload, by intervals.
//!
//! The medians of processes are compared, since one process differs from the next by more than its
//! own times do from each other. An interval at 95 % of the differences of their logarithms is
//! taken by ranks (`statistics`): of pairs where the processes of both sides took turns, so that
//! whatever wanders with time strikes both alike; else of the shift between two samples. Then each
//! time is first multiplied by the peak that its process measured (of copies, where memory binds,
//! of operations, where they do), so that a machine that runs slower today changes nothing. A build
//! whose kernels are slower everywhere measures lower peaks too, and hides behind them:
//! [`peak_ratios`] shows it, and turns do without peaks.
//!
//! On a machine that others use as well, half of all processes may take half as long again, and
//! medians say nothing: there the fastest processes of both sides are compared
//! ([`Pairing::Fastest`]).

use super::results::Results;
use super::row::{Header, Row};
use super::statistics::{
    Interval, fastest, median, of_fastest, of_pairs, of_shift, quantile, sorted,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The verdict on a changed time.
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

impl Change {
    /// Returns the verdict that measurements of one workload come to, in their order: a difference
    /// has to be found twice, and may be unsure between; `None` where another measurement has to
    /// decide. Of a chance that one measurement finds a difference where there is none, 2.5 %, some
    /// 0.1 % are left; where measurements go on while they are unsure, some times as much.
    pub fn confirmed(measured: &[Change]) -> Option<Change> {
        match *measured {
            [first @ (Change::Same | Change::Unsure)] => Some(first),
            [] | [_] | [_, Change::Unsure] => None,
            [first, second] | [first, Change::Unsure, second] if first == second => Some(first),
            _ => Some(Change::Unsure),
        }
    }
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
    /// The new time over the old, each by its peak where the sides took no turns; NaN where a side
    /// has none.
    pub ratio: f64,
    /// Its interval at 95 %; `None` where the processes are too few for one.
    pub interval: Option<[f64; 2]>,
    /// Medians of the new processes, in milliseconds, as measured.
    pub new_ms: Vec<f64>,
    /// Medians of the old ones.
    pub old_ms: Vec<f64>,
}

/// The pairing of the processes of two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// Those of both sides took turns: the first against the first.
    Turns,
    /// Those of both sides took turns on a machine that others use as well, which only makes times
    /// longer: the fastest fifth of each side against the other's, a process by its least time.
    Fastest,
    /// All against all.
    Apart,
}

/// Returns the logarithm of a process's time for a workload; of processes apart, at the speed of a
/// machine of 10^9 operations or bytes per second, whichever bind.
fn logarithm((header, row): &(&Header, &Row), bound: &str, pairing: Pairing) -> f64 {
    let peak = match (pairing, bound) {
        (Pairing::Turns | Pairing::Fastest, _) => 1.0,
        (Pairing::Apart, "memory") => header.peak_gbps,
        (Pairing::Apart, "compute") => header.peak_gflops,
        // Dispatches take what they take, whatever the peaks.
        (Pairing::Apart, _) => 1.0,
    };
    let ms = match pairing {
        Pairing::Fastest => row.samples.iter().copied().reduce(f64::min).or(row.ms),
        _ => row.ms,
    };
    (ms.unwrap_or(f64::NAN) * peak).ln()
}

/// Returns the new peaks over the old, of multiply-adds and of copies: medians of the processes.
pub fn peak_ratios(new: &Results, old: &Results) -> [f64; 2] {
    let middle = |results: &Results, of: fn(&Header) -> f64| {
        let peaks: Vec<f64> = results.runs.iter().map(|run| of(&run.header)).collect();
        median(&peaks)
    };
    let peaks: [fn(&Header) -> f64; 2] = [|h| h.peak_gflops, |h| h.peak_gbps];
    peaks.map(|of| middle(new, of) / middle(old, of))
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
        let log = |t: &(&Header, &Row)| logarithm(t, &row.bound, pairing);
        timed.iter().map(log).collect()
    };
    let ms = |results: &Results| -> Vec<f64> {
        let timed = results.timed(row);
        timed.iter().filter_map(|(_, row)| row.ms).collect()
    };
    let (new_ms, old_ms) = (ms(new), ms(old));
    let interval = match pairing {
        Pairing::Apart => of_shift(&logs(new), &logs(old)),
        // What is wrong in one process of a side is no time of the others.
        _ if new_ms.is_empty() || old_ms.is_empty() => None,
        Pairing::Fastest => of_fastest(&logs(new), &logs(old)),
        // A process whose time was refused leaves its partner alone.
        Pairing::Turns => {
            let turns = new.runs.iter().zip(&old.runs);
            let of = |run: &super::results::Run| {
                let row = run.rows.iter().find(|r| r.key() == row.key())?;
                let log = logarithm(&(&run.header, row), &row.bound, pairing);
                row.ms.map(|_| log)
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
    // The old time that the floor is held against.
    let base = match pairing {
        Pairing::Fastest => fastest(&logs(old)).exp(),
        _ => median(&old_ms),
    };
    Comparison {
        name: row.name.clone(),
        core: row.core.clone(),
        dtype: row.dtype.clone(),
        cache: row.cache.name().into(),
        verdict: match interval {
            Some(interval) => judge(interval, base, threshold),
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
    /// The spread of the times of a process, in the middle one of the processes.
    pub within: f64,
    /// The spread of the medians of the processes.
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
    use Change::{Faster, Same, Slower, Unsure};

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

    /// The speeds of a machine that wanders.
    fn speeds(rng: &mut Rng, count: usize) -> Vec<f64> {
        (0..count).map(|_| 1.0 + 0.3 * rng.uniform()).collect()
    }

    /// Processes whose time differs by a share from one to the next, on a machine of these speeds.
    fn noisy(rng: &mut Rng, speeds: &[f64], ms: f64, noise: f64) -> Results {
        let one = |speed: &f64| (*speed, ms * (noise * rng.normal()).exp());
        results(&speeds.iter().map(one).collect::<Vec<_>>())
    }

    #[test]
    fn differences_are_found_twice() {
        for (measured, verdict) in [
            (&[Same][..], Some(Same)),
            (&[Unsure], Some(Unsure)),
            (&[Slower], None),
            (&[Slower, Slower], Some(Slower)),
            (&[Faster, Faster], Some(Faster)),
            (&[Faster, Slower], Some(Unsure)),
            (&[Slower, Same], Some(Unsure)),
            (&[Slower, Unsure], None),
            (&[Slower, Unsure, Slower], Some(Slower)),
            (&[Slower, Unsure, Unsure], Some(Unsure)),
            (&[Faster, Unsure, Slower], Some(Unsure)),
            (&[Faster, Unsure, Same], Some(Unsure)),
        ] {
            assert_eq!(Change::confirmed(measured), verdict, "{measured:?}");
        }
    }

    #[test]
    fn a_planted_change_is_found_either_way_and_none_where_there_is_none() {
        let mut rng = Rng::new(3);
        for pairing in [Pairing::Turns, Pairing::Apart] {
            for _ in 0..20 {
                // The two of a turn find the machine as fast.
                let turns = speeds(&mut rng, 10);
                let mut side = |ms: f64| {
                    let apart = speeds(&mut rng, 10);
                    let speeds = if pairing == Pairing::Turns {
                        &turns
                    } else {
                        &apart
                    };
                    noisy(&mut rng, speeds, ms, 0.01)
                };
                let (base, slow, same) = (side(4.0), side(4.4), side(4.0));
                let verdict =
                    |new: &Results, old: &Results| compare(new, old, pairing, FIVE)[0].verdict;
                assert_eq!(verdict(&slow, &base), Change::Slower);
                assert_eq!(verdict(&base, &slow), Change::Faster);
                assert_eq!(verdict(&same, &base), Change::Same);
            }
        }
    }

    /// Processes of which two in five are disturbed from their beginning to their end, and some of
    /// the times of the others.
    fn disturbed(rng: &mut Rng, ms: f64) -> Results {
        let mut longer = |share: f64| match rng.uniform() < share {
            true => 1.4 + 0.3 * rng.uniform(),
            false => 1.0 + 0.01 * rng.uniform(),
        };
        let mut all = results(&[(1.0, ms); 30]);
        for row in all.runs.iter_mut().flat_map(|run| &mut run.rows) {
            let process = longer(0.4);
            row.samples = (0..7).map(|_| ms * process.max(longer(0.3))).collect();
            row.ms = Some(median(&row.samples));
        }
        all
    }

    #[test]
    fn the_fastest_tell_where_medians_do_not() {
        let mut rng = Rng::new(5);
        let mut unsure = 0;
        for _ in 0..20 {
            let [base, slow, same] = [4.0, 4.4, 4.0].map(|ms| disturbed(&mut rng, ms));
            let verdict =
                |new: &Results, old: &Results, pairing| compare(new, old, pairing, FIVE)[0].verdict;
            assert_eq!(verdict(&slow, &base, Pairing::Fastest), Change::Slower);
            assert_eq!(verdict(&base, &slow, Pairing::Fastest), Change::Faster);
            assert_eq!(verdict(&same, &base, Pairing::Fastest), Change::Same);
            unsure += usize::from(verdict(&slow, &base, Pairing::Turns) == Change::Unsure);
        }
        assert!(unsure > 4, "{unsure} of 20 are unsure by medians");
        // Too few processes for a fifth of them.
        let [few, others] = [results(&[(1.0, 4.0); 19]), results(&[(1.0, 4.0); 30])];
        let found = &compare(&few, &others, Pairing::Fastest, FIVE)[0];
        assert_eq!((found.verdict, found.interval), (Change::Unsure, None));
    }

    /// The peaks are measured by the build's own kernels.
    #[test]
    fn a_build_that_is_slower_everywhere_is_slower_by_turns() {
        let mut rng = Rng::new(11);
        let base = noisy(&mut rng, &[1.0; 10], 4.0, 0.01);
        let slow = noisy(&mut rng, &[0.8; 10], 4.0, 0.01);
        let found = &compare(&slow, &base, Pairing::Turns, FIVE)[0];
        assert_eq!(found.verdict, Change::Slower, "{found:?}");
        assert!((found.ratio - 1.25).abs() < 0.02, "{found:?}");
        // Apart it looks like a machine that is slower today, and the peaks are shown.
        let found = &compare(&slow, &base, Pairing::Apart, FIVE)[0];
        assert_eq!(found.verdict, Change::Same, "{found:?}");
        let [gflops, gbps] = peak_ratios(&slow, &base);
        assert!((gflops - 0.8).abs() < 1e-9 && (gbps - 1.0).abs() < 1e-9);
    }

    #[test]
    fn dispatches_are_not_measured_by_peaks() {
        let launches = |speed: f64, ms: f64| {
            let mut results = results(&[(speed, ms); 6]);
            for row in results.runs.iter_mut().flat_map(|run| &mut run.rows) {
                row.bound = "launch".into();
                row.ms = Some(ms);
            }
            results
        };
        let (new, old) = (launches(2.0, 4.0), launches(1.0, 4.0));
        let found = &compare(&new, &old, Pairing::Apart, FIVE)[0];
        assert_eq!((found.verdict, found.ratio), (Change::Same, 1.0));
    }

    #[test]
    fn what_is_wrong_in_one_process_is_not_compared() {
        let right = results(&[(1.0, 4.0); 10]);
        let mut wrong = right.clone();
        wrong.runs[7].rows[0].pass = false;
        wrong.runs[7].rows[0].ms = None;
        for pairing in [Pairing::Turns, Pairing::Apart] {
            for (new, old) in [(&wrong, &right), (&right, &wrong)] {
                let found = &compare(new, old, pairing, FIVE)[0];
                assert_eq!((found.verdict, found.interval), (Change::Unsure, None));
                assert!(found.ratio.is_nan(), "{found:?}");
            }
        }
        assert!(spread_of(&wrong, &row("a", 0.0)).median.is_nan());
    }

    #[test]
    fn noise_and_few_processes_make_no_verdict() {
        let mut rng = Rng::new(5);
        let wild = noisy(&mut rng, &[1.0; 6], 4.4, 0.5);
        let other = noisy(&mut rng, &[1.0; 6], 4.0, 0.5);
        let found = &compare(&wild, &other, Pairing::Turns, FIVE)[0];
        assert_eq!(found.verdict, Change::Unsure, "{found:?}");
        // One process a side, and twice the time: nobody knows what the next would say.
        let (one, two) = (results(&[(1.0, 4.0)]), results(&[(1.0, 8.0)]));
        for pairing in [Pairing::Turns, Pairing::Apart] {
            let found = &compare(&two, &one, pairing, FIVE)[0];
            assert_eq!((found.verdict, found.interval), (Change::Unsure, None));
            assert!((found.ratio - 2.0).abs() < 1e-9);
        }
        // Three beside many are no sample of what the next would say.
        let (few, many) = (results(&[(1.0, 4.0); 3]), results(&[(1.0, 8.0); 20]));
        let found = &compare(&many, &few, Pairing::Apart, FIVE)[0];
        assert_eq!((found.verdict, found.interval), (Change::Unsure, None));
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
