//! Sampling of several places of each image in a pass: the codes of one-by-one sampling, in fewer
//! passes.
//!
//! A code is a function of the codes before it and of noise that its place and its image fix, so
//! that the codes of an image are the one solution of a system of equations, and iteration finds
//! it: each pass draws every code of a window from what the codes before it are taken for, and
//! those up to the first that was taken wrongly are final. Its first always is.

mod conditions;
mod slot;

use crate::autograd::Tape;
use crate::gpu::{DType, Tensor};
use crate::inference::PriorModel;
use crate::inference::sampling::batch::{SampleBatch, by_place, place_of};
use crate::inference::sampling::request::SampleRequest;
use crate::inference::sampling::samples::Samples;
use crate::models::prior::{Prior, WindowRows};
use crate::nn::ForwardContext;
use crate::nn::transformer::Dropout;
use crate::ops::attention::attention_decode::{KvCache, most_parts};
use crate::ops::sampling::repetition_penalty::{Columns, repetition_penalty_each};
use crate::ops::sampling::sample::{SampleOutputs, sample, sample_keyed};
use crate::{Error, Result};
use conditions::SlotConditions;
use slot::Slot;
use std::ops::Range;

/// Parallel sampling under way. Each image goes on by itself, and one that is finished leaves its
/// place to the next.
///
/// ```no_run
/// use wgvq::gpu::{Gpu, Options};
/// use wgvq::inference::{FirstStageModel, PriorModel, SampleRequest};
///
/// # async fn sample() -> wgvq::Result<()> {
/// let gpu = Gpu::new_async(Options::default()).await?;
/// let model = FirstStageModel::load(&gpu, "runs/demo".as_ref())?;
/// let prior = PriorModel::load(&gpu, "runs/demo/prior".as_ref(), &model)?;
/// let mut session = prior.parallel_session(&SampleRequest::new(&[0, 1]), 16)?;
/// while session.pass().await? {
///     let images = model.decode_async(&session.codes()).await?; // whole ones, as they are now
/// }
/// let samples = session.finish();
/// # Ok(())
/// # }
/// ```
pub struct ParallelSession<'a> {
    model: &'a PriorModel,
    request: SampleRequest<'a>,
    /// The images, and the next that is to begin.
    images: Range<usize>,
    next: usize,
    /// Sequences of a pass of one-by-one sampling: its bits are wanted.
    all: usize,
    /// Sequences of each image: two with guidance.
    copies: usize,
    /// Cells in a pass.
    cells: usize,
    /// The order of the cells, where it is not row by row: places are counted in it.
    order: Option<Vec<u32>>,
    known: Vec<bool>,
    prefix: usize,
    slots: Vec<Option<Slot>>,
    caches: Vec<KvCache>,
    conditions: SlotConditions,
    samples: Samples,
    drawn: usize,
    passes: usize,
}

impl PriorModel {
    /// Starts to sample what [`PriorModel::sample_async`] samples, `window` codes of an image in a
    /// pass, rounded up to whole cells: at most as many as the device binds the logits of. Images
    /// are drawn [`SamplingOptions::batch`](super::SamplingOptions::batch) at a time.
    ///
    /// # Errors
    /// As [`PriorModel::sample_async`]; also if there is no image.
    pub fn parallel_session<'a>(
        &'a self,
        request: &SampleRequest<'a>,
        window: usize,
    ) -> Result<ParallelSession<'a>> {
        request.check(self)?;
        self.one_by_one()?;
        self.several_at_once()?;
        let images = request.images();
        if images == 0 || window == 0 {
            let what = format!("{images} images, {window} codes in a pass: at least one of each");
            return Err(Error::invalid("sample", what));
        }
        ParallelSession::new(self, request, 0..images, window)
    }
}

