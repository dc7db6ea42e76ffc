//! Training a VQ-VAE: one step, as data see it, and what is kept to go on from any step.

use super::checkpoint::{Checkpoint, HostTensor};
use super::config::RunConfig;
use super::metrics::{Evaluation, Row};
use super::weights;
use crate::autograd::Tape;
use crate::data::{ImageSet, batch_indices, flip};
use crate::gpu::{DType, Gpu, MemoryReport, Readback, Submission, Tensor};
use crate::models::vqvae::{Config, VqVae};
use crate::nn::{Adam, AdamState, Parameters, Pass};
use crate::ops::adam::{Decay, Hyper};
use crate::ops::codebook_use::codebook_use;
use crate::ops::image::{FLIP, normalize};
use crate::ops::loss::Loss;
use crate::quantize::{EmaOptions, EmaVq, Mode, Quantizer};
use crate::{Error, Result};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Figures that a step leaves on the device: loss, reconstruction, commitment, perplexity, entropy, codes used.
const FIGURES: usize = 6;
/// Latents that k-means sees at least, where the first batches hold so many.
const INIT_LATENTS: usize = 20_000;
/// Steps that may be on the device while the next is recorded.
const STEPS_IN_FLIGHT: usize = 2;

/// A model of a configuration and a data set's image size, with its quantizer.
pub(crate) fn build(gpu: &Gpu, c: &RunConfig, channels: usize) -> Result<(VqVae, Parameters, Box<dyn Quantizer>)> {
    let shape = Config {
        channels,
        hidden: c.model.hidden,
        residual_layers: c.model.residual_layers,
        residual_hidden: c.model.residual_hidden,
        downsample: c.model.downsample,
        codebook_dim: c.quantizer.codebook_dim,
    };
    let (model, params) = VqVae::build(gpu, &shape, c.train.seed)?;
    let q = &c.quantizer;
    let options = EmaOptions {
        codebook_size: q.codebook_size,
        codebook_dim: q.codebook_dim,
        commitment_weight: q.commitment_weight,
        decay: q.decay,
        eps: q.eps,
        kmeans_init: q.kmeans_init,
        kmeans_iters: q.kmeans_iters,
        threshold_ema_dead_code: q.threshold_ema_dead_code,
        seed: c.train.seed,
    };
    Ok((model, params, Box::new(EmaVq::new(gpu, options)?)))
}

/// Can this configuration train on this data set?
///
/// # Errors
/// If not; the message names the key, or what the data lack.
pub fn check(config: &RunConfig, data: &ImageSet) -> Result<()> {
    config.validate()?;
    let factor = config.model.downsample;
    if !data.width.is_multiple_of(factor) || !data.height.is_multiple_of(factor) {
        let what = format!(
            "{factor} does not divide the images' {} x {}; choose another downsampling, or data.width and data.height",
            data.width, data.height
        );
        return Err(Error::config("model.downsample", what));
    }
    if data.train.is_empty() || data.test.is_empty() {
        let what = format!(
            "the data set `{}` leaves {} pictures to train on and {} to test; add pictures",
            data.name,
            data.train.len(),
            data.test.len()
        );
        return Err(Error::data(what));
    }
    Ok(())
}

/// A VQ-VAE in training.
pub struct Trainer {
    gpu: Gpu,
    config: RunConfig,
    data: Arc<ImageSet>,
    /// The whole set on the device as bytes, where it fits a binding.
    resident: Option<Tensor>,
    model: VqVae,
    params: Parameters,
    quantizer: Box<dyn Quantizer>,
    adam: Adam,
    /// Steps done.
    step: u64,
    /// The figures of the steps since the last row: f32 [log_every, FIGURES].
    window: Tensor,
    in_window: usize,
    rows: VecDeque<(u64, usize, Readback)>,
    in_flight: VecDeque<Submission>,
}

