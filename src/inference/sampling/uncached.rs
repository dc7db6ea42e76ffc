//! Sampling without a cache: the whole sequence again for each code, which goes by way of the host.
//! A check of the other way, and what it is compared with.

use crate::Result;
use crate::autograd::Tape;
use crate::gpu::{DType, Tensor};
use crate::inference::PriorModel;
use crate::inference::sampling::batch::{SampleBatch, by_place, place_of};
use crate::inference::sampling::samples::Samples;
use crate::nn::ForwardContext;
use crate::nn::transformer::Dropout;
use crate::ops::sampling::sample::SampleOutputs;

/// Draws a batch; `progress` is called with the codes drawn of each image.
pub(super) async fn sample_uncached(
    model: &PriorModel,
    batch: SampleBatch,
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Samples> {
    let (gpu, prior, options) = (&model.gpu, &model.prior, &batch.options);
    let (t, b, rows) = (batch.places.len(), batch.images, batch.classes.len());
    let mut codes = batch.codes.clone();
    let mut total = vec![0.0f32; b];
    let token = Tensor::zeros(gpu, &[rows], DType::U32)?;
    let log_prob = Tensor::empty(gpu, &[b], DType::F32)?;
    let (order, books) = (batch.order.as_deref(), prior.vocabulary().codebooks);
    let mut drawn = 0;
    for i in (0..t).filter(|i| !batch.places[*i]) {
        {
            let tape = Tape::no_grad(gpu);
            let pass = ForwardContext::new(&tape, &model.params);
            let inputs = batch.upload(model, &codes)?;
            let conditions = prior.conditions(&pass, &inputs, Dropout::OFF)?;
            let next = prior.prefill(&pass, &inputs, &conditions, i, None)?;
            let sequence = Tensor::from_slice(gpu, &[b, t], &codes)?;
            let to = SampleOutputs {
                token: &token,
                log_prob: &log_prob,
                sequence: None,
            };
            let key = model.key(options, place_of(order, books, i));
            model.draw_code(&pass, &next, (&sequence, i), options, key, batch.first, to)?;
        }
        let tokens = token.read_async()?.get::<u32>().await?;
        for (image, code) in tokens.iter().take(b).enumerate() {
            codes[image * t + i] = *code;
        }
        let log_probs = log_prob.read_async()?.get::<f32>().await?;
        log_probs
            .iter()
            .zip(&mut total)
            .for_each(|(p, sum)| *sum += p);
        drawn += 1;
        progress(drawn)?;
    }
    Ok(Samples {
        codes: by_place(codes, order, books, t),
        log_likelihood: total,
        passes: vec![(t - batch.prefix()) as u32; b],
    })
}
