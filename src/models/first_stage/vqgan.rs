//! The first stage of VQ-GAN (Esser et al. 2021), layer by layer and name by name that of
//! taming-transformers (`VQModel`): group norms, SiLU, residual blocks of two 3 x 3 convolutions,
//! attention at coarse resolutions, nearest upsampling; with MoVQ's spatial norms in the decoder
//! (Zheng et al. 2022, "MoVQ: modulating quantized vectors for high-fidelity image generation")
//! where the configuration asks for them.
//!
//! A published checkpoint loads by its own names, but for `quantize.embedding.weight`, which is the
//! quantizer's codebook.

mod blocks;
mod latents;

use crate::autograd::Var;
use crate::gpu::DType;
use crate::models::{Autoencoder, Quantize, ReceptiveField, check_divisible, only_level};
use crate::nn::{Builder, Conv2d, ForwardContext, Handle};
use crate::ops::conv::Conv;
use crate::{Error, Result};
use blocks::{GROUPS, Middle, Norm, Stage, StageShape, conv};
use latents::{DecoderLatents, EncoderLatents};

/// The shape of a VQ-GAN's first stage. In taming-transformers' words: `in_channels`, `ch`,
/// `ch_mult`, `num_res_blocks`, `z_channels` and `embed_dim`; its `attn_resolutions` are here
/// downsamplings, so that they do not depend on the images' size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Channels of the images: 1 or 3.
    pub channels: usize,
    /// Channels at full resolution; a multiple of 32, the groups of a norm.
    pub hidden: usize,
    /// Factors of the channels at each resolution, the finest first; each resolution after the
    /// first has half the rows and columns of the one before.
    pub multipliers: Vec<usize>,
    /// Residual blocks at each resolution of the encoder; the decoder has one more.
    pub residual_layers: usize,
    /// Downsamplings (1, 2, 4, ..) at which attention follows each block.
    pub attention: Vec<usize>,
    /// Whether attention acts once in the middle, at the coarsest.
    pub mid_attention: bool,
    /// Channels between encoder and quantizer.
    pub latent_channels: usize,
    /// Channels of a latent.
    pub codebook_dim: usize,
    /// Whether the quantized latents scale and shift the decoder's norms (MoVQ).
    pub spatial_norms: bool,
    /// Side of the convolutions on either side of the quantizer: 1 or 3.
    pub latent_kernel: usize,
    /// Whether the encoder is given pixels in [0, 1] in the place of those in [-1, 1].
    pub unit_pixels: bool,
    /// Residual blocks over the latents, behind the encoder and before the decoder, with what else
    /// Emu3 has there; 0: none of it.
    pub latent_blocks: usize,
}

impl Config {
    /// Checks that a model can be built.
    ///
    /// # Errors
    /// Names the key, and what it may be.
    pub fn check(&self) -> Result<()> {
        let fail = |key: &str, what: String| Err(Error::config(format!("model.{key}"), what));
        if self.hidden == 0 || !self.hidden.is_multiple_of(GROUPS) {
            return fail(
                "hidden",
                format!(
                    "{} is not allowed: it must be a multiple of {GROUPS}",
                    self.hidden
                ),
            );
        }
        let levels = self.multipliers.len();
        if !(2..=7).contains(&levels) || self.multipliers.iter().any(|m| !(1..=64).contains(m)) {
            let what = format!(
                "{:?} is not allowed: 2 to 7 numbers from 1 to 64, one to a resolution",
                self.multipliers
            );
            return fail("multipliers", what);
        }
        if !(1..=16).contains(&self.residual_layers) {
            return fail(
                "residual_layers",
                format!(
                    "{} is not allowed: it must be from 1 to 16",
                    self.residual_layers
                ),
            );
        }
        if let Some(at) = self
            .attention
            .iter()
            .find(|at| !at.is_power_of_two() || **at > 1 << (levels - 1))
        {
            let what = format!(
                "{at} is not allowed: the resolutions are 1, 2, 4, .. to {} times coarser",
                1 << (levels - 1)
            );
            return fail("attention", what);
        }
        if ![1, 3].contains(&self.latent_kernel) {
            let what = format!("{} is not allowed: it must be 1 or 3", self.latent_kernel);
            return fail("latent_kernel", what);
        }
        if self.latent_blocks > 16 {
            let what = format!("{} is not allowed: at most 16", self.latent_blocks);
            return fail("latent_blocks", what);
        }
        // The layers before the decoder are passed by what the codes stand for, too.
        if self.latent_blocks > 0 && self.latent_channels != self.codebook_dim {
            let what = format!(
                "{} is not allowed: with model.latent_blocks it must be quantizer.codebook_dim, {}",
                self.latent_channels, self.codebook_dim
            );
            return fail("latent_channels", what);
        }
        if self.channels == 0 || self.latent_channels == 0 || self.codebook_dim == 0 {
            return fail(
                "latent_channels",
                "and the channels of images and codes must be at least 1".into(),
            );
        }
        Ok(())
    }

