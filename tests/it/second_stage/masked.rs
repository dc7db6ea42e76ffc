//! Masked priors, which predict hidden codes from all others.

use super::systems::{Images, draw, systems, systems_of};
use crate::common::gpu;
use wgvq::autograd::Tape;
use wgvq::inference::{Parallel, SampleRequest, SamplingOptions, no_progress};
use wgvq::models::prior::{Kind, Order, Prior, Shape, TextKind};
use wgvq::nn::transformer::Dropout;
use wgvq::nn::{ForwardContext, Parameters};
use wgvq::ops::sampling::sample::Sampling;

fn how(passes: usize, guidance: Option<f32>) -> SamplingOptions {
    SamplingOptions {
        sampling: Sampling {
            guidance,
            temperature: 0.05,
            ..Default::default()
        },
        seed: 4,
        passes,
        ..Default::default()
    }
}

/// In whatever batches the same codes, and the same again, in as many passes as are asked for and
/// there are codes; known ones stay.
#[test]
fn a_masked_prior_draws_in_passes() {
    let gpu = gpu();
    for (name, prior) in systems_of(&gpu, Order::Raster, Kind::Masked) {
        let v = prior.info().vocabulary.clone();
        let images = Images::new(&v, 5);
        let t = v.tokens();
        for (known, guidance, passes) in [(7, None, 4), (t, Some(2.0), 6), (2, None, 100)] {
            // Every so many is known; where that is past the last, the first alone.
            let places: Vec<bool> = (0..t).map(|i| i % known == 0).collect();
            let unknown = places.iter().filter(|known| !**known).count();
            let request = images.request(&places);
            let whole = draw(&prior, &request, how(passes, guidance));
            assert_eq!(
                whole,
                draw(&prior, &request, how(passes, guidance)),
                "{name}: again"
            );
            let two = SamplingOptions {
                batch: 2,
                ..how(passes, guidance)
            };
            assert_eq!(
                whole.codes,
                draw(&prior, &request, two).codes,
                "{name}: by two"
            );
            assert_eq!(whole.passes, [passes.min(unknown) as u32; 5]);
            assert!(
                whole
                    .log_likelihood
                    .iter()
                    .all(|l| l.is_finite() && *l < 0.0)
            );
            let given = images.codes.chunks(v.known() + t);
            for (image, given) in whole.codes.chunks(t).zip(given) {
                let own = image.iter().zip(&given[v.known()..]).zip(&places);
                assert!(
                    own.clone()
                        .all(|((code, given), known)| !known || code == given)
                );
                assert!(image.iter().all(|code| (*code as usize) < v.codebook_size));
            }
            let other = SamplingOptions {
                seed: 5,
                ..how(passes, guidance)
            };
            let other = SamplingOptions {
                sampling: Sampling::default(),
                ..other
            };
            assert_ne!(whole.codes, draw(&prior, &request, other).codes);
        }
        // All known: nothing to draw.
        let places = vec![true; t];
        let none = draw(&prior, &images.request(&places), how(4, None));
        assert_eq!(none.passes, [0; 5]);
    }
}

