//! The fidelity of a first stage to images held out, and its use of codes.

use super::sharpness::Energy;
use crate::autograd::Tape;
use crate::data::ImageSet;
use crate::gpu::Tensor;
use crate::inference::FirstStageModel;
use crate::inference::first_stage::Coded;
use crate::metrics::{Evaluation, Fidelity, LevelCounts};
use crate::models::Level;
use crate::nn::ForwardContext;
use crate::ops::image::ssim;
use crate::ops::loss::loss::{Loss, loss};
use crate::quantize::Mode;
use crate::{Error, Result};

/// Images and their reconstructions on the device, and what quantizing their latents did.
pub(crate) struct Reconstructed {
    /// Counts of each level's codes, and its latents' quantization error.
    levels: Vec<(Tensor, Tensor)>,
    /// The images, f32 [B, H, W, C] in [-1, 1].
    pub(crate) x: Tensor,
    /// Their reconstructions, not clamped.
    pub(crate) y: Tensor,
}

impl Reconstructed {
    /// Records the errors of what a model made of images.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn new(x: &Tensor, y: &Tensor, coded: &[Coded]) -> Result<Reconstructed> {
        let of = |part: &Coded| {
            let error = loss(Loss::Mse, part.rows.tensor(), part.quantized.z_q.tensor())?;
            Ok((part.quantized.counts.clone(), error))
        };
        Ok(Reconstructed {
            levels: coded.iter().map(of).collect::<Result<_>>()?,
            x: x.clone(),
            y: y.clone(),
        })
    }
}

/// A measurement that takes one batch after another.
pub(crate) struct Measurement {
    levels: Vec<LevelCounts>,
    /// Height, width and channels of an image.
    shape: [usize; 3],
    /// Images in all.
    images: usize,
    squares: f64,
    values: usize,
    similarity: f64,
    perceptual: Option<f64>,
    energy: Energy,
}

impl Measurement {
    /// Begins the measurement of so many images of this height, width and channels.
    pub(crate) fn new(levels: &[Level], shape: [usize; 3], images: usize) -> Measurement {
        let count = |l: &Level| LevelCounts {
            name: l.name.clone(),
            codes: l.codes(),
            codebooks: l.codebooks,
            quantization_error: 0.0,
            counts: vec![0; l.codebook_size * l.codebooks],
        };
        Measurement {
            levels: levels.iter().map(count).collect(),
            shape,
            images,
            squares: 0.0,
            values: 0,
            similarity: 0.0,
            perceptual: None,
            energy: Energy::default(),
        }
    }

    fn windowed(&self) -> bool {
        ssim::fits(self.shape[0], self.shape[1])
    }

    /// Takes a batch, with its mean LPIPS [1] where that is measured. Waits for the device.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn add(&mut self, batch: &Reconstructed, lpips: Option<Tensor>) -> Result<()> {
        let share = batch.x.shape()[0] as f64 / self.images as f64;
        if self.windowed() {
            let similarity = ssim::ssim(&batch.x, &batch.y)?.read::<f32>()?[0];
            self.similarity += share * f64::from(similarity);
        }
        if let Some(distance) = lpips {
            let distance = f64::from(distance.read::<f32>()?[0]);
            *self.perceptual.get_or_insert(0.0) += share * distance;
        }
        for (level, (counts, error)) in self.levels.iter_mut().zip(&batch.levels) {
            level.quantization_error += share * f64::from(error.read::<f32>()?[0]);
            let counts = counts.read::<u32>()?;
            let sums = level.counts.iter_mut().zip(&counts);
            sums.for_each(|(sum, c)| *sum += u64::from(*c));
        }
        let (x, mut y) = (batch.x.read::<f32>()?, batch.y.read::<f32>()?);
        y.iter_mut().for_each(|y| *y = y.clamp(-1.0, 1.0));
        self.squares += x
            .iter()
            .zip(&y)
            .map(|(x, y)| ((y - x) as f64 / 2.0).powi(2))
            .sum::<f64>();
        self.energy.add(&x, &y, self.shape);
        self.values += x.len();
        Ok(())
    }

    /// Returns the measurement of a model that was trained for `step` steps.
    pub(crate) fn finish(self, step: u64) -> Evaluation {
        let [height, width, _] = self.shape;
        let fidelity = Fidelity {
            mse: self.squares / self.values as f64,
            ssim: if self.windowed() {
                self.similarity
            } else {
                f64::NAN
            },
            sharpness: self.energy.sharpness(),
            edge_sharpness: self.energy.at_edges(),
            lpips: self.perceptual.unwrap_or(f64::NAN),
            image_pixels: width * height,
        };
        Evaluation::new(step, fidelity, self.levels)
    }
}

/// Returns the images that are measured at a time: as many as take the memory of 128 images of 64
/// x 64.
pub(crate) fn images_at_a_time(width: usize, height: usize) -> usize {
    (128 * 64 * 64 / (width * height)).clamp(1, 128)
}

impl FirstStageModel {
    /// Measures the model on some images of a set, of which `images` are the numbers: errors of
    /// reconstructions, and use of the codes. LPIPS is NaN, since a model's file has no weights of
    /// it, and the step is 0.
    ///
    /// # Errors
    /// If no image is named, the set's images are not of the model's size, one cannot be read, or
    /// the device fails.
    pub fn evaluate(&self, data: &ImageSet, images: &[u32]) -> Result<Evaluation> {
        let [width, height, channels] = self.image();
        if [data.width, data.height, data.channels] != self.image() {
            let got = format!("{} x {} x {}", data.width, data.height, data.channels);
            let expected = format!("images of {width} x {height} x {channels}");
            return Err(Error::shape("evaluate", expected, got));
        }
        if images.is_empty() {
            return Err(Error::data("evaluate: there is no image to measure"));
        }
        let shape = [height, width, channels];
        let mut measurement = Measurement::new(&self.levels, shape, images.len());
        for numbers in images.chunks(self.batch(images_at_a_time(width, height))) {
            let x = self.pictures(&data.gather(numbers)?)?;
            let tape = Tape::no_grad(&self.gpu);
            let pass = ForwardContext::new(&tape, &self.params);
            let (coded, y) = self
                .stage
                .reconstruct(&pass, &tape.constant(&x), Mode::Eval)?;
            measurement.add(&Reconstructed::new(&x, y.tensor(), &coded)?, None)?;
        }
        Ok(measurement.finish(0))
    }
}
