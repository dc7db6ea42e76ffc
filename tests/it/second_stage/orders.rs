//! Priors of other orders than the raster's.

use super::systems::{Images, draw, same, systems, ways};
use crate::common::gpu;
use wgvq::autograd::Tape;
use wgvq::inference::SamplingOptions;
use wgvq::models::prior::order::in_order;
use wgvq::models::prior::{Order, Prior, Shape};
use wgvq::nn::transformer::Dropout;
use wgvq::nn::{ForwardContext, Parameters};
use wgvq::ops::sampling::sample::Sampling;

/// Draws so sharply that no rounding decides a code.
fn sharp(guidance: Option<f32>) -> SamplingOptions {
    SamplingOptions {
        sampling: Sampling {
            temperature: 0.05,
            guidance,
            ..Default::default()
        },
        seed: 4,
        ..Default::default()
    }
}

/// With a cache and without, a few codes at a time and one by one, in whatever batches: the same
/// codes, whichever are known; and those that are known stay.
#[test]
fn any_region_is_drawn_alike_in_every_way() {
    let gpu = gpu();
    for (name, prior) in systems(&gpu, Order::Any) {
        let v = prior.info().vocabulary.clone();
        let images = Images::new(&v, 5);
        let hole = |i: usize| {
            let (cell, columns) = (i / v.codebooks, v.grid[1]);
            !((1..3).contains(&(cell / columns)) && (1..4).contains(&(cell % columns)))
        };
        let known: [&dyn Fn(usize) -> bool; 3] = [&hole, &|i| i >= v.tokens() / 2, &|i| i % 3 == 1];
        for (known, guidance) in known.iter().zip([None, Some(2.0), None]) {
            let places: Vec<bool> = (0..v.tokens()).map(known).collect();
            let request = images.request(&places);
            let how = sharp(guidance);
            let plain = draw(&prior, &request, how);
            let again = draw(
                &prior,
                &request,
                SamplingOptions {
                    cache: false,
                    ..how
                },
            );
            assert_eq!(plain.codes, again.codes, "{name}: without a cache");
            let again = draw(&prior, &request, SamplingOptions { batch: 2, ..how });
            assert_eq!(plain, again, "{name}: two at a time");
            same(
                &prior,
                &request,
                SamplingOptions {
                    batch: 2,
                    ..ways()[2]
                },
                5,
            );
            let each = v.known() + v.tokens();
            for (image, given) in plain
                .codes
                .chunks(v.tokens())
                .zip(images.codes.chunks(each))
            {
                let own = image.iter().zip(&given[v.known()..]).zip(&places);
                assert!(
                    own.clone()
                        .all(|((code, given), known)| !known || code == given)
                );
            }
            let mut session = prior
                .session(&wgvq::inference::SampleRequest {
                    options: how,
                    ..request
                })
                .unwrap();
            while session.step().unwrap() {}
            let shown = session.codes().unwrap().wait::<u32>().unwrap();
            assert_eq!(shown, plain.codes, "{name}: step by step");
            assert_eq!(session.finish().unwrap(), plain);
        }
    }
}

/// Codes that are kept behind those that are drawn are seen by a prior of any order alone.
#[test]
fn a_prior_of_any_order_sees_all_that_is_kept() {
    let gpu = gpu();
    for order in [Order::Raster, Order::Annealed, Order::Any] {
        for (name, prior) in systems(&gpu, order) {
            let v = prior.info().vocabulary.clone();
            // The last cell of the image is kept.
            let places: Vec<bool> = (0..v.tokens())
                .map(|i| i >= v.tokens() - v.codebooks)
                .collect();
            let mut images = Images::new(&v, 3);
            let likelihood = |images: &Images| {
                draw(&prior, &images.request(&places), sharp(None)).log_likelihood
            };
            let before = likelihood(&images);
            let each = v.known() + v.tokens();
            let last = images.codes.iter_mut().skip(each - 1).step_by(each);
            last.for_each(|code| *code = (*code + 1) % 19);
            let seen = before != likelihood(&images);
            assert_eq!(seen, order == Order::Any, "{name}, {order:?}");
        }
    }
}

