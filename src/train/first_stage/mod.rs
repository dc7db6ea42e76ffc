//! Training a first stage: one step, from the batch to the update of the weights.

pub(crate) mod batches;
mod code_average;
pub mod health;
mod measure;
mod monitor;
mod passes;
mod recorded;
mod run;
mod spanning;
mod state;
#[cfg(test)]
mod tests;
mod trainer;

pub(super) use recorded::record;
pub use run::{run, run_with};
pub use trainer::{check, levels_of};

use crate::autograd::Tape;
use crate::config::Precision;
use crate::config::run::ResolvedConfig;
use crate::data::{DataStall, ImageSet};
use crate::gpu::{DType, Gpu, Tensor};
use crate::inference::first_stage::FirstStage;
use crate::metrics::{
    CodeMetrics, Evaluation, GanMetrics, LevelRow, LossMetrics, PrecisionMetrics, Row, Steps,
};
use crate::models::Level;
use crate::nn::ForwardContext;
use crate::objective::{Learning, Objective};
use crate::pace::MeasurementCost;
use crate::parallel::Ranks;
use crate::quantize::{CodebookBatch, MOST_SCALES};
use crate::storage::checkpoint::{Checkpoint, LazyCheckpoint};
use crate::storage::run_parts::TEST_FILES;
use crate::trainer::optimizer_state::OptimizerState;
use crate::trainer::task::{Recovery, Task, View};
use crate::{Error, Result, files};
use batches::Batches;
use code_average::CodeAverage;
use monitor::Monitor;
use std::sync::{Arc, OnceLock};

/// Latents that k-means sees at least, where the first batches hold so many.
pub(super) const INIT_LATENTS: usize = 20_000;

/// Returns the place of a level's metrics among those of a step: behind the losses.
pub(super) const fn level_slot(level: usize) -> usize {
    LossMetrics::WIDTH + CodeMetrics::WIDTH * level
}

/// Place of the objective's metrics: behind the levels.
const GAN_SLOT: usize = level_slot(MOST_SCALES);

/// Metrics of a step in f32; the report of the gradients of one in mixed precision is behind them.
const WIDTH: usize = GAN_SLOT + GanMetrics::WIDTH;

/// Images whose reconstructions are kept at each measurement.
const VIEWED: usize = 8;

/// A first stage in training.
pub struct FirstStageTask {
    gpu: Gpu,
    config: ResolvedConfig,
    data: Arc<ImageSet>,
    batches: Batches,
    /// Whether one of the ranks reads images from files, once that is known.
    from_files: OnceLock<bool>,
    /// Whether each level's quantizer adds up by itself what ranks saw.
    counts_over_ranks: Vec<bool>,
    stage: FirstStage,
    levels: Vec<Level>,
    average: Option<CodeAverage>,
    objective: Objective,
    monitor: Monitor,
}

impl FirstStageTask {
    /// Images by their numbers in the set, in [-1, 1]: [B, H, W, C]. The top bit of a number
    /// mirrors the image.
    fn images(&self, numbers: &[u32]) -> Result<Tensor> {
        self.batches.images(numbers)
    }

    /// Returns the images of a step that this rank takes, as [`Batches::parts`].
    ///
    /// # Errors
    /// If a rank cannot read its own: the others would wait for it.
    fn parts(&self, ranks: &Ranks, step: u64) -> Result<Vec<Tensor>> {
        let own = self.batches.parts(step);
        let from_files = match self.from_files.get() {
            Some(known) => *known,
            None => {
                let any = ranks.any(self.data.pixels.in_memory().is_none())?;
                *self.from_files.get_or_init(|| any)
            }
        };
        match from_files {
            true => ranks.agree_on(own),
            false => own,
        }
    }