impl Trainer {
    /// A trainer at step 0.
    ///
    /// # Errors
    /// If the configuration makes no model for this data set, or the device cannot hold it.
    pub fn new(gpu: &Gpu, config: &RunConfig, data: Arc<ImageSet>) -> Result<Trainer> {
        check(config, &data)?;
        let (model, params, quantizer) = build(gpu, config, data.channels)?;
        let t = &config.train;
        let hyper = Hyper {
            lr: t.lr as f64,
            beta1: t.beta1 as f64,
            beta2: t.beta2 as f64,
            eps: t.adam_eps as f64,
            weight_decay: t.weight_decay as f64,
            decay: Decay::Decoupled,
        };
        let mut adam = Adam::new(&params, hyper)?;
        adam.max_norm = (t.grad_clip > 0.0).then_some(t.grad_clip);
        let fits = (data.pixels.len() as u64) <= gpu.limits().max_storage_buffer_binding_size.min(1 << 30);
        let shape = [data.len(), data.height, data.width, data.channels];
        let resident = fits.then(|| Tensor::from_slice(gpu, &shape, &data.pixels)).transpose()?;
        let window = Tensor::zeros(gpu, &[t.log_every.max(1) as usize, FIGURES], DType::F32)?;
        Ok(Trainer {
            gpu: gpu.clone(),
            config: config.clone(),
            data,
            resident,
            model,
            params,
            quantizer,
            adam,
            step: 0,
            window,
            in_window: 0,
            rows: VecDeque::new(),
            in_flight: VecDeque::new(),
        })
    }

    /// Steps done.
    pub fn step_number(&self) -> u64 {
        self.step
    }

    /// The data set.
    pub fn data(&self) -> &ImageSet {
        &self.data
    }

    /// What the engine holds of device memory, and held at most.
    pub fn memory(&self) -> MemoryReport {
        self.gpu.memory()
    }

    /// Trained numbers, the codebook not counted.
    pub fn parameter_count(&self) -> usize {
        self.params.count()
    }

    /// Images by their numbers in the set, in [-1, 1]: [B, H, W, C]. The top bit of a number mirrors the image.
    fn images(&self, numbers: &[u32]) -> Result<Tensor> {
        if let Some(all) = &self.resident {
            return normalize(all, &Tensor::from_slice(&self.gpu, &[numbers.len()], numbers)?);
        }
        let d = &self.data;
        let mut bytes = Vec::with_capacity(numbers.len() * d.width * d.height * d.channels);
        numbers.iter().for_each(|n| bytes.extend_from_slice(d.image((n & !FLIP) as usize)));
        let images = Tensor::from_slice(&self.gpu, &[numbers.len(), d.height, d.width, d.channels], &bytes)?;
        let places: Vec<u32> = numbers.iter().enumerate().map(|(i, n)| i as u32 | (n & FLIP)).collect();
        normalize(&images, &Tensor::from_slice(&self.gpu, &[numbers.len()], &places)?)
    }

    /// The training images of a step: a function of the seed and the step alone, so that a resumed run sees the same.
    fn batch(&self, step: u64) -> Result<Tensor> {
        let t = &self.config.train;
        let order = batch_indices(t.seed, step, t.batch_size, self.data.train.len());
        let mirrored = |i: usize| if self.config.data.flip && flip(t.seed, step, i) { FLIP } else { 0 };
        let numbers: Vec<u32> =
            order.iter().enumerate().map(|(i, n)| self.data.train[*n as usize] | mirrored(i)).collect();
        self.images(&numbers)
    }

    /// Latents [N, D] as rows.
    fn rows_of(tape: &Tape, z_e: &crate::autograd::Var) -> Result<crate::autograd::Var> {
        let [b, h, w, d] = z_e.tensor().dims("latents")?;
        tape.reshape(z_e, &[b * h * w, d])
    }

    /// Places the codes among the latents of the first batches.
    fn initialize(&mut self) -> Result<()> {
        let per_image =
            (self.data.width / self.config.model.downsample) * (self.data.height / self.config.model.downsample);
        let per_batch = per_image * self.config.train.batch_size;
        let batches = INIT_LATENTS.div_ceil(per_batch).clamp(1, 16);
        let dim = self.quantizer.dim();
        let all = Tensor::empty(&self.gpu, &[batches * per_batch, dim], DType::F32)?;
        for i in 0..batches {
            let tape = Tape::no_grad(&self.gpu);
            let pass = Pass::new(&tape, &self.params);
            let z_e = self.model.encode(&pass, &tape.constant(&self.batch(i as u64)?))?;
            all.copy_into(i * per_batch * dim, &z_e.tensor().reshape(&[per_batch * dim])?)?;
        }
        self.quantizer.initialize(&all, per_batch)
    }

