//! Priors of every kind, and how they draw.

use wgvq::codes::tokens::TokenDatasetInfo;
use wgvq::config::prior::PriorConfig;
use wgvq::gpu::Gpu;
use wgvq::inference::{
    Condition, KnownCodes, Parallel, PriorModel, SampleRequest, Samples, SamplingOptions,
    no_progress,
};
use wgvq::models::Level;
use wgvq::models::prior::{Head, Kind, Order, Pattern, Positions, Shape, TextKind, Vocabulary};
use wgvq::models::text::{Text, TextFormat, Texts};
use wgvq::ops::sampling::sample::Sampling;

pub fn draw(prior: &PriorModel, request: &SampleRequest, how: SamplingOptions) -> Samples {
    let request = SampleRequest {
        options: how,
        ..*request
    };
    prior.sample(&request, &mut no_progress).unwrap()
}

/// Draws both ways, and returns the passes of an image on average: codes and their likelihoods are
/// the same to the bit, in no more passes.
pub fn same(
    prior: &PriorModel,
    request: &SampleRequest,
    how: SamplingOptions,
    window: usize,
) -> f64 {
    same_as(&draw(prior, request, how), prior, request, how, window)
}

/// [`same`] where it is known what is drawn one by one: in batches of whatever size.
pub fn same_as(
    plain: &Samples,
    prior: &PriorModel,
    request: &SampleRequest,
    how: SamplingOptions,
    window: usize,
) -> f64 {
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
pub fn ways() -> Vec<SamplingOptions> {
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

/// Conditions of images, and codes of theirs.
pub struct Images {
    classes: Vec<u32>,
    texts: Option<Texts>,
    pub codes: Vec<u32>,
}

impl Images {
    pub fn new(v: &Vocabulary, n: usize) -> Images {
        let (each, size) = (v.known() + v.tokens(), n as u32);
        let ids: Vec<Vec<u32>> = (0..size)
            .map(|i| vec![5 + i % 30; i as usize % 9])
            .collect();
        Images {
            classes: (0..size).map(|i| i % (v.classes as u32 + 1)).collect(),
            texts: v.text.map(|text| Texts::of_tokens(&text, &ids).unwrap()),
            codes: (0..n * each).map(|i| (i * 7 % 19) as u32).collect(),
        }
    }

    /// Returns a request for them, of which the codes at these places are known.
    pub fn request<'a>(&'a self, places: &'a [bool]) -> SampleRequest<'a> {
        SampleRequest {
            condition: Condition {
                classes: &self.classes,
                texts: self.texts.as_ref(),
            },
            known: KnownCodes {
                codes: &self.codes,
                places,
            },
            ..Default::default()
        }
    }
}

/// Priors that were not trained, whose logits are far enough apart to draw from: with texts, sparse
/// attention, a level above, and sums of so many terms that they fall into parts.
pub fn systems(gpu: &Gpu, order: Order) -> Vec<(&'static str, PriorModel)> {
    systems_of(gpu, order, Kind::Autoregressive)
}

/// [`systems`] of a kind: a masked prior has no text in its sequence.
pub fn systems_of(gpu: &Gpu, order: Order, kind: Kind) -> Vec<(&'static str, PriorModel)> {
    systems_with(gpu, order, kind, Head::Table)
}

/// [`systems_of`] a head.
pub fn systems_with(
    gpu: &Gpu,
    order: Order,
    kind: Kind,
    head: Head,
) -> Vec<(&'static str, PriorModel)> {
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
        order,
        kind,
        head,
        ..Default::default()
    };
    let vocabulary = Vocabulary {
        codebook_size: 50,
        codebooks: 1,
        grid: [4, 6],
        classes: 2,
        above: Vec::new(),
        text: None,
        scales: None,
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
    // Sparse layers go by the raster.
    let sparse = match (order, kind) {
        (Order::Raster, Kind::Autoregressive) => {
            vec![Pattern::Row, Pattern::Column, Pattern::Convolution]
        }
        _ => Vec::new(),
    };
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
    let mut all = vec![
        ("encoder", of(encoder, told.clone())),
        ("below", of(shape, below)),
        ("wide", of(wide, vocabulary)),
    ];
    if kind == Kind::Autoregressive {
        all.push(("stream", of(stream, told)));
    }
    all
}
