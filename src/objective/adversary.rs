//! The discriminator in training: its network, its optimiser, and the generator loss.

use super::slope_of;
use crate::autograd::{Tape, Var};
use crate::config::objective::{Gan, Regularizer};
use crate::gpu::{DType, Gpu, Tensor};
use crate::metrics::MeanOfParts;
use crate::models::losses::discriminator::{Config, Discriminator, Verdict};
use crate::models::losses::penalty::{Averages, slopes};
use crate::nn::{
    Adam, AdamState, ForwardContext, GradientSum, HalfWeights, Handle, HostTensors, Parameters,
};
use crate::ops::elementwise::cast::cast;
use crate::ops::linalg::reduce::mean;
use crate::ops::loss::loss::Loss;
use crate::ops::optim::adam::{Decay, Hyper};
use crate::ops::optim::clip::Squares;
use crate::parallel::Ranks;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// Keeps the discriminator's initial weights apart from the model's.
const SEED: u64 = 0x6469_7363_7269_6d69;

/// Numbers of its metrics.
const LOSS: usize = 0;
const REAL: usize = 1;
const FAKE: usize = 2;
const PENALTY: usize = 3;

/// A discriminator in training.
pub(crate) struct Adversary {
    gpu: Gpu,
    options: Gan,
    discriminator: Discriminator,
    params: Parameters,
    /// The weights as mixed precision reads them.
    halves: Option<HalfWeights>,
    adam: Adam,
    averages: Averages,
    /// Times that its weight and its rate were halved.
    halvings: u32,
}

/// The generator's losses by the discriminator.
pub(super) struct GeneratorLoss {
    /// The generator's adversarial loss, unweighted, and the feature matching loss, weighted: [1]
    /// each.
    pub(super) generator: Tensor,
    pub(super) features: Option<Tensor>,
    /// The gradient of their sum with respect to the reconstructions.
    pub(super) slope: Tensor,
}

/// The gradients of a step of the discriminator, and its metrics, before it moves.
pub(crate) struct Learning {
    gradients: Vec<(Handle, Tensor)>,
    /// In mixed precision, of the gradients, which are at the loss scale.
    squares: Option<Squares>,
    metrics: BTreeMap<usize, Tensor>,
    /// The penalty [1] of R1.
    penalty: Option<Tensor>,
}

impl Learning {
    /// Returns the squares of the gradients, without which being finite no step of mixed precision
    /// moves anything.
    pub(crate) fn squares(&self) -> Option<&Squares> {
        self.squares.as_ref()
    }
}

/// Metrics of a step of the discriminator, each [1], and the report of its gradients' norm [3].
pub(super) struct Learned {
    pub(super) loss: Tensor,
    pub(super) real: Tensor,
    pub(super) fake: Tensor,
    pub(super) penalty: Option<Tensor>,
    pub(super) norm: Option<Tensor>,
}

impl Adversary {
    /// Creates a discriminator for images of so many channels, in mixed precision or in f32.
    pub(super) fn new(
        gpu: &Gpu,
        options: &Gan,
        channels: usize,
        seed: u64,
        mixed: bool,
    ) -> Result<Adversary> {
        let mut b = Parameters::builder();
        let config = Config {
            channels,
            hidden: options.hidden,
            layers: options.layers,
            norm: options.norm,
        };
        let mut discriminator = Discriminator::new(&mut b, &config)?;
        let params = b.build(gpu, seed ^ SEED)?;
        discriminator.begin(gpu, &params, seed ^ SEED)?;
        let hyper = Hyper {
            lr: 1e-4,
            beta1: options.beta1.into(),
            beta2: options.beta2.into(),
            eps: 1e-8,
            weight_decay: 0.0,
            decay: Decay::Decoupled,
        };
        let mut adam = Adam::new(&params, hyper)?;
        adam.max_norm = Some(f32::INFINITY);
        let averages = Averages::new(gpu)?;
        let halves = mixed.then(|| HalfWeights::new(&params)).transpose()?;
        let (gpu, options) = (gpu.clone(), options.clone());
        Ok(Adversary {
            gpu,
            options,
            discriminator,
            params,
            halves,
            adam,
            averages,
            halvings: 0,
        })
    }

