//! A trained first stage, which encodes, decodes and reconstructs.

use crate::autograd::Tape;
use crate::codes::{Codes, interleave};
use crate::config::run::ResolvedConfig;
use crate::gpu::{Gpu, ImageTexture, Readback, Tensor};
use crate::inference::decoder::DecoderView;
use crate::inference::first_stage::{FirstStage, build};
use crate::inference::level_ablation::LevelAblation;
use crate::inference::loading::{LoadOptions, description, model_file};
use crate::models::Level;
#[cfg(not(target_arch = "wasm32"))]
use crate::models::prior::CodeOrder;
use crate::nn::{ForwardContext, Parameters};
use crate::ops::image::image::{normalize, to_bytes};
use crate::quantize::{Mode, Quantizer, Registry, ScaleTables};
use crate::storage::checkpoint;
use crate::storage::checkpoint::Checkpoint;
use crate::storage::run_parts::with_kept_list;
use crate::storage::weights;
use crate::{Error, Result};
use std::path::Path;

/// A trained first stage: an encoder of images to codes, of one level or several, and their
/// decoder.
///
/// Images are u8 NHWC: pixels row by row, the channels of one together, image behind image, each of
/// [`FirstStageModel::image`]'s size. Codes are u32, image behind image: an image's levels, the
/// coarsest first, each row by row, those of one latent together
/// ([`FirstStageModel::codes_per_image`] in all).
///
/// ```
/// use wgvq::gpu::{Gpu, Options};
/// use wgvq::inference::FirstStageModel;
///
/// # fn main() -> wgvq::Result<()> {
/// let gpu = Gpu::new(Options::default())?;
/// let run = "tests/fixtures/runs/ema"; // a folder that `wgvq train` made
/// let model = FirstStageModel::load(&gpu, run.as_ref())?;
/// let [width, height, channels] = model.image();
/// let image = "tests/fixtures/runs/original.png";
/// let pixels = wgvq::data::load_image(image, width, height, channels)?;
/// let codes = model.encode(&pixels)?;
/// assert_eq!(codes.len(), model.codes_per_image());
/// let reconstruction = model.decode(&codes)?;
/// assert_eq!(reconstruction.len(), pixels.len());
/// # Ok(())
/// # }
/// ```
pub struct FirstStageModel {
    pub(crate) gpu: Gpu,
    pub(crate) config: ResolvedConfig,
    pub(crate) stage: FirstStage,
    pub(crate) params: Parameters,
    /// Layout of an image's codes.
    pub(crate) levels: Vec<Level>,
    /// Width, height and channels of its images.
    pub(crate) image: [usize; 3],
    /// SHA-256 of the model file.
    hash: String,
}

/// Codes whose vectors are read at a time.
#[cfg(not(target_arch = "wasm32"))]
const CODES_AT_A_TIME: usize = 1 << 16;
/// Images that go through the model at a time.
pub(super) const BATCH: usize = 64;

impl LoadOptions<'_> {
    /// Loads the first stage of a run: a run's folder, or a model file.
    ///
    /// # Errors
    /// As [`FirstStageModel::load`].
    pub fn load(self, gpu: &Gpu, run: &Path) -> Result<FirstStageModel> {
        let path = model_file(run);
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
        let model =
            self.with_registry(|registry| FirstStageModel::of(gpu, &path, &file, hash, registry));
        model.map(|mut model| {
            let folder = path.parent().unwrap_or(Path::new(""));
            model.config = model.config.map(|config| with_kept_list(config, folder));
            model
        })
    }

    /// Loads a first stage from the bytes of its file.
    ///
    /// # Errors
    /// As [`FirstStageModel::from_bytes`].
    pub fn from_bytes(self, gpu: &Gpu, bytes: &[u8]) -> Result<FirstStageModel> {
        let path = Path::new("the model's bytes");
        let file = checkpoint::from_bytes(path, bytes)?;
        let hash = checkpoint::sum(bytes);
        self.with_registry(|registry| FirstStageModel::of(gpu, path, &file, hash, registry))
    }
}

