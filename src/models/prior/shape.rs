//! The sizes of a prior: the keys of `[prior]`.

use crate::models::prior::head::Head;
use crate::models::prior::order::Order;
use crate::models::prior::pattern::{Pattern, check_kernel};
use crate::nn::{MlpKind, NormKind};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Encoding of a code's position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// Queries and keys turned by row and column (Su et al. 2021; axial, as in Fang et al. 2023,
    /// "EVA-02").
    Rotary,
    /// An embedding for each cell of the grid, learned.
    Learned,
}

/// The way in which a prior reads texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextKind {
    /// Text and codes are one sequence, and the model learns both (Ramesh et al. 2021, "DALL-E").
    Stream,
    /// An encoder that looks both ways reads the text, and every block of the model attends to it
    /// (Yu et al. 2022, "Parti").
    Encoder,
}

/// The way in which a prior predicts codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One after another, each from those before it.
    #[default]
    Autoregressive,
    /// All that are hidden at once, from all others (Chang et al. 2022, "MaskGIT"; Chang et al.
    /// 2023, "Muse").
    Masked,
    /// All codes of a scale at once, from those of the coarser ones (Tian et al. 2024, "Visual
    /// autoregressive modeling").
    #[serde(rename = "next-scale")]
    NextScale,
}

/// The sizes of a prior.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shape {
    /// Transformer blocks.
    pub layers: usize,
    /// Channels of a token.
    pub dim: usize,
    /// Attention heads; they divide `dim`.
    pub heads: usize,
    /// Channels inside the MLPs; 0 is 8/3 of `dim` with `swiglu`, four times `dim` with `gelu`.
    pub hidden: usize,
    /// Norms of the blocks: `rms` or `layer`.
    pub norm: NormKind,
    /// MLPs of the blocks: `swiglu` or `gelu`.
    pub mlp: MlpKind,
    /// Positions of codes: `rotary`, queries and keys turned by row and column; or `learned`, an
    /// embedding for each cell.
    pub positions: Positions,
    /// Base of the angles of rotary positions.
    pub rope_base: f32,
    /// Whether the logits share their weights with the codes' embeddings (Press and Wolf 2017).
    pub tied: bool,
    /// Share of the elements that dropout zeroes in the embeddings and in what attention and MLP of
    /// a block add.
    pub dropout: f32,
    /// Whether the model sees the codes of the levels above its own, where there are any.
    pub conditioned: bool,
    /// Blocks over the codes of each level above, in which each code attends to all others.
    pub condition_layers: usize,
    /// The way in which texts are read, where images have some: `encoder`, by an encoder to which
    /// every block attends; or `stream`, before the codes in one sequence.
    pub text: TextKind,
    /// `text = "encoder"`: blocks of the text's encoder.
    pub text_layers: usize,
    /// `text = "stream"`: weight of the text's own tokens in the loss; the codes have the rest.
    pub text_weight: f32,
    /// Attention patterns of the blocks, in order and repeated as often as needed: `full`, `row`,
    /// `column` or `convolution`. Empty: all `full`.
    pub attention: Vec<Pattern>,
    /// Side, in cells, of the window that the pattern `convolution` attends to; odd.
    pub attention_kernel: usize,
    /// The order in which codes are predicted: `raster`, row by row; `annealed`, trained on random
    /// orders first; or `any`, from whichever codes are known.
    pub order: Order,
    /// The way in which codes are predicted: `autoregressive`, one after another; `masked`, all
    /// that are hidden at once, from all others; or `next-scale`, a scale of the quantizer
    /// `multiscale` at once, from the coarser ones.
    pub kind: Kind,
    /// The head: `table`, a logit for each code; or `factorised`, a code in two halves, for
    /// codebooks of 2^14 codes and more.
    pub head: Head,
}

impl Default for Shape {
    fn default() -> Self {
        Shape {
            layers: 4,
            dim: 192,
            heads: 6,
            hidden: 0,
            norm: NormKind::Rms,
            mlp: MlpKind::SwiGlu,
            positions: Positions::Rotary,
            rope_base: 100.0,
            tied: true,
            dropout: 0.1,
            conditioned: true,
            condition_layers: 2,
            text: TextKind::Encoder,
            text_layers: 2,
            text_weight: 0.125,
            attention: Vec::new(),
            attention_kernel: 5,
            order: Order::Raster,
            kind: Kind::Autoregressive,
            head: Head::Table,
        }
    }
}

