//! A trained model, read back from its run to encode, decode and reconstruct.

use super::checkpoint;
use super::config::RunConfig;
use super::vqvae::build;
use super::weights;
use crate::autograd::Tape;
use crate::codes::Codes;
use crate::data::ImageSet;
use crate::gpu::{Gpu, Tensor};
use crate::models::vqvae::VqVae;
use crate::nn::{Parameters, Pass};
use crate::ops::image::{normalize, to_bytes};
use crate::quantize::{Mode, Quantizer, Registry};
use crate::{Error, Result};
use std::path::Path;

/// What a model file says of itself beside its tensors.
pub(crate) fn describe(config: &RunConfig, data: &ImageSet) -> serde_json::Value {
    serde_json::json!({
        "config": config,
        "image": { "width": data.width, "height": data.height, "channels": data.channels },
    })
}

/// A trained VQ-VAE.
pub struct Trained {
    pub(super) gpu: Gpu,
    pub(super) config: RunConfig,
    pub(super) model: VqVae,
    pub(super) params: Parameters,
    pub(super) quantizer: Box<dyn Quantizer>,
    /// Width, height and channels of its images.
    pub(super) image: [usize; 3],
    /// SHA-256 of the model file.
    hash: String,
}

/// Images that go through the model at a time.
const BATCH: usize = 64;

impl Trained {
    /// Loads the model of a run: a run's folder, or a model file.
    ///
    /// # Errors
    /// If there is none, it is damaged, or its tensors are not those of its configuration.
    pub fn load(gpu: &Gpu, run: &Path) -> Result<Trained> {
        Trained::load_with(gpu, run, &Registry::default())
    }

    /// [`Trained::load`] where a program has quantizers of its own.
    ///
    /// # Errors
    /// As [`Trained::load`].
    pub fn load_with(gpu: &Gpu, run: &Path, registry: &Registry) -> Result<Trained> {
        let path = if run.is_dir() { run.join("final.safetensors") } else { run.to_owned() };
        if !path.exists() {
            let what = if run.is_dir() && run.join("config.toml").exists() {
                format!("is not there: the run has not ended; go on with it by `wgvq train --resume {}`", run.display())
            } else {
                "is not there: expected a run's folder or its final.safetensors".into()
            };
            return Err(Error::file(&path, what));
        }
        let (file, hash) = checkpoint::load_file(&path)?;
        let at = |e: Error| Error::file(&path, e);
        if !file.state["prior"].is_null() {
            return Err(Error::file(&path, "is a prior; name the run that it belongs to"));
        }
        let config: RunConfig = serde_json::from_value(file.state["config"].clone())
            .map_err(|e| Error::file(&path, format!("its configuration cannot be used: {e}")))?;
        config.validate_with(registry).map_err(at)?;
        let size =
            |key: &str| file.state["image"][key].as_u64().filter(|n| (1..=1 << 16).contains(n)).map(|n| n as usize);
        let (Some(width), Some(height), Some(channels)) = (size("width"), size("height"), size("channels")) else {
            return Err(Error::file(&path, "does not say the size of its images"));
        };
        let (model, params, mut quantizer) = build(gpu, &config, channels, registry).map_err(at)?;
        let mut parts = weights::by_prefix(&file.tensors, ["quantizer."]).map_err(at)?;
        quantizer.load(&parts.remove("quantizer.").unwrap_or_default()).map_err(at)?;
        params.load_host(&parts.remove("").unwrap_or_default()).map_err(at)?;
        Ok(Trained { gpu: gpu.clone(), config, model, params, quantizer, image: [width, height, channels], hash })
    }

    /// The configuration that it was trained under.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }
    /// Width, height and channels of its images.
    pub fn image(&self) -> [usize; 3] {
        self.image
    }
    /// SHA-256 of the model file, which its codes carry.
    pub fn hash(&self) -> &str {
        &self.hash
    }
    /// Rows and columns of an image's codes.
    pub fn grid(&self) -> [usize; 2] {
        let f = self.config.model.downsample;
        [self.image[1] / f, self.image[0] / f]
    }

    /// The quantizer.
    pub fn quantizer(&self) -> &dyn Quantizer {
        &*self.quantizer
    }

    /// Codes of images, u8 NHWC of [`Trained::image`]'s size: row by row, image by image, those of one latent together.
    ///
    /// # Errors
    /// If the bytes are not whole images, or the device fails.
    pub fn encode(&mut self, images: &[u8]) -> Result<Vec<u32>> {
        let [w, h, c] = self.image;
        if !images.len().is_multiple_of(w * h * c) {
            return Err(Error::shape(
                "encode",
                format!("whole images of {w} x {h} x {c}"),
                format!("{} bytes", images.len()),
            ));
        }
        let mut codes = Vec::new();
        for part in images.chunks(BATCH * w * h * c) {
            let n = part.len() / (w * h * c);
            let bytes = Tensor::from_slice(&self.gpu, &[n, h, w, c], part)?;
            let order: Vec<u32> = (0..n as u32).collect();
            let x = normalize(&bytes, &Tensor::from_slice(&self.gpu, &[n], &order)?)?;
            let tape = Tape::no_grad(&self.gpu);
            let pass = Pass::new(&tape, &self.params);
            let z_e = self.model.encode(&pass, &tape.constant(&x))?;
            let [b, gh, gw, d] = z_e.tensor().dims("encode")?;
            let rows = tape.reshape(&z_e, &[b * gh * gw, d])?;
            codes.extend(self.quantizer.quantize(&pass, &rows, Mode::Eval)?.indices.read::<u32>()?);
        }
        Ok(codes)
    }

    /// Images of codes, a grid each: u8 NHWC.
    ///
    /// # Errors
    /// If the codes are not whole grids, one is past the codebook, or the device fails.
    pub fn decode(&mut self, codes: &[u32]) -> Result<Vec<u8>> {
        let ([gh, gw], books) = (self.grid(), self.quantizer.codebooks());
        let size = self.quantizer.codebook_size();
        let per_image = gh * gw * books;
        if !codes.len().is_multiple_of(per_image) {
            let expected = format!("whole grids of {gh} x {gw} latents with {books} codes each");
            return Err(Error::shape("decode", expected, codes.len()));
        }
        if let Some(code) = codes.iter().find(|c| **c as usize >= size) {
            return Err(Error::data(format!("there is no code {code}: the codebook has {size}")));
        }
        let mut images = Vec::new();
        for part in codes.chunks(BATCH * per_image) {
            let n = part.len() / per_image;
            let tape = Tape::no_grad(&self.gpu);
            let pass = Pass::new(&tape, &self.params);
            let indices = Tensor::from_slice(&self.gpu, &[n * gh * gw, books], part)?;
            let latents = self.quantizer.decode(&pass, &indices)?;
            let latents = latents.reshape(&[n, gh, gw, self.quantizer.dim()])?;
            let y = self.model.decode(&pass, &tape.constant(&latents))?;
            images.extend(to_bytes(y.tensor())?.read::<u8>()?);
        }
        Ok(images)
    }

    /// The codes of images as a file that describes itself.
    ///
    /// # Errors
    /// As [`Trained::encode`].
    pub fn to_codes(&mut self, images: &[u8], names: Vec<String>) -> Result<Codes> {
        let indices = self.encode(images)?;
        let [width, height, channels] = self.image;
        Ok(Codes {
            model: self.hash.clone(),
            quantizer: self.quantizer.name().into(),
            codebook_size: self.quantizer.codebook_size(),
            codebooks: self.quantizer.codebooks(),
            grid: self.grid(),
            image: [width, height, channels],
            names,
            indices,
        })
    }
}
