//! Every quantizer by what all must do: codes that decode to what was handed on, gradients that
//! arrive, a state that comes back, training that resumes; and by what is its own.

mod training;

use crate::common::gpu;
use training::tiny;
use wgvq::autograd::{Tape, Var};
use wgvq::gpu::{Gpu, Tensor};
use wgvq::nn::{ForwardContext, Init, Parameters};
use wgvq::ops::quantize::code_softmax::{Metric, sample_codes};
use wgvq::ops::sampling::random::Key;
use wgvq::quantize::{self, Mode, Options, Quantizer, Registry, Term};
use wgvq::spec::{HostTensor, Rng};

fn make(gpu: &Gpu, options: &Options) -> (Box<dyn Quantizer>, Parameters) {
    let mut b = Parameters::builder();
    b.declare("unused", &[1], Init::Zeros);
    let quantizer = quantize::Registry::default()
        .build(gpu, &mut b, options)
        .unwrap_or_else(|e| panic!("{}: {e}", options.kind));
    (quantizer, b.build(gpu, 3).unwrap())
}

/// Small, with latents of other channels than the codes, so that there are maps around.
fn small(kind: &str) -> Options {
    Options {
        codebook_size: 32,
        dim: 12,
        codebook_dim: 8,
        kmeans_init: false,
        levels: vec![4, 3, 5],
        groups: 2,
        num_quantizers: 3,
        // A grid of one cell: every latent is a map.
        scales: vec![1],
        codebook_diversity_loss_weight: 0.1,
        seed: 5,
        ..Options::of(kind)
    }
}

fn latents(gpu: &Gpu, n: usize, d: usize, seed: u64) -> Tensor {
    Rng::new(seed).normals(&[n, d]).upload(gpu).unwrap()
}

fn floats(t: &Tensor) -> Vec<f32> {
    t.read().unwrap()
}

#[test]
fn codes_decode_to_what_was_handed_on_and_gradients_arrive() {
    let gpu = gpu();
    for kind in quantize::all() {
        let (quantizer, params) = make(&gpu, &small(kind.name));
        let n = 131;
        let z = latents(&gpu, n, 12, 7);
        for mode in [Mode::Train { step: 2 }, Mode::Eval] {
            let tape = Tape::new(&gpu);
            let pass = ForwardContext::new(&tape, &params);
            let z_e = tape.leaf(&z);
            let q = quantizer.quantize(&pass, &z_e, mode).unwrap();
            let (books, k) = (quantizer.codebooks(), quantizer.codebook_size());
            assert_eq!(q.indices.shape(), [n, books], "{}", kind.name);
            let indices: Vec<u32> = q.indices.read().unwrap();
            let counts: Vec<u32> = q.counts.read().unwrap();
            assert_eq!(counts.len(), books * k);
            for book in 0..books {
                for code in 0..k {
                    let chosen = indices
                        .iter()
                        .skip(book)
                        .step_by(books)
                        .filter(|i| **i as usize == code)
                        .count();
                    assert_eq!(
                        chosen as u32,
                        counts[book * k + code],
                        "{}: code {code} of book {book}",
                        kind.name
                    );
                }
            }
            let decoded = quantizer.decode(&pass, &q.indices).unwrap();
            assert_eq!(
                floats(&decoded),
                floats(q.z_q.tensor()),
                "{} in {mode:?}",
                kind.name
            );
            if mode == Mode::Eval {
                assert!(
                    q.losses.is_empty(),
                    "{}: a loss without training",
                    kind.name
                );
                continue;
            }
            let upstream = latents(&gpu, n, 12, 8);
            let product = tape
                .matmul(
                    &tape.reshape(&q.z_q, &[1, n * 12]).unwrap(),
                    &tape.constant(&upstream.reshape(&[n * 12, 1]).unwrap()),
                    wgvq::ops::linalg::matmul::Transpose::NONE,
                )
                .unwrap();
            let mut loss = tape.reshape(&product, &[1]).unwrap();
            if let Some(own) = q.total(&tape).unwrap() {
                assert!(floats(own.tensor())[0].is_finite(), "{}", kind.name);
                loss = tape.add(&loss, &own).unwrap();
            }
            let mut gradients = tape.backward(&loss).unwrap();
            let dz = floats(&gradients.take(&z_e).expect("a gradient for the latents"));
            assert!(
                dz.iter().all(|g| g.is_finite()) && dz.iter().any(|g| *g != 0.0),
                "{}",
                kind.name
            );
            // Everything that the optimiser trains is reached: all parameters but the one that
            // stands for a model.
            let reached = pass.gradients(gradients);
            assert_eq!(reached.len(), params.handles().count() - 1, "{}", kind.name);
            for (handle, g) in reached {
                assert!(
                    floats(&g).iter().all(|g| g.is_finite()),
                    "{}: {}",
                    kind.name,
                    params.name(handle)
                );
            }
        }
    }
}

