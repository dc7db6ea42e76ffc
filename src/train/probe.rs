//! What a trained model's codes are: how often pictures take each, which latents lie nearest to it, its vector, and what it
//! decodes to.

use super::Trained;
use super::nearest::Nearest;
use crate::autograd::{Tape, Var};
use crate::gpu::Tensor;
use crate::nn::Pass;
use crate::ops::image::{normalize, to_bytes};
use crate::quantize::Mode;
use crate::{Error, Result};

/// Pictures that go through the model at a time.
pub(super) const BATCH: usize = 32;
/// Side, in latents, of the field of codes that a swatch is decoded from. The decoder's convolutions reach a few latents far, so
/// the middle sees nothing of the field's edge.
const FIELD: usize = 7;
/// Side, in latents, of what is kept of it: the middle.
pub const SWATCH: usize = 3;

/// What a set of pictures says of the codebooks.
#[derive(Clone, Debug)]
pub struct Survey {
    /// How often each code was taken, by codebook.
    pub counts: Vec<Vec<u64>>,
    /// The latents nearest to each code.
    pub nearest: Nearest,
}

impl Survey {
    /// The `n` codes of a codebook that were taken most, those as often taken by their number, and where codes are left that
    /// nothing took, these last.
    pub fn most_used(&self, book: usize, n: usize) -> Vec<u32> {
        let Some(counts) = self.counts.get(book) else { return Vec::new() };
        let mut order: Vec<u32> = (0..counts.len() as u32).collect();
        order.sort_by_key(|code| std::cmp::Reverse(counts[*code as usize]));
        order.truncate(n);
        order
    }
}

impl Trained {
    /// Pictures, u8 NHWC, as the model takes them: f32 [B, H, W, C] in [-1, 1].
    pub(super) fn pictures(&self, bytes: &[u8]) -> Result<Tensor> {
        let [w, h, c] = self.image;
        let n = bytes.len() / (w * h * c).max(1);
        if n == 0 || n * w * h * c != bytes.len() {
            let expected = format!("whole images of {w} x {h} x {c}");
            return Err(Error::shape("inspect", expected, format!("{} bytes", bytes.len())));
        }
        let images = Tensor::from_slice(&self.gpu, &[n, h, w, c], bytes)?;
        let order: Vec<u32> = (0..n as u32).collect();
        normalize(&images, &Tensor::from_slice(&self.gpu, &[n], &order)?)
    }

    /// Latents of pictures, as rows [N, D].
    pub(super) fn latents(&self, pass: &Pass, x: &Var) -> Result<Var> {
        let z_e = self.model.encode(pass, x)?;
        let [b, h, w, d] = z_e.tensor().dims("latents")?;
        pass.tape.reshape(&z_e, &[b * h * w, d])
    }

    /// Counts the codes of `images`, u8 NHWC, and finds the `keep` latents that lie nearest to each, of each of the images'
    /// `groups` one at most.
    ///
    /// # Errors
    /// If the bytes are not whole images with a group each, or the device fails.
    pub fn survey(&mut self, images: &[u8], groups: &[u64], keep: usize) -> Result<Survey> {
        let ([w, h, c], [gh, gw]) = (self.image, self.grid());
        if groups.len() * w * h * c != images.len() {
            let expected = format!("{} images of {w} x {h} x {c}, one to a group number", groups.len());
            return Err(Error::shape("inspect", expected, format!("{} bytes", images.len())));
        }
        let (books, k) = (self.quantizer.codebooks(), self.quantizer.codebook_size());
        let mut survey = Survey { counts: vec![vec![0; k]; books], nearest: Nearest::new(books, keep) };
        let mut image = 0;
        for part in images.chunks(BATCH * w * h * c) {
            let tape = Tape::no_grad(&self.gpu);
            let pass = Pass::new(&tape, &self.params);
            let rows = self.latents(&pass, &tape.constant(&self.pictures(part)?))?;
            let codes = self.quantizer.quantize(&pass, &rows, Mode::Eval)?.indices.read::<u32>()?;
            let distances = self.quantizer.distances(&pass, &rows)?;
            if let Some(code) = codes.iter().find(|code| **code as usize >= k) {
                return Err(Error::data(format!("the quantizer gave the code {code}: the codebook has {k}")));
            }
            codes.iter().enumerate().for_each(|(i, code)| survey.counts[i % books][*code as usize] += 1);
            let each = gh * gw * books;
            for (codes, distances) in codes.chunks(each).zip(distances.chunks(each)) {
                survey.nearest.see(image, groups[image], codes, distances);
                image += 1;
            }
        }
        Ok(survey)
    }

    /// The quantized latents of `codes`, [N, Q]: f32 [N, D], D the channels of a latent.
    ///
    /// # Errors
    /// If the codes are not whole latents, one is past its codebook, or the device fails.
    pub fn code_vectors(&mut self, codes: &[u32]) -> Result<Vec<f32>> {
        self.check_codes(codes)?;
        let books = self.quantizer.codebooks();
        let mut vectors = Vec::new();
        for part in codes.chunks(4096 * books) {
            let tape = Tape::no_grad(&self.gpu);
            let pass = Pass::new(&tape, &self.params);
            let indices = Tensor::from_slice(&self.gpu, &[part.len() / books, books], part)?;
            vectors.extend(self.quantizer.decode(&pass, &indices)?.read::<f32>()?);
        }
        Ok(vectors)
    }

    /// What each of the quantized latents `vectors`, f32 [N, D], looks like on its own: the middle, [`SWATCH`] latents wide, of a
    /// field of nothing else, decoded. u8 NHWC.
    ///
    /// # Errors
    /// If the vectors are of other channels, or the device fails.
    pub fn swatches(&mut self, vectors: &[f32]) -> Result<Vec<u8>> {
        let (dim, channels, cell) = (self.quantizer.dim(), self.image[2], self.config.model.downsample);
        if !vectors.len().is_multiple_of(dim) {
            let got = format!("{} numbers", vectors.len());
            return Err(Error::shape("swatches", format!("latents of {dim} channels"), got));
        }
        let (from, side, row) = ((FIELD - SWATCH) / 2 * cell, SWATCH * cell, FIELD * cell * channels);
        let mut swatches = Vec::new();
        for part in vectors.chunks(BATCH * dim) {
            let field: Vec<f32> = part.chunks(dim).flat_map(|v| v.repeat(FIELD * FIELD)).collect();
            let latents = Tensor::from_slice(&self.gpu, &[part.len() / dim, FIELD, FIELD, dim], &field)?;
            let tape = Tape::no_grad(&self.gpu);
            let pass = Pass::new(&tape, &self.params);
            let y = to_bytes(self.model.decode(&pass, &tape.constant(&latents))?.tensor())?.read::<u8>()?;
            for image in y.chunks(row * FIELD * cell) {
                let rows = image.chunks(row).skip(from).take(side);
                swatches.extend(rows.flat_map(|r| &r[from * channels..(from + side) * channels]));
            }
        }
        Ok(swatches)
    }

    fn check_codes(&self, codes: &[u32]) -> Result<()> {
        let (books, k) = (self.quantizer.codebooks(), self.quantizer.codebook_size());
        if !codes.len().is_multiple_of(books) {
            return Err(Error::shape("codes", format!("latents of {books} codes each"), codes.len()));
        }
        match codes.iter().find(|code| **code as usize >= k) {
            Some(code) => Err(Error::data(format!("there is no code {code}: the codebook has {k}"))),
            None => Ok(()),
        }
    }
}
