//! The first stage of VQ-GAN (Esser et al. 2021), layer by layer and name by name that of
//! taming-transformers (`VQModel`): group norms, SiLU, residual blocks of two 3 x 3 convolutions,
//! attention at coarse resolutions, nearest upsampling.
//!
//! A published checkpoint loads by its own names, but for `quantize.embedding.weight`, which is the
//! quantizer's codebook.

use crate::autograd::Var;
use crate::gpu::DType;
use crate::models::{Autoencoder, Quantize, ReceptiveField, check_divisible, only_level};
use crate::nn::{Builder, Conv2d, ForwardContext, GroupNorm, Handle};
use crate::ops::attention::attention::Attention;
use crate::ops::conv::Conv;
use crate::ops::elementwise::activation::Function;
use crate::{Error, Result};

/// Groups of every norm, and what is added under its root.
const GROUPS: usize = 32;
const EPS: f32 = 1e-6;

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

fn conv3(b: &mut Builder, name: &str, i: usize, o: usize) -> Conv2d {
    Conv2d::new(
        b,
        name,
        i,
        o,
        3,
        Conv {
            stride: 1,
            pad: 1,
            relu: false,
            after: 0,
        },
        true,
    )
}

fn conv1(b: &mut Builder, name: &str, i: usize, o: usize) -> Conv2d {
    Conv2d::new(
        b,
        name,
        i,
        o,
        1,
        Conv {
            stride: 1,
            pad: 0,
            relu: false,
            after: 0,
        },
        true,
    )
}

fn norm(b: &mut Builder, name: &str, channels: usize) -> GroupNorm {
    GroupNorm::new(b, name, channels, GROUPS, EPS)
}

/// Computes `silu(norm(x))`, stored as the pass stores activations.
fn activated(pass: &ForwardContext, norm: &GroupNorm, x: &Var) -> Result<Var> {
    norm.forward_activated(pass, x, Function::Silu)
}

/// `shortcut(x) + conv2(silu(norm2(conv1(silu(norm1(x))))))`. What runs along the shortcuts is f32.
#[derive(Clone, Debug)]
struct Block {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

impl Block {
    fn new(b: &mut Builder, name: &str, i: usize, o: usize) -> Block {
        Block {
            norm1: norm(b, &format!("{name}.norm1"), i),
            conv1: conv3(b, &format!("{name}.conv1"), i, o),
            norm2: norm(b, &format!("{name}.norm2"), o),
            conv2: conv3(b, &format!("{name}.conv2"), o, o),
            shortcut: (i != o).then(|| conv1(b, &format!("{name}.nin_shortcut"), i, o)),
        }
    }

    /// [`Block::layers`] as a [`ForwardContext::checkpoint`].
    fn forward(&self, pass: &ForwardContext, x: Var) -> Result<Var> {
        let block = self.clone();
        pass.checkpoint(x, move |pass, x| block.layers(pass, &x))
    }

    fn layers(&self, pass: &ForwardContext, x: &Var) -> Result<Var> {
        let h = self
            .conv1
            .forward_f32(pass, &activated(pass, &self.norm1, x)?)?;
        let h = activated(pass, &self.norm2, &h)?;
        match &self.shortcut {
            Some(shortcut) => {
                self.conv2
                    .forward_onto_f32(pass, &h, &shortcut.forward_f32(pass, x)?)
            }
            None => self.conv2.forward_onto_f32(pass, &h, x),
        }
    }
}

/// `x + proj_out(attention(q, k, v of norm(x)))` over all positions, one head of all channels.
#[derive(Clone, Debug)]
struct AttentionBlock {
    norm: GroupNorm,
    q: Conv2d,
    k: Conv2d,
    v: Conv2d,
    proj_out: Conv2d,
}

impl AttentionBlock {
    fn new(b: &mut Builder, name: &str, c: usize) -> AttentionBlock {
        let mut map = |part: &str| conv1(b, &format!("{name}.{part}"), c, c);
        let [q, k, v, proj_out] = ["q", "k", "v", "proj_out"].map(&mut map);
        AttentionBlock {
            norm: norm(b, &format!("{name}.norm"), c),
            q,
            k,
            v,
            proj_out,
        }
    }

    /// [`AttentionBlock::layers`] as a [`ForwardContext::checkpoint`].
    fn forward(&self, pass: &ForwardContext, x: Var) -> Result<Var> {
        let block = self.clone();
        pass.checkpoint(x, move |pass, x| block.layers(pass, &x))
    }

    fn layers(&self, pass: &ForwardContext, x: &Var) -> Result<Var> {
        let (tape, [n, height, width, c]) = (pass.tape, x.tensor().dims("attention")?);
        let h = self.norm.forward(pass, x)?;
        let part =
            |map: &Conv2d| tape.reshape(&map.forward_f32(pass, &h)?, &[n, 1, height * width, c]);
        let h = tape.attention(
            &part(&self.q)?,
            &part(&self.k)?,
            &part(&self.v)?,
            Attention::FULL,
        )?;
        self.proj_out
            .forward_onto_f32(pass, &tape.reshape(&h, &[n, height, width, c])?, x)
    }
}

/// A resolution: its blocks, each with attention behind it or without, and the way to the next.
#[derive(Debug)]
struct Stage {
    blocks: Vec<(Block, Option<AttentionBlock>)>,
    /// Down: a convolution of stride 2. Up: one after the pixels were doubled. The last resolution
    /// has none.
    next: Option<Conv2d>,
}

impl Stage {
    fn blocks(&self, pass: &ForwardContext, mut x: Var) -> Result<Var> {
        for (block, attention) in &self.blocks {
            x = block.forward(pass, x)?;
            if let Some(attention) = attention {
                x = attention.forward(pass, x)?;
            }
        }
        Ok(x)
    }
}

/// Two blocks, usually around attention, at the coarsest resolution.
#[derive(Debug)]
struct Middle {
    block_1: Block,
    attn_1: Option<AttentionBlock>,
    block_2: Block,
}

impl Middle {
    fn new(b: &mut Builder, name: &str, c: usize, attention: bool) -> Middle {
        Middle {
            block_1: Block::new(b, &format!("{name}.block_1"), c, c),
            attn_1: attention.then(|| AttentionBlock::new(b, &format!("{name}.attn_1"), c)),
            block_2: Block::new(b, &format!("{name}.block_2"), c, c),
        }
    }

