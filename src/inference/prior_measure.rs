//! A prior built from its configuration, and its cross-entropy on tokens held out.

use crate::Result;
use crate::autograd::Tape;
use crate::codes::tokens::{Split, TokenDatasetInfo};
use crate::config::Resolved;
use crate::config::prior::PriorConfig;
use crate::gpu::Gpu;
use crate::models::prior::Prior;
use crate::models::text::Texts;
use crate::nn::transformer::Dropout;
use crate::nn::{ForwardContext, Parameters};

/// Builds the model of a configuration, and its parameters.
pub(crate) fn build(
    gpu: &Gpu,
    c: &Resolved<PriorConfig>,
    tokens: &TokenDatasetInfo,
) -> Result<(Prior, Parameters)> {
    let mut builder = Parameters::builder();
    let prior = Prior::new(gpu, &mut builder, &c.prior, &tokens.vocabulary)?;
    Ok((prior, builder.build(gpu, c.train.seed)?))
}

/// The condition under which a prior is measured. The bits that an image's own class and text save,
/// against none and against another's, are what the prior has learned of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conditioning {
    /// Each image's own class and text.
    Matched,
    /// No class, and the empty text.
    None,
    /// Class and text of another image.
    Shuffled,
}

/// Returns the mean cross-entropy of the codes of images of a split, in nats per token.
///
/// # Errors
/// If an image cannot be read, or the device fails.
pub fn measure(
    prior: &Prior,
    weights: &Parameters,
    side: &Split,
    images: &[u32],
    batch: usize,
    conditioning: Conditioning,
) -> Result<f64> {
    let (gpu, v) = (weights.gpu(), prior.vocabulary());
    let other = |i: usize| images[(i + images.len().div_ceil(2)) % images.len()];
    let mut sum = 0.0;
    for (n, part) in images.chunks(batch.max(1)).enumerate() {
        let (codes, mut classes) = side.read(part)?;
        let mut texts = side.read_texts(part)?;
        match conditioning {
            Conditioning::Matched => {}
            Conditioning::None => {
                classes.fill(v.no_class());
                texts = texts
                    .zip(v.text)
                    .map(|(_, text)| Texts::nothing(&text, part.len()));
            }
            Conditioning::Shuffled => {
                let others: Vec<u32> = (0..part.len())
                    .map(|i| other(n * batch.max(1) + i))
                    .collect();
                (classes, texts) = (side.read(&others)?.1, side.read_texts(&others)?);
            }
        }
        let batch = prior.upload(gpu, &classes, &codes, texts.as_ref())?;
        let tape = Tape::no_grad(gpu);
        let loss = prior
            .losses(
                &ForwardContext::new(&tape, weights),
                &batch,
                Dropout::OFF,
                0.0,
            )?
            .codes;
        sum += f64::from(loss.tensor().read::<f32>()?[0]) * part.len() as f64;
    }
    Ok(sum / images.len() as f64)
}
