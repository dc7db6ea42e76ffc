//! The objective of a first stage: pixels, structure, a perceptual distance, and a discriminator.
//!
//! The loss is found on tapes of its own, of the reconstructions as leaves. What they give is a
//! value and its slope, the gradient with respect to the reconstructions; `Objective::judge` hands
//! it to the model's tape as one node. So each part's slope can be weighed before they are added.

mod adversarial;
mod adversary;
pub(crate) mod guard;

use adversary::GeneratorLoss;
pub(crate) use adversary::{Adversary, Learning};

use crate::autograd::accumulate::accumulate;
use crate::autograd::{Tape, Var};
use crate::config::Precision;
use crate::config::objective::PixelLoss;
use crate::config::run::ResolvedConfig;
use crate::gpu::{Gpu, Tensor, fill};
use crate::metrics::GanMetrics;
use crate::models::losses::lpips::Lpips;
use crate::models::losses::penalty;
use crate::models::losses::structure::structure;
use crate::nn::{ForwardContext, HostTensors};
use crate::ops::elementwise::scale::scale;
use crate::ops::linalg::scale_by::{divide_by, scale_by};
use crate::ops::loss::adaptive_weight::adaptive_weight;
use crate::ops::loss::loss::{Loss, loss};
use crate::parallel::Ranks;
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
    /// Whether networks store activations, and read weights, in f16.
    mixed: bool,
}

/// A metric of a step: its slot among the [`GanMetrics`], and its value [1].
pub(crate) type Metric = (usize, Tensor);

