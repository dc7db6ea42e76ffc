//! Measurement of one workload.

use super::clock::{Probe, moved};
use super::cold::{Cold, ColdBy};
use super::peak::Peak;
use super::prepared::Prepared;
use super::statistics::{median, of_median, quantile, sorted};
use crate::Result;
use crate::gpu::{Gpu, Work};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::{Duration, Instant};

/// The number of repetitions and the time of a measurement, and how sure its median is to be.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Time of all repetitions, at most.
    pub time: Duration,
    /// Repetitions at least, whatever they take.
    pub least: usize,
    /// Repetitions at most.
    pub most: usize,
    /// The relative spread at which it stops: see [`spread`].
    pub spread: f64,
    /// The number of further tries, at most, where the device's clock moved while it ran.
    pub again: usize,
}

/// The reason for which a measurement stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stop {
    /// The median is as sure as was asked for.
    Spread,
    /// The time was over before it was.
    Time,
    /// The repetitions were, before it was.
    Repetitions,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Stop::Spread => "spread",
            Stop::Time => "time",
            Stop::Repetitions => "repetitions",
        })
    }
}

/// Returns the relative spread of a median: half of its interval at 95 %, by order statistics, over
/// itself. `None` for fewer than six values.
pub fn spread(times: &[f64]) -> Option<f64> {
    of_median(times).map(|i| (i.high - i.low) / 2.0 / i.middle)
}

impl Budget {
    /// Returns why to stop after these repetitions and that long; `None` to go on.
    pub fn stop(&self, times: &[f64], taken: Duration) -> Option<Stop> {
        if times.len() < self.least {
            return None;
        }
        if spread(times).is_some_and(|spread| spread <= self.spread) {
            return Some(Stop::Spread);
        }
        if times.len() >= self.most {
            return Some(Stop::Repetitions);
        }
        (taken >= self.time).then_some(Stop::Time)
    }
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            time: Duration::from_secs(1),
            least: 7,
            most: 200,
            spread: 0.01,
            again: 3,
        }
    }
}

/// The times and the memory of a workload.
#[derive(Clone, Debug)]
pub struct Timing {
    /// The first call of this process: pipelines are made, buffers allocated.
    pub first: f64,
    /// The repetitions.
    pub repeated: Repeated,
    /// Device memory that a call took beyond what was there before it, at its peak: outputs and
    /// scratch, in bytes.
    pub memory: u64,
    /// Dispatches per call.
    pub dispatches: u64,
    /// Submissions per call.
    pub submissions: u64,
    /// Operations and bytes per call.
    pub work: Work,
}

/// Repetitions of one call, in the order in which they were measured, in milliseconds.
#[derive(Clone, Debug)]
pub struct Repeated {
    /// Times from the first to the last command on the device's clock; empty without timestamp
    /// queries.
    pub device: Vec<f64>,
    /// Times from the call to the end of the device's work.
    pub wall: Vec<f64>,
    /// The call alone, until everything is recorded: the processor's side, without the driver's
    /// taking of batches.
    pub record: Vec<f64>,
    /// Buffers that the repetitions created.
    pub allocations: u64,
    /// The device's clock in MHz before and after, see [`moved`](super::moved).
    pub mhz: [f64; 2],
    /// Why they stopped.
    pub stop: Stop,
    /// The way in which the inputs were kept out of the caches; `None` where the same ones were
    /// read again and again, and are there if they fit.
    pub cold: Option<ColdBy>,
}

/// Time on the device's clock that is measured at once, at least: as many calls as fill it are
/// recorded one behind another, so that what a call is cannot be told from what surrounds it.
const REGION: f64 = 5e-3;
/// Calls that are measured at once, at most.
const AT_ONCE: usize = 1000;

