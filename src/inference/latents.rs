//! The latents of images, as a trained first stage hands them to its quantizer.

use super::first_stage_model::{BATCH, FirstStageModel};
use crate::autograd::Tape;
use crate::gpu::Tensor;
use crate::nn::ForwardContext;
use crate::ops::image::image::normalize;
use crate::{Error, Result};

impl FirstStageModel {
    /// Returns the latents of images, u8 [N, H, W, C], as they come to the quantizer of a level:
    /// f32 [N h w, D], image behind image, row by row. Latents of lower levels follow from the
    /// quantized ones above. Waits for the device.
    ///
    /// # Errors
    /// If the bytes are no whole images, there is no such level, or the device fails.
    pub fn latents(&self, images: &[u8], level: usize) -> Result<Vec<f32>> {
        let [w, h, c] = self.image();
        if !images.len().is_multiple_of(w * h * c) {
            let expected = format!("whole images of {w} x {h} x {c}");
            let got = format!("{} bytes", images.len());
            return Err(Error::shape("latents", expected, got));
        }
        if level >= self.levels.len() {
            let what = format!(
                "level {level} of {}: levels count from 0",
                self.levels.len()
            );
            return Err(Error::invalid("latents", what));
        }
        let mut latents = Vec::new();
        for part in images.chunks(self.batch(BATCH) * w * h * c) {
            let n = part.len() / (w * h * c);
            let bytes = Tensor::from_slice(&self.gpu, &[n, h, w, c], part)?;
            let order: Vec<u32> = (0..n as u32).collect();
            let x = normalize(&bytes, &Tensor::from_slice(&self.gpu, &[n], &order)?)?;
            let tape = Tape::no_grad(&self.gpu);
            let pass = ForwardContext::new(&tape, &self.params);
            let level = self.stage.quantizer_of(level);
            let rows = self.stage.latents(&pass, &tape.constant(&x), level)?;
            latents.extend(rows.tensor().read::<f32>()?);
        }
        Ok(latents)
    }

    /// Returns how many latents an image has at a level, and their channels.
    ///
    /// # Errors
    /// If there is no such level.
    pub fn latent_shape(&self, level: usize) -> Result<[usize; 2]> {
        if level >= self.levels.len() {
            let what = format!(
                "level {level} of {}: levels count from 0",
                self.levels.len()
            );
            return Err(Error::invalid("latents", what));
        }
        let quantizer = self.stage.quantizer_of(level);
        // The last level of codes of a quantizer is on its latents' grid.
        let last: usize = self.stage.levels_of_each()[..=quantizer].iter().sum();
        let [h, w] = self.levels[last - 1].grid;
        Ok([h * w, self.stage.quantizers[quantizer].dim()])
    }
}
