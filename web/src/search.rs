//! The codebook search, timed and checked.

use web_time::Instant;
use wgvq::gpu::{Gpu, Tensor};
use wgvq::ops::quantize::vq_search::nearest;
use wgvq::spec::Rng;
use wgvq::{Error, Result};

/// Rows that are compared with the processor's.
const CHECKED: usize = 64;
/// Seconds of a measurement, about, and how often it is repeated; the median counts.
const SECONDS: f64 = 0.4;
const ROUNDS: usize = 3;

/// Numbers in [-1, 1).
fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut random = Rng::new(seed);
    (0..n)
        .map(|_| 2.0 * random.uniform() as f32 - 1.0)
        .collect()
}

fn distance(x: &[f32], e: &[f32]) -> f64 {
    x.iter()
        .zip(e)
        .map(|(x, e)| (f64::from(*x) - f64::from(*e)).powi(2))
        .sum()
}

/// Milliseconds of one search, its speed (a multiplication and an addition to each of N K D
/// products), and how many of the checked rows have a code that is not the nearest.
pub async fn measure(gpu: &Gpu, [n, k, d]: [usize; 3]) -> Result<serde_json::Value> {
    if n == 0
        || k == 0
        || d == 0
        || n.max(k) > 1 << 20
        || d > 1024
        || n * d > 1 << 25
        || k * d > 1 << 25
    {
        let what =
            "N and K of 1 to 1048576, D of 1 to 1024, and at most 33554432 numbers in either";
        return Err(Error::shape("search", what, format!("N {n}, K {k}, D {d}")));
    }
    let (x, e) = (noise(n * d, 1), noise(k * d, 2));
    let (latents, codebook) = (
        Tensor::from_slice(gpu, &[n, d], &x)?,
        Tensor::from_slice(gpu, &[k, d], &e)?,
    );
    // The first call compiles; the second says how many make a measurement.
    let found = nearest(&latents, &codebook)?
        .read_async()?
        .get::<u32>()
        .await?;
    let begun = Instant::now();
    nearest(&latents, &codebook)?;
    gpu.finish_async().await?;
    let once = begun.elapsed().as_secs_f64().max(1e-4);
    let repeats = (SECONDS / once).ceil().clamp(1.0, 500.0) as usize;
    let mut seconds = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for _ in 0..repeats {
            nearest(&latents, &codebook)?;
        }
        gpu.finish_async().await?;
        seconds.push(begun.elapsed().as_secs_f64() / repeats as f64);
    }
    seconds.sort_by(f64::total_cmp);
    let median = seconds[ROUNDS / 2];
    let checked = CHECKED.min(n);
    let wrong = (0..checked).filter(|i| {
        let row = i * n / checked;
        let latent = &x[row * d..][..d];
        let least = e
            .chunks_exact(d)
            .map(|code| distance(latent, code))
            .fold(f64::INFINITY, f64::min);
        // A code as near as rounding in f32 can tell is as good; one that is not there is not.
        let far = |got: u32| {
            e.chunks_exact(d)
                .nth(got as usize)
                .is_none_or(|code| !(distance(latent, code) - least <= 1e-6 * (d as f64 + least)))
        };
        far(found[row])
    });
    let wrong = wrong.count();
    Ok(serde_json::json!({
        "n": n, "k": k, "d": d,
        "milliseconds": median * 1e3,
        "gflops": 2.0 * n as f64 * k as f64 * d as f64 / median / 1e9,
        "repeats": repeats * ROUNDS,
        "checked": checked,
        "wrong": wrong,
        "core": gpu.core().name(),
    }))
}
