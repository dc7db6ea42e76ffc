//! Sampling step by step, with keys and values kept from step to step. Nothing comes back from the
//! device before it is asked for.

use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Readback, Tensor};
use crate::inference::PriorModel;
use crate::inference::sampling::batch::{SampleBatch, place_of};
use crate::inference::sampling::request::SamplingOptions;
use crate::inference::sampling::samples::PendingSamples;
#[cfg(not(target_arch = "wasm32"))]
use crate::inference::sampling::samples::Samples;
use crate::models::prior::order::{in_order, inverse};
use crate::models::prior::{Conditions, Memory, NextCode};
use crate::nn::ForwardContext;
use crate::nn::transformer::Dropout;
use crate::ops::attention::attention_decode::KvCache;
use crate::ops::quantize::gather::gather;
use crate::ops::sampling::sample::SampleOutputs;

/// Sampling under way: all images of a request together, the same place of each at a time.
///
/// ```no_run
/// use wgvq::gpu::{Gpu, Options};
/// use wgvq::inference::{FirstStageModel, PriorModel, SampleRequest};
///
/// # async fn sample() -> wgvq::Result<()> {
/// let gpu = Gpu::new_async(Options::default()).await?;
/// let model = FirstStageModel::load(&gpu, "runs/demo".as_ref())?;
/// let prior = PriorModel::load(&gpu, "runs/demo/prior".as_ref(), &model)?;
/// let mut session = prior.session(&SampleRequest::new(&[0, 1]))?;
/// while session.step()? {
///     let so_far = session.codes()?.get::<u32>().await?;
///     let images = model.decode_async(&so_far).await?; // as they are now
/// }
/// let samples = session.pending()?.get().await?;
/// # Ok(())
/// # }
/// ```
pub struct SamplingSession<'a> {
    model: &'a PriorModel,
    options: SamplingOptions,
    /// The number of the first image, and how many there are.
    first: usize,
    images: usize,
    /// The order of the cells, where it is not row by row, and the codes of one. What follows is in
    /// this order.
    order: Option<Vec<u32>>,
    books: usize,
    /// Whether each place is known.
    places: Vec<bool>,
    /// The place that is next, and the first that was not known.
    at: usize,
    prefix: usize,
    drawn: usize,
    /// The codes so far, u32 [B, T].
    sequence: Tensor,
    /// The last codes, u32 [rows].
    token: Tensor,
    /// Log-likelihoods, f32 [T, `stride`].
    log_probs: Tensor,
    /// Sequences on the device, those without their class too, and the length of a row of places:
    /// a view may begin at each.
    rows: usize,
    stride: usize,
    /// `None` where every code is known.
    state: Option<State>,
}

/// State that the next step needs.
struct State {
    caches: Vec<KvCache>,
    /// Rows that the caches hold at each place, u32 [T, `stride`].
    lengths: Tensor,
    known: Option<Tensor>,
    above: Vec<(Var, Tensor)>,
    /// Keys and values of the encoded texts.
    memory: Option<Memory>,
    next: NextCode,
}

impl<'a> SamplingSession<'a> {
    /// Starts, with the codes that are known at the start in the caches already.
    pub(super) fn new(model: &'a PriorModel, batch: SampleBatch) -> Result<Self> {
        let (gpu, prior) = (&model.gpu, &model.prior);
        let (t, b, rows) = (batch.places.len(), batch.images, batch.classes.len());
        let sequence = Tensor::from_slice(gpu, &[b, t], &batch.codes)?;
        let token = Tensor::zeros(gpu, &[rows], DType::U32)?;
        // A row to each code, each where a view may begin: what is drawn goes to its own row, and
        // what a step reads is there already.
        let stride = rows.next_multiple_of(64);
        let before = prior.prefix() as u32 - 1;
        let log_probs = Tensor::zeros(gpu, &[t, stride], DType::F32)?;
        let prefix = batch.prefix();
        let mut state = None;
        if prefix < t {
            let caches = prior.caches(gpu, rows)?;
            let inputs = batch.upload(model, &batch.codes)?;
            let lengths: Vec<u32> = (0..t as u32)
                .flat_map(|i| std::iter::repeat_n(before + i, stride))
                .collect();
            let lengths = Tensor::from_slice(gpu, &[t, stride], &lengths)?;
            let known = batch.known_columns(gpu)?;
            let tape = Tape::no_grad(gpu);
            let pass = ForwardContext::new(&tape, &model.params);
            let conditions = prior.conditions(&pass, &inputs, Dropout::OFF)?;
            let next = prior.prefill(&pass, &inputs, &conditions, prefix, Some(&caches))?;
            drop(inputs);
            let Conditions { above, memory } = conditions;
            let above = above.into_iter().zip(prior.places(gpu, rows)?).collect();
            state = Some(State {
                caches,
                lengths,
                known,
                above,
                memory,
                next,
            });
        }
        Ok(SamplingSession {
            model,
            options: batch.options,
            first: batch.first,
            images: b,
            order: batch.order,
            books: prior.vocabulary().codebooks,
            places: batch.places,
            at: prefix,
            prefix,
            drawn: 0,
            sequence,
            token,
            log_probs,
            rows,
            stride,
            state,
        })
    }