    fn width(&self, level: usize) -> usize {
        self.hidden * self.multipliers[level]
    }

    fn last(&self) -> usize {
        self.multipliers.len() - 1
    }
}

/// Encoder and decoder. The quantizer between them is the caller's.
#[derive(Debug)]
pub struct VqGan {
    config: Config,
    factor: usize,
    conv_in: Conv2d,
    /// The finest first.
    down: Vec<Stage>,
    encoder_middle: Middle,
    encoder_norm: Norm,
    encoder_out: Conv2d,
    encoder_latents: Option<EncoderLatents>,
    quant_conv: Conv2d,
    post_quant_conv: Conv2d,
    decoder_latents: Option<DecoderLatents>,
    decoder_in: Conv2d,
    decoder_middle: Middle,
    /// The finest first, though they are passed from the coarsest on.
    up: Vec<Stage>,
    decoder_norm: Norm,
    decoder_out: Conv2d,
}

impl VqGan {
    /// Declares the model's parameters.
    ///
    /// # Errors
    /// If the configuration makes no model; the error names the key.
    pub fn new(b: &mut Builder, config: &Config) -> Result<VqGan> {
        config.check()?;
        let (c, last) = (config, config.last());
        let shape = |level: usize, blocks: usize, from: usize, spatial: Option<usize>| StageShape {
            blocks,
            channels: [from, c.width(level)],
            attends: c.attention.contains(&(1 << level)),
            spatial,
        };
        let conv_in = conv(b, "encoder.conv_in", c.channels, c.hidden, 3);
        let mut down = Vec::new();
        for level in 0..=last {
            let from = if level == 0 {
                c.hidden
            } else {
                c.width(level - 1)
            };
            let halve = Conv {
                stride: 2,
                pad: 0,
                relu: false,
                after: 1,
            };
            let (name, width) = (format!("encoder.down.{level}"), c.width(level));
            let next = |b: &mut Builder| {
                let name = format!("{name}.downsample.conv");
                (level < last).then(|| Conv2d::new(b, &name, width, width, 3, halve, true))
            };
            let shape = shape(level, c.residual_layers, from, None);
            down.push(Stage::new(b, &name, &shape, next));
        }
        let coarsest = c.width(last);
        let spatial = c.spatial_norms.then_some(c.codebook_dim);
        let encoder_middle = Middle::new(b, "encoder.mid", coarsest, c.mid_attention, None);
        let encoder_norm = Norm::new(b, "encoder.norm_out", coarsest, None);
        let encoder_out = conv(b, "encoder.conv_out", coarsest, c.latent_channels, 3);
        let (blocks, width) = (c.latent_blocks, c.latent_channels);
        let encoder_latents =
            (blocks > 0).then(|| EncoderLatents::new(b, "encoder.latents", width, blocks));
        let [outside, inside] = [c.latent_channels, c.codebook_dim];
        let quant_conv = conv(b, "quant_conv", outside, inside, c.latent_kernel);
        let post_quant_conv = conv(b, "post_quant_conv", inside, outside, c.latent_kernel);
        let decoder_latents =
            (blocks > 0).then(|| DecoderLatents::new(b, "decoder.latents", width, blocks));
        let decoder_in = conv(b, "decoder.conv_in", c.latent_channels, coarsest, 3);
        let decoder_middle = Middle::new(b, "decoder.mid", coarsest, c.mid_attention, spatial);
        let mut up = Vec::new();
        for level in 0..=last {
            let from = if level == last {
                coarsest
            } else {
                c.width(level + 1)
            };
            let (name, width) = (format!("decoder.up.{level}"), c.width(level));
            let next = |b: &mut Builder| {
                let name = format!("{name}.upsample.conv");
                (level > 0).then(|| conv(b, &name, width, width, 3))
            };
            let shape = shape(level, c.residual_layers + 1, from, spatial);
            up.push(Stage::new(b, &name, &shape, next));
        }
        let finest = c.width(0);
        Ok(VqGan {
            config: config.clone(),
            factor: 1 << last,
            conv_in,
            down,
            encoder_middle,
            encoder_norm,
            encoder_out,
            encoder_latents,
            quant_conv,
            post_quant_conv,
            decoder_latents,
            decoder_in,
            decoder_middle,
            up,
            decoder_norm: Norm::new(b, "decoder.norm_out", finest, spatial),
            decoder_out: conv(b, "decoder.conv_out", finest, c.channels, 3),
        })
    }

