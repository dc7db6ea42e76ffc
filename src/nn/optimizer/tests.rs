//! Tests of the optimiser against steps in f64.

use super::*;
use crate::autograd::Tape;
use crate::gpu::{Gpu, Options};
use crate::nn::{ForwardContext, Init};
use crate::ops::linalg::matmul::Transpose;
use crate::ops::optim::adam::{Decay, reference as adam_reference};
use crate::ops::optim::clip::reference as clip_reference;
use crate::spec::Rng;

const SHAPES: [(&str, &[usize]); 3] = [("weight", &[7, 13]), ("bias", &[13]), ("table", &[3, 65])];
const MAX_NORM: f32 = 12.0;
const STEPS: usize = 10;

fn model(gpu: &Gpu, decay: Decay) -> (Parameters, Adam) {
    model_with(gpu, decay, MomentType::F32)
}

fn model_with(gpu: &Gpu, decay: Decay, moments: MomentType) -> (Parameters, Adam) {
    let mut b = Parameters::builder();
    for (name, shape) in SHAPES {
        b.declare(name, shape, Init::Normal(0.5));
    }
    let params = b.build(gpu, 4).unwrap();
    let hyper = Hyper {
        lr: 0.02,
        weight_decay: 0.3,
        decay,
        ..Default::default()
    };
    let mut adam = Adam::with_moments(&params, hyper, moments).unwrap();
    adam.max_norm = Some(MAX_NORM);
    (params, adam)
}

/// Returns the gradients of a step; the bias has none in every third.
fn gradients(step: usize) -> Vec<Option<Vec<f32>>> {
    let mut rng = Rng::new(100 + step as u64);
    let one = |(i, (_, shape)): (usize, &(&str, &[usize]))| {
        let values = (0..shape.iter().product())
            .map(|_| rng.normal() as f32)
            .collect();
        (i != 1 || step % 3 != 1).then_some(values)
    };
    SHAPES.iter().enumerate().map(one).collect()
}

fn run(gpu: &Gpu, params: &Parameters, adam: &mut Adam, steps: std::ops::Range<usize>) {
    for step in steps {
        adam.hyper.lr = 0.02 / (1.0 + step as f64);
        let tensors = gradients(step)
            .into_iter()
            .zip(params.handles())
            .filter_map(|(values, handle)| {
                let shape = params.get(handle).unwrap().shape().to_vec();
                values.map(|v| (handle, Tensor::from_slice(gpu, &shape, &v).unwrap()))
            });
        adam.step(params, &tensors.collect::<Vec<_>>()).unwrap();
    }
}

/// Takes the same steps by the references, in f64.
fn reference(params: &Parameters, hyper: Hyper) -> Vec<Vec<f64>> {
    let host = params.to_host().unwrap();
    let mut state: Vec<Vec<[f64; 3]>> = SHAPES
        .map(|(name, _)| host[name].1.iter().map(|w| [*w as f64, 0.0, 0.0]).collect())
        .to_vec();
    for step in 0..STEPS {
        let zeros = |i: usize| vec![0.0; SHAPES[i].1.iter().product()];
        let g: Vec<Vec<f32>> = gradients(step)
            .into_iter()
            .enumerate()
            .map(|(i, g)| g.unwrap_or_else(|| zeros(i)))
            .collect();
        let all: Vec<f64> = g.iter().flatten().map(|g| *g as f64).collect();
        let [_, factor, finite] = clip_reference::global_norm(&all, MAX_NORM as f64);
        assert!(factor < 1.0 && finite == 1.0, "the clipping is to be met");
        let hyper = Hyper {
            lr: 0.02 / (1.0 + step as f64),
            ..hyper
        };
        for (i, (parts, g)) in state.iter_mut().zip(&g).enumerate() {
            for (part, g) in parts.iter_mut().zip(g) {
                *part = adam_reference::adam(
                    &hyper,
                    step as u64 + 1,
                    i != 1,
                    *part,
                    factor * *g as f64,
                );
            }
        }
    }
    state
        .into_iter()
        .map(|parts| parts.into_iter().map(|[w, ..]| w).collect())
        .collect()
}

