//! A head that predicts a code in two halves, the second from the first.

use super::code_order::CodeOrder;
use super::head::check_halves;
use super::{Prior, Shape, Vocabulary};
use crate::autograd::Var;
use crate::gpu::{Gpu, Tensor};
use crate::nn::transformer::Mlp;
use crate::nn::{BlockConfig, Builder, ForwardContext, Handle, INIT_STD, Init, Linear, Norm};
use crate::ops::loss::cross_entropy::CrossEntropy;
use crate::{Error, Result};

/// The heads of all codebooks.
#[derive(Clone, Debug)]
pub(super) struct FactorisedHeads {
    /// Values of the first half and of the second: their product is K.
    halves: [usize; 2],
    order: CodeOrder,
    /// The code at each place of the order, u32 `[K]`.
    codes: Tensor,
    books: Vec<Layers>,
}

/// The layers of a codebook's head. The second half sees the row of the transformer and the first
/// half, through an MLP: y = x + e(first), y + mlp(norm(y)).
#[derive(Clone, Debug)]
struct Layers {
    first: Linear,
    /// Embeddings of the first half, [K1, D].
    table: Handle,
    norm: Norm,
    mlp: Mlp,
    last: Norm,
    second: Linear,
}

/// Rows of the last block from which a code is drawn in two halves.
#[derive(Clone, Debug)]
pub struct HalfRows {
    /// [B, D], normed.
    rows: Tensor,
    codebook: usize,
}

impl FactorisedHeads {
    /// Declares their parameters: `head.Q.first`, `.halves.weight`, `.norm`, `.mlp`, `.last` and
    /// `.second`.
    pub(super) fn new(
        gpu: &Gpu,
        b: &mut Builder,
        shape: &Shape,
        v: &Vocabulary,
    ) -> Result<FactorisedHeads> {
        let halves = check_halves(v.codebook_size)?;
        let d = shape.dim;
        let block = BlockConfig {
            dim: d,
            heads: shape.heads,
            hidden: shape.hidden,
            norm: shape.norm,
            mlp: shape.mlp,
            layers: shape.layers,
        };
        let mut layers = |q: usize| {
            let name = format!("head.{q}");
            let first = Linear::new(b, &format!("{name}.first"), d, halves[0], INIT_STD);
            let table = b.declare(
                format!("{name}.halves.weight"),
                &[halves[0], d],
                Init::Normal(INIT_STD),
            );
            b.without_decay(table);
            Layers {
                first,
                table,
                norm: Norm::new(b, &format!("{name}.norm"), d, shape.norm),
                mlp: Mlp::new(b, &format!("{name}.mlp"), &block),
                last: Norm::new(b, &format!("{name}.last"), d, shape.norm),
                second: Linear::new(b, &format!("{name}.second"), d, halves[1], INIT_STD),
            }
        };
        let books = (0..v.codebooks).map(&mut layers).collect();
        let order = CodeOrder::plain(v.codebook_size);
        Ok(FactorisedHeads {
            halves,
            codes: order.upload(gpu)?,
            order,
            books,
        })
    }

    /// Returns the halves of codes of the host: u32 `[N]` each.
    pub(super) fn upload_halves(&self, gpu: &Gpu, codes: &[u32]) -> Result<[Tensor; 2]> {
        let second = self.halves[1] as u32;
        let place = |code: &u32| self.order.place(*code);
        let of = |half: &dyn Fn(u32) -> u32| {
            let values: Vec<u32> = codes.iter().map(place).map(half).collect();
            Tensor::from_slice(gpu, &[values.len()], &values)
        };
        Ok([of(&|place| place / second)?, of(&|place| place % second)?])
    }

    fn layers(&self, codebook: usize) -> Result<&Layers> {
        let missing = || Error::invalid("prior", "a codebook without a head");
        self.books.get(codebook).ok_or_else(missing)
    }

