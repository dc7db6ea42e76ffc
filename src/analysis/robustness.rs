//! Robustness of codes to changes of the pixels: the share that stays the same under noise and
//! under a gradient-sign perturbation (FGSM; Goodfellow et al. 2014, "Explaining and harnessing
//! adversarial examples", section 4), beside the drift of the latents.

use crate::analysis::probe::BATCH;
use crate::autograd::Tape;
use crate::gpu::{DType, Tensor};
use crate::inference::FirstStageModel;
use crate::nn::ForwardContext;
use crate::ops::loss::loss::Loss;
use crate::ops::sampling::random::{Key, philox};
use crate::quantize::{Mode, Term};
use crate::{Error, Result};
use std::cmp::Ordering;

const NOISE: u32 = 0x4e4f_4953;

/// A perturbation of pixels. Strengths are in grey levels of 255; values beyond black or white are
/// cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Perturbation {
    /// Gaussian noise of this standard deviation, each image's the same at every strength.
    Noise,
    /// Each value of each pixel by this much, up or down by the sign of the gradient of a loss: see
    /// [`Attack`].
    GradientSign,
}

/// The loss that the gradient-sign perturbation raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// The quantizer's commitment loss, as a training step has it: latents are driven away from
    /// their codes.
    Commitment,
    /// The reconstruction's squared error, which passes the quantizer as in training: for
    /// quantizers without commitment.
    Reconstruction,
}

/// Robustness of a level's codes, for each perturbation and strength.
#[derive(Clone, Debug)]
pub struct Robustness {
    /// All strengths of one perturbation, 0 first, then those of the next.
    pub outcomes: Vec<Outcome>,
    /// Images that were changed.
    pub images: usize,
    /// The loss whose gradient was taken.
    pub attack: Attack,
}

impl Perturbation {
    /// Both.
    pub const ALL: [Perturbation; 2] = [Perturbation::Noise, Perturbation::GradientSign];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Perturbation::Noise => "noise",
            Perturbation::GradientSign => "gradient_sign",
        }
    }

    /// The strengths that are tried, 0 first.
    pub fn strengths(self) -> &'static [f64] {
        match self {
            Perturbation::Noise => &[0.0, 1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 24.0, 32.0],
            Perturbation::GradientSign => &[0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0],
        }
    }
}

/// Result of one perturbation at one strength.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The perturbation.
    pub by: Perturbation,
    /// Its strength, in grey levels of 255.
    pub strength: f64,
    /// The share of codes that stayed, over all codebooks.
    pub surviving: f64,
    /// Surviving share by codebook.
    pub by_book: Vec<f64>,
    /// |z' - z| / |z| of the encoder's latents, over all of them at once.
    pub latents: f64,
    /// Relative drift of the quantized latents.
    pub quantized: f64,
}

/// Sums over images.
#[derive(Clone, Default)]
struct Sums {
    same: Vec<u64>,
    each: u64,
    /// Squared lengths: of a change, and of what was changed.
    latents: [f64; 2],
    quantized: [f64; 2],
}

fn add_lengths(sums: &mut [f64; 2], clean: &[f32], changed: &[f32]) {
    for (a, b) in clean.iter().zip(changed) {
        sums[0] += (f64::from(*b) - f64::from(*a)).powi(2);
        sums[1] += f64::from(*a).powi(2);
    }
}

fn ratio([change, whole]: [f64; 2]) -> f64 {
    if change == 0.0 {
        0.0
    } else {
        (change / whole).sqrt()
    }
}

/// Images as they are quantized.
struct Encoded {
    latents: Vec<f32>,
    quantized: Vec<f32>,
    codes: Vec<u32>,
}

impl FirstStageModel {
    fn encoded(&self, level: usize, x: &Tensor) -> Result<Encoded> {
        let tape = Tape::no_grad(&self.gpu);
        let pass = ForwardContext::new(&tape, &self.params);
        let coded = self
            .stage
            .encode(&pass, &tape.constant(x), Mode::Eval)?
            .swap_remove(level);
        let q = coded.quantized;
        Ok(Encoded {
            latents: coded.rows.tensor().read()?,
            quantized: q.z_q.tensor().read()?,
            codes: q.indices.read()?,
        })
    }

    /// Returns the loss of which the gradient is taken.
    fn attack(&self, level: usize) -> Result<Attack> {
        let (weight, quantizer) = (
            self.config.quantizer.commitment_weight,
            self.quantizer_of(level),
        );
        let tape = Tape::no_grad(&self.gpu);
        let pass = ForwardContext::new(&tape, &self.params);
        let side = quantizer.scales().last().copied().unwrap_or(1);
        let z = Tensor::zeros(&self.gpu, &[side * side, quantizer.dim()], DType::F32)?;
        let q = quantizer.quantize(&pass, &tape.constant(&z), Mode::Train { step: 0 })?;
        let has = weight > 0.0 && q.loss(&tape, Term::Commitment)?.is_some();
        Ok(if has {
            Attack::Commitment
        } else {
            Attack::Reconstruction
        })
    }

