//! VQ-VAE-2 (Razavi et al. 2019, section 3.1): codes on grids of several sizes, each level's
//! latents conditioned on the quantized ones above it, and a decoder that sees them all.
//!
//! The encoders go up: each level's begins with the features of the level below. The decoders come
//! down: each level's adds its own quantized latents to what the levels above gave, and hands the
//! sum on at twice the size. What comes down also conditions the level's latents before they are
//! quantized, so that they need not repeat what is known from above.

use crate::autograd::Var;
use crate::models::first_stage::vqvae;
use crate::models::first_stage::vqvae::{
    encode_features, input_range_of_blocks, input_range_of_encoder, input_range_of_upsampling,
};
use crate::models::{Autoencoder, Quantize, ReceptiveField, check_divisible};
use crate::nn::{
    Builder, Conv2d, ConvTranspose2d, ForwardContext, Handle, ResidualBlock, Span, residual_stack,
};
use crate::ops::conv::Conv;
use crate::ops::conv::conv_transpose2d::ConvTranspose;
use crate::{Error, Result};

/// Levels that a model may have.
pub const MOST_LEVELS: usize = 5;

/// The shape of a VQ-VAE-2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Channels of the images: 1 or 3.
    pub channels: usize,
    /// Channels inside; even.
    pub hidden: usize,
    /// Residual blocks in each level's encoder, and as many in its decoder.
    pub residual_layers: usize,
    /// Channels inside a residual block.
    pub residual_hidden: usize,
    /// Image pixels per latent of the bottom level, each way: 2, 4, 8, .. Each level above has
    /// twice as many as the one below.
    pub downsample: usize,
    /// Channels of each level's latents, the top level's first; as many as there are levels, two
    /// at least.
    pub codebook_dims: Vec<usize>,
}

/// Returns the names of levels, the top first: `top`, `bottom`; with more, `middle` or `middle-1`,
/// `middle-2`, .. between. A single level has no name.
pub fn level_names(levels: usize) -> Vec<String> {
    let name = |level: usize| match (level, levels) {
        (_, 1) => String::new(),
        (0, _) => "top".into(),
        (level, levels) if level + 1 == levels => "bottom".into(),
        (_, 3) => "middle".into(),
        (level, _) => format!("middle-{level}"),
    };
    (0..levels).map(name).collect()
}

/// One level's layers.
#[derive(Debug)]
struct Level {
    /// Convolutions from the image (at the bottom) or from the features of the level below.
    down: Vec<Conv2d>,
    encoder_conv: Conv2d,
    encoder_blocks: Vec<ResidualBlock>,
    to_latent: Conv2d,
    /// Brings what comes from above to the latents: with the features, a 1 x 1 convolution over
    /// both. The top level has none.
    from_above: Option<Conv2d>,
    from_latent: Conv2d,
    decoder_blocks: Vec<ResidualBlock>,
    /// Transposed convolutions to the level below, or to the image.
    up: Vec<ConvTranspose2d>,
}

/// Encoders and decoders of all levels. The quantizers between them are the caller's.
#[derive(Debug)]
pub struct VqVae2 {
    config: Config,
    factors: Vec<usize>,
    /// The top level first.
    levels: Vec<Level>,
}

impl VqVae2 {
    /// Declares the model's parameters.
    ///
    /// # Errors
    /// If the configuration makes no model; the error names the key.
    pub fn new(b: &mut Builder, config: &Config) -> Result<VqVae2> {
        let count = config.codebook_dims.len();
        if !(2..=MOST_LEVELS).contains(&count) {
            return Err(Error::config(
                "model.levels",
                format!("{count} levels: there are 2 to {MOST_LEVELS}"),
            ));
        }
        let factors: Vec<usize> = (0..count).rev().map(|up| config.downsample << up).collect();
        let names = level_names(count);
        let of = |(level, name): (usize, &String)| Level::new(b, config, level, name);
        let levels = names.iter().enumerate().map(of).collect::<Result<_>>()?;
        Ok(VqVae2 {
            config: config.clone(),
            factors,
            levels,
        })
    }

