//! `[model]`: the first stage's architecture.

use super::Data;
use crate::Result;
use crate::config::check;
use crate::config::words::word_keys;
use crate::models::first_stage::vqvae2::MOST_LEVELS;
use crate::models::first_stage::{vit, vqgan};
use crate::quantize::Options;
use serde::{Deserialize, Serialize};

/// The architecture of a first stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(
    feature = "cli",
    derive(clap::ValueEnum),
    value(rename_all = "lowercase")
)]
pub enum ModelKind {
    /// Convolutions, and codes on one grid.
    #[default]
    VqVae,
    /// Codes on several grids.
    VqVae2,
    /// VQ-GAN, trained against a discriminator.
    VqGan,
    /// ViT-VQGAN: transformers, trained against a discriminator.
    Vit,
}

word_keys!(ModelKind);

impl ModelKind {
    /// Whether it is trained against a discriminator, unless its configuration says otherwise.
    pub fn is_adversarial(self) -> bool {
        matches!(self, ModelKind::VqGan | ModelKind::Vit)
    }
}

/// `[model]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Model {
    /// Architecture: `vqvae`; `vqvae2`, codes on several grids; `vqgan` or `vit`, trained against a
    /// discriminator.
    pub kind: ModelKind,
    /// `vqvae2`: levels of codes, each above with half the rows and columns of the one below; 0 is
    /// the architecture's own, 2.
    pub levels: usize,
    /// `vqvae2`: codes of each level's codebook, the top level's first; empty, all have
    /// `quantizer.codebook_size`.
    pub codebook_sizes: Vec<usize>,
    /// `vqvae2`: share of the training steps that decode from some of the coarse levels alone, so
    /// that these hold what they can. At 0 the finest level may learn to hold everything.
    pub level_dropout: f32,
    /// `vqvae2`: steps in which levels may be dropped; 0: all. Where they are the first part of a
    /// run, the rest of it makes up for what dropping costs.
    pub level_dropout_steps: u64,
    /// Channels of the hidden layers; even. `vqgan`: those at full resolution, a multiple of 32.
    /// `vit`: those inside the blocks' MLPs; four times `dim` is usual.
    pub hidden: usize,
    /// Residual blocks on either side of the quantizer. `vqgan`: at each resolution, and one more
    /// in the decoder.
    pub residual_layers: usize,
    /// Channels inside a residual block of `vqvae` and `vqvae2`.
    pub residual_hidden: usize,
    /// Pixels of the image per latent in each direction; a power of two. With several levels, those
    /// of the finest.
    pub downsample: usize,
    /// `vqgan`: factors of `hidden` at each resolution, the finest first; empty, what is usual for
    /// the downsampling, such as [1, 2, 4] for 4. Where it is given, it decides the downsampling.
    pub multipliers: Vec<usize>,
    /// `vqgan`: downsamplings (1, 2, 4, ..) at which attention follows each block.
    pub attention: Vec<usize>,
    /// `vqgan`: whether attention acts once in the middle, at the coarsest.
    pub mid_attention: bool,
    /// `vqgan`: channels between encoder and quantizer; 0: those of a latent.
    pub latent_channels: usize,
    /// `vqgan`: whether the quantized latents scale and shift the decoder's norms at each place, as
    /// MoVQ's do.
    pub spatial_norms: bool,
    /// `vqgan`: side of the convolutions on either side of the quantizer, 1 or 3.
    pub latent_kernel: usize,
    /// `vqgan`: whether the encoder is given pixels in [0, 1], as MaskGIT's, and not in [-1, 1].
    pub unit_pixels: bool,
    /// `vqgan`: residual blocks over the latents on either side of the quantizer, with the layers
    /// that Emu3 has beside them; 0: none.
    pub latent_blocks: usize,
    /// `vit`: transformer blocks of the encoder, and of the decoder.
    pub layers: usize,
    /// `vit`: channels of a token.
    pub dim: usize,
    /// `vit`: attention heads; they divide `dim`.
    pub heads: usize,
}

/// Returns the factors of `hidden` at each resolution, as taming-transformers' and latent
/// diffusion's models have them.
fn usual_multipliers(downsample: usize) -> Vec<usize> {
    match downsample {
        2 => vec![1, 2],
        4 => vec![1, 2, 4],
        8 => vec![1, 2, 2, 4],
        16 => vec![1, 1, 2, 2, 4],
        32 => vec![1, 1, 2, 2, 4, 4],
        _ => vec![1, 1, 2, 2, 4, 4, 4],
    }
}

impl Model {
    /// Returns the section with the levels written out.
    pub fn resolved(&self) -> Model {
        let own = if self.kind == ModelKind::VqVae2 { 2 } else { 1 };
        let mut all = Model {
            levels: if self.levels == 0 { own } else { self.levels },
            ..self.clone()
        };
        if all.kind == ModelKind::VqGan {
            match all.multipliers.len() {
                0 => all.multipliers = usual_multipliers(all.downsample),
                n => all.downsample = 1 << (n - 1).min(16),
            }
        }
        all
    }

    /// Returns the shape of a `vit` for images of so many channels, rows and columns, whose latents
    /// have `codebook_dim`.
    pub(crate) fn vit_shape(
        &self,
        [height, width, channels]: [usize; 3],
        codebook_dim: usize,
    ) -> vit::Config {
        let Model {
            downsample,
            layers,
            dim,
            heads,
            hidden,
            ..
        } = *self;
        let grid = [height / downsample.max(1), width / downsample.max(1)];
        vit::Config {
            channels,
            grid,
            downsample,
            layers,
            dim,
            heads,
            hidden,
            codebook_dim,
        }
    }

