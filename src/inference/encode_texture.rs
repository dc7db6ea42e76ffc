//! Images on the device to codes on the device: the way in for hosts whose images never leave it.

use crate::autograd::Tape;
use crate::gpu::{ImageTexture, Tensor};
use crate::inference::FirstStageModel;
use crate::nn::ForwardContext;
use crate::ops::elementwise::slice_columns::concat_columns;
use crate::quantize::Mode;
use crate::{Error, Result};

impl FirstStageModel {
    /// Records the encoding of images on the device: f32 [B, H, W, C] in [-1, 1] of the model's
    /// size to u32 [B, codes of an image], in the order of [`FirstStageModel::encode_async`].
    ///
    /// # Errors
    /// If the images have another shape, or the device fails.
    pub fn codes(&self, images: &Tensor) -> Result<Tensor> {
        let ([w, h, c], [n, height, width, channels]) = (self.image, images.dims("encode")?);
        if [height, width, channels] != [h, w, c] {
            return Err(Error::shape(
                "encode",
                format!("images [B, {h}, {w}, {c}]"),
                format!("{images:?}"),
            ));
        }
        let tape = Tape::no_grad(&self.gpu);
        let pass = ForwardContext::new(&tape, &self.params);
        let coded = self
            .stage
            .encode(&pass, &tape.constant(images), Mode::Eval)?;
        let of_level = |level: &crate::inference::first_stage::Coded| {
            let indices = &level.quantized.indices;
            indices.reshape(&[n, indices.len() / n.max(1)])
        };
        match &coded
            .iter()
            .map(of_level)
            .collect::<Result<Vec<Tensor>>>()?[..]
        {
            [only] => Ok(only.clone()),
            levels => concat_columns(&levels.iter().collect::<Vec<_>>()),
        }
    }

    /// Records the encoding of the image in a host's texture into its encoder, and submits, waits
    /// for and polls nothing. Returns u32 [1, codes of an image], computed once the host has
    /// submitted. [`Tensor::read_async`] within
    /// [`Gpu::record_into`](crate::gpu::Gpu::record_into) brings them to the host in the same
    /// submission.
    ///
    /// # Errors
    /// If the texture is smaller than the model's images, or of a format that [`ImageTexture`] does
    /// not name.
    pub fn encode_from<'a>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        from: impl Into<ImageTexture<'a>>,
    ) -> Result<Tensor> {
        let ([w, h, c], from) = (self.image, from.into());
        self.gpu.record_into(encoder, || {
            self.codes(&Tensor::from_texture(&self.gpu, from, [h, w, c])?)
        })
    }
}
