//! Multi-scale residual quantization (Tian et al. 2024, "Visual autoregressive modeling: scalable
//! image generation via next-scale prediction", algorithms 1 and 2): a map of latents is quantized
//! on a coarse grid, what that leaves on a finer one, and so on, all with one codebook.

use super::latents::{arrive, check_latents, count, squared_distances};
use super::options::Options;
use super::projected::Projected;
use super::quantizer::{CodebookBatch, Mode, Quantized, Quantizer, Term};
use super::scale_tables::{SAME, Scale, ScaleTables};
use super::vq::VectorQuantizer;
use crate::autograd::Var;
use crate::autograd::accumulate::add;
use crate::gpu::{Gpu, Tensor};
use crate::nn::{Builder, Conv2d, ForwardContext, HostTensors, Parameters};
use crate::ops::elementwise::scale::scale;
use crate::ops::elementwise::slice_columns::concat_columns;
use crate::ops::image::resample::resample;
use crate::ops::loss::loss::Loss;
use crate::ops::norm::l2_norm::l2_norm;
use crate::ops::quantize::gather::gather;
use crate::ops::quantize::vq_search::nearest;
use crate::{Error, Result};

/// Residual quantization of maps from coarse to fine, with one codebook that learns by gradient.
pub struct MultiScale {
    book: VectorQuantizer,
    sides: Vec<usize>,
    scales: Vec<Scale>,
    phi: Vec<Conv2d>,
    ratio: f32,
    weights: [f32; 2],
    /// Whether codes are searched by direction; they are taken as they are.
    by_direction: bool,
    rotation_trick: bool,
}

/// Builds `multiscale`, multi-scale residual quantization (Tian et al. 2024).
///
/// ```
/// use wgvq::autograd::Tape;
/// use wgvq::gpu::{Gpu, Tensor};
/// use wgvq::nn::{ForwardContext, Parameters};
/// use wgvq::quantize::{Mode, Options, multiscale};
///
/// # fn main() -> wgvq::Result<()> {
/// let gpu = Gpu::new(Default::default())?;
/// let mut b = Parameters::builder();
/// let options = Options {
///     codebook_size: 16,
///     codebook_dim: 4,
///     kmeans_init: false,
///     scales: vec![1, 2],
///     ..Options::of("multiscale")
/// };
/// let quantizer = multiscale::build(&gpu, &mut b, &options)?;
/// let params = b.build(&gpu, 0)?;
///
/// let tape = Tape::new(&gpu);
/// let pass = ForwardContext::new(&tape, &params);
/// let z_e = tape.leaf(&Tensor::from_slice(&gpu, &[4, 4], &[0.5f32; 16])?); // a map of 2 x 2
/// let q = quantizer.quantize(&pass, &z_e, Mode::Eval)?;
/// assert_eq!(q.z_q.shape(), [4, 4]);
/// assert_eq!(q.indices.shape(), [1, 5]); // one code, then four
/// assert_eq!(quantizer.decode(&pass, &q.indices)?.shape(), [4, 4]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If no scales are named, or the device cannot hold the codebook.
pub fn build(gpu: &Gpu, b: &mut Builder, o: &Options) -> Result<Box<dyn Quantizer>> {
    o.check()?;
    if o.scales.is_empty() {
        let what = "no scales are named, and there is no map of latents to take them from";
        return Err(Error::config("quantizer.scales", what));
    }
    let d = o.code_channels();
    let plain = Options {
        use_cosine_sim: false,
        rotation_trick: false,
        directional_reparam: false,
        stochastic_sample_codes: false,
        ..o.clone()
    };
    let book = VectorQuantizer::gradient(gpu, b, &plain)?.named("multiscale");
    let convolutions = match o.scale_convolutions {
        _ if o.scale_ratio == 0.0 => 0,
        0 => o.scales.len(),
        n => n.min(o.scales.len()),
    };
    let phi = (0..convolutions)
        .map(|i| Conv2d::new(b, &format!("quantize.phi.{i}"), d, d, 3, SAME, true))
        .collect();
    let quantizer = MultiScale {
        book,
        sides: o.scales.clone(),
        scales: Scale::all(gpu, &o.scales, convolutions)?,
        phi,
        ratio: o.scale_ratio,
        weights: [o.commitment_weight, o.codebook_weight],
        by_direction: o.use_cosine_sim,
        rotation_trick: o.rotation_trick,
    };
    Projected::around(b, o, Box::new(quantizer))
}

impl MultiScale {
    /// Codes of an image.
    fn codes(&self) -> usize {
        self.sides.iter().map(|side| side * side).sum()
    }

    fn side(&self) -> usize {
        self.sides.last().copied().unwrap_or(1)
    }

