//! The device's clock before and after a measurement: a figure that was measured while it moved
//! says nothing.

use super::peak::Peak;
use crate::Result;
use crate::gpu::{Gpu, Tensor};
use crate::ops::elementwise::fma_chain::fma_chain;
use std::time::{Duration, Instant};

/// Share by which the clock may move from before a measurement to after it.
const MOST: f64 = 0.03;
/// The time of a probe, at least.
const PROBE: Duration = Duration::from_micros(500);
/// Probes of which the middle one counts.
const PROBES: usize = 3;
/// Multiply-adds that one invocation of `fma_chain` does in a round: in eight chains, which hide
/// how long one of them takes, so that it does one a clock.
const ROUND: f64 = 512.0;
/// The time for which a GPU is kept busy before a measurement, so that its clock is up.
const BUSY: Duration = Duration::from_millis(100);

/// A probe of the clock: a workgroup that computes and nothing else, for a number of clocks that is
/// known. On software Vulkan it measures the processor, and who else uses it.
pub(super) struct Probe {
    x: Tensor,
    rounds: usize,
    /// Input, rounds and number of calls that keep the device busy.
    busy: Option<(Tensor, usize, usize)>,
}

impl Probe {
    /// Creates a probe; `peak` is the device's.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn new(gpu: &Gpu, peak: &Peak) -> Result<Probe> {
        let x = Tensor::from_slice(gpu, &[1], &[0.5f32])?;
        let busy = match gpu.info().device_type {
            // A processor needs none, and would be taken from what is measured.
            wgpu::DeviceType::Cpu => None,
            _ => {
                let n = 1 << 16;
                // Calls of some 2 ms.
                let per_round = 2.0 * ROUND * n as f64 / (peak.gflops * 1e9);
                let rounds = (2e-3 / per_round).clamp(1.0, 1e5) as usize;
                let calls = (BUSY.as_secs_f64() / (per_round * rounds as f64)).ceil();
                let x = Tensor::zeros(gpu, &[n], crate::gpu::DType::F32)?;
                Some((x, rounds, calls.clamp(1.0, 1e3) as usize))
            }
        };
        let mut probe = Probe { x, rounds: 1, busy };
        while probe.time(gpu)? < PROBE && probe.rounds < 1 << 20 {
            probe.rounds *= 2;
        }
        Ok(probe)
    }

    /// Keeps a GPU busy for a while, and does not wait for it: what is recorded next finds its
    /// clock up.
    pub(super) fn busy(&self) -> Result<()> {
        let Some((x, rounds, calls)) = &self.busy else {
            return Ok(());
        };
        (0..*calls).try_for_each(|_| fma_chain(x, *rounds).map(drop))
    }

    /// Returns the time of one probe.
    fn time(&self, gpu: &Gpu) -> Result<Duration> {
        let start = Instant::now();
        let (_, device) = gpu.timed(|| fma_chain(&self.x, self.rounds))?;
        Ok(device.unwrap_or_else(|| start.elapsed()))
    }

    /// Returns the clock in MHz, at one multiply-add a clock: the middle one of several probes.
    pub(super) fn mhz(&self, gpu: &Gpu) -> Result<f64> {
        let mut times = Vec::new();
        for _ in 0..PROBES {
            times.push(self.time(gpu)?.as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        Ok(ROUND * self.rounds as f64 / times[PROBES / 2] / 1e6)
    }
}

/// Whether a measurement between these clocks, in MHz, is refused: says what moved.
pub fn moved(before: f64, after: f64) -> Option<String> {
    let ratio = after / before;
    if (1.0 / (1.0 + MOST)..=1.0 + MOST).contains(&ratio) {
        return None;
    }
    Some(match ratio.is_finite() && ratio > 0.0 {
        true => format!(
            "the clock moved from {before:.0} to {after:.0} MHz while it was measured, by more \
             than {:.0} %",
            100.0 * MOST
        ),
        false => format!("the clock cannot be told: {before:.0} MHz before, {after:.0} after"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_moved_by_more_than_three_percent_is_refused_either_way() {
        for (before, after) in [(1980.0, 1980.0), (1980.0, 1930.0), (1900.0, 1950.0)] {
            assert_eq!(moved(before, after), None, "{before} {after}");
        }
        for (before, after) in [(1980.0, 435.0), (435.0, 1980.0), (1980.0, 1900.0)] {
            let why = moved(before, after).expect("refused");
            assert!(why.contains(&format!("{before:.0} to {after:.0}")), "{why}");
        }
        // A device whose timestamps stand still.
        for (before, after) in [
            (f64::INFINITY, f64::INFINITY),
            (f64::NAN, 1.0),
            (1.0, f64::INFINITY),
            (1.0, 0.0),
        ] {
            assert!(moved(before, after).is_some(), "{before} {after}");
        }
    }
}
