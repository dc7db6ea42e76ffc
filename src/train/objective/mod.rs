//! The objective of a first stage: pixels, structure, a perceptual distance, and a discriminator.
//!
//! The loss is found on tapes of its own, of the reconstructions as leaves. What they give is a
//! value and its slope, the gradient with respect to the reconstructions; `Objective::judge` hands
//! it to the model's tape as one node. So each part's slope can be weighed before they are added.

mod adversarial;
mod adversary;
pub(crate) mod guard;

pub(crate) use adversary::Adversary;

use crate::autograd::accumulate::accumulate;
use crate::autograd::{Tape, Var};
use crate::config::objective::PixelLoss;
use crate::config::run::ResolvedConfig;
use crate::gpu::{Gpu, Tensor, fill};
use crate::metrics::GanMetrics;
use crate::models::losses::lpips::Lpips;
use crate::models::losses::penalty;
use crate::models::losses::structure::structure;
use crate::nn::{ForwardContext, HostTensors};
use crate::ops::linalg::scale_by::scale_by;
use crate::ops::loss::adaptive_weight::adaptive_weight;
use crate::ops::loss::loss::{Loss, loss};
use crate::{Error, Result};
use std::path::Path;

/// The losses of a configuration's reconstructions.
pub(crate) struct Objective {
    gpu: Gpu,
    pixels: Loss,
    structure_weight: f32,
    lpips_weight: f32,
    lpips: Option<Lpips>,
    pub(crate) adversary: Option<Adversary>,
    adaptive: bool,
}

/// A metric of a step: its slot among the [`GanMetrics`], and its value [1].
pub(crate) type Metric = (usize, Tensor);

impl Objective {
    /// Creates the objective for images of so many channels and this size.
    ///
    /// # Errors
    /// If the discriminator cannot judge such images; the error names the key.
    pub(crate) fn new(
        gpu: &Gpu,
        c: &ResolvedConfig,
        [height, width, channels]: [usize; 3],
    ) -> Result<Objective> {
        let adversary = match c.gan.is_on() {
            true => Some(Adversary::new(gpu, &c.gan, channels, c.train.seed)?),
            false => None,
        };
        let least = adversary.as_ref().map_or(0, Adversary::smallest);
        if height.min(width) < least {
            let what = format!(
                "{} is not allowed: images of {width} x {height} leave no patch to judge, which \
                 takes {least} pixels either way; take fewer layers",
                c.gan.layers
            );
            return Err(Error::config("gan.layers", what));
        }
        let (lpips, file) = (c.loss.lpips_weight > 0.0, Path::new(&c.loss.lpips));
        let lpips = lpips.then(|| Lpips::load(gpu, file)).transpose()?;
        let least = lpips.as_ref().map_or(0, |l| l.backbone().smallest_side());
        if height.min(width) < least {
            let what = format!(
                "compares images of {least} pixels either way at least, and these have {width} x \
                 {height}: leave it 0"
            );
            return Err(Error::config("loss.lpips_weight", what));
        }
        Ok(Objective {
            gpu: gpu.clone(),
            lpips_weight: c.loss.lpips_weight,
            lpips,
            pixels: match c.loss.pixels {
                PixelLoss::L1 => Loss::L1,
                PixelLoss::Auto | PixelLoss::Mse => Loss::Mse,
            },
            structure_weight: c.loss.structure_weight,
            adversary,
            adaptive: c.gan.adaptive,
        })
    }

    /// Whether it is the mean squared error and nothing else. Then the model's own tape computes
    /// it.
    fn is_plain(&self) -> bool {
        self.pixels == Loss::Mse
            && self.structure_weight == 0.0
            && self.lpips.is_none()
            && self.adversary.is_none()
    }

    /// Numbers of LPIPS; 0 where it is not asked for.
    pub(crate) fn lpips_numbers(&self) -> usize {
        self.lpips.as_ref().map_or(0, Lpips::numbers)
    }

    /// Whether the judged pass has to watch the decoder's last weight.
    pub(crate) fn watches(&self) -> bool {
        self.adaptive && self.adversary.is_some()
    }