impl FirstStageModel {
    /// Loads the first stage of a run: a run's folder, or a model file. [`LoadOptions::load`] does
    /// the same under options.
    ///
    /// # Errors
    /// If there is none, it is damaged, or its tensors are not those of its configuration.
    pub fn load(gpu: &Gpu, run: &Path) -> Result<FirstStageModel> {
        LoadOptions::default().load(gpu, run)
    }

    /// Loads a first stage from the bytes of its file: `include_bytes!`, a download.
    /// [`LoadOptions::from_bytes`] does the same under options.
    ///
    /// # Errors
    /// If they are damaged, of a newer format, or no model's.
    pub fn from_bytes(gpu: &Gpu, bytes: &[u8]) -> Result<FirstStageModel> {
        LoadOptions::default().from_bytes(gpu, bytes)
    }

    fn of(
        gpu: &Gpu,
        path: &Path,
        file: &Checkpoint,
        hash: String,
        registry: &Registry,
    ) -> Result<FirstStageModel> {
        let at = |e: Error| Error::file(path, e);
        if !file.state["decoder"].is_null() {
            return Err(Error::file(
                path,
                "is a decoder, without the encoder of its model; `wgvq::inference::Decoder` reads \
                 it",
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
        Ok(FirstStageModel {
            gpu: gpu.clone(),
            config,
            stage,
            params,
            levels,
            image,
            hash,
        })
    }

    /// Returns the configuration that the model was trained under.
    pub fn config(&self) -> &ResolvedConfig {
        &self.config
    }

    /// Returns width, height and channels of the model's images.
    pub fn image(&self) -> [usize; 3] {
        self.image
    }

    /// Returns the SHA-256 of the model file, which its codes carry.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Returns the levels of an image's codes, the coarsest first: one, but for a hierarchy.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// Returns how many images go through the model at a time, of `wanted`.
    pub(crate) fn batch(&self, wanted: usize) -> usize {
        let [width, height, _] = self.image;
        self.stage.batch(&self.gpu, wanted, width, height)
    }

    /// Returns the index of the level of this name; without one, of the only level.
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

    /// Returns the number of codes of an image, of all levels.
    pub fn codes_per_image(&self) -> usize {
        self.levels.iter().map(Level::codes).sum()
    }

    /// Returns the quantizers, the coarsest level's first; see
    /// [`FirstStageModel::quantizer_of`].
    pub fn quantizers(&self) -> &[Box<dyn Quantizer>] {
        &self.stage.quantizers
    }

    /// Returns the quantizer that makes the codes of a level, by the level's number: one that has
    /// several scales makes those of several levels.
    pub fn quantizer_of(&self, level: usize) -> &dyn Quantizer {
        &*self.stage.quantizers[self.stage.quantizer_of(level)]
    }

    /// Returns what turns codes of several scales into maps of latents; `None` where the quantizer
    /// has no scales.
    ///
    /// # Errors
    /// If the device fails.
    pub fn scale_tables(&self) -> Result<Option<ScaleTables>> {
        let tape = Tape::no_grad(&self.gpu);
        let pass = ForwardContext::new(&tape, &self.params);
        match &self.stage.quantizers[..] {
            [only] => only.scale_tables(&pass),
            _ => Ok(None),
        }
    }

    /// Returns an order in which neighbours among the codes of a level lie together, by their
    /// vectors, for a prior with a factorised head: see
    /// [`Prior::with_code_order`](crate::models::prior::Prior::with_code_order). `None` where a
    /// latent has several codes, whose vectors add up. Waits for the device.
    ///
    /// # Errors
    /// If the device fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn code_order(&self, level: usize) -> Result<Option<CodeOrder>> {
        let quantizer = self.quantizer_of(level);
        if quantizer.codebooks() != 1 {
            return Ok(None);
        }
        let tape = Tape::no_grad(&self.gpu);
        let pass = ForwardContext::new(&tape, &self.params);
        let mut vectors = Vec::new();
        let all: Vec<u32> = (0..quantizer.codebook_size() as u32).collect();
        for codes in all.chunks(CODES_AT_A_TIME) {
            let codes = Tensor::from_slice(&self.gpu, &[codes.len(), 1], codes)?;
            vectors.extend(quantizer.code_vectors(&pass, &codes)?.read::<f32>()?);
        }
        CodeOrder::of_vectors(&vectors, quantizer.dim()).map(Some)
    }

    /// Channels of a code of its scales; 0 without any.
    pub(crate) fn scale_channels(&self) -> usize {
        let tables = self.scale_tables().ok().flatten();
        tables.map_or(0, |tables| tables.channels())
    }

    /// Returns the model's decoder, with its codebooks.
    pub fn decoder(&self) -> DecoderView<'_> {
        DecoderView {
            gpu: &self.gpu,
            stage: &self.stage,
            params: &self.params,
            levels: &self.levels,
            image: self.image,
        }
    }

    /// Encodes images, u8 [N, H, W, C], to codes, u32 [N, [`FirstStageModel::codes_per_image`]].
    ///
    /// # Errors
    /// If the bytes are not whole images, or the device fails.
    pub async fn encode_async(&self, images: &[u8]) -> Result<Vec<u32>> {
        let [w, h, c] = self.image;
        if !images.len().is_multiple_of(w * h * c) {
            return Err(Error::shape(
                "encode",
                format!("whole images of {w} x {h} x {c}"),
                format!("{} bytes", images.len()),
            ));
        }
        let mut codes = Vec::new();
        for part in images.chunks(self.batch(BATCH) * w * h * c) {
            let n = part.len() / (w * h * c);
            codes.extend(interleave(&self.encode_levels(part, [n, w, h]).await?, n));
        }
        Ok(codes)
    }

    /// [`FirstStageModel::encode_async`], waiting for the device.
    ///
    /// # Errors
    /// As [`FirstStageModel::encode_async`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn encode(&self, images: &[u8]) -> Result<Vec<u32>> {
        self.gpu.block_on(self.encode_async(images))
    }

