//! The first stage of ViT-VQGAN (Yu et al. 2021, "Vector-quantized image modeling with improved
//! VQGAN", section 3.1): a transformer over an image's patches to its latents, and another back.
//!
//! Patches do not overlap; each is mapped to a token by itself, and each token of the decoder to
//! the pixels of its patch. Between lie pre-norm blocks that look both ways, over positions learned
//! for one grid: a model takes images of one size.

use crate::autograd::Var;
use crate::gpu::DType;
use crate::models::{Autoencoder, Quantize, ReceptiveField, only_level};
use crate::nn::transformer::{Block, Dropout};
use crate::nn::{
    BlockConfig, Builder, Conv2d, ConvTranspose2d, ForwardContext, Handle, INIT_STD, Init, MlpKind,
    Norm, NormKind,
};
use crate::ops::attention::attention::{Attention, MOST_CHANNELS};
use crate::ops::conv::Conv;
use crate::ops::conv::conv_transpose2d::ConvTranspose;
use crate::ops::elementwise::activation::Function;
use crate::{Error, Result};

/// The shape of a ViT-VQGAN's first stage. The paper's small one has 8 layers of 512 channels, 8
/// heads and 2048 hidden channels, on 32 x 32 patches of 8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Channels of the images.
    pub channels: usize,
    /// Patches of an image, down and across: rows and columns of latents.
    pub grid: [usize; 2],
    /// Pixels of a patch each way.
    pub downsample: usize,
    /// Blocks of the encoder, and of the decoder.
    pub layers: usize,
    /// Channels of a token.
    pub dim: usize,
    /// Heads of attention; they divide the channels.
    pub heads: usize,
    /// Channels inside the blocks' MLPs, and inside the head that makes pixels of the decoder's
    /// tokens.
    pub hidden: usize,
    /// Channels of a latent.
    pub codebook_dim: usize,
}

impl Config {
    /// Checks that a model can be built.
    ///
    /// # Errors
    /// Names the key, and what it may be.
    pub fn check(&self) -> Result<()> {
        let within = |key: &str, value: usize, most: usize| match value {
            v if (1..=most).contains(&v) => Ok(()),
            v => Err(Error::config(
                format!("model.{key}"),
                format!("{v} is not allowed: it must be from 1 to {most}"),
            )),
        };
        within("channels", self.channels, 64)?;
        within("downsample", self.downsample, 64)?;
        within("layers", self.layers, 64)?;
        within("dim", self.dim, 16_384)?;
        within("hidden", self.hidden, 65_536)?;
        within("codebook_dim", self.codebook_dim, 16_384)?;
        for side in self.grid {
            within("grid", side, 1024)?;
        }
        let fits = self.heads > 0
            && self.dim.is_multiple_of(self.heads)
            && self.dim / self.heads <= MOST_CHANNELS;
        if !fits {
            let what = format!(
                "{} is not allowed: heads divide model.dim = {}, and none has more than \
                 {MOST_CHANNELS} channels",
                self.heads, self.dim
            );
            return Err(Error::config("model.heads", what));
        }
        Ok(())
    }

    fn positions(&self) -> usize {
        self.grid[0] * self.grid[1]
    }

    /// Rows and columns of an image.
    fn size(&self) -> [usize; 2] {
        self.grid.map(|side| side * self.downsample)
    }
}

const PLACE_BY_PLACE: Conv = Conv {
    stride: 1,
    pad: 0,
    relu: false,
    after: 0,
};

/// Learned positions, blocks and a last norm: tokens [B, h, w, D] to tokens.
#[derive(Debug)]
struct Transformer {
    positions: Handle,
    blocks: Vec<Block>,
    norm: Norm,
}

impl Transformer {
    fn new(b: &mut Builder, name: &str, c: &Config) -> Transformer {
        let table = Init::Normal(INIT_STD);
        let positions = b.declare(
            format!("{name}.positions.weight"),
            &[c.positions(), c.dim],
            table,
        );
        b.without_decay(positions);
        let block = BlockConfig {
            dim: c.dim,
            heads: c.heads,
            hidden: c.hidden,
            norm: NormKind::Layer,
            mlp: MlpKind::Gelu,
            layers: c.layers,
        };
        let blocks = (0..c.layers)
            .map(|i| Block::new(b, &format!("{name}.blocks.{i}"), &block))
            .collect();
        Transformer {
            positions,
            blocks,
            norm: Norm::new(b, &format!("{name}.norm"), c.dim, NormKind::Layer),
        }
    }