/// The loss of codes in an order is that of the codes one by one, each from those before it; and
/// orders that are none, or that a model does not know, are refused by name.
#[test]
fn codes_are_predicted_in_the_order_that_is_given() {
    let gpu = gpu();
    for (name, model) in systems(&gpu, Order::Any) {
        let v = model.info().vocabulary.clone();
        let (cells, t) = (v.grid[0] * v.grid[1], v.tokens());
        let shape = model.config().prior.clone();
        let mut b = Parameters::builder();
        let prior = Prior::new(&gpu, &mut b, &shape, &v).unwrap();
        let params = b.build(&gpu, 1).unwrap();
        let order: Vec<u32> = (0..cells as u32).map(|i| i * 5 % cells as u32).collect();
        let raster: Vec<u32> = (0..cells as u32).collect();
        let images = Images::new(&v, 1);
        let own = in_order(&images.codes[v.known()..], &order, v.codebooks, t);
        let ordered = [&images.codes[..v.known()], &own].concat();
        let text = images.request(&[]).condition.texts;
        let tape = Tape::no_grad(&gpu);
        let pass = ForwardContext::new(&tape, &params);
        let loss = |codes: &[u32], cells: &[u32]| {
            let batch = prior.upload_in(&gpu, &[0], codes, text, cells).unwrap();
            let loss = prior.loss(&pass, &batch, Dropout::OFF, 0.0).unwrap();
            loss.tensor().read::<f32>().unwrap()[0]
        };
        let whole = loss(&ordered, &order);
        assert_ne!(whole, loss(&images.codes, &raster), "{name}");
        let batch = prior.upload(&gpu, &[0], &images.codes, text).unwrap();
        let by_raster = prior.loss(&pass, &batch, Dropout::OFF, 0.0).unwrap();
        let by_raster = by_raster.tensor().read::<f32>().unwrap()[0];
        assert_eq!(by_raster, loss(&images.codes, &raster), "{name}");
        // One by one, from nothing but the codes before: those behind are others.
        let mut sum = 0.0;
        for i in 0..t {
            let mut cut = ordered.clone();
            cut[v.known() + i + 1..].fill(3);
            let batch = prior.upload_in(&gpu, &[0], &cut, text, &order).unwrap();
            let conditions = prior.conditions(&pass, &batch, Dropout::OFF).unwrap();
            let next = prior.prefill(&pass, &batch, &conditions, i, None).unwrap();
            let logits = next.logits().unwrap().read::<f32>().unwrap();
            let total: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
            sum += total.ln() - f64::from(logits[own[i] as usize]);
        }
        // Of a stream of texts and codes, the loss of the codes alone.
        let batch = prior.upload_in(&gpu, &[0], &ordered, text, &order).unwrap();
        let losses = prior.losses(&pass, &batch, Dropout::OFF, 0.0).unwrap();
        let codes = losses.codes.tensor().read::<f32>().unwrap()[0];
        let mean = (sum / t as f64) as f32;
        assert!((mean - codes).abs() < 1e-4, "{name}: {mean} {codes}");
        let wrong = |cells: &[u32]| prior.upload_in(&gpu, &[0], &ordered, text, cells).is_err();
        let (mut twice, mut past) = (order.clone(), order.clone());
        (twice[0], past[0]) = (order[1], cells as u32);
        assert!(
            wrong(&order[1..]) && wrong(&twice) && wrong(&past),
            "{name}"
        );
        let plain = Shape {
            order: Order::Raster,
            ..shape
        };
        let rows = Prior::new(&gpu, &mut Parameters::builder(), &plain, &v).unwrap();
        let error = rows
            .upload_in(&gpu, &[0], &ordered, text, &order)
            .unwrap_err();
        assert!(error.to_string().contains("prior.order"), "{error}");
    }
}