impl<'a> ParallelSession<'a> {
    /// Starts with images of a request that was checked.
    pub(super) fn new(
        model: &'a PriorModel,
        request: &SampleRequest<'a>,
        images: Range<usize>,
        window: usize,
    ) -> Result<Self> {
        let v = &model.info().vocabulary;
        let t = v.tokens();
        let first = SampleBatch::new(model, request, images.start..images.start);
        let prefix = first.prefix();
        let (order, known) = (first.order, first.places);
        let copies = 1 + usize::from(request.options.sampling.guidance.is_some());
        let slots = images.len().min(request.options.batch);
        let caches = if prefix < t {
            model.prior.caches(&model.gpu, copies * slots)?
        } else {
            Vec::new()
        };
        let n = images.len();
        Ok(ParallelSession {
            model,
            request: *request,
            next: images.start,
            images,
            all: copies * slots,
            copies,
            cells: cells_in_pass(model, copies * slots, window),
            order,
            known,
            prefix,
            slots: (0..slots).map(|_| None).collect(),
            caches,
            conditions: SlotConditions::new(copies, slots),
            samples: Samples {
                codes: vec![0; n * t],
                log_likelihood: vec![0.0; n],
                passes: vec![0; n],
            },
            drawn: 0,
            passes: 0,
        })
    }

    /// Draws the codes of a window of each image that is under way, and waits for them without
    /// blocking the thread; returns `false` where all codes are final.
    ///
    /// # Errors
    /// If the device fails.
    pub async fn pass(&mut self) -> Result<bool> {
        let free = self.slots.iter().filter(|slot| slot.is_none()).count();
        let left = self.images.end - self.next;
        // Those that begin are taken in together: a few rows take as long as one.
        if left > 0 && free >= left.min(self.slots.len().div_ceil(4)) {
            self.begin(free.min(left)).await?;
        }
        if self.slots.iter().all(Option::is_none) {
            return Ok(self.next < self.images.end);
        }
        self.draw_window().await?;
        self.passes += 1;
        Ok(true)
    }

    /// Returns the codes of every image as they are now, u32 [N, T]: final ones, and what the
    /// others are taken for; 0 of images that have not begun.
    pub fn codes(&self) -> Vec<u32> {
        let mut codes = self.samples.codes.clone();
        let t = self.known.len();
        for slot in self.slots.iter().flatten() {
            let at = (slot.image - self.images.start) * t;
            codes[at..at + t].copy_from_slice(&self.by_place(slot));
        }
        codes
    }

    /// Returns how many codes are final, of those that were not known.
    pub fn drawn(&self) -> usize {
        self.drawn
    }

    /// Returns how many passes there were over windows.
    pub fn passes(&self) -> usize {
        self.passes
    }

    /// Ends the session, and returns the samples; those of images that were not finished are as
    /// [`ParallelSession::codes`] has them.
    pub fn finish(mut self) -> Samples {
        for slot in 0..self.slots.len() {
            self.put_away(slot);
        }
        self.samples
    }

    /// Takes the next `n` images into free slots: what is known of them goes through the model, and
    /// the first code behind it is drawn.
    async fn begin(&mut self, n: usize) -> Result<()> {
        let (model, options) = (self.model, &self.request.options);
        let (gpu, prior, t) = (&model.gpu, &model.prior, self.known.len());
        let batch = SampleBatch::new(model, &self.request, self.next..self.next + n);
        let free = (0..self.slots.len()).filter(|slot| self.slots[*slot].is_none());
        let free: Vec<usize> = free.take(n).collect();
        let prefix = self.prefix;
        let new = |i: usize| Slot {
            image: batch.first + i,
            front: prefix,
            codes: batch.codes[i * t..(i + 1) * t].to_vec(),
            log_probs: vec![0.0; t],
            passes: u32::from(prefix < t),
        };
        if prefix == t {
            self.next += n;
            for (i, slot) in free.iter().enumerate() {
                self.slots[*slot] = Some(new(i));
                self.put_away(*slot);
            }
            return Ok(());
        }
        let inputs = batch.upload(model, &batch.codes)?;
        let rows = self.copies * n;
        let sequences: Vec<usize> = (0..self.copies)
            .flat_map(|copy| free.iter().map(move |slot| (copy, slot)))
            .map(|(copy, slot)| copy * self.slots.len() + slot)
            .collect();
        let at: Vec<u32> = sequences.iter().flat_map(|s| [*s as u32, 0]).collect();
        let at = Tensor::from_slice(gpu, &[rows, 2], &at)?;
        let tape = Tape::no_grad(gpu);
        let pass = ForwardContext::new(&tape, &model.params).among(self.all, rows);
        let conditions = prior.conditions(&pass, &inputs, Dropout::OFF)?;
        let caches = &self.caches;
        let next = prior.prefill_at(&pass, &inputs, &conditions, prefix, caches, &at)?;
        self.conditions.take(gpu, &conditions, &sequences)?;
        let sequence = Tensor::from_slice(gpu, &[n, t], &batch.codes)?;
        let logits = model.penalized(&next.logits()?, &sequence, prefix, options)?;
        let token = Tensor::zeros(gpu, &[rows], DType::U32)?;
        let log_prob = Tensor::zeros(gpu, &[n], DType::F32)?;
        let to = SampleOutputs {
            token: &token,
            log_prob: &log_prob,
            sequence: None,
        };
        let key = model.key(options, self.place(prefix));
        sample(&logits, &options.sampling, key, batch.first, to)?;
        let (token, log_prob) = (token.read_async()?, log_prob.read_async()?);
        let (token, log_prob) = (token.get::<u32>().await?, log_prob.get::<f32>().await?);
        // Taken when nothing can fail any more: a call after an error begins with them again.
        self.next += n;
        for (i, slot) in free.iter().enumerate() {
            self.slots[*slot] = Some(new(i));
        }
        for (slot, drawn) in free.iter().zip(token.into_iter().zip(log_prob)) {
            self.take(*slot, prefix, &[drawn]);
        }
        Ok(())
    }