/// Each code is predicted from all that are shown, before it and behind it, and from none that is
/// hidden; the loss is the mean over the hidden ones.
#[test]
fn hidden_codes_are_predicted_from_all_others() {
    let gpu = gpu();
    for (name, model) in systems_of(&gpu, Order::Raster, Kind::Masked) {
        let v = model.info().vocabulary.clone();
        let mut b = Parameters::builder();
        let prior = Prior::new(&gpu, &mut b, &model.config().prior, &v).unwrap();
        let params = b.build(&gpu, 1).unwrap();
        let images = Images::new(&v, 2);
        let (t, each) = (v.tokens(), v.known() + v.tokens());
        let hidden: Vec<bool> = (0..2 * t).map(|i| i % 5 == 1).collect();
        let text = images.request(&[]).condition.texts;
        let tape = Tape::no_grad(&gpu);
        let pass = ForwardContext::new(&tape, &params);
        let upload = |codes: &[u32]| {
            prior
                .upload_masked(&gpu, &[0, 0], codes, text, &hidden)
                .unwrap()
        };
        let logits = |codes: &[u32]| -> Vec<Vec<f32>> {
            let logits = prior.logits(&pass, &upload(codes), Dropout::OFF).unwrap();
            let read = |l: &wgvq::autograd::Var| l.tensor().read::<f32>().unwrap();
            logits.iter().map(read).collect()
        };
        let changed = |which: bool| {
            let mut codes = images.codes.clone();
            for (i, hidden) in hidden.iter().enumerate() {
                // Of those that are shown, the last alone.
                if *hidden == which && (which || i == 2 * t - 1) {
                    let code = &mut codes[i / t * each + v.known() + i % t];
                    *code = (*code + 1) % 19;
                }
            }
            codes
        };
        let before = logits(&images.codes);
        assert_eq!(
            before,
            logits(&changed(true)),
            "{name}: hidden codes are not seen"
        );
        let size = v.codebook_size;
        let after = logits(&changed(false));
        let image = t / v.codebooks * size;
        assert_ne!(
            before[0][image..image + size],
            after[0][image..image + size],
            "{name}"
        );
        assert_eq!(
            before[0][..image],
            after[0][..image],
            "{name}: another image"
        );
        let loss = prior
            .loss(&pass, &upload(&images.codes), Dropout::OFF, 0.0)
            .unwrap();
        let loss = f64::from(loss.tensor().read::<f32>().unwrap()[0]);
        let (mut sum, mut count) = (0.0, 0);
        for (i, _) in hidden.iter().enumerate().filter(|(_, hidden)| **hidden) {
            let row = &before[i % v.codebooks][i / v.codebooks * size..][..size];
            let code = images.codes[i / t * each + v.known() + i % t] as usize;
            let total: f64 = row.iter().map(|l| f64::from(*l).exp()).sum();
            sum += total.ln() - f64::from(row[code]);
            count += 1;
        }
        assert!(
            (loss - sum / f64::from(count)).abs() < 1e-4,
            "{name}: {loss}"
        );
        let short = prior.upload_masked(&gpu, &[0, 0], &images.codes, text, &hidden[1..]);
        assert!(short.is_err());
    }
}

/// Requests that a masked prior cannot serve are refused by name.
#[test]
fn what_a_masked_prior_cannot_do_is_refused() {
    let gpu = gpu();
    let (_, prior) = systems_of(&gpu, Order::Raster, Kind::Masked).remove(2);
    let classes = [0, 1];
    let plain = SampleRequest::new(&classes);
    let with = |options| SampleRequest { options, ..plain };
    for (options, named) in [
        (
            SamplingOptions {
                passes: 0,
                ..how(4, None)
            },
            "passes",
        ),
        (
            SamplingOptions {
                repetition_penalty: 1.2,
                ..how(4, None)
            },
            "repetition_penalty",
        ),
        (
            SamplingOptions {
                parallel: Parallel::Window(4),
                ..how(4, None)
            },
            "parallel",
        ),
    ] {
        let error = prior.sample(&with(options), &mut no_progress).unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
    }
    for error in [
        prior.session(&plain).map(drop),
        prior.parallel_session(&plain, 4).map(drop),
        prior.record(&plain).map(drop),
    ] {
        assert!(error.unwrap_err().to_string().contains("masked"));
    }
    let told = systems(&gpu, Order::Raster)
        .remove(0)
        .1
        .info()
        .vocabulary
        .clone();
    let stream = Shape {
        kind: Kind::Masked,
        text: TextKind::Stream,
        ..Shape::default()
    };
    let error = Prior::new(&gpu, &mut Parameters::builder(), &stream, &told).unwrap_err();
    assert!(error.to_string().contains("prior.text"), "{error}");
}
