//! A trained model's second half alone: codes to images, from a file that holds nothing else.

use crate::autograd::Tape;
use crate::codes::check;
use crate::gpu::{DType, Gpu, Picture, Tensor};
use crate::inference::Trained;
use crate::inference::first_stage::{FirstStage, build_part};
use crate::inference::trained::description;
use crate::models::Level;
use crate::nn::{Parameters, Pass};
use crate::ops::elementwise::columns::columns;
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

/// Images that go through the decoder at a time.
const BATCH: usize = 64;

/// What decoding reads of a model.
pub(crate) struct Half<'a> {
    pub(crate) gpu: &'a Gpu,
    pub(crate) stage: &'a FirstStage,
    pub(crate) params: &'a Parameters,
    pub(crate) levels: &'a [Level],
}

impl Half<'_> {
    /// Images f32 [B, H, W, C] of codes u32 of any shape, each image's together.
    pub(crate) fn images(&self, codes: &Tensor) -> Result<Tensor> {
        let each: usize = self.levels.iter().map(Level::codes).sum();
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
        let pass = Pass::new(&tape, self.params);
        let images = self.stage.decode_tensor(&pass, codes, self.levels)?;
        Ok(images.tensor().clone())
    }

    /// Records the image of codes into a host's encoder and texture.
    pub(crate) fn record_image(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        codes: &[u32],
        to: Picture,
    ) -> Result<()> {
        check(self.levels, codes)?;
        let each: usize = self.levels.iter().map(Level::codes).sum();
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

    /// The same of codes that lie on the device.
    pub(crate) fn record_image_of(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        codes: &Tensor,
        image: usize,
        to: Picture,
    ) -> Result<()> {
        self.gpu
            .record_into(encoder, || self.images(codes)?.to_texture(image, to))
    }
}

/// The codes of the levels, u32 [N h w, Q] each, of images' codes u32, each image's level by level.
pub(crate) fn split(codes: &Tensor, levels: &[Level]) -> Result<Vec<Tensor>> {
    let each: usize = levels.iter().map(Level::codes).sum();
    let images = codes.len() / each.max(1);
    let mut at = 0;
    let part = |level: &Level| {
        let own = level.codes();
        let rows = [images * own / level.codebooks, level.codebooks];
        let part = if own == each {
            codes.clone()
        } else {
            columns(&codes.reshape(&[images, each])?, at, own)?
        };
        at += own;
        part.reshape(&rows)
    };
    levels.iter().map(part).collect()
}

/// The decoder of a trained first stage, with its codebooks: what turns codes into images, in the
/// memory that this takes.
///
/// `wgvq export RUN --decoder -o FILE` and [`Trained::to_decoder_bytes`] make its file.
pub struct Decoder {
    gpu: Gpu,
    stage: FirstStage,
    params: Parameters,
    levels: Vec<Level>,
    image: [usize; 3],
    model: String,
}

impl Decoder {
    /// A decoder from the bytes of its file, or of a whole model's, of which it takes its part:
    /// `include_bytes!`, a download.
    ///
    /// # Errors
    /// If they are damaged, of a newer format, or no such file.
    pub fn from_bytes(gpu: &Gpu, bytes: &[u8]) -> Result<Decoder> {
        Decoder::from_bytes_with(gpu, bytes, &Registry::default())
    }

    /// [`Decoder::from_bytes`] where a program has quantizers of its own.
    ///
    /// # Errors
    /// As [`Decoder::from_bytes`].
    pub fn from_bytes_with(gpu: &Gpu, bytes: &[u8], registry: &Registry) -> Result<Decoder> {
        let path = Path::new("the decoder's bytes");
        let file = checkpoint::from_bytes(path, bytes)?;
        let at = |e: Error| Error::file(path, e);
        let about = &file.state["decoder"];
        if about.is_null() {
            let whole = Trained::from_bytes_with(gpu, bytes, registry)?;
            return Decoder::of(gpu, path, &whole.decoder_file()?, registry);
        }
        let format = about["format"].as_u64().unwrap_or(0);
        if format == 0 || format > u64::from(DECODER_FORMAT) {
            let what = format!(
                "is a decoder of format {format}; this version reads up to {DECODER_FORMAT}"
            );
            return Err(Error::file(path, what));
        }
        Decoder::of(gpu, path, &file, registry).map_err(|e| {
            if matches!(e, Error::File { .. }) {
                e
            } else {
                at(e)
            }
        })
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
        decoder
            .half()
            .images(&Tensor::zeros(
                gpu,
                &[decoder.codes_per_image()],
                DType::U32,
            )?)
            .map_err(at)?;
        Ok(decoder)
    }

    /// Loads a decoder's file, or a whole model's: a run's folder, or a path.
    ///
    /// # Errors
    /// As [`Decoder::from_bytes`]; if it cannot be read.
    pub fn load(gpu: &Gpu, path: &Path) -> Result<Decoder> {
        let file = if path.is_dir() {
            path.join("final.safetensors")
        } else {
            path.to_owned()
        };
        let bytes = checkpoint::read(&file)?;
        Decoder::from_bytes(gpu, &bytes).map_err(|e| match e {
            Error::File { what, .. } => Error::file(&file, what),
            other => other,
        })
    }

