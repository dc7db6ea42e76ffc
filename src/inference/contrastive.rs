//! A trained contrastive model: images and texts as vectors.

use super::retrieval::{Retrieval, retrieval};
use crate::autograd::Tape;
use crate::config::Resolved;
use crate::config::contrastive::ContrastiveConfig;
use crate::data::ImageSet;
use crate::gpu::{Gpu, Tensor};
use crate::models::contrastive::Contrastive;
use crate::models::text::{Text, Texts};
use crate::nn::transformer::Dropout;
use crate::nn::{Parameters, Pass};
use crate::ops::image::image::normalize;
use crate::storage::checkpoint;
use crate::storage::weights;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

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

/// Images by their numbers, on the device.
pub(crate) fn upload(gpu: &Gpu, data: &ImageSet, numbers: &[u32]) -> Result<Tensor> {
    pixels(
        gpu,
        &data.gather(numbers)?,
        [numbers.len(), data.height, data.width, data.channels],
    )
}

pub(crate) fn pixels(gpu: &Gpu, bytes: &[u8], shape: [usize; 4]) -> Result<Tensor> {
    let order: Vec<u32> = (0..shape[0] as u32).collect();
    normalize(
        &Tensor::from_slice(gpu, &shape, bytes)?,
        &Tensor::from_slice(gpu, &[shape[0]], &order)?,
    )
}

/// The texts of some images.
pub fn some(texts: &Texts, text: &Text, numbers: &[u32]) -> Texts {
    numbers.iter().fold(Texts::default(), |all, i| {
        all.and(&texts.slice(text, *i as usize..*i as usize + 1))
    })
}

#[derive(Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) config: ContrastiveConfig,
    /// Height, width, channels.
    pub(crate) image: [usize; 3],
    pub(crate) text: Text,
    pub(crate) reader: String,
}

/// A model and its weights.
pub(crate) struct Judge<'a> {
    pub(crate) gpu: &'a Gpu,
    pub(crate) model: &'a Contrastive,
    pub(crate) params: &'a Parameters,
    pub(crate) text: &'a Text,
}

/// Images or texts that go through the model at a time.
pub(crate) const BATCH: usize = 64;

impl Judge<'_> {
    pub(crate) fn images(&self, bytes: &[u8]) -> Result<Vec<f32>> {
        let [h, w, c] = self.model.image();
        let mut rows = Vec::new();
        for part in bytes.chunks(BATCH * h * w * c) {
            let x = pixels(self.gpu, part, [part.len() / (h * w * c), h, w, c])?;
            let tape = Tape::no_grad(self.gpu);
            let pass = Pass::new(&tape, self.params);
            rows.extend(
                self.model
                    .images(&pass, &tape.constant(&x), Dropout::OFF)?
                    .tensor()
                    .read::<f32>()?,
            );
        }
        Ok(rows)
    }

    pub(crate) fn texts(&self, texts: &Texts) -> Result<Vec<f32>> {
        let (n, mut rows) = (texts.lengths.len(), Vec::new());
        for start in (0..n).step_by(BATCH) {
            let part = texts
                .slice(self.text, start..(start + BATCH).min(n))
                .upload(self.gpu, self.text)?;
            let tape = Tape::no_grad(self.gpu);
            rows.extend(
                self.model
                    .texts(&Pass::new(&tape, self.params), &part, Dropout::OFF)?
                    .tensor()
                    .read::<f32>()?,
            );
        }
        Ok(rows)
    }
}

/// A trained contrastive model.
pub struct TrainedContrastive {
    gpu: Gpu,
    model: Contrastive,
    params: Parameters,
    text: Text,
    reader: String,
}

impl TrainedContrastive {
    /// Loads the model of a folder.
    ///
    /// # Errors
    /// If there is none, or it is damaged.
    pub fn load(gpu: &Gpu, folder: &Path) -> Result<TrainedContrastive> {
        let file = folder.join("final.safetensors");
        if !file.exists() {
            return Err(Error::file(
                &file,
                "is not there: the run has no contrastive model, which --rerank needs",
            ));
        }
        let (checkpoint, _) = checkpoint::load_file(&file)?;
        let about: About = serde_json::from_value(checkpoint.state["contrastive"].clone())
            .map_err(|e| Error::file(&file, format!("holds no contrastive model: {e}")))?;
        let at = |e: Error| Error::file(&file, e);
        let config = about.config.resolve().map_err(at)?;
        let (model, params) = build(gpu, &config, about.image, &about.text).map_err(at)?;
        let mut parts = weights::by_prefix(&checkpoint.tensors, &[]).map_err(at)?;
        params
            .load_host(&parts.remove("").unwrap_or_default())
            .map_err(at)?;
        Ok(TrainedContrastive {
            gpu: gpu.clone(),
            model,
            params,
            text: about.text,
            reader: about.reader,
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

    /// How it sees texts.
    pub fn text(&self) -> &Text {
        &self.text
    }

    /// SHA-256 of the tokenizer whose texts it reads.
    pub fn reader(&self) -> &str {
        &self.reader
    }

    /// Rows [N, E] of images, u8 NHWC.
    ///
    /// # Errors
    /// If the bytes are not whole images of its size.
    pub fn images(&self, bytes: &[u8]) -> Result<Vec<f32>> {
        let [h, w, c] = self.model.image();
        if !bytes.len().is_multiple_of(h * w * c) {
            return Err(Error::shape(
                "contrastive",
                format!("whole images of {w} x {h} x {c}"),
                bytes.len(),
            ));
        }
        self.judge().images(bytes)
    }

    /// Rows [N, E] of texts.
    ///
    /// # Errors
    /// If the texts are of another kind.
    pub fn texts(&self, texts: &Texts) -> Result<Vec<f32>> {
        self.judge().texts(texts)
    }

    /// The cosine between each image and its text.
    ///
    /// # Errors
    /// As [`TrainedContrastive::images`] and [`TrainedContrastive::texts`].
    pub fn score(&self, bytes: &[u8], texts: &Texts) -> Result<Vec<f32>> {
        let (a, b) = (self.images(bytes)?, self.texts(texts)?);
        if a.len() != b.len() {
            return Err(Error::shape(
                "contrastive",
                "as many texts as images",
                texts.lengths.len(),
            ));
        }
        let e = self.model.shape().embedding;
        Ok(a.chunks(e)
            .zip(b.chunks(e))
            .map(|(x, y)| x.iter().zip(y).map(|(p, q)| p * q).sum())
            .collect())
    }

    /// How images and texts find each other, in pools of `pool`.
    ///
    /// # Errors
    /// As [`TrainedContrastive::score`].
    pub fn retrieval(&self, bytes: &[u8], texts: &Texts, pool: usize) -> Result<Retrieval> {
        let (a, b) = (self.images(bytes)?, self.texts(texts)?);
        if a.len() != b.len() {
            return Err(Error::shape(
                "contrastive",
                "as many texts as images",
                texts.lengths.len(),
            ));
        }
        Ok(retrieval(&a, &b, texts, &self.text, pool))
    }
}
