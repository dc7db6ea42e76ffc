//! A trained classifier: features of images, and the classes that it takes them for.

use super::contrastive_model::{BATCH, pixels};
use super::loading::load_parameters;
use crate::autograd::Tape;
use crate::codes::npy;
use crate::gpu::Gpu;
use crate::models::classifier::{Classifier, Shape};
use crate::nn::{ForwardContext, Parameters};
use crate::storage::checkpoint;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Metadata in a classifier's file, beside its tensors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassifierInfo {
    /// Its sizes.
    pub shape: Shape,
    /// SHA-256 of the images that it was trained on.
    pub data: String,
    /// Steps that it was trained for.
    pub steps: u64,
    /// Images of a step.
    pub batch: usize,
    /// Seed of its weights and of the order of images.
    pub seed: u64,
}

/// Features and classes that a classifier finds in images.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Features of each image, f32 [N, 64].
    pub features: Vec<f32>,
    /// The likeliest class of each.
    pub classes: Vec<u32>,
}

impl Seen {
    /// Returns the channels of an image's features.
    pub fn channels(&self) -> usize {
        self.features.len() / self.classes.len().max(1)
    }

    /// Returns the features as NumPy's array [N, 64].
    ///
    /// # Errors
    /// If they cannot be written as such.
    pub fn features_npy(&self) -> Result<Vec<u8>> {
        let shape = [self.classes.len(), self.channels()];
        npy(&shape, self.features.iter().copied()).map_err(Error::data)
    }

    /// Returns the share of the images that are taken for the classes given.
    pub fn accuracy(&self, classes: &[u32]) -> f64 {
        let right = self.classes.iter().zip(classes).filter(|(a, b)| a == b);
        right.count() as f64 / self.classes.len().max(1) as f64
    }
}

/// A trained classifier of images, and the hash of its file.
pub struct ClassifierModel {
    gpu: Gpu,
    model: Classifier,
    params: Parameters,
    info: ClassifierInfo,
    hash: String,
}

impl ClassifierModel {
    /// Loads the model of a file.
    ///
    /// # Errors
    /// If it is none, or damaged.
    pub fn load(gpu: &Gpu, file: &Path) -> Result<ClassifierModel> {
        let (saved, hash) = checkpoint::load_file(file)?;
        let info: ClassifierInfo = serde_json::from_value(saved.state["classifier"].clone())
            .map_err(|e| Error::file(file, format!("holds no classifier: {e}")))?;
        let at = |e: Error| Error::file(file, e);
        let mut b = Parameters::builder();
        let model = Classifier::new(&mut b, info.shape).map_err(at)?;
        let params = b.build(gpu, info.seed).map_err(at)?;
        load_parameters(&params, &saved.into()).map_err(at)?;
        Ok(ClassifierModel {
            gpu: gpu.clone(),
            model,
            params,
            info,
            hash,
        })
    }

    /// Returns what its file says of it.
    pub fn info(&self) -> &ClassifierInfo {
        &self.info
    }

    /// Returns the SHA-256 of its file.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Looks at images, u8 [N, H, W, C]. Waits for the device.
    ///
    /// # Errors
    /// If the bytes are not whole images of its size, or the device fails.
    pub fn look(&self, bytes: &[u8]) -> Result<Seen> {
        let [h, w, c] = self.info.shape.image;
        let size = h * w * c;
        if !bytes.len().is_multiple_of(size) {
            let expected = format!("whole images of {w} x {h} x {c}");
            return Err(Error::shape("classifier", expected, bytes.len()));
        }
        let mut seen = Seen {
            features: Vec::new(),
            classes: Vec::new(),
        };
        for part in bytes.chunks(BATCH * size) {
            let x = pixels(&self.gpu, part, [part.len() / size, h, w, c])?;
            let tape = Tape::no_grad(&self.gpu);
            let pass = ForwardContext::new(&tape, &self.params);
            let said = self.model.forward(&pass, &tape.constant(&x))?;
            seen.features.extend(said.features.tensor().read::<f32>()?);
            let logits = said.logits.tensor().read::<f32>()?;
            let likeliest = |row: &[f32]| {
                let best = |best: usize, i: usize| if row[i] > row[best] { i } else { best };
                (0..row.len()).fold(0, best) as u32
            };
            let rows = logits.chunks(self.info.shape.classes);
            seen.classes.extend(rows.map(likeliest));
        }
        Ok(seen)
    }
}
