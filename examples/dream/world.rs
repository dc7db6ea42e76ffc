//! The world model: a tokenizer of frames, and a prior of the next frame's codes, conditioned on
//! the codes of the frame before and on the key. The idea is that of IRIS: Micheli, Alonso and
//! Fleuret, "Transformers are Sample-Efficient World Models", ICLR 2023 (arXiv 2209.00588).

use super::game::Key;
use wgvq::codes::tokens::{TokenDatasetInfo, vocabulary_of};
use wgvq::config::DottedConfig;
use wgvq::config::prior::PriorConfig;
use wgvq::config::run::RunConfig;
use wgvq::gpu::Gpu;
use wgvq::inference::{
    FirstStageModel, KnownCodes, PendingSamples, PriorModel, SampleRequest, Samples,
    SamplingOptions, no_progress,
};
use wgvq::models::Level;
use wgvq::models::prior::Vocabulary;
use wgvq::ops::sampling::sample::Sampling;
use wgvq::{Error, Result};

/// Sizes of the models and of their training.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Frames of the game that are recorded to learn from.
    pub frames: usize,
    /// Channels of the tokenizer's hidden layers, and the codes of its codebook.
    pub hidden: usize,
    pub codebook: usize,
    pub tokenizer_steps: u64,
    /// Channels and blocks of the prior, and its blocks over the frame before.
    pub dim: usize,
    pub layers: usize,
    pub condition_layers: usize,
    pub prior_steps: u64,
    /// Frames of a training step, of both.
    pub batch: usize,
    /// Temperature of the codes that are drawn; 0 takes the likeliest.
    pub temperature: f32,
    pub seed: u64,
    /// Keys of the two configurations that are set besides, and their values.
    pub tokenizer_keys: Vec<[String; 2]>,
    pub prior_keys: Vec<[String; 2]>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            frames: 8192,
            hidden: 32,
            codebook: 128,
            tokenizer_steps: 1500,
            dim: 64,
            layers: 2,
            condition_layers: 2,
            prior_steps: 3000,
            batch: 16,
            temperature: 0.0,
            seed: 0,
            tokenizer_keys: Vec::new(),
            prior_keys: Vec::new(),
        }
    }
}

impl Settings {
    /// Returns the configuration of the tokenizer.
    pub fn tokenizer(&self) -> Result<RunConfig> {
        let mut config = RunConfig::default();
        (config.model.hidden, config.model.residual_hidden) = (self.hidden, self.hidden / 2);
        // Codes of signs: the ground, which most cells show, lies far from where a sign changes,
        // and has the same code in every frame. Codes that learn to be near latents spread over it.
        let quantizer = &mut config.quantizer;
        (quantizer.kind, quantizer.codebook_size) = ("bsq".into(), self.codebook);
        // Certain codes, but no even use of them.
        (quantizer.entropy_loss_weight, quantizer.diversity_gamma) = (0.01, 0.0);
        let train = &mut config.train;
        (train.batch_size, train.seed) = (self.batch, self.seed);
        (train.lr, train.min_lr, train.warmup) = (4e-3, 0.1, 20);
        (train.steps, train.log_every) = (self.tokenizer_steps, 100);
        train.decay_steps = self.tokenizer_steps.max(21) - 20;
        for [key, value] in &self.tokenizer_keys {
            config.set(key, value)?;
        }
        Ok(config)
    }

    /// Returns the configuration of the prior.
    pub fn prior(&self) -> Result<PriorConfig> {
        let mut config = PriorConfig::default();
        let prior = &mut config.prior;
        (prior.dim, prior.heads) = (self.dim, self.dim / 16);
        (prior.layers, prior.condition_layers) = (self.layers, self.condition_layers);
        prior.dropout = 0.0;
        let train = &mut config.train;
        (train.batch_size, train.seed) = (self.batch, self.seed);
        // No frame goes without its key: the next one follows from it.
        (train.lr, train.warmup, train.class_dropout) = (6e-3, 50, 0.0);
        (train.steps, train.log_every) = (self.prior_steps, 100);
        (train.ema_decay, train.keep_best) = (0.98, false);
        for [key, value] in &self.prior_keys {
            config.set(key, value)?;
        }
        Ok(config)
    }
}

/// Describes what the prior is trained on: codes of a frame, below those of the frame before as
/// codes of a level above are, with a class for each key.
pub fn description(tokenizer: &FirstStageModel) -> Result<TokenDatasetInfo> {
    let [level] = tokenizer.levels() else {
        return Err(Error::data(
            "the tokenizer of the dream has one level of codes",
        ));
    };
    let before = Level {
        name: "before".into(),
        ..level.clone()
    };
    Ok(TokenDatasetInfo {
        model: tokenizer.hash().into(),
        quantizer: tokenizer.quantizer_of(0).name().into(),
        level: level.name.clone(),
        vocabulary: Vocabulary {
            above: vec![before],
            ..vocabulary_of(tokenizer.levels(), 0, Key::ALL.len())
        },
        image: tokenizer.image(),
        classes: Key::NAMES.map(String::from).to_vec(),
        data: "frames of the game".into(),
        data_sha256: String::new(),
        mirrored: false,
        reader: String::new(),
    })
}

/// A trained world model.
pub struct World {
    pub tokenizer: FirstStageModel,
    prior: PriorModel,
    temperature: f32,
    seed: u64,
}

impl World {
    /// Takes a tokenizer, and a prior over its codes from the bytes of its file.
    pub fn new(
        gpu: &Gpu,
        tokenizer: FirstStageModel,
        prior: &[u8],
        settings: &Settings,
    ) -> Result<World> {
        let prior = PriorModel::from_bytes_over(gpu, prior, &description(&tokenizer)?)?;
        Ok(World {
            tokenizer,
            prior,
            temperature: settings.temperature,
            seed: settings.seed,
        })
    }

    /// Asks for the frames, number `step` of their dreams, that follow on frames of these codes
    /// when these keys are held: one of each for each dream.
    fn request<T>(
        &self,
        codes: &[u32],
        keys: &[Key],
        step: u64,
        then: impl FnOnce(&SampleRequest) -> Result<T>,
    ) -> Result<T> {
        let each = self.tokenizer.codes_per_image();
        let classes: Vec<u32> = keys.iter().map(|key| key.class()).collect();
        // The codes before are known, and none of the frame's own.
        let known: Vec<u32> = codes
            .chunks(each)
            .flat_map(|before| [before, &vec![0; each]].concat())
            .collect();
        let sampling = Sampling {
            temperature: self.temperature,
            ..Default::default()
        };
        then(&SampleRequest {
            condition: (&classes).into(),
            known: KnownCodes {
                codes: &known,
                places: &vec![false; each],
            },
            options: SamplingOptions {
                sampling,
                seed: self.seed.wrapping_add(step << 32),
                ..Default::default()
            },
        })
    }

    /// Returns the codes of the next frames, of several dreams at once.
    pub fn next(&self, codes: &[u32], keys: &[Key], step: u64) -> Result<Vec<u32>> {
        let samples: Samples = self.request(codes, keys, step, |request| {
            self.prior.sample(request, &mut no_progress)
        })?;
        Ok(samples.codes)
    }

    /// Records the next frame of one dream: for `Gpu::run_for_budget`, which draws its codes
    /// between the host's frames.
    pub fn record(&self, codes: &[u32], key: Key, step: u64) -> Result<PendingSamples> {
        self.request(codes, &[key], step, |request| self.prior.record(request))
    }

    /// Returns the numbers that the prior has learned.
    pub fn prior_parameters(&self) -> usize {
        self.prior.parameter_count()
    }
}
