//! Codes drawn several at a time are those of drawing one by one.

use super::drawing::polled;
use super::stages;
use super::systems::{Images, draw, same, same_as, systems, ways};
use crate::common::gpu;
use wgvq::inference::{KnownCodes, Parallel, SampleRequest, SamplingOptions, no_progress};
use wgvq::models::prior::Order;

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
            let plain = draw(&s.prior, &request, how);
            let same = |how, window| same_as(&plain, &s.prior, &request, how, window);
            let one = match how == ways()[0] {
                true => same(how, 1),
                false => v.tokens() as f64,
            };
            let some = same(SamplingOptions { batch: 4, ..how }, 6);
            let all = same(how, v.tokens());
            // A window of one code is a step, or of a cell where that has several codes.
            assert!(
                one <= v.tokens() as f64 && all <= some && some < one,
                "{kind} {how:?}"
            );
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

/// Texts, levels above and sparse attention change nothing of it, and neither do sums whose parts
/// depend on how many rows there are.
#[test]
fn parallel_sampling_draws_the_same_codes_under_every_condition() {
    let gpu = gpu();
    for (name, prior) in systems(&gpu, Order::Raster) {
        let v = prior.info().vocabulary.clone();
        let n = 37;
        let images = Images::new(&v, n);
        let places = vec![false; v.tokens()];
        let request = images.request(&places);
        for how in [ways()[0], ways()[3]] {
            let plain = draw(&prior, &request, how);
            for (batch, window) in [(32, 9), (5, 100)] {
                let how = SamplingOptions { batch, ..how };
                let passes = same_as(&plain, &prior, &request, how, window);
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
    assert_eq!(
        (session.passes(), session.codes()),
        (passes, want.codes.clone())
    );
    assert_eq!(session.finish().codes, want.codes);
    assert!(
        s.prior
            .parallel_session(&SampleRequest::new(&[]), 4)
            .is_err()
    );
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