/// Losses of reconstructions, before the discriminator's part is weighed.
pub(crate) struct Judged {
    /// The loss [1] without the discriminator's part.
    value: Tensor,
    /// Its gradient with respect to the reconstructions.
    slope: Tensor,
    /// The loss by the discriminator, and its weight at the step, where it takes part.
    adversarial: Option<(GeneratorLoss, f32)>,
    /// The mean squared error [1].
    mse: Tensor,
    metrics: Vec<Metric>,
}

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
        let mixed = c.train.precision == Precision::Mixed;
        let adversary = match c.gan.is_on() {
            true => Some(Adversary::new(gpu, &c.gan, channels, c.train.seed, mixed)?),
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
        let lpips = lpips.map(|lpips| match mixed {
            true => lpips.with_halves(),
            false => Ok(lpips),
        });
        Ok(Objective {
            gpu: gpu.clone(),
            lpips_weight: c.loss.lpips_weight,
            lpips: lpips.transpose()?,
            mixed,
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
    /// the decoder's last weight where [`Objective::watches`]. With a loss `scale` [1] gradients
    /// are computed at that scale, and the scale taken off them.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn judge(
        &self,
        pass: &ForwardContext,
        x: &Var,
        y: &Var,
        step: u64,
        scale: Option<&Tensor>,
    ) -> Result<(Var, Tensor, Vec<Metric>)> {
        if self.is_plain() {
            let mse = pass.tape.loss(Loss::Mse, y, x)?;
            let value = mse.tensor().clone();
            return Ok((mse, value, Vec::new()));
        }
        let judged = self.look(x.tensor(), y.tensor(), step, scale)?;
        let weight = match &judged.adversarial {
            Some((_, weight)) if self.adaptive => {
                let [own, other] = self.compared(pass, &judged, scale)?;
                Some(adaptive_weight(&own, &other, *weight)?)
            }
            Some((_, weight)) => Some(self.constant(*weight)?),
            None => None,
        };
        self.hand_on(pass, y, judged, weight)
    }

    /// Whether the weight of what the discriminator says at a step follows from all of the step's
    /// reconstructions together.
    pub(crate) fn weighs_together(&self, step: u64) -> bool {
        let heard = |a: &Adversary| a.weight(step) > 0.0;
        self.adaptive && self.adversary.as_ref().is_some_and(heard)
    }

    /// Judges reconstructions y of originals x at a step, but for the discriminator's weight. For
    /// an objective that is more than the mean squared error.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn look(
        &self,
        x: &Tensor,
        y: &Tensor,
        step: u64,
        scale: Option<&Tensor>,
    ) -> Result<Judged> {
        let mut metrics = Vec::new();
        let tape = Tape::new(&self.gpu);
        let (leaf, target) = (tape.leaf(y), tape.constant(x));
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
            let distance = match self.mixed {
                true => lpips.distance_in_f16(&tape, &leaf, &target)?,
                false => lpips.distance(&tape, &leaf, &target)?,
            };
            let part = tape.scale(&distance, self.lpips_weight, 0.0)?;
            metrics.push((
                const { GanMetrics::slot("perceptual") },
                part.tensor().clone(),
            ));
            sum = tape.add(&sum, &part)?;
        }
        let value = sum.tensor().clone();
        let slope = slope_of(&tape, &sum, &leaf, scale)?;
        let slope =
            slope.ok_or_else(|| Error::invalid("objective", "no loss sees the reconstructions"))?;
        let mut adversarial = None;
        if let Some(adversary) = &self.adversary {
            let weight = adversary.weight(step);
            if weight > 0.0 {
                adversarial = Some((adversary.generator_loss(x, y, scale)?, weight));
            }
        }
        Ok(Judged {
            value,
            slope,
            adversarial,
            mse: loss(Loss::Mse, y, x)?,
            metrics,
        })
    }

    /// Returns the gradients of the watched weight by the two slopes that its adaptive weight
    /// compares.
    ///
    /// # Errors
    /// If the discriminator does not take part, or `pass` watches no weight.
    pub(crate) fn compared(
        &self,
        pass: &ForwardContext,
        judged: &Judged,
        scale: Option<&Tensor>,
    ) -> Result<[Tensor; 2]> {
        let missing = || Error::invalid("objective", "the discriminator does not take part yet");
        let (adversarial, _) = judged.adversarial.as_ref().ok_or_else(missing)?;
        let of = |slope: &Tensor| match scale {
            Some(scale) => divide_by(&pass.watched_gradient(&scale_by(slope, scale)?)?, scale),
            None => pass.watched_gradient(slope),
        };
        Ok([of(&judged.slope)?, of(&adversarial.slope)?])
    }

    /// Returns the adaptive weight [1] of a step, by the sums over its `passes` of what
    /// [`Objective::compared`] gave for each, as if all images had been judged at once.
    ///
    /// # Errors
    /// If there is no discriminator.
    pub(crate) fn weight_of(
        &self,
        [own, other]: [Tensor; 2],
        passes: usize,
        step: u64,
    ) -> Result<Tensor> {
        let missing = || Error::invalid("objective", "there is no discriminator");
        let adversary = self.adversary.as_ref().ok_or_else(missing)?;
        let share = 1.0 / passes as f32;
        let [own, other] = [scale(&own, share, 0.0)?, scale(&other, share, 0.0)?];
        adaptive_weight(&own, &other, adversary.weight(step))
    }

    /// Puts what was found of reconstructions y on the tape of `pass`, as [`Objective::judge`] does
    /// with the factor [1] of the adversarial slope.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn hand_on(
        &self,
        pass: &ForwardContext,
        y: &Var,
        judged: Judged,
        weight: Option<Tensor>,
    ) -> Result<(Var, Tensor, Vec<Metric>)> {
        let Judged {
            value,
            mut slope,
            adversarial,
            mse,
            mut metrics,
        } = judged;
        if let Some(((adversarial, _), weight)) = adversarial.zip(weight) {
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
        Ok((penalty::carry(pass.tape, y, value, slope), mse, metrics))
    }

    fn constant(&self, weight: f32) -> Result<Tensor> {
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

    /// Computes the gradients of the discriminator's step, where it takes one: on originals and
    /// reconstructions, part by part of a batch, with all ranks; at a loss scale [1] in mixed
    /// precision.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn learning(
        &self,
        parts: &[(Tensor, Tensor)],
        step: u64,
        ranks: &Ranks,
        scale: Option<&Tensor>,
    ) -> Result<Option<Learning>> {
        match self.adversary.as_ref().filter(|a| a.trains(step)) {
            Some(adversary) if !parts.is_empty() => {
                Ok(Some(adversary.gradients(parts, step, ranks, scale)?))
            }
            _ => Ok(None),
        }
    }

    /// Takes the discriminator's step, at the model's learning rate; in mixed precision as the
    /// report of the model's step has it, which is of both. Returns metrics for the log.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn learn(
        &mut self,
        learning: Option<Learning>,
        rate: f64,
        report: Option<&Tensor>,
    ) -> Result<Vec<Metric>> {
        let Some((adversary, learning)) = self.adversary.as_mut().zip(learning) else {
            return Ok(Vec::new());
        };
        let learned = adversary.learn(learning, rate, report)?;
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

    /// Checks that [`Objective::load`] takes a state; nothing is changed.
    ///
    /// # Errors
    /// If it is another discriminator's.
    pub(crate) fn check(&self, tensors: HostTensors, state: &serde_json::Value) -> Result<()> {
        match &self.adversary {
            Some(adversary) => adversary.check(tensors, state),
            None => Ok(()),
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

/// Computes the gradient of a loss with respect to a leaf, at a scale [1] where there is one, which
/// is then taken off it; `None` where the loss does not see the leaf.
fn slope_of(tape: &Tape, loss: &Var, leaf: &Var, scale: Option<&Tensor>) -> Result<Option<Tensor>> {
    let Some(scale) = scale else {
        return Ok(tape.backward(loss)?.take(leaf));
    };
    let slope = tape.backward_with(loss, scale.clone())?.take(leaf);
    slope.map(|slope| divide_by(&slope, scale)).transpose()
}

#[cfg(test)]
mod tests;