    /// Decodes codes, u32 [N, [`FirstStageModel::codes_per_image`]], to images, u8 [N, H, W, C].
    ///
    /// # Errors
    /// If the codes are not whole images', one is past the codebook, or the device fails.
    pub async fn decode_async(&self, codes: &[u32]) -> Result<Vec<u8>> {
        self.decoder().decode_async(codes).await
    }

    /// [`FirstStageModel::decode_async`], waiting for the device.
    ///
    /// # Errors
    /// As [`FirstStageModel::decode_async`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn decode(&self, codes: &[u32]) -> Result<Vec<u8>> {
        self.gpu.block_on(self.decode_async(codes))
    }

    /// Records the decoding of codes on the device, see
    /// [`Decoder::images`](super::Decoder::images).
    ///
    /// # Errors
    /// As there.
    pub fn images(&self, codes: &Tensor) -> Result<Tensor> {
        self.decoder().images(codes)
    }

    /// Records the decoding of codes into a host's texture, see
    /// [`Decoder::decode_into`](super::Decoder::decode_into).
    ///
    /// # Errors
    /// As there.
    pub fn decode_into<'a>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        codes: &[u32],
        to: impl Into<ImageTexture<'a>>,
    ) -> Result<()> {
        self.decoder().decode_into(encoder, codes, to)
    }

    /// Records a pass of images through the model: f32 [B, H, W, C] in [-1, 1] of the model's size
    /// to each level's codes, u32 [B h w, Q], the coarsest level first, and to reconstructions, f32
    /// of the images' shape and not clamped.
    ///
    /// # Errors
    /// If the images have another shape, or the device fails.
    pub fn reconstruct(&self, images: &Tensor) -> Result<(Vec<Tensor>, Tensor)> {
        let tape = Tape::no_grad(&self.gpu);
        let pass = ForwardContext::new(&tape, &self.params);
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

    /// Reconstructs images, u8 [N, H, W, C], from their coarsest level alone, from their first two,
    /// and so on; the last is what all levels give. The other levels hold 0, as in the training
    /// steps that left them out; without such steps, their mean over these images.
    ///
    /// # Errors
    /// As [`FirstStageModel::encode_async`].
    pub fn by_levels(&self, images: &[u8]) -> Result<Vec<Vec<u8>>> {
        let [w, h, c] = self.image;
        let mut ablation = LevelAblation::new(&self.stage);
        for part in images.chunks(self.batch(BATCH) * w * h * c) {
            ablation.observe(&self.stage, &self.params, &self.pictures(part)?)?;
        }
        let mut levels = vec![Vec::new(); self.levels.len()];
        for part in images.chunks(self.batch(BATCH) * w * h * c) {
            let images = self.pictures(part)?;
            let drawn = ablation.reconstructions(&self.stage, &self.params, &images)?;
            for (level, y) in levels.iter_mut().zip(drawn) {
                level.extend(to_bytes(&y)?.read::<u8>()?);
            }
        }
        Ok(levels)
    }

    /// Encodes images of one size, given as [N, W, H], to codes level by level.
    pub(crate) async fn encode_levels(
        &self,
        pixels: &[u8],
        [n, w, h]: [usize; 3],
    ) -> Result<Vec<Vec<u32>>> {
        let readbacks = {
            let bytes = Tensor::from_slice(&self.gpu, &[n, h, w, self.image[2]], pixels)?;
            let order: Vec<u32> = (0..n as u32).collect();
            let x = normalize(&bytes, &Tensor::from_slice(&self.gpu, &[n], &order)?)?;
            drop(bytes);
            let tape = Tape::no_grad(&self.gpu);
            let pass = ForwardContext::new(&tape, &self.params);
            let coded = self.stage.encode(&pass, &tape.constant(&x), Mode::Eval)?;
            let read = |indices: &Tensor| indices.read_async();
            coded
                .iter()
                .map(|level| read(&level.quantized.indices))
                .collect::<Result<Vec<Readback>>>()?
        };
        let mut levels = Vec::new();
        for readback in readbacks {
            levels.push(readback.get::<u32>().await?);
        }
        Ok(levels)
    }

    /// Encodes images, u8 [N, H, W, C], to a file of codes that describes itself; `names` are the
    /// images'.
    ///
    /// # Errors
    /// As [`FirstStageModel::encode_async`].
    pub async fn to_codes_async(&self, images: &[u8], names: Vec<String>) -> Result<Codes> {
        let indices = self.encode_async(images).await?;
        Ok(self.codes_file(indices, self.levels.clone(), self.image, names))
    }

    /// [`FirstStageModel::to_codes_async`], waiting for the device.
    ///
    /// # Errors
    /// As [`FirstStageModel::to_codes_async`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn to_codes(&self, images: &[u8], names: Vec<String>) -> Result<Codes> {
        self.gpu.block_on(self.to_codes_async(images, names))
    }

    /// Returns the codes of no image: what describes this model's codes, as
    /// [`codes::packed::unpack`](crate::codes::packed::unpack) asks for it.
    #[cfg(feature = "pack")]
    pub fn no_codes(&self) -> Codes {
        self.codes_file(Vec::new(), self.levels.clone(), self.image, Vec::new())
    }

    /// Returns codes of images of a size, with what describes them.
    pub(super) fn codes_file(
        &self,
        indices: Vec<u32>,
        levels: Vec<Level>,
        image: [usize; 3],
        names: Vec<String>,
    ) -> Codes {
        Codes {
            model: self.hash.clone(),
            quantizer: self.config.quantizer.kind.clone(),
            levels,
            image,
            names,
            indices,
        }
    }
}