    /// Places the codes of each level, from the top down, among the latents of the first batches,
    /// those of all ranks.
    fn initialize(&mut self, state: &OptimizerState) -> Result<()> {
        for level in 0..self.stage.quantizers.len() {
            if self.stage.quantizers[level].wants_init() {
                self.initialize_level(state, level)?;
            }
        }
        // All did the same, but adapters may round differently.
        state.copy_parameters()?;
        self.copy_quantizers(state.ranks())
    }

    fn initialize_level(&mut self, state: &OptimizerState, level: usize) -> Result<()> {
        let (params, ranks) = (state.params(), state.ranks());
        // The last level of codes of a quantizer is on its latents' grid.
        let last: usize = self.stage.levels_of_each()[..=level].iter().sum();
        let [h, w] = self.levels[last - 1].grid;
        let per_batch = h * w * self.config.train.images();
        let batches = INIT_LATENTS.div_ceil(per_batch).clamp(1, 16);
        let dim = self.stage.quantizers[level].dim();
        let all = Tensor::empty(&self.gpu, &[batches * per_batch, dim], DType::F32)?;
        let mut at = 0;
        for i in 0..batches {
            let mut own = Vec::new();
            for images in self.parts(ranks, i as u64)? {
                let tape = Tape::no_grad(&self.gpu);
                let pass = ForwardContext::new(&tape, params);
                let rows = self.stage.latents(&pass, &tape.constant(&images), level)?;
                own.push(rows.tensor().clone());
            }
            let rows = ranks.gather_rows(&Tensor::joined(&own)?)?;
            all.copy_into(at, &rows.reshape(&[rows.len()])?)?;
            at += rows.len();
        }
        let tape = Tape::no_grad(&self.gpu);
        self.stage.quantizers[level].initialize(
            &ForwardContext::new(&tape, params),
            &all,
            per_batch,
        )
    }

    fn is_mixed(&self) -> bool {
        self.config.train.precision == Precision::Mixed
    }

    fn wants_init(&self) -> bool {
        self.stage.quantizers.iter().any(|q| q.wants_init())
    }

    /// The norm that gradients are clipped to; infinity where it is measured alone.
    fn max_norm(&self) -> Option<f32> {
        let clip = self.config.train.grad_clip;
        let backed_off = self.monitor.halvings() > 0;
        let clip = match (clip > 0.0, backed_off) {
            (true, true) => Some(clip.min(1.0)),
            (true, false) => Some(clip),
            (false, true) => Some(1.0),
            (false, false) => None,
        };
        // Beside a discriminator, the norm is measured anyway.
        clip.or(self.objective.adversary.is_some().then_some(f32::INFINITY))
    }

    /// Runs `f` with the weights and codes that are measured and kept: those of the moment, or
    /// their average.
    fn kept<T>(
        &mut self,
        state: &mut OptimizerState,
        f: impl FnOnce(&mut Self, &mut OptimizerState) -> Result<T>,
    ) -> Result<T> {
        let exchange = |task: &Self, state: &OptimizerState| match &task.average {
            Some(average) => {
                state.exchange_average()?;
                average.exchange(&task.stage)
            }
            None => Ok(()),
        };
        exchange(self, state)?;
        let found = f(self, state);
        exchange(self, state)?;
        found
    }

    /// Returns the quantization errors of a step.
    fn errors(&self, metrics: &[f32]) -> f32 {
        const ERROR: usize = CodeMetrics::slot("quantization_error");
        (0..self.levels.len())
            .map(|level| metrics[level_slot(level) + ERROR])
            .sum()
    }
}

/// Returns what the codebooks of all ranks saw together, in the order of one rank alone.
fn seen_by_all(ranks: &Ranks, seen: Vec<CodebookBatch>) -> Result<Vec<CodebookBatch>> {
    let of_all = |batch: CodebookBatch| {
        Ok(CodebookBatch {
            latents: ranks.gather_rows(&batch.latents)?,
            index: ranks.gather_rows(&batch.index)?,
            ..batch
        })
    };
    seen.into_iter().map(of_all).collect()
}

