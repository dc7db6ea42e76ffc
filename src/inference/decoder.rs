//! The decoder of a trained first stage: codes to images, as a part of the whole model or from a
//! file that holds nothing else.

use crate::autograd::Tape;
use crate::codes::check;
use crate::gpu::{DType, Gpu, ImageTexture, Tensor};
use crate::inference::FirstStageModel;
use crate::inference::first_stage::{FirstStage, build_part};
use crate::inference::first_stage_model::BATCH;
use crate::inference::loading::{LoadOptions, description, model_file};
use crate::models::Level;
use crate::nn::{ForwardContext, Parameters};
use crate::ops::image::image::to_bytes;
use crate::quantize::Registry;
use crate::storage::checkpoint;
use crate::storage::checkpoint::Checkpoint;
use crate::storage::weights;
use crate::{Error, Result};
use std::path::Path;

/// Version of what a decoder's file holds, beside that of all model files. A reader refuses newer
/// ones.
pub const DECODER_FORMAT: u32 = 1;

/// The decoder of a model that is loaded, with its codebooks: of a [`FirstStageModel`], or of a
/// [`Decoder`]. It borrows both and costs nothing to make.
#[derive(Clone, Copy)]
pub struct DecoderView<'a> {
    pub(super) gpu: &'a Gpu,
    pub(super) stage: &'a FirstStage,
    pub(super) params: &'a Parameters,
    pub(super) levels: &'a [Level],
    pub(super) image: [usize; 3],
}

impl DecoderView<'_> {
    /// Returns the number of codes of an image, of all levels.
    pub fn codes_per_image(&self) -> usize {
        self.levels.iter().map(Level::codes).sum()
    }

    /// See [`Decoder::decode_async`].
    ///
    /// # Errors
    /// As there.
    pub async fn decode_async(&self, codes: &[u32]) -> Result<Vec<u8>> {
        check(self.levels, codes)?;
        let [width, height, _] = self.image;
        let batch = self.stage.batch(self.gpu, BATCH, width, height);
        let mut images = Vec::new();
        for part in codes.chunks(batch * self.codes_per_image()) {
            let codes = Tensor::from_slice(self.gpu, &[part.len()], part)?;
            let bytes = to_bytes(&self.images(&codes)?)?.read_async()?;
            images.extend(bytes.get::<u8>().await?);
        }
        Ok(images)
    }

    /// See [`Decoder::images`].
    ///
    /// # Errors
    /// As there.
    pub fn images(&self, codes: &Tensor) -> Result<Tensor> {
        let each = self.codes_per_image();
        if codes.dtype() != DType::U32
            || codes.is_empty()
            || !codes.len().is_multiple_of(each.max(1))
        {
            return Err(Error::shape(
                "decode",
                format!("u32, {each} codes to an image"),
                format!("{codes:?}"),
            ));
        }
        let tape = Tape::no_grad(self.gpu);
        let pass = ForwardContext::new(&tape, self.params);
        let images = self.stage.decode(&pass, codes, self.levels)?;
        Ok(images.tensor().clone())
    }

    /// See [`Decoder::decode_into`].
    ///
    /// # Errors
    /// As there.
    pub fn decode_into<'a>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        codes: &[u32],
        to: impl Into<ImageTexture<'a>>,
    ) -> Result<()> {
        check(self.levels, codes)?;
        let each = self.codes_per_image();
        if codes.len() != each {
            return Err(Error::shape(
                "decode_into",
                format!("the {each} codes of one image"),
                codes.len(),
            ));
        }
        self.gpu.record_into(encoder, || {
            let codes = Tensor::from_slice(self.gpu, &[codes.len()], codes)?;
            self.images(&codes)?.to_texture(0, to)
        })
    }

    /// See [`Decoder::decode_tensor_into`].
    ///
    /// # Errors
    /// As there.
    pub fn decode_tensor_into<'a>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        codes: &Tensor,
        image: usize,
        to: impl Into<ImageTexture<'a>>,
    ) -> Result<()> {
        self.gpu
            .record_into(encoder, || self.images(codes)?.to_texture(image, to))
    }
}

/// The decoder of a trained first stage, with its codebooks: codes to images, in the memory that
/// this takes.
///
/// `wgvq export RUN --decoder -o FILE` and [`FirstStageModel::to_decoder_bytes`] make its file.
/// Codes and images are laid out as in [`FirstStageModel`].
///
/// ```
/// use wgvq::gpu::{Gpu, Options};
/// use wgvq::inference::Decoder;
///
/// # fn main() -> wgvq::Result<()> {
/// let gpu = Gpu::new(Options::default())?;
/// let decoder = Decoder::load(&gpu, "tests/fixtures/runs/ema".as_ref())?; // a run, or a file
/// let [width, height, channels] = decoder.image();
/// let codes = vec![0; 2 * decoder.codes_per_image()]; // two images, each of the first code
/// let images = decoder.decode(&codes)?;
/// assert_eq!(images.len(), 2 * width * height * channels);
/// # Ok(())
/// # }
/// ```
pub struct Decoder {
    gpu: Gpu,
    stage: FirstStage,
    params: Parameters,
    levels: Vec<Level>,
    image: [usize; 3],
    model: String,
}

