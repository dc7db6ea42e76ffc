//! Training a first stage: one step, as data see it, and what watches over it.

mod measure;
mod state;

use super::average::Average;
use super::batches::{self, Batches};
use super::health::{Ailment, Health, Reach};
use super::metrics::{Evaluation, LevelRow, Players, Row};
use super::objective::guard::{Guard, Seen};
use super::objective::{self, Adversary, Objective, figure};
use super::run::Cure;
use super::window::Window;
use crate::autograd::{Tape, Var};
use crate::config::run::RunConfig;
use crate::data::{ImageSet, Waiting};
use crate::gpu::command::in_flight::{InFlight, STEPS_IN_FLIGHT};
use crate::gpu::{DType, Gpu, MemoryReport, Tensor, Worked};
use crate::inference::first_stage::{Coded, FirstStage, build};
use crate::models::Level;
use crate::models::vqvae2::MOST_LEVELS;
use crate::nn::{Adam, Parameters, Pass};
use crate::ops::loss::loss::{Loss, loss};
use crate::ops::optim::adam::{Decay, Hyper};
use crate::ops::quantize::codebook_use::codebook_use;
use crate::quantize::{Mode, Quantizer, Registry, Term};
use crate::storage::checkpoint::Checkpoint;
use crate::train::Training;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Figures that a step leaves on the device: loss, reconstruction, commitment, codebook,
/// regularizer; then for each level quantization error, perplexity, entropy, codes used, codes
/// revived; then those of its objective.
const FIGURES: usize = OF_OBJECTIVE + objective::FIGURES;
const OF_OBJECTIVE: usize = OF_LEVELS + OF_LEVEL * MOST_LEVELS;
const OF_LEVELS: usize = 5;
const OF_LEVEL: usize = 5;
/// Steps between the times at which a run mends itself, where it may.
const HEAL_EVERY: u64 = 100;
/// Latents that k-means sees at least, where the first batches hold so many.
const INIT_LATENTS: usize = 20_000;

/// Can this configuration train on this data set?
///
/// # Errors
/// If not; the message names the key, or what the data lack.
pub fn check(config: &RunConfig, data: &ImageSet) -> Result<()> {
    check_with(config, data, &Registry::default())
}

/// The levels of codes that a configuration makes of images of this width, height and channels,
/// before it is trained.
///
/// # Errors
/// If it makes no model, or the device cannot hold its parameters.
pub fn levels_of(
    gpu: &Gpu,
    config: &RunConfig,
    [width, height, channels]: [usize; 3],
) -> Result<Vec<Level>> {
    let (stage, _) = build(gpu, config, [height, width, channels], &Registry::default())?;
    Ok(stage.levels(width, height))
}

fn check_with(config: &RunConfig, data: &ImageSet, registry: &Registry) -> Result<()> {
    config.validate_with(registry)?;
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
            "the data set `{}` leaves {} pictures to train on and {} to test; add pictures",
            data.name,
            data.train.len(),
            data.test.len()
        );
        return Err(Error::data(what));
    }
    batches::check(config, data)
}

