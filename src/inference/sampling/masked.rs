//! Sampling from a masked prior: in each pass all hidden codes are drawn, and those that the model
//! is surest of stay (Chang et al. 2022, "MaskGIT", section 3.2).

use crate::autograd::Tape;
use crate::gpu::{DType, Tensor};
use crate::inference::PriorModel;
use crate::inference::sampling::batch::SampleBatch;
use crate::inference::sampling::request::{Parallel, SampleRequest};
use crate::inference::sampling::samples::Samples;
use crate::models::prior::Kind;
use crate::models::prior::masked::hidden_at;
use crate::nn::ForwardContext;
use crate::nn::transformer::Dropout;
use crate::ops::sampling::random::{Key, philox};
use crate::ops::sampling::sample::{SampleOutputs, sample_keyed};
use crate::{Error, Result};

/// The strength of the noise that is added to the log-probabilities by which codes are chosen, at
/// the start; at the end there is none.
const CHOICE_TEMPERATURE: f64 = 4.5;
/// The stream of random numbers of the choice: "choi". A pass adds its number.
const CHOICE_STREAM: u32 = 0x6368_6f69;

impl PriorModel {
    /// Whether this is a masked prior.
    pub(super) fn is_masked(&self) -> bool {
        self.prior.shape().kind == Kind::Masked
    }

    /// Checks that codes are drawn one by one.
    pub(super) fn one_by_one(&self) -> Result<()> {
        if self.is_masked() {
            let what = "a masked prior draws all codes of an image in passes, and not one after \
                        another: `sample` does";
            return Err(Error::invalid("sample", what));
        }
        if self.is_next_scale() {
            let what = "a next-scale prior draws all codes of a scale at once, and not one after \
                        another: `sample` does";
            return Err(Error::invalid("sample", what));
        }
        Ok(())
    }

    /// Checks a request to a masked prior.
    pub(super) fn check_masked(&self, request: &SampleRequest) -> Result<()> {
        let options = &request.options;
        let what = if options.repetition_penalty != 1.0 {
            "repetition_penalty: in a masked prior no code comes before another"
        } else if matches!(options.parallel, Parallel::Window(_)) {
            "parallel: a masked prior draws many codes in a pass already; `passes` says in how \
             many passes"
        } else {
            return Ok(());
        };
        Err(Error::invalid("sample", what))
    }
}

