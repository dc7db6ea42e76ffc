//! What a first stage minimises of its reconstructions: pixels, structure, a perceptual distance, and a discriminator's word.
//!
//! The loss is found on tapes of its own, of the reconstructions as leaves. What they give is a value and its slope, the gradient with
//! respect to the reconstructions; [`Objective::judge`] hands it to the model's tape as one node. So each part's slope can be weighed before they meet.

mod adversarial;
mod adversary;
pub(crate) mod guard;
pub mod options;
mod penalty;
mod structure;

pub(crate) use adversary::Adversary;
pub use structure::structure;

use crate::autograd::{Tape, Var};
use crate::gpu::{Gpu, Tensor};
use crate::nn::{HostTensors, Pass};
use crate::ops::adaptive_weight::adaptive_weight;
use crate::ops::add::accumulate;
use crate::ops::fill::fill;
use crate::ops::loss::{Loss, loss};
use crate::ops::scale_by::scale_by;
use crate::train::config::RunConfig;
use crate::{Error, Result};

/// Figures that a step leaves of its objective.
pub(crate) const FIGURES: usize = 11;

/// Places of figures among them.
pub(crate) mod figure {
    pub(crate) const STRUCTURE: usize = 0;
    pub(crate) const GENERATOR: usize = 1;
    pub(crate) const FEATURES: usize = 2;
    pub(crate) const WEIGHT: usize = 3;
    pub(crate) const DISCRIMINATOR: usize = 4;
    pub(crate) const REAL: usize = 5;
    pub(crate) const FAKE: usize = 6;
    pub(crate) const PENALTY: usize = 7;
    pub(crate) const NORM: usize = 8;
    pub(crate) const PERCEPTUAL: usize = 9;
    pub(crate) const DISCRIMINATOR_NORM: usize = 10;
}

/// How a configuration's reconstructions are judged.
pub(crate) struct Objective {
    gpu: Gpu,
    pixels: Loss,
    structure_weight: f32,
    pub(crate) adversary: Option<Adversary>,
    adaptive: bool,
}

/// Where a step's figures go: place and value, [1] or, of norms, [3], of which the first counts.
pub(crate) type Figure = (usize, Tensor);

impl Objective {
    /// For images of so many channels and this size.
    ///
    /// # Errors
    /// If the discriminator cannot judge such images; the error names the key.
    pub(crate) fn new(gpu: &Gpu, c: &RunConfig, [height, width, channels]: [usize; 3]) -> Result<Objective> {
        let adversary = match c.gan.is_on() {
            true => Some(Adversary::new(gpu, &c.gan, channels, c.train.seed)?),
            false => None,
        };
        let least = adversary.as_ref().map_or(0, Adversary::smallest);
        if height.min(width) < least {
            let what = format!(
                "{} is not allowed: images of {width} x {height} leave no patch to judge, which takes {least} pixels either way; take fewer layers",
                c.gan.layers
            );
            return Err(Error::config("gan.layers", what));
        }
        Ok(Objective {
            gpu: gpu.clone(),
            pixels: if c.loss.pixels == "l1" { Loss::L1 } else { Loss::Mse },
            structure_weight: c.loss.structure_weight,
            adversary,
            adaptive: c.gan.adaptive,
        })
    }

    /// Is it the mean squared error and nothing else? Then the model's own tape does.
    fn is_plain(&self) -> bool {
        self.pixels == Loss::Mse && self.structure_weight == 0.0 && self.adversary.is_none()
    }

    /// What reconstructions y on the tape of `pass`, of originals x, cost at a step: the loss [1] on that tape, the mean squared error [1], and
    /// figures for the log. `pass` watches the decoder's last weight.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn judge(&self, pass: &Pass, x: &Var, y: &Var, step: u64) -> Result<(Var, Tensor, Vec<Figure>)> {
        if self.is_plain() {
            let mse = pass.tape.loss(Loss::Mse, y, x)?;
            let value = mse.tensor().clone();
            return Ok((mse, value, Vec::new()));
        }
        let mut figures = Vec::new();
        let (x, y_value) = (x.tensor(), y.tensor());
        let tape = Tape::new(&self.gpu);
        let (leaf, target) = (tape.leaf(y_value), tape.constant(x));
        let mut sum = tape.loss(self.pixels, &leaf, &target)?;
        if self.structure_weight > 0.0 {
            let part = tape.scale(&structure(&tape, &leaf, &target)?, self.structure_weight, 0.0)?;
            figures.push((figure::STRUCTURE, part.tensor().clone()));
            sum = tape.add(&sum, &part)?;
        }
        let value = sum.tensor().clone();
        let slope = tape.backward(&sum)?.take(&leaf);
        let mut slope = slope.ok_or_else(|| Error::invalid("objective", "no loss sees the reconstructions"))?;
        if let Some(adversary) = &self.adversary {
            let weight = adversary.weight(step);
            if weight > 0.0 {
                let heard = adversary.hear(x, y_value)?;
                let weight = self.weight(pass, &slope, &heard.slope, weight)?;
                slope = accumulate(slope, scale_by(&heard.slope, &weight)?)?;
                figures.push((figure::GENERATOR, heard.generator));
                figures.extend(heard.features.map(|f| (figure::FEATURES, f)));
                figures.push((figure::WEIGHT, weight));
            }
        }
        let mse = loss(Loss::Mse, y_value, x)?;
        Ok((penalty::carry(pass.tape, y, value, slope), mse, figures))
    }

    /// The factor [1] of the adversarial slope.
    fn weight(&self, pass: &Pass, own: &Tensor, adversarial: &Tensor, weight: f32) -> Result<Tensor> {
        if self.adaptive {
            let [a, b] = [pass.watched_gradient(own)?, pass.watched_gradient(adversarial)?];
            return adaptive_weight(&a, &b, weight);
        }
        let constant = Tensor::empty(&self.gpu, &[1], crate::gpu::DType::F32)?;
        fill(&constant, weight)?;
        Ok(constant)
    }

    /// The other player's step, where there is one: on originals x and reconstructions y, at the model's learning rate. Returns figures
    /// for the log.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn learn(&mut self, x: &Tensor, y: &Tensor, step: u64, rate: f64) -> Result<Vec<Figure>> {
        let Some(adversary) = self.adversary.as_mut().filter(|a| a.trains(step)) else { return Ok(Vec::new()) };
        let learned = adversary.learn(x, y, step, rate)?;
        let mut figures =
            vec![(figure::DISCRIMINATOR, learned.loss), (figure::REAL, learned.real), (figure::FAKE, learned.fake)];
        figures.extend(learned.penalty.map(|p| (figure::PENALTY, p)));
        if let Some(report) = learned.norm {
            figures.push((figure::DISCRIMINATOR_NORM, report.view(0, &[1])?));
        }
        Ok(figures)
    }

    /// What a checkpoint keeps of the other player.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn save(&self) -> Result<(HostTensors, serde_json::Value)> {
        match &self.adversary {
            Some(adversary) => Ok((adversary.save()?, adversary.state())),
            None => Ok((HostTensors::new(), serde_json::Value::Null)),
        }
    }

    /// Goes back to what [`Objective::save`] gave.
    ///
    /// # Errors
    /// If it is another discriminator's.
    pub(crate) fn load(&mut self, tensors: HostTensors, state: &serde_json::Value) -> Result<()> {
        match &mut self.adversary {
            Some(adversary) => adversary.load(tensors, state),
            None => Ok(()),
        }
    }
}