    /// The shape it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Images [B, H, W, C] in [-1, 1] to latents [B, H / f, W / f, D], f32, with f = 2 to the power
    /// of the resolutions but one.
    ///
    /// # Errors
    /// If H or W is not divisible by f.
    pub fn latents(&self, pass: &ForwardContext, images: &Var) -> Result<Var> {
        check_divisible(images, self.factor)?;
        let mut x = if self.config.unit_pixels {
            let pixels = pass.tape.scale(images, 0.5, 0.5)?;
            self.conv_in.forward_f32(pass, &pixels)?
        } else {
            self.conv_in.forward_f32(pass, images)?
        };
        for stage in &self.down {
            x = stage.blocks(pass, x, None)?;
            if let Some(halve) = &stage.next {
                x = halve.forward_f32(pass, &x)?;
            }
        }
        x = self.encoder_middle.forward(pass, x, None)?;
        let h = self.encoder_norm.activated(pass, &x, None)?;
        x = self.encoder_out.forward_f32(pass, &h)?;
        if let Some(layers) = &self.encoder_latents {
            x = layers.forward(pass, &x)?;
        }
        self.quant_conv.forward_f32(pass, &x)
    }

    /// Quantized latents [B, h, w, D] to images [B, h f, w f, C], around [-1, 1], f32.
    ///
    /// # Errors
    /// If the latents have other channels.
    pub fn images(&self, pass: &ForwardContext, latents: &Var) -> Result<Var> {
        let latents = pass.tape.cast(latents, DType::F32)?;
        let mut x = self.post_quant_conv.forward_f32(pass, &latents)?;
        // What spatial norms read grows with what they norm.
        let mut beside = self.config.spatial_norms.then_some(latents);
        if let Some(layers) = &self.decoder_latents {
            x = layers.forward(pass, &x)?;
            let passed = beside.map(|latents| layers.forward(pass, &latents));
            beside = passed.transpose()?;
        }
        x = self.decoder_in.forward_f32(pass, &x)?;
        x = self.decoder_middle.forward(pass, x, beside.as_ref())?;
        for stage in self.up.iter().rev() {
            x = stage.blocks(pass, x, beside.as_ref())?;
            if let Some(conv) = &stage.next {
                x = conv.forward_f32(pass, &pass.tape.upsample(&x)?)?;
                let larger = beside.map(|latents| pass.tape.upsample(&latents));
                beside = larger.transpose()?;
            }
        }
        let h = self.decoder_norm.activated(pass, &x, beside.as_ref())?;
        self.decoder_out.forward_f32(pass, &h)
    }
}

impl Autoencoder for VqGan {
    fn factors(&self) -> &[usize] {
        std::slice::from_ref(&self.factor)
    }

    fn encode(
        &self,
        pass: &ForwardContext,
        images: &Var,
        quantize: &mut Quantize,
    ) -> Result<Vec<Var>> {
        let z_e = self.latents(pass, images)?;
        Ok(vec![quantize(0, &z_e)?])
    }

    fn decode(&self, pass: &ForwardContext, latents: &[Var]) -> Result<Var> {
        self.images(pass, only_level(latents)?)
    }
    fn widest(&self) -> usize {
        // What is upsampled still has the channels of the resolution below.
        let at = |i: usize| {
            self.config
                .width((i + 1).min(self.config.last()))
                .max(self.config.width(i))
                .div_ceil(1 << (2 * i))
        };
        (0..=self.config.last()).map(at).max().unwrap_or(1)
    }
    fn last_weight(&self) -> Handle {
        self.decoder_out.weight()
    }
    fn receptive_field(&self) -> Option<ReceptiveField> {
        None
    }
}
