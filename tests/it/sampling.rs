//! Tokens drawn on the device, many through all filters at once and some through each, against
//! the exact distribution (Pearson 1900), and drawn tokens that feed the next step without the
//! host.

use wgvq::gpu::{DType, Gpu, Options, Tensor};
use wgvq::ops::quantize::gather::gather;
use wgvq::ops::sampling::random::Key;
use wgvq::ops::sampling::sample::{SampleOutputs, Sampling, probabilities, sample};
use wgvq::spec::{HostTensor, Rng};

const ROWS: usize = 4_000;
/// Times ROWS: a million draws before a release (`WGVQ_THOROUGH=1`), a hundred thousand otherwise.
fn many() -> u64 {
    if std::env::var_os("WGVQ_THOROUGH").is_some() {
        250
    } else {
        25
    }
}
/// Enough to see a filter that is wrong.
const SOME: u64 = 5;
const V: usize = 40;

fn gpu() -> Gpu {
    Gpu::new(Options::default()).expect("these tests need a Vulkan, Metal or DX12 adapter")
}

/// Computes the distribution that top-k, top-p and min-p keep, in f64, by sorting.
fn exact(logits: &[f64], s: &Sampling) -> Vec<f64> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    let weight = |i: &usize| ((logits[*i] - logits[order[0]]) / s.temperature as f64).exp();
    let mut kept = order.clone();
    kept.truncate(s.top_k.unwrap_or(logits.len()));
    let whole: f64 = kept.iter().map(weight).sum();
    let mut sum = 0.0;
    kept.retain(|i| {
        let keep = sum < s.top_p as f64 * whole;
        sum += weight(i);
        keep
    });
    kept.retain(|i| weight(i) >= s.min_p as f64);
    let whole: f64 = kept.iter().map(weight).sum();
    let mut p = vec![0.0; logits.len()];
    kept.iter().for_each(|i| p[*i] = weight(i) / whole);
    p
}

/// Counts of ROWS x `steps` draws from one row of logits, or of one pair.
fn counts(gpu: &Gpu, logits: &[&[f32]], s: &Sampling, steps: u64) -> Vec<u64> {
    let repeated: Vec<f32> = logits.iter().flat_map(|row| row.repeat(ROWS)).collect();
    let logits = Tensor::from_slice(gpu, &[logits.len() * ROWS, V], &repeated).unwrap();
    let token = Tensor::empty(gpu, &[logits.shape()[0]], DType::U32).unwrap();
    let log_prob = Tensor::empty(gpu, &[ROWS], DType::F32).unwrap();
    let mut counts = vec![0; V];
    for step in 0..steps {
        let key = Key {
            seed: 1234,
            step,
            stream: 2,
        };
        sample(
            &logits,
            s,
            key,
            0,
            SampleOutputs {
                token: &token,
                log_prob: &log_prob,
                sequence: None,
            },
        )
        .unwrap();
        token.read::<u32>().unwrap()[..ROWS]
            .iter()
            .for_each(|t| counts[*t as usize] += 1);
    }
    counts
}