    /// The shape it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Computes the quantized latents of all levels, and what comes down to the last.
    fn quantized(
        &self,
        pass: &ForwardContext,
        images: &Var,
        quantize: &mut Quantize,
    ) -> Result<(Vec<Var>, Option<Var>)> {
        check_divisible(images, self.factors[0])?;
        // From the bottom up.
        let mut features: Vec<Var> = Vec::new();
        for level in self.levels.iter().rev() {
            let x = level.features(pass, features.last().unwrap_or(images))?;
            features.push(x);
        }
        let (mut quantized, mut above) = (Vec::new(), None);
        for (i, level) in self.levels.iter().enumerate() {
            let Some(own) = features.pop() else { break };
            let z_e = level.latents(pass, &own, above.as_ref())?;
            drop(own);
            let z_q = quantize(i, &z_e)?;
            if i + 1 < self.levels.len() {
                above = Some(self.decode_level(pass, i, &z_q, above.as_ref())?);
            }
            quantized.push(z_q);
        }
        Ok((quantized, above))
    }

    /// Decodes a level's quantized latents, with what comes from the level above: to the input of
    /// the level below, or to the image.
    fn decode_level(
        &self,
        pass: &ForwardContext,
        level: usize,
        latents: &Var,
        above: Option<&Var>,
    ) -> Result<Var> {
        let l = &self.levels[level];
        let x = match above {
            Some(above) => l.from_latent.forward_onto(pass, latents, above)?,
            None => l.from_latent.forward(pass, latents)?,
        };
        let mut x = residual_stack(pass, &l.decoder_blocks, x)?;
        let Some((last, before)) = l.up.split_last() else {
            return Ok(x);
        };
        for layer in before {
            x = layer.forward(pass, &x)?;
        }
        if level + 1 == self.levels.len() {
            last.forward_f32(pass, &x)
        } else {
            last.forward(pass, &x)
        }
    }
}

impl Level {
    fn new(b: &mut Builder, c: &Config, level: usize, name: &str) -> Result<Level> {
        let (hidden, dim) = (c.hidden, c.codebook_dims[level]);
        let bottom = level + 1 == c.codebook_dims.len();
        // The bottom level's way from and to the image is a VQ-VAE's, and so are its limits.
        let base = vqvae::Config {
            channels: c.channels,
            hidden,
            residual_layers: c.residual_layers,
            residual_hidden: c.residual_hidden,
            downsample: if bottom { c.downsample } else { 2 },
            codebook_dim: dim,
        };
        base.check()?;
        let widths = if bottom { base.widths() } else { vec![hidden] };
        let down = widths.iter().enumerate().map(|(i, o)| {
            let from = match i {
                0 if bottom => c.channels,
                0 => hidden,
                _ => widths[i - 1],
            };
            let conv = Conv {
                stride: 2,
                pad: 1,
                relu: i > 0 || !bottom,
                after: 0,
            };
            Conv2d::new(
                b,
                &format!("encoder.{name}.down.{i}"),
                from,
                *o,
                4,
                conv,
                true,
            )
        });
        let down = down.collect();
        let last = widths[widths.len() - 1];
        let same = |relu| Conv {
            stride: 1,
            pad: 1,
            relu,
            after: 0,
        };
        let encoder_conv = Conv2d::new(
            b,
            &format!("encoder.{name}.conv"),
            last,
            hidden,
            3,
            same(true),
            true,
        );
        let blocks = |b: &mut Builder, side: &str| -> Vec<ResidualBlock> {
            let block = |i| format!("{side}.{name}.residual.{i}");
            (0..c.residual_layers)
                .map(|i| ResidualBlock::new(b, &block(i), hidden, c.residual_hidden))
                .collect()
        };
        let encoder_blocks = blocks(b, "encoder");
        let point = Conv {
            stride: 1,
            pad: 0,
            relu: true,
            after: 0,
        };
        let to_latent = Conv2d::new(
            b,
            &format!("encoder.{name}.to_latent"),
            hidden,
            dim,
            1,
            point,
            true,
        );
        let from_above = (level > 0).then(|| {
            Conv2d::new(
                b,
                &format!("encoder.{name}.from_above"),
                hidden,
                dim,
                1,
                point,
                false,
            )
        });
        let from_latent = Conv2d::new(
            b,
            &format!("decoder.{name}.from_latent"),
            dim,
            hidden,
            3,
            same(false),
            true,
        );
        let decoder_blocks = blocks(b, "decoder");
        let up = (0..widths.len()).map(|step| {
            let at = widths.len() - 1 - step;
            let from = if step == 0 { hidden } else { widths[at] };
            let to = match at {
                0 if bottom => c.channels,
                0 => hidden,
                _ => widths[at - 1],
            };
            let conv = ConvTranspose {
                stride: 2,
                pad: 1,
                output_pad: 0,
                relu: true,
            };
            ConvTranspose2d::new(b, &format!("decoder.{name}.up.{step}"), from, to, 4, conv)
        });
        let up = up.collect();
        Ok(Level {
            down,
            encoder_conv,
            encoder_blocks,
            to_latent,
            from_above,
            from_latent,
            decoder_blocks,
            up,
        })
    }

