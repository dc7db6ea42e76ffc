//! A drawing under way: codes of images, the same place of each at a time. Nothing comes back from
//! the device before it is asked for.

use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Readback, Tensor};
use crate::inference::{Arriving, Asked, Draw, Drawing, Given, TrainedPrior};
use crate::models::prior::{Conditions, Memory};
use crate::models::text::Texts;
use crate::nn::Pass;
use crate::nn::transformer::Dropout;
use crate::ops::attention::attention_decode::KvCache;
use crate::ops::sampling::sample::{Drawn, sample};
use std::ops::Range;

/// Codes that are being drawn, see [`TrainedPrior::begin`].
pub struct Underway<'a> {
    prior: &'a TrainedPrior,
    how: Draw,
    /// The number of the first image, and how many there are.
    first: usize,
    images: usize,
    /// Which places are given.
    places: Vec<bool>,
    /// The place that is next, and the first that was not given.
    at: usize,
    prefix: usize,
    drawn: usize,
    /// The codes so far, u32 [B, T].
    sequence: Tensor,
    /// The last codes, u32 [rows].
    token: Tensor,
    /// Log-likelihoods, f32 [T, `wide`].
    log_probs: Tensor,
    /// Sequences on the device, those without their class too, and the length of a row of places:
    /// a view may begin at each.
    rows: usize,
    wide: usize,
    /// None where every code is given.
    state: Option<State>,
}

/// What the next step needs.
struct State {
    caches: Vec<KvCache>,
    /// Rows that the caches hold at each place, u32 [T, `wide`].
    lengths: Tensor,
    given: Option<Tensor>,
    known: Vec<(Var, Tensor)>,
    /// What an encoder made of the texts.
    memory: Option<Memory>,
    logits: Tensor,
}

impl<'a> Underway<'a> {
    /// The codes that are given at the start are in the caches already.
    pub(crate) fn new(prior: &'a TrainedPrior, images: Images, how: &Draw) -> Result<Self> {
        let (gpu, t, b) = (
            &prior.gpu,
            prior.about.vocabulary.tokens(),
            images.classes.len(),
        );
        let classes = prior.seen(images.classes, how);
        let rows = classes.len();
        let copies = rows / b;
        let sequence = Tensor::from_slice(gpu, &[b, t], &images.codes)?;
        let token = Tensor::zeros(gpu, &[rows], DType::U32)?;
        // A row to each code, each where a view may begin: what is drawn goes to its own row, and
        // what a step reads is there already.
        let wide = rows.next_multiple_of(64);
        let before = prior.prior.prefix() as u32 - 1;
        let log_probs = Tensor::zeros(gpu, &[t, wide], DType::F32)?;
        let prefix = images.places.iter().take_while(|given| **given).count();
        let mut state = None;
        if prefix < t {
            let caches = prior.prior.caches(gpu, rows)?;
            let batch = prior.prior.upload(
                gpu,
                &classes,
                &images.rows(&images.codes).repeat(copies),
                images.texts.as_ref(),
            )?;
            let lengths: Vec<u32> = (0..t as u32)
                .flat_map(|i| std::iter::repeat_n(before + i, wide))
                .collect();
            let lengths = Tensor::from_slice(gpu, &[t, wide], &lengths)?;
            let given = images.columns(gpu, copies)?;
            let tape = Tape::no_grad(gpu);
            let pass = Pass::new(&tape, &prior.params);
            let conditions = prior.prior.conditions(&pass, &batch, Dropout::OFF)?;
            let logits = prior
                .prior
                .prompt(&pass, &batch, &conditions, prefix, Some(&caches))?;
            drop(batch);
            let Conditions { above, memory } = conditions;
            let known = above
                .into_iter()
                .zip(prior.prior.places(gpu, rows)?)
                .collect();
            state = Some(State {
                caches,
                lengths,
                given,
                known,
                memory,
                logits,
            });
        }
        let (how, first, places) = (*how, images.first, images.places.to_vec());
        Ok(Underway {
            prior,
            how,
            first,
            images: b,
            places,
            at: prefix,
            prefix,
            drawn: 0,
            sequence,
            token,
            log_probs,
            rows,
            wide,
            state,
        })
    }