    /// Sides of the smallest images that it can judge.
    pub(super) fn smallest(&self) -> usize {
        self.discriminator.smallest()
    }

    /// Trained numbers.
    pub(crate) fn parameter_count(&self) -> usize {
        self.params.count()
    }

    /// Whether the discriminator trains at this step.
    pub(super) fn trains(&self, step: u64) -> bool {
        step >= self.options.start
    }

    /// The weight of what it says at this step; 0 before it takes part.
    pub(super) fn weight(&self, step: u64) -> f32 {
        self.options.weight * self.options.share(step) as f32 * 0.5f32.powi(self.halvings as i32)
    }

    /// Times that it was weakened.
    pub(crate) fn halvings(&self) -> u32 {
        self.halvings
    }

    /// Halves its weight and its learning rate from here on.
    pub(crate) fn weaken(&mut self) -> String {
        self.halvings += 1;
        let weight = self.options.weight * 0.5f32.powi(self.halvings as i32);
        format!(
            "the discriminator weighs half as much from here on ({weight}), and learns at half \
             the rate"
        )
    }

    /// Returns a pass that stores and reads as the precision has it.
    fn context<'a>(&'a self, tape: &'a Tape) -> ForwardContext<'a> {
        let pass = ForwardContext::new(tape, &self.params);
        match &self.halves {
            Some(halves) => pass
                .with_activation_dtype(DType::F16)
                .with_half_weights(Some(halves.clone())),
            None => pass,
        }
    }

    fn judge(&self, pass: &ForwardContext, images: &Var) -> Result<Verdict> {
        self.discriminator.forward(pass, images)
    }

    /// Computes the generator's losses of reconstructions y of x, both [B, H, W, C], the gradient
    /// at a loss scale [1] where there is one.
    pub(super) fn generator_loss(
        &self,
        x: &Tensor,
        y: &Tensor,
        scale: Option<&Tensor>,
    ) -> Result<GeneratorLoss> {
        let matched = self.options.feature_weight > 0.0;
        let still = Tape::no_grad(&self.gpu);
        let real = match matched {
            true => {
                self.judge(&self.context(&still), &still.constant(x))?
                    .features
            }
            false => Vec::new(),
        };
        let tape = Tape::new(&self.gpu);
        let leaf = tape.leaf(y);
        let verdict = self.judge(&self.context(&tape).frozen(), &leaf)?;
        let generator = self.options.objective.generator(&tape, &verdict.logits)?;
        let mut loss = generator.clone();
        let mut features: Option<Var> = None;
        let share = self.options.feature_weight / real.len().max(1) as f32;
        for (fake, real) in verdict.features.iter().zip(&real) {
            let real = tape.constant(&cast(real.tensor(), DType::F32)?);
            let fake = tape.cast(fake, DType::F32)?;
            let part = tape.scale(&tape.loss(Loss::L1, &fake, &real)?, share, 0.0)?;
            features = Some(match features {
                Some(sum) => tape.add(&sum, &part)?,
                None => part,
            });
        }
        drop(verdict);
        if let Some(features) = &features {
            loss = tape.add(&loss, features)?;
        }
        let slope = slope_of(&tape, &loss, &leaf, scale)?;
        let slope = slope.ok_or_else(|| {
            Error::invalid("adversary", "the discriminator does not see its images")
        })?;
        let features = features.map(|f| f.tensor().clone());
        Ok(GeneratorLoss {
            generator: generator.tensor().clone(),
            features,
            slope,
        })
    }

