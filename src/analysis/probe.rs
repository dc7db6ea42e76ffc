//! Probes of a trained model's codes: how often images take each, which latents lie nearest to
//! it, its vector, and the image that it decodes to.

use crate::analysis::nearest::Nearest;
use crate::autograd::Tape;
use crate::codes::check;
use crate::gpu::Tensor;
use crate::inference::FirstStageModel;
use crate::models::Level;
use crate::nn::ForwardContext;
use crate::ops::image::image::{normalize, to_bytes};
use crate::quantize::Mode;
use crate::{Error, Result};

/// Images that go through the model at a time.
pub(crate) const BATCH: usize = 32;
/// Side, in latents, of the field of codes that a swatch is decoded from, at least. The decoder's
/// convolutions reach a few latents far, so the middle sees nothing of the field's edge.
const FIELD: usize = 7;
/// Side, in latents, of what is kept of it: the middle.
pub const SWATCH: usize = 3;

/// Usage of a level's codebooks by a set of images.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The level.
    pub level: usize,
    /// Number of uses of each code, by codebook.
    pub counts: Vec<Vec<u64>>,
    /// The latents nearest to each code.
    pub nearest: Nearest,
    /// The mean of each level's quantized latents, the coarsest level's first.
    pub means: Vec<Vec<f32>>,
}

impl Survey {
    /// The `n` codes of a codebook that were taken most, those as often taken by their number, and
    /// where codes are left that nothing took, these last.
    pub fn most_used(&self, book: usize, n: usize) -> Vec<u32> {
        let Some(counts) = self.counts.get(book) else {
            return Vec::new();
        };
        let mut order: Vec<u32> = (0..counts.len() as u32).collect();
        order.sort_by_key(|code| std::cmp::Reverse(counts[*code as usize]));
        order.truncate(n);
        order
    }
}

impl FirstStageModel {
    /// Images, u8 NHWC, as the model takes them: f32 [B, H, W, C] in [-1, 1].
    pub(crate) fn pictures(&self, bytes: &[u8]) -> Result<Tensor> {
        let [w, h, c] = self.image;
        let n = bytes.len() / (w * h * c).max(1);
        if n == 0 || n * w * h * c != bytes.len() {
            let expected = format!("whole images of {w} x {h} x {c}");
            return Err(Error::shape(
                "inspect",
                expected,
                format!("{} bytes", bytes.len()),
            ));
        }
        let images = Tensor::from_slice(&self.gpu, &[n, h, w, c], bytes)?;
        let order: Vec<u32> = (0..n as u32).collect();
        normalize(&images, &Tensor::from_slice(&self.gpu, &[n], &order)?)
    }

    /// Counts the codes that `images`, u8 NHWC, have at a level, and finds the `keep` latents that
    /// lie nearest to each, of each of the images' `groups` one at most.
    ///
    /// # Errors
    /// If the bytes are not whole images with a group each, there is no such level, or the device
    /// fails.
    pub fn survey(
        &self,
        level: usize,
        images: &[u8],
        groups: &[u64],
        keep: usize,
    ) -> Result<Survey> {
        let [w, h, c] = self.image;
        if groups.len() * w * h * c != images.len() {
            let expected = format!(
                "{} images of {w} x {h} x {c}, one to a group number",
                groups.len()
            );
            return Err(Error::shape(
                "inspect",
                expected,
                format!("{} bytes", images.len()),
            ));
        }
        let of = self.at(level)?;
        let (books, k, each) = (of.codebooks, of.codebook_size, of.codes());
        let quantizer = self.quantizer_of(level);
        // Of an image's codes, those of the scales before this one.
        let (mut before, mut all) = (0, each);
        if !quantizer.scales().is_empty() {
            before = self.levels[..level].iter().map(Level::codes).sum();
            all = self.codes_per_image();
        }
        let mut survey = Survey {
            level,
            counts: vec![vec![0; k]; books],
            nearest: Nearest::new(books, keep),
            means: Vec::new(),
        };
        let mut sums: Vec<Vec<f64>> = self
            .stage
            .quantizers
            .iter()
            .map(|q| vec![0.0; q.dim()])
            .collect();
        let mut image = 0;
        for part in images.chunks(self.batch(BATCH) * w * h * c) {
            let tape = Tape::no_grad(&self.gpu);
            let pass = ForwardContext::new(&tape, &self.params);
            let coded =
                self.stage
                    .encode(&pass, &tape.constant(&self.pictures(part)?), Mode::Eval)?;
            if coded.len() > 1 {
                for (sum, coded) in sums.iter_mut().zip(&coded) {
                    let rows = coded.quantized.z_q.tensor().read::<f32>()?;
                    let n = (rows.len() / sum.len()) as f64;
                    let share = (part.len() as f64 / images.len() as f64) / n;
                    for row in rows.chunks(sum.len()) {
                        row.iter()
                            .zip(sum.iter_mut())
                            .for_each(|(v, sum)| *sum += f64::from(*v) * share);
                    }
                }
            }
            let codes = coded[level].quantized.indices.read::<u32>()?;
            let distances = quantizer.distances(&pass, &coded[level].rows)?;
            if let Some(code) = codes.iter().find(|code| **code as usize >= k) {
                return Err(Error::data(format!(
                    "the quantizer gave the code {code}: the codebook has {k}"
                )));
            }
            codes
                .iter()
                .enumerate()
                .for_each(|(i, code)| survey.counts[i % books][*code as usize] += 1);
            let own = distances.chunks(all).map(|of| &of[before..before + each]);
            for (codes, distances) in codes.chunks(each).zip(own) {
                survey
                    .nearest
                    .observe(image, groups[image], codes, distances);
                image += 1;
            }
        }
        survey.means = sums
            .into_iter()
            .map(|sum| sum.into_iter().map(|v| v as f32).collect())
            .collect();
        Ok(survey)
    }