    /// Images whose latents these rows are.
    fn images(&self, rows: usize) -> Result<usize> {
        let each = self.side() * self.side();
        if rows == 0 || !rows.is_multiple_of(each) {
            return Err(Error::shape(
                "multiscale",
                format!("latents of whole maps of {0} x {0}", self.side()),
                format!("{rows} latents"),
            ));
        }
        Ok(rows / each)
    }

    /// Enlarges a scale's codes [B s s, D] to a map [B, S, S, D], and convolves them.
    fn enlarged(&self, pass: &ForwardContext, scale: &Scale, codes: &Var) -> Result<Var> {
        let (tape, s, d) = (pass.tape, scale.side, self.book.dim());
        let small = tape.reshape(codes, &[codes.shape()[0] / (s * s), s, s, d])?;
        let large = match &scale.filters {
            Some([_, up]) => tape.resample(&small, up)?,
            None => small,
        };
        let Some(phi) = self.phi.get(scale.phi) else {
            return Ok(large);
        };
        let convolved = tape.scale(&phi.forward_f32(pass, &large)?, self.ratio, 0.0)?;
        tape.add(&tape.scale(&large, 1.0 - self.ratio, 0.0)?, &convolved)
    }
}

impl Quantizer for MultiScale {
    fn name(&self) -> &str {
        "multiscale"
    }
    fn codebook_size(&self) -> usize {
        self.book.codebook_size()
    }
    fn scales(&self) -> &[usize] {
        &self.sides
    }
    fn codebook_numbers(&self) -> usize {
        self.book.codebook_numbers()
    }
    fn dim(&self) -> usize {
        self.book.dim()
    }
    fn wants_init(&self) -> bool {
        self.book.wants_init()
    }

    /// Places the codes among what the scales would see if each quantized without an error.
    fn initialize(
        &mut self,
        pass: &ForwardContext,
        latents: &Tensor,
        per_step: usize,
    ) -> Result<()> {
        check_latents("multiscale", latents, self.dim())?;
        let (b, s, d) = (self.images(latents.shape()[0])?, self.side(), self.dim());
        let mut rest = latents.reshape(&[b, s, s, d])?;
        let mut rows = Vec::new();
        for scale_of in &self.scales {
            let small = scale_of.shrunk(&rest)?;
            if let Some([_, up]) = &scale_of.filters {
                let side = scale_of.side;
                let large = resample(&small.reshape(&[b, side, side, d])?, up)?;
                rest = add(&rest, &scale(&large, -1.0, 0.0)?)?;
            }
            rows.push(small);
        }
        // A step's scales are averaged one after another, so that counts are of one of them.
        let images = per_step as f64 / (s * s) as f64;
        let each = images * self.codes() as f64 / self.scales.len() as f64;
        let each = (each.round() as usize).max(1);
        self.book.initialize(pass, &Tensor::joined(&rows)?, each)
    }

    fn quantize(&self, pass: &ForwardContext, z_e: &Var, mode: Mode) -> Result<Quantized> {
        let mut scales = self.quantize_scales(pass, z_e, mode)?;
        let b = self.images(z_e.shape()[0])?;
        let flat = |q: &Quantized| q.indices.reshape(&[b, q.indices.len() / b]);
        let indices = scales.iter().map(flat).collect::<Result<Vec<_>>>()?;
        let k = self.codebook_size();
        let counts: Vec<Tensor> = scales.iter().map(|q| q.counts.clone()).collect();
        let counts = Tensor::joined(&counts)?.reshape(&[counts.len(), k])?;
        let last = scales.pop();
        let Some(last) = last else {
            return Err(Error::invalid("multiscale", "no scale"));
        };
        let (mut losses, mut seen) = (Vec::new(), Vec::new());
        for q in scales {
            losses.extend(q.losses);
            seen.extend(q.seen);
        }
        losses.extend(last.losses);
        seen.extend(last.seen);
        Ok(Quantized {
            z_q: last.z_q,
            indices: concat_columns(&indices.iter().collect::<Vec<_>>())?,
            counts,
            losses,
            seen,
        })
    }