    /// Computes the loss of reconstructions y on the tape of `pass`, of originals x, at a step: the
    /// loss [1] on that tape, the mean squared error [1], and metrics for the log. `pass` watches
    /// the decoder's last weight where [`Objective::watches`].
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn judge(
        &self,
        pass: &ForwardContext,
        x: &Var,
        y: &Var,
        step: u64,
    ) -> Result<(Var, Tensor, Vec<Metric>)> {
        if self.is_plain() {
            let mse = pass.tape.loss(Loss::Mse, y, x)?;
            let value = mse.tensor().clone();
            return Ok((mse, value, Vec::new()));
        }
        let mut metrics = Vec::new();
        let (x, y_value) = (x.tensor(), y.tensor());
        let tape = Tape::new(&self.gpu);
        let (leaf, target) = (tape.leaf(y_value), tape.constant(x));
        let mut sum = tape.loss(self.pixels, &leaf, &target)?;
        if self.structure_weight > 0.0 {
            let part = tape.scale(
                &structure(&tape, &leaf, &target)?,
                self.structure_weight,
                0.0,
            )?;
            metrics.push((
                const { GanMetrics::slot("structure") },
                part.tensor().clone(),
            ));
            sum = tape.add(&sum, &part)?;
        }
        if let Some(lpips) = &self.lpips {
            let part = tape.scale(
                &lpips.distance(&tape, &leaf, &target)?,
                self.lpips_weight,
                0.0,
            )?;
            metrics.push((
                const { GanMetrics::slot("perceptual") },
                part.tensor().clone(),
            ));
            sum = tape.add(&sum, &part)?;
        }
        let value = sum.tensor().clone();
        let slope = tape.backward(&sum)?.take(&leaf);
        let mut slope =
            slope.ok_or_else(|| Error::invalid("objective", "no loss sees the reconstructions"))?;
        if let Some(adversary) = &self.adversary {
            let weight = adversary.weight(step);
            if weight > 0.0 {
                let adversarial = adversary.generator_loss(x, y_value)?;
                let weight = self.weight(pass, &slope, &adversarial.slope, weight)?;
                slope = accumulate(slope, scale_by(&adversarial.slope, &weight)?)?;
                metrics.push((
                    const { GanMetrics::slot("generator") },
                    adversarial.generator,
                ));
                metrics.extend(
                    adversarial
                        .features
                        .map(|f| (const { GanMetrics::slot("features") }, f)),
                );
                metrics.push((const { GanMetrics::slot("adversarial_weight") }, weight));
            }
        }
        let mse = loss(Loss::Mse, y_value, x)?;
        Ok((penalty::carry(pass.tape, y, value, slope), mse, metrics))
    }

    /// Computes the factor [1] of the adversarial slope.
    fn weight(
        &self,
        pass: &ForwardContext,
        own: &Tensor,
        adversarial: &Tensor,
        weight: f32,
    ) -> Result<Tensor> {
        if self.adaptive {
            let [a, b] = [
                pass.watched_gradient(own)?,
                pass.watched_gradient(adversarial)?,
            ];
            return adaptive_weight(&a, &b, weight);
        }
        let constant = Tensor::empty(&self.gpu, &[1], crate::gpu::DType::F32)?;
        fill(&constant, weight)?;
        Ok(constant)
    }

    /// LPIPS [1] of reconstructions y and originals x [B, H, W, C], where its weights are at hand.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn lpips(&self, x: &Tensor, y: &Tensor) -> Result<Option<Tensor>> {
        let tape = Tape::no_grad(&self.gpu);
        let distance = |l: &Lpips| {
            Ok(l.distance(&tape, &tape.constant(y), &tape.constant(x))?
                .tensor()
                .clone())
        };
        self.lpips.as_ref().map(distance).transpose()
    }

    /// Takes the discriminator's step, where there is one: on originals x and reconstructions y, at
    /// the model's learning rate. Returns metrics for the log.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn learn(
        &mut self,
        x: &Tensor,
        y: &Tensor,
        step: u64,
        rate: f64,
    ) -> Result<Vec<Metric>> {
        let Some(adversary) = self.adversary.as_mut().filter(|a| a.trains(step)) else {
            return Ok(Vec::new());
        };
        let learned = adversary.learn(x, y, step, rate)?;
        let mut metrics = vec![
            (const { GanMetrics::slot("discriminator") }, learned.loss),
            (const { GanMetrics::slot("logits_real") }, learned.real),
            (const { GanMetrics::slot("logits_fake") }, learned.fake),
        ];
        metrics.extend(
            learned
                .penalty
                .map(|p| (const { GanMetrics::slot("penalty") }, p)),
        );
        if let Some(report) = learned.norm {
            metrics.push((
                const { GanMetrics::slot("discriminator_gradient_norm") },
                report.view(0, &[1])?,
            ));
        }
        Ok(metrics)
    }

    /// Returns the discriminator's part of a checkpoint.
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

#[cfg(test)]
mod tests;
