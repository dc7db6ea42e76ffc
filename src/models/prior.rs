//! The second stage: a decoder-only transformer over the codes of an image, row by row, conditioned
//! on its class (van den Oord et al. 2017, section 4; Esser et al. 2021, section 3.2), and on the
//! codes of the levels above them, where there are any (Razavi et al. 2019, section 3.2), or on a
//! text: in one sequence with it (Ramesh et al. 2021), or by attention to what an encoder makes of
//! it (Yu et al. 2022).

mod batch;
mod code_order;
pub mod conditioning;
mod conditions;
mod decoding;
mod factorised;
mod head;
pub mod masked;
mod next_scale;
pub mod order;
mod pattern;
mod scale_layers;
mod training;
mod vocabulary;
mod window;

mod shape;

pub use code_order::CodeOrder;
pub use decoding::NextCode;
pub use factorised::HalfRows;
pub use head::Head;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use head::halves;
pub use order::Order;
pub use pattern::Pattern;
pub use shape::{Kind, Positions, Shape, TextKind};

use super::text::{Text, TextFormat};
use crate::autograd::Var;
use crate::gpu::{Gpu, Tensor};
use crate::models::prior::conditioning::Conditioning;
use crate::models::prior::factorised::FactorisedHeads;
use crate::models::prior::order::Places;
use crate::models::prior::pattern::{Masks, Place};
use crate::models::prior::scale_layers::ScaleLayers;
use crate::models::text::encoder::TextEncoder;
use crate::nn::transformer::{Block, Dropout};
use crate::nn::{
    BlockConfig, Builder, ForwardContext, Handle, INIT_STD, Init, Linear, Norm, linear,
};
use crate::ops::attention::attention::Attention;
use crate::ops::attention::rotary::{Rotary, raster};
use crate::ops::sampling::random::Key;
use crate::{Error, Result};
pub use batch::{Batch, Hidden};
pub use conditions::{Conditions, Memory};
use std::ops::Range;
pub use vocabulary::{Scales, Vocabulary};
pub use window::WindowRows;

/// A prior: the handles of its parameters, and its positions.
#[derive(Clone, Debug)]
pub struct Prior {
    shape: Shape,
    vocabulary: Vocabulary,
    /// One for each codebook: [K, D].
    tokens: Vec<Handle>,
    /// [C + 1, D], the last for no class. None where a text stands in its place.
    classes: Option<Handle>,
    /// [Q, D], where there are several codebooks.
    codebook: Option<Handle>,
    /// [h w, D], of the place of the code to come.
    positions: Option<Handle>,
    /// [h w + 1, D], of the place of the code before, where rows are told of it and not turned.
    own: Option<Handle>,
    rotary: Option<Rotary>,
    /// One for each level above that the model sees.
    above: Vec<Conditioning>,
    /// Where codes are predicted scale by scale.
    scales: Option<ScaleLayers>,
    reader: Reader,
    /// Masks of whole sequences.
    masks: Masks,
    blocks: Vec<Block>,
    norm: Norm,
    /// One for each codebook, where they are not the embeddings.
    heads: Vec<Linear>,
    /// In their place, where codes are predicted in halves.
    factorised: Option<FactorisedHeads>,
}

/// The reader of the texts.
#[derive(Clone, Debug)]
enum Reader {
    None,
    /// Embeddings [V + S, D] and positions [S, D] of the text's tokens, and what predicts them.
    Stream {
        table: Handle,
        positions: Handle,
        head: Linear,
        text: Text,
    },
    Encoder(TextEncoder),
}

/// Losses in nats: means over codes, and over the tokens of texts.
#[derive(Clone, Debug)]
pub struct Losses {
    /// Loss of the codes: `[1]`.
    pub codes: Var,
    /// Loss of the texts, where the model learns them: `[1]`.
    pub text: Option<Var>,
}

/// A stream of random numbers for dropout: "drop".
const DROPOUT_STREAM: u32 = 0x6472_6f70;