/// Returns the bits of all parameters, part by part.
fn bits(params: &Parameters) -> Vec<u32> {
    let parts = params.parts().iter();
    let words = parts.flat_map(|part| part.read::<f32>().unwrap());
    words.map(f32::to_bits).collect()
}

#[test]
fn ten_steps_equal_those_in_f64() {
    let gpu = Gpu::new(Options {
        poison: true,
        ..Default::default()
    })
    .unwrap();
    for decay in [Decay::L2, Decay::Decoupled] {
        let (params, mut adam) = model(&gpu, decay);
        let want = reference(&params, adam.hyper);
        run(&gpu, &params, &mut adam, 0..STEPS);
        let got = params.to_host().unwrap();
        let mut compared = 0;
        for ((name, _), want) in SHAPES.iter().zip(&want) {
            for (i, (g, w)) in got[*name].1.iter().zip(want).enumerate() {
                let holds = (*g as f64 - w).abs() <= 2e-6 + 1e-6 * w.abs();
                assert!(holds, "{decay:?} {name}[{i}]: {g} {w}");
                compared += 1;
            }
        }
        assert_eq!(compared, params.count());
        // The padding decayed with the rest, and stayed 0.
        let arena: Vec<f32> = params.parts()[0].read().unwrap();
        assert!(arena[91..128].iter().all(|x| *x == 0.0));
    }
}

#[test]
fn runs_repeat_and_resume_to_the_bit() {
    let gpu = Gpu::new(Options {
        poison: true,
        ..Default::default()
    })
    .unwrap();
    let (params, mut adam) = model(&gpu, Decay::Decoupled);
    run(&gpu, &params, &mut adam, 0..STEPS);
    let whole = bits(&params);
    let (params, mut adam) = model(&gpu, Decay::Decoupled);
    run(&gpu, &params, &mut adam, 0..STEPS);
    assert_eq!(bits(&params), whole);

    let (params, mut adam) = model(&gpu, Decay::Decoupled);
    run(&gpu, &params, &mut adam, 0..5);
    let (weights, state) = (params.to_host().unwrap(), adam.save().unwrap());
    drop((params, adam));
    let (params, mut adam) = model(&gpu, Decay::Decoupled);
    params.load_host(&weights).unwrap();
    adam.load(&state).unwrap();
    assert_eq!(adam.steps(), 5);
    run(&gpu, &params, &mut adam, 5..STEPS);
    assert_eq!(bits(&params), whole);
}

/// In one part or several, in f32 or 16 bits, with the norm clipped: the same bits after steps,
/// a save and a load, and what was saved of one goes into the other.
#[test]
fn several_parts_give_the_bits_of_one() {
    let moments = [MomentType::F32, MomentType::Bf16 { seed: 6 }];
    for moments in moments {
        let mut whole = None;
        for parameter_part in [None, Some(256), Some(512), Some(600)] {
            let gpu = Gpu::new(Options {
                poison: true,
                parameter_part,
                ..Default::default()
            })
            .unwrap();
            let (params, mut adam) = model_with(&gpu, Decay::Decoupled, moments);
            assert_eq!(params.parts().len() > 1, parameter_part.is_some());
            run(&gpu, &params, &mut adam, 0..5);
            let kept = (params.to_host().unwrap(), adam.save().unwrap());
            run(&gpu, &params, &mut adam, 5..STEPS);
            let found = (bits(&params), adam.save().unwrap(), kept);
            let first = whole.get_or_insert_with(|| found.clone());
            assert!(*first == found, "{moments:?} {parameter_part:?}");

            let (params, mut adam) = model_with(&gpu, Decay::Decoupled, moments);
            params.load_host(&first.2.0).unwrap();
            adam.load(&first.2.1).unwrap();
            run(&gpu, &params, &mut adam, 5..STEPS);
            assert!(bits(&params) == found.0 && adam.save().unwrap() == found.1);
        }
    }
}

