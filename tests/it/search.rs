//! Promises of the nearest-codebook search beyond its reference: ties, NaN, and the same indices
//! from every core and check.

use crate::coopmat::adversarial;
use wgvq::gpu::{Core, FEW_CHANNELS, Gpu, Options, Tensor};
use wgvq::ops::quantize::vq_search::{nearest, nearest_by_tiles};
use wgvq::spec::Rng;

fn gpu(options: Options) -> Gpu {
    Gpu::new(options).expect("an adapter; scripts/test.sh installs one")
}

fn search(gpu: &Gpu, x: &[f32], e: &[f32], d: usize) -> Vec<u32> {
    let x = Tensor::from_slice(gpu, &[x.len() / d, d], x).unwrap();
    let e = Tensor::from_slice(gpu, &[e.len() / d, d], e).unwrap();
    nearest(&x, &e).unwrap().read().unwrap()
}

#[test]
fn ties_go_to_the_lowest_index() {
    for core in [None, Some(Core::Tiled)] {
        let gpu = gpu(Options {
            core,
            ..Default::default()
        });
        // Equal codes near and far apart: in one lane, across lanes, across tiles.
        let d = 4;
        let mut codes = vec![9.0f32; 200 * d];
        for k in [3, 4, 40, 77, 130, 199] {
            codes[k * d..(k + 1) * d].copy_from_slice(&[1.0, -2.0, 0.5, 0.0]);
        }
        let latents: Vec<f32> = (0..150).flat_map(|_| [1.0, -2.0, 0.5, -0.0]).collect();
        assert_eq!(search(&gpu, &latents, &codes, d), vec![3; 150], "{core:?}");
    }
}

#[test]
fn a_latent_of_nan_has_index_0() {
    for core in [None, Some(Core::Tiled)] {
        let gpu = gpu(Options {
            core,
            ..Default::default()
        });
        let codes: Vec<f32> = (0..50 * 4).map(|i| i as f32).collect();
        let mut latents = codes.clone();
        latents[4 * 7 + 2] = f32::NAN;
        let index = search(&gpu, &latents, &codes, 4);
        assert_eq!(index[7], 0, "{core:?}");
        assert!(
            index
                .iter()
                .enumerate()
                .all(|(i, k)| i == 7 || *k == i as u32)
        );
    }
}

#[test]
fn checks_on_or_off_give_the_same_bits() {
    let mut rng = Rng::new(11);
    let mut normals = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.normal() as f32).collect() };
    let (x, e) = (normals(301 * 20), normals(67 * 20));
    let unchecked = search(&gpu(Options::default()), &x, &e, 20);
    let checked = search(
        &gpu(Options {
            shader_checks: true,
            ..Default::default()
        }),
        &x,
        &e,
        20,
    );
    assert_eq!(unchecked, checked);
    let plain = search(
        &gpu(Options {
            no_features: true,
            ..Default::default()
        }),
        &x,
        &e,
        20,
    );
    assert_eq!(unchecked, plain, "without subgroups and immediates");
}

/// Kernels for few channels find what a core's tiles find, whatever the channels: at sizes about
/// those of workgroups and of what they load, with codes in parts, and among codebooks that are
/// made to be mistaken.
fn few_channels_beside_tiles(core: Core, kernel: &str) {
    let gpu = gpu(Options {
        core: Some(core),
        guard: true,
        ..Default::default()
    });
    if gpu.core() != core {
        return crate::skip::skipped("search", &format!("no {} core here", core.name()));
    }
    let mut rng = Rng::new(23);
    for d in 1..=FEW_CHANNELS {
        let mut searches = adversarial(d);
        let sizes = [(1, 1), (63, 7), (66, 1_100), (257, 65), (513, 130)];
        for (n, k) in sizes {
            let mut normals =
                |count| -> Vec<f32> { (0..count * d).map(|_| rng.normal() as f32).collect() };
            searches.push((format!("{n} among {k}"), d, normals(n), normals(k)));
        }
        for (what, _, x, e) in searches {
            let x = Tensor::from_slice(&gpu, &[x.len() / d, d], &x).unwrap();
            let e = Tensor::from_slice(&gpu, &[e.len() / d, d], &e).unwrap();
            let few: Vec<u32> = nearest(&x, &e).unwrap().read().unwrap();
            let tiles: Vec<u32> = nearest_by_tiles(&x, &e).unwrap().read().unwrap();
            let differ = few
                .iter()
                .zip(&tiles)
                .enumerate()
                .find(|(_, (f, t))| f != t);
            assert_eq!(differ, None, "{what}, {d} channels, {}", core.name());
        }
    }
    gpu.check_guard_bands().unwrap();
    let used = gpu.kernels_in_use();
    for split in [false, true] {
        for quads in 1..=FEW_CHANNELS / 4 {
            let is = |label: &String| {
                label.starts_with(&format!("{kernel}("))
                    && label.contains(&format!("QUADS={quads},"))
                    && label.contains("SPLIT=1") == split
            };
            assert!(used.iter().any(is), "{quads} vec4s, {split}: {used:?}");
        }
    }
}