    /// Returns the shape of a `vqgan` for images of so many channels, whose latents have
    /// `codebook_dim`.
    pub(crate) fn gan_shape(&self, channels: usize, codebook_dim: usize) -> vqgan::Config {
        let all = self.resolved();
        vqgan::Config {
            channels,
            hidden: all.hidden,
            multipliers: all.multipliers,
            residual_layers: all.residual_layers,
            attention: all.attention,
            mid_attention: all.mid_attention,
            latent_channels: if all.latent_channels == 0 {
                codebook_dim
            } else {
                all.latent_channels
            },
            codebook_dim,
            spatial_norms: all.spatial_norms,
            latent_kernel: all.latent_kernel,
            unit_pixels: all.unit_pixels,
            latent_blocks: all.latent_blocks,
        }
    }

    /// Image pixels per latent of the coarsest level: what an image's sides must be multiples of.
    pub fn coarsest(&self) -> usize {
        let all = self.resolved();
        all.downsample << (all.levels - 1).min(16)
    }

    pub(super) fn validate(&self) -> Result<()> {
        let m = self;
        let levels = m.resolved().levels;
        match m.kind {
            ModelKind::VqVae2 => {
                let allowed = format!("from 2 to {MOST_LEVELS}; `model.kind = \"vqvae\"` has one");
                let several = (2..=MOST_LEVELS).contains(&levels);
                check("model.levels", levels, several, &allowed)?;
            }
            _ => {
                let allowed = "1: `model.kind = \"vqvae2\"` has more";
                check("model.levels", levels, levels == 1, allowed)?;
            }
        }
        let share = (0.0..1.0).contains(&m.level_dropout);
        check(
            "model.level_dropout",
            m.level_dropout,
            share,
            "from 0 to below 1",
        )?;
        let sizes = m.codebook_sizes.len();
        let what = format!("empty, or of one size for each of {levels} levels");
        check(
            "model.codebook_sizes",
            format!("a list of {sizes}"),
            sizes == 0 || sizes == levels,
            &what,
        )?;
        check(
            "model.hidden",
            m.hidden,
            m.hidden.is_multiple_of(2) && (2..=4096).contains(&m.hidden),
            "even, from 2 to 4096",
        )?;
        check(
            "model.residual_layers",
            m.residual_layers,
            m.residual_layers <= 64,
            "at most 64",
        )?;
        check(
            "model.residual_hidden",
            m.residual_hidden,
            (1..=4096).contains(&m.residual_hidden),
            "from 1 to 4096",
        )?;
        check(
            "model.latent_channels",
            m.latent_channels,
            m.latent_channels <= 4096,
            "at most 4096",
        )?;
        let power = m.downsample.is_power_of_two() && (2..=64).contains(&m.downsample);
        check(
            "model.downsample",
            m.downsample,
            power,
            "a power of two from 2 to 64",
        )
    }

    /// Checks that the quantizer can have codebooks of the levels' sizes.
    pub(super) fn validate_codebooks(&self, q: &Options) -> Result<()> {
        let m = self;
        let sized = |k: &usize| {
            q.kind != "fsq"
                && Options {
                    codebook_size: *k,
                    ..q.clone()
                }
                .check()
                .is_ok()
        };
        let list = format!("{:?}", m.codebook_sizes);
        let what = format!(
            "what quantizer.codebook_size may be with the quantizer `{}`",
            q.kind
        );
        check(
            "model.codebook_sizes",
            list,
            m.codebook_sizes.iter().all(sized),
            &what,
        )
    }

    /// Checks that its values make a model.
    pub(super) fn validate_shape(&self, d: &Data) -> Result<()> {
        match self.kind {
            ModelKind::VqVae | ModelKind::VqVae2 => Ok(()),
            // The quantizer says how many channels its latents have; any number will do to check
            // the rest.
            ModelKind::VqGan => self.gan_shape(3, self.latent_channels.max(1)).check(),
            ModelKind::Vit => {
                // So is the images' size, where it is the data's own.
                let own = self.downsample;
                let side = |pixels: usize| if pixels == 0 { own } else { pixels };
                self.vit_shape([side(d.height), side(d.width), 3], 4)
                    .check()
            }
        }
    }

    /// Checks that its latents cover the images.
    pub(super) fn validate_images(&self, d: &Data) -> Result<()> {
        let levels = self.resolved().levels;
        // A size of 0 is the data's own, and is checked once that is known.
        let coarsest = self.coarsest();
        let whole = |pixels: usize| pixels.is_multiple_of(coarsest);
        let multiple = match levels {
            1 => format!("a multiple of model.downsample, {coarsest}"),
            _ => format!(
                "a multiple of {coarsest}, the pixels of a latent of the coarsest of {levels} \
                 levels"
            ),
        };
        check("data.width", d.width, whole(d.width), &multiple)?;
        check("data.height", d.height, whole(d.height), &multiple)
    }
}

impl Default for Model {
    fn default() -> Self {
        Model {
            kind: ModelKind::VqVae,
            levels: 0,
            codebook_sizes: Vec::new(),
            level_dropout: 0.0,
            level_dropout_steps: 0,
            hidden: 128,
            residual_layers: 2,
            residual_hidden: 32,
            downsample: 4,
            multipliers: Vec::new(),
            attention: Vec::new(),
            mid_attention: true,
            latent_channels: 0,
            spatial_norms: false,
            latent_kernel: 1,
            unit_pixels: false,
            latent_blocks: 0,
            layers: 8,
            dim: 256,
            heads: 4,
        }
    }
}
