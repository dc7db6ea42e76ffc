//! The second stage: a training step of a prior, and images drawn from it with a cache of keys and
//! values and without. The model is the default one over 7 x 7 codes of 512 with 10 classes, as
//! Fashion-MNIST's.

use super::prepared::Prepared;
use crate::autograd::Tape;
use crate::codes::tokens::TokenDatasetInfo;
use crate::config::prior::PriorConfig;
use crate::gpu::{DType, Gpu, Tensor};
use crate::inference::{PriorModel, SampleRequest, SamplingOptions, no_progress};
use crate::models::prior::{Batch, Prior, Vocabulary};
use crate::nn::transformer::Dropout;
use crate::nn::{Adam, ForwardContext, Parameters};
use crate::ops::optim::adam::Hyper;
use crate::ops::sampling::sample::Sampling;
use crate::spec::{Rng, Verdict};
use crate::{Error, Result};

/// The computation that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Forward, cross-entropy, backward, clipping, AdamW; without dropout.
    Train,
    /// Draws from the 100 likeliest codes, each step over the keys and values of those before.
    Cached,
    /// Sampling with everything computed again for each code.
    Plain,
}

/// One of them, over `images` images.
#[derive(Clone, Copy, Debug)]
pub struct PriorWork {
    /// The computation.
    pub kind: Kind,
    /// Images of a step, or drawn.
    pub images: usize,
    /// Type in which the backward pass keeps the inputs of linear maps.
    pub activations: DType,
}

/// Codes and classes like Fashion-MNIST's.
fn vocabulary() -> Vocabulary {
    Vocabulary {
        codebook_size: 512,
        codebooks: 1,
        grid: [7, 7],
        classes: 10,
        above: Vec::new(),
        text: None,
        scales: None,
    }
}

const KINDS: [(Kind, &str, char); 3] = [
    (Kind::Train, "prior_train", 'b'),
    (Kind::Cached, "prior_sample_cached", 'n'),
    (Kind::Plain, "prior_sample_plain", 'n'),
];

impl PriorWork {
    /// Returns the name that the script which measures PyTorch has for it:
    /// `prior_train_l4_d192_t49_k512_b64`.
    pub fn name(&self) -> String {
        let (_, what, of) = KINDS[self.kind as usize];
        format!("{}{of}{}", size(what), self.images)
    }

    /// Returns the workload of a name; `None` if the name is another's.
    pub fn parse(name: &str) -> Option<PriorWork> {
        KINDS.into_iter().find_map(|(kind, what, of)| {
            let images = name
                .strip_prefix(&size(what))?
                .strip_prefix(of)?
                .parse()
                .ok()?;
            (images > 0).then_some(PriorWork {
                kind,
                images,
                activations: DType::F32,
            })
        })
    }

    /// Returns all three, at 64 images.
    pub fn all() -> [PriorWork; 3] {
        KINDS.map(|(kind, ..)| PriorWork {
            kind,
            images: 64,
            activations: DType::F32,
        })
    }

    /// Tokens that one call trains on or draws.
    pub fn tokens(&self) -> usize {
        self.images * vocabulary().tokens()
    }

    pub(super) fn prepare(self, gpu: &Gpu, seed: u64) -> Result<Prepared> {
        match self.kind {
            Kind::Train => {
                let mut state = State::new(gpu, self, seed)?;
                Ok(Prepared {
                    call: Box::new(move || state.step().map(drop)),
                    work: None,
                })
            }
            Kind::Cached | Kind::Plain => {
                let prior = untrained(gpu, seed)?;
                let options = options(seed, self.kind == Kind::Cached);
                let classes: Vec<u32> = (0..self.images as u32).map(|i| i % 10).collect();
                let call = move || {
                    let request = SampleRequest {
                        options,
                        ..SampleRequest::new(&classes)
                    };
                    prior.sample(&request, &mut no_progress).map(drop)
                };
                Ok(Prepared {
                    call: Box::new(call),
                    work: None,
                })
            }
        }
    }

