//! The options of all quantizers, named as users of vector-quantize-pytorch know them.

use crate::ops::quantize::fsq::{Activation, Levels};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The most scales of `multiscale`.
pub const MOST_SCALES: usize = 16;
/// The largest side of one.
pub const MOST_SIDE: usize = 256;

/// The `[quantizer]` section of a configuration. Each quantizer reads the keys that it has a use
/// for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Name of the quantizer; `wgvq train --help` lists them.
    pub kind: String,
    /// Codes of a codebook, K. `fsq` has as many as its levels make.
    pub codebook_size: usize,
    /// Channels of a latent that arrives; 0 is as many as a code has, and 64 for `cosine`. Where
    /// the two differ, a linear map leads in and another out.
    pub dim: usize,
    /// Channels of a code, D; 0 is the quantizer's own: 64, for `cosine` 16. `fsq` has one to a
    /// level, `lfq` and `bsq` log2 K.
    pub codebook_dim: usize,
    /// Weight of the commitment loss, beta.
    pub commitment_weight: f32,
    /// Weight of the codebook loss, where the codebook learns by gradient.
    pub codebook_weight: f32,
    /// Decay of a codebook's moving averages: the share of the old value that a step keeps.
    pub decay: f32,
    /// Laplace smoothing of the averaged counts, where the codebook is a moving average.
    pub eps: f32,
    /// Place the codes among the first latents by k-means; otherwise they begin as random vectors.
    pub kmeans_init: bool,
    /// Iterations of the k-means that places the codes (`kmeans_init`).
    pub kmeans_iters: usize,
    /// A code whose averaged count falls below this number is dead, and moves to a random latent. 0
    /// revives none; -1 stands for a quarter of the mean count, which is the latents of a step over
    /// K.
    pub threshold_ema_dead_code: f32,
    /// Compare latents and codes by direction: both are scaled to length 1. `multiscale` compares
    /// them so, and takes codes at the length that they have.
    pub use_cosine_sim: bool,
    /// Pass the gradient by the rotation that takes a latent to its code, instead of straight
    /// through.
    pub rotation_trick: bool,
    /// Move each latent as far as its code lies, in a direction that noise turns a little (DiVeQ),
    /// instead of straight through: `vq` and `simvq` then learn by the reconstruction alone,
    /// without commitment and codebook losses.
    pub directional_reparam: bool,
    /// Variance of the noise that `directional_reparam` adds.
    pub directional_reparam_variance: f32,
    /// Draw codes at random by distance while training, instead of taking the nearest.
    pub stochastic_sample_codes: bool,
    /// Temperature of the draw of `stochastic_sample_codes`.
    pub sample_codebook_temp: f32,
    /// Weight of a loss that raises the entropy of the codes' average use.
    pub codebook_diversity_loss_weight: f32,
    /// Inverse temperature of the softmax over distances in the loss of
    /// `codebook_diversity_loss_weight`.
    pub codebook_diversity_temperature: f32,
    /// Weight of a loss that turns codes away from each other; the codebook must learn by
    /// gradient.
    pub orthogonal_reg_weight: f32,
    /// `fsq`: levels of each channel.
    pub levels: Vec<usize>,
    /// `fsq`: what bounds a channel before it is rounded: `tanh`, or `sigmoid`, which is
    /// 2 sigmoid(1.6 x) - 1 and uses the levels more evenly (iFSQ).
    pub activation: Activation,
    /// `lfq`, `bsq` and `ibq`: weight of the entropy loss.
    pub entropy_loss_weight: f32,
    /// `lfq`, `bsq` and `ibq`: weight, within the entropy loss, of raising the entropy of the
    /// codes' average use; lowering the entropy of each assignment has the weight 1.
    pub diversity_gamma: f32,
    /// `lfq`, `bsq` and `ibq`: inverse temperature of the softmax over codes in the entropy loss.
    pub inv_temperature: f32,
    /// `gumbel` and `ibq`: bring each channel of the latents to mean 0 and deviation 1 before codes
    /// are chosen by products with them. False is as the papers have it.
    pub normalize_latents: bool,
    /// `residual`: quantizers in the stack.
    pub num_quantizers: usize,
    /// `residual`: one codebook for all quantizers of the stack.
    pub shared_codebook: bool,
    /// `residual`: train with a random number of the stack's first quantizers in each step.
    pub quantize_dropout: bool,
    /// `product`: groups of channels, a codebook each.
    pub groups: usize,
    /// `multiscale`: sides of the square grids of codes, the coarsest first; the last is that of
    /// the latents. Empty, each is twice the one before, from 1 to that side.
    pub scales: Vec<usize>,
    /// `multiscale`: convolutions over the enlarged codes, each shared by neighbouring scales; 0
    /// is one to a scale.
    pub scale_convolutions: usize,
    /// `multiscale`: share of what the convolution makes beside the codes as they are.
    pub scale_ratio: f32,
    /// `gumbel`: temperature at the first step.
    pub temperature: f32,
    /// `gumbel`: temperature from step `temperature_steps` on.
    pub temperature_min: f32,
    /// `gumbel`: steps over which the temperature goes from `temperature` to `temperature_min`,
    /// along a cosine.
    pub temperature_steps: u64,
    /// `gumbel`: true takes the drawn code forward and the gradient of the mixture of codes
    /// backward; false takes the mixture both ways.
    pub straight_through: bool,
    /// `gumbel`: weight of the divergence of the codes' probabilities from uniform ones.
    pub kl_weight: f32,
    /// Seed of initial codes, revivals and draws. A configuration's is the run's.
    #[serde(skip)]
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            kind: "ema".into(),
            codebook_size: 512,
            dim: 0,
            codebook_dim: 0,
            commitment_weight: 0.25,
            codebook_weight: 1.0,
            decay: 0.99,
            eps: 1e-5,
            kmeans_init: true,
            kmeans_iters: 10,
            threshold_ema_dead_code: -1.0,
            use_cosine_sim: false,
            rotation_trick: false,
            directional_reparam: false,
            directional_reparam_variance: 1e-3,
            stochastic_sample_codes: false,
            sample_codebook_temp: 1.0,
            codebook_diversity_loss_weight: 0.0,
            codebook_diversity_temperature: 100.0,
            orthogonal_reg_weight: 0.0,
            levels: vec![8, 5, 5, 5],
            activation: Activation::Tanh,
            entropy_loss_weight: 0.1,
            diversity_gamma: 1.0,
            inv_temperature: 100.0,
            normalize_latents: true,
            num_quantizers: 4,
            shared_codebook: false,
            quantize_dropout: false,
            groups: 4,
            scales: Vec::new(),
            scale_convolutions: 4,
            scale_ratio: 0.5,
            temperature: 1.0,
            temperature_min: 0.0625,
            temperature_steps: 2000,
            straight_through: true,
            kl_weight: 5e-4,
            seed: 0,
        }
    }
}