impl Prior {
    /// Declares the model's parameters.
    ///
    /// # Errors
    /// If the shape makes no model, or there is no code.
    pub fn new(
        gpu: &Gpu,
        b: &mut Builder,
        shape: &Shape,
        vocabulary: &Vocabulary,
    ) -> Result<Prior> {
        let shape = shape.resolved();
        shape.check()?;
        let v = vocabulary.clone();
        let [rows, cols] = v.grid;
        if v.tokens() == 0
            || v.tokens() > 1 << 20
            || v.codebook_size == 0
            || v.codebook_size > 1 << 20
        {
            let what = format!(
                "{} codes an image, of {}: each from 1 to 2^20",
                v.tokens(),
                v.codebook_size
            );
            return Err(Error::invalid("prior", what));
        }
        let d = shape.dim;
        let mut table = |name: String, n: usize| {
            let handle = b.declare(name, &[n, d], Init::Normal(INIT_STD));
            b.without_decay(handle);
            handle
        };
        // A masked prior has one more, for codes that are hidden.
        let masks = usize::from(shape.kind == Kind::Masked);
        let tokens = (0..v.codebooks)
            .map(|q| table(format!("tokens.{q}.weight"), v.codebook_size + masks))
            .collect();
        let prefix = prefix(&shape, &v);
        let classes = (prefix == 1).then(|| table("classes.weight".into(), v.classes + 1));
        let codebook = (v.codebooks > 1).then(|| table("codebook.weight".into(), v.codebooks));
        let learned = shape.positions == Positions::Learned;
        let told = shape.order.tells_places();
        let positions = (learned || told).then(|| table("positions.weight".into(), rows * cols));
        let own = (learned && told).then(|| table("own.weight".into(), rows * cols + 1));
        let rotary = if learned {
            None
        } else {
            let cells = match &v.scales {
                Some(scales) => scale_layers::cells(&scales.sides),
                None => raster(rows, cols),
            };
            let cells = cells
                .into_iter()
                .flat_map(|cell| std::iter::repeat_n(cell, v.codebooks));
            // A text's tokens have their own places: attention turns none of them.
            let cells: Vec<[f64; 2]> = std::iter::repeat_n([0.0; 2], prefix - 1)
                .chain(cells)
                .collect();
            Some(Rotary::axial(
                gpu,
                &cells,
                d / shape.heads,
                f64::from(shape.rope_base),
            )?)
        };
        let seen = if shape.conditioned { &v.above[..] } else { &[] };
        let above = seen
            .iter()
            .map(|l| Conditioning::new(gpu, b, &format!("above.{}", l.name), &shape, l, v.grid));
        let above = above.collect::<Result<_>>()?;
        let scales = match shape.kind {
            Kind::NextScale => Some(ScaleLayers::new(gpu, b, &shape, &v)?),
            Kind::Autoregressive | Kind::Masked => None,
        };
        let block = BlockConfig {
            dim: d,
            heads: shape.heads,
            hidden: shape.hidden,
            norm: shape.norm,
            mlp: shape.mlp,
            layers: shape.layers,
        };
        let reader = match (&v.text, shape.text) {
            (None, _) => Reader::None,
            (Some(text), TextKind::Encoder) => {
                Reader::Encoder(TextEncoder::new(b, "text", &shape, text)?)
            }
            (Some(text), TextKind::Stream) => {
                text.check()?;
                if shape.kind != Kind::Autoregressive {
                    let what = "`stream` predicts a text's tokens one after another: a masked or \
                                next-scale prior reads texts by `encoder`";
                    return Err(Error::config("prior.text", what));
                }
                let TextFormat::Tokens(size) = text.form else {
                    let what = "`stream` learns a text's tokens: rows of an encoder from \
                                elsewhere need `encoder`";
                    return Err(Error::config("prior.text", what));
                };
                let table = b.declare(
                    "text.tokens.weight",
                    &[size + text.length, d],
                    Init::Normal(INIT_STD),
                );
                let positions = b.declare(
                    "text.positions.weight",
                    &[text.length, d],
                    Init::Normal(INIT_STD),
                );
                b.without_decay(table);
                b.without_decay(positions);
                let head = Linear::new(b, "text.head", d, size, INIT_STD);
                Reader::Stream {
                    table,
                    positions,
                    head,
                    text: *text,
                }
            }
        };
        let new = if matches!(reader, Reader::Encoder(_)) {
            Block::reading
        } else {
            Block::new
        };
        let blocks = (0..shape.layers)
            .map(|i| new(b, &format!("blocks.{i}"), &block))
            .collect();
        let norm = Norm::new(b, "norm", d, shape.norm);
        let factorised = match shape.head {
            Head::Table => None,
            Head::Factorised => Some(FactorisedHeads::new(gpu, b, &shape, &v)?),
        };
        let untied = match (&factorised, shape.tied) {
            (None, false) => v.codebooks,
            _ => 0,
        };
        let heads = (0..untied)
            .map(|q| Linear::new(b, &format!("head.{q}"), d, v.codebook_size, INIT_STD))
            .collect();
        let place = place(&shape, &v);
        let masks = Masks::new(gpu, &shape.attention, prefix - 1 + v.tokens(), &place)?;
        Ok(Prior {
            shape,
            vocabulary: v,
            tokens,
            classes,
            codebook,
            positions,
            own,
            rotary,
            above,
            scales,
            reader,
            masks,
            blocks,
            norm,
            heads,
            factorised,
        })
    }

