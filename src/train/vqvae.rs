//! Training a VQ-VAE: one step, as data see it, and what is kept to go on from any step.

use super::checkpoint::{Checkpoint, HostTensor};
use super::config::RunConfig;
use super::health::{Ailment, Health, Reach};
use super::metrics::{Evaluation, Fidelity, Row};
use super::run::Training;
use super::weights;
use super::window::{InFlight, STEPS_IN_FLIGHT, Window};
use crate::autograd::{Tape, Var};
use crate::data::{ImageSet, batch_indices, flip};
use crate::gpu::{DType, Gpu, MemoryReport, Tensor};
use crate::models::vqvae::{Config, VqVae};
use crate::nn::{Adam, AdamState, Parameters, Pass};
use crate::ops::adam::{Decay, Hyper};
use crate::ops::codebook_use::codebook_use;
use crate::ops::image::{FLIP, normalize};
use crate::ops::loss::{Loss, loss};
use crate::ops::ssim;
use crate::quantize::{Mode, Options, Quantized, Quantizer, Registry, Term};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Figures that a step leaves on the device: loss, reconstruction, commitment, codebook, regularizer, quantization error,
/// perplexity, entropy, codes used, codes revived.
const FIGURES: usize = 10;
/// Steps between the times at which a run mends itself, where it may.
const HEAL_EVERY: u64 = 100;
/// Latents that k-means sees at least, where the first batches hold so many.
const INIT_LATENTS: usize = 20_000;

/// A model of a configuration and a data set's image size, with its quantizer.
pub(crate) fn build(
    gpu: &Gpu,
    c: &RunConfig,
    channels: usize,
    registry: &Registry,
) -> Result<(VqVae, Parameters, Box<dyn Quantizer>)> {
    let mut builder = Parameters::builder();
    // Initial values depend on a parameter's name alone, so the quantizer's change none of the model's.
    let options = Options { seed: c.train.seed, ..c.quantizer.clone() };
    let quantizer = registry.build(gpu, &mut builder, &options)?;
    let shape = Config {
        channels,
        hidden: c.model.hidden,
        residual_layers: c.model.residual_layers,
        residual_hidden: c.model.residual_hidden,
        downsample: c.model.downsample,
        codebook_dim: quantizer.dim(),
    };
    let model = VqVae::new(&mut builder, &shape)?;
    Ok((model, builder.build(gpu, c.train.seed)?, quantizer))
}

/// Can this configuration train on this data set?
///
/// # Errors
/// If not; the message names the key, or what the data lack.
pub fn check(config: &RunConfig, data: &ImageSet) -> Result<()> {
    check_with(config, data, &Registry::default())
}

fn check_with(config: &RunConfig, data: &ImageSet, registry: &Registry) -> Result<()> {
    config.validate_with(registry)?;
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
    window: Window<FIGURES>,
    in_flight: InFlight,
    health: Health,
    /// What the health of the run is due to say.
    told: Vec<Ailment>,
    cures: Cures,
}

/// What a run that mends itself has changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Cures {
    /// A collapse and a runaway that wait for the step at which they are mended.
    collapse_due: bool,
    runaway_due: bool,
    revives: bool,
    /// Times that the learning rate was halved.
    halvings: u32,
}

impl Trainer {
    /// A trainer at step 0.
    ///
    /// # Errors
    /// If the configuration makes no model for this data set, or the device cannot hold it.
    pub fn new(gpu: &Gpu, config: &RunConfig, data: Arc<ImageSet>) -> Result<Trainer> {
        Trainer::with(gpu, config, data, &Registry::default())
    }

    /// [`Trainer::new`] where a program has quantizers of its own.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn with(gpu: &Gpu, config: &RunConfig, data: Arc<ImageSet>, registry: &Registry) -> Result<Trainer> {
        check_with(config, &data, registry)?;
        let (model, params, quantizer) = build(gpu, config, data.channels, registry)?;
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
        let window = Window::new(gpu, t.log_every)?;
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
            in_flight: InFlight::new(STEPS_IN_FLIGHT),
            health: Health::default(),
            told: Vec::new(),
            cures: Cures::default(),
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