impl Options {
    /// Returns the defaults of a kind.
    pub fn of(kind: &str) -> Options {
        Options {
            kind: kind.to_owned(),
            ..Options::default()
        }
    }

    /// Returns these options as those of a kind: a quantizer that is built directly goes by its
    /// own, whatever `kind` says.
    pub(super) fn as_kind(&self, kind: &str) -> Options {
        Options {
            kind: kind.to_owned(),
            ..self.clone()
        }
    }

    /// Channels of a code: what `codebook_dim` says, or the quantizer's own.
    pub fn code_channels(&self) -> usize {
        match (self.kind.as_str(), self.codebook_dim) {
            ("fsq", _) => self.levels.len(),
            ("lfq" | "bsq", _) => self.codebook_size.max(1).ilog2() as usize,
            ("cosine", 0) => 16,
            (_, 0) => 64,
            (_, d) => d,
        }
    }

    /// Channels of a latent: what `dim` says, or the quantizer's own.
    pub fn latent_channels(&self) -> usize {
        match (self.kind.as_str(), self.dim) {
            ("cosine", 0) => 64,
            (_, 0) => self.code_channels(),
            (_, d) => d,
        }
    }

    /// The averaged count below which a code is dead, where a step has this many latents; none if
    /// codes are not revived.
    ///
    /// A count that is right for one codebook is wrong for another: of 64 codes that share 2,048
    /// latents a code has 32, and takes hundreds of steps to fall below 1 after its last latent; of
    /// 8,192 codes most never reach 1. A quarter of the mean is 1 for 512.
    pub fn dead_below(&self, latents: usize) -> Option<f32> {
        match self.threshold_ema_dead_code {
            0.0 => None,
            count if count < 0.0 => Some(0.25 * latents as f32 / self.codebook_size.max(1) as f32),
            count => Some(count),
        }
    }