impl Repeated {
    /// Returns the times that speed is stated by: the device's where it has a clock.
    pub fn times(&self) -> &[f64] {
        if self.device.is_empty() {
            &self.wall
        } else {
            &self.device
        }
    }
    /// Returns the clock that they come from.
    pub fn clock(&self) -> &'static str {
        if self.device.is_empty() {
            "wall"
        } else {
            "timestamps"
        }
    }
    /// Median.
    pub fn ms(&self) -> f64 {
        median(self.times())
    }
    /// First and third quartile.
    pub fn quartiles(&self) -> [f64; 2] {
        let sorted = sorted(self.times());
        [0.25, 0.75].map(|share| quantile(&sorted, share))
    }
    /// Median time from the call to its end.
    pub fn wall_ms(&self) -> f64 {
        median(&self.wall)
    }
    /// Median time of the call alone.
    pub fn record_ms(&self) -> f64 {
        median(&self.record)
    }
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Times a workload: once at first, then warm until the budget is spent, between two probes of the
/// device's clock. `between` runs after the first call: the place to check that what is timed is
/// right.
///
/// # Errors
/// If the workload fails, or `between` does.
pub fn measure(
    gpu: &Gpu,
    prepared: &mut Prepared,
    peak: &Peak,
    budget: Budget,
    between: impl FnOnce() -> Result<()>,
) -> Result<Timing> {
    let call = &mut prepared.call;
    gpu.finish()?;
    let start = Instant::now();
    call()?;
    gpu.finish()?;
    let first = ms(start);
    between()?;

    // What one call takes. Twice, since the first may still grow the pool after what ran in
    // between.
    let mut work = Work::default();
    let (mut memory, mut counters) = (0, gpu.counters());
    for _ in 0..2 {
        gpu.finish()?;
        gpu.reset_peak();
        let before = (gpu.memory().in_use, gpu.work_done(), gpu.counters());
        call()?;
        gpu.finish()?;
        let (done, count) = (gpu.work_done(), gpu.counters());
        memory = gpu.memory().peak - before.0;
        work = Work {
            flops: done.flops - before.1.flops,
            bytes: done.bytes - before.1.bytes,
        };
        counters.dispatches = count.dispatches - before.2.dispatches;
        counters.submissions = count.submissions - before.2.submissions;
    }
    let repeated = repeat(gpu, call, peak, budget)?;
    Ok(Timing {
        first,
        repeated,
        memory,
        dispatches: counters.dispatches,
        submissions: counters.submissions,
        work: prepared.work.unwrap_or(work),
    })
}

/// Repeats a call until the budget is spent, between two probes of the device's clock.
fn repeat(
    gpu: &Gpu,
    call: &mut dyn FnMut() -> Result<()>,
    peak: &Peak,
    budget: Budget,
) -> Result<Repeated> {
    let warm = gpu.timed(&mut *call)?.1.map_or(0.0, |t| t.as_secs_f64());
    let at_once = match warm {
        // A device whose clock stands still.
        0.0 => 1,
        warm => ((REGION / warm).ceil() as usize).clamp(1, AT_ONCE),
    };
    sample(gpu, call, None, at_once, peak, budget)
}

/// Repeats the calls of `cold` until the budget is spent: their inputs come from memory.
///
/// # Errors
/// If a call fails.
pub fn measure_cold(gpu: &Gpu, cold: &mut Cold, peak: &Peak, budget: Budget) -> Result<Repeated> {
    let by = cold.by;
    let mut repeated = match &mut cold.flush {
        // Each call finds other inputs than the one before it, so that several may be measured at
        // once.
        None => repeat(gpu, &mut cold.call, peak, budget)?,
        Some(flush) => sample(gpu, &mut cold.call, Some(flush), 1, peak, budget)?,
    };
    repeated.cold = Some(by);
    Ok(repeated)
}

