//! The passes of a step of a prior: what of its batch a rank sees, and with which random numbers.

use super::PriorTask;
use crate::Result;
use crate::autograd::Tape;
use crate::data::drawn;
use crate::gpu::Tensor;
use crate::inference::prior_measure::{random_hidden, random_orders, upload_in_orders};
use crate::models::prior::{Batch, Kind};
use crate::models::text::Texts;
use crate::nn::transformer::Dropout;
use crate::nn::{ForwardContext, GradientSum};
use crate::ops::sampling::random::{Key, philox};
use crate::trainer::optimizer_state::OptimizerState;
use std::ops::Range;

/// The stream of random numbers that decides which classes are hidden: "clas".
const CLASS_STREAM: u32 = 0x636c_6173;

/// The stream of random numbers that orders are made of: "orde".
const ORDER_STREAM: u32 = 0x6f72_6465;

impl PriorTask {
    /// Uploads images for a pass: in the order in which the model is to predict their codes, or
    /// with those hidden that it is to predict. They stand at `places` of the batch. Returns them,
    /// and what their loss is to be multiplied by where it counts other codes than those of an
    /// equal part of the batch.
    fn upload(
        &self,
        classes: &[u32],
        codes: &[u32],
        texts: Option<&Texts>,
        key: Key,
        places: &Range<usize>,
    ) -> Result<(Batch, f32)> {
        let (t, v, prior) = (&self.config.train, self.prior.vocabulary(), &self.prior);
        let n = t.batch_size;
        if prior.shape().kind == Kind::Masked {
            let all = random_hidden(key, v.tokens(), n);
            let hidden = &all[places.start * v.tokens()..places.end * v.tokens()];
            let batch = prior.upload_masked(&self.gpu, classes, codes, texts, hidden)?;
            let of = |hidden: &[bool]| hidden.iter().filter(|hidden| **hidden).count();
            let expected = of(&all) as f64 * places.len() as f64 / n as f64;
            return Ok((batch, (of(hidden) as f64 / expected.max(1.0)) as f32));
        }
        let steps = t.steps * t.accumulate as u64;
        let share = prior.shape().order.random_share(key.step, steps);
        if share == 0.0 {
            return Ok((prior.upload(&self.gpu, classes, codes, texts)?, 1.0));
        }
        let cells = v.grid[0] * v.grid[1];
        let orders = random_orders(key, share, cells, n);
        let orders = &orders[places.start * cells..places.end * cells];
        let batch = upload_in_orders(prior, &self.gpu, classes, codes, texts, orders)?;
        Ok((batch, 1.0))
    }

    /// Returns the passes of a step that this rank takes, and its share of each: whole passes where
    /// they fall into equal shares, and otherwise a part of each.
    pub(super) fn share(&self) -> (Range<u64>, Range<usize>) {
        let (t, rank, size) = (&self.config.train, self.ranks.rank(), self.ranks.size());
        let (passes, images) = (t.accumulate, t.batch_size);
        if passes.is_multiple_of(size) {
            let each = (passes / size) as u64;
            return (rank as u64 * each..(rank as u64 + 1) * each, 0..images);
        }
        let each = images / size;
        (0..passes as u64, rank * each..(rank + 1) * each)
    }

    /// One pass over a batch, or over the part of it at `places`: returns its loss, and adds its
    /// share of the step's gradients to `sum`. It may be the first of the step, and the last.
    pub(super) fn pass(
        &self,
        state: &OptimizerState,
        number: u64,
        places: &Range<usize>,
        (is_first, is_last): (bool, bool),
        sum: &mut GradientSum,
    ) -> Result<Tensor> {
        let t = &self.config.train;
        let (order, n) = (self.classes.as_deref(), self.tokens.train.len());
        let images = drawn(order, t.seed, number, t.batch_size, n);
        let images = &images[places.clone()];
        let (codes, mut classes) = self.tokens.train.read(images)?;
        let key = Key {
            seed: t.seed,
            step: number,
            stream: CLASS_STREAM,
        };
        let hidden = philox::uniform(key, 0.0, 1.0, t.batch_size);
        let hidden = hidden[places.clone()].iter().copied();
        let v = self.prior.vocabulary();
        let mut texts = self.tokens.train.read_texts(images)?;
        for (i, (class, u)) in classes.iter_mut().zip(hidden).enumerate() {
            if u < t.class_dropout {
                *class = v.no_class();
                if let (Some(texts), Some(text)) = (&mut texts, &v.text) {
                    texts.hide(text, i);
                }
            }
        }
        let key_of_order = Key {
            stream: ORDER_STREAM,
            ..key
        };
        let (batch, factor) =
            self.upload(&classes, &codes, texts.as_ref(), key_of_order, places)?;
        let tape = Tape::new(&self.gpu);
        let pass = ForwardContext::new(&tape, state.params())
            .with_activation_dtype(self.config.train.activations())
            .with_half_weights(state.half_weights());
        let mut pass = pass.with_checkpointing(t.gradient_checkpointing);
        // Those of the passes that follow are added to what the first one writes.
        if is_first {
            pass = pass.with_gradients_of(state.adam());
        }
        let dropout = Dropout {
            rate: self.prior.shape().dropout,
            key,
            before: places.start / places.len().max(1),
        };
        let mut loss = self.prior.loss(&pass, &batch, dropout, t.label_smoothing)?;
        let share = places.len() as f32 / t.images() as f32;
        if share * factor != 1.0 {
            loss = tape.scale(&loss, share * factor, 0.0)?;
        }
        let value = loss.tensor().clone();
        let loss = state.scaled(&tape, loss)?;
        match is_last {
            true => sum.add_last(state.adam(), &pass, &loss, &self.ranks)?,
            false => sum.add(state.adam(), pass.backward(&loss)?)?,
        }
        Ok(value)
    }
}
