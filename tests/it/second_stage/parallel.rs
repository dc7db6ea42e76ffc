//! Codes drawn several at a time are those of drawing one by one.

use super::drawing::polled;
use super::stages;
use crate::common::gpu;
use wgvq::codes::tokens::TokenDatasetInfo;
use wgvq::config::prior::PriorConfig;
use wgvq::gpu::Gpu;
use wgvq::inference::{
    Condition, KnownCodes, Parallel, PriorModel, SampleRequest, Samples, SamplingOptions,
    no_progress,
};
use wgvq::models::Level;
use wgvq::models::prior::{Pattern, Positions, Shape, TextKind, Vocabulary};
use wgvq::models::text::{Text, TextFormat, Texts};
use wgvq::ops::sampling::sample::Sampling;

fn draw(prior: &PriorModel, request: &SampleRequest, how: SamplingOptions) -> Samples {
    let request = SampleRequest {
        options: how,
        ..*request
    };
    prior.sample(&request, &mut no_progress).unwrap()
}

/// Draws both ways, and returns the passes of an image on average: codes and their likelihoods are
/// the same to the bit, in no more passes.
fn same(prior: &PriorModel, request: &SampleRequest, how: SamplingOptions, window: usize) -> f64 {
    let plain = draw(prior, request, how);
    let parallel = Parallel::Window(window);
    let fast = draw(prior, request, SamplingOptions { parallel, ..how });
    assert_eq!(fast.codes, plain.codes, "{window} of {how:?}");
    assert_eq!(fast.log_likelihood, plain.log_likelihood, "{how:?}");
    assert_eq!(fast.passes.len(), plain.passes.len());
    let fewer = |(fast, plain): (&u32, &u32)| fast <= plain;
    assert!(fast.passes.iter().zip(&plain.passes).all(fewer));
    let sum: u32 = fast.passes.iter().sum();
    f64::from(sum) / fast.passes.len() as f64
}

/// Ways to draw: plain, guided and filtered, by the likeliest, and with penalties.
fn ways() -> Vec<SamplingOptions> {
    let guided = Sampling {
        guidance: Some(1.5),
        temperature: 0.8,
        top_k: Some(20),
        ..Default::default()
    };
    let nucleus = Sampling {
        top_p: 0.9,
        min_p: 0.01,
        temperature: 0.9,
        ..Default::default()
    };
    let likeliest = Sampling {
        temperature: 0.0,
        ..Default::default()
    };
    let with = |sampling, repetition_penalty| SamplingOptions {
        sampling,
        repetition_penalty,
        seed: 3,
        ..Default::default()
    };
    vec![
        with(Sampling::default(), 1.0),
        with(guided, 1.0),
        with(nucleus, 1.3),
        with(guided, 1.2),
        with(likeliest, f32::INFINITY),
    ]
}

/// Trained priors of one codebook and of several, in windows of one code to all of them, and in
/// batches whose places are handed on.
#[test]
fn parallel_sampling_draws_the_same_codes() {
    for (kind, positions) in [("ema", "rotary"), ("residual", "learned")] {
        let s = stages(kind, positions);
        let v = s.prior.info().vocabulary.clone();
        let classes: Vec<u32> = (0..13).map(|i| i % (v.classes as u32 + 1)).collect();
        let request = SampleRequest::new(&classes);
        for how in ways() {
            let one = same(&s.prior, &request, how, 1);
            let some = same(&s.prior, &request, SamplingOptions { batch: 4, ..how }, 6);
            let all = same(&s.prior, &request, how, v.tokens());
            // A window of one code is a step, or of a cell where that has several codes.
            assert!(one <= v.tokens() as f64 && all <= some && some < one, "{kind} {how:?}");
        }
    }
}

/// Codes that are known stay, wherever they lie.
#[test]
fn parallel_sampling_keeps_what_is_known() {
    for (kind, positions) in [("ema", "learned"), ("residual", "rotary")] {
        let s = stages(kind, positions);
        let v = s.prior.info().vocabulary.clone();
        let t = v.tokens();
        let codes: Vec<u32> = (0..7 * t)
            .map(|i| (7 * i % v.codebook_size) as u32)
            .collect();
        let classes = [0, 1, v.no_class(), 2, 0, 1, 2];
        let halves: [fn(usize, usize) -> bool; 5] = [
            |i, t| i < t / 2,
            |i, _| i % 4 < 2,
            |i, t| i >= t / 2,
            |i, t| i + 1 < t,
            |_, _| true,
        ];
        for known in halves {
            let places: Vec<bool> = (0..t).map(|i| known(i, t)).collect();
            let request = SampleRequest {
                known: KnownCodes {
                    codes: &codes,
                    places: &places,
                },
                ..SampleRequest::new(&classes)
            };
            for how in &ways()[..3] {
                same(&s.prior, &request, SamplingOptions { batch: 3, ..*how }, 5);
            }
        }
    }
}