/// Samples a call, `at_once` calls to a time on the device's clock, each time after `before`; all
/// of it again where the clock moved, as often as the budget has it. What moved it, such as another
/// program on a shared machine, is mostly gone soon.
fn sample(
    gpu: &Gpu,
    call: &mut dyn FnMut() -> Result<()>,
    mut before: Option<&mut Box<dyn FnMut() -> Result<()>>>,
    at_once: usize,
    peak: &Peak,
    budget: Budget,
) -> Result<Repeated> {
    let probe = Probe::new(gpu, peak)?;
    for _ in 0..budget.again {
        let sampled = once(gpu, call, before.as_deref_mut(), at_once, &probe, budget)?;
        if moved(sampled.mhz[0], sampled.mhz[1]).is_none() {
            return Ok(sampled);
        }
    }
    once(gpu, call, before, at_once, &probe, budget)
}

fn once(
    gpu: &Gpu,
    call: &mut dyn FnMut() -> Result<()>,
    mut before: Option<&mut Box<dyn FnMut() -> Result<()>>>,
    at_once: usize,
    probe: &Probe,
    budget: Budget,
) -> Result<Repeated> {
    probe.busy()?;
    let clock = probe.mhz(gpu)?;
    let (mut device, mut wall, mut record) = (Vec::new(), Vec::new(), Vec::new());
    let mut allocations = 0;
    let begun = Instant::now();
    let stop = loop {
        let times = if gpu.has_timestamps() { &device } else { &wall };
        if let Some(stop) = budget.stop(times, begun.elapsed()) {
            break stop;
        }
        if let Some(before) = &mut before {
            before()?;
            gpu.finish()?;
        }
        let (allocated, submitting) = (gpu.memory().allocations, gpu.counters().submitting);
        let start = Instant::now();
        call()?;
        record.push(ms(start) - (gpu.counters().submitting - submitting).as_secs_f64() * 1e3);
        gpu.finish()?;
        wall.push(ms(start));
        allocations += gpu.memory().allocations - allocated;
        if gpu.has_timestamps() {
            if let Some(before) = &mut before {
                before()?;
                gpu.finish()?;
            }
            let all = gpu.timed(|| (0..at_once).try_for_each(|_| call()))?.1;
            device.extend(all.map(|time| time.as_secs_f64() * 1e3 / at_once as f64));
        }
    };
    let mhz = [clock, probe.mhz(gpu)?];
    Ok(Repeated {
        device,
        wall,
        record,
        allocations,
        mhz,
        stop,
        cold: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Budget = Budget {
        time: Duration::from_secs(1),
        least: 7,
        most: 20,
        spread: 0.01,
        again: 0,
    };

    #[test]
    fn repetitions_stop_for_a_reason() {
        let stop = |times: &[f64], ms| BUDGET.stop(times, Duration::from_millis(ms));
        // Quiet: as soon as there are enough.
        let quiet: Vec<f64> = (0..20).map(|i| 1.0 + 1e-3 * (i % 3) as f64).collect();
        assert_eq!(stop(&quiet[..6], 10), None);
        assert_eq!(stop(&quiet[..7], 10), Some(Stop::Spread));
        // Noisy: until the time is over, or there are as many as may be.
        let noisy: Vec<f64> = (0..20).map(|i| 1.0 + 0.2 * (i % 3) as f64).collect();
        assert_eq!(stop(&noisy[..7], 10), None);
        assert_eq!(stop(&noisy[..7], 1000), Some(Stop::Time));
        assert_eq!(stop(&noisy, 10), Some(Stop::Repetitions));
        // One that was disturbed among many that were not moves no median.
        let mut disturbed = quiet.clone();
        disturbed[3] = 50.0;
        assert_eq!(stop(&disturbed, 10), Some(Stop::Spread));
        // Times that are no numbers are never sure.
        assert_eq!(stop(&[f64::NAN; 8], 10), None);
        assert_eq!(stop(&[0.0; 8], 10), None);
    }

    #[test]
    fn the_spread_is_half_of_the_interval() {
        let times: Vec<f64> = (95..=104).map(f64::from).collect();
        let half = (103.0 - 96.0) / 2.0 / 99.5;
        assert!((spread(&times).unwrap() - half).abs() < 1e-12);
        assert_eq!(spread(&times[..5]), None);
    }
}
