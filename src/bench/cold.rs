//! Calls whose inputs lie in no cache.
//!
//! Sets of inputs are taken in turn, so many that twice the last-level cache lies between two uses
//! of one (nvbench and burn-bench do alike). Where a set is so small that it would take too many,
//! a copy as large as that runs before each call instead, outside of what is timed. Outputs are
//! written to the same buffers each time.

use super::prepared::Prepared;
use super::workload::Workload;
use crate::Result;
use crate::gpu::{DType, Gpu, Tensor};
use crate::ops::elementwise::copy::copy;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

/// Sets of inputs, at most.
const MOST: u64 = 128;
/// The last-level cache of a GPU, in bytes: none tells it, and few have more. (50 MiB on an
/// H100, 96 MiB on AMD's largest Radeons, 126 MiB on a B200.)
const OF_GPUS: u64 = 128 << 20;
/// That of a processor that does not say.
const OF_PROCESSORS: u64 = 64 << 20;

/// The state of the caches before each call of a measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cache {
    /// The same inputs, again and again: in a cache, where they fit.
    #[default]
    Warm,
    /// Others each time, or the same after a copy that drove them out.
    Cold,
}

impl Cache {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Cache::Warm => "warm",
            Cache::Cold => "cold",
        }
    }
}

impl std::str::FromStr for Cache {
    type Err = crate::Error;
    fn from_str(s: &str) -> Result<Self> {
        match s {
            "warm" => Ok(Cache::Warm),
            "cold" => Ok(Cache::Cold),
            other => Err(crate::Error::config(
                "--cache",
                format!("`{other}` is neither warm nor cold"),
            )),
        }
    }
}

/// The way in which inputs were kept out of the caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColdBy {
    /// So many sets of inputs in turn.
    Sets(u64),
    /// A copy of so many bytes before each call.
    Copy(u64),
}

impl fmt::Display for ColdBy {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ColdBy::Sets(n) => write!(f, "{n} sets of inputs in turn"),
            ColdBy::Copy(bytes) => write!(f, "a copy of {} MiB before each call", bytes >> 20),
        }
    }
}

/// Calls whose inputs lie in no cache.
pub struct Cold {
    pub(super) call: Box<dyn FnMut() -> Result<()>>,
    /// Runs before each call, where inputs are not taken in turn.
    pub(super) flush: Option<Box<dyn FnMut() -> Result<()>>>,
    pub(super) by: ColdBy,
}

/// Returns how to keep inputs of `bytes` out of a cache of `cache` bytes.
fn way(bytes: u64, cache: u64) -> ColdBy {
    // One more than fill it, so that the first is out when it is its turn again.
    match (2 * cache).checked_div(bytes).map(|sets| sets + 2) {
        Some(sets) if sets <= MOST => ColdBy::Sets(sets),
        _ => ColdBy::Copy(2 * cache),
    }
}

impl Cold {
    /// Prepares a workload for a last-level cache of `cache` bytes.
    ///
    /// # Errors
    /// If the inputs do not fit the device.
    pub fn new(gpu: &Gpu, workload: &Workload, seed: u64, cache: u64) -> Result<Cold> {
        let before = gpu.memory().in_use;
        let first = workload.prepare(gpu, seed)?;
        let bytes = gpu.memory().in_use - before;
        match way(bytes, cache) {
            by @ ColdBy::Sets(sets) => Cold::in_turn(gpu, workload, first, sets, seed, by),
            by @ ColdBy::Copy(bytes) => Ok(Cold {
                call: first.call,
                flush: Some(flush(gpu, bytes)?),
                by,
            }),
        }
    }

    fn in_turn(
        gpu: &Gpu,
        workload: &Workload,
        first: Prepared,
        sets: u64,
        seed: u64,
        by: ColdBy,
    ) -> Result<Cold> {
        let mut calls = vec![first.call];
        for i in 1..sets {
            calls.push(workload.prepare(gpu, seed.wrapping_add(i))?.call);
        }
        // What a call makes once is made here.
        for call in &mut calls {
            call()?;
        }
        gpu.finish()?;
        let mut next = 0;
        let call = move || {
            next = (next + 1) % calls.len();
            calls[next]()
        };
        Ok(Cold {
            call: Box::new(call),
            flush: None,
            by,
        })
    }
}