    /// Draws the codes of a window of each image.
    async fn draw_window(&mut self) -> Result<()> {
        let (model, options) = (self.model, &self.request.options);
        let v = &model.info().vocabulary;
        let (gpu, t, books, slots) = (&model.gpu, v.tokens(), v.codebooks, self.slots.len());
        let mut sequences = vec![0; slots * t];
        for (slot, codes) in self.slots.iter().zip(sequences.chunks_mut(t)) {
            if let Some(slot) = slot {
                codes.copy_from_slice(&slot.codes);
            }
        }
        let first: Vec<Option<usize>> = self
            .slots
            .iter()
            .map(|slot| slot.as_ref().map(|slot| slot.front))
            .collect();
        let rows: WindowRows = model.prior.window_rows(
            gpu,
            &sequences.repeat(self.copies),
            &first.repeat(self.copies),
            self.cells,
            self.order.as_deref(),
        )?;
        let tape = Tape::no_grad(gpu);
        let logits = model.prior.window(
            &tape,
            &model.params,
            self.all,
            &rows,
            &self.conditions.above,
            self.conditions.memory.as_ref(),
            &self.caches,
        )?;
        let penalty = options.repetition_penalty;
        let sequences = Tensor::from_slice(gpu, &[slots, t], &sequences)?;
        let mut read = Vec::new();
        for (q, logits) in logits.iter().enumerate() {
            let of_slot = |(slot, first): (usize, &Option<usize>)| {
                let image = self.slots[slot].as_ref().map_or(0, |slot| slot.image);
                let first = first.unwrap_or(0) / books;
                (first..first + self.cells).map(move |cell| (slot, image, cell))
            };
            let of_rows = || first.iter().enumerate().flat_map(of_slot);
            let n = slots * self.cells;
            let keys: Vec<u32> = of_rows()
                .flat_map(|(_, image, cell)| {
                    // Past the last place nothing is drawn.
                    let step = (cell * books + q).min(t - 1);
                    [self.place(step) as u32, image as u32]
                })
                .collect();
            let keys = Tensor::from_slice(gpu, &[n, 2], &keys)?;
            let penalized = if penalty == 1.0 {
                logits.clone()
            } else {
                // A code is held against those of the cells before it.
                let count = t / books - 1;
                let at: Vec<u32> = of_rows()
                    .flat_map(|(slot, _, cell)| [slot as u32, cell.min(count) as u32])
                    .collect();
                let at = Tensor::from_slice(gpu, &[n, 2], &at)?;
                let (first, stride) = (q, books);
                let columns = Columns {
                    first,
                    stride,
                    count,
                };
                repetition_penalty_each(logits, &sequences, columns, penalty, &at)?
            };
            let token = Tensor::zeros(gpu, &[self.copies * n], DType::U32)?;
            let log_prob = Tensor::zeros(gpu, &[n], DType::F32)?;
            let to = SampleOutputs {
                token: &token,
                log_prob: &log_prob,
                sequence: None,
            };
            let key = model.key(options, 0);
            sample_keyed(
                &penalized,
                &options.sampling,
                key.seed,
                key.stream,
                &keys,
                to,
            )?;
            read.push((token.read_async()?, log_prob.read_async()?));
        }
        let mut drawn = vec![(0, 0.0); slots * self.cells * books];
        for (q, (token, log_prob)) in read.into_iter().enumerate() {
            let (token, log_prob) = (token.get::<u32>().await?, log_prob.get::<f32>().await?);
            let own = drawn.iter_mut().skip(q).step_by(books);
            own.zip(token.into_iter().zip(log_prob))
                .for_each(|(to, drawn)| *to = drawn);
        }
        let each = self.cells * books;
        for (slot, (first, drawn)) in first.iter().zip(drawn.chunks(each)).enumerate() {
            if let Some(first) = first {
                if let Some(slot) = &mut self.slots[slot] {
                    slot.passes += 1;
                }
                self.take(slot, first / books * books, drawn);
            }
        }
        Ok(())
    }