/// A first stage in training.
pub struct Trainer {
    gpu: Gpu,
    config: RunConfig,
    data: Arc<ImageSet>,
    batches: Batches,
    stage: FirstStage,
    levels: Vec<Level>,
    params: Parameters,
    adam: Adam,
    average: Option<Average>,
    objective: Objective,
    guard: Guard,
    /// Steps done.
    step: u64,
    window: Window<FIGURES>,
    in_flight: InFlight,
    /// Of each level's codebook.
    health: Vec<Health>,
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
    pub fn with(
        gpu: &Gpu,
        config: &RunConfig,
        data: Arc<ImageSet>,
        registry: &Registry,
    ) -> Result<Trainer> {
        check_with(config, &data, registry)?;
        let config = &config.resolved();
        let objective = Objective::new(gpu, config, [data.height, data.width, data.channels])?;
        let (stage, params) = build(
            gpu,
            config,
            [data.height, data.width, data.channels],
            registry,
        )?;
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
        let adam = Adam::new(&params, hyper)?;
        let average = (t.ema_decay > 0.0)
            .then(|| Average::new(&params, t.ema_decay.into()))
            .transpose()?;
        let batches = Batches::new(gpu, config, data.clone())?;
        let window = Window::new(gpu, t.log_every)?;
        Ok(Trainer {
            gpu: gpu.clone(),
            config: config.clone(),
            data,
            batches,
            health: vec![Health::default(); levels.len()],
            stage,
            levels,
            params,
            adam,
            average,
            objective,
            guard: Guard::default(),
            step: 0,
            window,
            in_flight: InFlight::new(STEPS_IN_FLIGHT),
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

    /// The quantizers, level by level, the coarsest first.
    pub fn quantizers(&self) -> &[Box<dyn Quantizer>] {
        &self.stage.quantizers
    }

    /// What an image's codes look like, level by level.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// Trained numbers; a codebook that moves by an average is not counted.
    pub fn parameter_count(&self) -> usize {
        self.params.count()
    }

    /// Trained numbers of the discriminator; 0 where there is none.
    pub fn discriminator_count(&self) -> usize {
        self.objective
            .adversary
            .as_ref()
            .map_or(0, Adversary::parameter_count)
    }

    /// Numbers of LPIPS, which nothing trains; 0 where it is not asked for.
    pub fn lpips_count(&self) -> usize {
        self.objective.lpips_numbers()
    }

    /// Images by their numbers in the set, in [-1, 1]: [B, H, W, C]. The top bit of a number
    /// mirrors the image.
    fn images(&self, numbers: &[u32]) -> Result<Tensor> {
        self.batches.images(numbers)
    }

    /// The training images of a step: a function of the seed and the step alone, so that a resumed
    /// run sees the same.
    fn batch(&self, step: u64) -> Result<Tensor> {
        self.batches.batch(step)
    }

    /// Places the codes of each level, from the top down, among the latents of the first batches.
    fn initialize(&mut self) -> Result<()> {
        for level in 0..self.levels.len() {
            if self.stage.quantizers[level].wants_init() {
                self.initialize_level(level)?;
            }
        }
        Ok(())
    }

    fn initialize_level(&mut self, level: usize) -> Result<()> {
        let per_batch = self.latents_per_image(level) * self.config.train.batch_size;
        let batches = INIT_LATENTS.div_ceil(per_batch).clamp(1, 16);
        let dim = self.stage.quantizers[level].dim();
        let all = Tensor::empty(&self.gpu, &[batches * per_batch, dim], DType::F32)?;
        for i in 0..batches {
            let tape = Tape::no_grad(&self.gpu);
            let pass = Pass::new(&tape, &self.params);
            let rows = self
                .stage
                .latents(&pass, &tape.constant(&self.batch(i as u64)?), level)?;
            all.copy_into(
                i * per_batch * dim,
                &rows.tensor().reshape(&[per_batch * dim])?,
            )?;
        }
        let tape = Tape::no_grad(&self.gpu);
        self.stage.quantizers[level].initialize(&Pass::new(&tape, &self.params), &all, per_batch)
    }

    fn wants_init(&self) -> bool {
        self.stage.quantizers.iter().any(|q| q.wants_init())
    }

    /// Leaves the step's figures on the device, until a row of the log is due.
    fn record(&self, loss_var: &Var, reconstruction: &Tensor, coded: &[Coded]) -> Result<()> {
        // What a quantizer does not have stays 0.
        self.window.begin()?;
        self.window.set(0, loss_var.tensor())?;
        self.window.set(1, reconstruction)?;
        let still = Tape::no_grad(&self.gpu);
        for (i, term) in [Term::Commitment, Term::Codebook, Term::Regularizer]
            .into_iter()
            .enumerate()
        {
            let mut sum: Option<Var> = None;
            for part in coded {
                sum = match (sum, part.quantized.loss(&still, term)?) {
                    (Some(sum), Some(more)) => Some(still.add(&sum, &more)?),
                    (sum, more) => sum.or(more),
                };
            }
            if let Some(sum) = sum {
                self.window.set(2 + i, sum.tensor())?;
            }
        }
        for (level, part) in coded.iter().enumerate() {
            let at = OF_LEVELS + OF_LEVEL * level;
            self.window.set(
                at,
                &loss(Loss::Mse, part.rows.tensor(), part.quantized.z_q.tensor())?,
            )?;
            self.window
                .set(at + 1, &codebook_use(&part.quantized.counts)?)?;
        }
        Ok(())
    }

    /// One training step. Records and submits; waits only for the step before the last.
    ///
    /// # Errors
    /// If the device fails.
    pub fn step(&mut self) -> Result<()> {
        if self.wants_init() {
            self.initialize()?;
        }
        let tape = Tape::new(&self.gpu);
        let pass = Pass::new(&tape, &self.params).storing(self.config.train.dtype.into());
        let pass = pass.recomputing(self.config.train.checkpoint_blocks);
        let x = tape.constant(&self.batch(self.step)?);
        // What is watched stays in memory for the whole step.
        let pass = if self.objective.watches() {
            pass.watching(self.stage.model.last_weight())
        } else {
            pass
        };
        let (coded, y) = self
            .stage
            .reconstruct(&pass, &x, Mode::Train { step: self.step })?;
        let (mut loss, reconstruction, figures) = self.objective.judge(&pass, &x, &y, self.step)?;
        let judged = self
            .objective
            .adversary
            .is_some()
            .then(|| (x.tensor().clone(), y.tensor().clone()));
        drop((x, y));
        for part in &coded {
            if let Some(part) = part.quantized.total(&tape)? {
                loss = tape.add(&loss, &part)?;
            }
        }
        self.record(&loss, &reconstruction, &coded)?;
        let seen: Vec<_> = coded.into_iter().map(|part| part.quantized.seen).collect();
        let gradients = pass.gradients(tape.backward(&loss)?);
        self.apply_rate();
        let report = self.adam.step(&self.params, &gradients)?;
        drop(gradients);
        for (at, value) in figures {
            self.window.set(OF_OBJECTIVE + at, &value)?;
        }
        if let Some(report) = report {
            self.window
                .set(OF_OBJECTIVE + figure::NORM, &report.view(0, &[1])?)?;
        }
        if let Some((x, y)) = judged {
            for (at, value) in self
                .objective
                .learn(&x, &y, self.step, self.adam.hyper.lr)?
            {
                self.window.set(OF_OBJECTIVE + at, &value)?;
            }
        }
        // The latents above were quantized with the old codes; the next batch meets the new ones.
        for (level, (quantizer, seen)) in self.stage.quantizers.iter_mut().zip(seen).enumerate() {
            if let Some(revived) = quantizer.learn(&self.params, &seen, self.step)? {
                self.window
                    .set(OF_LEVELS + OF_LEVEL * level + 4, &revived)?;
            }
        }
        if let Some(average) = &mut self.average {
            average.follow(&self.params, &self.stage, self.step)?;
        }
        self.step += 1;
        self.window.end(self.step)?;
        self.in_flight.submit(&self.gpu)
    }

    /// Trains for about `budget`, a part of a step or several, and leaves the rest of a step to the
    /// next call: for a render loop. The bytes are those of [`Trainer::step`]. See
    /// [`Gpu::work_for`] for the rules; a step counts in [`Trainer::step_number`] once it is
    /// recorded.
    ///
    /// # Errors
    /// If the device fails.
    pub fn step_for(&mut self, budget: Duration) -> Result<Worked> {
        let gpu = self.gpu.clone();
        gpu.work_for(budget, || self.step().map(|()| true))
    }

    /// Images f32 [B, H, W, C] in [-1, 1] through the model as it is now, to reconstructions of the
    /// same shape, not clamped. Records and waits for nothing; while a step is half done, some
    /// parameters are new and some old.
    ///
    /// # Errors
    /// If the images have another shape, or the device fails.
    pub fn reconstruction(&self, images: &Tensor) -> Result<Tensor> {
        let tape = Tape::no_grad(&self.gpu);
        let pass = Pass::new(&tape, &self.params).storing(self.config.train.dtype.into());
        let (_, y) = self
            .stage
            .reconstruct(&pass, &tape.constant(images), Mode::Eval)?;
        Ok(y.tensor().clone())
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
            let level = |(i, level): (usize, &Level)| {
                let figure = |n: usize| mean(OF_LEVELS + OF_LEVEL * i + n);
                LevelRow {
                    name: level.name.clone(),
                    codes: level.codes(),
                    codebooks: level.codebooks,
                    quantization_error: figure(0),
                    perplexity: figure(1),
                    entropy_bits: figure(2),
                    used: figure(3),
                    revived: figure(4),
                }
            };
            let levels = self.levels.iter().enumerate().map(level).collect();
            let mut row = Row::new(arrived.step, [0, 1, 2, 3, 4].map(mean), levels);
            row.players = self
                .objective
                .adversary
                .is_some()
                .then(|| players(&arrived.steps));
            if let Some((step, figures)) = arrived.first_bad(|f| self.finite(f)) {
                return Err(self.diverged(step, figures));
            }
            for (i, level) in self.levels.iter().enumerate() {
                let choices = level.codes() * self.config.train.batch_size;
                let reach = Reach {
                    codes: level.codebook_size * level.codebooks,
                    choices,
                };
                let options = crate::inference::first_stage::options(&self.config, i);
                for ailment in self.health[i].see(&row.of_level(i), reach, &options) {
                    match &ailment {
                        Ailment::Collapse(_) => self.cures.collapse_due = true,
                        // The loss is that of all levels: one word of it is enough.
                        Ailment::Runaway(_) if i > 0 => continue,
                        Ailment::Runaway(_) => self.cures.runaway_due = true,
                    }
                    self.told.push(ailment.at_level(&level.name));
                }
            }
            self.watch(&row)?;
            done.push(row);
        }
        Ok(done)
    }

    /// The quantization errors of a step's figures.
    fn errors(&self, figures: &[f32; FIGURES]) -> f32 {
        (0..self.levels.len())
            .map(|i| figures[OF_LEVELS + OF_LEVEL * i])
            .sum()
    }

    fn finite(&self, figures: &[f32; FIGURES]) -> bool {
        figures[0].is_finite() && self.errors(figures).is_finite()
    }

    /// The error of a step whose loss, or the quantization error of whose latents, is not finite.
    fn diverged(&self, step: u64, figures: &[f32; FIGURES]) -> Error {
        let what = if self.errors(figures).is_finite() {
            format!(
                "the loss is {} at step {step}: training diverged",
                figures[0]
            )
        } else {
            format!("the latents are not finite at step {step}: the encoder diverged")
        };
        self.lost(step, &what)
    }

    fn lost(&self, step: u64, what: &str) -> Error {
        let heal = match self.config.train.auto_heal {
            // It is at it.
            true => "",
            false => "; --auto-heal goes back to the last checkpoint and on at half the rate",
        };
        Error::Diverged {
            step,
            what: format!("{what}. Lower train.lr, or set train.grad_clip = 1{heal}"),
        }
    }

    /// Is the discriminator heard in the step that is the `step`-th?
    fn heard(&self, step: u64) -> bool {
        self.objective.adversary.is_some() && self.config.gan.share(step.saturating_sub(1)) > 0.0
    }

    /// Has the discriminator broken the model?
    fn watch(&mut self, row: &Row) -> Result<()> {
        let (Some(players), true) = (&row.players, self.config.gan.guard) else {
            return Ok(());
        };
        let seen = Seen {
            step: row.step,
            reconstruction: row.reconstruction,
            used: row.used,
            norm: players.gradient_norm,
            heard: self.heard(row.step),
        };
        match self.guard.see(seen) {
            None => Ok(()),
            Some(what) => {
                let way_out =
                    "lower gan.weight or gan.lr, or start the discriminator later (gan.start)";
                Err(Error::Diverged {
                    step: row.step,
                    what: format!("{what}. Where that does not mend it: {way_out}"),
                })
            }
        }
    }

    /// Runs `f` with the weights and codes that are measured and kept: those of the moment, or
    /// their average.
    fn kept<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let exchange = |t: &Self| {
            t.average
                .as_ref()
                .map_or(Ok(()), |a| a.exchange(&t.params, &t.stage))
        };
        exchange(self)?;
        let found = f(self);
        exchange(self)?;
        found
    }

    /// Goes on at half the learning rate, with clipped gradients. Returns what was done.
    fn halve_rate(&mut self) -> String {
        self.cures.halvings += 1;
        self.apply_rate();
        self.health.iter_mut().for_each(Health::mended);
        format!(
            "step {}: from here on at a learning rate of {:e}, gradients clipped to 1",
            self.step, self.adam.hyper.lr as f32
        )
    }

    /// Begins to revive dead codes at every level that can and does not yet; says whether one did.
    fn begin_revival(&mut self) -> bool {
        // All of them, whatever the first one says.
        let began: Vec<bool> = self
            .stage
            .quantizers
            .iter_mut()
            .map(|q| q.begin_revival())
            .collect();
        began.contains(&true)
    }

    fn apply_rate(&mut self) {
        let t = &self.config.train;
        self.adam.hyper.lr = t.rate(self.step) * 0.5f64.powi(self.cures.halvings as i32);
        let clip = match (t.grad_clip > 0.0, self.cures.halvings > 0) {
            (true, true) => Some(t.grad_clip.min(1.0)),
            (true, false) => Some(t.grad_clip),
            (false, true) => Some(1.0),
            (false, false) => None,
        };
        // Beside a discriminator, the norm is measured anyway.
        self.adam.max_norm = clip.or(self.objective.adversary.is_some().then_some(f32::INFINITY));
    }

    /// Latents of an image at a level.
    fn latents_per_image(&self, level: usize) -> usize {
        let [h, w] = self.levels[level].grid;
        h * w
    }
}

impl Training for Trainer {
    type Row = Row;
    type Evaluation = Evaluation;

