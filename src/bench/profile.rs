//! The device's time in a workload, by kernel.

use super::workload::Workload;
use crate::Result;
use crate::gpu::{Gpu, Work};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The share of one kernel in a workload, for a call of it on average.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// The workload's name.
    pub name: String,
    /// The operation that dispatched the kernel.
    pub op: String,
    /// The kernel and its defines.
    pub kernel: String,
    /// Dispatches.
    pub dispatches: f64,
    /// Milliseconds on the device.
    pub ms: f64,
    /// Its share of the time of all dispatches.
    pub share: f64,
    /// Operations per nanosecond.
    pub gflops: f64,
    /// Bytes per nanosecond, each tensor counted once.
    pub gbps: f64,
}

/// Calls that compile and allocate, and are not timed.
const WARM: usize = 2;
/// Calls that are timed.
const CALLS: usize = 5;

/// Times each dispatch of a workload by itself: a row to each operation and kernel, the longest
/// first.
///
/// # Errors
/// If the workload does not run, or the device has no timestamp queries.
pub fn profile(gpu: &Gpu, workload: &Workload, seed: u64) -> Result<Vec<Share>> {
    let mut prepared = workload.prepare(gpu, seed)?;
    for _ in 0..WARM {
        (prepared.call)()?;
    }
    // By operation and kernel: dispatches, seconds and work.
    let mut sums: HashMap<(&'static str, String), (usize, f64, Work)> = HashMap::new();
    for _ in 0..CALLS {
        for span in gpu.profiled(&mut prepared.call)?.1 {
            let sum = sums.entry((span.op, span.kernel)).or_default();
            sum.0 += 1;
            sum.1 += span.time.as_secs_f64();
            sum.2.flops += span.work.flops;
            sum.2.bytes += span.work.bytes;
        }
    }
    let total: f64 = sums.values().map(|s| s.1).sum();
    let rate = |amount: f64, seconds: f64| {
        if seconds > 0.0 {
            amount / seconds / 1e9
        } else {
            0.0
        }
    };
    let mut shares: Vec<Share> = sums
        .into_iter()
        .map(|((op, kernel), (dispatches, seconds, work))| Share {
            name: workload.name().into(),
            op: op.into(),
            kernel,
            dispatches: dispatches as f64 / CALLS as f64,
            ms: 1e3 * seconds / CALLS as f64,
            share: if total > 0.0 { seconds / total } else { 0.0 },
            gflops: rate(work.flops, seconds),
            gbps: rate(work.bytes, seconds),
        })
        .collect();
    shares.sort_by(|a, b| {
        b.ms.total_cmp(&a.ms)
            .then_with(|| (&a.op, &a.kernel).cmp(&(&b.op, &b.kernel)))
    });
    Ok(shares)
}
