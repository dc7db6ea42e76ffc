//! Pace and remaining time: a function of what is done and of times alone, so that it can be tested
//! against made-up clocks.

use std::collections::VecDeque;
use std::time::Duration;

/// Calls that are no measure of those to come: the first one compiles kernels and waits for the
/// first data, and what it left on the device is waited for up to two calls later.
const WARM_UP: u32 = 3;
/// Work is measured in parts of at least this long, so that what comes in bursts (data, say) counts
/// at its mean.
const PART: Duration = Duration::from_secs(1);
/// Parts that are remembered.
const PARTS: usize = 15;
/// A part this many times slower than the middle one was held up by something that is no rule.
const OUTLIER: f64 = 5.0;
/// Breaks of a kind that are remembered.
const BREAKS: usize = 5;

/// A recurring pause of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// A measurement.
    Measuring,
    /// A checkpoint.
    Saving,
}

/// Work that is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Steps.
    pub steps: u64,
    /// Measurements.
    pub measurements: u64,
    /// Checkpoints.
    pub checkpoints: u64,
}

/// The pace of a run. Each call says what the time since the call before went into.
#[derive(Clone, Debug)]
pub struct Pace {
    last: Duration,
    calls: u32,
    /// Steps of the part at hand, and the time that they took.
    open: (u64, Duration),
    /// Steps and seconds of the parts before.
    parts: VecDeque<(u64, f64)>,
    /// Durations of measurements and checkpoints, in seconds.
    breaks: [VecDeque<f64>; 2],
}

impl Pace {
    /// Work that begins at this time, on whatever clock.
    pub fn new(now: Duration) -> Pace {
        Pace {
            last: now,
            calls: 0,
            open: (0, Duration::ZERO),
            parts: VecDeque::new(),
            breaks: Default::default(),
        }
    }

    fn since(&mut self, now: Duration) -> Duration {
        let took = now.saturating_sub(self.last);
        self.last = now;
        took
    }

    /// So many steps more are done.
    pub fn stepped(&mut self, steps: u64, now: Duration) {
        let took = self.since(now);
        if self.calls < WARM_UP {
            self.calls += 1;
            return;
        }
        self.open = (self.open.0 + steps, self.open.1 + took);
        if self.open.1 >= PART && self.open.0 > 0 {
            remember(
                &mut self.parts,
                (self.open.0, self.open.1.as_secs_f64()),
                PARTS,
            );
            self.open = (0, Duration::ZERO);
        }
    }

    /// A measurement or a checkpoint is made.
    pub fn took(&mut self, what: Break, now: Duration) {
        let took = self.since(now).as_secs_f64();
        remember(&mut self.breaks[what as usize], took, BREAKS);
    }

    /// Something happened that is not expected again.
    pub fn skip(&mut self, now: Duration) {
        self.since(now);
    }