impl LoadOptions<'_> {
    /// Loads a decoder from the bytes of its file, or of a whole model's.
    ///
    /// # Errors
    /// As [`Decoder::from_bytes`].
    pub fn decoder_from_bytes(self, gpu: &Gpu, bytes: &[u8]) -> Result<Decoder> {
        let path = Path::new("the decoder's bytes");
        let file = checkpoint::from_bytes(path, bytes)?;
        let about = &file.state["decoder"];
        if about.is_null() {
            let whole = self.from_bytes(gpu, bytes)?;
            let part = whole.decoder_file()?;
            return self.with_registry(|registry| Decoder::of(gpu, path, &part, registry));
        }
        let format = about["format"].as_u64().unwrap_or(0);
        if format == 0 || format > u64::from(DECODER_FORMAT) {
            let what = format!(
                "is a decoder of format {format}; this version reads up to {DECODER_FORMAT}"
            );
            return Err(Error::file(path, what));
        }
        self.with_registry(|registry| Decoder::of(gpu, path, &file, registry))
            .map_err(|e| match e {
                Error::File { .. } => e,
                other => Error::file(path, other),
            })
    }

    /// Loads a decoder's file, or takes the decoder of a whole model's: a run's folder, or a path.
    ///
    /// # Errors
    /// As [`Decoder::load`].
    pub fn load_decoder(self, gpu: &Gpu, path: &Path) -> Result<Decoder> {
        let file = model_file(path);
        let bytes = checkpoint::read(&file)?;
        self.decoder_from_bytes(gpu, &bytes).map_err(|e| match e {
            Error::File { what, .. } => Error::file(&file, what),
            other => other,
        })
    }
}

impl Decoder {
    /// Loads a decoder from the bytes of its file, or of a whole model's, of which it takes its
    /// part: `include_bytes!`, a download. [`LoadOptions::decoder_from_bytes`] does the same under
    /// options.
    ///
    /// # Errors
    /// If they are damaged, of a newer format, or no such file.
    pub fn from_bytes(gpu: &Gpu, bytes: &[u8]) -> Result<Decoder> {
        LoadOptions::default().decoder_from_bytes(gpu, bytes)
    }

    /// Loads a decoder's file, or a whole model's: a run's folder, or a path.
    /// [`LoadOptions::load_decoder`] does the same under options.
    ///
    /// # Errors
    /// As [`Decoder::from_bytes`]; if it cannot be read.
    pub fn load(gpu: &Gpu, path: &Path) -> Result<Decoder> {
        LoadOptions::default().load_decoder(gpu, path)
    }

    fn of(gpu: &Gpu, path: &Path, file: &Checkpoint, registry: &Registry) -> Result<Decoder> {
        let at = |e: Error| Error::file(path, e);
        let (config, image) = description(path, file, registry)?;
        let [width, height, channels] = image;
        let mut parts = weights::by_prefix(&file.tensors, &["quantizer."]).map_err(at)?;
        let own = parts.remove("").unwrap_or_default();
        let keep = |name: &str| own.contains_key(name);
        let (mut stage, params) =
            build_part(gpu, &config, [height, width, channels], registry, &keep).map_err(at)?;
        stage
            .load_codes(parts.remove("quantizer.").unwrap_or_default())
            .map_err(at)?;
        params.load_host(&own).map_err(at)?;
        let levels = stage.levels(width, height);
        let model = file.state["decoder"]["model"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let decoder = Decoder {
            gpu: gpu.clone(),
            stage,
            params,
            levels,
            image,
            model,
        };
        // A file that lacks a part is found now, and not in the middle of a frame; what the kernels
        // need is compiled.
        let codes = Tensor::zeros(gpu, &[decoder.codes_per_image()], DType::U32)?;
        decoder.images(&codes).map_err(at)?;
        Ok(decoder)
    }

    fn view(&self) -> DecoderView<'_> {
        DecoderView {
            gpu: &self.gpu,
            stage: &self.stage,
            params: &self.params,
            levels: &self.levels,
            image: self.image,
        }
    }

    /// Returns the engine that the decoder computes on, as for [`Gpu::block_on`].
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Returns width, height and channels of the decoder's images.
    pub fn image(&self) -> [usize; 3] {
        self.image
    }