impl Task for FirstStageTask {
    type Row = Row;
    type Evaluation = Evaluation;
    const PREFIXES: &'static [&'static str] = &["quantizer.", "adversary.", code_average::PREFIX];

    fn columns(&self) -> (String, String) {
        let names: Vec<&str> = self.levels.iter().map(|l| l.name.as_str()).collect();
        (
            Row::columns(&names, self.objective.adversary.is_some(), self.is_mixed()),
            Evaluation::columns(&names),
        )
    }

    fn join(&mut self, ranks: &Ranks) -> Result<()> {
        spanning::check_ranks(&self.config, &self.stage)?;
        let (gpu, data) = (&self.gpu, self.data.clone());
        self.batches = Batches::share(gpu, &self.config, data, ranks)?;
        let quantizers = self.stage.quantizers.iter_mut();
        self.counts_over_ranks = quantizers.map(|q| q.join(ranks)).collect();
        Ok(())
    }

    fn wants_preparation(&self) -> bool {
        self.wants_init()
    }

    fn prepare(&mut self, state: &mut OptimizerState) -> Result<()> {
        self.initialize(state)
    }

    fn per_step(&self) -> (usize, &'static str) {
        (self.config.train.images(), "images")
    }

    fn kept_files(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        match self.config.data.test_files.as_str() {
            "" => Ok(Vec::new()),
            list => Ok(vec![(TEST_FILES, files::read(list.as_ref(), files::LIST)?)]),
        }
    }

    fn rate(&self, step: u64) -> f64 {
        self.config.train.rate(step) * 0.5f64.powi(self.monitor.halvings() as i32)
    }

    fn step(&mut self, state: &mut OptimizerState) -> Result<()> {
        let step = state.number();
        if self.wants_init() {
            self.initialize(state)?;
        }
        let passes = self.passes(state, step)?;
        let (gradients, judged) = (passes.gradients, passes.judged);
        // What a quantizer does not have stays 0.
        state.metrics().begin()?;
        for (slot, values) in passes.metrics {
            state.metrics().set(slot, &values)?;
        }
        let rate = self.rate(step);
        let learning = |task: &Self, state: &OptimizerState| {
            let scale = state.loss_scale()?;
            let objective = &task.objective;
            objective.learning(&judged, step, state.ranks(), scale.as_ref())
        };
        // In mixed precision both networks move, or neither does.
        let mixed = self.is_mixed();
        let mut others = match mixed {
            true => learning(self, state)?,
            false => None,
        };
        let squares = others.as_ref().and_then(Learning::squares);
        let report = state.update_beside(&gradients, rate, self.max_norm(), squares)?;
        drop(gradients);
        if !mixed {
            others = learning(self, state)?;
        }
        if let Some(report) = &report {
            if mixed {
                state.metrics().set(WIDTH, report)?;
            }
            let slot = GAN_SLOT + const { GanMetrics::slot("gradient_norm") };
            state.metrics().set(slot, &report.view(0, &[1])?)?;
        }
        for (slot, value) in self.objective.learn(others, rate, report.as_ref())? {
            state.metrics().set(GAN_SLOT + slot, &value)?;
        }
        // The latents above were quantized with the old codes; the next batch meets the new ones.
        let each = self.stage.levels_of_each();
        let (mut level, mut seen) = (0, passes.seen.into_iter());
        let quantizers = self.stage.quantizers.iter_mut();
        for ((quantizer, n), counts) in quantizers.zip(each).zip(&self.counts_over_ranks) {
            let own: Vec<_> = seen.by_ref().take(n).flatten().collect();
            let own = match counts {
                true => own,
                false => seen_by_all(state.ranks(), own)?,
            };
            if let Some(revived) = quantizer.learn(state.params(), &own, step)? {
                let slot = level_slot(level) + const { CodeMetrics::slot("revived") };
                state.metrics().set(slot, &revived)?;
            }
            level += n;
        }
        match &mut self.average {
            Some(average) => average.update(&self.stage, step),
            None => Ok(()),
        }
    }

    fn check(&self, steps: &Steps) -> Result<()> {
        const LOSS: usize = LossMetrics::slot("loss");
        let finite = |m: &[f32]| m[LOSS].is_finite() && self.errors(m).is_finite();
        let Some((step, metrics)) = steps.first_bad(finite) else {
            return Ok(());
        };
        let what = if self.errors(metrics).is_finite() {
            format!(
                "the loss is {} at step {step}: training diverged",
                metrics[LOSS]
            )
        } else {
            format!("the latents are not finite at step {step}: the encoder diverged")
        };
        Err(self.diverged(step, &what))
    }

    fn diverged(&self, step: u64, what: &str) -> Error {
        let advice = match self.config.train.auto_heal {
            // It is at it.
            true => "",
            false => "; --auto-recover goes back to the last checkpoint and on at half the rate",
        };
        let halves = match self.is_mixed() {
            true => ", or set train.precision = f32 (f16 holds no activation beyond 65,504)",
            false => "",
        };
        Error::Diverged {
            step,
            what: format!("{what}. Lower train.lr, or set train.grad_clip = 1{halves}{advice}"),
        }
    }

    fn row(&self, steps: &Steps) -> Row {
        let level = |(i, level): (usize, &Level)| LevelRow {
            name: level.name.clone(),
            codes: level.codes(),
            codebooks: level.codebooks,
            metrics: CodeMetrics::of(steps, level_slot(i)),
        };
        let levels = self.levels.iter().enumerate().map(level).collect();
        let mut row = Row::new(steps.step, LossMetrics::of(steps, 0), levels);
        if self.objective.adversary.is_some() {
            row.gan = Some(GanMetrics::of(steps, GAN_SLOT));
        }
        if self.is_mixed() {
            row.precision = Some(PrecisionMetrics::of(steps, WIDTH));
        }
        row
    }

    fn evaluate(&mut self, state: &mut OptimizerState, _last: bool) -> Result<Evaluation> {
        if self.wants_init() {
            self.initialize(state)?;
        }
        let test = self.data.test.clone();
        self.kept(state, |task, state| task.measure(state, &test))
    }

    fn views(&mut self, state: &mut OptimizerState, evaluation: &Evaluation) -> Result<Vec<View>> {
        let size = [self.data.height, self.data.width, self.data.channels];
        let (originals, reconstructions) = self.test_pairs(state, VIEWED)?;
        let mut views = vec![View::Reconstructions {
            size,
            originals,
            reconstructions,
        }];
        views.extend(measure::code_use(evaluation));
        Ok(views)
    }

    fn measurement_cost(&self) -> MeasurementCost {
        let images = self.data.test.len();
        MeasurementCost::of_images(images, images, self.config.train.images())
    }

    fn save(&self, checkpoint: &mut LazyCheckpoint) -> Result<()> {
        self.save_state(checkpoint)
    }

    fn check_checkpoint(&self, checkpoint: &LazyCheckpoint) -> Result<()> {
        self.check_data(checkpoint)
    }

    fn check_state(&self, _: &OptimizerState, checkpoint: &LazyCheckpoint) -> Result<()> {
        self.check_kept(checkpoint)
    }

    fn load(&mut self, state: &mut OptimizerState, checkpoint: &LazyCheckpoint) -> Result<()> {
        self.load_state(state, checkpoint)
    }

    fn trained(&mut self, state: &mut OptimizerState) -> Result<LazyCheckpoint> {
        let tensors = self.weights(state)?;
        let state = crate::inference::loading::describe(&self.config, &self.data);
        Ok(Checkpoint { tensors, state }.into())
    }

    fn waiting(&self) -> Option<DataStall> {
        self.batches.waiting()
    }

    fn recovery(&mut self) -> Option<&mut dyn Recovery<Row>> {
        Some(self)
    }
}
