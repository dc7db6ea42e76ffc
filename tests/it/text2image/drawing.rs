//! Drawing of codes from texts.

use wgvq::codes::tokens::TokenDatasetInfo;
use wgvq::config::prior::PriorConfig;
use wgvq::gpu::{Gpu, Options};
use wgvq::inference::{
    Condition, PriorModel, SampleRequest, Samples, SamplingOptions, no_progress,
};
use wgvq::models::prior::{Pattern, Shape, TextKind, Vocabulary};
use wgvq::models::text::{Text, TextFormat, Texts};
use wgvq::ops::sampling::sample::Sampling;

/// A request for images of these classes and texts.
fn request<'a>(condition: Condition<'a>, options: &SamplingOptions) -> SampleRequest<'a> {
    SampleRequest {
        options: *options,
        ..SampleRequest::new(condition)
    }
}

const TEXT: Text = Text {
    form: TextFormat::Tokens(40),
    length: 7,
};

/// A prior that has not been trained, whose logits are far enough apart to draw from.
fn prior(gpu: &Gpu, text: TextKind, form: TextFormat, attention: &[Pattern]) -> PriorModel {
    let prior = Shape {
        layers: 3,
        dim: 32,
        heads: 2,
        text,
        attention: attention.to_vec(),
        attention_kernel: 3,
        tied: false,
        ..Default::default()
    };
    let config = PriorConfig {
        prior,
        ..Default::default()
    };
    let info = TokenDatasetInfo {
        reader: String::new(),
        model: String::new(),
        quantizer: "ema".into(),
        level: String::new(),
        vocabulary: Vocabulary {
            codebook_size: 50,
            codebooks: 1,
            grid: [4, 5],
            classes: 0,
            above: Vec::new(),
            text: Some(Text { form, ..TEXT }),
            scales: None,
        },
        image: [32, 32, 3],
        classes: Vec::new(),
        data: String::new(),
        data_sha256: String::new(),
        mirrored: false,
    };
    PriorModel::untrained(gpu, &config.resolve().unwrap(), info).unwrap()
}

/// The systems: one sequence with sparse layers, an encoder, and rows from elsewhere; each with
/// four texts of several lengths.
fn systems(gpu: &Gpu) -> Vec<(PriorModel, Texts)> {
    let sparse = [Pattern::Row, Pattern::Column, Pattern::Convolution];
    let tokens = Texts::of_tokens(&TEXT, &[vec![5, 6, 7], vec![8], vec![9; 20], vec![]]).unwrap();
    let rows = Text {
        form: TextFormat::Rows(6),
        ..TEXT
    };
    let row = |n: usize| {
        (0..6 * n)
            .map(|i| (i as f32 * 0.7).sin())
            .collect::<Vec<f32>>()
    };
    let rows = Texts::of_rows(&rows, &[row(3), row(1), row(7), row(2)]).unwrap();
    vec![
        (
            prior(gpu, TextKind::Stream, TEXT.form, &sparse),
            tokens.clone(),
        ),
        (prior(gpu, TextKind::Encoder, TEXT.form, &[]), tokens),
        (
            prior(gpu, TextKind::Encoder, TextFormat::Rows(6), &sparse),
            rows,
        ),
    ]
}

fn draw(prior: &PriorModel, texts: &Texts, how: SamplingOptions) -> Samples {
    let classes = vec![0; texts.lengths.len()];
    prior
        .sample(
            &request(
                Condition {
                    classes: &classes,
                    texts: Some(texts),
                },
                &how,
            ),
            &mut no_progress,
        )
        .unwrap()
}