    /// Returns its sizes.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Returns the layout of its codes.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Rows before the one that stands for the first code, and that one: a class, or a text in one
    /// sequence with the codes.
    pub fn prefix(&self) -> usize {
        prefix(&self.shape, &self.vocabulary)
    }

    /// Rows of a whole sequence.
    pub fn rows(&self) -> usize {
        self.prefix() - 1 + self.vocabulary.tokens()
    }

    /// Embeddings [B, P - 1 + length, D] of the class [B], or of the text, and, after it, of the
    /// first `length - 1` codes of images, those of each codebook u32 [B h w], with what is known
    /// of the place of the code to come; `length` of 1 to T.
    fn embed(
        &self,
        pass: &ForwardContext,
        batch: &Batch,
        conditions: &Conditions,
        length: usize,
        places: Option<&Places>,
    ) -> Result<Var> {
        let (tape, d, [b]) = (pass.tape, self.shape.dim, batch.classes.dims("prior")?);
        let (before, mut x) = match &self.reader {
            Reader::Stream {
                table,
                positions,
                text,
                ..
            } => {
                let rows = tape.gather(&pass.param(*table)?, &batch.text()?.input)?;
                let rows = tape.positions(
                    &tape.reshape(&rows, &[b, text.length, d])?,
                    &pass.param(*positions)?,
                )?;
                let rows = tape.reshape(&rows, &[b, text.length * d])?;
                let before = (text.length - 1) * d;
                (
                    Some(tape.slice_columns(&rows, 0, before)?),
                    tape.slice_columns(&rows, before, d)?,
                )
            }
            _ => {
                let table = self
                    .classes
                    .ok_or_else(|| Error::invalid("prior", "nothing stands before the codes"))?;
                (None, tape.gather(&pass.param(table)?, &batch.classes)?)
            }
        };
        if length > 1 {
            let tables = batch.codes.iter().zip(&self.tokens);
            let rows = tables.map(|(codes, table)| tape.gather(&pass.param(*table)?, codes));
            let rows = rows.collect::<Result<Vec<Var>>>()?;
            let cells = if let [rows] = &rows[..] {
                rows.clone()
            } else {
                tape.concat_columns(&rows)?
            };
            let cells = tape.reshape(&cells, &[b, self.vocabulary.tokens() * d])?;
            x = tape.concat_columns(&[x, tape.slice_columns(&cells, 0, (length - 1) * d)?])?;
        }
        let mut x = tape.reshape(&x, &[b * length, d])?;
        for (layers, rows) in self.above.iter().zip(&conditions.above) {
            let places = match &batch.order {
                Some(order) => self.rows_above(layers, order, length),
                None => layers.by_image(b, 0..length, self.vocabulary.codebooks),
            };
            let known = tape.gather(
                rows,
                &Tensor::from_slice(tape.gpu(), &[places.len()], &places)?,
            )?;
            x = tape.add(&x, &known)?;
        }
        let x = self.place(pass, tape.reshape(&x, &[b, length, d])?, 0..length)?;
        let x = match places {
            Some(places) => {
                let x = tape.reshape(&x, &[b * length, d])?;
                tape.reshape(&self.add_places(pass, &x, places)?, &[b, length, d])?
            }
            None => x,
        };
        let Some(before) = before else { return Ok(x) };
        let all = tape.concat_columns(&[before, tape.reshape(&x, &[b, length * d])?])?;
        tape.reshape(&all, &[b, self.prefix() - 1 + length, d])
    }