    /// Computes the features of this level, of the image or of the features below.
    fn features(&self, pass: &ForwardContext, below: &Var) -> Result<Var> {
        let x = encode_features(pass, &self.down, &self.encoder_conv, below)?;
        residual_stack(pass, &self.encoder_blocks, x)
    }

    /// Returns the range of a level decoder's input, the sum of its latents and of what comes from
    /// above, that `output` depends on.
    fn decoder_input_range(&self, output: Span) -> Span {
        input_range_of_blocks(
            &self.decoder_blocks,
            input_range_of_upsampling(&self.up, output),
        )
    }

    /// Latents before they are quantized.
    fn latents(&self, pass: &ForwardContext, features: &Var, above: Option<&Var>) -> Result<Var> {
        let z = self.to_latent.forward_f32(pass, features)?;
        match (&self.from_above, above) {
            (Some(layer), Some(above)) => layer.forward_onto_f32(pass, above, &z),
            _ => Ok(z),
        }
    }
}

impl Autoencoder for VqVae2 {
    fn factors(&self) -> &[usize] {
        &self.factors
    }

    fn encode(
        &self,
        pass: &ForwardContext,
        images: &Var,
        quantize: &mut Quantize,
    ) -> Result<Vec<Var>> {
        Ok(self.quantized(pass, images, quantize)?.0)
    }

    fn reconstruct(
        &self,
        pass: &ForwardContext,
        images: &Var,
        quantize: &mut Quantize,
    ) -> Result<Var> {
        let (mut latents, above) = self.quantized(pass, images, quantize)?;
        // What came down to the last level's latents also leads on to the image.
        let last = latents
            .pop()
            .ok_or_else(|| Error::invalid("reconstruct", "a model without levels"))?;
        drop(latents);
        self.decode_level(pass, self.levels.len() - 1, &last, above.as_ref())
    }

    fn decode(&self, pass: &ForwardContext, latents: &[Var]) -> Result<Var> {
        if latents.len() != self.levels.len() {
            return Err(Error::shape(
                "decode",
                format!("latents of {} levels", self.levels.len()),
                latents.len(),
            ));
        }
        let mut x = None;
        for (i, z_q) in latents.iter().enumerate() {
            x = Some(self.decode_level(pass, i, z_q, x.as_ref())?);
        }
        x.ok_or_else(|| Error::invalid("decode", "a model without levels"))
    }
    fn widest(&self) -> usize {
        self.config.hidden.div_ceil(4).max(self.config.channels)
    }
    fn last_weight(&self) -> Handle {
        let bottom = &self.levels[self.levels.len() - 1];
        bottom
            .up
            .last()
            .map_or_else(|| bottom.from_latent.weight(), |layer| layer.weight())
    }
    fn receptive_field(&self) -> Option<ReceptiveField> {
        let (top, pixels) = (self.factors[0], Span::new(self.factors[0]));
        // Encoding: the codes of one of the top level's cells, at every level. What comes down is
        // asked for from the bottom up.
        let own: Vec<Span> = self.factors.iter().map(|f| Span::new(top / f)).collect();
        let (mut latents, mut features) = (own.clone(), own.clone());
        let mut above = None;
        for (i, level) in self.levels.iter().enumerate().rev() {
            if let Some(output) = above.take() {
                let hidden = level.decoder_input_range(output);
                latents[i] = latents[i].and(level.from_latent.input_range(hidden));
                above = Some(hidden);
            }
            features[i] = level.to_latent.input_range(latents[i]);
            if let Some(layer) = &level.from_above {
                let wanted = layer.input_range(latents[i]);
                above = Some(above.map_or(wanted, |span: Span| span.and(wanted)));
            }
        }
        // And then what the features are made of, from the top down.
        let mut from_above = features[0];
        for (level, own) in self.levels.iter().zip(&features) {
            let hidden = input_range_of_blocks(&level.encoder_blocks, own.and(from_above));
            from_above = input_range_of_encoder(&level.down, &level.encoder_conv, hidden);
        }
        // Decoding: a cell's pixels.
        let mut output = pixels;
        let mut decode = 0;
        for (level, factor) in self.levels.iter().zip(&self.factors).rev() {
            output = level.decoder_input_range(output);
            decode = decode.max(
                level
                    .from_latent
                    .input_range(output)
                    .times(*factor)
                    .beyond(top),
            );
        }
        Some(ReceptiveField {
            encode: from_above.beyond(top),
            decode,
        })
    }
}