/// Targets are found through noise with moments of 16 bits as with those of 32, by gradients that
/// are large at first and small later.
#[test]
fn moments_of_16_bits_learn_as_those_of_32() {
    let gpu = Gpu::new(Options::default()).unwrap();
    let learn = |moments| {
        let mut b = Parameters::builder();
        let handle = b.declare("w", &[32, 8], Init::Normal(1.0));
        let params = b.build(&gpu, 2).unwrap();
        let hyper = Hyper {
            lr: 0.02,
            ..Default::default()
        };
        let mut adam = Adam::with_moments(&params, hyper, moments).unwrap();
        let mut rng = Rng::new(7);
        let wanted: Vec<f32> = (0..256).map(|_| rng.normal() as f32).collect();
        let distance = |values: &[f32]| -> f64 {
            let squares = values
                .iter()
                .zip(&wanted)
                .map(|(a, b)| f64::from(a - b).powi(2));
            squares.sum::<f64>() / 256.0
        };
        let mut distances = Vec::new();
        for step in 0..1200 {
            if step == 600 {
                adam.hyper.lr = 0.002;
            }
            let now: Vec<f32> = params.get(handle).unwrap().read().unwrap();
            let noisy = now.iter().zip(&wanted).map(|(a, b)| {
                // So small that its square is below f16's numbers.
                1e-5 * (a - b + 0.3 * rng.normal() as f32)
            });
            let noisy: Vec<f32> = noisy.collect();
            let gradient = Tensor::from_slice(&gpu, &[32, 8], &noisy).unwrap();
            adam.step(&params, &[(handle, gradient)]).unwrap();
            if step % 300 == 299 {
                distances.push(distance(
                    &params.get(handle).unwrap().read::<f32>().unwrap(),
                ));
            }
        }
        distances
    };
    let wide = learn(MomentType::F32);
    let narrow = learn(MomentType::Bf16 { seed: 1 });
    assert!(wide[3] < 2e-3, "{wide:?}");
    for (wide, narrow) in wide.iter().zip(&narrow) {
        assert!((0.7..1.4).contains(&(narrow / wide)), "{wide:?} {narrow:?}");
    }
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    let gpu = Gpu::new(Options::default()).unwrap();
    let (params, mut adam) = model(&gpu, Decay::Decoupled);
    run(&gpu, &params, &mut adam, 0..2);
    let before = (params.to_host().unwrap(), adam.save().unwrap());
    let bias = params.find("bias").unwrap();
    let mut values = [1.0f32; 13];
    values[12] = f32::NAN;
    let gradient = Tensor::from_slice(&gpu, &[13], &values).unwrap();
    let report = adam.step(&params, &[(bias, gradient)]).unwrap().unwrap();
    assert_eq!(report.read::<f32>().unwrap()[1..], [0.0, 0.0]);
    let after = adam.save().unwrap();
    assert_eq!(
        (params.to_host().unwrap(), after.m, after.v),
        (before.0, before.1.m, before.1.v)
    );
    run(&gpu, &params, &mut adam, 3..4);
    assert!(
        params
            .to_host()
            .unwrap()
            .values()
            .all(|(_, v)| v.iter().all(|x| x.is_finite()))
    );
}

