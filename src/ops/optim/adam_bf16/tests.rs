//! Tests of the rounding, and of what it does to the moments.

use super::spec::noise_of;
use super::*;
use crate::gpu::{Gpu, Options};
use crate::ops::optim::adam::{BLOCK, reference as adam_reference};
use crate::spec::Rng;
use half::f16;

fn gpu() -> Gpu {
    Gpu::new(Options {
        poison: true,
        ..Default::default()
    })
    .unwrap()
}

/// In parts, and with noise that begins later, the words are those of one dispatch.
#[test]
fn parts_give_the_bits_of_the_whole() {
    let gpu = gpu();
    let n = 1024;
    let mut rng = Rng::new(5);
    let [w, g] = [0; 2].map(|_| rng.normals(&[n]).upload(&gpu).unwrap());
    let words: Vec<u32> = (0..n)
        .map(|_| join(rng.normal() as f32, rng.normal().powi(2) as f32))
        .collect();
    let moments = Tensor::from_slice(&gpu, &[n], &words).unwrap();
    let clip = Tensor::from_slice(&gpu, &[3], &[1.0f32, 0.5, 1.0]).unwrap();
    let hyper = Hyper {
        weight_decay: 0.5,
        ..Default::default()
    };
    let places: Vec<u32> = (0..(n / BLOCK) as u32).rev().collect();
    let places = Tensor::from_slice(&gpu, &[n / BLOCK], &places).unwrap();
    let run = |limit, with_copies: bool| {
        let [w, moments] = [&w, &moments].map(|t| t.duplicate().unwrap());
        let halves = Tensor::from_slice(&gpu, &[n], &vec![f16::ZERO; n]).unwrap();
        let copies = Copies {
            halves: &halves,
            places: &places,
        };
        let state = State {
            weights: &w,
            moments: &moments,
        };
        let with = (Some(&clip), with_copies.then_some(copies));
        let noise = Noise { seed: 3, first: 64 };
        in_chunks(&hyper, 3, state, &g, with, (300, noise), limit).unwrap();
        let weights = w.read::<f32>().unwrap();
        if with_copies {
            for (i, half) in halves.read::<f16>().unwrap().into_iter().enumerate() {
                let at = (n / BLOCK - 1 - i / BLOCK) * BLOCK + i % BLOCK;
                assert_eq!(half, f16::from_f32(weights[at]), "{i}");
            }
        }
        let weights: Vec<u32> = weights.into_iter().map(f32::to_bits).collect();
        (weights, moments.read::<u32>().unwrap())
    };
    let whole = run(1 << 20, false);
    assert_eq!(whole, run(1024, false));
    assert_eq!(whole, run(1 << 20, true));
    assert_eq!(whole, run(256 + 255, true));

    // A part by itself, with the noise of its place.
    let half = n / 2;
    let [w, g] = [&w, &g].map(|t| t.view(half, &[half]).unwrap().duplicate().unwrap());
    let moments = moments.view(half, &[half]).unwrap().duplicate().unwrap();
    let state = State {
        weights: &w,
        moments: &moments,
    };
    let noise = Noise {
        seed: 3,
        first: 64 + half,
    };
    adam_bf16(&hyper, 3, state, &g, (Some(&clip), None), 0, noise).unwrap();
    assert_eq!(moments.read::<u32>().unwrap(), whole.1[half..]);
}