impl Shape {
    /// Returns the sizes with the MLPs' channels written out.
    pub fn resolved(&self) -> Shape {
        let hidden = match (self.hidden, self.mlp) {
            (0, MlpKind::SwiGlu) => (8 * self.dim / 3).next_multiple_of(32),
            (0, MlpKind::Gelu) => 4 * self.dim,
            (hidden, _) => hidden,
        };
        Shape {
            hidden,
            ..self.clone()
        }
    }

    /// Checks that a model can be built.
    ///
    /// # Errors
    /// Names the key, and what it may be.
    pub fn check(&self) -> Result<()> {
        let wrong = |key: &str, what: String| Err(Error::config(format!("prior.{key}"), what));
        if !(1..=256).contains(&self.layers) {
            return wrong(
                "layers",
                format!("{} is not allowed: it must be from 1 to 256", self.layers),
            );
        }
        if self.condition_layers > 256 {
            return wrong(
                "condition_layers",
                format!(
                    "{} is not allowed: it must be at most 256",
                    self.condition_layers
                ),
            );
        }
        let axes = if self.positions == Positions::Rotary {
            4
        } else {
            1
        };
        let head = self.dim.checked_div(self.heads).unwrap_or(0);
        if head == 0
            || !self.dim.is_multiple_of(self.heads)
            || head > 256
            || !head.is_multiple_of(axes)
        {
            let multiple = if axes == 1 {
                ""
            } else {
                ", a multiple of 4 for rotary positions"
            };
            let what = format!(
                "{} heads of {} channels: each must get a whole number of them, at most \
                 256{multiple}",
                self.heads, self.dim
            );
            return wrong("heads", what);
        }
        if self.dim > 1 << 16 || self.hidden > 1 << 18 {
            let what = format!(
                "{} channels with {} inside the MLPs: at most 65536 and 262144",
                self.dim, self.hidden
            );
            return wrong("dim", what);
        }
        if !(self.rope_base > 1.0 && self.rope_base.is_finite()) {
            return wrong(
                "rope_base",
                format!("{} is not allowed: it must be above 1", self.rope_base),
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
        if self.text_layers > 256 {
            return wrong(
                "text_layers",
                format!(
                    "{} is not allowed: it must be at most 256",
                    self.text_layers
                ),
            );
        }
        if !(0.0..1.0).contains(&self.text_weight) {
            return wrong(
                "text_weight",
                format!(
                    "{} is not allowed: it must be at least 0 and below 1",
                    self.text_weight
                ),
            );
        }
        if self.attention.len() > 256 {
            return wrong(
                "attention",
                format!("{} patterns: at most 256", self.attention.len()),
            );
        }
        if self.order.tells_places() && self.attention.iter().any(|p| *p != Pattern::Full) {
            let what = "every code sees all those before it where `order` is not `raster`: it is \
                        full then";
            return wrong("attention", what.into());
        }
        if self.kind == Kind::Masked {
            if self.order != Order::Raster {
                let what = "a masked prior predicts codes in no order: leave it at `raster`";
                return wrong("order", what.into());
            }
            if self.attention.iter().any(|p| *p != Pattern::Full) {
                let what = "a code of a masked prior sees all others: it is full then";
                return wrong("attention", what.into());
            }
        }
        if self.kind == Kind::NextScale {
            if self.order != Order::Raster {
                let what = "a next-scale prior predicts scales from coarse to fine: leave it at \
                            `raster`";
                return wrong("order", what.into());
            }
            if self.attention.iter().any(|p| *p != Pattern::Full) {
                let what = "a code of a next-scale prior sees its scale and all coarser ones: it \
                            is full then";
                return wrong("attention", what.into());
            }
        }
        if self.head == Head::Factorised && self.kind != Kind::Autoregressive {
            let what = "`factorised` draws a code in two halves, which needs `kind` to be \
                        `autoregressive`: leave it at `table`";
            return wrong("head", what.into());
        }
        check_kernel(self.attention_kernel)
    }
}