    /// The quantizer.
    pub fn quantizer(&self) -> &dyn Quantizer {
        &*self.quantizer
    }

    /// Trained numbers; a codebook that moves by an average is not counted.
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
    fn rows_of(tape: &Tape, z_e: &Var) -> Result<Var> {
        let [b, h, w, d] = z_e.tensor().dims("latents")?;
        tape.reshape(z_e, &[b * h * w, d])
    }

    /// Places the codes among the latents of the first batches.
    fn initialize(&mut self) -> Result<()> {
        let per_batch = self.latents_per_image() * self.config.train.batch_size;
        let batches = INIT_LATENTS.div_ceil(per_batch).clamp(1, 16);
        let dim = self.quantizer.dim();
        let all = Tensor::empty(&self.gpu, &[batches * per_batch, dim], DType::F32)?;
        for i in 0..batches {
            let tape = Tape::no_grad(&self.gpu);
            let pass = Pass::new(&tape, &self.params);
            let z_e = self.model.encode(&pass, &tape.constant(&self.batch(i as u64)?))?;
            all.copy_into(i * per_batch * dim, &z_e.tensor().reshape(&[per_batch * dim])?)?;
        }
        let tape = Tape::no_grad(&self.gpu);
        self.quantizer.initialize(&Pass::new(&tape, &self.params), &all, per_batch)
    }

    /// Leaves the step's figures on the device, until a row of the log is due.
    fn record(&self, loss_var: &Var, reconstruction: &Var, rows: &Var, q: &Quantized) -> Result<()> {
        // What a quantizer does not have stays 0.
        self.window.begin()?;
        self.window.set(0, loss_var.tensor())?;
        self.window.set(1, reconstruction.tensor())?;
        let still = Tape::no_grad(&self.gpu);
        for (i, term) in [Term::Commitment, Term::Codebook, Term::Regularizer].into_iter().enumerate() {
            if let Some(part) = q.loss(&still, term)? {
                self.window.set(2 + i, part.tensor())?;
            }
        }
        self.window.set(5, &loss(Loss::Mse, rows.tensor(), q.z_q.tensor())?)?;
        self.window.set(6, &codebook_use(&q.counts)?)
    }

    /// How activations are stored between layers.
    fn activations(&self) -> DType {
        if self.config.train.dtype == "f16" { DType::F16 } else { DType::F32 }
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
        let pass = Pass::new(&tape, &self.params).storing(self.activations());
        let x = tape.constant(&self.batch(self.step)?);
        let z_e = self.model.encode(&pass, &x)?;
        let rows = Self::rows_of(&tape, &z_e)?;
        let q = self.quantizer.quantize(&pass, &rows, Mode::Train { step: self.step })?;
        let y = self.model.decode(&pass, &tape.reshape(&q.z_q, z_e.shape())?)?;
        let reconstruction = tape.loss(Loss::Mse, &y, &x)?;
        let loss = match q.total(&tape)? {
            Some(part) => tape.add(&reconstruction, &part)?,
            None => reconstruction.clone(),
        };
        self.record(&loss, &reconstruction, &rows, &q)?;
        let gradients = pass.gradients(tape.backward(&loss)?);
        self.adam.step(&self.params, &gradients)?;
        // The latents above were quantized with the old codes; the next batch meets the new ones.
        if let Some(revived) = self.quantizer.learn(&self.params, &q.seen, self.step)? {
            self.window.set(9, &revived)?;
        }
        self.step += 1;
        self.window.end(self.step)?;
        self.in_flight.submit(&self.gpu)
    }

    /// Ends the row that is being gathered, whatever its length.
    ///
    /// # Errors
    /// If the device fails.
    pub fn close_window(&mut self) -> Result<()> {
        self.window.close(self.step)
    }

