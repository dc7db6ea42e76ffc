//! The second stage on real pictures: token files, training that goes on where it stopped, and how
//! codes are drawn.

use crate::common::gpu;
use std::task::{Context, Poll, Waker};
use wgvq::autograd::Tape;
use wgvq::codes::tokens::Tokens;
use wgvq::config::DottedConfig;
use wgvq::config::prior::PriorConfig;
use wgvq::config::run::RunConfig;
use wgvq::data::ImageSet;
use wgvq::gpu::Gpu;
use wgvq::inference::tokenize::tokenize;
use wgvq::inference::{
    FirstStageModel, KnownCodes, PriorModel, SampleRequest, Samples, SamplingOptions, no_progress,
};
use wgvq::models::prior::Prior;
use wgvq::nn::transformer::Dropout;
use wgvq::nn::{ForwardContext, Parameters};
use wgvq::ops::sampling::sample::Sampling;
use wgvq::quantize::Registry;
use wgvq::storage::checkpoint;
use wgvq::train::Trainer;
use wgvq::train::prior::PriorTrainer;

/// A first stage and a prior over its codes that have seen a few steps: enough that logits are far
/// apart.
struct Stages {
    gpu: Gpu,
    prior: PriorModel,
    folder: tempfile::TempDir,
}

fn pictures(flip: bool) -> (RunConfig, ImageSet) {
    let mut config = RunConfig::default();
    for (key, value) in [
        ("model.hidden", "16"),
        ("model.residual_layers", "1"),
        ("model.residual_hidden", "8"),
        ("model.downsample", "8"),
        ("quantizer.codebook_size", "32"),
        ("quantizer.codebook_dim", "8"),
        ("quantizer.kmeans_iters", "3"),
        ("train.batch_size", "8"),
    ] {
        config.set(key, value).unwrap();
    }
    config.data.flip = flip;
    let mut set = wgvq::data::open("emoji", &Default::default()).unwrap();
    set.train.truncate(70);
    set.test.truncate(20);
    (config, set)
}

fn tokens(
    gpu: &Gpu,
    kind: &str,
    flip: bool,
    folder: &std::path::Path,
) -> (FirstStageModel, Tokens, ImageSet) {
    let (mut config, set) = pictures(flip);
    config.set("quantizer.kind", kind).unwrap();
    let config = config.resolve(&Registry::default()).unwrap();
    let mut trainer = Trainer::new(gpu, &config, set.clone().into()).unwrap();
    trainer.step().unwrap();
    let path = folder.join("final.safetensors");
    checkpoint::save_file(&path, &trainer.trained().unwrap()).unwrap();
    let model = FirstStageModel::load(gpu, folder).unwrap();
    let tokens = tokenize(
        &model,
        0,
        &set,
        None,
        &folder.join("prior/tokens"),
        &mut no_progress,
    )
    .unwrap();
    (model, tokens, set)
}

fn small(positions: &str) -> PriorConfig {
    let mut config = PriorConfig::default();
    for (key, value) in [
        ("prior.layers", "2"),
        ("prior.dim", "32"),
        ("prior.heads", "2"),
        ("prior.positions", positions),
        ("train.batch_size", "16"),
        ("train.warmup", "2"),
        ("train.lr", "0.01"),
        ("train.steps", "12"),
        ("train.ema_decay", "0.5"),
    ] {
        config.set(key, value).unwrap();
    }
    config
}

