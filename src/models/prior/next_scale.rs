//! Prediction of codes scale by scale: all of a grid at once, from what the coarser ones add up to
//! (Tian et al. 2024, "Visual autoregressive modeling").

use super::scale_layers::{rows, scale_of_each};
use super::{Batch, Conditions, Prior};
use crate::autograd::Var;
use crate::gpu::Tensor;
use crate::nn::ForwardContext;
use crate::nn::transformer::Dropout;
use crate::ops::attention::attention::Attention;
use crate::quantize::ScaleTables;
use crate::{Error, Result};

impl Prior {
    /// Returns the prior with what the codes of its scales stand for: the trained parts of the
    /// quantizer that made them, as
    /// [`FirstStageModel::scale_tables`](crate::inference::FirstStageModel::scale_tables) gives
    /// them. A prior without scales has no use for it.
    ///
    /// # Errors
    /// If they are of other scales, codes or channels.
    pub fn with_scale_tables(mut self, tables: ScaleTables) -> Result<Prior> {
        let Some(layers) = &mut self.scales else {
            return Ok(self);
        };
        let known = self.vocabulary.scales.as_ref();
        let same = known.is_some_and(|known| {
            known.sides == tables.sides() && known.channels == tables.channels()
        });
        if !same || tables.codebook_size() != self.vocabulary.codebook_size {
            let what = "the prior's scales are not those of this quantizer";
            return Err(Error::data(what));
        }
        layers.tables = Some(tables);
        Ok(self)
    }

    /// Returns the sides of the grids of codes that it predicts one after another; none, but for a
    /// prior over scales.
    pub fn scales(&self) -> &[usize] {
        self.scales.as_ref().map_or(&[], |layers| &layers.sides)
    }

    /// Runs the blocks over the rows of the first `scales` scales: [B, T, D], normed.
    pub(super) fn run_scales(
        &self,
        pass: &ForwardContext,
        batch: &Batch,
        conditions: &Conditions,
        dropout: Dropout,
        scales: usize,
    ) -> Result<Var> {
        let (tape, d, [b]) = (pass.tape, self.shape.dim, batch.classes.dims("prior")?);
        let missing = |what: &str| Error::invalid("prior", what.to_owned());
        let layers = self.scales.as_ref();
        let layers = layers.ok_or_else(|| missing("it has no scales"))?;
        let table = self.classes;
        let table = table.ok_or_else(|| missing("nothing stands before the codes"))?;
        let class = tape.gather(&pass.param(table)?, &batch.classes)?;
        let (first, all) = (rows(&layers.sides, 1), rows(&layers.sides, scales));
        let mut parts = vec![class; first];
        if all > first {
            let known = batch.scales.as_ref();
            let known = known.ok_or_else(|| missing("a batch without its coarser scales"))?;
            let [kb, have, c] = known.dims("prior")?;
            if [kb, have] != [b, all - first] {
                let expected = format!("{} rows of coarser scales", all - first);
                return Err(Error::shape("prior", expected, format!("{known:?}")));
            }
            let known = tape.constant(&known.reshape(&[b * have, c])?);
            let known = layers.input.forward(pass, &known)?;
            parts.push(tape.reshape(&known, &[b, have * d])?);
        }
        let x = match &parts[..] {
            [only] => only.clone(),
            _ => tape.concat_columns(&parts)?,
        };
        let x = tape.reshape(&x, &[b, all, d])?;
        let of = &scale_of_each(&layers.sides)[..all];
        let of = Tensor::from_slice(tape.gpu(), &[all], of)?;
        let x = tape.positions(&x, &tape.gather(&pass.param(layers.table)?, &of)?)?;
        let x = self.place(pass, x, 0..all)?;
        let attention = Attention {
            mask: Some(&layers.masks[scales - 1]),
            ..Attention::FULL
        };
        let mut x = dropout.apply(pass, &x, 0)?;
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.sequences(
                pass,
                x,
                attention,
                self.rotary.as_ref(),
                (dropout, 1 + 2 * i),
                conditions.memory.as_ref().and_then(|m| m.encoder_states(i)),
            )?;
        }
        self.norm.forward(pass, &x)
    }

    /// Computes the logits of the codes of scale `scale`, counted from 0, each from the class and
    /// the scales before: [B s s, K]. The batch has the codes of those scales, see
    /// [`Prior::upload_scales`].
    ///
    /// # Errors
    /// If there is no such scale, or the device fails.
    pub fn scale_logits(&self, pass: &ForwardContext, batch: &Batch, scale: usize) -> Result<Var> {
        let (tape, d) = (pass.tape, self.shape.dim);
        if scale >= self.scales().len() {
            let expected = format!("a scale below {}", self.scales().len());
            return Err(Error::shape("prior", expected, scale));
        }
        let conditions = self.conditions(pass, batch, Dropout::OFF)?;
        let x = self.run_scales(pass, batch, &conditions, Dropout::OFF, scale + 1)?;
        let [b, all, _] = x.tensor().dims("prior")?;
        let own = self.scales()[scale].pow(2);
        let rows = tape.reshape(&x, &[b, all * d])?;
        let rows = tape.slice_columns(&rows, (all - own) * d, own * d)?;
        self.head(pass, &tape.reshape(&rows, &[b * own, d])?, 0)
    }
}