/// With caches of keys and values and without, the same codes at the same likelihood, guided and
/// not, whatever is drawn together.
#[test]
fn caches_and_batches_change_no_code() {
    let gpu = Gpu::new(Options {
        poison: true,
        ..Default::default()
    })
    .unwrap();
    for (prior, texts) in systems(&gpu) {
        for guidance in [None, Some(3.0)] {
            // Far apart, so that no rounding decides what is drawn.
            let how = SamplingOptions {
                sampling: Sampling {
                    guidance,
                    temperature: 0.05,
                    ..Default::default()
                },
                seed: 4,
                ..Default::default()
            };
            let whole = draw(&prior, &texts, how);
            assert_eq!(whole.codes.len(), 4 * 20);
            let plain = draw(
                &prior,
                &texts,
                SamplingOptions {
                    cache: false,
                    ..how
                },
            );
            assert_eq!(whole.codes, plain.codes);
            for (a, b) in whole.log_likelihood.iter().zip(&plain.log_likelihood) {
                assert!((a - b).abs() <= 1e-3 * a.abs().max(1.0), "{a}, {b}");
            }
            assert_eq!(
                draw(&prior, &texts, SamplingOptions { batch: 3, ..how }),
                whole
            );
            assert_ne!(
                draw(
                    &prior,
                    &texts,
                    SamplingOptions {
                        seed: 5,
                        sampling: Sampling {
                            guidance,
                            ..Default::default()
                        },
                        ..how
                    }
                )
                .codes,
                whole.codes
            );
        }
    }
}

/// Samples depend on the text, and with guidance the more.
#[test]
fn texts_are_read() {
    let gpu = Gpu::new(Options::default()).unwrap();
    for (prior, texts) in systems(&gpu) {
        let text = prior.info().vocabulary.text.unwrap();
        let one = |i: usize| texts.slice(&text, i..i + 1);
        let how = SamplingOptions {
            sampling: Sampling {
                temperature: 0.0,
                ..Default::default()
            },
            ..Default::default()
        };
        let likelihood = |texts: &Texts| draw(&prior, texts, how).log_likelihood[0];
        assert_ne!(likelihood(&one(0)), likelihood(&one(1)));
        assert_ne!(likelihood(&one(0)), likelihood(&Texts::nothing(&text, 1)));
    }
}

#[test]
fn drawing_of_texts_stays_on_the_device() {
    let gpu = Gpu::new(Options::default()).unwrap();
    for (prior, texts) in systems(&gpu) {
        let how = SamplingOptions {
            batch: 2,
            ..Default::default()
        };
        draw(&prior, &texts, how);
        let (counters, allocations) = (gpu.counters(), gpu.memory().allocations);
        draw(&prior, &texts, how);
        // The codes of each of two batches, and their log-likelihoods.
        assert_eq!(gpu.counters().readbacks - counters.readbacks, 4);
        assert_eq!(
            gpu.memory().allocations,
            allocations,
            "buffers come from the pool"
        );
    }
}

/// `wgvq sample` and `wgvq complete` of a prior that reads texts.
#[test]
fn without_a_text_a_prior_is_told_nothing() {
    let gpu = Gpu::new(Options::default()).unwrap();
    for (prior, _) in systems(&gpu) {
        let text = prior.info().vocabulary.text.unwrap();
        let nothing = Texts::nothing(&text, 4);
        let how = SamplingOptions {
            batch: 3,
            ..SamplingOptions::default()
        };
        let drawn = |texts| {
            prior
                .sample(
                    &request(
                        Condition {
                            classes: &[0; 4],
                            texts,
                        },
                        &how,
                    ),
                    &mut no_progress,
                )
                .unwrap()
        };
        assert_eq!(drawn(None), drawn(Some(&nothing)));
    }
}

#[test]
fn texts_that_do_not_fit_are_errors() {
    let gpu = Gpu::new(Options::default()).unwrap();
    let (prior, texts) = systems(&gpu).remove(1);
    let none = |asked: Condition| {
        prior
            .sample(
                &request(asked, &SamplingOptions::default()),
                &mut no_progress,
            )
            .unwrap_err()
            .to_string()
    };
    assert!(
        none(Condition {
            classes: &[0; 3],
            texts: Some(&texts)
        })
        .contains("3 texts")
    );
    let wrong = Texts {
        words: vec![99; 4 * 7],
        ..texts
    };
    assert!(
        none(Condition {
            classes: &[0; 4],
            texts: Some(&wrong)
        })
        .contains("no token 99")
    );
}
