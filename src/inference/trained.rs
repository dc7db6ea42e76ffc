//! A trained model, read back from its run to encode, decode and reconstruct.

use crate::autograd::Tape;
use crate::codes::{Codes, check, interleave};
use crate::config::run::{ResolvedConfig, RunConfig};
use crate::data::ImageSet;
use crate::gpu::{Gpu, Tensor};
use crate::inference::ablation::Means;
use crate::inference::first_stage::{FirstStage, build};
use crate::models::Level;
use crate::nn::{Parameters, Pass};
use crate::ops::image::image::{normalize, to_bytes};
use crate::quantize::{Mode, Quantizer, Registry};
use crate::storage::checkpoint;
use crate::storage::checkpoint::Checkpoint;
use crate::storage::weights;
use crate::{Error, Result};

use std::path::Path;

/// What a model file says of itself beside its tensors.
pub(crate) fn describe(config: &ResolvedConfig, data: &ImageSet) -> serde_json::Value {
    serde_json::json!({
        "config": config,
        "image": { "width": data.width, "height": data.height, "channels": data.channels },
    })
}

/// What [`describe`] wrote: the configuration, and width, height and channels of images.
pub(crate) fn description(
    path: &Path,
    file: &Checkpoint,
    registry: &Registry,
) -> Result<(ResolvedConfig, [usize; 3])> {
    if !file.state["prior"].is_null() {
        return Err(Error::file(
            path,
            "is a prior; name the run that it belongs to",
        ));
    }
    let config: RunConfig = serde_json::from_value(file.state["config"].clone())
        .map_err(|e| Error::file(path, format!("its configuration cannot be used: {e}")))?;
    let config = config.resolve(registry).map_err(|e| Error::file(path, e))?;
    let size = |key: &str| {
        file.state["image"][key]
            .as_u64()
            .filter(|n| (1..=1 << 16).contains(n))
            .map(|n| n as usize)
    };
    let (Some(width), Some(height), Some(channels)) =
        (size("width"), size("height"), size("channels"))
    else {
        return Err(Error::file(path, "does not say the size of its images"));
    };
    Ok((config, [width, height, channels]))
}