    /// Takes in what was drawn for an image, and puts it away where all of it is final.
    fn take(&mut self, slot: usize, first: usize, drawn: &[(u32, f32)]) {
        let v = &self.model.info().vocabulary;
        let books = v.codebooks;
        // Neighbours in another order lie anywhere.
        let row = if self.order.is_some() {
            books
        } else {
            v.grid[1] * books
        };
        let Some(own) = &mut self.slots[slot] else {
            return;
        };
        self.drawn += own.take(first, drawn, &self.known);
        // As far as the next window goes.
        let end = first + drawn.len();
        let count = (own.front + self.cells * books).saturating_sub(end);
        own.guess(end, count, &self.known, row, books);
        if own.front == self.known.len() {
            self.put_away(slot);
        }
    }

    /// Returns the place in the image of the code at step `i`.
    fn place(&self, i: usize) -> usize {
        let books = self.model.info().vocabulary.codebooks;
        place_of(self.order.as_deref(), books, i)
    }

    /// Returns an image's codes by their places.
    fn by_place(&self, slot: &Slot) -> Vec<u32> {
        let books = self.model.info().vocabulary.codebooks;
        let (codes, t) = (slot.codes.clone(), self.known.len());
        by_place(codes, self.order.as_deref(), books, t)
    }

    /// Moves an image to the samples.
    fn put_away(&mut self, slot: usize) {
        if let Some(slot) = self.slots[slot].take() {
            let (image, t) = (slot.image - self.images.start, self.known.len());
            let codes = self.by_place(&slot);
            self.samples.codes[image * t..(image + 1) * t].copy_from_slice(&codes);
            self.samples.log_likelihood[image] = slot.log_likelihood();
            self.samples.passes[image] = slot.passes;
        }
    }
}

/// Returns how many cells of each of so many sequences go into a pass: those of `window` codes, as
/// far as there are any and the device can bind what a pass makes of them.
fn cells_in_pass(model: &PriorModel, sequences: usize, window: usize) -> usize {
    let v = &model.info().vocabulary;
    let most = v.grid[0] * v.grid[1];
    let wanted = window.div_ceil(v.codebooks).clamp(1, most.max(1));
    let limit = model.gpu.limits().max_storage_buffer_binding_size as usize;
    // Attention over many codes leaves partial sums, a part to so many of them.
    let shape = model.prior.shape();
    let rows = v.tokens() + v.text.as_ref().map_or(0, |text| text.length);
    let row = widest(&model.prior).max(most_parts(rows) * shape.dim);
    let of_cell = 4 * sequences * v.codebook_size.max(v.codebooks * row);
    wanted.min(limit / of_cell.max(1)).max(1)
}

/// Returns the channels of the widest row inside the blocks.
fn widest(prior: &Prior) -> usize {
    let shape = prior.shape();
    (3 * shape.dim).max(2 * shape.hidden)
}
