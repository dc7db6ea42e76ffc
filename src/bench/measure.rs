//! Measurement of one workload.

use super::clock::Probe;
use super::peak::Peak;
use super::prepared::Prepared;
use crate::Result;
use crate::gpu::{Gpu, Work};
use std::time::{Duration, Instant};

/// The number of repetitions and the time of a measurement.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Time to fill with repetitions.
    pub time: Duration,
    /// Repetitions at least, whatever they take.
    pub least: usize,
    /// Repetitions at most.
    pub most: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            time: Duration::from_secs(1),
            least: 7,
            most: 200,
        }
    }
}

/// Measured times in milliseconds.
#[derive(Clone, Debug)]
pub struct Timing {
    /// The first call of this process: pipelines are made, buffers allocated.
    pub cold: f64,
    /// Times from the first to the last command on the device's clock, sorted; empty without
    /// timestamp queries.
    pub device: Vec<f64>,
    /// Times from the call to the end of the device's work, sorted.
    pub wall: Vec<f64>,
    /// The call alone, until everything is recorded: the processor's side, without the driver's
    /// taking of batches; sorted.
    pub record: Vec<f64>,
    /// Device memory that a call took beyond what was there before it, at its peak: outputs and
    /// scratch, in bytes.
    pub memory: u64,
    /// Buffers that the warm repetitions created.
    pub allocations: u64,
    /// Dispatches per call.
    pub dispatches: u64,
    /// Submissions per call.
    pub submissions: u64,
    /// Operations and bytes per call.
    pub work: Work,
    /// The device's clock in MHz before and after the warm repetitions, see
    /// [`moved`](super::moved).
    pub mhz: [f64; 2],
}

/// Time on the device's clock that is measured at once, at least: as many calls as fill it are
/// recorded one behind another, so that what a call is cannot be told from what surrounds it.
const REGION: f64 = 5e-3;
/// Calls that are measured at once, at most.
const AT_ONCE: usize = 1000;

/// Returns the value at a share of the way through sorted values.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len().max(1) - 1) as f64;
    let (low, high) = (
        sorted.get(at.floor() as usize),
        sorted.get(at.ceil() as usize),
    );
    match (low, high) {
        (Some(low), Some(high)) => low + (high - low) * at.fract(),
        _ => f64::NAN,
    }
}

impl Timing {
    /// The times that speed is stated by: the device's where it has a clock.
    fn times(&self) -> &[f64] {
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
        quantile(self.times(), 0.5)
    }
    /// First and third quartile.
    pub fn quartiles(&self) -> (f64, f64) {
        (quantile(self.times(), 0.25), quantile(self.times(), 0.75))
    }
    /// Median time from the call to its end.
    pub fn wall_ms(&self) -> f64 {
        quantile(&self.wall, 0.5)
    }
    /// Median time of the call alone.
    pub fn record_ms(&self) -> f64 {
        quantile(&self.record, 0.5)
    }
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Times a workload: once cold, then warm until the budget is spent, between two probes of the
/// device's clock. `between` runs after the cold call: the place to check that what is timed is
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
    let cold = ms(start);
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
    let warm = gpu.timed(&mut *call)?.1.map_or(0.0, |t| t.as_secs_f64());
    let at_once = match warm {
        // A device whose clock stands still.
        0.0 => 1,
        warm => ((REGION / warm).ceil() as usize).clamp(1, AT_ONCE),
    };
    let probe = Probe::new(gpu, peak)?;
    probe.busy()?;
    let before = probe.mhz(gpu)?;
    let (mut device, mut wall, mut record) = (Vec::new(), Vec::new(), Vec::new());
    let mut allocations = 0;
    let begun = Instant::now();
    while wall.len() < budget.most && (wall.len() < budget.least || begun.elapsed() < budget.time) {
        let (allocated, submitting) = (gpu.memory().allocations, gpu.counters().submitting);
        let start = Instant::now();
        call()?;
        record.push(ms(start) - (gpu.counters().submitting - submitting).as_secs_f64() * 1e3);
        gpu.finish()?;
        wall.push(ms(start));
        allocations += gpu.memory().allocations - allocated;
        if gpu.has_timestamps() {
            let all = gpu.timed(|| (0..at_once).try_for_each(|_| call()))?.1;
            device.extend(all.map(|time| time.as_secs_f64() * 1e3 / at_once as f64));
        }
    }
    let after = probe.mhz(gpu)?;
    for times in [&mut device, &mut wall, &mut record] {
        times.sort_by(f64::total_cmp);
    }
    let work = prepared.work.unwrap_or(work);
    let (dispatches, submissions) = (counters.dispatches, counters.submissions);
    Ok(Timing {
        cold,
        device,
        wall,
        record,
        memory,
        allocations,
        dispatches,
        submissions,
        work,
        mhz: [before, after],
    })
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_lie_between_the_values() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.5), 2.0);
        assert_eq!(quantile(&[1.0, 2.0], 0.5), 1.5);
        assert_eq!(quantile(&[3.0], 0.25), 3.0);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