    /// The rows of the log that have arrived; with `wait`, all that are on their way.
    ///
    /// # Errors
    /// If a figure is not finite: the run has diverged.
    pub fn rows(&mut self, wait: bool) -> Result<Vec<Row>> {
        let mut done = Vec::new();
        while let Some(arrived) = self.window.arrived(wait)? {
            let mean = |figure| arrived.mean(figure);
            let row = Row {
                step: arrived.step,
                loss: mean(0),
                reconstruction: mean(1),
                commitment: mean(2),
                codebook: mean(3),
                regularizer: mean(4),
                quantization_error: mean(5),
                perplexity: mean(6),
                entropy_bits: mean(7),
                used: mean(8),
                revived: mean(9),
            };
            if let Some((step, figures)) = arrived.first_bad(|f| f[0].is_finite() && f[5].is_finite()) {
                return Err(diverged(step, figures));
            }
            let latents = self.latents_per_image() * self.config.train.batch_size;
            let books = self.quantizer.codebooks();
            let reach = Reach { codes: self.quantizer.codebook_size() * books, choices: latents * books };
            for ailment in self.health.see(&row, reach, &self.config.quantizer) {
                match ailment {
                    Ailment::Collapse(_) => self.cures.collapse_due = true,
                    Ailment::Runaway(_) => self.cures.runaway_due = true,
                }
                self.told.push(ailment);
            }
            done.push(row);
        }
        Ok(done)
    }

    /// Goes on at half the learning rate, with clipped gradients. Returns what was done.
    fn halve_rate(&mut self) -> String {
        self.cures.halvings += 1;
        self.apply_rate();
        self.health.mended();
        format!(
            "step {}: from here on at a learning rate of {:e}, gradients clipped to 1",
            self.step, self.adam.hyper.lr
        )
    }

    fn apply_rate(&mut self) {
        let t = &self.config.train;
        self.adam.hyper.lr = t.lr as f64 * 0.5f64.powi(self.cures.halvings as i32);
        let clip = if t.grad_clip > 0.0 { t.grad_clip.min(1.0) } else { 1.0 };
        if self.cures.halvings > 0 {
            self.adam.max_norm = Some(clip);
        }
    }

    /// Latents of an image.
    fn latents_per_image(&self) -> usize {
        let f = self.config.model.downsample;
        (self.data.width / f) * (self.data.height / f)
    }

    /// Counts of codes, images, reconstructions [B, H, W, C], and the latents' quantization error, of images in the set.
    fn reconstruct(&mut self, numbers: &[u32]) -> Result<Reconstructed> {
        let tape = Tape::no_grad(&self.gpu);
        let pass = Pass::new(&tape, &self.params);
        let x = tape.constant(&self.images(numbers)?);
        let z_e = self.model.encode(&pass, &x)?;
        let rows = Self::rows_of(&tape, &z_e)?;
        let q = self.quantizer.quantize(&pass, &rows, Mode::Eval)?;
        let y = self.model.decode(&pass, &tape.reshape(&q.z_q, z_e.shape())?)?;
        let error = loss(Loss::Mse, rows.tensor(), q.z_q.tensor())?;
        Ok(Reconstructed { counts: q.counts, x: x.tensor().clone(), y: y.tensor().clone(), error })
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
        let books = self.quantizer.codebooks();
        let mut counts = vec![0u64; self.quantizer.codebook_size() * books];
        let (mut squares, mut pixels) = (0.0f64, 0usize);
        let (mut similarity, mut error) = (0.0f64, 0.0f64);
        let windowed = ssim::fits(self.data.height, self.data.width);
        for numbers in test.chunks(128) {
            let r = self.reconstruct(numbers)?;
            let share = numbers.len() as f64 / test.len() as f64;
            if windowed {
                similarity += share * ssim::ssim(&r.x, &r.y)?.read::<f32>()?[0] as f64;
            }
            error += share * r.error.read::<f32>()?[0] as f64;
            let (x, y) = (r.x.read::<f32>()?, r.y.read::<f32>()?);
            squares += x.iter().zip(&y).map(|(x, y)| ((y.clamp(-1.0, 1.0) - x) as f64 / 2.0).powi(2)).sum::<f64>();
            pixels += x.len();
            r.counts.read::<u32>()?.iter().zip(&mut counts).for_each(|(c, sum)| *sum += *c as u64);
        }
        let fidelity = Fidelity {
            mse: squares / pixels as f64,
            ssim: if windowed { similarity } else { f64::NAN },
            quantization_error: error,
            codes_per_pixel: (self.latents_per_image() * books) as f64 / (self.data.width * self.data.height) as f64,
        };
        Ok(Evaluation::new(self.step, fidelity, books, counts))
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
        let y = self.reconstruct(&numbers)?.y;
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
            "window": self.window.save()?,
            "data": { "name": self.data.name, "sha256": self.data.sha256() },
            "health": self.health,
            "cures": self.cures,
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
        let mut parts = weights::by_prefix(&checkpoint.tensors, ["quantizer.", "adam.m.", "adam.v."])?;
        let mut part = |prefix: &str| parts.remove(prefix).unwrap_or_default();
        self.params.load_host(&part(""))?;
        self.quantizer.load(&part("quantizer."))?;
        let (m, v) = (part("adam.m."), part("adam.v."));
        let state = AdamState { step: number("adam_step")?, m, v };
        self.adam.load(&state)?;
        self.step = number("step")?;
        self.window.load(&checkpoint.state["window"])?;
        self.told.clear();
        let part = |key: &str| checkpoint.state[key].clone();
        let damaged = |e: serde_json::Error| Error::data(format!("the checkpoint's state cannot be used: {e}"));
        self.health = serde_json::from_value(part("health")).map_err(damaged)?;
        self.cures = serde_json::from_value(part("cures")).map_err(damaged)?;
        if self.cures.revives {
            self.quantizer.begin_revival();
        }
        self.apply_rate();
        Ok(())
    }
}