/// Returns a call that reads and writes so many bytes in all.
fn flush(gpu: &Gpu, bytes: u64) -> Result<Box<dyn FnMut() -> Result<()>>> {
    let most = gpu.limits().max_storage_buffer_binding_size;
    let n = ((bytes / 2).min(most) / 16).max(1) as usize * 4;
    let calls = (bytes / 2).div_ceil(4 * n as u64);
    let x = Tensor::zeros(gpu, &[n], DType::F32)?;
    Ok(Box::new(move || {
        (0..calls).try_for_each(|_| copy(&x).map(drop))
    }))
}

/// Returns the last-level cache of a device in bytes: all of the processors' own together, where
/// the adapter is software and the system tells; else one that few exceed.
pub fn last_level_cache(gpu: &Gpu) -> u64 {
    if gpu.info().device_type != wgpu::DeviceType::Cpu {
        return OF_GPUS;
    }
    of_processors(Path::new("/sys/devices/system/cpu")).unwrap_or(OF_PROCESSORS)
}

/// Returns what the caches of the highest level hold together that Linux lists in its folder of
/// processors. Each stands there once for every processor that shares it.
fn of_processors(folder: &Path) -> Option<u64> {
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut caches: BTreeSet<(u32, String, u64)> = BTreeSet::new();
    for cpu in entries(folder) {
        for index in entries(&cpu.path().join("cache")) {
            let read = |name: &str| std::fs::read_to_string(index.path().join(name)).ok();
            let cache = || {
                let level = read("level")?.trim().parse().ok()?;
                let shared = read("shared_cpu_list")?.trim().to_owned();
                Some((level, shared, size(&read("size")?)?))
            };
            caches.extend(cache());
        }
    }
    let highest = caches.last()?.0;
    let last = caches.iter().filter(|(level, ..)| *level == highest);
    Some(last.map(|(.., size)| size).sum())
}

/// Reads `32768K`.
fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let unit = match text.chars().last()? {
        'K' => 10,
        'M' => 20,
        _ => 0,
    };
    let digits = text.trim_end_matches(['K', 'M']);
    Some(digits.parse::<u64>().ok()? << unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_cache_lies_between_two_uses() {
        let cache = 32 << 20;
        for (bytes, by) in [
            (8 << 20, ColdBy::Sets(10)),
            (63 << 20, ColdBy::Sets(3)),
            (1 << 30, ColdBy::Sets(2)),
            (1 << 10, ColdBy::Copy(64 << 20)),
            (0, ColdBy::Copy(64 << 20)),
        ] {
            assert_eq!(way(bytes, cache), by, "{bytes}");
            if let ColdBy::Sets(n) = by {
                assert!((n - 1) * bytes >= 2 * cache || n == 2);
            }
        }
    }

    #[test]
    fn sizes_are_read_as_linux_writes_them() {
        assert_eq!(size("32768K\n"), Some(32 << 20));
        assert_eq!((size("1M"), size("512")), (Some(1 << 20), Some(512)));
        assert_eq!((size(""), size("K"), size("many")), (None, None, None));
    }

    #[test]
    fn each_last_level_cache_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        // Four processors, of which two and two share a cache of 4 MiB.
        for cpu in 0..4 {
            let shared = ["0-1\n", "2-3\n"][cpu / 2];
            for (index, level, size, shared) in [
                ("index0", "1\n", "32K\n", &*format!("{cpu}\n")),
                ("index2", "2\n", "8192K\n", &*format!("{cpu}\n")),
                ("index3", "3\n", "4096K\n", shared),
            ] {
                let at = folder.path().join(format!("cpu{cpu}/cache/{index}"));
                std::fs::create_dir_all(&at).unwrap();
                for (name, text) in [
                    ("level", level),
                    ("size", size),
                    ("shared_cpu_list", shared),
                ] {
                    std::fs::write(at.join(name), text).unwrap();
                }
            }
            std::fs::write(folder.path().join(format!("cpu{cpu}/cache/uevent")), "").unwrap();
        }
        std::fs::write(folder.path().join("online"), "0-3\n").unwrap();
        assert_eq!(of_processors(folder.path()), Some(8 << 20));
        assert_eq!(of_processors(Path::new("/nowhere/at/all")), None);
    }
}
