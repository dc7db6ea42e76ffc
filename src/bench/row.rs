//! One line of results, as it is printed, written and read back.

use super::clock::moved;
use super::measure::{Budget, measure};
use super::peak::Peak;
use super::workload::Workload;
use crate::gpu::Gpu;
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
    /// Whether it agreed with f64.
    pub pass: bool,
    /// Median time, in milliseconds; `None` where the result was wrong, as are all speeds then.
    pub ms: Option<f64>,
    /// First and third quartile.
    pub ms_quartiles: Option<[f64; 2]>,
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
    /// The first call in this process.
    pub cold_ms: Option<f64>,
    /// Operations per nanosecond.
    pub gflops: Option<f64>,
    /// Bytes per nanosecond, each tensor counted once.
    pub gbps: Option<f64>,
    /// Share of the adapter's measured peak in what binds by the roofline.
    pub peak_share: Option<f64>,
    /// `compute` or `memory`.
    pub bound: String,
    /// Bytes of device memory beyond the inputs.
    pub memory: u64,
    /// Dispatches per call.
    pub dispatches: u64,
    /// Submissions per call.
    pub submissions: u64,
    /// Buffers created in all warm repetitions.
    pub allocations: u64,
    /// Warm repetitions.
    pub repetitions: usize,
    /// Largest error against f64; `None` where another property was checked, which `detail` names.
    pub max_err: Option<f64>,
    /// Elements compared.
    pub compared: usize,
    /// The worst element in words.
    pub detail: String,
}

impl Row {
    /// Takes the times out of a row that is refused.
    pub fn without_refused(mut self) -> Row {
        if self.refused.is_some() {
            for speed in [
                &mut self.ms,
                &mut self.wall_ms,
                &mut self.record_ms,
                &mut self.cold_ms,
                &mut self.gflops,
                &mut self.gbps,
                &mut self.peak_share,
            ] {
                *speed = None;
            }
            self.ms_quartiles = None;
        }
        self
    }
}

/// Checks and measures a workload.
///
/// # Errors
/// If it does not run. A wrong result is a [`Row`] without speeds.
pub fn row(gpu: &Gpu, workload: &Workload, peak: &Peak, budget: Budget, seed: u64) -> Result<Row> {
    let wrong = || Error::data("the check did not run");
    let mut prepared = workload.prepare(gpu, seed)?;
    let mut verdict = None;
    let timing = measure(gpu, &mut prepared, peak, budget, || {
        verdict = Some(workload.check(gpu, seed)?);
        Ok(())
    })?;
    let verdict = verdict.ok_or_else(wrong)?;
    let pass = verdict.pass && verdict.compared > 0;
    let ms = timing.ms();
    let (share, memory_binds) = peak.share(timing.work.flops, timing.work.bytes, ms);
    let some = |v: f64| pass.then_some(v);
    let (q1, q3) = timing.quartiles();
    Ok(Row {
        name: workload.name().into(),
        core: gpu.core().name().into(),
        dtype: workload.dtype().name().into(),
        pass,
        ms: some(ms),
        ms_quartiles: pass.then_some([q1, q3]),
        clock: timing.clock().into(),
        wall_ms: some(timing.wall_ms()),
        record_ms: some(timing.record_ms()),
        mhz: pass.then_some(timing.mhz),
        refused: moved(timing.mhz[0], timing.mhz[1]).filter(|_| pass),
        cold_ms: some(timing.cold),
        gflops: some(timing.work.flops / ms / 1e6),
        gbps: some(timing.work.bytes / ms / 1e6),
        peak_share: some(share),
        bound: if memory_binds { "memory" } else { "compute" }.into(),
        memory: timing.memory,
        dispatches: timing.dispatches,
        submissions: timing.submissions,
        allocations: timing.allocations,
        repetitions: timing.wall.len(),
        max_err: Some(verdict.max_error).filter(|e| !e.is_nan()),
        compared: verdict.compared,
        detail: verdict.detail,
    })
}