    /// Computes the gradients of a step of the discriminator, on images and reconstructions, part
    /// by part of a batch, with all ranks: at a loss scale [1] in mixed precision.
    pub(super) fn gradients(
        &self,
        parts: &[(Tensor, Tensor)],
        step: u64,
        ranks: &Ranks,
        scale: Option<&Tensor>,
    ) -> Result<Learning> {
        let o = &self.options;
        let judge = |pass: &ForwardContext, x: &Var| Ok(self.judge(pass, x)?.logits);
        let penalized = o.regularizer_weight > 0.0;
        let slopes = match o.regularizer {
            Regularizer::R1 if penalized && step.is_multiple_of(o.regularizer_every) => {
                let real = parts.iter().map(|(x, _)| x);
                Some(slopes(&self.params, &judge, real)?)
            }
            _ => None,
        };
        let all = parts.len() * ranks.size();
        let share = 1.0 / all as f32;
        let (mut gradients, mut metrics) = (GradientSum::default(), MeanOfParts::new(share));
        for (part, (x, y)) in parts.iter().enumerate() {
            let tape = Tape::new(&self.gpu);
            // R1 is found by the difference of two scores so near that f16 holds none of it.
            let mut pass = match slopes {
                Some(_) => ForwardContext::new(&tape, &self.params),
                None => self.context(&tape),
            };
            if part == 0 {
                pass = pass.with_gradients_of(&self.adam);
            }
            let real = self.judge(&pass, &tape.constant(x))?.logits;
            let fake = self.judge(&pass, &tape.constant(y))?.logits;
            let mut loss = o.objective.discriminator(&tape, &real, &fake)?;
            metrics.add(LOSS, loss.tensor())?;
            if penalized && o.regularizer == Regularizer::Lecam {
                let term = self.averages.penalty(&tape, &real, &fake)?;
                loss = tape.add(&loss, &tape.scale(&term, o.regularizer_weight, 0.0)?)?;
                metrics.add(PENALTY, term.tensor())?;
            }
            if all > 1 {
                loss = tape.scale(&loss, share, 0.0)?;
            }
            if let Some(slopes) = &slopes {
                let weight = o.regularizer_weight * o.regularizer_every as f32;
                loss = tape.add(&loss, &slopes.penalty(&pass, &judge, x, part, weight)?)?;
            }
            metrics.add(REAL, &mean(real.tensor())?)?;
            metrics.add(FAKE, &mean(fake.tensor())?)?;
            drop((real, fake));
            if let Some(scale) = scale {
                loss = tape.scale_by(&loss, &tape.constant(scale))?;
            }
            gradients.add(&self.adam, pass.gradients(tape.backward(&loss)?))?;
            if parts.len() > 1 {
                self.gpu.flush()?;
            }
        }
        let metrics = metrics.finish()?;
        let others: Vec<&Tensor> = metrics.values().collect();
        let gradients = self.adam.sum_over(ranks, gradients, &others)?;
        let squares = scale.map(|_| self.adam.squares(&self.params, &gradients));
        Ok(Learning {
            squares: squares.transpose()?,
            gradients,
            metrics,
            penalty: slopes.map(|slopes| slopes.squared),
        })
    }

    /// Takes the step of these gradients, at the model's learning rate or its own. In mixed
    /// precision `report` is that of the model's gradients, which counts these in: where it says
    /// that the step is passed over, it is here too.
    pub(super) fn learn(
        &mut self,
        learning: Learning,
        rate: f64,
        report: Option<&Tensor>,
    ) -> Result<Learned> {
        let own = match self.options.lr {
            lr if lr > 0.0 => f64::from(lr),
            _ => rate,
        };
        self.adam.hyper.lr = own * 0.5f64.powi(self.halvings as i32);
        let Learning {
            gradients,
            squares,
            mut metrics,
            penalty: slope,
        } = learning;
        let beside = squares.as_ref().zip(report);
        let norm = match beside {
            Some((squares, report)) => {
                let (adam, halves) = (&mut self.adam, self.halves.as_ref());
                Some(adam.step_beside(&self.params, squares, report, halves)?)
            }
            None => self.adam.step(&self.params, &gradients)?,
        };
        let passed_over = beside.and(norm.as_ref());
        self.discriminator.update_spectral_norm(&self.params)?;
        let missing = || Error::invalid("adversary", "a step without images");
        let mut take = |slot| metrics.remove(&slot);
        let (loss, penalty) = (take(LOSS).ok_or_else(missing)?, take(PENALTY));
        let (real, fake) = (
            take(REAL).ok_or_else(missing)?,
            take(FAKE).ok_or_else(missing)?,
        );
        self.averages.update(&real, &fake, passed_over)?;
        Ok(Learned {
            loss,
            real,
            fake,
            penalty: penalty.or(slope),
            norm,
        })
    }