    /// Seconds to a step; `None` before it is known.
    pub fn seconds_per_step(&self) -> Option<f64> {
        let open = (self.open.0, self.open.1.as_secs_f64());
        if self.parts.is_empty() {
            // Two steps, so that one that was held up is not all that is known.
            return (open.0 >= 2).then(|| open.1 / open.0 as f64);
        }
        let of = |(steps, seconds): &(u64, f64)| seconds / *steps as f64;
        let middle = median(self.parts.iter().map(of));
        let usual = self
            .parts
            .iter()
            .filter(|part| of(part) <= OUTLIER * middle);
        let (steps, seconds) = usual.fold((0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        Some(seconds / steps as f64)
    }

    /// Steps per second; `None` before it is known.
    pub fn per_second(&self) -> Option<f64> {
        self.seconds_per_step().filter(|s| *s > 0.0).map(f64::recip)
    }

    /// Returns the duration of the rest at this pace; `None` before it is known. Measurements and
    /// checkpoints count from the first one on.
    pub fn left(&self, rest: Rest) -> Option<Duration> {
        let [measuring, saving] = self.breaks.each_ref().map(|b| median(b.iter().copied()));
        let breaks = rest.measurements as f64 * measuring + rest.checkpoints as f64 * saving;
        Duration::try_from_secs_f64(rest.steps as f64 * self.seconds_per_step()? + breaks).ok()
    }
}

fn remember<T>(all: &mut VecDeque<T>, one: T, most: usize) {
    if all.len() == most {
        all.pop_front();
    }
    all.push_back(one);
}

/// Returns the middle one, of two the less: a first measurement compiles kernels, and the second
/// does not. 0 of none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that is moved by hand.
    struct Run {
        pace: Pace,
        now: f64,
    }

    impl Run {
        fn new() -> Run {
            Run {
                pace: Pace::new(Duration::ZERO),
                now: 0.0,
            }
        }
        fn at(&self) -> Duration {
            Duration::from_secs_f64(self.now)
        }
        fn steps(&mut self, n: usize, seconds: f64) {
            for _ in 0..n {
                self.now += seconds;
                self.pace.stepped(1, self.at());
            }
        }
        fn pause(&mut self, what: Break, seconds: f64) {
            self.now += seconds;
            self.pace.took(what, self.at());
        }
        fn left(&self, steps: u64, measurements: u64, checkpoints: u64) -> Option<f64> {
            self.pace
                .left(Rest {
                    steps,
                    measurements,
                    checkpoints,
                })
                .map(|d| d.as_secs_f64())
        }
    }

    fn near(found: Option<f64>, wanted: f64) {
        assert!(
            found.is_some_and(|f| (f - wanted).abs() <= 0.1 * wanted),
            "{found:?} where {wanted} is right"
        );
    }

    #[test]
    fn what_compiles_is_not_counted_and_nothing_is_said_before_it_is_known() {
        let mut run = Run::new();
        run.steps(1, 30.0);
        assert_eq!(run.left(99, 0, 0), None);
        // Two steps lie on the device while the next is recorded: what the first one left may be
        // waited for at the third.
        run.steps(1, 0.01);
        run.steps(1, 4.0);
        assert_eq!((run.left(97, 0, 0), run.pace.per_second()), (None, None));
        run.steps(2, 0.5);
        near(run.left(95, 0, 0), 47.5);
        run.steps(40, 0.5);
        near(run.left(55, 0, 0), 27.5);
        near(run.pace.per_second(), 2.0);
    }

    #[test]
    fn measurements_count_as_what_they_are() {
        let mut run = Run::new();
        run.steps(23, 0.1);
        // The first one compiles; the steps behind it find the device without work.
        run.pause(Break::Measuring, 20.0);
        run.steps(2, 0.01);
        run.steps(18, 0.1);
        near(run.left(100, 0, 0), 10.0);
        run.pause(Break::Measuring, 4.0);
        run.pause(Break::Saving, 1.0);
        near(run.left(100, 0, 0), 10.0);
        near(run.left(100, 5, 2), 10.0 + 20.0 + 2.0);
        run.steps(20, 0.1);
        run.pause(Break::Measuring, 4.0);
        near(run.left(100, 5, 2), 32.0);
        // Slow steps between near measurements: what was waited for in them counts with them.
        let mut run = Run::new();
        run.steps(3, 1.0);
        for _ in 0..6 {
            run.pause(Break::Measuring, 6.0);
            run.steps(2, 0.0);
            run.steps(2, 2.0);
        }
        near(run.left(40, 10, 0), 40.0 + 60.0);
    }

    #[test]
    fn bursts_count_at_their_mean_and_one_that_held_the_run_up_does_not() {
        let mut run = Run::new();
        run.steps(3, 1.0);
        // Data come eight batches at a time.
        for _ in 0..12 {
            run.steps(7, 0.01);
            run.steps(1, 3.93);
        }
        near(run.left(80, 0, 0), 40.0);
        let mut run = Run::new();
        run.steps(30, 0.5);
        run.steps(1, 40.0);
        near(run.left(100, 0, 0), 50.0);
        // What stays is the new pace.
        run.steps(100, 3.0);
        near(run.left(100, 0, 0), 300.0);
        // Gone back to a checkpoint.
        run.now += 500.0;
        run.pace.skip(run.at());
        near(run.left(100, 0, 0), 300.0);
    }

    #[test]
    fn several_at_a_time_and_clocks_that_stand_still() {
        let mut pace = Pace::new(Duration::ZERO);
        for i in 1..20 {
            pace.stepped(64, Duration::from_secs(2 * i));
        }
        let left = pace.left(Rest {
            steps: 640,
            measurements: 0,
            checkpoints: 0,
        });
        assert_eq!(left, Some(Duration::from_secs(20)));
        let mut still = Run::new();
        still.steps(100, 0.0);
        assert_eq!(
            (still.left(5, 0, 0), still.pace.per_second()),
            (Some(0.0), None)
        );
    }
}
