//! Decoding step by step: the prompt at once, then one row an image, over caches of keys and
//! values.

use super::{Batch, Conditions, HalfRows, Memory, Prior, place};
use crate::autograd::Var;
use crate::gpu::{Gpu, Tensor};
use crate::models::prior::conditioning::Conditioning;
use crate::models::prior::pattern::Masks;
use crate::nn::ForwardContext;
use crate::nn::transformer::{Dropout, Phase};
use crate::ops::attention::attention::Attention;
use crate::ops::attention::attention_decode::KvCache;
use crate::{Error, Result};

/// The output of the model from which the next code of each sequence is drawn.
#[derive(Clone, Debug)]
pub enum NextCode {
    /// Logits [B, K].
    Logits(Tensor),
    /// Rows of a factorised head, from which the code is drawn in two halves: see
    /// [`Prior::first_logits`].
    Halves(HalfRows),
}

impl NextCode {
    /// Returns the logits of all codes.
    ///
    /// # Errors
    /// If the head is factorised: it makes none.
    pub fn logits(self) -> Result<Tensor> {
        match self {
            NextCode::Logits(logits) => Ok(logits),
            NextCode::Halves(_) => {
                let what = "a factorised head makes no logits of all codes";
                Err(Error::invalid("prior", what))
            }
        }
    }
}

impl Prior {
    /// Room for the keys and values of `rows` sequences, a cache for each block.
    ///
    /// # Errors
    /// If the device cannot bind or hold them; the message says how many sequences it can. Nothing
    /// was allocated then.
    pub fn caches(&self, gpu: &Gpu, rows: usize) -> Result<Vec<KvCache>> {
        let (h, d) = (self.shape.heads, self.shape.dim / self.shape.heads);
        let (each, room) = (self.cache_bytes(), gpu.room());
        let bound = gpu.limits().max_storage_buffer_binding_size;
        let half = 4 * (self.rows() * self.shape.dim) as u64;
        let most = (room / each).min(bound / half);
        if rows as u64 > most {
            let what = format!(
                "the keys and values of {rows} sequences of {} rows, of which {most} fit (an \
                 image is one, with guidance two): draw fewer images at a time (--batch)",
                self.rows()
            );
            return Err(Error::Memory {
                what,
                asked: each.saturating_mul(rows as u64),
                available: room.min(each.saturating_mul(bound / half)),
            });
        }
        self.blocks
            .iter()
            .map(|_| KvCache::new(gpu, [rows, self.rows(), h, d]))
            .collect()
    }

    /// Bytes that [`Prior::caches`] take for each sequence.
    pub fn cache_bytes(&self) -> u64 {
        8 * (self.shape.layers * self.rows() * self.shape.dim) as u64
    }

    /// Takes in the class or the text and the first `known` codes of the images, less than T, with
    /// their [`Prior::conditions`], and returns what the code after them is drawn from. The caches,
    /// where there are any, hold P + `known` rows then.
    ///
    /// # Errors
    /// If the device fails.
    pub fn prefill(
        &self,
        pass: &ForwardContext,
        batch: &Batch,
        conditions: &Conditions,
        known: usize,
        caches: Option<&[KvCache]>,
    ) -> Result<NextCode> {
        self.fill(pass, batch, conditions, known, |i| {
            caches
                .and_then(|caches| caches.get(i))
                .map_or(Phase::Full, Phase::Prefill)
        })
    }

    /// [`Prior::prefill`] into caches of more sequences than the batch has: u32 [B, 2] has the
    /// number of each, and 0.
    ///
    /// # Errors
    /// If the device fails.
    pub fn prefill_at(
        &self,
        pass: &ForwardContext,
        batch: &Batch,
        conditions: &Conditions,
        known: usize,
        caches: &[KvCache],
        at: &Tensor,
    ) -> Result<NextCode> {
        self.fill(pass, batch, conditions, known, |i| {
            caches
                .get(i)
                .map_or(Phase::Full, |cache| Phase::PrefillAt(cache, at))
        })
    }

