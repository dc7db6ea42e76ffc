//! Codes that are drawn follow from the seed alone, in whatever batches and steps.

use super::{Stages, stages};
use std::task::{Context, Poll, Waker};
use wgvq::autograd::Tape;
use wgvq::gpu::Gpu;
use wgvq::inference::{
    FirstStageModel, KnownCodes, PriorModel, SampleRequest, Samples, SamplingOptions, no_progress,
};
use wgvq::models::prior::Prior;
use wgvq::nn::transformer::Dropout;
use wgvq::nn::{ForwardContext, Parameters};
use wgvq::ops::sampling::sample::Sampling;

/// A request for images of these classes.
fn request<'a>(
    classes: &'a [u32],
    known: Option<KnownCodes<'a>>,
    options: &SamplingOptions,
) -> SampleRequest<'a> {
    SampleRequest {
        known: known.unwrap_or_default(),
        options: *options,
        ..SampleRequest::new(classes)
    }
}

fn draw(s: &Stages, classes: &[u32], given: Option<KnownCodes>, how: &SamplingOptions) -> Samples {
    s.prior
        .sample(&request(classes, given, how), &mut no_progress)
        .unwrap()
}

/// With a cache and without, in whatever batches, guided or not, filtered or not: the same codes,
/// and the same again.
#[test]
fn codes_follow_from_the_seed_alone() {
    for (kind, positions) in [("ema", "rotary"), ("residual", "learned")] {
        let s = stages(kind, positions);
        let v = s.prior.info().vocabulary.clone();
        let classes: Vec<u32> = (0..9).map(|i| i % (v.classes as u32 + 1)).collect();
        let guided = Sampling {
            guidance: Some(1.5),
            temperature: 0.8,
            top_k: Some(20),
            ..Default::default()
        };
        for sampling in [
            Sampling::default(),
            guided,
            Sampling {
                temperature: 0.0,
                ..Default::default()
            },
        ] {
            let how = SamplingOptions {
                sampling,
                seed: 3,
                ..Default::default()
            };
            let one = draw(&s, &classes, None, &how);
            assert_eq!(one.codes.len(), classes.len() * v.tokens());
            assert!(one.log_likelihood.iter().all(|l| l.is_finite() && *l < 0.0));
            assert_eq!(one, draw(&s, &classes, None, &how), "{kind}: again");
            assert_eq!(
                one,
                draw(&s, &classes, None, &SamplingOptions { batch: 4, ..how }),
                "{kind}: in batches of 4"
            );
            assert_eq!(
                one.codes[..2 * v.tokens()],
                draw(&s, &classes[..2], None, &how).codes,
                "{kind}: two of them"
            );
            let again = draw(
                &s,
                &classes,
                None,
                &SamplingOptions {
                    cache: false,
                    ..how
                },
            );
            assert_eq!(one.codes, again.codes, "{kind}: without a cache");
            for (a, b) in one.log_likelihood.iter().zip(&again.log_likelihood) {
                assert!((a - b).abs() < 1e-3, "{a} {b}");
            }
            if sampling.temperature > 0.0 {
                let other = draw(&s, &classes, None, &SamplingOptions { seed: 4, ..how });
                assert_ne!(one.codes, other.codes, "{kind}: another seed");
            }
        }
    }
}

/// The likeliest code again and again leaves its loops under a penalty, and with an infinite one no
/// code of a codebook comes twice.
#[test]
fn repetition_is_penalised() {
    for (kind, positions) in [("ema", "rotary"), ("residual", "learned")] {
        let s = stages(kind, positions);
        let v = s.prior.info().vocabulary.clone();
        let greedy = Sampling {
            temperature: 0.0,
            ..Default::default()
        };
        let distinct = |penalty: f32| {
            let how = SamplingOptions {
                sampling: greedy,
                repetition_penalty: penalty,
                ..Default::default()
            };
            let codes = draw(&s, &[0, 1], None, &how).codes;
            assert_eq!(
                codes,
                draw(
                    &s,
                    &[0, 1],
                    None,
                    &SamplingOptions {
                        cache: false,
                        ..how
                    }
                )
                .codes
            );
            let of = |q: usize| -> usize {
                let image = &codes[..v.tokens()];
                image
                    .iter()
                    .skip(q)
                    .step_by(v.codebooks)
                    .collect::<std::collections::BTreeSet<_>>()
                    .len()
            };
            (0..v.codebooks).map(of).collect::<Vec<usize>>()
        };
        let cells = v.tokens() / v.codebooks;
        let (plain, some, banned) = (distinct(1.0), distinct(1.5), distinct(f32::INFINITY));
        assert!(banned.iter().all(|n| *n == cells), "{kind}: {banned:?}");
        let sum = |n: &[usize]| n.iter().sum::<usize>();
        assert!(
            sum(&plain) <= sum(&some) && sum(&plain) < sum(&banned),
            "{kind}: {plain:?} {some:?}"
        );
    }
}