    /// One training step. Records and submits; waits only for the step before the last.
    ///
    /// # Errors
    /// If the device fails.
    pub fn step(&mut self) -> Result<()> {
        if self.quantizer.wants_init() {
            self.initialize()?;
        }
        let tape = Tape::new(&self.gpu);
        let pass = Pass::new(&tape, &self.params);
        let x = tape.constant(&self.batch(self.step)?);
        let z_e = self.model.encode(&pass, &x)?;
        let rows = Self::rows_of(&tape, &z_e)?;
        let q = self.quantizer.quantize(&pass, &rows, Mode::Train { step: self.step })?;
        let y = self.model.decode(&pass, &tape.reshape(&q.z_q, z_e.shape())?)?;
        let reconstruction = tape.loss(Loss::Mse, &y, &x)?;
        let loss = match &q.loss {
            Some(part) => tape.add(&reconstruction, part)?,
            None => reconstruction.clone(),
        };
        // The figures stay on the device until a row of the log is due.
        let at = self.in_window * FIGURES;
        self.window.copy_into(at, loss.tensor())?;
        self.window.copy_into(at + 1, reconstruction.tensor())?;
        if let Some(part) = &q.loss {
            self.window.copy_into(at + 2, part.tensor())?;
        }
        self.window.copy_into(at + 3, &codebook_use(&q.counts)?)?;
        let gradients = pass.gradients(tape.backward(&loss)?);
        self.adam.step(&self.params, &gradients)?;
        self.step += 1;
        self.in_window += 1;
        if self.in_window == self.window.shape()[0] {
            self.close_window()?;
        }
        self.in_flight.push_back(self.gpu.flush()?);
        if self.in_flight.len() > STEPS_IN_FLIGHT
            && let Some(submission) = self.in_flight.pop_front()
        {
            self.gpu.wait(&submission)?;
        }
        Ok(())
    }

    /// Ends the row that is being gathered, whatever its length.
    ///
    /// # Errors
    /// If the device fails.
    pub fn close_window(&mut self) -> Result<()> {
        if self.in_window > 0 {
            self.rows.push_back((self.step, self.in_window, self.window.read_async()?));
            self.in_window = 0;
        }
        Ok(())
    }

    /// The rows of the log that have arrived; with `wait`, all that are on their way.
    ///
    /// # Errors
    /// If a figure is not finite: the run has diverged.
    pub fn rows(&mut self, wait: bool) -> Result<Vec<Row>> {
        let mut done = Vec::new();
        while let Some((step, steps, readback)) = self.rows.pop_front() {
            if !wait && !readback.ready() {
                self.rows.push_front((step, steps, readback));
                break;
            }
            let values = readback.wait::<f32>()?;
            let mean = |figure: usize| {
                values.chunks(FIGURES).take(steps).map(|row| row[figure] as f64).sum::<f64>() / steps as f64
            };
            let row = Row {
                step,
                loss: mean(0),
                reconstruction: mean(1),
                commitment: mean(2),
                perplexity: mean(3),
                entropy_bits: mean(4),
                used: mean(5),
            };
            if !row.loss.is_finite() {
                let what = format!(
                    "the loss is {} after step {step}: training diverged. Lower train.lr, or set train.grad_clip = 1",
                    row.loss
                );
                return Err(Error::data(what));
            }
            done.push(row);
        }
        Ok(done)
    }

    /// Codes u32 [B h w] and reconstructions [B, H, W, C] of images in the set.
    fn reconstruct(&mut self, numbers: &[u32]) -> Result<(Tensor, Tensor, Tensor)> {
        let tape = Tape::no_grad(&self.gpu);
        let pass = Pass::new(&tape, &self.params);
        let x = tape.constant(&self.images(numbers)?);
        let z_e = self.model.encode(&pass, &x)?;
        let q = self.quantizer.quantize(&pass, &Self::rows_of(&tape, &z_e)?, Mode::Eval)?;
        let y = self.model.decode(&pass, &tape.reshape(&q.z_q, z_e.shape())?)?;
        Ok((q.counts, x.tensor().clone(), y.tensor().clone()))
    }

