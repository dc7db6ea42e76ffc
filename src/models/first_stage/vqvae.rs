//! The VQ-VAE of van den Oord et al. 2017: strided convolutions and residual blocks on either side
//! of a codebook.
//!
//! With hidden 128, two residual layers of 32 and a downsampling of 4 it is the one that Sonnet's
//! example trains.

use crate::autograd::Var;
use crate::models::{Autoencoder, Quantize, ReceptiveField, check_divisible, only_level};
use crate::nn::{
    Builder, Conv2d, ConvTranspose2d, ForwardContext, Handle, Parameters, ResidualBlock, Span,
    residual_stack,
};
use crate::ops::conv::Conv;
use crate::ops::conv::conv_transpose2d::ConvTranspose;
use crate::{Error, Result};

/// The shape of a VQ-VAE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Channels of the images: 1 or 3.
    pub channels: usize,
    /// Channels inside; even.
    pub hidden: usize,
    /// Residual blocks in the encoder, and as many in the decoder.
    pub residual_layers: usize,
    /// Channels inside a residual block.
    pub residual_hidden: usize,
    /// Image pixels per latent, each way: 2, 4, 8, ..
    pub downsample: usize,
    /// Channels of a latent.
    pub codebook_dim: usize,
}

impl Config {
    /// Strided convolutions in the encoder.
    pub(crate) fn levels(&self) -> usize {
        self.downsample.trailing_zeros() as usize
    }

    /// Channels after each strided convolution: half the width at first, as in Sonnet's example.
    pub(crate) fn widths(&self) -> Vec<usize> {
        (0..self.levels())
            .map(|level| {
                if level == 0 {
                    self.hidden / 2
                } else {
                    self.hidden
                }
            })
            .collect()
    }

    pub(crate) fn check(&self) -> Result<()> {
        let fail = |key: &str, what: &str| Err(Error::config(format!("model.{key}"), what));
        if !self.downsample.is_power_of_two() || !(2..=64).contains(&self.downsample) {
            return fail("downsample", "is a power of two from 2 to 64");
        }
        if self.hidden < 2 || !self.hidden.is_multiple_of(2) {
            return fail("hidden", "is even and at least 2");
        }
        if self.residual_layers > 0 && self.residual_hidden == 0 {
            return fail("residual_hidden", "is at least 1");
        }
        if self.channels == 0 || self.codebook_dim == 0 {
            return fail("channels", "is 1 or 3, and codebook_dim at least 1");
        }
        Ok(())
    }
}

/// Encoder and decoder. The quantizer between them is the caller's.
#[derive(Debug)]
pub struct VqVae {
    config: Config,
    down: Vec<Conv2d>,
    encoder_conv: Conv2d,
    encoder_blocks: Vec<ResidualBlock>,
    to_latent: Conv2d,
    from_latent: Conv2d,
    decoder_blocks: Vec<ResidualBlock>,
    up: Vec<ConvTranspose2d>,
}

/// Computes the strided convolutions of an encoder and the one after them, recomputed as one block
/// where the pass recomputes: a convolution keeps its input and nothing else, so that one alone
/// would gain nothing. For the same reason the transposed convolutions at the decoder's end are no
/// block: the backward pass begins with them, when all else is still kept.
pub(crate) fn encode_features(
    pass: &ForwardContext,
    down: &[Conv2d],
    conv: &Conv2d,
    x: &Var,
) -> Result<Var> {
    let (down, conv) = (down.to_vec(), conv.clone());
    pass.checkpoint(x.clone(), move |pass, x| {
        conv.forward(
            pass,
            &down
                .iter()
                .try_fold(x, |x, layer| layer.forward(pass, &x))?,
        )
    })
}

/// Returns the range of inputs of [`encode_features`] that `output` depends on.
pub(crate) fn input_range_of_encoder(down: &[Conv2d], conv: &Conv2d, output: Span) -> Span {
    down.iter()
        .rev()
        .fold(conv.input_range(output), |span, layer| {
            layer.input_range(span)
        })
}

/// Returns the range of inputs of a stack of blocks that `output` depends on.
pub(crate) fn input_range_of_blocks(blocks: &[ResidualBlock], output: Span) -> Span {
    blocks
        .iter()
        .rev()
        .fold(output, |span, block| block.input_range(span))
}

/// Returns the range of inputs of successive transposed convolutions that `output` depends on.
pub(crate) fn input_range_of_upsampling(up: &[ConvTranspose2d], output: Span) -> Span {
    up.iter()
        .rev()
        .fold(output, |span, layer| layer.input_range(span))
}