    fn quantize_scales(
        &self,
        pass: &ForwardContext,
        z_e: &Var,
        mode: Mode,
    ) -> Result<Vec<Quantized>> {
        let (tape, d, k) = (pass.tape, self.dim(), self.codebook_size());
        let z_e = &arrive("multiscale", pass, z_e, d)?;
        let (n, s) = (z_e.shape()[0], self.side());
        let b = self.images(n)?;
        let codebook = self.book.codebook(pass)?;
        // Of codes of length 1 the nearest is that of the latent's direction, however long that is.
        let searched = match self.by_direction {
            true => l2_norm(codebook.tensor())?,
            false => codebook.tensor().clone(),
        };
        let whole = z_e.tensor().reshape(&[b, s, s, d])?;
        let (mut rest, mut sum) = (whole, None::<Var>);
        let mut all = Vec::new();
        for (i, scale_of) in self.scales.iter().enumerate() {
            let latents = scale_of.shrunk(&rest)?;
            let index = nearest(&latents, &searched)?;
            let codes = tape.gather(&codebook, &index)?;
            let own = self.enlarged(pass, scale_of, &codes)?;
            let last = i + 1 == self.scales.len();
            if !last {
                rest = add(&rest, &scale(own.tensor(), -1.0, 0.0)?)?;
            }
            let total = match &sum {
                Some(sum) => tape.add(sum, &own)?,
                None => own,
            };
            let reached = tape.reshape(&total, &[n, d])?;
            sum = Some(total);
            let mut losses = Vec::new();
            if let Mode::Train { .. } = mode {
                let share = 1.0 / self.scales.len() as f32;
                let [commitment, code] = self.weights.map(|weight| weight * share);
                let loss = tape.loss(Loss::Mse, z_e, &reached.detach())?;
                losses.push((Term::Commitment, tape.scale(&loss, commitment, 0.0)?));
                let loss = tape.loss(Loss::Mse, &reached, &z_e.detach())?;
                losses.push((Term::Codebook, tape.scale(&loss, code, 0.0)?));
            }
            let z_q = match last {
                true => tape.estimate(z_e, reached.tensor(), self.rotation_trick)?,
                false => reached.detach(),
            };
            all.push(Quantized {
                z_q,
                indices: index.reshape(&[index.len(), 1])?,
                counts: count(&index, k)?,
                losses,
                seen: vec![CodebookBatch {
                    codebook: 0,
                    latents,
                    index,
                    moments: None,
                }],
            });
        }
        Ok(all)
    }

    fn scale_tables(&self, pass: &ForwardContext) -> Result<Option<ScaleTables>> {
        let phi = |conv: &Conv2d| {
            let [weight, bias] = conv.parameters()?;
            let of = |handle| Ok(pass.param(handle)?.tensor().clone());
            Ok([of(weight)?, of(bias)?])
        };
        Ok(Some(ScaleTables {
            scales: self.scales.clone(),
            codebook: self.book.codebook(pass)?.tensor().clone(),
            phi: self.phi.iter().map(phi).collect::<Result<_>>()?,
            ratio: self.ratio,
        }))
    }

    fn learn(
        &mut self,
        params: &Parameters,
        seen: &[CodebookBatch],
        step: u64,
    ) -> Result<Option<Tensor>> {
        self.book.learn(params, seen, step)
    }

    fn decode(&self, pass: &ForwardContext, indices: &Tensor) -> Result<Tensor> {
        let tables = self.scale_tables(pass)?;
        let tables = tables.ok_or_else(|| Error::invalid("decode", "no scales"))?;
        let mut found = None;
        tables.sums(indices, self.scales.len(), |_, sum| {
            found = Some(sum.clone());
            Ok(())
        })?;
        let found = found.ok_or_else(|| Error::invalid("decode", "no scale"))?;
        found.reshape(&[found.len() / self.dim(), self.dim()])
    }

    fn code_vectors(&self, pass: &ForwardContext, indices: &Tensor) -> Result<Tensor> {
        self.book.decode(pass, indices)
    }

    /// Computes the distances of what each scale had to quantize: [B, codes of an image].
    fn distances(&self, pass: &ForwardContext, z_e: &Var) -> Result<Vec<f32>> {
        let codebook = self.book.codebook(pass)?;
        let mut all = Vec::new();
        for q in self.quantize_scales(pass, z_e, Mode::Eval)? {
            for CodebookBatch { latents, index, .. } in &q.seen {
                let codes = gather(codebook.tensor(), index)?;
                all.push(squared_distances(latents, &codes)?);
            }
        }
        let images = self.images(z_e.shape()[0])?;
        let of_image = |image: usize| {
            all.iter().flat_map(move |scale| {
                let each = scale.len() / images;
                scale[image * each..][..each].iter().copied()
            })
        };
        Ok((0..images).flat_map(of_image).collect())
    }

    fn save(&self) -> Result<HostTensors> {
        self.book.save()
    }

    fn check_state(&self, state: &HostTensors) -> Result<()> {
        self.book.check_state(state)
    }

    fn save_codes(&self) -> Result<HostTensors> {
        self.book.save_codes()
    }

    fn load(&mut self, state: &HostTensors) -> Result<()> {
        self.book.load(state)
    }

    fn load_codes(&mut self, codes: &HostTensors) -> Result<()> {
        self.book.load_codes(codes)
    }

    fn learned(&self) -> Vec<&Tensor> {
        self.book.learned()
    }

    fn reset(&mut self, placed: bool) {
        self.book.reset(placed);
    }

    fn begin_revival(&mut self) -> bool {
        self.book.begin_revival()
    }
}
