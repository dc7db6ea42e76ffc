//! Priors that predict a code in two halves.

use super::systems::{Images, draw, systems_with};
use super::{small, tokens};
use crate::common::gpu;
use wgvq::autograd::Tape;
use wgvq::codes::tokens::Tokens;
use wgvq::config::DottedConfig;
use wgvq::inference::{Parallel, PriorModel, SampleRequest, SamplingOptions, no_progress};
use wgvq::models::prior::{CodeOrder, Head, Kind, NextCode, Order, Prior};
use wgvq::nn::transformer::Dropout;
use wgvq::nn::{ForwardContext, Parameters};
use wgvq::ops::sampling::sample::Sampling;
use wgvq::storage::checkpoint;
use wgvq::train::Trainer;

/// Returns the logarithms of the probabilities of all codes: those of the first half and of the
/// second, given it.
fn log_probabilities(pass: &ForwardContext, prior: &Prior, next: &NextCode) -> Vec<Vec<f64>> {
    let NextCode::Halves(of) = next else {
        panic!("a factorised head makes no logits");
    };
    let gpu = pass.tape.gpu();
    let log_softmax = |logits: &[f32]| -> Vec<f64> {
        let total: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
        logits.iter().map(|l| f64::from(*l) - total.ln()).collect()
    };
    let first = prior.first_logits(pass, of).unwrap();
    let [rows, values] = first.shape().try_into().unwrap();
    let first = first.read::<f32>().unwrap();
    let (codes, second) = prior.codes_of_halves().unwrap();
    let codes = codes.read::<u32>().unwrap();
    let mut all = vec![vec![0.0; codes.len()]; rows];
    for half in 0..values {
        let known = vec![half as u32; rows];
        let known = wgvq::gpu::Tensor::from_slice(gpu, &[rows], &known).unwrap();
        let logits = prior.second_logits(pass, of, &known).unwrap();
        let logits = logits.read::<f32>().unwrap();
        for (row, all) in all.iter_mut().enumerate() {
            let own = log_softmax(&first[row * values..][..values])[half];
            let others = log_softmax(&logits[row * second..][..second]);
            for (i, other) in others.iter().enumerate() {
                all[codes[half * second + i] as usize] = own + other;
            }
        }
    }
    all
}

/// Cached or not, in whatever batches and orders, step by step: the same codes; the likelihood of
/// each is that of its two halves, those of all codes sum to one, and the loss is their mean.
#[test]
fn codes_are_drawn_alike_in_every_way() {
    let gpu = gpu();
    for order in [Order::Raster, Order::Any] {
        for (name, model) in systems_with(&gpu, order, Kind::Autoregressive, Head::Factorised) {
            let v = model.info().vocabulary.clone();
            let images = Images::new(&v, 4);
            // The levels above are known, and the first row.
            let places: Vec<bool> = (0..v.tokens()).map(|i| i < v.codebooks * 6).collect();
            let request = images.request(&places);
            for guidance in [None, Some(1.5)] {
                let how = SamplingOptions {
                    sampling: Sampling {
                        temperature: 0.05,
                        guidance,
                        ..Default::default()
                    },
                    seed: 4,
                    ..Default::default()
                };
                let plain = draw(&model, &request, how);
                for other in [
                    SamplingOptions {
                        cache: false,
                        ..how
                    },
                    SamplingOptions { batch: 3, ..how },
                    SamplingOptions {
                        parallel: Parallel::Auto,
                        ..how
                    },
                ] {
                    let again = draw(&model, &request, other);
                    assert_eq!(plain.codes, again.codes, "{name}: {other:?}");
                }
            }
        }
    }
    for (name, model) in systems_with(&gpu, Order::Raster, Kind::Autoregressive, Head::Factorised) {
        let v = model.info().vocabulary.clone();
        let (t, images) = (v.tokens(), Images::new(&v, 1));
        let mut b = Parameters::builder();
        let prior = Prior::new(&gpu, &mut b, &model.config().prior, &v).unwrap();
        let params = b.build(&gpu, 1).unwrap();
        let text = images.request(&[]).condition.texts;
        let tape = Tape::no_grad(&gpu);
        let pass = ForwardContext::new(&tape, &params);
        let batch = prior.upload(&gpu, &[0], &images.codes, text).unwrap();
        let conditions = prior.conditions(&pass, &batch, Dropout::OFF).unwrap();
        let mut sum = 0.0;
        for i in 0..t {
            let next = prior.prefill(&pass, &batch, &conditions, i, None).unwrap();
            let all = &log_probabilities(&pass, &prior, &next)[0];
            let total: f64 = all.iter().map(|p| p.exp()).sum();
            assert!((total - 1.0).abs() < 1e-5, "{name}: {total}");
            sum -= all[images.codes[v.known() + i] as usize];
        }
        let losses = prior.losses(&pass, &batch, Dropout::OFF, 0.0).unwrap();
        let loss = f64::from(losses.codes.tensor().read::<f32>().unwrap()[0]);
        let mean = sum / t as f64;
        assert!((loss - mean).abs() < 1e-4, "{name}: {loss} {mean}");
    }
}

