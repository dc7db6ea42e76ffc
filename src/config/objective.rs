//! The objective of a first stage, as its configuration has it: `[loss]`, and `[gan]` for a
//! discriminator.

use crate::Result;
use crate::config::check;
use crate::config::words::word_keys;
use crate::models::losses::discriminator::DiscriminatorNorm;
use serde::{Deserialize, Serialize};

/// `[loss]`: how reconstructions are compared with originals, pixels in [-1, 1].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Loss {
    /// Loss between pixels: `mse`, `l1`, or `auto`, which is `l1` for `vqgan` and `vit` and else
    /// `mse`.
    pub pixels: PixelLoss,
    /// Weight of the structure loss, which compares differences of neighbouring pixels, and
    /// structural similarity, at several scales; -1: 1 for `vqgan` and `vit`, else 0.
    pub structure_weight: f32,
    /// Weight of LPIPS (Zhang et al. 2018), whose network's weights `loss.lpips` names.
    pub lpips_weight: f32,
    /// Weights of the network of LPIPS, a safetensors file; `scripts/convert_lpips.py` makes one.
    pub lpips: String,
}

/// The loss between pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PixelLoss {
    /// `l1` for a model that is trained against a discriminator, else `mse`.
    #[default]
    Auto,
    /// The mean squared error.
    Mse,
    /// The mean absolute error.
    L1,
}

word_keys!(PixelLoss);

/// The objective of discriminator and generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Adversarial {
    /// The discriminator's margins of 1, and minus its mean logit (Lim and Ye 2017).
    Hinge,
    /// Cross-entropies; the generator's with the labels swapped (Goodfellow et al. 2014, section
    /// 3).
    NonSaturating,
}

/// A regularizer of the discriminator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Regularizer {
    /// Nothing.
    None,
    /// The gradient of an image's mean logit with respect to real images is to be small (Mescheder
    /// et al. 2018, equation 9).
    R1,
    /// Logits stay near the moving averages of the other kind's (Tseng et al. 2021).
    Lecam,
}

/// `[gan]`: a discriminator against the decoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gan {
    /// Weight of the generator loss, which is what the discriminator adds to the model's loss. 0:
    /// there is no discriminator; -1: 0.8 for `vqgan` and `vit`, else 0.
    pub weight: f32,
    /// Objective of discriminator and model: `hinge` or `non-saturating`.
    pub objective: Adversarial,
    /// Scale the generator loss so that its gradient at the decoder's last layer is as long as that
    /// of the reconstruction losses (Esser et al. 2021, equation 7).
    pub adaptive: bool,
    /// Step from which the discriminator trains; it has to lie below `train.steps`.
    pub start: u64,
    /// Steps that the discriminator trains before the model gets the gradient of the generator
    /// loss.
    pub head_start: u64,
    /// Steps over which the weight of the generator loss then rises to `weight`.
    pub ramp: u64,
    /// Weight, relative to the generator loss, of feature matching: the mean difference of the
    /// discriminator's activations of originals and of reconstructions (Wang et al. 2018,
    /// "pix2pixHD", equation 4); -1: 2 for `vqgan` and `vit`, else 0.
    pub feature_weight: f32,
    /// Channels of the discriminator's first layer.
    pub hidden: usize,
    /// Layers of the discriminator that halve rows and columns.
    pub layers: usize,
    /// Normalisation in the discriminator: `batch`, `spectral` or `none`.
    pub norm: DiscriminatorNorm,
    /// Learning rate of the discriminator; 0: that of the model, as it is at each step.
    pub lr: f32,
    /// Decay of the first moments in the discriminator's Adam.
    pub beta1: f32,
    /// Decay of the second moments in the discriminator's Adam.
    pub beta2: f32,
    /// Regularizer of the discriminator: `none`, `r1` or `lecam`. The last two act only with a
    /// `regularizer_weight` above 0.
    pub regularizer: Regularizer,
    /// Weight of the discriminator's regularizer; at 0 it does nothing.
    pub regularizer_weight: f32,
    /// `r1`: steps from one penalty to the next; each counts for all of them (Karras et al. 2020,
    /// "StyleGAN2", appendix B).
    pub regularizer_every: u64,
    /// Go back to the last good checkpoint where training collapses, and go on with half the weight
    /// and half the rate of the discriminator.
    pub guard: bool,
}

impl Default for Loss {
    fn default() -> Self {
        Loss {
            pixels: PixelLoss::Auto,
            structure_weight: -1.0,
            lpips_weight: 0.0,
            lpips: String::new(),
        }
    }
}