    /// Names the part of the entropy loss that spans all latents of a step, where it has a weight:
    /// how even the codes' average use is.
    pub(super) fn spans_by_entropy(&self) -> Option<String> {
        (self.entropy_loss_weight > 0.0 && self.diversity_gamma > 0.0).then(|| {
            "the entropy of the codes' average use (set quantizer.diversity_gamma = 0, or \
             quantizer.entropy_loss_weight = 0)"
                .into()
        })
    }

    /// The scales of a square grid of latents of this side: those that are set, or each twice the
    /// one before, from 1 to the side.
    pub fn scales_of(&self, side: usize) -> Vec<usize> {
        if !self.scales.is_empty() {
            return self.scales.clone();
        }
        let doubling = std::iter::successors(Some(1), |s| Some(2 * s));
        let mut all: Vec<usize> = doubling.take_while(|s| *s < side).collect();
        all.push(side);
        all
    }

    /// Codes of one codebook.
    pub fn codes(&self) -> usize {
        if self.kind == "fsq" {
            self.levels.iter().product()
        } else {
            self.codebook_size
        }
    }

    /// Every value that is 0 for "the quantizer's own", written out.
    pub fn resolved(&self) -> Options {
        Options {
            dim: self.latent_channels(),
            codebook_dim: self.code_channels(),
            ..self.clone()
        }
    }

