//! The same quantizer in vector-quantize-pytorch: indices, outputs, losses, gradients and the state
//! after a step, on the same numbers; and the formulas of later papers in PyTorch.
//! `scripts/fixtures/quantizers.py` made the files.

use crate::common::fixture::Fixture;
use std::collections::BTreeMap;
use wgvq::autograd::Tape;
use wgvq::gpu::{Gpu, Tensor};
use wgvq::nn::{ForwardContext, HostTensors, Init, Parameters};
use wgvq::ops::linalg::matmul::Transpose;
use wgvq::ops::quantize::fsq::Activation;
use wgvq::quantize::{Mode, Options, Quantizer, Registry, Term, mask};

/// Checks that the values agree, small ones by a share of the largest.
fn close(f: &Fixture, what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{}: {what}", f.name);
    assert!(!want.is_empty(), "{}: {what}", f.name);
    let largest = want.iter().fold(0f32, |a, b| a.max(b.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let allowed = tolerance * (1e-2 * largest + w.abs()) + 1e-7;
        let holds = (g - w).abs() <= allowed;
        assert!(
            holds,
            "{}: {what}[{i}] is {g}, vector-quantize-pytorch has {w}",
            f.name
        );
    }
}

/// Our options for theirs.
fn options(f: &Fixture) -> Options {
    let o = &f.metadata["options"];
    let number = |key: &str, default: f64| o[key].as_f64().unwrap_or(default);
    let size = |key: &str, default: usize| o[key].as_u64().map_or(default, |n| n as usize);
    let kind = o["kind"].as_str().unwrap();
    let commitment = number(
        "commitment_weight",
        if matches!(kind, "lfq" | "bsq") {
            number("commitment_loss_weight", 0.0)
        } else {
            0.25
        },
    );
    Options {
        codebook_size: size("codebook_size", 512),
        dim: f.floats["z"].0[1],
        codebook_dim: size("codebook_dim", f.floats["z"].0[1]),
        commitment_weight: commitment as f32,
        // There the codebook loss has the commitment loss's weight; SimVQ's are 1 and a quarter.
        codebook_weight: match kind {
            "simvq" => 1.0,
            _ => number("codebook_weight", commitment) as f32,
        },
        decay: number("decay", 0.99) as f32,
        use_cosine_sim: o["use_cosine_sim"].as_bool().unwrap_or(false),
        kmeans_init: false,
        threshold_ema_dead_code: 0.0,
        rotation_trick: o["rotation_trick"].as_bool().unwrap_or(false),
        codebook_diversity_loss_weight: number("codebook_diversity_loss_weight", 0.0) as f32,
        codebook_diversity_temperature: number("codebook_diversity_temperature", 100.0) as f32,
        orthogonal_reg_weight: number("orthogonal_reg_weight", 0.0) as f32,
        levels: o["levels"].as_array().map_or(vec![8, 5, 5, 5], |l| {
            l.iter().map(|n| n.as_u64().unwrap() as usize).collect()
        }),
        activation: match o["activation"].as_str() {
            Some("sigmoid") => Activation::Sigmoid,
            _ => Activation::Tanh,
        },
        entropy_loss_weight: number("entropy_loss_weight", 0.1) as f32,
        inv_temperature: number("inv_temperature", 100.0) as f32,
        num_quantizers: size("num_quantizers", 1),
        shared_codebook: o["shared_codebook"].as_bool().unwrap_or(false),
        groups: size("groups", 1),
        scales: o["scales"].as_array().map_or(Vec::new(), |l| {
            l.iter().map(|n| n.as_u64().unwrap() as usize).collect()
        }),
        scale_convolutions: size("scale_convolutions", 4),
        scale_ratio: number("scale_ratio", 0.5) as f32,
        ..Options::of(kind)
    }
}

/// A quantizer that starts from the fixture's numbers.
fn start(gpu: &Gpu, f: &Fixture) -> (Box<dyn Quantizer>, Parameters) {
    let mut b = Parameters::builder();
    b.declare("unused", &[1], Init::Zeros);
    let mut quantizer = Registry::default().build(gpu, &mut b, &options(f)).unwrap();
    let params = b.build(gpu, 0).unwrap();
    let (mut trained, mut state) = (params.to_host().unwrap(), HostTensors::new());
    for (name, tensor) in f.under("in.") {
        if let Some(parameter) = trained.get_mut(&name) {
            *parameter = tensor;
            continue;
        }
        // Averages begin at counts of one and sums at the codes.
        if let Some(prefix) = name
            .strip_suffix("codebook")
            .filter(|_| !name.starts_with("frozen"))
        {
            state.insert(
                format!("{prefix}ema_counts"),
                (vec![tensor.0[0]], vec![1.0; tensor.0[0]]),
            );
            state.insert(format!("{prefix}ema_sums"), tensor.clone());
        }
        state.insert(name, tensor);
    }
    params.load_host(&trained).unwrap();
    let kind = f.metadata["options"]["kind"].as_str();
    if !(state.is_empty() && matches!(kind, Some("vq" | "multiscale"))) {
        quantizer.load(&state).unwrap();
    }
    (quantizer, params)
}

fn compare(name: &str) {
    let gpu = Gpu::new(wgvq::gpu::Options {
        poison: true,
        ..Default::default()
    })
    .expect(
        "these tests need a Vulkan, Metal or DX12 adapter; scripts/test.sh installs a software one",
    );
    let f = Fixture::load(&format!("quantizers/{name}"));
    let (mut quantizer, params) = start(&gpu, &f);
    let tape = Tape::new(&gpu);
    let pass = ForwardContext::new(&tape, &params);
    let z = tape.leaf(&f.tensor(&gpu, "z"));
    let [n, d] = [z.shape()[0], z.shape()[1]];
    let mode = Mode::Train { step: 0 };
    let q = match f.words.get("keep") {
        Some(keep) => {
            let keep: Vec<bool> = keep.iter().map(|k| *k == 1).collect();
            mask::quantize_kept(&*quantizer, &pass, &z, &keep, mode).unwrap()
        }
        None => quantizer.quantize(&pass, &z, mode).unwrap(),
    };
    // What stands at padding is not a code there either.
    let books = quantizer.codebooks();
    let (got, want): (Vec<u32>, &[u32]) = (q.indices.read().unwrap(), &f.words["indices"]);
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(
            g == w || *g == mask::PADDING,
            "{name}: index {i} is {g}, vector-quantize-pytorch has {w}"
        );
        assert_eq!(
            *g == mask::PADDING,
            f.words.get("keep").is_some_and(|k| k[i / books] == 0)
        );
    }
    assert_eq!(got.len(), want.len());
    close(
        &f,
        "z_q",
        &q.z_q.tensor().read::<f32>().unwrap(),
        &f.floats["z_q"].1,
        2e-4,
    );
    let total = q.total(&tape).unwrap();
    if let Some(total) = &total {
        let scale = if f.metadata["options"]["kind"] == "product" {
            books as f32
        } else {
            1.0
        };
        let mut got = scale * total.tensor().read::<f32>().unwrap()[0];
        // One mean square there stands for both the commitment and the codebook loss, and has both
        // their gradients.
        if let (Some("vq"), Some(codebook)) = (
            f.metadata["options"]["kind"].as_str(),
            q.loss(&tape, Term::Codebook).unwrap(),
        ) {
            got -= codebook.tensor().read::<f32>().unwrap()[0];
        }
        close(&f, "loss", &[got], &f.floats["loss"].1, 1e-3);
    }
    if let Some((_, entropy)) = f.floats.get("part.per_sample_entropy") {
        // The weighted parts in their order: each choice's entropy, that of all, the commitment.
        let parts: Vec<f32> = q
            .losses
            .iter()
            .map(|(_, v)| v.tensor().read::<f32>().unwrap()[0])
            .collect();
        close(&f, "per-sample entropy", &[parts[0] / 0.1], entropy, 1e-3);
        close(
            &f,
            "batch entropy",
            &[-parts[1] / 0.1],
            &f.floats["part.batch_entropy"].1,
            1e-3,
        );
        assert_eq!(q.losses[2].0, Term::Commitment);
        close(
            &f,
            "commitment",
            &[parts[2] / 0.25],
            &f.floats["part.commitment"].1,
            1e-3,
        );
    }
    if f.floats.contains_key("dz") {
        let product = tape.matmul(
            &tape.reshape(&q.z_q, &[1, n * d]).unwrap(),
            &tape.constant(&f.tensor(&gpu, "w").reshape(&[n * d, 1]).unwrap()),
            Transpose::NONE,
        );
        let mut objective = tape.reshape(&product.unwrap(), &[1]).unwrap();
        if let Some(total) = &total {
            objective = tape.add(&objective, total).unwrap();
        }
        let mut gradients = tape.backward(&objective).unwrap();
        let dz = gradients.take(&z).expect("a gradient of the latents");
        close(
            &f,
            "gradient of z",
            &dz.read::<f32>().unwrap(),
            &f.floats["dz"].1,
            2e-3,
        );
        let trained: BTreeMap<String, Tensor> = pass
            .gradients(gradients)
            .into_iter()
            .map(|(h, g)| (params.name(h).to_owned(), g))
            .collect();
        let want = f.under("d.");
        assert_eq!(
            trained.keys().collect::<Vec<_>>(),
            want.keys().collect::<Vec<_>>(),
            "{name}: what is trained"
        );
        for (name, (_, values)) in &want {
            close(
                &f,
                &format!("gradient of {name}"),
                &trained[name].read::<f32>().unwrap(),
                values,
                2e-3,
            );
        }
    }
    quantizer.learn(&params, &q.seen, 0).unwrap();
    let (after, want) = (quantizer.save().unwrap(), f.under("out."));
    for (name, (_, values)) in &want {
        close(
            &f,
            &format!("{name} after the step"),
            &after[name].1,
            values,
            5e-4,
        );
    }
    // Where there is a state that moves, it was compared.
    assert_eq!(
        want.is_empty(),
        matches!(
            f.metadata["options"]["kind"].as_str(),
            Some("vq" | "fsq" | "lfq" | "simvq" | "bsq" | "ibq" | "multiscale")
        ),
        "{name}"
    );
}

