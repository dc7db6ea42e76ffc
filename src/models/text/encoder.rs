//! Encoders of texts: the rows of a transformer that looks both ways over their tokens (Yu et al.
//! 2022, "Parti", section 2.2), or rows that an encoder from elsewhere made.

use crate::Result;
use crate::autograd::Var;
use crate::models::prior::Shape;
use crate::models::text::{Text, TextBatch, TextFormat};
use crate::nn::transformer::{Block, Dropout};
use crate::nn::{BlockConfig, Builder, ForwardContext, Handle, INIT_STD, Init, Linear, Norm};
use crate::ops::attention::attention::Attention;

/// Embeddings, blocks, a norm; or a linear map of given rows, and a norm.
#[derive(Clone, Debug)]
pub struct TextEncoder {
    input: Input,
    blocks: Vec<Block>,
    norm: Norm,
    length: usize,
    dim: usize,
}

#[derive(Clone, Debug)]
enum Input {
    /// [V + S, D] and [S, D].
    Tokens {
        table: Handle,
        positions: Handle,
    },
    Rows(Linear),
}

impl TextEncoder {
    /// Declares `name.tokens`, `name.positions`, `name.blocks` and `name.norm`; for rows
    /// `name.rows` and `name.norm`.
    ///
    /// # Errors
    /// If there can be no such texts.
    pub fn new(b: &mut Builder, name: &str, shape: &Shape, text: &Text) -> Result<TextEncoder> {
        text.check()?;
        let d = shape.dim;
        let (input, layers) = match text.form {
            TextFormat::Tokens(size) => {
                let table = b.declare(
                    format!("{name}.tokens.weight"),
                    &[size + text.length, d],
                    Init::Normal(INIT_STD),
                );
                let positions = b.declare(
                    format!("{name}.positions.weight"),
                    &[text.length, d],
                    Init::Normal(INIT_STD),
                );
                b.without_decay(table);
                b.without_decay(positions);
                (Input::Tokens { table, positions }, shape.text_layers)
            }
            TextFormat::Rows(channels) => {
                let std = 1.0 / (channels as f32).sqrt();
                (
                    Input::Rows(Linear::new(b, &format!("{name}.rows"), channels, d, std)),
                    0,
                )
            }
        };
        let block = BlockConfig {
            dim: d,
            heads: shape.heads,
            hidden: shape.hidden,
            norm: shape.norm,
            mlp: shape.mlp,
            layers,
        };
        let blocks = (0..layers)
            .map(|i| Block::new(b, &format!("{name}.blocks.{i}"), &block))
            .collect();
        let norm = Norm::new(b, &format!("{name}.norm"), d, shape.norm);
        Ok(TextEncoder {
            input,
            blocks,
            norm,
            length: text.length,
            dim: d,
        })
    }

    /// Texts to rows [B, S, D]; those past a text's end mean nothing. `place` numbers the first
    /// place of dropout, of which there are two to a block.
    ///
    /// # Errors
    /// If the device fails.
    pub fn forward(
        &self,
        pass: &ForwardContext,
        text: &TextBatch,
        (dropout, place): (Dropout, usize),
    ) -> Result<Var> {
        let tape = pass.tape;
        let rows = match &self.input {
            Input::Tokens { table, .. } => tape.gather(&pass.param(*table)?, &text.input)?,
            Input::Rows(linear) => linear.forward(pass, &tape.constant(&text.input))?,
        };
        let b = rows.shape()[0] / self.length;
        let mut x = tape.reshape(&rows, &[b, self.length, self.dim])?;
        if let Input::Tokens { positions, .. } = &self.input {
            x = tape.positions(&x, &pass.param(*positions)?)?;
        }
        let attention = Attention {
            mask: Some(&text.mask),
            ..Attention::FULL
        };
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.sequences(pass, x, attention, None, (dropout, place + 2 * i), None)?;
        }
        self.norm.forward(pass, &x)
    }

    /// Places of dropout that this takes.
    pub fn places(&self) -> usize {
        2 * self.blocks.len()
    }
}
