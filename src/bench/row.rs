//! One line of results, as it is printed, written and read back.

use super::clock::moved;
use super::cold::{Cache, Cold};
use super::environment::Environment;
use super::measure::{Budget, Repeated, Stop, Timing, measure, measure_cold, spread};
use super::peak::Peak;
use super::peer::PeerRow;
use super::workload::Workload;
use crate::gpu::Gpu;
use crate::spec::Verdict;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The version of the lines below; a file of another is refused.
pub const FORMAT: u32 = 1;

/// The first line of a file of results: where they were measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub wgvq_bench: u32,
    /// The crate's version.
    pub version: String,
    /// Adapter, and its driver.
    pub adapter: String,
    /// Driver and its version.
    pub driver: String,
    /// The processor's name and its number of logical cores.
    pub processor: String,
    /// Seed of the inputs.
    pub seed: u64,
    /// The measured peaks.
    pub peak_gflops: f64,
    /// See [`Peak::gbps`].
    pub peak_gbps: f64,
    /// See [`Peak::launch_us`].
    #[serde(default)]
    pub peak_launch_us: f64,
    /// The build, the device and the machine's state; `None` in files of versions before it.
    #[serde(default)]
    pub environment: Option<Environment>,
}

/// One workload on one core.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The workload's name; `wgvq bench NAME` runs it again.
    pub name: String,
    /// The matrix core that heavy kernels used.
    pub core: String,
    /// The elements' type.
    pub dtype: String,
    /// Whether the inputs lay in a cache.
    #[serde(default)]
    pub cache: Cache,
    /// The way in which they were kept out of it.
    #[serde(default)]
    pub cold_by: Option<String>,
    /// Whether it agreed with f64.
    pub pass: bool,
    /// Median time, in milliseconds; `None` where the result was wrong, as are all speeds then.
    pub ms: Option<f64>,
    /// First and third quartile.
    pub ms_quartiles: Option<[f64; 2]>,
    /// Half of the median's interval at 95 % over the median, by order statistics.
    #[serde(default)]
    pub spread: Option<f64>,
    /// Why the repetitions stopped: anything but `spread` says that the median is less sure than
    /// was asked for.
    #[serde(default)]
    pub stopped: Option<Stop>,
    /// Every time of which `ms` is the median, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<f64>,
    /// Every time of which `wall_ms` is the median, where these are others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wall_samples: Vec<f64>,
    /// `timestamps`, or `wall` where the device has no clock.
    pub clock: String,
    /// Median from the call to its end on the device.
    pub wall_ms: Option<f64>,
    /// Median of the call alone: recording and validation, without the driver's taking of batches.
    pub record_ms: Option<f64>,
    /// The device's clock in MHz before and after, at one multiply-add a clock.
    #[serde(default)]
    pub mhz: Option<[f64; 2]>,
    /// Why the times are not to be trusted, where they are not.
    #[serde(default)]
    pub refused: Option<String>,
    /// The first call in this process, which compiles; that of the warm measurement alone.
    #[serde(alias = "cold_ms")]
    pub first_ms: Option<f64>,
    /// Operations per nanosecond.
    pub gflops: Option<f64>,
    /// Bytes per nanosecond, each tensor counted once.
    pub gbps: Option<f64>,
    /// Share of the adapter's measured peak in what binds by the roofline.
    pub peak_share: Option<f64>,
    /// `compute`, `memory` or `launch`.
    pub bound: String,
    /// Bytes of device memory beyond the inputs.
    pub memory: u64,
    /// Dispatches per call.
    pub dispatches: u64,
    /// Submissions per call.
    pub submissions: u64,
    /// Buffers created in all repetitions.
    pub allocations: u64,
    /// Repetitions.
    pub repetitions: usize,
    /// Largest error against f64; `None` where another property was checked, which `detail` names.
    pub max_err: Option<f64>,
    /// Elements compared.
    pub compared: usize,
    /// The worst element in words.
    pub detail: String,
    /// Other libraries beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<PeerRow>,
}

impl Row {
    /// Takes the times out of a row that is refused.
    pub fn without_refused(mut self) -> Row {
        if self.refused.is_some() {
            for speed in [
                &mut self.ms,
                &mut self.wall_ms,
                &mut self.record_ms,
                &mut self.first_ms,
                &mut self.gflops,
                &mut self.gbps,
                &mut self.peak_share,
                &mut self.spread,
            ] {
                *speed = None;
            }
            self.ms_quartiles = None;
            self.samples.clear();
            self.wall_samples.clear();
            // Ours is in their rows, and by turns with theirs.
            self.peers.clear();
        }
        self
    }

    /// Returns what tells a row from others of a file: workload, core, type and cache.
    pub fn key(&self) -> (&str, &str, &str, Cache) {
        (&self.name, &self.core, &self.dtype, self.cache)
    }
}