    /// Records the next place of every image; false where there is none left. Nothing is submitted
    /// by this, or waited for.
    ///
    /// # Errors
    /// If the device fails.
    pub fn step(&mut self) -> Result<bool> {
        let (prior, i, rows, wide) = (self.prior, self.at, self.rows, self.wide);
        let Some(state) = self.state.as_mut().filter(|_| i < self.places.len()) else {
            return Ok(false);
        };
        let tape = Tape::no_grad(&prior.gpu);
        let pass = Pass::new(&tape, &prior.params);
        if i > self.prefix {
            let here = |(rows_above, places): &(Var, Tensor)| {
                Ok((rows_above.clone(), places.view(i * wide, &[rows])?))
            };
            let known = state.known.iter().map(here).collect::<Result<Vec<_>>>()?;
            let lengths = state.lengths.view(i * wide, &[rows])?;
            state.logits = prior.prior.step(
                &pass,
                &self.token,
                i,
                &known,
                state.memory.as_ref(),
                &state.caches,
                &lengths,
            )?;
        }
        match state.given.as_ref().filter(|_| self.places[i]) {
            Some(columns) => self
                .token
                .copy_from(&columns.view(i * columns.shape()[1], &[rows])?)?,
            None => {
                let logits = prior.penalised(&state.logits, &self.sequence, i, &self.how)?;
                let log_prob = self.log_probs.view(i * wide, &[self.images])?;
                let to = Drawn {
                    token: &self.token,
                    log_prob: &log_prob,
                    sequence: Some((&self.sequence, i)),
                };
                sample(
                    &logits,
                    &self.how.sampling,
                    prior.key(&self.how, i),
                    self.first,
                    to,
                )?;
                self.drawn += 1;
            }
        }
        self.at += 1;
        Ok(true)
    }

    /// Places that were stepped over, and of them those that were drawn.
    pub fn steps(&self) -> usize {
        self.at - self.prefix
    }
    /// Places drawn.
    pub fn drawn(&self) -> usize {
        self.drawn
    }

    /// The codes as they are now, u32 [B, T]; those that are neither given nor drawn yet are 0.
    ///
    /// # Errors
    /// If the device fails.
    pub fn codes(&self) -> Result<Readback> {
        self.sequence.read_async()
    }

    /// What was drawn. Waits for the device.
    ///
    /// # Errors
    /// If the device fails.
    pub fn finish(self) -> Result<Drawing> {
        self.read()?.wait()
    }

    /// What was drawn, on its way.
    pub(crate) fn read(self) -> Result<Arriving> {
        let (codes, log_probs) = (self.sequence.read_async()?, self.log_probs.read_async()?);
        Ok(Arriving {
            codes,
            log_probs,
            wide: self.wide,
            images: self.images,
        })
    }
}

/// Images that are drawn together.
pub(crate) struct Images<'a> {
    /// The number of the first.
    pub(crate) first: usize,
    pub(crate) classes: &'a [u32],
    /// With guidance as many again.
    pub(crate) texts: Option<Texts>,
    /// Codes of the levels above: [B, A].
    above: Vec<u32>,
    /// [B, T].
    pub(crate) codes: Vec<u32>,
    pub(crate) places: &'a [bool],
}

impl<'a> Images<'a> {
    /// Those of `which` of all that are asked for; of what is `given` of all, their part. Where
    /// nothing is, `nothing` says so of every place.
    pub(crate) fn of(
        prior: &TrainedPrior,
        asked: Asked<'a>,
        which: Range<usize>,
        given: Option<Given<'a>>,
        nothing: &'a [bool],
        how: &Draw,
    ) -> Self {
        let (t, known) = (
            prior.about.vocabulary.tokens(),
            prior.about.vocabulary.known(),
        );
        let (mut above, mut codes) = (Vec::new(), vec![0; which.len() * t]);
        if let Some(g) = given {
            codes.clear();
            for image in g
                .codes
                .chunks(known + t)
                .skip(which.start)
                .take(which.len())
            {
                above.extend(&image[..known]);
                codes.extend(&image[known..]);
            }
        }
        let texts = prior.about.vocabulary.text.as_ref().map(|text| {
            let nothing = Texts::nothing(text, which.len());
            let own = asked
                .texts
                .map_or_else(|| nothing.clone(), |all| all.slice(text, which.clone()));
            // Guided, the second half is told nothing.
            if how.sampling.guidance.is_some() {
                own.and(&nothing)
            } else {
                own
            }
        });
        Images {
            first: which.start,
            classes: &asked.classes[which],
            texts,
            above,
            codes,
            places: given.map_or(nothing, |g| g.places),
        }
    }

    /// Each image's codes of the levels above, and behind them its own among `codes`.
    pub(crate) fn rows(&self, codes: &[u32]) -> Vec<u32> {
        crate::codes::interleave(&[self.above.clone(), codes.to_vec()], self.classes.len())
    }

    /// The codes as rows of places, each [`copies` B] long and padded to where a view may begin:
    /// given codes are copied from there. `None` where all that is given comes first.
    fn columns(&self, gpu: &Gpu, copies: usize) -> Result<Option<Tensor>> {
        let prefix = self.places.iter().take_while(|given| **given).count();
        if !self.places[prefix..].contains(&true) {
            return Ok(None);
        }
        let (t, b) = (self.places.len(), self.classes.len());
        let width = (copies * b).next_multiple_of(64);
        let mut columns = vec![0; t * width];
        for (i, column) in columns.chunks_mut(width).enumerate() {
            column
                .iter_mut()
                .take(copies * b)
                .enumerate()
                .for_each(|(n, code)| *code = self.codes[n % b * t + i]);
        }
        Tensor::from_slice(gpu, &[t, width], &columns).map(Some)
    }
}
