//! The prior: its logits, loss and gradients against a reference in f64, and how it draws.

mod reference;
mod systems;

use crate::common::fixture::{Fixture, close};
use crate::common::gpu;
use crate::scalar::Scalars;
use reference::reference;
use systems::{every, texts};
use wgvq::autograd::Tape;
use wgvq::gpu::{Gpu, Options};
use wgvq::models::prior::{Prior, Shape, Vocabulary};
use wgvq::nn::transformer::Dropout;
use wgvq::nn::{ForwardContext, HostTensors, Parameters};
use wgvq::spec::Rng;

fn build(gpu: &Gpu, shape: &Shape, vocabulary: &Vocabulary) -> (Prior, Parameters) {
    let mut b = Parameters::builder();
    let prior = Prior::new(gpu, &mut b, shape, vocabulary).unwrap();
    let params = b.build(gpu, 5).unwrap();
    // Initial weights are so small that attention hardly looks anywhere.
    let mut rng = Rng::new(17);
    let larger = |(name, (shape, values)): (String, (Vec<usize>, Vec<f32>))| {
        let mid = if name.contains("norm") && name.ends_with(".weight") {
            1.0
        } else {
            0.0
        };
        let values = values
            .iter()
            .map(|_| (mid + 0.3 * rng.normal()) as f32)
            .collect();
        (name, (shape, values))
    };
    let tensors: HostTensors = params.to_host().unwrap().into_iter().map(larger).collect();
    params.load_host(&tensors).unwrap();
    (prior, params)
}

fn images(v: &Vocabulary, n: usize, seed: u64) -> (Vec<u32>, Vec<u32>) {
    let mut rng = Rng::new(seed);
    let mut codes = Vec::new();
    for _ in 0..n {
        for level in &v.above {
            codes.extend((0..level.codes()).map(|_| rng.below(level.codebook_size) as u32));
        }
        codes.extend((0..v.tokens()).map(|_| rng.below(v.codebook_size) as u32));
    }
    // The last sees no class.
    let classes = (0..n)
        .map(|i| {
            if i + 1 == n {
                v.no_class()
            } else {
                rng.below(v.classes.max(1)) as u32
            }
        })
        .collect();
    (classes, codes)
}

/// Every logit, the loss, and every element of every parameter's gradient, under an upstream
/// gradient other than 1: within 2e-5 + 2e-5 |expected|.
#[test]
fn logits_loss_and_gradients_equal_the_reference() {
    let gpu = gpu();
    let close = |name: &str, got: f32, want: f64| {
        let allowed = 2e-5 + 2e-5 * want.abs();
        let error = (f64::from(got) - want).abs();
        assert!(error <= allowed, "{name}: {got} for {want}");
        error / allowed
    };
    for (shape, v) in every() {
        let (prior, params) = build(&gpu, &shape, &v);
        let (classes, codes) = images(&v, 3, 4);
        let texts = texts(&v, 3);
        let (host, s) = (params.to_host().unwrap(), Scalars::default());
        let reference = reference(&s, &shape, &v, &host);
        let (loss, logits) = reference.loss(&classes, &codes, texts.as_ref());
        let upstream = 1.75;
        let gradient = s.backward(loss);

        let batch = prior
            .upload(&gpu, &classes, &codes, texts.as_ref())
            .unwrap();
        let tape = Tape::new(&gpu);
        let pass = ForwardContext::new(&tape, &params);
        let got = prior.logits(&pass, &batch, Dropout::OFF).unwrap();
        let got: Vec<Vec<f32>> = got.iter().map(|l| l.tensor().read().unwrap()).collect();
        let (mut worst, mut compared) = (0.0f64, 0);
        for (i, want) in logits.iter().enumerate() {
            let (cell, book) = (i / v.codebooks, i % v.codebooks);
            for (c, want) in want.iter().enumerate() {
                let got = got[book][cell * v.codebook_size + c];
                worst = worst.max(close(&format!("logit {i} {c}"), got, s.get(*want)));
                compared += 1;
            }
        }
        assert_eq!(compared, classes.len() * v.tokens() * v.codebook_size);

        let tape = Tape::new(&gpu);
        let pass = ForwardContext::new(&tape, &params);
        let value = prior.loss(&pass, &batch, Dropout::OFF, 0.0).unwrap();
        worst = worst.max(close(
            "loss",
            value.tensor().read::<f32>().unwrap()[0],
            s.get(loss),
        ));
        let scaled = tape.scale(&value, upstream as f32, 0.0).unwrap();
        let gradients = pass.gradients(tape.backward(&scaled).unwrap());
        let mut compared = 0;
        for (handle, got) in &gradients {
            let name = params.name(*handle);
            let want = &reference.params[name].1;
            let got: Vec<f32> = got.read().unwrap();
            assert_eq!(got.len(), want.len());
            for (i, (got, want)) in got.iter().zip(want).enumerate() {
                worst = worst.max(close(
                    &format!("gradient of {name}[{i}]"),
                    *got,
                    upstream * want.of(&gradient),
                ));
                compared += 1;
            }
        }
        assert_eq!(compared, params.count(), "every parameter has a gradient");
        println!("{:?}: worst {worst:.3} of what is allowed", shape.mlp);
    }
}