/// Each moment is one of its two neighbours, and the one that the noise says but where f32 and f64
/// differ; on average it is kept.
#[test]
fn moments_go_to_the_neighbour_that_the_noise_says() {
    let gpu = gpu();
    let n = 1 << 16;
    let mut rng = Rng::new(11);
    let [w, g] = [0; 2].map(|_| rng.normals(&[n]));
    let words: Vec<u32> = (0..n)
        .map(|_| join(rng.normal() as f32, rng.normal().powi(2) as f32))
        .collect();
    let (weights, gradient) = (w.upload(&gpu).unwrap(), g.upload(&gpu).unwrap());
    let moments = Tensor::from_slice(&gpu, &[n], &words).unwrap();
    let (hyper, noise) = (Hyper::default(), Noise { seed: 9, first: 0 });
    let state = State {
        weights: &weights,
        moments: &moments,
    };
    adam_bf16(&hyper, 5, state, &gradient, (None, None), 0, noise).unwrap();
    let got: Vec<u32> = moments.read().unwrap();
    let (w, g) = (w.widened(), g.widened());
    let (mut others, mut drift) = ([0; 2], [0f64; 2]);
    for i in 0..n {
        let before = [
            w.as_f64()[i],
            f64::from(first_moment(words[i])),
            f64::from(second_moment(words[i])),
        ];
        let [_, m, v] = adam_reference::adam(&hyper, 5, false, before, g.as_f64()[i]);
        let found = [first_moment(got[i]), second_moment(got[i])].map(f64::from);
        let noise = noise_of(noise, 5, i);
        for (k, exact) in [m, v].into_iter().enumerate() {
            let unit = exact.abs().log2().floor().exp2() / 128.0;
            let off = (found[k] - exact) / unit;
            assert!(off.abs() < 1.001, "{i}: {} {exact}", found[k]);
            drift[k] += off;
            if found[k] != reference::rounded(exact, noise[k]) {
                others[k] += 1;
            }
        }
    }
    assert!(others.iter().all(|n| *n < 200), "{others:?}");
    // The deviation of a sum of as many is 0.4 times the root of their number, or less.
    assert!(
        drift.iter().all(|d| d.abs() < 2.5 * (n as f64).sqrt()),
        "{drift:?}"
    );
}

/// Where gradients become small, the second moment falls as it does in f32: rounded to the nearest
/// it would stand still. What is not finite stays so.
#[test]
fn second_moments_follow_and_do_not_stall() {
    let gpu = gpu();
    let n = 256;
    let hyper = Hyper {
        lr: 0.0,
        ..Default::default()
    };
    let weights = Tensor::zeros(&gpu, &[n], DType::F32).unwrap();
    let moments = Tensor::from_slice(&gpu, &[n], &vec![join(0.0, 1.0); n]).unwrap();
    let gradient = Tensor::from_slice(&gpu, &[n], &vec![1e-3f32; n]).unwrap();
    let state = State {
        weights: &weights,
        moments: &moments,
    };
    let steps = 1500;
    for step in 1..=steps {
        let noise = Noise { seed: 1, first: 0 };
        adam_bf16(&hyper, step, state, &gradient, (None, None), 0, noise).unwrap();
    }
    let words: Vec<u32> = moments.read().unwrap();
    let mean: f64 = words
        .iter()
        .map(|w| f64::from(second_moment(*w)))
        .sum::<f64>()
        / n as f64;
    let wanted = hyper.beta2.powi(steps as i32);
    assert!((mean / wanted - 1.0).abs() < 0.03, "{mean} {wanted}");
    // To the nearest, a thousandth less of 1 is 1.
    assert_eq!(half::bf16::from_f32(0.999).to_f32(), 1.0);
    assert!(
        words
            .iter()
            .all(|w| (first_moment(*w) / 1e-3 - 1.0).abs() < 0.02)
    );

    let gradient = Tensor::from_slice(&gpu, &[4], &[f32::INFINITY, f32::NAN, 1e38, 0.0]).unwrap();
    let weights = Tensor::zeros(&gpu, &[4], DType::F32).unwrap();
    let moments = Tensor::from_slice(&gpu, &[4], &[join(0.0, 1e-38); 4]).unwrap();
    let state = State {
        weights: &weights,
        moments: &moments,
    };
    adam_bf16(
        &hyper,
        1,
        state,
        &gradient,
        (None, None),
        0,
        Noise::default(),
    )
    .unwrap();
    let words: Vec<u32> = moments.read().unwrap();
    assert!(first_moment(words[0]).is_infinite() && second_moment(words[0]).is_infinite());
    assert!(!first_moment(words[1]).is_finite() && !second_moment(words[1]).is_finite());
    assert!(first_moment(words[2]).is_finite() && second_moment(words[2]).is_infinite());
    assert!(second_moment(words[3]).is_finite() && first_moment(words[3]) == 0.0);
}
