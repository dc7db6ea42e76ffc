//! Pace and remaining time: a function of what is done and of times alone, so that it can be tested
//! against made-up clocks.
//!
//! Work that a run does once is taken out: the compilation of kernels, and what the device still
//! had to do of it in the calls that follow. Work that it does again and again beside its steps,
//! measurements and checkpoints, is counted as often as it comes.

use std::collections::VecDeque;
use std::time::Duration;

/// Calls that are no measure of those to come: one that compiles kernels and waits for the first
/// data, and the two behind it, since what it left on the device is waited for up to two calls
/// later.
const WARM_UP: u32 = 3;
/// Steps that lie on the device while the next is recorded. A measurement waits for them, and as
/// many calls behind it find the device without work.
const LAG: u64 = 2;
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
    /// Measurements, the one after the last step included.
    pub measurements: u64,
    /// Checkpoints.
    pub checkpoints: u64,
}

/// The cost of a measurement in training steps, as far as it can be told before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MeasurementCost {
    /// One between steps; 0 where it is not known.
    pub between: f64,
    /// The one after the last step; 0 where it is not known.
    pub last: f64,
}

impl MeasurementCost {
    /// Returns the cost of measurements that send so many images through a model, of which a
    /// training step takes `batch`. A step goes forward and, at twice the cost, backward.
    pub fn of_images(between: usize, last: usize, batch: usize) -> MeasurementCost {
        let steps = |images: usize| images as f64 / batch.max(1) as f64 / 3.0;
        MeasurementCost {
            between: steps(between),
            last: steps(last),
        }
    }
}

/// The pace of a run. Each call says what the time since the call before went into.
#[derive(Clone, Debug)]
pub struct Pace {
    last: Duration,
    /// Kernels compiled so far, and the time that it took.
    compiled: (u64, Duration),
    /// The kernels compiled since the last call, and their time.
    compiled_now: (u64, Duration),
    /// Calls that do not count yet.
    cold: u32,
    /// Steps of the part at hand, and the time that they took.
    open: (u64, Duration),
    /// Steps and seconds of the parts before.
    parts: VecDeque<(u64, f64)>,
    /// Measurements and checkpoints.
    breaks: [VecDeque<Pause>; 2],
    /// The newest break that waited for the device, and the calls behind it that belong to it.
    waited: Option<(Break, u64)>,
    cost: MeasurementCost,
}

/// A measurement or a checkpoint, and the steps behind it whose work it waited for.
#[derive(Clone, Copy, Debug)]
struct Pause {
    /// Its own time and that of the steps behind it, in seconds, without compilation.
    seconds: f64,
    /// Those steps.
    steps: u64,
    /// Whether kernels were compiled in it.
    cold: bool,
}

impl Pause {
    /// Returns its own seconds at so many seconds to a step.
    fn own(&self, step: f64) -> f64 {
        (self.seconds - self.steps as f64 * step).max(0.0)
    }
}

impl Pace {
    /// Work that begins at this time, on whatever clock.
    pub fn new(now: Duration) -> Pace {
        Pace {
            last: now,
            compiled: (0, Duration::ZERO),
            compiled_now: (0, Duration::ZERO),
            cold: WARM_UP,
            open: (0, Duration::ZERO),
            parts: VecDeque::new(),
            breaks: Default::default(),
            waited: None,
            cost: MeasurementCost::default(),
        }
    }

    /// Says what measurements are worth, for the time before the first.
    pub fn expect(mut self, cost: MeasurementCost) -> Pace {
        self.cost = cost;
        self
    }

    /// Says how many kernels were compiled until now, and in what time, before a call that says
    /// what the time went into.
    pub fn compiled(&mut self, kernels: u64, time: Duration) {
        let now = (
            kernels.saturating_sub(self.compiled.0),
            time.saturating_sub(self.compiled.1),
        );
        self.compiled_now = (self.compiled_now.0 + now.0, self.compiled_now.1 + now.1);
        self.compiled = (kernels, time);
    }

    /// Returns the time since the last call, and what of it compiled how many kernels.
    fn since(&mut self, now: Duration) -> (Duration, u64) {
        let (kernels, compiling) = std::mem::take(&mut self.compiled_now);
        let took = now.saturating_sub(self.last).saturating_sub(compiling);
        self.last = now;
        (took, kernels)
    }

    /// So many steps more are done.
    pub fn stepped(&mut self, steps: u64, now: Duration) {
        let (took, kernels) = self.since(now);
        if kernels > 0 {
            self.cold = self.cold.max(WARM_UP);
        }
        let waited = self.waited.take();
        if self.cold > 0 {
            self.cold -= 1;
            return;
        }
        if let Some((what, calls)) = waited
            && let Some(pause) = self.breaks[what as usize].back_mut()
        {
            pause.steps += steps;
            pause.seconds += took.as_secs_f64();
            self.waited = (calls > 1).then_some((what, calls - 1));
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
        let (took, kernels) = self.since(now);
        let pause = Pause {
            seconds: took.as_secs_f64(),
            steps: 0,
            cold: kernels > 0,
        };
        remember(&mut self.breaks[what as usize], pause, BREAKS);
        // One right behind another finds nothing to wait for.
        if self.waited.is_none_or(|(_, calls)| calls < LAG) {
            self.waited = Some((what, LAG));
        }
    }

    /// Something happened that is not expected again.
    pub fn skip(&mut self, now: Duration) {
        self.since(now);
        // The device is without work now.
        self.waited = None;
        self.cold = self.cold.max(LAG as u32);
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

    /// Returns the seconds of a break of a kind, at so many to a step: the middle one of those that
    /// compiled nothing. `None` where there is none and nothing is expected.
    fn seconds_of(&self, what: Break, step: f64) -> Option<f64> {
        let breaks = &self.breaks[what as usize];
        let of = |cold: bool| {
            let own = breaks.iter().filter(move |pause| pause.cold == cold);
            own.map(|pause| pause.own(step))
        };
        if of(false).next().is_some() {
            return Some(median(of(false)));
        }
        let expected = match what {
            Break::Measuring => self.cost.between * step,
            Break::Saving => 0.0,
        };
        match of(true).next() {
            // A driver may compile later than it is asked to, so that the first one has some of
            // that in it still. What was expected is wrong by another amount: the mean of their
            // logarithms is wrong by less than the worse of the two.
            Some(_) if expected > 0.0 => {
                let cold = median(of(true));
                Some(cold.min((cold * expected).sqrt()))
            }
            Some(_) => Some(median(of(true))),
            None => (expected > 0.0).then_some(expected),
        }
    }

    /// Returns the duration of the rest at this pace; `None` before it is known. Checkpoints count
    /// from the first one on, and measurements too where it is not known what they are worth.
    pub fn left(&self, rest: Rest) -> Option<Duration> {
        let step = self.seconds_per_step()?;
        let measuring = self.seconds_of(Break::Measuring, step).unwrap_or(0.0);
        let saving = self.seconds_of(Break::Saving, step).unwrap_or(0.0);
        let last = if self.cost.between > 0.0 {
            measuring * self.cost.last / self.cost.between
        } else {
            measuring
        };
        let measurements = match rest.measurements {
            0 => 0.0,
            n => (n - 1) as f64 * measuring + last,
        };
        let breaks = measurements + rest.checkpoints as f64 * saving;
        Duration::try_from_secs_f64(rest.steps as f64 * step + breaks).ok()
    }
}

fn remember<T>(all: &mut VecDeque<T>, one: T, most: usize) {
    if all.len() == most {
        all.pop_front();
    }
    all.push_back(one);
}

/// Returns the middle one, of two the less. 0 of none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests;