#[test]
fn frequencies_are_those_of_the_distribution() {
    let gpu = gpu();
    let mut rng = Rng::new(11);
    let mut row = || -> Vec<f32> { (0..V).map(|_| 1.5 * rng.normal() as f32).collect() };
    let (c, u) = (row(), row());
    let plain = Sampling::default();
    let kinds = [
        ("plain", plain),
        (
            "temperature",
            Sampling {
                temperature: 0.6,
                ..plain
            },
        ),
        (
            "top-k",
            Sampling {
                top_k: Some(7),
                ..plain
            },
        ),
        (
            "top-p",
            Sampling {
                top_p: 0.8,
                ..plain
            },
        ),
        (
            "min-p",
            Sampling {
                min_p: 0.1,
                ..plain
            },
        ),
        (
            "guidance",
            Sampling {
                guidance: Some(1.5),
                ..plain
            },
        ),
        (
            "all",
            Sampling {
                temperature: 1.3,
                top_k: Some(20),
                top_p: 0.9,
                min_p: 0.02,
                guidance: Some(2.0),
            },
        ),
    ];
    for (name, s) in kinds {
        let guided = |(c, u): (&f32, &f32)| {
            *u as f64 + s.guidance.unwrap_or(1.0) as f64 * (*c as f64 - *u as f64)
        };
        let logits: Vec<f64> = c.iter().zip(&u).map(guided).collect();
        let p = exact(&logits, &s);
        let pair: &[&[f32]] = if s.guidance.is_some() {
            &[&c, &u]
        } else {
            &[&c]
        };
        let steps = if name == "all" { many() } else { SOME };
        let counts = counts(&gpu, pair, &s, steps);
        let n = counts.iter().sum::<u64>() as f64;
        assert_eq!(n, ROWS as f64 * steps as f64);
        let (mut statistic, mut free) = (0.0, -1.0);
        for (i, (count, p)) in counts.iter().zip(&p).enumerate() {
            if *p == 0.0 {
                assert_eq!(*count, 0, "{name}: token {i} was filtered");
                continue;
            }
            statistic += (*count as f64 - n * p).powi(2) / (n * p);
            free += 1.0;
        }
        // Four deviations: one run in some ten thousand, and the seed is fixed.
        println!("{name}: chi-square {statistic:.1} of {free} degrees of freedom");
        assert!(
            statistic < free + 4.0 * (2.0f64 * free).sqrt(),
            "{name}: {statistic} of {free} degrees of freedom"
        );
    }
}

/// The checker can fail: the frequencies of one temperature are not those of another one close by.
#[test]
fn the_statistic_sees_a_wrong_temperature() {
    let gpu = gpu();
    let logits: Vec<f32> = (0..V).map(|i| (i as f32 * 0.7).sin()).collect();
    let counts = counts(
        &gpu,
        &[&logits],
        &Sampling {
            temperature: 1.3,
            ..Default::default()
        },
        SOME,
    );
    let wide: Vec<f64> = logits.iter().map(|l| *l as f64).collect();
    let p = exact(&wide, &Sampling::default());
    let n = counts.iter().sum::<u64>() as f64;
    let statistic: f64 = counts
        .iter()
        .zip(&p)
        .map(|(c, p)| (*c as f64 - n * p).powi(2) / (n * p))
        .sum();
    assert!(statistic > 39.0 + 4.0 * 78f64.sqrt(), "{statistic}");
}

/// A chain of tokens, each drawn from the row of a table that the one before it chose: one readback
/// at the end gives what as many readbacks on the way give.
#[test]
fn tokens_feed_the_next_step_on_the_device() {
    let gpu = gpu();
    let (b, v, length) = (33, 50, 64);
    let table = Rng::new(6).normals(&[v, v]);
    let table: Tensor = table.upload(&gpu).unwrap();
    let s = Sampling {
        top_k: Some(20),
        top_p: 0.95,
        ..Default::default()
    };
    let run = |read: bool| -> (HostTensor, Vec<u32>) {
        let token = Tensor::zeros(&gpu, &[b], DType::U32).unwrap();
        let log_prob = Tensor::empty(&gpu, &[b], DType::F32).unwrap();
        let sequence = Tensor::zeros(&gpu, &[b, length], DType::U32).unwrap();
        for at in 0..length {
            let logits = gather(&table, &token).unwrap();
            let key = Key {
                seed: 5,
                step: at as u64,
                stream: 0,
            };
            let to = SampleOutputs {
                token: &token,
                log_prob: &log_prob,
                sequence: Some((&sequence, at)),
            };
            sample(&logits, &s, key, 0, to).unwrap();
            if read {
                token.write(&token.read::<u32>().unwrap()).unwrap();
            }
        }
        (
            HostTensor::download(&sequence).unwrap(),
            token.read().unwrap(),
        )
    };
    let (whole, last) = run(false);
    assert_eq!((whole.clone(), last.clone()), run(true));
    let column: Vec<u32> = whole
        .as_u32()
        .chunks(length)
        .map(|row| row[length - 1])
        .collect();
    assert_eq!(column, last);
    // Each token is one that its row's distribution keeps.
    let p: Vec<f32> = probabilities(&table, &s).unwrap().read().unwrap();
    for row in whole.as_u32().chunks(length) {
        for (before, after) in [0].iter().chain(row).zip(row) {
            assert!(
                p[*before as usize * v + *after as usize] > 0.0,
                "{after} after {before}"
            );
        }
    }
}