    fn forward(&self, pass: &ForwardContext, x: &Var) -> Result<Var> {
        let (tape, [n, h, w, d]) = (pass.tape, x.tensor().dims("vit")?);
        let x = tape.reshape(x, &[n, h * w, d])?;
        let mut x = tape.positions(&x, &pass.param(self.positions)?)?;
        for block in &self.blocks {
            x = block.sequences(pass, x, Attention::FULL, None, (Dropout::OFF, 0), None)?;
        }
        tape.reshape(&self.norm.forward(pass, &x)?, &[n, h, w, d])
    }
}

/// Encoder and decoder. The quantizer between them is the caller's.
#[derive(Debug)]
pub struct Vit {
    config: Config,
    patches: Conv2d,
    encoder: Transformer,
    to_latent: Conv2d,
    from_latent: Conv2d,
    decoder: Transformer,
    /// Each token to its patch: a linear map, the hyperbolic tangent, and a linear map to pixels.
    head: Conv2d,
    pixels: ConvTranspose2d,
}

impl Vit {
    /// Declares the model's parameters.
    ///
    /// # Errors
    /// If the configuration makes no model; the error names the key.
    pub fn new(b: &mut Builder, config: &Config) -> Result<Vit> {
        config.check()?;
        let (c, side) = (config, config.downsample);
        let linear =
            |b: &mut Builder, name: &str, i, o| Conv2d::new(b, name, i, o, 1, PLACE_BY_PLACE, true);
        let cut = Conv {
            stride: side,
            ..PLACE_BY_PLACE
        };
        let patches = Conv2d::new(b, "encoder.patches", c.channels, c.dim, side, cut, true);
        let encoder = Transformer::new(b, "encoder", c);
        let to_latent = linear(b, "encoder.to_latent", c.dim, c.codebook_dim);
        let from_latent = linear(b, "decoder.from_latent", c.codebook_dim, c.dim);
        let decoder = Transformer::new(b, "decoder", c);
        let head = linear(b, "decoder.head", c.dim, c.hidden);
        let laid = ConvTranspose {
            stride: side,
            pad: 0,
            output_pad: 0,
            relu: false,
        };
        let pixels = ConvTranspose2d::new(b, "decoder.pixels", c.hidden, c.channels, side, laid);
        Ok(Vit {
            config: config.clone(),
            patches,
            encoder,
            to_latent,
            from_latent,
            decoder,
            head,
            pixels,
        })
    }

    /// The shape it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Images [B, h f, w f, C] in [-1, 1], for the grid h x w of patches of f, to latents [B, h, w,
    /// D], f32.
    ///
    /// # Errors
    /// If the images are of another size.
    pub fn latents(&self, pass: &ForwardContext, images: &Var) -> Result<Var> {
        let [_, h, w, _] = images.tensor().dims("encode")?;
        let [height, width] = self.config.size();
        if [h, w] != [height, width] {
            let expected = format!(
                "images of {height} x {width} pixels, the size that this model was made for"
            );
            return Err(Error::shape("encode", expected, format!("{h} x {w}")));
        }
        let x = self
            .encoder
            .forward(pass, &self.patches.forward_f32(pass, images)?)?;
        self.to_latent.forward_f32(pass, &x)
    }

    /// Quantized latents [B, h, w, D] to images [B, h f, w f, C], around [-1, 1], f32.
    ///
    /// # Errors
    /// If the latents are of another grid or have other channels.
    pub fn images(&self, pass: &ForwardContext, latents: &Var) -> Result<Var> {
        let ([_, h, w, _], grid) = (latents.tensor().dims("decode")?, self.config.grid);
        if [h, w] != grid {
            let expected = format!(
                "latents on {} x {}, the grid that this model was made for",
                grid[0], grid[1]
            );
            return Err(Error::shape("decode", expected, format!("{h} x {w}")));
        }
        let latents = pass.tape.cast(latents, DType::F32)?;
        let x = self
            .decoder
            .forward(pass, &self.from_latent.forward_f32(pass, &latents)?)?;
        let x = pass
            .tape
            .activation(Function::Tanh, &self.head.forward_f32(pass, &x)?)?;
        self.pixels.forward_f32(pass, &x)
    }
}

impl Autoencoder for Vit {
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
        let c = &self.config;
        // Inside the blocks' MLPs, or queries, keys and values together.
        c.hidden
            .max(3 * c.dim)
            .div_ceil(c.downsample * c.downsample)
            .max(c.channels)
    }
    fn last_weight(&self) -> Handle {
        self.pixels.weight()
    }

    fn receptive_field(&self) -> Option<ReceptiveField> {
        None
    }
}
