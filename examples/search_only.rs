//! The nearest-codebook search alone, in a host's encoder and over its buffers: no model, no tape.
//!
//!     cargo run --release --example search_only [LATENTS CODES CHANNELS]

mod host;

use host::Host;
use std::time::{Duration, Instant};
use wgvq::gpu::Gpu;
use wgvq::kernels::{Array, nearest_codebook};
use wgvq::{Error, FeatureRequest, Result, wgpu};

/// The result of the searches.
pub struct Found {
    /// Latents whose code is no nearest one.
    pub wrong: usize,
    /// A search, waited for.
    pub took: Duration,
}

/// Numbers in [-1, 1) that look random.
fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mixed = |i: u32| (i ^ seed.wrapping_mul(0x85EB_CA6B)).wrapping_mul(0x9E37_79B9);
    let number =
        |x: u32| ((x ^ x >> 15).wrapping_mul(0x2C1B_3C6D) >> 8) as f32 / (1 << 23) as f32 - 1.0;
    (0..n as u32).map(|i| number(mixed(i))).collect()
}

/// Searches `n` latents among `k` codes of `d` channels.
pub fn run(n: usize, k: usize, d: usize) -> Result<Found> {
    let host = Host::new(FeatureRequest::default());
    let gpu: Gpu = host.gpu();
    let (latents, codebook) = (numbers(n * d, 1), numbers(k * d, 2));
    let upload = |values: &[f32]| {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let buffer = host.buffer(4 * values.len() as u64, usage);
        host.queue
            .write_buffer(&buffer, 0, bytemuck::cast_slice(values));
        buffer
    };
    let (latents_buffer, codebook_buffer) = (upload(&latents), upload(&codebook));
    let search = || -> Result<Vec<u32>> {
        let mut encoder = host.device.create_command_encoder(&Default::default());
        let indices = gpu.record_into(&mut encoder, || {
            let (latents_shape, codebook_shape) = ([n, d], [k, d]);
            let latents = Array::new(&latents_buffer, 0, &latents_shape);
            nearest_codebook(
                &gpu,
                latents,
                Array::new(&codebook_buffer, 0, &codebook_shape),
            )?
            .read_async()
        })?;
        host.queue.submit([encoder.finish()]);
        indices.wait()
    };
    search()?; // compiles the kernel
    let start = Instant::now();
    let indices = search()?;
    let took = start.elapsed();

    let distance = |latent: &[f32], code: usize| -> f64 {
        let difference = |(a, b): (&f32, &f32)| f64::from(a - b).powi(2);
        latent
            .iter()
            .zip(&codebook[code * d..][..d])
            .map(difference)
            .sum()
    };
    let nearest = |latent: &[f32]| {
        (0..k)
            .map(|code| distance(latent, code))
            .fold(f64::INFINITY, f64::min)
    };
    // Where two codes are as near as f32 can tell, either is right.
    let is_wrong = |(latent, code): &(&[f32], &u32)| {
        distance(latent, **code as usize) > nearest(latent) + 1e-4
    };
    // A few hundred are enough to see a wrong kernel, and the processor's loops are slow.
    let step = (n / 512).max(1);
    let wrong = latents
        .chunks(d)
        .zip(&indices)
        .step_by(step)
        .filter(is_wrong)
        .count();
    if indices.len() != n {
        return Err(Error::data("an index is missing"));
    }
    Ok(Found { wrong, took })
}

#[allow(dead_code, reason = "a test includes this file for what it shows")]
fn main() -> Result<()> {
    let sizes: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|a| a.parse().ok())
        .collect();
    let [n, k, d] = sizes.try_into().unwrap_or([16_384, 1_024, 64]);
    let found = run(n, k, d)?;
    println!(
        "{n} latents, {k} codes of {d}: {:?} with the indices on the processor, {} wrong",
        found.took, found.wrong
    );
    if found.wrong > 0 {
        Err(Error::data("indices are not the nearest"))
    } else {
        Ok(())
    }
}
