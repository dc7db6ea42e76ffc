//! A trained contrastive model, which makes vectors of images and texts.

use super::retrieval::{Retrieval, retrieval};
use crate::autograd::Tape;
use crate::config::Resolved;
use crate::config::contrastive::ContrastiveConfig;
use crate::data::ImageSet;
use crate::gpu::{Gpu, Tensor};
use crate::inference::loading::load_parameters;
use crate::models::contrastive::Contrastive;
use crate::models::text::{Text, Texts};
use crate::nn::transformer::Dropout;
use crate::nn::{ForwardContext, Parameters};
use crate::ops::image::image::normalize;
use crate::storage::checkpoint::LazyCheckpoint;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Builds the model of a configuration, and its parameters; `image` is height, width and channels.
pub(crate) fn build(
    gpu: &Gpu,
    config: &Resolved<ContrastiveConfig>,
    image: [usize; 3],
    text: &Text,
) -> Result<(Contrastive, Parameters)> {
    let mut builder = Parameters::builder();
    let model = Contrastive::new(&mut builder, &config.model, image, text)?;
    Ok((model, builder.build(gpu, config.train.seed)?))
}

/// Uploads images by their numbers: f32 [N, H, W, C] in [-1, 1].
pub(crate) fn upload(gpu: &Gpu, data: &ImageSet, numbers: &[u32]) -> Result<Tensor> {
    pixels(
        gpu,
        &data.gather(numbers)?,
        [numbers.len(), data.height, data.width, data.channels],
    )
}

/// Uploads images, u8 of `shape`, [N, H, W, C]: f32 in [-1, 1].
pub(crate) fn pixels(gpu: &Gpu, bytes: &[u8], shape: [usize; 4]) -> Result<Tensor> {
    let order: Vec<u32> = (0..shape[0] as u32).collect();
    normalize(
        &Tensor::from_slice(gpu, &shape, bytes)?,
        &Tensor::from_slice(gpu, &[shape[0]], &order)?,
    )
}

/// Metadata in a contrastive model's file, beside its tensors.
#[derive(Serialize, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) config: ContrastiveConfig,
    /// Height, width, channels.
    pub(crate) image: [usize; 3],
    pub(crate) text: Text,
    pub(crate) reader: String,
}

/// A model and its weights, trained or in training.
pub(crate) struct Judge<'a> {
    pub(crate) gpu: &'a Gpu,
    pub(crate) model: &'a Contrastive,
    pub(crate) params: &'a Parameters,
    pub(crate) text: &'a Text,
}

/// Images or texts that go through the model at a time.
pub(crate) const BATCH: usize = 64;

impl Judge<'_> {
    /// Records the vectors of images, a batch at a time: f32 [n, E] each.
    pub(crate) fn images(&self, bytes: &[u8]) -> impl Iterator<Item = Result<Tensor>> {
        let [h, w, c] = self.model.image();
        bytes.chunks(BATCH * h * w * c).map(move |part| {
            let x = pixels(self.gpu, part, [part.len() / (h * w * c), h, w, c])?;
            let tape = Tape::no_grad(self.gpu);
            let pass = ForwardContext::new(&tape, self.params);
            let rows = self.model.images(&pass, &tape.constant(&x), Dropout::OFF)?;
            Ok(rows.tensor().clone())
        })
    }

    /// Records the vectors of texts likewise.
    pub(crate) fn texts(&self, texts: &Texts) -> impl Iterator<Item = Result<Tensor>> {
        let n = texts.lengths.len();
        (0..n).step_by(BATCH).map(move |start| {
            let part = texts
                .slice(self.text, start..(start + BATCH).min(n))
                .upload(self.gpu, self.text)?;
            let tape = Tape::no_grad(self.gpu);
            let pass = ForwardContext::new(&tape, self.params);
            let rows = self.model.texts(&pass, &part, Dropout::OFF)?;
            Ok(rows.tensor().clone())
        })
    }
}

/// Reads tensors one after the other, each before the next is recorded.
async fn gather(parts: impl Iterator<Item = Result<Tensor>>) -> Result<Vec<f32>> {
    let mut rows = Vec::new();
    for part in parts {
        rows.extend(part?.read_async()?.get::<f32>().await?);
    }
    Ok(rows)
}

/// A trained contrastive model, after CLIP (Radford et al. 2021): vectors of images and texts whose
/// cosine says how well they match.
///
/// ```no_run
/// use wgvq::gpu::{Gpu, Options};
/// use wgvq::inference::ContrastiveModel;
/// use wgvq::models::text::Texts;
///
/// # fn scores(pixels: &[u8], tokens: &[Vec<u32>]) -> wgvq::Result<Vec<f32>> {
/// let gpu = Gpu::new(Options::default())?;
/// let judge = ContrastiveModel::load(&gpu, "runs/hearts/contrastive".as_ref())?;
/// let texts = Texts::of_tokens(judge.text(), tokens)?;
/// judge.score(pixels, &texts) // a cosine for each image and its text
/// # }
/// ```
pub struct ContrastiveModel {
    gpu: Gpu,
    model: Contrastive,
    params: Parameters,
    text: Text,
    reader: String,
}