impl Training for Trainer {
    type Row = Row;
    type Evaluation = Evaluation;

    fn step_number(&self) -> u64 {
        self.step
    }
    fn step(&mut self) -> Result<()> {
        Trainer::step(self)
    }
    fn per_step(&self) -> (usize, &'static str) {
        (self.config.train.batch_size, "images")
    }
    fn rows(&mut self, wait: bool) -> Result<Vec<Row>> {
        Trainer::rows(self, wait)
    }
    fn close_row(&mut self) -> Result<()> {
        self.close_window()
    }
    fn evaluate(&mut self, _last: bool) -> Result<Evaluation> {
        Trainer::evaluate(self)
    }
    fn checkpoint(&mut self) -> Result<Checkpoint> {
        Trainer::checkpoint(self)
    }
    fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        Trainer::restore(self, checkpoint)
    }
    fn trained(&mut self) -> Result<Checkpoint> {
        Ok(Checkpoint { tensors: self.weights()?, state: super::trained::describe(&self.config, &self.data) })
    }
    fn advice(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told).into_iter().map(|a| a.text().to_owned()).collect()
    }
    fn heal(&mut self, rows: &mut Vec<Row>) -> Result<Vec<String>> {
        if !self.config.train.auto_heal || !self.step.is_multiple_of(HEAL_EVERY) {
            return Ok(Vec::new());
        }
        // At fixed steps and with all rows at hand, so that a run resumed is mended at the same step as the run left alone.
        rows.extend(self.rows(true)?);
        let mut done = Vec::new();
        if std::mem::take(&mut self.cures.collapse_due) && self.quantizer.begin_revival() {
            self.cures.revives = true;
            self.health.mended();
            done.push(format!("step {}: from here on dead codes are revived", self.step));
        }
        if std::mem::take(&mut self.cures.runaway_due) {
            done.push(self.halve_rate());
        }
        Ok(done)
    }
    fn calmed(&self) -> Option<u32> {
        self.config.train.auto_heal.then_some(self.cures.halvings)
    }
    fn calm(&mut self, times: u32) -> String {
        let mut note = String::new();
        while self.cures.halvings <= times {
            note = self.halve_rate();
        }
        note
    }
}

/// Images that went through the model.
struct Reconstructed {
    counts: Tensor,
    x: Tensor,
    y: Tensor,
    error: Tensor,
}

/// The error of a step whose figures are not finite.
fn diverged(step: u64, figures: &[f32]) -> Error {
    let what = match (figures[5].is_finite(), figures[0]) {
        (false, _) => format!("the latents are not finite at step {step}: the encoder diverged"),
        (true, loss) => format!("the loss is {loss} at step {step}: training diverged"),
    };
    let way_out = "Lower train.lr, or set train.grad_clip = 1; --auto-heal goes back to the last checkpoint and on at half the rate";
    Error::Diverged { step, what: format!("{what}. {way_out}") }
}
