//! A contrastive model of images and texts (Radford et al. 2021, "CLIP"): two transformers whose
//! rows of one length lie near each other where image and text belong together. It reranks what a
//! text-to-image model draws, and measures whether it is what was asked for.

use super::prior::Shape as TextShape;
use super::text::{Text, TextBatch};
use crate::autograd::Var;
use crate::gpu::Tensor;
use crate::models::text::encoder::TextEncoder;
use crate::nn::transformer::{Block, Dropout};
use crate::nn::{
    BlockConfig, Builder, Conv2d, ForwardContext, Handle, INIT_STD, Init, Linear, Norm,
};
use crate::ops::attention::attention::{Attention, MOST_CHANNELS};
use crate::ops::conv::Conv;
use crate::ops::linalg::matmul::Transpose;
use crate::ops::loss::cross_entropy::CrossEntropy;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Sizes of a contrastive model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shape {
    /// Transformer blocks over an image's patches, and as many over a text.
    pub layers: usize,
    /// Channels of a patch and of a text's token.
    pub dim: usize,
    /// Attention heads; they divide `dim`.
    pub heads: usize,
    /// Side of a patch in pixels; 0 is an eighth of the image's shorter side, 4 at least.
    pub patch: usize,
    /// Channels of the vectors by which images and texts are compared.
    pub embedding: usize,
    /// Share of the elements that dropout zeroes in what attention and MLP of a block add.
    pub dropout: f32,
}

impl Default for Shape {
    fn default() -> Self {
        Shape {
            layers: 3,
            dim: 128,
            heads: 4,
            patch: 0,
            embedding: 64,
            dropout: 0.1,
        }
    }
}

impl Shape {
    /// Checks that a model can be built.
    ///
    /// # Errors
    /// Names the key, and what it may be.
    pub fn check(&self) -> Result<()> {
        let wrong = |key: &str, what: String| Err(Error::config(format!("model.{key}"), what));
        if !(1..=64).contains(&self.layers) {
            return wrong(
                "layers",
                format!("{} is not allowed: it must be from 1 to 64", self.layers),
            );
        }
        let head = self.dim.checked_div(self.heads).unwrap_or(0);
        if head == 0
            || !self.dim.is_multiple_of(self.heads)
            || head > MOST_CHANNELS
            || self.dim > 1 << 16
        {
            let what = format!(
                "{} heads of {} channels: each must get a whole number of them, 1 to 256",
                self.heads, self.dim
            );
            return wrong("heads", what);
        }
        if !(1..=1 << 16).contains(&self.embedding) {
            return wrong(
                "embedding",
                format!(
                    "{} is not allowed: it must be from 1 to 65536",
                    self.embedding
                ),
            );
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return wrong(
                "dropout",
                format!(
                    "{} is not allowed: it must be at least 0 and below 1",
                    self.dropout
                ),
            );
        }
        Ok(())
    }

    /// Returns the side of a patch of images of `height` x `width`.
    fn patch(&self, [height, width]: [usize; 2]) -> usize {
        let side = height.min(width);
        if self.patch > 0 {
            self.patch
        } else {
            (side / 8).max(4).min(side)
        }
    }
}

/// Initial factor of the logits (Radford et al. 2021, section 2.5).
const SCALE: f32 = 1.0 / 0.07;

/// The model: the handles of its parameters.
#[derive(Clone, Debug)]
pub struct Contrastive {
    shape: Shape,
    image: [usize; 3],
    patches: Conv2d,
    positions: Handle,
    blocks: Vec<Block>,
    norm: Norm,
    from_image: Linear,
    text: TextEncoder,
    from_text: Linear,
    /// [1]: the logits' factor over [`SCALE`]. Linear where CLIP learns its logarithm, which for
    /// factors near 1 is the same to first order.
    scale: Handle,
    length: usize,
}

impl Contrastive {
    /// Declares the model's parameters, for images of `image` = [H, W, C] and such texts.
    ///
    /// # Errors
    /// If the shape makes no model, or an image holds no patch.
    pub fn new(
        b: &mut Builder,
        shape: &Shape,
        image: [usize; 3],
        text: &Text,
    ) -> Result<Contrastive> {
        shape.check()?;
        let ([height, width, channels], d) = (image, shape.dim);
        let side = shape.patch([height, width]);
        if side > height.min(width) {
            let what = format!("{side} is not allowed for images of {width} x {height}");
            return Err(Error::config("model.patch", what));
        }
        let cut = Conv {
            stride: side,
            pad: 0,
            relu: false,
            after: 0,
        };
        let patches = Conv2d::new(b, "image.patches", channels, d, side, cut, true);
        let count = (height / side) * (width / side);
        let positions = b.declare(
            "image.positions.weight",
            &[count, d],
            Init::Normal(INIT_STD),
        );
        b.without_decay(positions);
        let of = TextShape {
            dim: d,
            heads: shape.heads,
            text_layers: shape.layers,
            ..Default::default()
        }
        .resolved();
        let block = BlockConfig {
            dim: d,
            heads: shape.heads,
            hidden: of.hidden,
            norm: of.norm,
            mlp: of.mlp,
            layers: shape.layers,
        };
        let blocks = (0..shape.layers)
            .map(|i| Block::new(b, &format!("image.blocks.{i}"), &block))
            .collect();
        let std = 1.0 / (d as f32).sqrt();
        Ok(Contrastive {
            shape: shape.clone(),
            image,
            patches,
            positions,
            blocks,
            norm: Norm::new(b, "image.norm", d, of.norm),
            from_image: Linear::new(b, "image.out", d, shape.embedding, std),
            text: TextEncoder::new(b, "text", &of, text)?,
            from_text: Linear::new(b, "text.out", d, shape.embedding, std),
            scale: {
                let scale = b.declare("scale", &[1], Init::Ones);
                b.without_decay(scale);
                scale
            },
            length: text.length,
        })
    }