    /// Logits of the second half [N, K2] of rows [N, D], whose first half is known, u32 `[N]`.
    fn second(&self, pass: &ForwardContext, q: usize, x: &Var, first: &Tensor) -> Result<Var> {
        let (tape, layers) = (pass.tape, self.layers(q)?);
        let known = tape.gather(&pass.param(layers.table)?, first)?;
        let y = tape.add(x, &known)?;
        let inner = layers.mlp.forward(pass, &layers.norm.forward(pass, &y)?)?;
        let y = tape.add(&y, &inner)?;
        layers.second.forward(pass, &layers.last.forward(pass, &y)?)
    }

    /// Returns the mean cross-entropy of codes of a codebook, in nats, from their halves: the sum
    /// of that of the first half and that of the second, given the first.
    pub(super) fn loss(
        &self,
        pass: &ForwardContext,
        q: usize,
        x: &Var,
        [first, second]: &[Tensor; 2],
        options: CrossEntropy,
    ) -> Result<Var> {
        let tape = pass.tape;
        let logits = self.layers(q)?.first.forward(pass, x)?;
        let own = tape.mean(&tape.cross_entropy(&logits, first, options)?)?;
        drop(logits);
        let logits = self.second(pass, q, x, first)?;
        let other = tape.mean(&tape.cross_entropy(&logits, second, options)?)?;
        tape.add(&own, &other)
    }
}

impl Prior {
    /// Returns the prior with its codes counted in an order, where its head is factorised: that of
    /// their vectors, as
    /// [`FirstStageModel::code_order`](crate::inference::FirstStageModel::code_order) gives it. A
    /// prior with a table of logits has no use for it.
    ///
    /// # Errors
    /// If it is an order of other codes, or the device fails.
    pub fn with_code_order(mut self, gpu: &Gpu, order: CodeOrder) -> Result<Prior> {
        let Some(heads) = &mut self.factorised else {
            return Ok(self);
        };
        if order.len() != self.vocabulary.codebook_size {
            let what = format!(
                "an order of {} codes, for a prior over {}",
                order.len(),
                self.vocabulary.codebook_size
            );
            return Err(Error::data(what));
        }
        heads.codes = order.upload(gpu)?;
        heads.order = order;
        Ok(self)
    }

    /// Returns the order in which its factorised head counts codes; `None` with a table of logits.
    pub fn code_order(&self) -> Option<&CodeOrder> {
        self.factorised.as_ref().map(|heads| &heads.order)
    }

    /// Returns rows for [`Prior::first_logits`], where its head is factorised.
    pub(super) fn half_rows(&self, rows: &Var, codebook: usize) -> HalfRows {
        HalfRows {
            rows: rows.tensor().clone(),
            codebook,
        }
    }

    fn heads(&self) -> Result<&FactorisedHeads> {
        let none = || Error::invalid("prior", "its head is a table of logits");
        self.factorised.as_ref().ok_or_else(none)
    }

    /// Computes the logits [B, K1] of the first half of the next code.
    ///
    /// # Errors
    /// If the head is not factorised, or the device fails.
    pub fn first_logits(&self, pass: &ForwardContext, of: &HalfRows) -> Result<Tensor> {
        let layers = self.heads()?.layers(of.codebook)?;
        let logits = layers.first.forward(pass, &pass.tape.constant(&of.rows))?;
        Ok(logits.tensor().clone())
    }

    /// Computes the logits [B, K2] of the second half of the next code, whose first half is known,
    /// u32 `[B]`.
    ///
    /// # Errors
    /// If the head is not factorised, or the device fails.
    pub fn second_logits(
        &self,
        pass: &ForwardContext,
        of: &HalfRows,
        first: &Tensor,
    ) -> Result<Tensor> {
        let rows = pass.tape.constant(&of.rows);
        let logits = self.heads()?.second(pass, of.codebook, &rows, first)?;
        Ok(logits.tensor().clone())
    }

    /// Returns the code at each place of the order, u32 `[K]`, and the values of the second half.
    ///
    /// # Errors
    /// If the head is not factorised.
    pub fn codes_of_halves(&self) -> Result<(&Tensor, usize)> {
        let heads = self.heads()?;
        Ok((&heads.codes, heads.halves[1]))
    }
}