macro_rules! fixtures {
    ($($name:ident)*) => { $(#[test] fn $name() { compare(stringify!($name)); })* };
}

fixtures! {
    ema ema_fast ema_rotation ema_diversity ema_mask
    vq vq_orthogonal vq_diversity
    cosine
    fsq_865 fsq_8555 fsq_75555 fsq_88865 fsq_888555 fsq_projected
    lfq_64 lfq_512 lfq_projected
    residual residual_shared product
    simvq simvq_rotation
    ifsq_75555 ifsq_8555
    bsq_64 bsq_512
    ibq ibq_entropy
    multiscale multiscale_two multiscale_cosine
}

/// The estimator with noise that is given: values, and gradients of latents and codes.
#[test]
fn diveq() {
    let gpu = Gpu::new(Default::default()).unwrap();
    let f = Fixture::load("quantizers/diveq");
    let variance = f.metadata["options"]["variance"].as_f64().unwrap() as f32;
    let tape = Tape::new(&gpu);
    let [z, codes] = ["z", "codes"].map(|name| tape.leaf(&f.tensor(&gpu, name)));
    let noise = f.tensor(&gpu, "noise");
    let moved = tape.diveq(&z, &codes, &noise, variance.sqrt()).unwrap();
    let read = |t: &Tensor| t.read::<f32>().unwrap();
    f.close("z_q", &read(moved.tensor()), 1e-5);
    let mut gradients = tape.backward_with(&moved, f.tensor(&gpu, "w")).unwrap();
    f.close("dz", &read(&gradients.take(&z).unwrap()), 1e-5);
    f.close("dcodes", &read(&gradients.take(&codes).unwrap()), 1e-5);
}