    fn half(&self) -> Half<'_> {
        Half {
            gpu: &self.gpu,
            stage: &self.stage,
            params: &self.params,
            levels: &self.levels,
        }
    }

    /// Width, height and channels of its images.
    pub fn image(&self) -> [usize; 3] {
        self.image
    }
    /// What an image's codes look like, level by level, the coarsest first.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }
    /// Codes of an image, of all levels.
    pub fn codes_per_image(&self) -> usize {
        self.levels.iter().map(Level::codes).sum()
    }
    /// SHA-256 of the model file that it was cut from, which that model's codes carry.
    pub fn model(&self) -> &str {
        &self.model
    }
    /// Numbers that it holds beside its codebooks.
    pub fn parameter_count(&self) -> usize {
        self.params.count()
    }

    /// Images of codes, as [`Trained::encode`] gives them: u8 NHWC. Waits for the device.
    ///
    /// # Errors
    /// If the codes are not whole images', one is past the codebook, or the device fails.
    pub fn decode(&self, codes: &[u32]) -> Result<Vec<u8>> {
        check(&self.levels, codes)?;
        let [width, height, _] = self.image;
        let batch = self.stage.batch(&self.gpu, BATCH, width, height);
        let mut images = Vec::new();
        for part in codes.chunks(batch * self.codes_per_image()) {
            let codes = Tensor::from_slice(&self.gpu, &[part.len()], part)?;
            images.extend(to_bytes(&self.half().images(&codes)?)?.read::<u8>()?);
        }
        Ok(images)
    }

    /// Records images of codes that lie on the device: u32 of any shape, each image's together, to
    /// f32 [B, H, W, C] in [-1, 1], not clamped. The device reads the codes, so none is refused:
    /// one past its codebook gives what the last code gives, or any code.
    ///
    /// # Errors
    /// If the codes are not whole images', or the device fails.
    pub fn images(&self, codes: &Tensor) -> Result<Tensor> {
        self.half().images(codes)
    }

    /// Records the image of codes into a host's encoder and texture, and submits, waits for and
    /// polls nothing. See [`Gpu::record_into`] for the rules, and [`Picture`] for the textures.
    ///
    /// ```no_run
    /// # use wgvq::gpu::Gpu;
    /// # use wgvq::train::Decoder;
    /// # fn frame(device: &wgpu::Device, queue: &wgpu::Queue, decoder: &Decoder, codes: &[u32], view: &wgpu::TextureView) -> wgvq::Result<()> {
    /// # use wgvq::wgpu;
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
        to: impl Into<Picture<'a>>,
    ) -> Result<()> {
        self.half().record_image(encoder, codes, to.into())
    }

    /// [`Decoder::decode_into`] of codes that lie on the device ([`Tensor::from_buffer`] takes a
    /// host's buffer), of the given image among theirs.
    ///
    /// # Errors
    /// As [`Decoder::images`]; if the texture does not fit.
    pub fn decode_tensor_into<'a>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        codes: &Tensor,
        image: usize,
        to: impl Into<Picture<'a>>,
    ) -> Result<()> {
        self.half()
            .record_image_of(encoder, codes, image, to.into())
    }
}

impl Trained {
    pub(crate) fn half(&self) -> Half<'_> {
        Half {
            gpu: &self.gpu,
            stage: &self.stage,
            params: &self.params,
            levels: &self.levels,
        }
    }

    /// [`Decoder::images`] of the whole model.
    ///
    /// # Errors
    /// As there.
    pub fn images(&self, codes: &Tensor) -> Result<Tensor> {
        self.half().images(codes)
    }

    /// [`Decoder::decode_into`] of the whole model.
    ///
    /// # Errors
    /// As there.
    pub fn decode_into<'a>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        codes: &[u32],
        to: impl Into<Picture<'a>>,
    ) -> Result<()> {
        self.half().record_image(encoder, codes, to.into())
    }

    /// What decoding reads of this model, as a checkpoint: the tensors that a decode uses, and no
    /// other.
    fn decoder_file(&self) -> Result<Checkpoint> {
        let tape = Tape::no_grad(&self.gpu);
        let pass = Pass::new(&tape, &self.params);
        let codes = Tensor::zeros(&self.gpu, &[self.codes_per_image()], DType::U32)?;
        self.stage.decode_tensor(&pass, &codes, &self.levels)?;
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

    /// The bytes of a file that [`Decoder::from_bytes`] reads: the decoder and the codes, under
    /// PyTorch's names and layouts; no encoder, no averages, nothing of an optimiser. Waits for the
    /// device.
    ///
    /// # Errors
    /// If the device fails.
    pub fn to_decoder_bytes(&self) -> Result<Vec<u8>> {
        checkpoint::to_bytes(&self.decoder_file()?)
    }
}