    /// Returns the levels of an image's codes, the coarsest first.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// Returns the number of codes of an image, of all levels.
    pub fn codes_per_image(&self) -> usize {
        self.view().codes_per_image()
    }

    /// Returns the SHA-256 of the model file that the decoder was cut from, which that model's
    /// codes carry.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Returns how many numbers the decoder holds beside its codebooks.
    pub fn parameter_count(&self) -> usize {
        self.params.count()
    }

    /// Decodes codes, u32 [N, [`Decoder::codes_per_image`]], to images, u8 [N, H, W, C].
    ///
    /// # Errors
    /// If the codes are not whole images', one is past the codebook, or the device fails.
    pub async fn decode_async(&self, codes: &[u32]) -> Result<Vec<u8>> {
        self.view().decode_async(codes).await
    }

    /// [`Decoder::decode_async`], waiting for the device.
    ///
    /// # Errors
    /// As [`Decoder::decode_async`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn decode(&self, codes: &[u32]) -> Result<Vec<u8>> {
        self.gpu.block_on(self.decode_async(codes))
    }

    /// Records the decoding of codes on the device: u32 of any shape, each image's together, to f32
    /// [N, H, W, C] in [-1, 1], not clamped. Codes are not validated; an out-of-range code decodes
    /// to an unspecified code vector.
    ///
    /// # Errors
    /// If the codes are not whole images', or the device fails.
    pub fn images(&self, codes: &Tensor) -> Result<Tensor> {
        self.view().images(codes)
    }

    /// Records the decoding of one image's codes into a host's encoder and texture, and submits,
    /// waits for and polls nothing. See [`Gpu::record_into`] for the rules, and [`ImageTexture`]
    /// for the textures.
    ///
    /// ```no_run
    /// # use wgvq::gpu::Gpu;
    /// # use wgvq::inference::Decoder;
    /// # use wgvq::wgpu;
    /// # fn frame(
    /// #     device: &wgpu::Device,
    /// #     queue: &wgpu::Queue,
    /// #     decoder: &Decoder,
    /// #     codes: &[u32],
    /// #     view: &wgpu::TextureView,
    /// # ) -> wgvq::Result<()> {
    /// let mut encoder = device.create_command_encoder(&Default::default());
    /// decoder.decode_into(&mut encoder, codes, view)?;
    /// // .. the host's own passes, which sample the texture ..
    /// queue.submit([encoder.finish()]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If they are not one image's codes, one is past the codebook, or the texture does not fit.
    pub fn decode_into<'a>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        codes: &[u32],
        to: impl Into<ImageTexture<'a>>,
    ) -> Result<()> {
        self.view().decode_into(encoder, codes, to)
    }

    /// [`Decoder::decode_into`] of codes on the device ([`Tensor::from_buffer`] takes a host's
    /// buffer), of the image of this number among theirs.
    ///
    /// # Errors
    /// As [`Decoder::images`]; if the texture does not fit.
    pub fn decode_tensor_into<'a>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        codes: &Tensor,
        image: usize,
        to: impl Into<ImageTexture<'a>>,
    ) -> Result<()> {
        self.view().decode_tensor_into(encoder, codes, image, to)
    }
}

impl FirstStageModel {
    /// Returns what decoding reads of the model as a checkpoint: the tensors that a decode uses,
    /// and no other.
    fn decoder_file(&self) -> Result<Checkpoint> {
        let tape = Tape::no_grad(&self.gpu);
        let pass = ForwardContext::new(&tape, &self.params);
        let codes = Tensor::zeros(&self.gpu, &[self.codes_per_image()], DType::U32)?;
        self.stage.decode(&pass, &codes, &self.levels)?;
        let used: Vec<&str> = pass
            .used()
            .into_iter()
            .map(|handle| self.params.name(handle))
            .collect();
        let mut tensors = self.stage.save_codes()?;
        tensors.extend(
            self.params
                .to_host()?
                .into_iter()
                .filter(|(name, _)| used.contains(&name.as_str())),
        );
        let [width, height, channels] = self.image;
        let state = serde_json::json!({
            "config": self.config,
            "image": { "width": width, "height": height, "channels": channels },
            "decoder": { "format": DECODER_FORMAT, "model": self.hash() },
        });
        let tensors = tensors
            .into_iter()
            .map(|(name, t)| (name, weights::export(t)))
            .collect();
        Ok(Checkpoint { tensors, state })
    }

    /// Returns the bytes of a file that [`Decoder::from_bytes`] reads: the decoder and the
    /// codebooks, under PyTorch's names and layouts; no encoder, no averages, nothing of an
    /// optimiser. Waits for the device.
    ///
    /// # Errors
    /// If the device fails.
    pub fn to_decoder_bytes(&self) -> Result<Vec<u8>> {
        checkpoint::to_bytes(&self.decoder_file()?)
    }
}