#[test]
fn a_state_comes_back_and_another_is_refused() {
    let gpu = gpu();
    for kind in quantize::all() {
        let (mut quantizer, params) = make(&gpu, &small(kind.name));
        let z = latents(&gpu, 200, 12, 9);
        for step in 0..3 {
            let tape = Tape::no_grad(&gpu);
            let pass = ForwardContext::new(&tape, &params);
            let q = quantizer
                .quantize(&pass, &tape.constant(&z), Mode::Train { step })
                .unwrap();
            quantizer.learn(&params, &q.seen, step).unwrap();
        }
        let state = quantizer.save().unwrap();
        let (mut again, _) = make(
            &gpu,
            &Options {
                seed: 99,
                ..small(kind.name)
            },
        );
        again.load(&state).unwrap();
        assert_eq!(again.save().unwrap(), state, "{}", kind.name);
        let codes = |q: &dyn Quantizer| {
            let tape = Tape::no_grad(&gpu);
            let pass = ForwardContext::new(&tape, &params);
            q.quantize(&pass, &tape.constant(&z), Mode::Eval)
                .unwrap()
                .indices
                .read::<u32>()
                .unwrap()
        };
        assert_eq!(codes(&*again), codes(&*quantizer), "{}", kind.name);
        let mut foreign = state.clone();
        foreign.insert("0.nonesuch".into(), (vec![1], vec![0.0]));
        assert!(
            again.load(&foreign).is_err(),
            "{} takes a state that is not its own",
            kind.name
        );
        if let Some(first) = state.keys().next().cloned() {
            let mut short = state.clone();
            short.remove(&first);
            if ["gumbel", "ibq"].contains(&kind.name) {
                // One without a state is of a version that normalised nothing.
                again.load(&short).unwrap();
                assert_eq!(again.save().unwrap(), short);
                continue;
            }
            assert!(
                again
                    .load(&short)
                    .unwrap_err()
                    .to_string()
                    .contains("has no"),
                "{}",
                kind.name
            );
        }
    }
}

#[test]
fn padding_is_not_quantized_and_teaches_nothing() {
    let gpu = gpu();
    for kind in quantize::all() {
        let (quantizer, params) = make(&gpu, &small(kind.name));
        let n = 70;
        let keep: Vec<bool> = (0..n).map(|i| i % 3 != 1 && i < 60).collect();
        let z = latents(&gpu, n, 12, 4);
        let tape = Tape::new(&gpu);
        let pass = ForwardContext::new(&tape, &params);
        let z_e = tape.leaf(&z);
        let mode = Mode::Train { step: 1 };
        let q = quantize::mask::quantize_kept(&*quantizer, &pass, &z_e, &keep, mode).unwrap();
        // The same latents without the padding between them.
        let all = floats(&z);
        let kept: Vec<f32> = (0..n)
            .filter(|i| keep[*i])
            .flat_map(|i| all[12 * i..][..12].to_vec())
            .collect();
        let kept = Tensor::from_slice(&gpu, &[kept.len() / 12, 12], &kept).unwrap();
        let dense = quantizer
            .quantize(&pass, &tape.constant(&kept), mode)
            .unwrap();
        let (indices, dense_indices): (Vec<u32>, Vec<u32>) =
            (q.indices.read().unwrap(), dense.indices.read().unwrap());
        let (z_q, dense_z_q) = (floats(q.z_q.tensor()), floats(dense.z_q.tensor()));
        let books = quantizer.codebooks();
        let mut next = 0;
        for (i, keep) in keep.iter().enumerate() {
            let codes = &indices[i * books..][..books];
            if *keep {
                assert_eq!(
                    codes,
                    &dense_indices[next * books..][..books],
                    "{} at {i}",
                    kind.name
                );
                assert_eq!(
                    z_q[12 * i..][..12],
                    dense_z_q[12 * next..][..12],
                    "{} at {i}",
                    kind.name
                );
                next += 1;
            } else {
                assert!(
                    codes.iter().all(|c| *c == quantize::mask::PADDING),
                    "{} at {i}",
                    kind.name
                );
                assert!(
                    z_q[12 * i..][..12].iter().all(|v| *v == 0.0),
                    "{} at {i}",
                    kind.name
                );
            }
        }
        assert_eq!(
            q.counts.read::<u32>().unwrap(),
            dense.counts.read::<u32>().unwrap(),
            "{}",
            kind.name
        );
        let total = |q: &quantize::Quantized| {
            q.total(&Tape::no_grad(&gpu))
                .unwrap()
                .map(|l: Var| floats(l.tensor()))
        };
        assert_eq!(total(&q), total(&dense), "{}", kind.name);
        let upstream = latents(&gpu, n, 12, 6);
        let dz = floats(
            tape.backward_with(&q.z_q, upstream)
                .unwrap()
                .get(&z_e)
                .unwrap(),
        );
        for (i, keep) in keep.iter().enumerate() {
            let any = dz[12 * i..][..12].iter().any(|g| *g != 0.0);
            assert_eq!(any, *keep, "{}: a gradient at {i}", kind.name);
        }
        assert!(
            quantize::mask::quantize_kept(&*quantizer, &pass, &z_e, &[false; 70], mode).is_err()
        );
        assert!(
            quantize::mask::quantize_kept(&*quantizer, &pass, &z_e, &[true; 69], mode).is_err()
        );
    }
}