#[test]
fn few_channels_are_searched_to_the_same_indices_as_by_tiles() {
    few_channels_beside_tiles(Core::Tiled, "vq_search_few_channels");
}

#[test]
fn few_channels_are_searched_over_subgroups_to_the_same_indices_as_by_tiles() {
    few_channels_beside_tiles(Core::Subgroup, "vq_search_resident");
}

/// No code past the last one is found, where the last is so large that its score overflows.
#[test]
fn an_index_is_one_of_the_codes() {
    for core in [None, Some(Core::Tiled)] {
        let gpu = gpu(Options {
            core,
            ..Default::default()
        });
        for d in [1, 8, 17, 64] {
            let k = 333;
            let mut codes = vec![1.0f32; k * d];
            codes[(k - 1) * d] = f32::MAX;
            let latents = vec![2.0f32; 100 * d];
            let index = search(&gpu, &latents, &codes, d);
            assert!(index.iter().all(|i| *i == 0), "{d} channels: {index:?}");
        }
    }
}

/// An invocation that walked them all would take more turns of its loops than Mesa's software
/// driver lets it.
#[test]
fn the_last_of_very_many_codes_is_found() {
    // Fractions of multiples of the golden ratio: no two codes are alike, and they are made fast.
    let fraction = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    for core in [None, Some(Core::Tiled)] {
        let gpu = gpu(Options {
            core,
            ..Default::default()
        });
        for (n, k, d) in [(512, 1 << 16, 256), (37, 1 << 18, 20), (37, 1 << 18, 8)] {
            let e: Vec<f32> = (0..k * d)
                .map(|i| fraction(i * i) as f32 / (1 << 23) as f32 - 1.0)
                .collect();
            let x: Vec<f32> = e.chunks(d).rev().take(n).flatten().copied().collect();
            let want: Vec<u32> = (0..n).map(|i| (k - 1 - i) as u32).collect();
            assert_eq!(search(&gpu, &x, &e, d), want, "{k} codes of {d}, {core:?}");
        }
    }
}

/// Whole numbers, so that sums are exact and many codes score the same: the tile of codes that ends
/// with the last one, tiles with fewer codes than columns, and codes in parts, whole tiles along
/// the channels or not.
#[test]
fn every_tile_finds_the_lowest_of_equal_codes_wherever_it_lies() {
    let gpu = gpu(Options {
        core: Some(Core::Tiled),
        guard: true,
        ..Default::default()
    });
    let mut rng = Rng::new(17);
    let mut numbers = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.below(4) as f32).collect() };
    for (d, sizes) in [
        (16, &[9, 64, 68, 128, 132, 1_100][..]),
        (12, &[9, 70, 131]),
        (5, &[9, 70, 131]),
    ] {
        for k in sizes {
            let (x, e) = (numbers(131 * d), numbers(k * d));
            let want: Vec<u32> = x
                .chunks(d)
                .map(|x| {
                    let distance = |e: &[f32]| -> f32 {
                        x.iter().zip(e).map(|(a, b)| (a - b) * (a - b)).sum()
                    };
                    let distances: Vec<f32> = e.chunks(d).map(distance).collect();
                    let least = distances.iter().copied().fold(f32::MAX, f32::min);
                    distances.iter().position(|d| *d == least).unwrap() as u32
                })
                .collect();
            for tile in gpu.tiles_of(Core::Tiled) {
                crate::tiles::use_tile(&gpu, &tile.to_string()).unwrap();
                assert_eq!(search(&gpu, &x, &e, d), want, "{tile}, {k} codes of {d}");
            }
        }
    }
    gpu.check_guard_bands().unwrap();
}
