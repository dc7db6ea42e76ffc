//! A prior built from its configuration, and its cross-entropy on tokens held out.

use crate::autograd::Tape;
use crate::codes::tokens::{Split, TokenDatasetInfo};
use crate::config::Resolved;
use crate::config::prior::PriorConfig;
use crate::gpu::Gpu;
use crate::models::prior::masked::hidden_at;
use crate::models::prior::order::in_order;
use crate::models::prior::{Batch, Kind, Order, Prior};
use crate::models::text::Texts;
use crate::nn::transformer::Dropout;
use crate::nn::{ForwardContext, Parameters};
use crate::ops::sampling::random::{Key, philox};
use crate::{Error, Result};

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

/// Under what a file keeps the order in which a factorised head counts codes.
pub(crate) const CODE_ORDER: &str = "code_order";

/// Returns the prior with the order of codes that a file keeps under [`CODE_ORDER`], where its head
/// is factorised.
pub(crate) fn with_order_of(gpu: &Gpu, prior: Prior, kept: &serde_json::Value) -> Result<Prior> {
    if prior.code_order().is_none() {
        return Ok(prior);
    }
    let order = serde_json::from_value(kept[CODE_ORDER].clone());
    let order = order.map_err(|e| {
        let what = format!("the order of the codes that it was trained in cannot be used: {e}");
        Error::data(what)
    })?;
    prior.with_code_order(gpu, order)
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

/// Returns orders of `cells` cells for images, one after another, each random with a probability of
/// `share`, and otherwise row by row.
pub(crate) fn random_orders(key: Key, share: f64, cells: usize, images: usize) -> Vec<u32> {
    let words = philox::bits(key, cells * images);
    let coin = Key {
        stream: key.stream.wrapping_add(1),
        ..key
    };
    let coins = philox::uniform(coin, 0.0, 1.0, images);
    let of = |(words, coin): (&[u32], f32)| {
        let mut order: Vec<u32> = (0..cells as u32).collect();
        if f64::from(coin) < share {
            order.sort_by_key(|cell| (words[*cell as usize], *cell));
        }
        order
    };
    words.chunks(cells.max(1)).zip(coins).flat_map(of).collect()
}

/// Returns which of the `tokens` codes of images are hidden, one image after another: of each a
/// share whose density is the arccosine's, one at least.
pub(crate) fn random_hidden(key: Key, tokens: usize, images: usize) -> Vec<bool> {
    let words = philox::bits(key, tokens * images);
    let coin = Key {
        stream: key.stream.wrapping_add(1),
        ..key
    };
    let coins = philox::uniform(coin, 0.0, 1.0, images);
    let of = |(words, coin): (&[u32], f32)| {
        let count = hidden_at(tokens, f64::from(coin)).max(1);
        let mut order: Vec<usize> = (0..tokens).collect();
        order.sort_by_key(|i| (words[*i], *i));
        let mut hidden = vec![false; tokens];
        order[..count].iter().for_each(|i| hidden[*i] = true);
        hidden
    };
    words
        .chunks(tokens.max(1))
        .zip(coins)
        .flat_map(of)
        .collect()
}

/// The key of the order in which an image is measured: the same in every measurement.
fn measured(image: u32) -> Key {
    Key {
        seed: 0,
        step: u64::from(image),
        stream: MEASURED_STREAM,
    }
}

/// The stream of random numbers of the orders that are measured: "meas".
const MEASURED_STREAM: u32 = 0x6d65_6173;

/// Uploads images, each in its order of cells: the codes of levels above, and its own row by row
/// as tokens have them.
pub(crate) fn upload_in_orders(
    prior: &Prior,
    gpu: &Gpu,
    classes: &[u32],
    codes: &[u32],
    texts: Option<&Texts>,
    orders: &[u32],
) -> Result<Batch> {
    let v = prior.vocabulary();
    let (known, own) = (v.known(), v.tokens());
    let cells = v.grid[0] * v.grid[1];
    let ordered: Vec<u32> = codes
        .chunks(known + own)
        .zip(orders.chunks(cells))
        .flat_map(|(image, order)| {
            let own = in_order(&image[known..], order, v.codebooks, own);
            [&image[..known], &own].concat()
        })
        .collect();
    prior.upload_in(gpu, classes, &ordered, texts, orders)
}

/// Returns the mean cross-entropy of the codes of images of a split, in nats per token. A prior of
/// any order is measured in a random one of each image, the same every time, a masked one on random
/// codes that are hidden of it, and others row by row.
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
    if images.is_empty() {
        return Err(Error::data(
            "no images to measure the prior on: the tokens hold none out",
        ));
    }
    let (gpu, v) = (weights.gpu(), prior.vocabulary());
    let other = |i: usize| images[(i + images.len().div_ceil(2)) % images.len()];
    // Of images, or of hidden codes.
    let (mut sum, mut whole) = (0.0, 0);
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
        let batch = if prior.shape().kind == Kind::Masked {
            let hidden: Vec<bool> = part
                .iter()
                .flat_map(|image| random_hidden(measured(*image), v.tokens(), 1))
                .collect();
            prior.upload_masked(gpu, &classes, &codes, texts.as_ref(), &hidden)?
        } else if prior.shape().order == Order::Any {
            let cells = v.grid[0] * v.grid[1];
            let orders: Vec<u32> = part
                .iter()
                .flat_map(|image| random_orders(measured(*image), 1.0, cells, 1))
                .collect();
            upload_in_orders(prior, gpu, &classes, &codes, texts.as_ref(), &orders)?
        } else {
            prior.upload(gpu, &classes, &codes, texts.as_ref())?
        };
        let tape = Tape::no_grad(gpu);
        let loss = prior
            .losses(
                &ForwardContext::new(&tape, weights),
                &batch,
                Dropout::OFF,
                0.0,
            )?
            .codes;
        let weight = batch.hidden.as_ref().map_or(part.len(), |h| h.count);
        sum += f64::from(loss.tensor().read::<f32>()?[0]) * weight as f64;
        whole += weight;
    }
    Ok(sum / whole as f64)
}