/// Codes drawn by distance come as often as the softmax says (chi-square).
#[test]
fn drawn_codes_have_the_right_shares() {
    let gpu = gpu();
    let (k, d, rows) = (9, 3, 200_000);
    let mut rng = Rng::new(12);
    let (x, e) = (rng.normals(&[1, d]), rng.normals(&[k, d]));
    let row: Vec<f32> = x.upload(&gpu).unwrap().read().unwrap();
    let tile = HostTensor::f32(&[rows, d], (0..rows).flat_map(|_| row.clone()).collect());
    let temperature = 0.7;
    for metric in [Metric::Euclidean, Metric::Cosine] {
        let key = Key {
            seed: 3,
            step: 1,
            stream: 2,
        };
        let drawn = sample_codes(
            &tile.upload(&gpu).unwrap(),
            &e.upload(&gpu).unwrap(),
            metric,
            temperature,
            key,
        )
        .unwrap();
        let mut counts = vec![0f64; k];
        drawn
            .read::<u32>()
            .unwrap()
            .iter()
            .for_each(|i| counts[*i as usize] += 1.0);
        let (x, e) = (x.widened(), e.widened());
        let score = |e: &[f64]| match metric {
            Metric::Euclidean => -e
                .iter()
                .zip(x.as_f64())
                .map(|(a, b)| (a - b) * (a - b))
                .sum::<f64>()
                .sqrt(),
            Metric::Cosine => e.iter().zip(x.as_f64()).map(|(a, b)| a * b).sum(),
        };
        let weights: Vec<f64> = e
            .as_f64()
            .chunks(d)
            .map(|e| (score(e) / f64::from(temperature)).exp())
            .collect();
        let total: f64 = weights.iter().sum();
        let chi: f64 = weights
            .iter()
            .zip(&counts)
            .map(|(w, c)| {
                let expected = rows as f64 * w / total;
                (c - expected).powi(2) / expected
            })
            .sum();
        // 8 degrees of freedom: 26.1 is exceeded once in a thousand.
        assert!(
            chi < 26.1,
            "{metric:?}: chi-square {chi}, counts {counts:?}"
        );
    }
}

/// A share of the stack's quantizers is left out at random, always the last ones, and at measuring
/// none.
#[test]
fn dropout_shortens_the_stack() {
    let gpu = gpu();
    let (quantizer, params) = make(
        &gpu,
        &Options {
            quantize_dropout: true,
            ..small("residual")
        },
    );
    let z = latents(&gpu, 50, 12, 2);
    let mut depths = std::collections::BTreeSet::new();
    for step in 0..12 {
        let tape = Tape::no_grad(&gpu);
        let pass = ForwardContext::new(&tape, &params);
        let q = quantizer
            .quantize(&pass, &tape.constant(&z), Mode::Train { step })
            .unwrap();
        let used: Vec<bool> = q
            .counts
            .read::<u32>()
            .unwrap()
            .chunks(32)
            .map(|c| c.iter().any(|n| *n > 0))
            .collect();
        let depth = used.iter().filter(|u| **u).count();
        assert!(used[..depth].iter().all(|u| *u) && depth > 0, "{used:?}");
        assert_eq!(
            q.losses
                .iter()
                .filter(|(t, _)| *t == Term::Commitment)
                .count(),
            depth
        );
        depths.insert(depth);
    }
    assert_eq!(depths.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
    let tape = Tape::no_grad(&gpu);
    let q = quantizer
        .quantize(
            &ForwardContext::new(&tape, &params),
            &tape.constant(&z),
            Mode::Eval,
        )
        .unwrap();
    assert!(
        q.counts
            .read::<u32>()
            .unwrap()
            .chunks(32)
            .all(|c| c.iter().sum::<u32>() == 50)
    );
}

#[path = "../../examples/custom_quantizer.rs"]
mod custom_quantizer;

/// The example of a quantizer from outside this crate, as far as a few steps show it.
#[test]
fn a_quantizer_from_outside_trains_by_its_name() {
    let mut config = tiny("ema");
    config.quantizer = Options {
        codebook_size: 64,
        ..Options::of("spherical")
    };
    let evaluation = custom_quantizer::train(&config, 4).unwrap();
    assert_eq!(evaluation.counts.len(), 64);
    // As many codes as the test split has latents.
    let (pictures, latents) = (evaluation.counts.iter().sum::<u64>() / 64, 64);
    assert!(
        evaluation.mse.is_finite()
            && pictures > 300
            && evaluation.counts.iter().sum::<u64>() % latents == 0
    );
    assert!(
        config
            .resolve(&Registry::default())
            .unwrap_err()
            .to_string()
            .contains("spherical"),
        "this crate alone does not know it"
    );
}