    /// Records the next place of every image; returns `false` where there is none left. Nothing is
    /// submitted by this, or waited for.
    ///
    /// # Errors
    /// If the device fails.
    pub fn step(&mut self) -> Result<bool> {
        let (model, i, rows, stride) = (self.model, self.at, self.rows, self.stride);
        let Some(state) = self.state.as_mut().filter(|_| i < self.places.len()) else {
            return Ok(false);
        };
        let place = place_of(self.order.as_deref(), self.books, i);
        let tape = Tape::no_grad(&model.gpu);
        let pass = ForwardContext::new(&tape, &model.params);
        if i > self.prefix {
            let here = |(rows_above, places): &(Var, Tensor)| {
                Ok((rows_above.clone(), places.view(place * stride, &[rows])?))
            };
            let above = state.above.iter().map(here).collect::<Result<Vec<_>>>()?;
            let lengths = state.lengths.view(i * stride, &[rows])?;
            state.next = model.prior.step(
                &pass,
                &self.token,
                i,
                &above,
                state.memory.as_ref(),
                &state.caches,
                &lengths,
                self.order.as_deref(),
            )?;
        }
        match state.known.as_ref().filter(|_| self.places[i]) {
            Some(columns) => self
                .token
                .copy_from(&columns.view(i * columns.shape()[1], &[rows])?)?,
            None => {
                let log_prob = self.log_probs.view(i * stride, &[self.images])?;
                let to = SampleOutputs {
                    token: &self.token,
                    log_prob: &log_prob,
                    sequence: Some((&self.sequence, i)),
                };
                let key = model.key(&self.options, place);
                let (of, options) = ((&self.sequence, i), &self.options);
                model.draw_code(&pass, &state.next, of, options, key, self.first, to)?;
                self.drawn += 1;
            }
        }
        self.at += 1;
        Ok(true)
    }

    /// Returns how many places were stepped over, known ones in between too.
    pub fn steps(&self) -> usize {
        self.at - self.prefix
    }

    /// Returns how many of them were drawn.
    pub fn drawn(&self) -> usize {
        self.drawn
    }

    /// Starts reading the codes as they are now, u32 [B, T]; those that are neither known nor drawn
    /// yet are 0.
    ///
    /// # Errors
    /// If the device fails.
    pub fn codes(&self) -> Result<Readback> {
        let Some(cells) = &self.order else {
            return self.sequence.read_async();
        };
        let t = self.places.len();
        let of_image: Vec<u32> = (0..t as u32).collect();
        let from = in_order(&of_image, &inverse(cells), self.books, t);
        let from: Vec<u32> = (0..self.images)
            .flat_map(|image| from.iter().map(move |i| (image * t) as u32 + i))
            .collect();
        let from = Tensor::from_slice(&self.model.gpu, &[from.len()], &from)?;
        let rows = self.sequence.reshape(&[self.images * t, 1])?;
        gather(&rows, &from)?.read_async()
    }

    /// Ends the session, and starts reading what was drawn.
    ///
    /// # Errors
    /// If the device fails.
    pub fn pending(self) -> Result<PendingSamples> {
        Ok(PendingSamples {
            gpu: self.model.gpu.clone(),
            codes: self.sequence.read_async()?,
            order: self.order.clone(),
            books: self.books,
            tokens: self.places.len(),
            log_probs: self.log_probs.read_async()?,
            stride: self.stride,
            images: self.images,
            steps: self.steps(),
        })
    }

    /// Ends the session and returns what was drawn. Waits for the device.
    ///
    /// # Errors
    /// If the device fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn finish(self) -> Result<Samples> {
        self.pending()?.wait()
    }
}