impl VqVae {
    /// Declares the model's parameters.
    ///
    /// # Errors
    /// If the configuration makes no model; the error names the key.
    pub fn new(b: &mut Builder, config: &Config) -> Result<VqVae> {
        config.check()?;
        let (hidden, widths) = (config.hidden, config.widths());
        let down = (0..config.levels())
            .map(|level| {
                let i = if level == 0 {
                    config.channels
                } else {
                    widths[level - 1]
                };
                let conv = Conv {
                    stride: 2,
                    pad: 1,
                    relu: level > 0,
                    after: 0,
                };
                Conv2d::new(
                    b,
                    &format!("encoder.down.{level}"),
                    i,
                    widths[level],
                    4,
                    conv,
                    true,
                )
            })
            .collect();
        let last = widths[widths.len() - 1];
        let same = |relu| Conv {
            stride: 1,
            pad: 1,
            relu,
            after: 0,
        };
        let blocks = |b: &mut Builder, side: &str| -> Vec<ResidualBlock> {
            let name = |i| format!("{side}.residual.{i}");
            (0..config.residual_layers)
                .map(|i| ResidualBlock::new(b, &name(i), hidden, config.residual_hidden))
                .collect()
        };
        let encoder_conv = Conv2d::new(b, "encoder.conv", last, hidden, 3, same(true), true);
        let encoder_blocks = blocks(b, "encoder");
        let to_latent = Conv {
            stride: 1,
            pad: 0,
            relu: true,
            after: 0,
        };
        let to_latent = Conv2d::new(
            b,
            "encoder.to_latent",
            hidden,
            config.codebook_dim,
            1,
            to_latent,
            true,
        );
        let from_latent = Conv2d::new(
            b,
            "decoder.from_latent",
            config.codebook_dim,
            hidden,
            3,
            same(false),
            true,
        );
        let decoder_blocks = blocks(b, "decoder");
        let up = (0..config.levels())
            .map(|step| {
                // The mirror image of the encoder's widths.
                let level = config.levels() - 1 - step;
                let i = if step == 0 { hidden } else { widths[level] };
                let o = if level == 0 {
                    config.channels
                } else {
                    widths[level - 1]
                };
                let conv = ConvTranspose {
                    stride: 2,
                    pad: 1,
                    output_pad: 0,
                    relu: true,
                };
                ConvTranspose2d::new(b, &format!("decoder.up.{step}"), i, o, 4, conv)
            })
            .collect();
        Ok(VqVae {
            config: config.clone(),
            down,
            encoder_conv,
            encoder_blocks,
            to_latent,
            from_latent,
            decoder_blocks,
            up,
        })
    }

    /// The shape it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Images [B, H, W, C] in [-1, 1] to latents [B, H / downsample, W / downsample, D], in f32
    /// however the pass stores activations.
    ///
    /// # Errors
    /// If H or W is not divisible by the downsampling.
    pub fn latents(&self, pass: &ForwardContext, images: &Var) -> Result<Var> {
        check_divisible(images, self.config.downsample)?;
        let x = encode_features(pass, &self.down, &self.encoder_conv, images)?;
        let x = residual_stack(pass, &self.encoder_blocks, x)?;
        self.to_latent.forward_f32(pass, &x)
    }

    /// Quantized latents [B, h, w, D] to images [B, h downsample, w downsample, C], around [-1, 1],
    /// in f32.
    pub fn images(&self, pass: &ForwardContext, latents: &Var) -> Result<Var> {
        let x = self.from_latent.forward(pass, latents)?;
        let mut x = residual_stack(pass, &self.decoder_blocks, x)?;
        let Some((last, before)) = self.up.split_last() else {
            return Ok(x);
        };
        for layer in before {
            x = layer.forward(pass, &x)?;
        }
        last.forward_f32(pass, &x)
    }

    /// Returns a model and its parameters, initialised from `seed`.
    pub fn build(gpu: &crate::gpu::Gpu, config: &Config, seed: u64) -> Result<(VqVae, Parameters)> {
        let mut builder = Parameters::builder();
        let model = VqVae::new(&mut builder, config)?;
        Ok((model, builder.build(gpu, seed)?))
    }
}

impl Autoencoder for VqVae {
    fn factors(&self) -> &[usize] {
        std::slice::from_ref(&self.config.downsample)
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
        // All channels at half the rows and columns, at most.
        self.config.hidden.div_ceil(4).max(self.config.channels)
    }
    fn last_weight(&self) -> Handle {
        self.up
            .last()
            .map_or_else(|| self.from_latent.weight(), |layer| layer.weight())
    }
    fn receptive_field(&self) -> Option<ReceptiveField> {
        let factor = self.config.downsample;
        let features = input_range_of_blocks(
            &self.encoder_blocks,
            self.to_latent.input_range(Span::new(1)),
        );
        let pixels = input_range_of_encoder(&self.down, &self.encoder_conv, features);
        let hidden = input_range_of_blocks(
            &self.decoder_blocks,
            input_range_of_upsampling(&self.up, Span::new(factor)),
        );
        let latents = self.from_latent.input_range(hidden);
        Some(ReceptiveField {
            encode: pixels.beyond(factor),
            decode: latents.times(factor).beyond(factor),
        })
    }
}