/// A trained first stage: a VQ-VAE, of one level of codes or several.
pub struct Trained {
    pub(crate) gpu: Gpu,
    pub(crate) config: ResolvedConfig,
    pub(crate) stage: FirstStage,
    pub(crate) params: Parameters,
    /// What an image's codes look like.
    pub(crate) levels: Vec<Level>,
    /// Width, height and channels of its images.
    pub(crate) image: [usize; 3],
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
        let path = if run.is_dir() {
            run.join("final.safetensors")
        } else {
            run.to_owned()
        };
        if !path.exists() {
            let what = if run.is_dir() && run.join("config.toml").exists() {
                format!(
                    "is not there: the run has not ended; go on with it by `wgvq train --resume \
                     {}`",
                    run.display()
                )
            } else {
                "is not there: expected a run's folder or its final.safetensors".into()
            };
            return Err(Error::file(&path, what));
        }
        let (file, hash) = checkpoint::load_file(&path)?;
        Trained::of(gpu, &path, &file, hash, registry)
    }

    /// A model from the bytes of its file: `include_bytes!`, a download.
    ///
    /// # Errors
    /// If they are damaged, of a newer format, or no model's.
    pub fn from_bytes(gpu: &Gpu, bytes: &[u8]) -> Result<Trained> {
        Trained::from_bytes_with(gpu, bytes, &Registry::default())
    }

    /// [`Trained::from_bytes`] where a program has quantizers of its own.
    ///
    /// # Errors
    /// As [`Trained::from_bytes`].
    pub fn from_bytes_with(gpu: &Gpu, bytes: &[u8], registry: &Registry) -> Result<Trained> {
        let path = Path::new("the model's bytes");
        Trained::of(
            gpu,
            path,
            &checkpoint::from_bytes(path, bytes)?,
            checkpoint::sum(bytes),
            registry,
        )
    }

    fn of(
        gpu: &Gpu,
        path: &Path,
        file: &Checkpoint,
        hash: String,
        registry: &Registry,
    ) -> Result<Trained> {
        let at = |e: Error| Error::file(path, e);
        if !file.state["decoder"].is_null() {
            return Err(Error::file(
                path,
                "is a decoder, without the encoder of its model; `wgvq::train::Decoder` reads it",
            ));
        }
        let (config, image) = description(path, file, registry)?;
        let [width, height, channels] = image;
        let (mut stage, params) =
            build(gpu, &config, [height, width, channels], registry).map_err(at)?;
        let mut parts = weights::by_prefix(&file.tensors, &["quantizer."]).map_err(at)?;
        stage
            .load(parts.remove("quantizer.").unwrap_or_default())
            .map_err(at)?;
        params
            .load_host(&parts.remove("").unwrap_or_default())
            .map_err(at)?;
        let levels = stage.levels(width, height);
        Ok(Trained {
            gpu: gpu.clone(),
            config,
            stage,
            params,
            levels,
            image,
            hash,
        })
    }

    /// The configuration that it was trained under.
    pub fn config(&self) -> &ResolvedConfig {
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
    /// What an image's codes look like, level by level, the coarsest first: one level, but for a
    /// hierarchy.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// Images that go through the model at a time, of `wanted`.
    pub(crate) fn batch(&self, wanted: usize) -> usize {
        let [width, height, _] = self.image;
        self.stage.batch(&self.gpu, wanted, width, height)
    }

    /// The level of this name; without one, the only level.
    ///
    /// # Errors
    /// If there is none, or there are several and none is named; the message lists them.
    pub fn level(&self, name: Option<&str>) -> Result<usize> {
        let names = || {
            self.levels
                .iter()
                .map(|l| l.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        match (name, &self.levels[..]) {
            (None, [_]) => Ok(0),
            (None, _) => Err(Error::config(
                "--level",
                format!("is needed: the model's codes have the levels {}", names()),
            )),
            (Some(name), [_]) => Err(Error::config(
                "--level",
                format!("`{name}`: the model's codes have one level, without a name"),
            )),
            (Some(name), levels) => levels.iter().position(|l| l.name == name).ok_or_else(|| {
                Error::config(
                    "--level",
                    format!(
                        "there is no level `{name}`: the model's codes have the levels {}",
                        names()
                    ),
                )
            }),
        }
    }

    /// Codes of an image, of all levels.
    pub fn codes_per_image(&self) -> usize {
        self.levels.iter().map(Level::codes).sum()
    }

    /// The quantizers, level by level.
    pub fn quantizers(&self) -> &[Box<dyn Quantizer>] {
        &self.stage.quantizers
    }

    /// Codes of images, u8 NHWC of [`Trained::image`]'s size: image by image, each image's level by
    /// level, the coarsest first, row by row, those of one latent together.
    ///
    /// # Errors
    /// If the bytes are not whole images, or the device fails.
    pub fn encode(&mut self, images: &[u8]) -> Result<Vec<u32>> {
        let [w, h, c] = self.image;
        self.check_images(images)?;
        let mut codes = Vec::new();
        for part in images.chunks(self.batch(BATCH) * w * h * c) {
            let n = part.len() / (w * h * c);
            codes.extend(interleave(&self.code(part, [n, w, h])?, n));
        }
        Ok(codes)
    }

    /// Images of codes, as [`Trained::encode`] gives them: u8 NHWC.
    ///
    /// # Errors
    /// If the codes are not whole grids, one is past the codebook, or the device fails.
    pub fn decode(&mut self, codes: &[u32]) -> Result<Vec<u8>> {
        check(&self.levels, codes)?;
        let per_image = self.codes_per_image();
        let mut images = Vec::new();
        for part in codes.chunks(self.batch(BATCH) * per_image) {
            images.extend(self.picture(part, &self.levels)?);
        }
        Ok(images)
    }

    /// Images on the device through the model: f32 [B, H, W, C] in [-1, 1] of the model's size to
    /// each level's codes, u32 [B h w, Q], the coarsest level first, and to reconstructions, f32 of
    /// the images' shape and not clamped.
    ///
    /// # Errors
    /// If the images have another shape, or the device fails.
    pub fn reconstruct(&self, images: &Tensor) -> Result<(Vec<Tensor>, Tensor)> {
        let tape = Tape::no_grad(&self.gpu);
        let pass = Pass::new(&tape, &self.params);
        let (coded, y) = self
            .stage
            .reconstruct(&pass, &tape.constant(images), Mode::Eval)?;
        Ok((
            coded
                .into_iter()
                .map(|part| part.quantized.indices)
                .collect(),
            y.tensor().clone(),
        ))
    }

    /// What images, u8 NHWC, are drawn from by their coarsest level alone, by their first two, and
    /// so on; the last is what all levels give. The other levels hold 0, as in the training steps
    /// that left them out; without such steps, their mean over these images.
    ///
    /// # Errors
    /// As [`Trained::encode`].
    pub fn by_levels(&mut self, images: &[u8]) -> Result<Vec<Vec<u8>>> {
        let [w, h, c] = self.image;
        let mut means = Means::new(&self.stage);
        for part in images.chunks(self.batch(BATCH) * w * h * c) {
            means.see(&self.stage, &self.params, &self.pictures(part)?)?;
        }
        let mut levels = vec![Vec::new(); self.levels.len()];
        for part in images.chunks(self.batch(BATCH) * w * h * c) {
            let drawn = means.reconstructions(&self.stage, &self.params, &self.pictures(part)?)?;
            for (level, y) in levels.iter_mut().zip(drawn) {
                level.extend(to_bytes(&y)?.read::<u8>()?);
            }
        }
        Ok(levels)
    }

    /// [`Trained::encode`] without waiting for the device.
    ///
    /// # Errors
    /// As [`Trained::encode`].
    pub async fn encode_async(&self, images: &[u8]) -> Result<Vec<u32>> {
        let [w, h, c] = self.image;
        self.check_images(images)?;
        let mut codes = Vec::new();
        for part in images.chunks(self.batch(BATCH) * w * h * c) {
            let n = part.len() / (w * h * c);
            let mut levels = Vec::new();
            for indices in self.indices(part, [n, w, h])? {
                levels.push(indices.read_async()?.get::<u32>().await?);
            }
            codes.extend(interleave(&levels, n));
        }
        Ok(codes)
    }

    /// [`Trained::decode`] without waiting for the device.
    ///
    /// # Errors
    /// As [`Trained::decode`].
    pub async fn decode_async(&self, codes: &[u32]) -> Result<Vec<u8>> {
        check(&self.levels, codes)?;
        let mut images = Vec::new();
        for part in codes.chunks(self.batch(BATCH) * self.codes_per_image()) {
            images.extend(
                self.bytes(part, &self.levels)?
                    .read_async()?
                    .get::<u8>()
                    .await?,
            );
        }
        Ok(images)
    }

    fn check_images(&self, images: &[u8]) -> Result<()> {
        let [w, h, c] = self.image;
        if images.len().is_multiple_of(w * h * c) {
            return Ok(());
        }
        Err(Error::shape(
            "encode",
            format!("whole images of {w} x {h} x {c}"),
            format!("{} bytes", images.len()),
        ))
    }

    /// Codes of images of one size, level by level.
    pub(crate) fn code(&self, pixels: &[u8], size: [usize; 3]) -> Result<Vec<Vec<u32>>> {
        self.indices(pixels, size)?
            .iter()
            .map(Tensor::read::<u32>)
            .collect()
    }

    /// The same on the device.
    fn indices(&self, pixels: &[u8], [n, w, h]: [usize; 3]) -> Result<Vec<Tensor>> {
        let bytes = Tensor::from_slice(&self.gpu, &[n, h, w, self.image[2]], pixels)?;
        let order: Vec<u32> = (0..n as u32).collect();
        let x = normalize(&bytes, &Tensor::from_slice(&self.gpu, &[n], &order)?)?;
        drop(bytes);
        let tape = Tape::no_grad(&self.gpu);
        let pass = Pass::new(&tape, &self.params);
        let coded = self.stage.encode(&pass, &tape.constant(&x), Mode::Eval)?;
        Ok(coded.into_iter().map(|c| c.quantized.indices).collect())
    }

    /// Images of codes on the given levels' grids: u8 NHWC.
    pub(crate) fn picture(&self, codes: &[u32], levels: &[Level]) -> Result<Vec<u8>> {
        self.bytes(codes, levels)?.read::<u8>()
    }

    /// The same on the device.
    fn bytes(&self, codes: &[u32], levels: &[Level]) -> Result<Tensor> {
        let tape = Tape::no_grad(&self.gpu);
        let pass = Pass::new(&tape, &self.params);
        let y = self.stage.decode(&pass, codes, levels)?;
        to_bytes(y.tensor())
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
            quantizer: self.config.quantizer.kind.clone(),
            levels: self.levels.clone(),
            image: [width, height, channels],
            names,
            indices,
        })
    }
}