/// A sample is likely under the model as a whole: its log-likelihood is that of the codes, teacher
/// forced.
#[test]
fn the_log_likelihood_is_that_of_the_codes() {
    let s = stages("ema", "rotary");
    let v = s.prior.info().vocabulary.clone();
    let classes = vec![0, v.no_class(), 2];
    let how = SamplingOptions {
        sampling: Sampling {
            top_p: 0.9,
            ..Default::default()
        },
        seed: 1,
        ..Default::default()
    };
    let drawing = draw(&s, &classes, None, &how);
    let model =
        wgvq::storage::checkpoint::load_file(&s.folder.path().join("prior/final.safetensors"))
            .unwrap()
            .0;
    let mut b = Parameters::builder();
    let prior = Prior::new(&s.gpu, &mut b, &s.prior.config().prior, &v).unwrap();
    let params = b.build(&s.gpu, 0).unwrap();
    let host = model
        .tensors
        .iter()
        .map(|(name, t)| (name.clone(), (t.shape.clone(), t.to_f32().unwrap())));
    params.load_host(&host.collect()).unwrap();
    for (i, codes) in drawing.codes.chunks(v.tokens()).enumerate() {
        let batch = prior.upload(&s.gpu, &classes[i..=i], codes, None).unwrap();
        let tape = Tape::no_grad(&s.gpu);
        let loss = prior
            .loss(
                &ForwardContext::new(&tape, &params),
                &batch,
                Dropout::OFF,
                0.0,
            )
            .unwrap();
        let want = -loss.tensor().read::<f32>().unwrap()[0] * v.tokens() as f32;
        assert!(
            (drawing.log_likelihood[i] - want).abs() < 1e-3,
            "{} {want}",
            drawing.log_likelihood[i]
        );
    }
}

/// Given codes stay, wherever they are; and a prompt of all that comes first gives what steps over
/// it give.
#[test]
fn what_is_given_is_kept() {
    let s = stages("ema", "rotary");
    let v = s.prior.info().vocabulary.clone();
    let t = v.tokens();
    let codes: Vec<u32> = (0..3 * t)
        .map(|i| (7 * i % v.codebook_size) as u32)
        .collect();
    let classes = [0, 1, v.no_class()];
    for (guidance, places) in [
        (None, (0..t).map(|i| i < t / 2).collect::<Vec<bool>>()),
        (Some(2.0), (0..t).map(|i| i % 4 < 2).collect()),
        (None, (0..t).map(|i| i >= t / 2).collect()),
        (None, vec![true; t]),
    ] {
        let given = KnownCodes {
            codes: &codes,
            places: &places,
        };
        let how = SamplingOptions {
            sampling: Sampling {
                guidance,
                ..Default::default()
            },
            seed: 2,
            ..Default::default()
        };
        let drawing = draw(&s, &classes, Some(given), &how);
        for (i, (drawn, given)) in drawing.codes.iter().zip(&codes).enumerate() {
            assert!(!places[i % t] || drawn == given, "place {i}");
        }
        let again = draw(
            &s,
            &classes,
            Some(given),
            &SamplingOptions {
                cache: false,
                ..how
            },
        );
        assert_eq!(drawing.codes, again.codes);
    }
    let wrong = KnownCodes {
        codes: &codes[1..],
        places: &[true],
    };
    assert!(
        s.prior
            .sample(
                &request(&classes, Some(wrong), &SamplingOptions::default()),
                &mut no_progress
            )
            .is_err()
    );
}