/// Draws a batch; `progress` is called with the codes drawn of each image.
pub(super) async fn sample_masked(
    model: &PriorModel,
    batch: SampleBatch,
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Samples> {
    let (options, b, t) = (&batch.options, batch.images, batch.places.len());
    let mut codes = batch.codes.clone();
    let of_image: Vec<bool> = batch.places.iter().map(|known| !known).collect();
    let unknown = of_image.iter().filter(|hidden| **hidden).count();
    let mut hidden = of_image.repeat(b);
    let mut total = vec![0.0f64; b];
    let passes = options.passes.min(unknown);
    for number in 0..passes {
        let drawn = draw(model, &batch, &codes, &hidden, number).await?;
        let done = number + 1;
        let new = shown(unknown, done, passes) - shown(unknown, number, passes);
        let left = 1.0 - done as f64 / passes as f64;
        let noise = CHOICE_TEMPERATURE * f64::from(options.sampling.temperature) * left;
        for image in 0..b {
            let key = Key {
                seed: options.seed,
                step: (batch.first + image) as u64,
                stream: CHOICE_STREAM.wrapping_add(number as u32),
            };
            let at = image * t..(image + 1) * t;
            let (drawn, hidden) = (&drawn[at.clone()], &mut hidden[at]);
            for i in surest(drawn, hidden, &choice_noise(key, t, noise), new) {
                codes[image * t + i] = drawn[i].0;
                total[image] += f64::from(drawn[i].1);
                hidden[i] = false;
            }
        }
        progress(shown(unknown, done, passes))?;
    }
    Ok(Samples {
        codes,
        log_likelihood: total.into_iter().map(|sum| sum as f32).collect(),
        passes: vec![passes as u32; b],
    })
}

/// Draws every code of a batch in a pass, from those that are not hidden: codes and their
/// log-probabilities, [B, T].
async fn draw(
    model: &PriorModel,
    batch: &SampleBatch,
    codes: &[u32],
    hidden: &[bool],
    number: usize,
) -> Result<Vec<(u32, f32)>> {
    let (gpu, v, options) = (&model.gpu, &model.info().vocabulary, &batch.options);
    let (t, b, books) = (v.tokens(), batch.images, v.codebooks);
    let cells = t / books;
    let inputs = batch.upload_masked(model, codes, hidden)?;
    let tape = Tape::no_grad(gpu);
    let pass = ForwardContext::new(&tape, &model.params);
    let logits = model.prior.logits(&pass, &inputs, Dropout::OFF)?;
    let mut read = Vec::new();
    for (q, logits) in logits.iter().enumerate() {
        // A place has other noise in each pass.
        let key_of: Vec<u32> = (0..b)
            .flat_map(|image| (0..cells).map(move |cell| (image, cell)))
            .flat_map(|(image, cell)| [number * t + cell * books + q, batch.first + image])
            .map(|n| n as u32)
            .collect();
        let key_of = Tensor::from_slice(gpu, &[b * cells, 2], &key_of)?;
        let token = Tensor::zeros(gpu, &[batch.copies() * b * cells], DType::U32)?;
        let log_prob = Tensor::zeros(gpu, &[b * cells], DType::F32)?;
        let to = SampleOutputs {
            token: &token,
            log_prob: &log_prob,
            sequence: None,
        };
        let (key, logits) = (model.key(options, 0), logits.tensor());
        sample_keyed(logits, &options.sampling, key.seed, key.stream, &key_of, to)?;
        read.push((token.read_async()?, log_prob.read_async()?));
    }
    let mut drawn = vec![(0, 0.0); b * t];
    for (q, (token, log_prob)) in read.into_iter().enumerate() {
        let (token, log_prob) = (token.get::<u32>().await?, log_prob.get::<f32>().await?);
        let own = drawn.iter_mut().skip(q).step_by(books);
        own.zip(token.into_iter().zip(log_prob))
            .for_each(|(to, drawn)| *to = drawn);
    }
    Ok(drawn)
}

/// Returns how many of `unknown` codes are shown after `done` of as many or fewer passes: each pass
/// shows one, and leaves one for each that follows.
fn shown(unknown: usize, done: usize, passes: usize) -> usize {
    if done == passes {
        return unknown;
    }
    let wanted = unknown - hidden_at(unknown, done as f64 / passes as f64);
    wanted.max(done).min(unknown - (passes - done))
}

/// Returns Gumbel noise for each place, of this size.
fn choice_noise(key: Key, places: usize, size: f64) -> Vec<f64> {
    let uniform = philox::uniform(key, 0.0, 1.0, places);
    let gumbel = |u: f32| -(-f64::from(u.max(1e-7)).ln()).ln();
    uniform.into_iter().map(|u| size * gumbel(u)).collect()
}

/// Returns the `n` places of hidden codes that were drawn with the largest log-probability and
/// noise; the lowest of equals first.
fn surest(drawn: &[(u32, f32)], hidden: &[bool], noise: &[f64], n: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..drawn.len()).filter(|i| hidden[*i]).collect();
    let confidence = |i: usize| {
        let sum = f64::from(drawn[i].1) + noise[i];
        if sum.is_nan() { f64::NEG_INFINITY } else { sum }
    };
    places.sort_by(|a, b| confidence(*b).total_cmp(&confidence(*a)));
    places.truncate(n);
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_show_all_and_each_some() {
        for (unknown, passes) in [(49, 12), (49, 49), (5, 1), (16, 4), (7, 6)] {
            let counts: Vec<usize> = (0..=passes).map(|i| shown(unknown, i, passes)).collect();
            assert_eq!((counts[0], counts[passes]), (0, unknown));
            assert!(counts.windows(2).all(|w| w[0] < w[1]), "{counts:?}");
        }
    }

    #[test]
    fn the_surest_hidden_codes_are_chosen() {
        let drawn = [(1, -1.0), (2, -0.1), (3, -0.5), (4, f32::NAN), (5, -0.5)];
        let hidden = [true, false, true, true, true];
        let quiet = [0.0; 5];
        assert_eq!(surest(&drawn, &hidden, &quiet, 2), [2, 4]);
        assert_eq!(surest(&drawn, &hidden, &[5.0, 9.0, 0.0, 0.0, 0.0], 1), [0]);
        assert_eq!(surest(&drawn, &hidden, &quiet, 9), [2, 4, 0, 3]);
    }
}