    /// Adds the learned embeddings of positions `at` to x [B, T, D].
    fn place(&self, pass: &ForwardContext, mut x: Var, at: Range<usize>) -> Result<Var> {
        let (tape, books) = (pass.tape, self.vocabulary.codebooks);
        let mut add = |table: Handle, row: &dyn Fn(usize) -> usize| -> Result<()> {
            let mut table = pass.param(table)?;
            // A table with a row for each position is read as it is.
            let rows: Vec<u32> = at.clone().map(|i| row(i) as u32).collect();
            if rows.iter().enumerate().any(|(i, row)| i as u32 != *row) {
                table = tape.gather(
                    &table,
                    &Tensor::from_slice(tape.gpu(), &[rows.len()], &rows)?,
                )?;
            }
            x = tape.positions(&x, &table)?;
            Ok(())
        };
        if let Some(table) = self.codebook {
            add(table, &|i| i % books)?;
        }
        if let Some(table) = self.positions.filter(|_| !self.shape.order.tells_places()) {
            add(table, &|i| i / books)?;
        }
        Ok(x)
    }

    /// Computes the logits of the next code, of codebook `q`, from rows of the last block: x [N, D]
    /// to [N, K].
    fn head(&self, pass: &ForwardContext, x: &Var, q: usize) -> Result<Var> {
        if self.factorised.is_some() {
            let what = "a factorised head makes no logits of all codes: see \
                        `Prior::first_logits` and `Prior::second_logits`";
            return Err(Error::invalid("prior", what));
        }
        match self.heads.get(q) {
            Some(head) => head.forward(pass, x),
            None => {
                let logits = linear(pass, x, &pass.param(self.tokens[q])?)?;
                // Nothing predicts that a code is hidden.
                match self.shape.kind {
                    Kind::Autoregressive | Kind::NextScale => Ok(logits),
                    Kind::Masked => {
                        let size = self.vocabulary.codebook_size;
                        pass.tape.slice_columns(&logits, 0, size)
                    }
                }
            }
        }
    }

    /// Returns the attention of a block over whole sequences.
    fn attention(&self, block: usize) -> Attention<'_> {
        Attention {
            mask: self.masks.of(&self.shape.attention, block),
            ..Attention::CAUSAL
        }
    }

    /// Runs the blocks over whole images: [B, P - 1 + T, D], normed.
    fn run(&self, pass: &ForwardContext, batch: &Batch, dropout: Dropout) -> Result<Var> {
        let key = Key {
            stream: DROPOUT_STREAM,
            ..dropout.key
        };
        let dropout = Dropout { key, ..dropout };
        let conditions = self.conditions(pass, batch, dropout)?;
        if self.shape.kind == Kind::Masked {
            return self.run_masked(pass, batch, &conditions, dropout);
        }
        if let Some(layers) = self.scales().len().checked_sub(1) {
            return self.run_scales(pass, batch, &conditions, dropout, layers + 1);
        }
        let length = self.vocabulary.tokens();
        let places = self.places_in(pass.tape.gpu(), batch, length)?;
        let angles = self.angles(places.as_ref());
        let mut x = self.embed(pass, batch, &conditions, length, places.as_ref())?;
        x = dropout.apply(pass, &x, 0)?;
        for (i, block) in self.blocks.iter().enumerate() {
            let at = (dropout, 1 + 2 * i);
            let encoder_states = conditions.memory.as_ref().and_then(|m| m.encoder_states(i));
            x = block.sequences(
                pass,
                x,
                self.attention(i),
                angles.as_ref(),
                at,
                encoder_states,
            )?;
        }
        self.norm.forward(pass, &x)
    }

    /// Logits of every code of the images, each from the class or the text and the codes before it:
    /// for each codebook [B h w, K].
    ///
    /// # Errors
    /// If the head is factorised, or the device fails.
    pub fn logits(
        &self,
        pass: &ForwardContext,
        batch: &Batch,
        dropout: Dropout,
    ) -> Result<Vec<Var>> {
        let x = self.run(pass, batch, dropout)?;
        self.code_logits(pass, x)
    }
}

/// See [`Prior::prefix`].
fn prefix(shape: &Shape, v: &Vocabulary) -> usize {
    match (&v.text, shape.text) {
        (Some(text), TextKind::Stream) => text.length,
        _ => 1,
    }
}

fn place(shape: &Shape, v: &Vocabulary) -> Place {
    Place {
        prefix: prefix(shape, v),
        columns: v.grid[1],
        books: v.codebooks,
        kernel: shape.attention_kernel,
    }
}