    /// Returns the tensors of a checkpoint, by name.
    pub(super) fn save(&self) -> Result<HostTensors> {
        let AdamState { m, v, .. } = self.adam.save()?;
        let mut all = self.params.to_host()?;
        let parts = [
            ("m.", m),
            ("v.", v),
            ("state.", self.discriminator.save()?),
            ("logits.", self.averages.save()?),
        ];
        for (prefix, part) in parts {
            all.extend(
                part.into_iter()
                    .map(|(name, t)| (format!("{prefix}{name}"), t)),
            );
        }
        Ok(all)
    }

    /// Its numbers that are not tensors.
    pub(super) fn state(&self) -> serde_json::Value {
        serde_json::json!({
            "adam_step": self.adam.steps(), "halvings": self.halvings, "seen": self.averages.seen,
        })
    }

    /// Checks that [`Adversary::load`] takes a state.
    pub(super) fn check(&self, tensors: HostTensors, state: &serde_json::Value) -> Result<()> {
        let Saved {
            weights,
            adam,
            discriminator,
            logits,
            ..
        } = Saved::of(tensors, state)?;
        self.params.check(&weights)?;
        self.adam.check_moments(&adam.m, &adam.v)?;
        self.discriminator.check(&discriminator)?;
        Averages::check(&logits)
    }

    /// Goes back to where [`Adversary::save`] and [`Adversary::state`] were taken.
    pub(super) fn load(&mut self, tensors: HostTensors, state: &serde_json::Value) -> Result<()> {
        let saved = Saved::of(tensors, state)?;
        self.params.load_host(&saved.weights)?;
        if let Some(halves) = &self.halves {
            halves.refresh(&self.params)?;
        }
        self.adam.load(&saved.adam)?;
        self.discriminator.load(&saved.discriminator)?;
        self.averages.load(&saved.logits, saved.seen)?;
        self.halvings = saved.halvings;
        Ok(())
    }
}

/// The parts of what a checkpoint keeps.
struct Saved {
    weights: HostTensors,
    adam: AdamState,
    discriminator: HostTensors,
    logits: HostTensors,
    seen: u64,
    halvings: u32,
}

impl Saved {
    /// Takes apart what [`Adversary::save`] and [`Adversary::state`] gave.
    fn of(tensors: HostTensors, state: &serde_json::Value) -> Result<Saved> {
        let number = |key: &str| {
            let missing = || Error::data(format!("the checkpoint's adversary has no `{key}`"));
            state[key].as_u64().ok_or_else(missing)
        };
        let mut parts: [HostTensors; 5] = Default::default();
        for (name, t) in tensors {
            let prefixes = ["m.", "v.", "state.", "logits."];
            let found = prefixes
                .iter()
                .enumerate()
                .find_map(|(i, p)| Some((i, name.strip_prefix(p)?.to_owned())));
            let (part, own) = found.unwrap_or((4, name));
            parts[part].insert(own, t);
        }
        let [m, v, discriminator, logits, weights] = parts;
        let step = number("adam_step")?;
        Ok(Saved {
            weights,
            adam: AdamState { step, m, v },
            discriminator,
            logits,
            seen: number("seen")?,
            halvings: number("halvings")? as u32,
        })
    }
}
