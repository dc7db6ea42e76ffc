//! The trainer of a first stage, as programs use it.

use super::code_average::CodeAverage;
use super::monitor::Monitor;
use super::{FirstStageTask, WIDTH, batches, spanning};
use crate::autograd::Tape;
use crate::config::Precision;
use crate::config::run::ResolvedConfig;
use crate::data::ImageSet;
use crate::gpu::{Gpu, Tensor};
use crate::inference::first_stage::build;
use crate::metrics::{Evaluation, PrecisionMetrics};
use crate::models::Level;
use crate::nn::ForwardContext;
use crate::objective::{Adversary, Objective};
use crate::ops::optim::adam::{Decay, Hyper};
use crate::quantize::{Mode, Quantizer, Registry};
use crate::storage::checkpoint::HostTensor;
use crate::train::Trainer;
use crate::trainer::optimizer_state::{OptimizerOptions, OptimizerState};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Returns the levels of codes that a configuration makes of images of this width, height and
/// channels, before it is trained.
///
/// # Errors
/// If it makes no model, or the device cannot hold its parameters.
pub fn levels_of(
    gpu: &Gpu,
    config: &ResolvedConfig,
    [width, height, channels]: [usize; 3],
) -> Result<Vec<Level>> {
    let (stage, _) = build(gpu, config, [height, width, channels], &Registry::default())?;
    spanning::check_passes(config, &stage)?;
    Ok(stage.levels(width, height))
}

/// Checks that this configuration can train on this data set.
///
/// # Errors
/// If not; the message names the key, or what the data lack.
pub fn check(config: &ResolvedConfig, data: &ImageSet) -> Result<()> {
    let factor = config.model.coarsest();
    if !data.width.is_multiple_of(factor) || !data.height.is_multiple_of(factor) {
        let what = format!(
            "{factor}, the pixels of a latent of the coarsest grid, does not divide the images' \
             {} x {}; choose another downsampling, or data.width and data.height",
            data.width, data.height
        );
        return Err(Error::config("model.downsample", what));
    }
    if data.train.is_empty() || data.test.is_empty() {
        let what = format!(
            "the data set `{}` leaves {} images to train on and {} to test; add images",
            data.name,
            data.train.len(),
            data.test.len()
        );
        return Err(Error::data(what));
    }
    batches::check(config, data)
}

impl Trainer<FirstStageTask> {
    /// Creates a trainer at step 0.
    ///
    /// # Errors
    /// If the configuration makes no model for this data set, or the device cannot hold it.
    pub fn new(gpu: &Gpu, config: &ResolvedConfig, data: Arc<ImageSet>) -> Result<Self> {
        Trainer::with(gpu, config, data, &Registry::default())
    }

    /// [`Trainer::new`] where a program has quantizers of its own.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn with(
        gpu: &Gpu,
        config: &ResolvedConfig,
        data: Arc<ImageSet>,
        registry: &Registry,
    ) -> Result<Self> {
        check(config, &data)?;
        let config = &config.on(gpu)?;
        let image = [data.height, data.width, data.channels];
        let objective = Objective::new(gpu, config, image)?;
        let (stage, params) = build(gpu, config, image, registry)?;
        spanning::check_passes(config, &stage)?;
        let levels = stage.levels(data.width, data.height);
        let t = &config.train;
        let hyper = Hyper {
            lr: t.lr as f64,
            beta1: t.beta1 as f64,
            beta2: t.beta2 as f64,
            eps: t.adam_eps as f64,
            weight_decay: t.weight_decay as f64,
            decay: Decay::Decoupled,
        };
        let options = OptimizerOptions {
            hyper,
            moments: Default::default(),
            sharded: false,
            ema_decay: t.ema_decay,
            metrics: match t.precision {
                Precision::Mixed => WIDTH + PrecisionMetrics::WIDTH,
                Precision::F32 | Precision::Auto => WIDTH,
            },
            log_every: t.log_every,
            loss_scale: t.first_scale(),
        };
        let state = OptimizerState::new(gpu, params, options)?;
        let task = FirstStageTask {
            gpu: gpu.clone(),
            config: config.clone(),
            batches: batches::Batches::new(gpu, config, data.clone())?,
            average: (t.ema_decay > 0.0).then(|| CodeAverage::new(t.ema_decay.into())),
            monitor: Monitor::new(levels.len()),
            from_files: OnceLock::new(),
            counts_over_ranks: vec![true; levels.len()],
            data,
            stage,
            levels,
            objective,
        };
        Ok(Trainer::of(gpu, task, state))
    }

    /// Returns the data set.
    pub fn data(&self) -> &ImageSet {
        &self.task.data
    }

    /// Returns the quantizers, level by level, the coarsest first.
    pub fn quantizers(&self) -> &[Box<dyn Quantizer>] {
        &self.task.stage.quantizers
    }

    /// Returns the layout of an image's codes, level by level.
    pub fn levels(&self) -> &[Level] {
        &self.task.levels
    }

    /// Trained numbers of the discriminator; 0 where there is none.
    pub fn discriminator_count(&self) -> usize {
        let adversary = self.task.objective.adversary.as_ref();
        adversary.map_or(0, Adversary::parameter_count)
    }

    /// Numbers of LPIPS, which nothing trains; 0 where it is not asked for.
    pub fn lpips_count(&self) -> usize {
        self.task.objective.lpips_numbers()
    }

    /// Images f32 [B, H, W, C] in [-1, 1] through the model as it is now, to reconstructions of the
    /// same shape, not clamped. Records and waits for nothing; while a step is half done, some
    /// parameters are new and some old.
    ///
    /// # Errors
    /// If the images have another shape, or the device fails.
    pub fn reconstruction(&self, images: &Tensor) -> Result<Tensor> {
        let tape = Tape::no_grad(&self.task.gpu);
        let pass = ForwardContext::new(&tape, self.state.params())
            .with_activation_dtype(self.task.config.train.activations());
        let x = tape.constant(images);
        let (_, y) = self.task.stage.reconstruct(&pass, &x, Mode::Eval)?;
        Ok(y.tensor().clone())
    }

    /// Measures the model on the test split; pixels in [0, 1], reconstructions clamped.
    ///
    /// # Errors
    /// If the device fails.
    pub fn evaluate(&mut self) -> Result<Evaluation> {
        self.measure(true)
    }

    /// The model alone, as inference needs it.
    ///
    /// # Errors
    /// If the device fails.
    pub fn weights(&mut self) -> Result<BTreeMap<String, HostTensor>> {
        self.task.weights(&mut self.state)
    }

    /// The time that a measurement will take, by that of a part of it.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn time_measurement(&mut self) -> Result<Duration> {
        self.task.time_measurement(&mut self.state)
    }

    /// Originals and reconstructions of the first `n` test images: u8 NHWC each.
    ///
    /// # Errors
    /// If the device fails.
    pub fn test_pairs(&mut self, n: usize) -> Result<(Vec<u8>, Vec<u8>)> {
        self.task.test_pairs(&mut self.state, n)
    }

    /// Returns, of the first `n` test images, the originals, and the images that their coarsest
    /// level alone, their first two, and so on decode to; u8 NHWC each. The other levels hold 0, or
    /// their mean over at most 256 test images: see [`crate::config::run::Model::level_dropout`].
    ///
    /// # Errors
    /// If the device fails.
    pub fn test_levels(&mut self, n: usize) -> Result<Vec<Vec<u8>>> {
        self.task.test_levels(&mut self.state, n)
    }
}