    /// Its operations have f64 references, and the whole model has one in the tests. Here a step
    /// has to do what it is for, bring the loss of its batch down from that of a uniform guess; and
    /// drawing with a cache has to give what drawing without one gives.
    pub(super) fn check(self, gpu: &Gpu, seed: u64) -> Result<Verdict> {
        let (pass, compared, detail) = match self.kind {
            Kind::Train => {
                let mut state = State::new(
                    gpu,
                    PriorWork {
                        images: self.images.min(8),
                        ..self
                    },
                    seed,
                )?;
                let losses = (0..8)
                    .map(|_| Ok(state.step()?.read::<f32>()?[0]))
                    .collect::<Result<Vec<f32>>>()?;
                let uniform = (vocabulary().codebook_size as f32).ln();
                let falls = (losses[0] - uniform).abs() < 0.3 && losses[7] < losses[0] - 0.1;
                (
                    falls,
                    losses.len(),
                    format!("loss over 8 steps: {losses:?}"),
                )
            }
            Kind::Cached | Kind::Plain => {
                let prior = untrained(gpu, seed)?;
                let drawn = |cached| {
                    let request = SampleRequest {
                        options: options(seed, cached),
                        ..SampleRequest::new(&[0, 9, 10])
                    };
                    prior.sample(&request, &mut no_progress)
                };
                let (with, without) = (drawn(true)?.codes, drawn(false)?.codes);
                let differ = with.iter().zip(&without).filter(|(a, b)| a != b).count();
                (
                    differ == 0,
                    with.len(),
                    format!("{differ} codes differ with a cache and without"),
                )
            }
        };
        Ok(Verdict {
            compared,
            worst: if pass { 0.0 } else { f64::INFINITY },
            max_error: f64::NAN,
            detail,
            pass,
        })
    }
}

/// A name up to its images.
fn size(what: &str) -> String {
    let (shape, v) = (PriorConfig::default().prior, vocabulary());
    format!(
        "{what}_l{}_d{}_t{}_k{}_",
        shape.layers,
        shape.dim,
        v.tokens(),
        v.codebook_size
    )
}

fn options(seed: u64, cache: bool) -> SamplingOptions {
    let sampling = Sampling {
        top_k: Some(100),
        ..Default::default()
    };
    SamplingOptions {
        sampling,
        seed,
        batch: usize::MAX,
        cache,
        ..Default::default()
    }
}

fn untrained(gpu: &Gpu, seed: u64) -> Result<PriorModel> {
    let mut config = PriorConfig::default();
    config.train.seed = seed;
    let info = TokenDatasetInfo {
        reader: String::new(),
        model: String::new(),
        quantizer: "ema".into(),
        level: String::new(),
        vocabulary: vocabulary(),
        image: [28, 28, 1],
        classes: Vec::new(),
        data: String::new(),
        data_sha256: String::new(),
        mirrored: false,
    };
    PriorModel::untrained(gpu, &config.resolve()?, info)
}

struct State {
    gpu: Gpu,
    prior: Prior,
    params: Parameters,
    adam: Adam,
    batch: Batch,
    activations: DType,
}

impl State {
    fn new(gpu: &Gpu, work: PriorWork, seed: u64) -> Result<State> {
        let mut b = Parameters::builder();
        let prior = Prior::new(gpu, &mut b, &PriorConfig::default().prior, &vocabulary())?;
        let params = b.build(gpu, seed)?;
        let mut adam = Adam::new(
            &params,
            Hyper {
                lr: 3e-4,
                weight_decay: 0.01,
                ..Default::default()
            },
        )?;
        adam.max_norm = Some(1.0);
        let (v, mut rng) = (vocabulary(), Rng::new(seed));
        let count = work.images.checked_mul(v.tokens()).filter(|n| *n < 1 << 31);
        let count = count
            .ok_or_else(|| Error::invalid("bench", format!("a step of {} images", work.images)))?;
        let codes: Vec<u32> = (0..count)
            .map(|_| rng.below(v.codebook_size) as u32)
            .collect();
        let classes: Vec<u32> = (0..work.images)
            .map(|_| rng.below(v.classes + 1) as u32)
            .collect();
        let batch = prior.upload(gpu, &classes, &codes, None)?;
        Ok(State {
            gpu: gpu.clone(),
            prior,
            params,
            adam,
            batch,
            activations: work.activations,
        })
    }

    /// One step; its loss.
    fn step(&mut self) -> Result<Tensor> {
        let tape = Tape::new(&self.gpu);
        let pass = ForwardContext::new(&tape, &self.params)
            .with_activation_dtype(self.activations)
            .with_gradients_of(&self.adam);
        let loss = self.prior.loss(&pass, &self.batch, Dropout::OFF, 0.0)?;
        let gradients = pass.gradients(tape.backward(&loss)?);
        self.adam.step(&self.params, &gradients)?;
        Ok(loss.tensor().clone())
    }
}