/// The reference's own gradients, against central differences.
#[test]
fn the_reference_differentiates() {
    let gpu = gpu();
    for (shape, v) in every() {
        let (_, params) = build(&gpu, &shape, &v);
        let (classes, codes) = images(&v, 2, 9);
        let texts = texts(&v, 2);
        let host = params.to_host().unwrap();
        let s = Scalars::default();
        let r = reference(&s, &shape, &v, &host);
        let gradient = s.backward(r.loss(&classes, &codes, texts.as_ref()).0);
        for (n, (name, (_, values))) in host.iter().enumerate() {
            let i = (7 * n + 3) % values.len();
            let at = |delta: f64| {
                let s = Scalars::default();
                let mut r = reference(&s, &shape, &v, &host);
                let changed = s.constant(f64::from(values[i]) + delta);
                r.params.get_mut(name).unwrap().1[i] = changed;
                s.get(r.loss(&classes, &codes, texts.as_ref()).0)
            };
            let (difference, found) = (
                (at(1e-5) - at(-1e-5)) / 2e-5,
                r.params[name].1[i].of(&gradient),
            );
            assert!(
                (difference - found).abs() <= 1e-7 + 1e-5 * found.abs(),
                "{name}[{i}]: {found}, {difference}"
            );
        }
    }
}

/// PyTorch in f64 on the same weights, codes and classes, which `scripts/fixtures/prior.py` wrote:
/// logits, loss and all gradients, within 3e-5 of each tensor's largest element.
#[test]
fn pytorch_agrees() {
    let gpu = gpu();
    for name in ["rotary", "learned"] {
        let fixture = Fixture::load(&format!("prior/{name}"));
        let c = &fixture.metadata["config"];
        let size = |key: &str| c[key].as_u64().unwrap() as usize;
        let shape = serde_json::json!({
            "layers": c["layers"], "dim": c["dim"], "heads": c["heads"], "hidden": c["hidden"],
            "norm": c["norm"], "mlp": c["mlp"],
            "positions": c["positions"], "rope_base": c["rope_base"], "tied": c["tied"],
            "dropout": 0.0,
        });
        let shape: Shape = serde_json::from_value(shape).unwrap();
        let v = Vocabulary {
            codebook_size: size("codebook_size"),
            codebooks: size("codebooks"),
            grid: serde_json::from_value(c["grid"].clone()).unwrap(),
            classes: size("classes"),
            above: Vec::new(),
            text: None,
            scales: None,
        };
        let (prior, params) = build(&gpu, &shape, &v);
        let weights = fixture.under("model.");
        params.load_host(&weights).unwrap();

        let close = |what: &str, got: &[f32], want: &[f32]| {
            close(&format!("{name}: {what}"), got, want, 3e-5);
        };
        let floats = |name: &str| fixture.floats(name);
        let numbers = |name: &str| &fixture.words[name];
        let batch = prior
            .upload(&gpu, numbers("classes"), numbers("codes"), None)
            .unwrap();
        let tape = Tape::new(&gpu);
        let pass = ForwardContext::new(&tape, &params);
        let (k, books) = (v.codebook_size, v.codebooks);
        let want = floats("logits");
        for (q, logits) in prior
            .logits(&pass, &batch, Dropout::OFF)
            .unwrap()
            .iter()
            .enumerate()
        {
            let want: Vec<f32> = want
                .chunks(k)
                .skip(q)
                .step_by(books)
                .flatten()
                .copied()
                .collect();
            close(
                &format!("logits of codebook {q}"),
                &logits.tensor().read::<f32>().unwrap(),
                &want,
            );
        }
        let tape = Tape::new(&gpu);
        let pass = ForwardContext::new(&tape, &params);
        let loss = prior.loss(&pass, &batch, Dropout::OFF, 0.0).unwrap();
        close(
            "loss",
            &loss.tensor().read::<f32>().unwrap(),
            floats("loss"),
        );
        let gradients = pass.gradients(tape.backward(&loss).unwrap());
        assert_eq!(gradients.len(), weights.len());
        for (handle, gradient) in gradients {
            let name = params.name(handle);
            close(
                &format!("gradient of {name}"),
                &gradient.read::<f32>().unwrap(),
                floats(&format!("grad.{name}")),
            );
        }
    }
}

/// Attention makes no matrix of scores: what a pass forward and back takes grows as the sequence
/// does.
#[test]
fn attention_takes_memory_in_proportion_to_the_sequence() {
    use wgvq::gpu::{DType, Tensor};
    use wgvq::ops::attention::attention::Attention;
    let gpu = Gpu::new(Options::default()).unwrap();
    let taken = |t: usize| {
        let qkv = Tensor::zeros(&gpu, &[1, t, 3, 2, 32], DType::F32).unwrap();
        let dy = Tensor::zeros(&gpu, &[1, t, 2, 32], DType::F32).unwrap();
        gpu.finish().unwrap();
        gpu.reset_peak();
        let before = gpu.memory().in_use;
        let tape = Tape::new(&gpu);
        let leaf = tape.leaf(&qkv);
        let y = tape.attention_packed(&leaf, Attention::CAUSAL).unwrap();
        tape.backward_with(&y, dy).unwrap();
        gpu.finish().unwrap();
        gpu.memory().peak - before
    };
    // Output, gradient and two numbers a row and head: 256 channels and a few.
    for t in [512, 1024, 2048] {
        let bytes = taken(t);
        println!("{t} tokens: {bytes} bytes");
        assert!(bytes <= 4 * 320 * t as u64, "{t} tokens took {bytes} bytes");
    }
}