impl Default for Gan {
    fn default() -> Self {
        Gan {
            weight: -1.0,
            objective: Adversarial::Hinge,
            adaptive: true,
            start: 1000,
            head_start: 250,
            ramp: 500,
            feature_weight: -1.0,
            hidden: 64,
            layers: 3,
            norm: DiscriminatorNorm::Batch,
            lr: 0.0,
            beta1: 0.5,
            beta2: 0.9,
            regularizer: Regularizer::None,
            regularizer_weight: 0.0,
            regularizer_every: 16,
            guard: true,
        }
    }
}

fn weight(key: &str, w: f32) -> Result<()> {
    check(
        key,
        w,
        w.is_finite() && (0.0..=1e6).contains(&w),
        "from 0 to a million",
    )
}

/// Returns the weight; one that was left open is `own` for a model that is trained against a
/// discriminator, else 0.
fn open(weight: f32, own: f32, adversarial: bool) -> f32 {
    match (weight == -1.0, adversarial) {
        (true, true) => own,
        (true, false) => 0.0,
        (false, _) => weight,
    }
}

impl Loss {
    /// Returns the section with all open values written out.
    pub(crate) fn resolved(&self, adversarial: bool) -> Loss {
        let pixels = match (self.pixels, adversarial) {
            (PixelLoss::Auto, true) => PixelLoss::L1,
            (PixelLoss::Auto, false) => PixelLoss::Mse,
            (named, _) => named,
        };
        Loss {
            pixels,
            structure_weight: open(self.structure_weight, 1.0, adversarial),
            ..self.clone()
        }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        weight("loss.structure_weight", self.structure_weight)?;
        weight("loss.lpips_weight", self.lpips_weight)?;
        let named = self.lpips_weight == 0.0 || !self.lpips.is_empty();
        check(
            "loss.lpips",
            "an empty text",
            named,
            "the file of weights that loss.lpips_weight asks for",
        )
    }
}

impl Gan {
    /// Returns the section with all open values written out.
    pub(crate) fn resolved(&self, adversarial: bool) -> Gan {
        Gan {
            weight: open(self.weight, 0.8, adversarial),
            feature_weight: open(self.feature_weight, 2.0, adversarial),
            ..self.clone()
        }
    }

    /// Whether there is a discriminator.
    pub fn is_on(&self) -> bool {
        self.weight > 0.0
    }

    /// Returns the share of its weight that the discriminator has at a step, from 0 on.
    pub fn share(&self, step: u64) -> f64 {
        let Some(heard) = step.checked_sub(self.start.saturating_add(self.head_start)) else {
            return 0.0;
        };
        ((heard + 1) as f64 / self.ramp.max(1) as f64).min(1.0)
    }

    pub(crate) fn validate(&self) -> Result<()> {
        weight("gan.weight", self.weight)?;
        weight("gan.feature_weight", self.feature_weight)?;
        weight("gan.regularizer_weight", self.regularizer_weight)?;
        for (key, steps) in [
            ("gan.start", self.start),
            ("gan.head_start", self.head_start),
            ("gan.ramp", self.ramp),
        ] {
            check(key, steps, steps <= 1 << 40, "at most 2^40")?;
        }
        check(
            "gan.hidden",
            self.hidden,
            (1..=1024).contains(&self.hidden),
            "from 1 to 1024",
        )?;
        check(
            "gan.layers",
            self.layers,
            (1..=6).contains(&self.layers),
            "from 1 to 6",
        )?;
        check(
            "gan.lr",
            self.lr,
            (0.0..=10.0).contains(&self.lr),
            "from 0, the model's, to 10",
        )?;
        check(
            "gan.beta1",
            self.beta1,
            (0.0..1.0).contains(&self.beta1),
            "from 0 to below 1",
        )?;
        check(
            "gan.beta2",
            self.beta2,
            (0.0..1.0).contains(&self.beta2),
            "from 0 to below 1",
        )?;
        let every = (1..=100_000).contains(&self.regularizer_every);
        check(
            "gan.regularizer_every",
            self.regularizer_every,
            every,
            "from 1 to 100000",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_discriminator_trains_before_it_is_heard() {
        let gan = Gan {
            start: 10,
            head_start: 5,
            ramp: 4,
            ..Gan::default()
        };
        let shares: Vec<f64> = [0, 14, 15, 16, 18, 19, 1 << 50]
            .map(|step| gan.share(step))
            .to_vec();
        assert_eq!(shares, [0.0, 0.0, 0.25, 0.5, 1.0, 1.0, 1.0]);
        assert_eq!(
            Gan {
                start: 0,
                head_start: 0,
                ramp: 0,
                ..Gan::default()
            }
            .share(0),
            1.0
        );
    }
}