/// Checks and measures a workload, warm.
///
/// # Errors
/// If it does not run. A wrong result is a [`Row`] without speeds.
pub fn row(gpu: &Gpu, workload: &Workload, peak: &Peak, budget: Budget, seed: u64) -> Result<Row> {
    let (timing, verdict) = checked(gpu, workload, peak, budget, seed)?;
    Ok(made(
        gpu,
        workload,
        peak,
        &timing,
        &timing.repeated,
        &verdict,
    ))
}

/// Checks a workload once and measures it with each of `caches`: a row for each, in their order.
/// `size` is the last-level cache's, in bytes.
///
/// # Errors
/// If it does not run. A wrong result is a [`Row`] without speeds.
pub fn rows(
    gpu: &Gpu,
    workload: &Workload,
    peak: &Peak,
    budget: Budget,
    seed: u64,
    (caches, size): (&[Cache], u64),
) -> Result<Vec<Row>> {
    // What a call takes, and whether it is right, is asked of the warm one either way.
    let warm = match caches.contains(&Cache::Warm) {
        true => budget,
        false => Budget {
            least: 1,
            most: 1,
            again: 0,
            ..budget
        },
    };
    let (timing, verdict) = checked(gpu, workload, peak, warm, seed)?;
    caches
        .iter()
        .map(|cache| {
            let cold = match cache {
                Cache::Cold if verdict.pass => {
                    let mut cold = Cold::new(gpu, workload, seed, size)?;
                    Some(measure_cold(gpu, &mut cold, peak, budget)?)
                }
                _ => None,
            };
            let repeated = cold.as_ref().unwrap_or(&timing.repeated);
            let mut row = made(gpu, workload, peak, &timing, repeated, &verdict);
            row.cache = *cache;
            row.first_ms = row.first_ms.filter(|_| *cache == Cache::Warm);
            Ok(row)
        })
        .collect()
}

fn checked(
    gpu: &Gpu,
    workload: &Workload,
    peak: &Peak,
    budget: Budget,
    seed: u64,
) -> Result<(Timing, Verdict)> {
    let mut prepared = workload.prepare(gpu, seed)?;
    let mut verdict = None;
    let timing = measure(gpu, &mut prepared, peak, budget, || {
        verdict = Some(workload.check(gpu, seed)?);
        Ok(())
    })?;
    let mut verdict = verdict.ok_or_else(|| Error::data("the check did not run"))?;
    verdict.pass &= verdict.compared > 0;
    Ok((timing, verdict))
}

/// Times to a nanosecond: no clock tells more, and the rest is digits.
fn rounded(times: &[f64]) -> Vec<f64> {
    times.iter().map(|ms| (ms * 1e6).round() / 1e6).collect()
}

fn made(
    gpu: &Gpu,
    workload: &Workload,
    peak: &Peak,
    timing: &Timing,
    repeated: &Repeated,
    verdict: &Verdict,
) -> Row {
    let (pass, ms, work) = (verdict.pass, repeated.ms(), timing.work);
    let (share, bound) = peak.share(work.flops, work.bytes, timing.dispatches, ms);
    let some = |v: f64| pass.then_some(v);
    let samples = |times: &[f64], kept: bool| match pass && kept {
        true => rounded(times),
        false => Vec::new(),
    };
    Row {
        name: workload.name().into(),
        core: gpu.core().name().into(),
        dtype: workload.dtype().name().into(),
        cache: Cache::Warm,
        cold_by: repeated.cold.map(|by| by.to_string()),
        pass,
        ms: some(ms),
        ms_quartiles: pass.then(|| repeated.quartiles()),
        spread: spread(repeated.times()).filter(|s| pass && s.is_finite()),
        stopped: pass.then_some(repeated.stop),
        samples: samples(repeated.times(), true),
        wall_samples: samples(&repeated.wall, !repeated.device.is_empty()),
        clock: repeated.clock().into(),
        wall_ms: some(repeated.wall_ms()),
        record_ms: some(repeated.record_ms()),
        // JSON has no infinity, which is what a clock that stands still makes of it.
        mhz: Some(repeated.mhz).filter(|mhz| pass && mhz.iter().all(|m| m.is_finite())),
        refused: moved(repeated.mhz[0], repeated.mhz[1]).filter(|_| pass),
        first_ms: some(timing.first),
        gflops: some(work.flops / ms / 1e6),
        gbps: some(work.bytes / ms / 1e6),
        peak_share: some(share),
        bound: bound.name().into(),
        memory: timing.memory,
        dispatches: timing.dispatches,
        submissions: timing.submissions,
        allocations: repeated.allocations,
        repetitions: repeated.wall.len(),
        max_err: Some(verdict.max_error).filter(|e| !e.is_nan()),
        compared: verdict.compared,
        detail: verdict.detail.clone(),
        peers: Vec::new(),
    }
}