    fn at(&self, level: usize) -> Result<&Level> {
        let missing = || Error::invalid("inspect", format!("the model has no level {level}"));
        self.levels.get(level).ok_or_else(missing)
    }

    /// Returns the quantized latents of `codes` of a level, [N, Q]: f32 [N, D], D the channels of a
    /// latent.
    ///
    /// # Errors
    /// If the codes are not whole latents, one is past its codebook, or the device fails.
    pub fn code_vectors(&self, level: usize, codes: &[u32]) -> Result<Vec<f32>> {
        let of = self.at(level)?;
        let one = Level {
            grid: [1, 1],
            ..of.clone()
        };
        check(std::slice::from_ref(&one), codes)?;
        let (books, quantizer) = (of.codebooks, self.quantizer_of(level));
        let mut vectors = Vec::new();
        for part in codes.chunks(4096 * books) {
            let tape = Tape::no_grad(&self.gpu);
            let pass = ForwardContext::new(&tape, &self.params);
            let indices = Tensor::from_slice(&self.gpu, &[part.len() / books, books], part)?;
            vectors.extend(quantizer.code_vectors(&pass, &indices)?.read::<f32>()?);
        }
        Ok(vectors)
    }

    /// Decodes each of a level's quantized latents `vectors`, f32 [N, D], on its own: the middle,
    /// [`SWATCH`] latents wide, of a field of nothing else, while the other levels have their
    /// `means` everywhere. Returns u8 NHWC.
    ///
    /// # Errors
    /// If the vectors are of other channels, or the device fails.
    pub fn swatches(&self, level: usize, vectors: &[f32], means: &[Vec<f32>]) -> Result<Vec<u8>> {
        let of = self.at(level)?;
        // Of coarse scales a code's place is larger than a latent's.
        let shown = SWATCH * (self.image[0] / of.grid[1].max(1));
        let scaled = !self.quantizer_of(level).scales().is_empty();
        // The level of latents that these codes are of.
        let level = self.stage.quantizer_of(level);
        let (dim, channels, factors) = (
            self.stage.quantizers[level].dim(),
            self.image[2],
            self.stage.model.factors(),
        );
        let (cell, coarsest) = (factors[level], factors[0]);
        if !vectors.len().is_multiple_of(dim) {
            let got = format!("{} numbers", vectors.len());
            return Err(Error::shape(
                "swatches",
                format!("latents of {dim} channels"),
                got,
            ));
        }
        // Whole latents of the coarsest level, too.
        let field = FIELD.next_multiple_of(coarsest / cell);
        let (from, side, row) = (
            (field - SWATCH) / 2 * cell,
            SWATCH * cell,
            field * cell * channels,
        );
        let mut swatches = Vec::new();
        for part in vectors.chunks(BATCH * dim) {
            let n = part.len() / dim;
            let tape = Tape::no_grad(&self.gpu);
            let pass = ForwardContext::new(&tape, &self.params);
            let latents = factors.iter().enumerate().map(|(i, factor)| {
                let size = field * cell / factor;
                let values: Vec<f32> = match i == level {
                    true => part
                        .chunks(dim)
                        .flat_map(|v| v.repeat(size * size))
                        .collect(),
                    false => means[i].repeat(n * size * size),
                };
                let shape = [n, size, size, self.stage.quantizers[i].dim()];
                Ok(tape.constant(&Tensor::from_slice(&self.gpu, &shape, &values)?))
            });
            let latents = latents.collect::<Result<Vec<_>>>()?;
            let y = to_bytes(self.stage.model.decode(&pass, &latents)?.tensor())?.read::<u8>()?;
            for image in y.chunks(row * field * cell) {
                let rows = image.chunks(row).skip(from).take(side);
                let middle = rows.flat_map(|r| &r[from * channels..(from + side) * channels]);
                if scaled {
                    let middle: Vec<u8> = middle.copied().collect();
                    swatches.extend(enlarged(&middle, [side, shown, channels]));
                } else {
                    swatches.extend(middle);
                }
            }
        }
        Ok(swatches)
    }
}

/// Returns a square picture, u8 [from, from, C], at another side, pixel by pixel.
fn enlarged(picture: &[u8], [from, to, channels]: [usize; 3]) -> Vec<u8> {
    let at = |i: usize| i * from / to.max(1);
    let pixel = |row: usize, column: usize| {
        let first = (at(row) * from + at(column)) * channels;
        picture[first..first + channels].iter().copied()
    };
    (0..to)
        .flat_map(|row| (0..to).flat_map(move |column| pixel(row, column)))
        .collect()
}