    /// Measures the model on the test split; pixels in [0, 1], reconstructions clamped.
    ///
    /// # Errors
    /// If the device fails.
    pub fn evaluate(&mut self) -> Result<Evaluation> {
        if self.quantizer.wants_init() {
            self.initialize()?;
        }
        let test = self.data.test.clone();
        let mut counts = vec![0u64; self.quantizer.codebook_size()];
        let (mut squares, mut pixels) = (0.0f64, 0usize);
        for numbers in test.chunks(128) {
            let (batch_counts, x, y) = self.reconstruct(numbers)?;
            let (x, y) = (x.read::<f32>()?, y.read::<f32>()?);
            squares += x.iter().zip(&y).map(|(x, y)| ((y.clamp(-1.0, 1.0) - x) as f64 / 2.0).powi(2)).sum::<f64>();
            pixels += x.len();
            batch_counts.read::<u32>()?.iter().zip(&mut counts).for_each(|(c, sum)| *sum += *c as u64);
        }
        Ok(Evaluation::new(self.step, squares / pixels as f64, counts))
    }

    /// Originals and reconstructions of the first `n` test images: u8 NHWC each.
    ///
    /// # Errors
    /// If the device fails.
    pub fn test_pairs(&mut self, n: usize) -> Result<(Vec<u8>, Vec<u8>)> {
        // Spread over the split, so that neighbours in the set do not fill the picture.
        let stride = (self.data.test.len() / n.max(1)).max(1);
        let numbers: Vec<u32> = self.data.test.iter().step_by(stride).take(n).copied().collect();
        let originals = numbers.iter().flat_map(|n| self.data.image(*n as usize).to_vec()).collect();
        let (_, _, y) = self.reconstruct(&numbers)?;
        Ok((originals, crate::ops::image::to_bytes(&y)?.read::<u8>()?))
    }

    /// All that going on from here needs: weights, optimiser, quantizer, and the step, from which data order and random
    /// numbers follow.
    ///
    /// # Errors
    /// If the device fails.
    pub fn checkpoint(&mut self) -> Result<Checkpoint> {
        let mut tensors = self.weights()?;
        let adam = self.adam.save()?;
        for (prefix, part) in [("adam.m.", adam.m), ("adam.v.", adam.v)] {
            tensors.extend(part.into_iter().map(|(name, t)| (format!("{prefix}{name}"), weights::export(t))));
        }
        let state = serde_json::json!({
            "step": self.step,
            "adam_step": adam.step,
            "window": self.window.read::<f32>()?[..self.in_window * FIGURES],
            "data": { "name": self.data.name, "sha256": self.data.sha256() },
        });
        Ok(Checkpoint { tensors, state })
    }

    /// The model alone, as inference needs it.
    ///
    /// # Errors
    /// If the device fails.
    pub fn weights(&mut self) -> Result<BTreeMap<String, HostTensor>> {
        let mut tensors: BTreeMap<String, HostTensor> =
            self.params.to_host()?.into_iter().map(|(name, t)| (name, weights::export(t))).collect();
        let state = self.quantizer.save()?;
        tensors.extend(state.into_iter().map(|(name, t)| (format!("quantizer.{name}"), weights::export(t))));
        Ok(tensors)
    }

    /// Goes back to the step at which `checkpoint` was made.
    ///
    /// # Errors
    /// If it belongs to another architecture or another data set.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let number = |key: &str| {
            checkpoint.state[key].as_u64().ok_or_else(|| Error::data(format!("the checkpoint's state has no `{key}`")))
        };
        let sum = checkpoint.state["data"]["sha256"].as_str().unwrap_or_default();
        if sum != self.data.sha256() {
            let what = format!(
                "the data set `{}` is not the one that this run began with (`{}`): its pictures differ",
                self.data.name,
                checkpoint.state["data"]["name"].as_str().unwrap_or("unknown")
            );
            return Err(Error::data(what));
        }
        let parts = weights::split(&checkpoint.tensors)?;
        self.params.load_host(&parts.model)?;
        self.quantizer.load(&parts.quantizer)?;
        let state = AdamState { step: number("adam_step")?, m: parts.adam_m, v: parts.adam_v };
        self.adam.load(&state)?;
        self.step = number("step")?;
        // The row that was being gathered goes on, so that the log is that of a run left alone.
        let open = checkpoint.state["window"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut values = vec![0.0f32; self.window.len()];
        if open.len() > values.len() {
            return Err(Error::data("the checkpoint holds more figures than train.log_every steps make"));
        }
        open.iter().zip(&mut values).for_each(|(from, to)| *to = from.as_f64().unwrap_or(f64::NAN) as f32);
        self.window.write(&values)?;
        self.in_window = open.len() / FIGURES;
        self.rows.clear();
        Ok(())
    }
}