    /// The signs of the gradient of what is attacked with respect to the images, as -1, 0 and 1.
    fn gradient_signs(&self, level: usize, x: &Tensor, attack: Attack) -> Result<Vec<f32>> {
        let tape = Tape::new(&self.gpu);
        let pass = ForwardContext::new(&tape, &self.params);
        let leaf = tape.leaf(x);
        let loss = match attack {
            Attack::Commitment => {
                let q = self
                    .stage
                    .encode(&pass, &leaf, Mode::Train { step: 0 })?
                    .swap_remove(level)
                    .quantized;
                let loss = q.loss(&tape, Term::Commitment)?;
                loss.ok_or_else(|| {
                    Error::invalid("inspect", "the quantizer lost its commitment loss")
                })?
            }
            Attack::Reconstruction => {
                let (_, y) = self.stage.reconstruct(&pass, &leaf, Mode::Eval)?;
                // The image is also what the reconstruction is held against; that side stays as
                // it is.
                tape.loss(Loss::Mse, &y, &tape.constant(x))?
            }
        };
        let gradient = tape.backward(&loss)?.take(&leaf);
        let gradient =
            gradient.ok_or_else(|| Error::invalid("inspect", "no gradient reaches the pixels"))?;
        let sign = |g: &f32| match g.partial_cmp(&0.0) {
            Some(Ordering::Greater) => 1.0,
            Some(Ordering::Less) => -1.0,
            _ => 0.0,
        };
        Ok(gradient.read::<f32>()?.iter().map(sign).collect())
    }

    /// Changes `images`, u8 NHWC, by growing strengths and says what became of their codes at a
    /// level.
    ///
    /// # Errors
    /// If the bytes are not whole images, there are none, or the device fails.
    pub fn robustness(&self, level: usize, images: &[u8], seed: u64) -> Result<Robustness> {
        let Some(of) = self.levels.get(level) else {
            return Err(Error::invalid(
                "inspect",
                format!("the model has no level {level}"),
            ));
        };
        let ([w, h, c], books) = (self.image, of.codebooks);
        if images.is_empty() {
            return Err(Error::invalid("inspect", "there is no image to change"));
        }
        let attack = self.attack(level)?;
        let plan: Vec<(Perturbation, f64)> = Perturbation::ALL
            .iter()
            .flat_map(|by| by.strengths().iter().map(|s| (*by, *s)))
            .collect();
        let mut sums = vec![
            Sums {
                same: vec![0; books],
                ..Default::default()
            };
            plan.len()
        ];
        for (batch, part) in images.chunks(self.batch(BATCH) * w * h * c).enumerate() {
            let x = self.pictures(part)?;
            let (values, clean) = (x.read::<f32>()?, self.encoded(level, &x)?);
            let noise = philox::normal(
                Key {
                    seed,
                    step: batch as u64,
                    stream: NOISE,
                },
                values.len(),
            );
            let signs = self.gradient_signs(level, &x, attack)?;
            for ((by, strength), sums) in plan.iter().zip(&mut sums) {
                let direction = if *by == Perturbation::Noise {
                    &noise
                } else {
                    &signs
                };
                // Pixels lie in [-1, 1]: 255 levels are 2.
                let step = (strength * 2.0 / 255.0) as f32;
                let moved = values
                    .iter()
                    .zip(direction)
                    .map(|(x, d)| (x + step * d).clamp(-1.0, 1.0))
                    .collect::<Vec<_>>();
                let encoded =
                    self.encoded(level, &Tensor::from_slice(&self.gpu, x.shape(), &moved)?)?;
                for (i, (a, b)) in clean.codes.iter().zip(&encoded.codes).enumerate() {
                    sums.same[i % books] += u64::from(a == b);
                }
                sums.each += (clean.codes.len() / books) as u64;
                add_lengths(&mut sums.latents, &clean.latents, &encoded.latents);
                add_lengths(&mut sums.quantized, &clean.quantized, &encoded.quantized);
            }
        }
        let outcome = |((by, strength), s): (&(Perturbation, f64), &Sums)| Outcome {
            by: *by,
            strength: *strength,
            surviving: s.same.iter().sum::<u64>() as f64 / (s.each * books as u64) as f64,
            by_book: s.same.iter().map(|n| *n as f64 / s.each as f64).collect(),
            latents: ratio(s.latents),
            quantized: ratio(s.quantized),
        };
        let outcomes = plan.iter().zip(&sums).map(outcome).collect();
        Ok(Robustness {
            outcomes,
            images: images.len() / (w * h * c),
            attack,
        })
    }
}