    fn columns(&self) -> (String, String) {
        let names: Vec<&str> = self.levels.iter().map(|l| l.name.as_str()).collect();
        (
            Row::columns(&names, self.objective.adversary.is_some()),
            Evaluation::columns(&names),
        )
    }
    fn step_number(&self) -> u64 {
        self.step
    }
    fn step(&mut self) -> Result<()> {
        Trainer::step(self)
    }
    fn per_step(&self) -> (usize, &'static str) {
        (self.config.train.batch_size, "images")
    }
    fn rate(&self, step: u64) -> Option<f64> {
        Some(self.config.train.rate(step) * 0.5f64.powi(self.cures.halvings as i32))
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
        Ok(Checkpoint {
            tensors: self.weights()?,
            state: crate::inference::trained::describe(&self.config, &self.data),
        })
    }
    fn advice(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
            .into_iter()
            .map(|a| a.text().to_owned())
            .collect()
    }
    fn heal(&mut self, rows: &mut Vec<Row>) -> Result<Vec<String>> {
        if !self.config.train.auto_heal || !self.step.is_multiple_of(HEAL_EVERY) {
            return Ok(Vec::new());
        }
        // At fixed steps and with all rows at hand, so that a run resumed is mended at the same
        // step as the run left alone.
        rows.extend(self.rows(true)?);
        let mut done = Vec::new();
        if std::mem::take(&mut self.cures.collapse_due) && self.begin_revival() {
            self.cures.revives = true;
            self.health.iter_mut().for_each(Health::mended);
            done.push(format!(
                "step {}: from here on dead codes are revived",
                self.step
            ));
        }
        if std::mem::take(&mut self.cures.runaway_due) {
            done.push(self.halve_rate());
        }
        Ok(done)
    }
    fn waiting(&self) -> Option<Waiting> {
        self.batches.waiting()
    }
    fn check(&self, checkpoint: &Checkpoint) -> Result<()> {
        let step = checkpoint.state["step"].as_u64().unwrap_or(self.step);
        // Steps whose row is not full yet, and whom nothing has looked at.
        let open = Window::<FIGURES>::open(&checkpoint.state["window"], step);
        if let Some((step, figures)) = open.first_bad(|f| self.finite(f)) {
            return Err(self.diverged(step, figures));
        }
        match checkpoint.first_not_finite() {
            Some(name) => Err(self.lost(
                step,
                &format!("`{name}` is not finite at step {step}: training diverged"),
            )),
            None => Ok(()),
        }
    }
    fn heals(&self) -> bool {
        self.config.train.auto_heal || (self.config.gan.guard && self.objective.adversary.is_some())
    }
    fn cure(&self, step: u64) -> Option<Cure> {
        match &self.objective.adversary {
            // Before it is heard, it is not what a run diverges by.
            Some(adversary) if self.config.gan.guard && self.heard(step) => {
                Some(Cure::Adversary(adversary.halvings()))
            }
            _ => self
                .config
                .train
                .auto_heal
                .then_some(Cure::Rate(self.cures.halvings)),
        }
    }
    fn calm(&mut self, cure: Cure) -> String {
        let mut note = String::new();
        match (cure, &mut self.objective.adversary) {
            (Cure::Adversary(times), Some(adversary)) => {
                while adversary.halvings() <= times {
                    note = adversary.weaken();
                }
            }
            (Cure::Rate(times) | Cure::Adversary(times), _) => {
                while self.cures.halvings <= times {
                    note = self.halve_rate();
                }
            }
        }
        note
    }
    fn may_go_back_to(&self, checkpoint: &Checkpoint, failed: Option<u64>) -> bool {
        let guard: Option<Guard> = serde_json::from_value(checkpoint.state["guard"].clone()).ok();
        let step = checkpoint.state["step"].as_u64().unwrap_or(u64::MAX);
        // A model that a discriminator broke was sound before. One that diverges by itself again
        // may have been about to at the checkpoint.
        let before = failed.is_none_or(|failed| step < failed || self.heard(failed));
        guard.is_some_and(|guard| guard.is_calm()) && before
    }
}

/// What the steps of a row say of model and discriminator.
fn players(steps: &[[f32; FIGURES]]) -> Players {
    let all = |at: usize| steps.iter().map(move |s| f64::from(s[OF_OBJECTIVE + at]));
    let mean = |at: usize| all(at).sum::<f64>() / steps.len().max(1) as f64;
    let penalties: Vec<f64> = all(figure::PENALTY).filter(|p| *p != 0.0).collect();
    Players {
        structure: mean(figure::STRUCTURE),
        perceptual: mean(figure::PERCEPTUAL),
        generator: mean(figure::GENERATOR),
        features: mean(figure::FEATURES),
        adversarial_weight: mean(figure::WEIGHT),
        discriminator: mean(figure::DISCRIMINATOR),
        logits_real: mean(figure::REAL),
        logits_fake: mean(figure::FAKE),
        penalty: penalties.iter().fold(0.0, |sum, p| sum + p) / penalties.len().max(1) as f64,
        gradient_norm: mean(figure::NORM),
        discriminator_gradient_norm: mean(figure::DISCRIMINATOR_NORM),
    }
}