    /// Checks that all values are usable.
    ///
    /// # Errors
    /// On the first that is not: its key, its value and what is allowed.
    pub fn check(&self) -> Result<()> {
        let kind = self.kind.as_str();
        let check =
            |key: &str, value: &dyn std::fmt::Display, holds: bool, allowed: &str| match holds {
                true => Ok(()),
                false => {
                    let what = format!("{value} is not allowed: it must be {allowed}");
                    Err(Error::config(format!("quantizer.{key}"), what))
                }
            };
        let number = |key: &str, value: f32, least: f32, above: bool, allowed: &str| {
            let holds = value.is_finite() && if above { value > least } else { value >= least };
            check(key, &value, holds, allowed)
        };
        let not_negative =
            |key: &str, value: f32| number(key, value, 0.0, false, "a number of at least 0");
        let positive = |key: &str, value: f32| number(key, value, 0.0, true, "above 0");
        let k = self.codebook_size;
        check(
            "codebook_size",
            &k,
            (1..=1 << 24).contains(&k),
            "from 1 to 16777216 (2^24)",
        )?;
        check(
            "codebook_dim",
            &self.codebook_dim,
            self.codebook_dim <= 4096,
            "at most 4096",
        )?;
        check("dim", &self.dim, self.dim <= 4096, "at most 4096")?;
        not_negative("commitment_weight", self.commitment_weight)?;
        not_negative("codebook_weight", self.codebook_weight)?;
        check(
            "decay",
            &self.decay,
            (0.0..1.0).contains(&self.decay),
            "from 0 to below 1",
        )?;
        positive("eps", self.eps)?;
        check(
            "kmeans_iters",
            &self.kmeans_iters,
            self.kmeans_iters <= 1000,
            "at most 1000",
        )?;
        let dead = self.threshold_ema_dead_code;
        let allowed = "a count of at least 0, or -1 for a quarter of the mean";
        check(
            "threshold_ema_dead_code",
            &dead,
            dead.is_finite() && (dead >= 0.0 || dead == -1.0),
            allowed,
        )?;
        positive("sample_codebook_temp", self.sample_codebook_temp)?;
        not_negative(
            "codebook_diversity_loss_weight",
            self.codebook_diversity_loss_weight,
        )?;
        positive(
            "codebook_diversity_temperature",
            self.codebook_diversity_temperature,
        )?;
        not_negative("orthogonal_reg_weight", self.orthogonal_reg_weight)?;
        not_negative("entropy_loss_weight", self.entropy_loss_weight)?;
        not_negative("diversity_gamma", self.diversity_gamma)?;
        positive("inv_temperature", self.inv_temperature)?;
        positive("temperature", self.temperature)?;
        positive("temperature_min", self.temperature_min)?;
        not_negative("kl_weight", self.kl_weight)?;
        not_negative(
            "directional_reparam_variance",
            self.directional_reparam_variance,
        )?;
        let learns = matches!(kind, "vq" | "simvq");
        let moved = self.directional_reparam;
        let what = "false unless the codebook learns by gradient, as those of `vq` and `simvq` do";
        check("directional_reparam", &moved, !moved || learns, what)?;
        let what = "false with quantizer.rotation_trick: a gradient passes in one way";
        let one = !(moved && self.rotation_trick);
        check("directional_reparam", &moved, one, what)?;
        let what = "0 unless the codebook learns by gradient, as those of `vq` and `simvq` do";
        check(
            "orthogonal_reg_weight",
            &self.orthogonal_reg_weight,
            self.orthogonal_reg_weight == 0.0 || learns,
            what,
        )?;
        match kind {
            "fsq" => {
                let levels = format!("{:?}", self.levels);
                check(
                    "levels",
                    &levels,
                    self.levels.len() <= 64,
                    "at most 64 channels",
                )?;
                Levels::size(&self.levels)
                    .map_err(|e| Error::config("quantizer.levels", e))
                    .map(drop)
            }
            "lfq" | "bsq" => {
                let power = k.is_power_of_two() && k >= 2;
                check(
                    "codebook_size",
                    &k,
                    power,
                    "a power of two for `lfq` and `bsq`, whose codes are signs",
                )
            }
            "residual" => {
                let n = self.num_quantizers;
                check("num_quantizers", &n, (1..=64).contains(&n), "from 1 to 64")
            }
            "multiscale" => {
                let rising = self.scales.windows(2).all(|pair| pair[0] < pair[1]);
                let sides = rising
                    && self.scales.len() <= MOST_SCALES
                    && self.scales.iter().all(|s| (1..=MOST_SIDE).contains(s));
                let what = format!(
                    "a list of at most {MOST_SCALES} rising sides, as in 1,2,4,8, or [] for each \
                     twice the one before"
                );
                check("scales", &format!("{:?}", self.scales), sides, &what)?;
                let (n, most) = (self.scale_convolutions, MOST_SCALES);
                let what = format!("at most {most}, or 0 for one to a scale");
                check("scale_convolutions", &n, n <= most, &what)?;
                let ratio = self.scale_ratio;
                check(
                    "scale_ratio",
                    &ratio,
                    (0.0..=1.0).contains(&ratio),
                    "from 0 to 1",
                )
            }
            "product" => {
                let (g, d) = (self.groups, self.code_channels());
                let allowed = format!("a number that divides quantizer.codebook_dim, {d}");
                check("groups", &g, g > 0 && d.is_multiple_of(g), &allowed)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Options;

    #[test]
    fn a_code_is_dead_below_a_quarter_of_the_mean_count_unless_told_otherwise() {
        let of = |k: usize, threshold: f32| Options {
            codebook_size: k,
            threshold_ema_dead_code: threshold,
            ..Options::default()
        };
        let own = Options::default().threshold_ema_dead_code;
        let least = [64, 512, 8192].map(|k| of(k, own).dead_below(2048).unwrap());
        assert_eq!(least, [8.0, 1.0, 0.0625]);
        assert_eq!(of(64, 2.0).dead_below(2048), Some(2.0));
        assert_eq!(of(64, 0.0).dead_below(2048), None);
        let allowed = [own, 0.0, 3.5].map(|threshold| of(64, threshold).check().is_ok());
        assert_eq!(allowed, [true; 3]);
        for wrong in [-0.5, f32::NAN, f32::INFINITY] {
            let told = of(64, wrong).check().unwrap_err().to_string();
            assert!(
                told.contains("quantizer.threshold_ema_dead_code") && told.contains("-1"),
                "{told}"
            );
        }
    }
}