/// Priors that were not trained, whose logits are far enough apart to draw from: with texts, sparse
/// attention, a level above, and sums of so many terms that they fall into parts.
fn systems(gpu: &Gpu) -> Vec<(&'static str, PriorModel)> {
    let text = Text {
        form: TextFormat::Tokens(40),
        length: 7,
    };
    let shape = Shape {
        layers: 2,
        dim: 32,
        heads: 2,
        tied: false,
        attention_kernel: 3,
        ..Default::default()
    };
    let vocabulary = Vocabulary {
        codebook_size: 50,
        codebooks: 1,
        grid: [4, 6],
        classes: 2,
        above: Vec::new(),
        text: None,
    };
    let top = Level {
        name: "top".into(),
        grid: [2, 3],
        codebook_size: 20,
        codebooks: 1,
    };
    let told = Vocabulary {
        text: Some(text),
        classes: 0,
        ..vocabulary.clone()
    };
    let sparse = vec![Pattern::Row, Pattern::Column, Pattern::Convolution];
    let of = |shape: Shape, vocabulary: Vocabulary| {
        let config = PriorConfig {
            prior: shape,
            ..Default::default()
        };
        let info = TokenDatasetInfo {
            reader: String::new(),
            model: String::new(),
            quantizer: "ema".into(),
            level: String::new(),
            vocabulary,
            image: [32, 32, 3],
            classes: Vec::new(),
            data: String::new(),
            data_sha256: String::new(),
            mirrored: false,
        };
        PriorModel::untrained(gpu, &config.resolve().unwrap(), info).unwrap()
    };
    let stream = Shape {
        text: TextKind::Stream,
        attention: sparse.clone(),
        ..shape.clone()
    };
    let encoder = Shape {
        text: TextKind::Encoder,
        attention: sparse,
        positions: Positions::Learned,
        ..shape.clone()
    };
    let wide = Shape {
        hidden: 1024,
        ..shape.clone()
    };
    let below = Vocabulary {
        above: vec![top],
        codebooks: 2,
        ..vocabulary.clone()
    };
    vec![
        ("stream", of(stream, told.clone())),
        ("encoder", of(encoder, told)),
        ("below", of(shape, below)),
        ("wide", of(wide, vocabulary)),
    ]
}

/// Texts, levels above and sparse attention change nothing of it, and neither do sums whose parts
/// depend on how many rows there are.
#[test]
fn parallel_sampling_draws_the_same_codes_under_every_condition() {
    let gpu = gpu();
    for (name, prior) in systems(&gpu) {
        let v = prior.info().vocabulary.clone();
        let n = 70;
        let classes: Vec<u32> = (0..n).map(|i| i % (v.classes as u32 + 1)).collect();
        let ids: Vec<Vec<u32>> = (0..n).map(|i| vec![5 + i % 30; i as usize % 9]).collect();
        let texts = v.text.map(|text| Texts::of_tokens(&text, &ids).unwrap());
        let each = v.known() + v.tokens();
        let codes: Vec<u32> = (0..n as usize * each).map(|i| (i * 7 % 19) as u32).collect();
        let places = vec![false; v.tokens()];
        let known = if v.known() > 0 {
            KnownCodes {
                codes: &codes,
                places: &places,
            }
        } else {
            KnownCodes::default()
        };
        let request = SampleRequest {
            condition: Condition {
                classes: &classes,
                texts: texts.as_ref(),
            },
            known,
            ..Default::default()
        };
        for how in &ways()[..3] {
            for (batch, window) in [(64, 9), (5, 4), (70, 100)] {
                let passes = same(&prior, &request, SamplingOptions { batch, ..*how }, window);
                assert!(passes <= v.tokens() as f64, "{name}");
            }
        }
    }
}

/// A session shows whole images after each pass, whose final codes stay; what cannot be drawn so is
/// refused by name; and by itself the device's pace decides, which changes no code.
#[test]
fn a_parallel_session_goes_on_pass_by_pass() {
    let s = stages("ema", "rotary");
    let classes = [0, 2, 1];
    let request = SampleRequest::new(&classes);
    let want = draw(&s.prior, &request, SamplingOptions::default());
    let mut session = s.prior.parallel_session(&request, 4).unwrap();
    let (mut drawn, mut passes) = (0, 0);
    while polled(&s.gpu, session.pass()) {
        assert!(session.drawn() > drawn, "each pass makes a code final");
        (drawn, passes) = (session.drawn(), passes + 1);
        assert!(session.codes().len() == want.codes.len());
    }
    assert_eq!((session.passes(), session.codes()), (passes, want.codes.clone()));
    assert_eq!(session.finish().codes, want.codes);
    assert!(s.prior.parallel_session(&SampleRequest::new(&[]), 4).is_err());
    assert!(s.prior.parallel_session(&request, 0).is_err());
    let auto = SamplingOptions {
        parallel: Parallel::Auto,
        ..Default::default()
    };
    assert_eq!(draw(&s.prior, &request, auto).codes, want.codes);
    for (parallel, cache, named) in [
        (Parallel::Window(0), true, "at least 1"),
        (Parallel::Window(4), false, "cache"),
        (Parallel::Auto, false, "cache"),
    ] {
        let options = SamplingOptions {
            parallel,
            cache,
            ..Default::default()
        };
        let request = SampleRequest { options, ..request };
        let error = s.prior.sample(&request, &mut no_progress).unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
    }
}