    /// Returns its sizes.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Height, width and channels of its images.
    pub fn image(&self) -> [usize; 3] {
        self.image
    }

    /// Images [B, H, W, C] in [-1, 1] to rows of length 1, [B, E].
    ///
    /// # Errors
    /// If the images are of another size.
    pub fn images(&self, pass: &ForwardContext, images: &Var, dropout: Dropout) -> Result<Var> {
        let ([n, h, w, c], [height, width, channels]) =
            (images.tensor().dims("contrastive")?, self.image);
        if [h, w, c] != [height, width, channels] {
            let expected = format!("images of {width} x {height} x {channels}");
            return Err(Error::shape(
                "contrastive",
                expected,
                format!("{w} x {h} x {c}"),
            ));
        }
        let (tape, d) = (pass.tape, self.shape.dim);
        let x = self.patches.forward_f32(pass, images)?;
        let count = x.tensor().len() / (n * d);
        let mut x = tape.positions(
            &tape.reshape(&x, &[n, count, d])?,
            &pass.param(self.positions)?,
        )?;
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.sequences(pass, x, Attention::FULL, None, (dropout, 2 * i), None)?;
        }
        let x = self.norm.forward(pass, &x)?;
        // The mean over patches, as a product with a row of shares.
        let shares = Tensor::from_slice(
            tape.gpu(),
            &[n, 1, count],
            &vec![1.0 / count as f32; n * count],
        )?;
        let mean = tape.matmul(&tape.constant(&shares), &x, Transpose::NONE)?;
        let rows = self
            .from_image
            .forward(pass, &tape.reshape(&mean, &[n, d])?)?;
        tape.l2_norm(&rows)
    }

    /// Texts to rows of length 1, [B, E].
    ///
    /// # Errors
    /// If the texts are of another kind.
    pub fn texts(&self, pass: &ForwardContext, texts: &TextBatch, dropout: Dropout) -> Result<Var> {
        let (tape, d) = (pass.tape, self.shape.dim);
        let x = self
            .text
            .forward(pass, texts, (dropout, 2 * self.blocks.len()))?;
        let n = x.shape()[0];
        // The first row sees the whole text.
        let first = tape.slice_columns(&tape.reshape(&x, &[n, self.length * d])?, 0, d)?;
        tape.l2_norm(&self.from_text.forward(pass, &first)?)
    }

    /// Computes the mean of both cross-entropies of a batch whose images and texts belong together
    /// pair by pair, in nats: `[1]`.
    ///
    /// # Errors
    /// If there are other texts than images.
    pub fn loss(
        &self,
        pass: &ForwardContext,
        images: &Var,
        texts: &TextBatch,
        dropout: Dropout,
    ) -> Result<Var> {
        let (images, texts) = (
            self.images(pass, images, dropout)?,
            self.texts(pass, texts, dropout)?,
        );
        self.loss_of_rows(pass, &images, &texts)
    }

    /// [`Contrastive::loss`] of the rows [B, E] that images and texts became.
    ///
    /// # Errors
    /// If there are other texts than images.
    pub(crate) fn loss_of_rows(&self, pass: &ForwardContext, a: &Var, b: &Var) -> Result<Var> {
        let tape = pass.tape;
        let n = a.shape()[0];
        let own = Tensor::from_slice(tape.gpu(), &[n], &(0..n as u32).collect::<Vec<_>>())?;
        let scale = tape.scale(&pass.param(self.scale)?, SCALE, 0.0)?;
        let side = |x: &Var, y: &Var| -> Result<Var> {
            let logits = tape.scale_by(&tape.matmul(x, y, Transpose::B)?, &scale)?;
            tape.mean(&tape.cross_entropy(&logits, &own, CrossEntropy::default())?)
        };
        let both = tape.add(&side(a, b)?, &side(b, a)?)?;
        tape.scale(&both, 0.5, 0.0)
    }
}