fn stages(kind: &str, positions: &str) -> Stages {
    let (gpu, folder) = (gpu(), tempfile::tempdir().unwrap());
    let (model, tokens, _) = tokens(&gpu, kind, false, folder.path());
    let mut trainer = Trainer::prior(&gpu, &small(positions).resolve().unwrap(), tokens).unwrap();
    for _ in 0..12 {
        trainer.step().unwrap();
    }
    let path = folder.path().join("prior/final.safetensors");
    checkpoint::save_file(&path, &trainer.trained().unwrap()).unwrap();
    let prior = PriorModel::load(&gpu, &folder.path().join("prior"), &model).unwrap();
    Stages { gpu, prior, folder }
}

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
fn polled<T>(gpu: &Gpu, future: impl Future<Output = wgvq::Result<T>>) -> T {
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

/// Another model's prior, and another model's tokens, are refused by name.
#[test]
fn stages_know_each_other() {
    let s = stages("ema", "rotary");
    let other = tempfile::tempdir().unwrap();
    let (model, _, _) = tokens(&s.gpu, "fsq", false, other.path());
    let load = |path: &std::path::Path| {
        PriorModel::load(&s.gpu, path, &model)
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    let error = load(&s.folder.path().join("prior"));
    assert!(
        error.contains("of 32") && error.contains("of 1000"),
        "{error}"
    );
    assert!(load(other.path()).contains("holds no prior"));
    let missing = load(&other.path().join("prior"));
    assert!(missing.contains("wgvq prior"), "{missing}");
}

/// Tokens come back as they were made, mirrored ones too, in whatever order; damage is found.
#[test]
fn tokens_come_back() {
    let (gpu, folder) = (gpu(), tempfile::tempdir().unwrap());
    let (model, tokens, set) = tokens(&gpu, "ema", true, folder.path());
    assert_eq!((tokens.train.len(), tokens.test.len()), (140, 20));
    let t = tokens.info.vocabulary.tokens();
    let whole = model.encode(&set.gather(&set.train).unwrap()).unwrap();
    let mirrored: Vec<u8> = set
        .train
        .iter()
        .flat_map(|i| {
            let image = &set.image(*i as usize).unwrap();
            let row = |y: usize| {
                (0..32)
                    .rev()
                    .flat_map(move |x| image[(y * 32 + x) * 3..][..3].to_vec())
            };
            (0..32).flat_map(row).collect::<Vec<u8>>()
        })
        .collect();
    let mirrored = model.encode(&mirrored).unwrap();
    let order: Vec<u32> = (0..140).map(|i| (i * 37) % 140).collect();
    let (codes, classes) = tokens.train.read(&order).unwrap();
    for (place, n) in order.iter().enumerate() {
        let n = *n as usize;
        let (side, i) = if n < 70 {
            (&whole, n)
        } else {
            (&mirrored, n - 70)
        };
        assert_eq!(codes[place * t..][..t], side[i * t..][..t], "image {n}");
        assert_eq!(Some(classes[place]), set.items[set.train[i] as usize].class);
    }
    assert!(tokens.train.read(&[140]).is_err());
    let place = folder.path().join("prior/tokens");
    let shard = place.join("train-00000.safetensors");
    let mut bytes = std::fs::read(&shard).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    let error = Tokens::open(&place).unwrap_err().to_string();
    assert!(
        error.contains("train-00000") && error.contains("SHA-256"),
        "{error}"
    );
    std::fs::remove_file(&shard).unwrap();
    assert!(
        Tokens::open(&place)
            .unwrap_err()
            .to_string()
            .contains("train-00000")
    );
    std::fs::remove_file(place.join("tokens.json")).unwrap();
    assert!(!Tokens::exist(&place));
}

/// A prior learns; a run that is interrupted and goes on ends with the same bytes; passes that are
/// added up are one.
#[test]
fn training_goes_on_where_it_stopped() {
    let (gpu, folder) = (gpu(), tempfile::tempdir().unwrap());
    tokens(&gpu, "ema", false, folder.path());
    let open = || Tokens::open(&folder.path().join("prior/tokens")).unwrap();
    let mut config = small("rotary");
    config.train.accumulate = 2;
    config.train.batch_size = 8;
    let begin =
        |config: &PriorConfig| Trainer::prior(&gpu, &config.resolve().unwrap(), open()).unwrap();
    let run = |trainer: &mut PriorTrainer, to: u64| {
        while trainer.step_number() < to {
            trainer.step().unwrap();
            if trainer.step_number().is_multiple_of(4) {
                trainer.measure(false).unwrap();
            }
        }
    };
    let mut whole = begin(&config);
    let before = whole.measure(false).unwrap().nats_per_token;
    let mut whole = begin(&config);
    run(&mut whole, 12);
    let after = whole.measure(true).unwrap();
    assert!(
        after.nats_per_token < before - 0.3,
        "{before} {}",
        after.nats_per_token
    );
    let bits = after.bits_per_token * 16.0 / (32.0 * 32.0 * 3.0);
    assert!((after.bits_per_dim - bits).abs() < 1e-12);
    let want = checkpoint::to_bytes(&whole.trained().unwrap()).unwrap();

    let mut first = begin(&config);
    run(&mut first, 6);
    let saved = checkpoint::to_bytes(&first.checkpoint().unwrap()).unwrap();
    let mut second = begin(&config);
    run(&mut second, 2);
    second
        .restore(&checkpoint::from_bytes("saved".as_ref(), &saved).unwrap())
        .unwrap();
    run(&mut second, 12);
    assert_eq!(second.measure(true).unwrap(), after);
    assert_eq!(
        checkpoint::to_bytes(&second.trained().unwrap()).unwrap(),
        want
    );
    let (mut one, mut two) = (whole.rows(true).unwrap(), second.rows(true).unwrap());
    assert_eq!(one.pop(), two.pop(), "the open row goes on too");
}

/// Activations kept in 16 bits change a step by little.
#[test]
fn sixteen_bits_train_alike() {
    let (gpu, folder) = (gpu(), tempfile::tempdir().unwrap());
    tokens(&gpu, "ema", false, folder.path());
    let losses = |dtype: &str| {
        let mut config = small("rotary");
        config.set("train.dtype", dtype).unwrap();
        config.prior.dropout = 0.0;
        let tokens = Tokens::open(&folder.path().join("prior/tokens")).unwrap();
        let mut trainer = Trainer::prior(&gpu, &config.resolve().unwrap(), tokens).unwrap();
        (0..12).for_each(|_| trainer.step().unwrap());
        trainer.close_row().unwrap();
        trainer
            .rows(true)
            .unwrap()
            .iter()
            .map(|r| r.loss)
            .sum::<f64>()
    };
    let (full, half) = (losses("f32"), losses("f16"));
    assert!(
        (full - half).abs() < 0.01 * full && full != half,
        "{full} {half}"
    );
}