/// Codes come as often as their probabilities say, and their log-likelihoods are those.
#[test]
fn codes_come_as_often_as_they_are_likely() {
    let gpu = gpu();
    let all = systems_with(&gpu, Order::Raster, Kind::Autoregressive, Head::Factorised);
    let (_, model) = all.into_iter().find(|(name, _)| *name == "wide").unwrap();
    let v = model.info().vocabulary.clone();
    let prior = model.prior();
    const DRAWN: usize = 4000;
    let classes = vec![0; DRAWN];
    let mut images = Images::new(&v, 1);
    images.codes.fill(7);
    // All but the last code are known: so all images have the same distribution of it.
    let mut places = vec![true; v.tokens()];
    places[v.tokens() - 1] = false;
    let codes = images.codes.repeat(DRAWN);
    let known = wgvq::inference::KnownCodes {
        codes: &codes,
        places: &places,
    };
    let options = SamplingOptions {
        seed: 11,
        batch: 500,
        ..Default::default()
    };
    let request = SampleRequest {
        known,
        options,
        ..SampleRequest::new(&classes)
    };
    let samples = model.sample(&request, &mut no_progress).unwrap();
    let tape = Tape::no_grad(&gpu);
    let mut b = Parameters::builder();
    let same = Prior::new(&gpu, &mut b, &model.config().prior, &v).unwrap();
    let params = b.build(&gpu, model.config().train.seed).unwrap();
    let pass = ForwardContext::new(&tape, &params);
    let batch = same.upload(&gpu, &[0], &images.codes, None).unwrap();
    let conditions = same.conditions(&pass, &batch, Dropout::OFF).unwrap();
    let next = same.prefill(&pass, &batch, &conditions, v.tokens() - 1, None);
    let all = &log_probabilities(&pass, prior, &next.unwrap())[0];
    let mut counts = vec![0usize; v.codebook_size];
    for (image, told) in samples
        .codes
        .chunks(v.tokens())
        .zip(&samples.log_likelihood)
    {
        let code = image[v.tokens() - 1] as usize;
        counts[code] += 1;
        assert!(
            (f64::from(*told) - all[code]).abs() < 1e-4,
            "{told} {}",
            all[code]
        );
    }
    let chi: f64 = counts
        .iter()
        .zip(all)
        .map(|(count, log)| {
            let expected = DRAWN as f64 * log.exp();
            (*count as f64 - expected).powi(2) / expected
        })
        .sum();
    // 49 degrees of freedom: above 100 with a probability of 2e-5.
    assert!(chi < 100.0, "{chi}: {counts:?}");
}

/// The order of the codes goes along with a prior: it is kept in its checkpoints and in its file.
#[test]
fn the_order_of_codes_is_kept() {
    let (gpu, folder) = (gpu(), tempfile::tempdir().unwrap());
    let (model, _, _) = tokens(&gpu, "ema", false, folder.path());
    let order = model.code_order(0).unwrap().unwrap();
    assert_eq!(order.len(), 32);
    assert_ne!(order, CodeOrder::plain(32));
    let mut config = small("rotary");
    config.set("prior.head", "factorised").unwrap();
    let begin = |order: Option<CodeOrder>| {
        let tokens = Tokens::open(&folder.path().join("prior/tokens")).unwrap();
        let tokens = Tokens { order, ..tokens };
        Trainer::prior(&gpu, &config.resolve().unwrap(), tokens).unwrap()
    };
    let mut whole = begin(Some(order.clone()));
    (0..3).for_each(|_| whole.step().unwrap());
    let saved = checkpoint::to_bytes(&whole.checkpoint().unwrap()).unwrap();
    (0..3).for_each(|_| whole.step().unwrap());
    let want = checkpoint::to_bytes(&whole.trained().unwrap()).unwrap();
    let mut again = begin(None);
    again
        .restore(&checkpoint::from_bytes("saved".as_ref(), &saved).unwrap())
        .unwrap();
    (0..3).for_each(|_| again.step().unwrap());
    let got = checkpoint::to_bytes(&again.trained().unwrap()).unwrap();
    assert!(got == want, "the resumed run has other bytes");
    let prior = PriorModel::from_bytes(&gpu, &want, &model).unwrap();
    assert_eq!(prior.prior().code_order(), Some(&order));
    // An order of other codes is refused by name.
    let tokens = Tokens::open(&folder.path().join("prior/tokens")).unwrap();
    let tokens = Tokens {
        order: Some(CodeOrder::plain(31)),
        ..tokens
    };
    let error = Trainer::prior(&gpu, &config.resolve().unwrap(), tokens).map(drop);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("31") && error.contains("32"), "{error}");
}

/// Requests that need logits of all codes are refused by name.
#[test]
fn what_needs_all_logits_is_refused() {
    let gpu = gpu();
    let all = systems_with(&gpu, Order::Raster, Kind::Autoregressive, Head::Factorised);
    let (_, model) = all.into_iter().find(|(name, _)| *name == "wide").unwrap();
    let refused = |options: SamplingOptions| {
        let request = SampleRequest {
            options,
            ..SampleRequest::new(&[0])
        };
        let error = model.sample(&request, &mut no_progress);
        error.map(drop).unwrap_err().to_string()
    };
    let penalty = refused(SamplingOptions {
        repetition_penalty: 1.2,
        ..Default::default()
    });
    assert!(penalty.contains("repetition_penalty"), "{penalty}");
    let window = refused(SamplingOptions {
        parallel: Parallel::Window(4),
        ..Default::default()
    });
    assert!(window.contains("parallel"), "{window}");
    let session = model.parallel_session(&SampleRequest::new(&[0]), 4);
    let session = session.map(drop).unwrap_err().to_string();
    assert!(session.contains("parallel"), "{session}");
    for kind in ["masked", "next-scale"] {
        let mut config = small("rotary");
        config.set("prior.head", "factorised").unwrap();
        config.set("prior.kind", kind).unwrap();
        let error = config.resolve().unwrap_err().to_string();
        assert!(error.contains("prior.head"), "{error}");
    }
    let mut odd = model.info().vocabulary.clone();
    odd.codebook_size = 53;
    let config = &model.config().prior;
    let error = Prior::new(&gpu, &mut Parameters::builder(), config, &odd).map(drop);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("53") && error.contains("4096"), "{error}");
}