    /// Computes what the code after the first `known` is drawn from, by blocks in these phases.
    fn fill<'a>(
        &self,
        pass: &ForwardContext,
        batch: &Batch,
        conditions: &Conditions,
        known: usize,
        phase: impl Fn(usize) -> Phase<'a>,
    ) -> Result<NextCode> {
        let (tape, d, [b]) = (pass.tape, self.shape.dim, batch.classes.dims("prior")?);
        let length = self.prefix() + known;
        let places = self.places_in(tape.gpu(), batch, known + 1)?;
        let angles = self.angles(places.as_ref());
        let mut x = self.embed(pass, batch, conditions, known + 1, places.as_ref())?;
        let patterns = &self.shape.attention;
        let masks = Masks::new(
            tape.gpu(),
            patterns,
            length,
            &place(&self.shape, &self.vocabulary),
        )?;
        for (i, block) in self.blocks.iter().enumerate() {
            let rows = phase(i);
            let attention = Attention {
                mask: masks.of(patterns, i),
                ..Attention::CAUSAL
            };
            let encoder_states = conditions.memory.as_ref().and_then(|m| m.encoder_states(i));
            x = block.forward(
                pass,
                &x,
                attention,
                angles.as_ref(),
                rows,
                (Dropout::OFF, 0),
                encoder_states,
            )?;
        }
        let last = tape.slice_columns(&tape.reshape(&x, &[b, length * d])?, (length - 1) * d, d)?;
        let x = self.norm.forward(pass, &last)?;
        self.next_code(pass, &x, known % self.vocabulary.codebooks)
    }

    /// Returns what the next code, of codebook `q`, is drawn from: x [B, D] normed.
    fn next_code(&self, pass: &ForwardContext, x: &Var, q: usize) -> Result<NextCode> {
        if self.factorised.is_some() {
            return Ok(NextCode::Halves(self.half_rows(x, q)));
        }
        let logits = self.head(pass, x, q)?;
        Ok(NextCode::Logits(logits.tensor().clone()))
    }

    /// Returns the row of the levels above for each code of `rows` images, for each level: u32 [T,
    /// W], W a multiple of 64.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn places(&self, gpu: &Gpu, rows: usize) -> Result<Vec<Tensor>> {
        let (t, books, wide) = (
            self.vocabulary.tokens(),
            self.vocabulary.codebooks,
            rows.next_multiple_of(64),
        );
        let of = |layers: &Conditioning| {
            Tensor::from_slice(gpu, &[t, wide], &layers.by_code(rows, t, books, wide))
        };
        self.above.iter().map(of).collect()
    }

    /// Takes in one code of each image, u32 `[B]`, the `known`-th from 1 on, and returns what the
    /// code after it is drawn from; `lengths` are the rows that the caches hold, `[B]`,
    /// `conditions` what the levels above say of each cell, with the rows of them that belong to
    /// the code after it, u32 `[B]`, and `memory` what an encoder made of the texts; `cells` is the
    /// order of the cells of all images, where it is not row by row.
    ///
    /// # Errors
    /// If the device fails.
    pub fn step(
        &self,
        pass: &ForwardContext,
        code: &Tensor,
        known: usize,
        conditions: &[(Var, Tensor)],
        memory: Option<&Memory>,
        caches: &[KvCache],
        lengths: &Tensor,
        cells: Option<&[u32]>,
    ) -> Result<NextCode> {
        let (tape, d, [b]) = (pass.tape, self.shape.dim, code.dims("prior")?);
        let books = self.vocabulary.codebooks;
        let mut x = tape.gather(&pass.param(self.tokens[(known - 1) % books])?, code)?;
        for (rows, places) in conditions {
            x = tape.add(&x, &tape.gather(rows, places)?)?;
        }
        let mut x = self.place(pass, tape.reshape(&x, &[b, 1, d])?, known..known + 1)?;
        let places = if self.shape.order.tells_places() {
            let raster;
            let cells = match cells {
                Some(cells) => cells,
                None => {
                    raster = self.raster_cells(1);
                    &raster
                }
            };
            self.places_of(tape.gpu(), &vec![self.row_of(cells, known); b])?
        } else {
            None
        };
        if let Some(places) = &places {
            x = self.add_places(pass, &tape.reshape(&x, &[b, d])?, places)?;
            x = tape.reshape(&x, &[b, 1, d])?;
        }
        let angles = self.angles(places.as_ref());
        for (i, (block, cache)) in self.blocks.iter().zip(caches).enumerate() {
            let (rows, encoder_states) = (
                Phase::Decode(cache, lengths),
                memory.and_then(|m| m.encoder_states(i)),
            );
            x = block.forward(
                pass,
                &x,
                self.attention(i),
                angles.as_ref(),
                rows,
                (Dropout::OFF, 0),
                encoder_states,
            )?;
        }
        let x = self.norm.forward(pass, &tape.reshape(&x, &[b, d])?)?;
        self.next_code(pass, &x, known % books)
    }
}
