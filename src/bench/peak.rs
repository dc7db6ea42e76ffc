//! Peak rates of an adapter, measured by a kernel that only computes and one that only copies.

use crate::Result;
use crate::gpu::{Gpu, Tensor};
use crate::ops::elementwise::copy::copy;
use crate::ops::elementwise::fma_chain::fma_chain;
use crate::spec::{Operation, Rng, case};
use std::time::Instant;

/// An adapter's measured ceilings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// Multiply-adds in f32, at two operations each: 10^9 per second.
    pub gflops: f64,
    /// Bytes read and written by a copy: 10^9 per second.
    pub gbps: f64,
}

impl Peak {
    /// Returns the share of the ceiling that binds: the time that `flops` and `bytes` would need at
    /// the peak, over `ms`. And whether memory is what binds.
    pub fn share(&self, flops: f64, bytes: f64, ms: f64) -> (f64, bool) {
        let (compute, memory) = (flops / self.gflops / 1e6, bytes / self.gbps / 1e6);
        (compute.max(memory) / ms, memory > compute)
    }
}

/// Seconds of one call: the least of several, since whatever disturbs a measurement makes it
/// longer.
fn least(gpu: &Gpu, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..8 {
        let start = Instant::now();
        let ((), device) = gpu.timed(&mut call)?;
        least =
            least.min(device.map_or_else(|| start.elapsed().as_secs_f64(), |d| d.as_secs_f64()));
    }
    Ok(least)
}

/// Measures both ceilings. Takes a fraction of a second.
///
/// # Errors
/// If the device fails.
pub fn peak(gpu: &Gpu) -> Result<Peak> {
    let mut rng = Rng::new(1);
    let x = rng.normals(&[1 << 18]).upload(gpu)?;
    // Longer chains until a call is far longer than its own cost.
    let mut rounds = 1;
    let gflops = loop {
        let seconds = least(gpu, || fma_chain(&x, rounds).map(drop))?;
        let work = crate::ops::elementwise::fma_chain::FmaChain
            .work(&case(&[("n", x.len()), ("rounds", rounds)]));
        if seconds > 0.02 || rounds >= 1 << 16 {
            break work.flops / seconds / 1e9;
        }
        rounds *= 2;
    };
    // Larger than any cache where the device can bind that much.
    let n = (gpu.limits().max_storage_buffer_binding_size / 4).min(1 << 26) as usize / 4 * 4;
    let x = Tensor::zeros(gpu, &[n], crate::gpu::DType::F32)?;
    crate::ops::sampling::random::normal(
        &x,
        crate::ops::sampling::random::Key {
            seed: 1,
            step: 0,
            stream: 0,
        },
    )?;
    let seconds = least(gpu, || copy(&x).map(drop))?;
    Ok(Peak {
        gflops,
        gbps: 8.0 * n as f64 / seconds / 1e9,
    })
}