impl ContrastiveModel {
    /// Loads the model of a folder, `RUN/contrastive`.
    ///
    /// # Errors
    /// If there is none, or it is damaged.
    pub fn load(gpu: &Gpu, folder: &Path) -> Result<ContrastiveModel> {
        let file = folder.join("final.safetensors");
        if !file.exists() {
            return Err(Error::file(
                &file,
                "is not there: the run has no contrastive model, by which images are judged",
            ));
        }
        let checkpoint = LazyCheckpoint::open_whole(&file)?;
        let metadata: Metadata = serde_json::from_value(checkpoint.state["contrastive"].clone())
            .map_err(|e| Error::file(&file, format!("holds no contrastive model: {e}")))?;
        let at = |e: Error| Error::file(&file, e);
        let config = metadata.config.resolve().map_err(at)?;
        let (model, params) = build(gpu, &config, metadata.image, &metadata.text).map_err(at)?;
        load_parameters(&params, &checkpoint).map_err(at)?;
        Ok(ContrastiveModel {
            gpu: gpu.clone(),
            model,
            params,
            text: metadata.text,
            reader: metadata.reader,
        })
    }

    fn judge(&self) -> Judge<'_> {
        Judge {
            gpu: &self.gpu,
            model: &self.model,
            params: &self.params,
            text: &self.text,
        }
    }

    /// Returns how the model sees texts.
    pub fn text(&self) -> &Text {
        &self.text
    }

    /// Returns the SHA-256 of the tokenizer whose texts the model reads.
    pub fn reader(&self) -> &str {
        &self.reader
    }

    /// Returns the vectors of images, u8 [N, H, W, C]: f32 [N, E], each of length 1.
    ///
    /// # Errors
    /// If the bytes are not whole images of its size, or the device fails.
    pub async fn images_async(&self, bytes: &[u8]) -> Result<Vec<f32>> {
        let [h, w, c] = self.model.image();
        if !bytes.len().is_multiple_of(h * w * c) {
            return Err(Error::shape(
                "contrastive",
                format!("whole images of {w} x {h} x {c}"),
                bytes.len(),
            ));
        }
        gather(self.judge().images(bytes)).await
    }

    /// [`ContrastiveModel::images_async`], waiting for the device.
    ///
    /// # Errors
    /// As [`ContrastiveModel::images_async`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn images(&self, bytes: &[u8]) -> Result<Vec<f32>> {
        self.gpu.block_on(self.images_async(bytes))
    }

    /// Returns the vectors of texts: f32 [N, E], each of length 1.
    ///
    /// # Errors
    /// If the texts are of another kind, or the device fails.
    pub async fn texts_async(&self, texts: &Texts) -> Result<Vec<f32>> {
        gather(self.judge().texts(texts)).await
    }

    /// [`ContrastiveModel::texts_async`], waiting for the device.
    ///
    /// # Errors
    /// As [`ContrastiveModel::texts_async`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn texts(&self, texts: &Texts) -> Result<Vec<f32>> {
        self.gpu.block_on(self.texts_async(texts))
    }

    /// Returns the vectors of as many images as texts.
    async fn pairs(&self, bytes: &[u8], texts: &Texts) -> Result<(Vec<f32>, Vec<f32>)> {
        let (a, b) = (
            self.images_async(bytes).await?,
            self.texts_async(texts).await?,
        );
        if a.len() != b.len() {
            return Err(Error::shape(
                "contrastive",
                "as many texts as images",
                texts.lengths.len(),
            ));
        }
        Ok((a, b))
    }

    /// Returns the cosine of each image, u8 [N, H, W, C], and its text, `[N]`.
    ///
    /// # Errors
    /// As [`ContrastiveModel::images_async`] and [`ContrastiveModel::texts_async`].
    pub async fn score_async(&self, bytes: &[u8], texts: &Texts) -> Result<Vec<f32>> {
        let (a, b) = self.pairs(bytes, texts).await?;
        let e = self.model.shape().embedding;
        Ok(a.chunks(e)
            .zip(b.chunks(e))
            .map(|(x, y)| x.iter().zip(y).map(|(p, q)| p * q).sum())
            .collect())
    }

    /// [`ContrastiveModel::score_async`], waiting for the device.
    ///
    /// # Errors
    /// As [`ContrastiveModel::score_async`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn score(&self, bytes: &[u8], texts: &Texts) -> Result<Vec<f32>> {
        self.gpu.block_on(self.score_async(bytes, texts))
    }

    /// Measures how images and texts find each other, in pools of `pool`.
    ///
    /// # Errors
    /// As [`ContrastiveModel::score_async`].
    pub async fn retrieval_async(
        &self,
        bytes: &[u8],
        texts: &Texts,
        pool: usize,
    ) -> Result<Retrieval> {
        let (a, b) = self.pairs(bytes, texts).await?;
        Ok(retrieval(&a, &b, texts, &self.text, pool))
    }

    /// [`ContrastiveModel::retrieval_async`], waiting for the device.
    ///
    /// # Errors
    /// As [`ContrastiveModel::retrieval_async`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn retrieval(&self, bytes: &[u8], texts: &Texts, pool: usize) -> Result<Retrieval> {
        self.gpu.block_on(self.retrieval_async(bytes, texts, pool))
    }
}