/// Place by place, with the codes looked at on the way, it is the same drawing; and without
/// waiting, the same codes and pictures.
#[test]
fn a_drawing_may_be_taken_in_steps() {
    let s = stages("ema", "rotary");
    let t = s.prior.info().vocabulary.tokens();
    let guided = Sampling {
        guidance: Some(2.0),
        temperature: 0.9,
        ..Default::default()
    };
    let how = SamplingOptions {
        sampling: guided,
        seed: 11,
        ..Default::default()
    };
    let classes = [0, 3, 1];
    let want = draw(&s, &classes, None, &how);
    let mut session = s.prior.session(&request(&classes, None, &how)).unwrap();
    while session.step().unwrap() {
        let so_far = session.codes().unwrap().wait::<u32>().unwrap();
        for (image, drawn) in so_far.chunks(t).zip(want.codes.chunks(t)) {
            assert_eq!(image[..session.drawn()], drawn[..session.drawn()]);
        }
    }
    assert!(session.drawn() == t && !session.step().unwrap());
    assert_eq!(session.finish().unwrap(), want);

    let (mut codes, mut places) = (want.codes.clone(), vec![true; t]);
    places[t / 2..].fill(false);
    places[t - 1] = true;
    codes
        .chunks_mut(t)
        .for_each(|image| image[t / 2..t - 1].fill(0));
    let given = KnownCodes {
        codes: &codes,
        places: &places,
    };
    let mut session = s
        .prior
        .session(&request(&classes, Some(given), &how))
        .unwrap();
    while session.step().unwrap() {}
    assert_eq!(
        (session.steps(), session.drawn()),
        (t - t / 2, t - t / 2 - 1)
    );
    assert_eq!(
        session.finish().unwrap(),
        draw(&s, &classes, Some(given), &how)
    );
    assert!(s.prior.session(&request(&[], None, &how)).is_err());

    let model = FirstStageModel::load(&s.gpu, s.folder.path()).unwrap();
    let pictures = model.decode(&want.codes).unwrap();
    let bytes = std::fs::read(s.folder.path().join("final.safetensors")).unwrap();
    let again = FirstStageModel::from_bytes(&s.gpu, &bytes).unwrap();
    assert_eq!(again.hash(), model.hash());
    // Someone has to poll the device for a future that does not.
    assert_eq!(polled(&s.gpu, again.decode_async(&want.codes)), pictures);
    assert_eq!(
        polled(&s.gpu, again.encode_async(&pictures)),
        model.encode(&pictures).unwrap()
    );
    let prior = std::fs::read(s.folder.path().join("prior/final.safetensors")).unwrap();
    let prior = PriorModel::from_bytes(&s.gpu, &prior, &again).unwrap();
    assert_eq!(
        prior
            .sample(&request(&classes, None, &how), &mut no_progress)
            .unwrap(),
        want
    );
    let error = PriorModel::from_bytes(&s.gpu, &bytes, &again)
        .err()
        .expect("a model is no prior")
        .to_string();
    assert!(
        error.contains("bytes") && error.contains("no prior"),
        "{error}"
    );
    let finish = s.gpu.clone();
    polled(&s.gpu, async move { finish.finish_async().await });
}

/// The value of a future, with the device polled by us.
pub(super) fn polled<T>(gpu: &Gpu, future: impl Future<Output = wgvq::Result<T>>) -> T {
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(value) = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            return value.unwrap();
        }
        gpu.device()
            .poll(wgvq::wgpu::PollType::wait_indefinitely())
            .unwrap();
    }
}

/// A batch is read back once, at its end, however many codes it has; and steps make no new buffers.
#[test]
fn drawing_stays_on_the_device() {
    let s = stages("ema", "rotary");
    let how = SamplingOptions {
        batch: 3,
        ..Default::default()
    };
    draw(&s, &[0; 3], None, &how);
    let (counters, allocations) = (s.gpu.counters(), s.gpu.memory().allocations);
    draw(&s, &[0; 9], None, &how);
    // The codes of each of three batches, and their log-likelihoods.
    assert_eq!(s.gpu.counters().readbacks - counters.readbacks, 6);
    assert_eq!(
        s.gpu.memory().allocations,
        allocations,
        "buffers come from the pool"
    );
}

#[test]
fn what_cannot_be_drawn_is_an_error() {
    let s = stages("ema", "rotary");
    let fails = |classes: &[u32], how: SamplingOptions| {
        s.prior
            .sample(&request(classes, None, &how), &mut no_progress)
            .unwrap_err()
            .to_string()
    };
    let with = |sampling| SamplingOptions {
        sampling,
        ..Default::default()
    };
    assert!(
        fails(
            &[0],
            with(Sampling {
                top_p: 0.0,
                ..Default::default()
            })
        )
        .contains("top_p")
    );
    assert!(
        fails(
            &[0],
            with(Sampling {
                top_p: 1.5,
                ..Default::default()
            })
        )
        .contains("top_p")
    );
    assert!(
        fails(
            &[0],
            with(Sampling {
                temperature: -1.0,
                ..Default::default()
            })
        )
        .contains("temperature")
    );
    assert!(fails(&[99], SamplingOptions::default()).contains("no class 99"));
    assert!(
        fails(
            &[0],
            SamplingOptions {
                repetition_penalty: 0.5,
                ..Default::default()
            }
        )
        .contains("penalty")
    );
    assert!(
        fails(
            &[0],
            SamplingOptions {
                batch: 0,
                ..Default::default()
            }
        )
        .contains("batch")
    );
    let none = s
        .prior
        .sample(
            &request(&[], None, &SamplingOptions::default()),
            &mut no_progress,
        )
        .unwrap();
    assert!(none.codes.is_empty());
    let stop = s.prior.sample(
        &request(&[0], None, &SamplingOptions::default()),
        &mut |_, _| Err(wgvq::Error::data("enough")),
    );
    assert!(stop.unwrap_err().to_string().contains("enough"));
}
