//! The trainer: a task, its optimiser's state, and what all tasks have in common.

use super::optimizer_state::OptimizerState;
use super::task::{Task, View};
use crate::data::DataStall;
use crate::gpu::{Gpu, MemoryReport, SliceProgress};
use crate::storage::checkpoint::{Checkpoint, LazyCheckpoint};
use crate::{Error, Result};
use std::path::Path;
use std::time::Duration;

/// Something in training.
pub struct Trainer<T: Task> {
    gpu: Gpu,
    pub(crate) task: T,
    pub(crate) state: OptimizerState,
    /// Whether other ranks do what this trainer does.
    pub(super) leads: bool,
}

impl<T: Task> Trainer<T> {
    /// Creates a trainer of a task and the parameters that it trains.
    pub fn of(gpu: &Gpu, task: T, state: OptimizerState) -> Trainer<T> {
        Trainer {
            gpu: gpu.clone(),
            task,
            state,
            leads: false,
        }
    }

    /// The engine that it trains on.
    pub(crate) fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Returns the task.
    pub fn task(&self) -> &T {
        &self.task
    }

    /// Steps done.
    pub fn step_number(&self) -> u64 {
        self.state.number()
    }

    /// Trained numbers; a codebook that moves by an average is not counted.
    pub fn parameter_count(&self) -> usize {
        self.state.params().count()
    }

    /// Returns the device memory that the engine holds, and its peak.
    pub fn memory(&self) -> MemoryReport {
        self.gpu.memory()
    }

    /// Returns how long training waited for its data so far; `None` where they lie ready.
    pub fn waiting(&self) -> Option<DataStall> {
        self.task.waiting()
    }

    /// One training step. Records and submits; waits only for the step before the last.
    ///
    /// # Errors
    /// If the device fails.
    pub fn step(&mut self) -> Result<()> {
        self.tell_step()?;
        self.task.step(&mut self.state)?;
        self.state.finish_step()
    }