    fn forward(&self, pass: &ForwardContext, x: Var) -> Result<Var> {
        let mut x = self.block_1.forward(pass, x)?;
        if let Some(attention) = &self.attn_1 {
            x = attention.forward(pass, x)?;
        }
        self.block_2.forward(pass, x)
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
    encoder_norm: GroupNorm,
    encoder_out: Conv2d,
    quant_conv: Conv2d,
    post_quant_conv: Conv2d,
    decoder_in: Conv2d,
    decoder_middle: Middle,
    /// The finest first, though they are passed from the coarsest on.
    up: Vec<Stage>,
    decoder_norm: GroupNorm,
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
        let attends = |level: usize| c.attention.contains(&(1 << level));
        let stage = |b: &mut Builder, side: &str, level: usize, count: usize, mut from: usize| {
            let (name, width) = (format!("{side}.{level}"), c.width(level));
            let mut blocks = Vec::new();
            for i in 0..count {
                let block = Block::new(b, &format!("{name}.block.{i}"), from, width);
                let attention = attends(level)
                    .then(|| AttentionBlock::new(b, &format!("{name}.attn.{i}"), width));
                blocks.push((block, attention));
                from = width;
            }
            blocks
        };
        let conv_in = conv3(b, "encoder.conv_in", c.channels, c.hidden);
        let mut down = Vec::new();
        for level in 0..=last {
            let from = if level == 0 {
                c.hidden
            } else {
                c.width(level - 1)
            };
            let blocks = stage(b, "encoder.down", level, c.residual_layers, from);
            let halve = Conv {
                stride: 2,
                pad: 0,
                relu: false,
                after: 1,
            };
            let name = format!("encoder.down.{level}.downsample.conv");
            let next = (level < last)
                .then(|| Conv2d::new(b, &name, c.width(level), c.width(level), 3, halve, true));
            down.push(Stage { blocks, next });
        }
        let coarsest = c.width(last);
        let encoder_middle = Middle::new(b, "encoder.mid", coarsest, c.mid_attention);
        let encoder_norm = norm(b, "encoder.norm_out", coarsest);
        let encoder_out = conv3(b, "encoder.conv_out", coarsest, c.latent_channels);
        let quant_conv = conv1(b, "quant_conv", c.latent_channels, c.codebook_dim);
        let post_quant_conv = conv1(b, "post_quant_conv", c.codebook_dim, c.latent_channels);
        let decoder_in = conv3(b, "decoder.conv_in", c.latent_channels, coarsest);
        let decoder_middle = Middle::new(b, "decoder.mid", coarsest, c.mid_attention);
        let mut up = Vec::new();
        for level in 0..=last {
            let from = if level == last {
                coarsest
            } else {
                c.width(level + 1)
            };
            let blocks = stage(b, "decoder.up", level, c.residual_layers + 1, from);
            let name = format!("decoder.up.{level}.upsample.conv");
            let next = (level > 0).then(|| conv3(b, &name, c.width(level), c.width(level)));
            up.push(Stage { blocks, next });
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
            quant_conv,
            post_quant_conv,
            decoder_in,
            decoder_middle,
            up,
            decoder_norm: norm(b, "decoder.norm_out", finest),
            decoder_out: conv3(b, "decoder.conv_out", finest, c.channels),
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
        let mut x = self.conv_in.forward_f32(pass, images)?;
        for stage in &self.down {
            x = stage.blocks(pass, x)?;
            if let Some(halve) = &stage.next {
                x = halve.forward_f32(pass, &x)?;
            }
        }
        x = self.encoder_middle.forward(pass, x)?;
        x = self
            .encoder_out
            .forward_f32(pass, &activated(pass, &self.encoder_norm, &x)?)?;
        self.quant_conv.forward_f32(pass, &x)
    }

    /// Quantized latents [B, h, w, D] to images [B, h f, w f, C], around [-1, 1], f32.
    ///
    /// # Errors
    /// If the latents have other channels.
    pub fn images(&self, pass: &ForwardContext, latents: &Var) -> Result<Var> {
        let latents = pass.tape.cast(latents, DType::F32)?;
        let mut x = self
            .decoder_in
            .forward_f32(pass, &self.post_quant_conv.forward_f32(pass, &latents)?)?;
        x = self.decoder_middle.forward(pass, x)?;
        for stage in self.up.iter().rev() {
            x = stage.blocks(pass, x)?;
            if let Some(conv) = &stage.next {
                x = conv.forward_f32(pass, &pass.tape.upsample(&x)?)?;
            }
        }
        self.decoder_out
            .forward_f32(pass, &activated(pass, &self.decoder_norm, &x)?)
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