/// One backward pass: the weight is used twice, the bias once, the table in even steps.
fn gradients_of_a_pass(
    params: &Parameters,
    adam: &Adam,
    step: usize,
    placed: bool,
) -> Vec<(Handle, Tensor)> {
    let gpu = params.gpu();
    let tape = Tape::new(gpu);
    let mut pass = ForwardContext::new(&tape, params);
    if placed {
        pass = pass.with_gradients_of(adam);
    }
    let param = |name| pass.param(params.find(name).unwrap()).unwrap();
    let (weight, bias, table) = (param("weight"), param("bias"), param("table"));
    let x = Rng::new(step as u64).normals(&[5, 7]).upload(gpu).unwrap();
    let y = tape
        .matmul(&tape.constant(&x), &weight, Transpose::NONE)
        .unwrap();
    let z = tape.matmul(&y, &weight, Transpose::B).unwrap();
    let y = tape.bias(&y, &bias).unwrap();
    let mut loss = tape.add(&tape.mean(&y).unwrap(), &tape.mean(&z).unwrap());
    if step.is_multiple_of(2) {
        let index = Tensor::from_slice(gpu, &[2], &[2u32, 0]).unwrap();
        let rows = tape.gather(&table, &index).unwrap();
        loss = tape.add(&loss.unwrap(), &tape.mean(&rows).unwrap());
    }
    pass.gradients(tape.backward(&loss.unwrap()).unwrap())
}

#[test]
fn gradients_written_in_place_are_those_that_are_copied() {
    let gpu = Gpu::new(Options {
        poison: true,
        ..Default::default()
    })
    .unwrap();
    let run = |placed: bool| {
        let (params, mut adam) = model(&gpu, Decay::Decoupled);
        let mut copies = 0;
        for step in 0..4 {
            let gradients = gradients_of_a_pass(&params, &adam, step, placed);
            let before = gpu.counters().copies;
            adam.step(&params, &gradients).unwrap();
            copies += gpu.counters().copies - before;
        }
        (bits(&params), copies)
    };
    let (copied, placed) = (run(false), run(true));
    assert_eq!(copied.0, placed.0);
    assert_eq!((copied.1, placed.1), (10, 0));
}

/// A gradient that a walk wrote and no step used is not taken for that of a later one.
#[test]
fn gradients_that_were_given_up_are_forgotten() {
    let gpu = Gpu::new(Options::default()).unwrap();
    let after = |given_up: bool| {
        let (params, mut adam) = model(&gpu, Decay::Decoupled);
        if given_up {
            drop(gradients_of_a_pass(&params, &adam, 0, true));
        }
        let bias = params.find("bias").unwrap();
        let gradient = Tensor::from_slice(&gpu, &[13], &[1.0f32; 13]).unwrap();
        adam.step(&params, &[(bias, gradient)]).unwrap();
        params.to_host().unwrap()
    };
    assert_eq!(after(true), after(false));
}

#[test]
fn wrong_gradients_and_states_are_errors() {
    let gpu = Gpu::new(Options::default()).unwrap();
    let (params, mut adam) = model(&gpu, Decay::L2);
    let (other, _) = model(&gpu, Decay::L2);
    let bias = params.find("bias").unwrap();
    let good = Tensor::zeros(&gpu, &[13], DType::F32).unwrap();
    let flat = Tensor::zeros(&gpu, &[91], DType::F32).unwrap();
    assert!(adam.step(&other, &[]).is_err());
    let twice = adam
        .step(&params, &[(bias, good.clone()), (bias, good.clone())])
        .unwrap_err()
        .to_string();
    assert!(twice.contains("`bias`"), "{twice}");
    let shape = adam
        .step(&params, &[(params.find("weight").unwrap(), flat)])
        .unwrap_err()
        .to_string();
    assert!(shape.contains("`weight`"), "{shape}");
    assert_eq!(adam.steps(), 0);
    let mut state = adam.save().unwrap();
    state.v.remove("table");
    state.step = 7;
    assert!(
        adam.load(&state)
            .unwrap_err()
            .to_string()
            .contains("`table`")
    );
    assert_eq!(adam.steps(), 0);
    assert!(adam.step(&params, &[(bias, good)]).is_ok());
    assert!(
        Adam::new(
            &params,
            Hyper {
                beta1: 1.0,
                ..Default::default()
            }
        )
        .is_err()
    );
}