    /// [`Trainer::step`] without blocking the thread: in browsers, and where the host polls the
    /// device. The bytes are the same.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub async fn step_async(&mut self) -> Result<()> {
        self.task.step(&mut self.state)?;
        self.state.finish_step_async().await
    }

    /// Trains for about `budget`, a part of a step or several, and leaves the rest of a step to the
    /// next call: for a render loop. The bytes are those of [`Trainer::step`]. See
    /// [`Gpu::run_for_budget`] for the rules; a step counts in [`Trainer::step_number`] once it is
    /// recorded.
    ///
    /// # Errors
    /// If the device fails.
    pub fn step_for(&mut self, budget: Duration) -> Result<SliceProgress> {
        let gpu = self.gpu.clone();
        gpu.run_for_budget(budget, || self.step().map(|()| true))
    }

    /// The next row of the log that has arrived; with `wait`, the next on its way.
    ///
    /// # Errors
    /// [`Error::Diverged`](crate::Error::Diverged) if a metric is not finite.
    pub fn next_row(&mut self, wait: bool) -> Result<Option<T::Row>> {
        let Some(steps) = self.state.metrics_mut().next(wait)? else {
            return Ok(None);
        };
        self.task.check(&steps)?;
        Ok(Some(self.task.row(&steps)))
    }

    /// The rows of the log that have arrived; with `wait`, all that are on their way.
    ///
    /// # Errors
    /// As [`Trainer::next_row`].
    pub fn rows(&mut self, wait: bool) -> Result<Vec<T::Row>> {
        std::iter::from_fn(|| self.next_row(wait).transpose()).collect()
    }

    /// Ends the row that is being gathered, whatever its length.
    ///
    /// # Errors
    /// If the device fails.
    pub fn close_row(&mut self) -> Result<()> {
        let step = self.state.number();
        self.state.metrics_mut().close(step)
    }

    /// Measures on what is held out; a full measurement after the `last` step, if it is expensive.
    ///
    /// # Errors
    /// If the device fails.
    pub fn measure(&mut self, last: bool) -> Result<T::Evaluation> {
        self.prepare()?;
        self.task.evaluate(&mut self.state, last)
    }

    /// [`Trainer::measure`], and [`Trainer::views`] of what was measured, without blocking the
    /// thread; see [`Gpu::read_ahead`].
    ///
    /// # Errors
    /// As [`Trainer::measure`].
    pub async fn measure_async(&mut self, last: bool) -> Result<(T::Evaluation, Vec<View>)> {
        let gpu = self.gpu.clone();
        gpu.read_ahead(|| {
            let evaluation = self.measure(last)?;
            let views = self.views(&evaluation)?;
            Ok((evaluation, views))
        })
        .await
    }

    /// Returns what there is to be seen of the model as it was measured.
    ///
    /// # Errors
    /// If the device fails.
    pub fn views(&mut self, evaluation: &T::Evaluation) -> Result<Vec<View>> {
        self.task.views(&mut self.state, evaluation)
    }

    /// All that going on from here needs: weights, optimiser, and the step, from which data order
    /// and random numbers follow.
    ///
    /// # Errors
    /// If the device fails.
    pub fn checkpoint(&mut self) -> Result<Checkpoint> {
        self.saved()?.in_memory()
    }

    /// [`Trainer::checkpoint`] of tensors that are read one at a time: they are to be read before
    /// the next step.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn saved(&self) -> Result<LazyCheckpoint> {
        let mut checkpoint = self.state.saved()?;
        self.task.save(&mut checkpoint)?;
        Ok(checkpoint)
    }

    /// [`Trainer::checkpoint`] without blocking the thread; see [`Gpu::read_ahead`].
    ///
    /// # Errors
    /// As [`Trainer::checkpoint`].
    pub async fn checkpoint_async(&mut self) -> Result<Checkpoint> {
        let gpu = self.gpu.clone();
        gpu.read_ahead(|| self.checkpoint()).await
    }

    /// Goes back to the step at which `checkpoint` was made.
    ///
    /// # Errors
    /// If it belongs to another architecture or another data set, or lacks something; the trainer
    /// is as it was then.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.restore_from(&checkpoint.clone().into())
    }

    /// [`Trainer::restore`] from tensors that are read one at a time.
    ///
    /// # Errors
    /// As [`Trainer::restore`], and if one cannot be read.
    pub(crate) fn restore_from(&mut self, checkpoint: &LazyCheckpoint) -> Result<()> {
        // All of it before anything is replaced.
        self.task.check_checkpoint(checkpoint)?;
        self.state.check(checkpoint, T::PREFIXES)?;
        self.task.check_state(&self.state, checkpoint)?;
        self.state.load(checkpoint, T::PREFIXES)?;
        self.task.load(&mut self.state, checkpoint)?;
        // What was loaded: what the others keep shares of is not of this state yet.
        self.share_loaded(checkpoint)
    }

    /// Writes what [`Trainer::checkpoint`] returns to a model file, a tensor at a time: what is
    /// written takes no memory beside the model's.
    ///
    /// # Errors
    /// If the device fails, or the file cannot be written: one that was there is as it was then.
    pub fn save_to(&self, path: &Path) -> Result<()> {
        self.saved()?.write(path, |_, _, _| Ok(())).map(drop)
    }

    /// Goes back to the step at which [`Trainer::save_to`] wrote a file, which is read a tensor at
    /// a time.
    ///
    /// # Errors
    /// If it is damaged, or of another architecture or another data set; the trainer is as it was
    /// then.
    pub fn restore_file(&mut self, path: &Path) -> Result<()> {
        let checkpoint = LazyCheckpoint::open_whole(path)?;
        let restored = self.restore_from(&checkpoint);
        restored.map_err(|e| Error::file(path, e))
    }

    /// Returns the SHA-256 of all tensors of a checkpoint: of trainers that stand at the same
    /// numbers it is the same.
    ///
    /// # Errors
    /// If the device fails.
    pub fn tensor_sum(&self) -> Result<String> {
        self.saved()?.sum_of(|_| true)
    }

    /// Checks that all that this checkpoint holds is finite. One that is not would be gone back to
    /// in vain.
    ///
    /// # Errors
    /// [`Error::Diverged`](crate::Error::Diverged) if not.
    pub fn check(&self, checkpoint: &Checkpoint) -> Result<()> {
        self.check_saved(&checkpoint.clone().into())
    }

    /// [`Trainer::check`] of tensors that are read one at a time.
    ///
    /// # Errors
    /// As [`Trainer::check`], and if one cannot be read.
    pub(crate) fn check_saved(&self, checkpoint: &LazyCheckpoint) -> Result<()> {
        self.check_row(&checkpoint.state)?;
        match checkpoint.first_not_finite()? {
            Some(name) => Err(self.not_finite(&checkpoint.state, name)),
            None => Ok(()),
        }
    }

    /// Checks the steps of a checkpoint's row that is not full yet, whom nothing has looked at.
    pub(super) fn check_row(&self, state: &serde_json::Value) -> Result<()> {
        self.task.check(&self.state.open_row(state))
    }

    /// The error of a checkpoint in which something is not finite.
    pub(super) fn not_finite(&self, state: &serde_json::Value, name: &str) -> Error {
        let step = state["step"].as_u64().unwrap_or(self.state.number());
        let what = format!("`{name}` is not finite at step {step}: training diverged");
        self.task.diverged(step, &what)
    }

    /// Returns the trained model, as inference reads it.
    ///
    /// # Errors
    /// If the device fails.
    pub fn trained(&mut self) -> Result<Checkpoint> {
        self.saved_model()?.in_memory()
    }

    /// [`Trainer::trained`] of tensors that are read one at a time: they are to be read before the
    /// next step.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn saved_model(&mut self) -> Result<LazyCheckpoint> {
        self.task.trained(&mut self.state)
    }

    /// [`Trainer::trained`] without blocking the thread; see [`Gpu::read_ahead`].
    ///
    /// # Errors
    /// As [`Trainer::trained`].
    pub async fn trained_async(&mut self) -> Result<Checkpoint> {
        let gpu = self.gpu.clone();
        gpu.read_ahead(|| self.trained()).await
    }

    /// Tells the task that the run's folder was moved from `from` to `to`.
    pub(crate) fn relocate(&mut self, from: &Path, to: &Path) -> Result<()> {
        self.task.relocate(from, to);
        self.tell_place(from, to)
    }
}
