//! Peak rates of an adapter, measured by a kernel that only computes, one that only copies, and
//! many that do nothing.

use super::launch::Launch;
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
    /// Microseconds that each further dispatch takes which does next to nothing; 0 where they are
    /// not known.
    pub launch_us: f64,
}

impl Peak {
    /// Returns the ceilings in words, for a process that is not to measure them anew.
    pub fn to_words(self) -> String {
        format!("{},{},{}", self.gflops, self.gbps, self.launch_us)
    }

    /// Reads what [`Peak::to_words`] wrote.
    pub fn from_words(words: &str) -> Option<Peak> {
        let numbers = words.split(',').map(|word| word.parse().ok());
        let numbers = numbers.collect::<Option<Vec<f64>>>()?;
        match numbers[..] {
            [gflops, gbps, launch_us] if gflops > 0.0 && gbps > 0.0 && launch_us >= 0.0 => {
                Some(Peak {
                    gflops,
                    gbps,
                    launch_us,
                })
            }
            _ => None,
        }
    }
}

/// The resource that bounds a workload by the roofline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Operations.
    Compute,
    /// Bytes.
    Memory,
    /// The number of dispatches.
    Launch,
}

impl Bound {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Bound::Compute => "compute",
            Bound::Memory => "memory",
            Bound::Launch => "launch",
        }
    }
}

impl Peak {
    /// Returns the share of the ceiling that binds, and which does: the longest of the times that
    /// `flops`, `bytes` and `dispatches` would need at the peak, over `ms`.
    pub fn share(&self, flops: f64, bytes: f64, dispatches: u64, ms: f64) -> (f64, Bound) {
        let needs = [
            (flops / self.gflops / 1e6, Bound::Compute),
            (bytes / self.gbps / 1e6, Bound::Memory),
            (dispatches as f64 * self.launch_us / 1e3, Bound::Launch),
        ];
        let longest = needs.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
        let (need, bound) = longest.unwrap_or(needs[0]);
        (need / ms, bound)
    }
}

/// Seconds of one call: the least of `calls`, since whatever disturbs a measurement makes it
/// longer.
fn least(gpu: &Gpu, calls: usize, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut least = f64::INFINITY;
    // The first call compiles, and counts where others follow: it is never the least.
    if calls == 1 {
        gpu.timed(&mut call)?;
    }
    for _ in 0..calls {
        let start = Instant::now();
        let ((), device) = gpu.timed(&mut call)?;
        least =
            least.min(device.map_or_else(|| start.elapsed().as_secs_f64(), |d| d.as_secs_f64()));
    }
    Ok(least)
}

/// Measures the ceilings. Takes a fraction of a second.
///
/// # Errors
/// If the device fails.
pub fn peak(gpu: &Gpu) -> Result<Peak> {
    peak_of(gpu, 8, 1 << 26)
}

/// Measures the ceilings roughly, in a tenth of the time: for runs that are no measurement, and
/// whose times are not compared by peaks. The copy may stay in a cache.
///
/// # Errors
/// If the device fails.
pub fn rough_peak(gpu: &Gpu) -> Result<Peak> {
    peak_of(gpu, 1, 1 << 22)
}

/// [`peak`] of the least of `calls` calls each, by a copy of `floats` numbers at most.
fn peak_of(gpu: &Gpu, calls: usize, floats: u64) -> Result<Peak> {
    let mut rng = Rng::new(1);
    let x = rng.normals(&[1 << 18]).upload(gpu)?;
    // Longer chains until a call is far longer than its own cost.
    let mut rounds = 1;
    let gflops = loop {
        let seconds = least(gpu, calls, || fma_chain(&x, rounds).map(drop))?;
        let work = crate::ops::elementwise::fma_chain::FmaChain
            .work(&case(&[("n", x.len()), ("rounds", rounds)]));
        if seconds > 0.02 || rounds >= 1 << 16 {
            break work.flops / seconds / 1e9;
        }
        rounds *= 2;
    };
    // Larger than any cache where the device can bind that much, and a rough figure is not wanted.
    let n = (gpu.limits().max_storage_buffer_binding_size / 4).min(floats) as usize / 4 * 4;
    let x = Tensor::zeros(gpu, &[n], crate::gpu::DType::F32)?;
    crate::ops::sampling::random::normal(
        &x,
        crate::ops::sampling::random::Key {
            seed: 1,
            step: 0,
            stream: 0,
        },
    )?;
    let seconds = least(gpu, calls, || copy(&x).map(drop))?;
    let [_, few, many] = Launch::all();
    let launches = |launch: Launch| {
        let call = launch.prepare(gpu)?.call;
        least(gpu, calls, call)
    };
    // What each further one takes: a submission's own cost is in neither.
    let per_dispatch =
        (launches(many)? - launches(few)?) / (many.dispatches - few.dispatches) as f64;
    Ok(Peak {
        gflops,
        gbps: 8.0 * n as f64 / seconds / 1e9,
        launch_us: 1e6 * per_dispatch.max(0.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_are_told_in_words_and_nonsense_is_measured_anew() {
        let peak = Peak {
            gflops: 133.25,
            gbps: 0.1 + 0.2,
            launch_us: 0.0,
        };
        assert_eq!(Peak::from_words(&peak.to_words()), Some(peak));
        for words in ["", "1,2", "1,2,3,4", "0,1,1", "1,NaN,1", "1,1,-1", "a,b,c"] {
            assert_eq!(Peak::from_words(words), None, "{words}");
        }
    }

    #[test]
    fn what_takes_longest_at_the_peak_binds() {
        let peak = Peak {
            gflops: 100.0,
            gbps: 10.0,
            launch_us: 5.0,
        };
        // 1, 0.1 and 0.005 ms; 0.1, 1 and 0.005; 0.1, 0.1 and 0.5.
        for (flops, bytes, dispatches, bound, share) in [
            (1e8, 1e6, 1, Bound::Compute, 0.5),
            (1e7, 1e7, 1, Bound::Memory, 0.5),
            (1e7, 1e6, 100, Bound::Launch, 0.25),
        ] {
            let (is, which) = peak.share(flops, bytes, dispatches, 2.0);
            assert!(
                which == bound && (is - share).abs() < 1e-12,
                "{is} {which:?}"
            );
        }
    }
}
