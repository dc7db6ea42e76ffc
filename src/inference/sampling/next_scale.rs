//! Sampling from a prior over scales: a pass to a scale, from coarse to fine.

use crate::Result;
use crate::autograd::Tape;
use crate::error::Error;
use crate::gpu::{DType, Tensor};
use crate::inference::PriorModel;
use crate::inference::sampling::batch::SampleBatch;
use crate::inference::sampling::request::{Parallel, SampleRequest};
use crate::inference::sampling::samples::Samples;
use crate::models::prior::Kind;
use crate::nn::ForwardContext;
use crate::ops::sampling::sample::{SampleOutputs, sample_keyed};

impl PriorModel {
    /// Whether this is a prior over scales.
    pub(super) fn is_next_scale(&self) -> bool {
        self.prior.shape().kind == Kind::NextScale
    }

    /// Checks a request to a prior over scales.
    pub(super) fn check_next_scale(&self, request: &SampleRequest) -> Result<()> {
        let options = &request.options;
        let what = if options.repetition_penalty != 1.0 {
            "repetition_penalty: in a next-scale prior the codes of a scale come at once"
        } else if matches!(options.parallel, Parallel::Window(_)) {
            "parallel: a next-scale prior draws all codes of a scale in a pass already"
        } else if request.known.places.contains(&true) {
            "known codes: a next-scale prior draws whole images; train one with prior.order=any \
             or prior.kind=masked over codes of one scale to complete images"
        } else {
            return Ok(());
        };
        Err(Error::invalid("sample", what))
    }
}

/// Draws a batch; `progress` is called with the codes drawn of each image.
pub(super) async fn sample_scales(
    model: &PriorModel,
    batch: SampleBatch,
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Samples> {
    let (gpu, options, b, t) = (&model.gpu, &batch.options, batch.images, batch.places.len());
    let sides = model.prior.scales().to_vec();
    let mut codes = batch.codes.clone();
    let mut total = vec![0.0f64; b];
    let mut first = 0;
    for (scale, side) in sides.iter().enumerate() {
        let own = side * side;
        let inputs = batch.upload_scales(model, &codes, scale)?;
        let tape = Tape::no_grad(gpu);
        let pass = ForwardContext::new(&tape, &model.params);
        let logits = model.prior.scale_logits(&pass, &inputs, scale)?;
        // Noise belongs to a place of an image, whichever images are drawn beside it.
        let key_of: Vec<u32> = (0..b)
            .flat_map(|image| (0..own).map(move |i| (image, i)))
            .flat_map(|(image, i)| [(first + i) as u32, (batch.first + image) as u32])
            .collect();
        let key_of = Tensor::from_slice(gpu, &[b * own, 2], &key_of)?;
        let token = Tensor::zeros(gpu, &[batch.copies() * b * own], DType::U32)?;
        let log_prob = Tensor::zeros(gpu, &[b * own], DType::F32)?;
        let to = SampleOutputs {
            token: &token,
            log_prob: &log_prob,
            sequence: None,
        };
        let (key, logits) = (model.key(options, 0), logits.tensor());
        sample_keyed(logits, &options.sampling, key.seed, key.stream, &key_of, to)?;
        let read = (token.read_async()?, log_prob.read_async()?);
        let (token, log_prob) = (read.0.get::<u32>().await?, read.1.get::<f32>().await?);
        for image in 0..b {
            let of = image * own..(image + 1) * own;
            codes[image * t + first..][..own].copy_from_slice(&token[of.clone()]);
            total[image] += log_prob[of].iter().map(|l| f64::from(*l)).sum::<f64>();
        }
        first += own;
        progress(first)?;
    }
    Ok(Samples {
        codes,
        log_likelihood: total.into_iter().map(|sum| sum as f32).collect(),
        passes: vec![sides.len() as u32; b],
    })
}
