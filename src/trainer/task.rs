//! Tasks, as the [`Trainer`](super::Trainer) sees them: a first stage, a prior, a contrastive
//! model.

use super::optimizer_state::OptimizerState;
use crate::data::DataStall;
use crate::gpu::Tensor;
use crate::metrics::{Steps, metrics};
use crate::nn::Handle;
use crate::pace::MeasurementCost;
use crate::parallel::Ranks;
use crate::storage::checkpoint::LazyCheckpoint;
use crate::storage::metrics_log::Record;
use crate::{Error, Result};
use std::fmt::Display;
use std::path::Path;

/// Something that can be trained. Steps record and submit; only reading metrics waits for the
/// device.
pub trait Task {
    /// A row of the training log.
    type Row: Record + Display;
    /// A measurement on images held out.
    type Evaluation: Record + Display;
    /// Prefixes under which a checkpoint keeps tensors of the task's own.
    const PREFIXES: &'static [&'static str];

    /// Those among them, or beginnings of such, under which rank 0 alone keeps tensors.
    const OF_RANK_0: &'static [&'static str] = &[];

    /// Takes a share of each step's images, as one of several ranks.
    ///
    /// # Errors
    /// If the task cannot be shared, as by default; the message names what spans the ranks.
    fn join(&mut self, ranks: &Ranks) -> Result<()> {
        let what = format!(
            "this training runs in one process alone, and was started in {}: start it without \
             mpirun",
            ranks.size()
        );
        Err(Error::invalid("ranks", what))
    }

    /// Whether something is to be done before the first step; see [`Task::prepare`].
    fn wants_preparation(&self) -> bool {
        false
    }

    /// Does what comes before the first step or measurement. All ranks do it together.
    ///
    /// # Errors
    /// If the device fails.
    fn prepare(&mut self, state: &mut OptimizerState) -> Result<()> {
        let _ = state;
        Ok(())
    }

    /// Names of the columns of rows and of measurements.
    fn columns(&self) -> (String, String) {
        (Self::Row::header(), Self::Evaluation::header())
    }

    /// Returns the number of units that a step takes, and the unit's name.
    fn per_step(&self) -> (usize, &'static str);

    /// Returns the learning rate of a step.
    fn rate(&self, step: u64) -> f64;

    /// Records a step: forward, backward, and the update of the parameters. The trainer ends it.
    ///
    /// # Errors
    /// If the device fails.
    fn step(&mut self, state: &mut OptimizerState) -> Result<()>;

    /// Checks that the steps of a row, or of a part of one, are in order.
    ///
    /// # Errors
    /// [`Error::Diverged`] if a metric is not finite.
    fn check(&self, steps: &Steps) -> Result<()>;

    /// The error of a run in which something named is not finite after a step.
    fn diverged(&self, step: u64, what: &str) -> Error;

    /// Returns the row of the log that these steps make.
    fn row(&self, steps: &Steps) -> Self::Row;

    /// Measures; a full measurement after the last step, if it is expensive.
    ///
    /// # Errors
    /// If the device fails.
    fn evaluate(&mut self, state: &mut OptimizerState, last: bool) -> Result<Self::Evaluation>;

    /// Returns what there is to be seen of the model as it was measured; nothing by default.
    ///
    /// # Errors
    /// If the device fails.
    fn views(
        &mut self,
        state: &mut OptimizerState,
        evaluation: &Self::Evaluation,
    ) -> Result<Vec<View>> {
        let _ = (state, evaluation);
        Ok(Vec::new())
    }

    /// Returns files that the run's folder keeps of what it is trained on, by their names: lists
    /// that the configuration names. None by default.
    ///
    /// # Errors
    /// If one cannot be read.
    fn kept_files(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        Ok(Vec::new())
    }

    /// Returns what a measurement is worth in steps, as far as it can be told before the first.
    fn measurement_cost(&self) -> MeasurementCost {
        MeasurementCost::default()
    }

    /// Adds to a checkpoint what the task needs to go on, its tensors under [`Task::PREFIXES`].
    ///
    /// # Errors
    /// If the device fails.
    fn save(&self, checkpoint: &mut LazyCheckpoint) -> Result<()>;

    /// Checks that a checkpoint belongs to these data and this model. Called before anything is
    /// loaded.
    ///
    /// # Errors
    /// If not.
    fn check_checkpoint(&self, checkpoint: &LazyCheckpoint) -> Result<()>;

    /// Checks that [`Task::load`] takes what a checkpoint holds of the task. Called before anything
    /// is loaded; `state` has not gone back yet. By default nothing is checked.
    ///
    /// # Errors
    /// If something is missing, or is another model's.
    fn check_state(&self, state: &OptimizerState, checkpoint: &LazyCheckpoint) -> Result<()> {
        let _ = (state, checkpoint);
        Ok(())
    }

    /// Goes back to what [`Task::save`] kept; `state` has gone back already.
    ///
    /// # Errors
    /// If it is another model's.
    fn load(&mut self, state: &mut OptimizerState, checkpoint: &LazyCheckpoint) -> Result<()>;

    /// Returns the trained model, as inference reads it.
    ///
    /// # Errors
    /// If the device fails.
    fn trained(&mut self, state: &mut OptimizerState) -> Result<LazyCheckpoint>;

    /// Tells the task that the run's folder was moved from `from` to `to`.
    fn relocate(&mut self, from: &Path, to: &Path) {
        let _ = (from, to);
    }

    /// Returns how long training waited for its data so far; `None` where they lie ready.
    fn waiting(&self) -> Option<DataStall> {
        None
    }

    /// Returns the recovery of a task that can recover from divergence by itself.
    fn recovery(&mut self) -> Option<&mut dyn Recovery<Self::Row>> {
        None
    }
}

/// Something of a model that is looked at.
#[derive(Clone, Debug, PartialEq)]
pub enum View {
    /// Some images held out, and their reconstructions: u8 NHWC each.
    Reconstructions {
        /// Height, width and channels of an image.
        size: [usize; 3],
        /// The images.
        originals: Vec<u8>,
        /// The model's reconstructions of them.
        reconstructions: Vec<u8>,
    },
    /// The use of each code of a codebook.
    CodeUse {
        /// The codebook.
        name: String,
        /// The number of uses of each code.
        counts: Vec<u64>,
    },
}

/// A task that watches its rows, warns, and recovers from divergence where its configuration allows
/// it. All of it follows from the rows and the steps alone, so that a resumed run does the same.
pub trait Recovery<Row> {
    /// Looks at one more row of the log.
    ///
    /// # Errors
    /// [`Error::Diverged`] if the run has broken.
    fn observe(&mut self, row: &Row) -> Result<()>;

    /// Returns the warnings of the rows so far, each once.
    fn warnings(&mut self) -> Vec<String>;

    /// Whether [`Recovery::recover`] is due at this step. All rows are observed then.
    fn is_due(&self, step: u64) -> bool;

    /// Recovers from what the rows showed. Returns what was done.
    fn recover(&mut self, step: u64) -> Vec<String>;

    /// Whether the run may go back by itself where it diverges. Then there is a checkpoint from the
    /// first step on.
    fn can_restore(&self) -> bool;

    /// Returns how it would go on more carefully after it diverged at a step; `None` where it would
    /// not.
    fn back_off(&self, step: u64) -> Option<BackOff>;

    /// Whether a run that diverged may go back to this checkpoint. `failed` is the step of the one
    /// that it went back to before, where it diverged again and came to no other.
    fn accepts(&self, checkpoint: &LazyCheckpoint, failed: Option<u64>) -> bool;

    /// After the run went back to the checkpoint of a step because it diverged: goes on more
    /// carefully, once more than `back_off` says. Returns what was done.
    fn apply(&mut self, step: u64, back_off: BackOff) -> String;
}

/// The change with which a run that diverged goes on, and how often it was made before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackOff {
    /// A lower learning rate.
    Rate(u32),
    /// A weaker discriminator.
    Discriminator(u32),
}

impl BackOff {
    /// Returns how often it was made before.
    pub fn times(self) -> u32 {
        let (BackOff::Rate(times) | BackOff::Discriminator(times)) = self;
        times
    }
}

metrics! {
    /// The metrics of a step with one loss. The last three are those that
    /// [`OptimizerState::update`] measures.
    pub struct StepMetrics {
        /// The loss.
        loss: 0, Mean, "{:.6e}";
        /// Norm of the gradients before they are clipped.
        gradient_norm: 1, Mean, "{:.4e}";
        /// The factor that clipped them.
        clip_factor: 2, Mean, "{:.4e}";
        /// Whether all gradients were finite, 1 or 0; where not, the step was skipped.
        finite: 3, Mean, "{:.4}";
    }
}

/// Checks the losses of steps with [`StepMetrics`].
///
/// # Errors
/// If one is not finite: the step, and `advice`.
pub(crate) fn check_losses(steps: &Steps, advice: &str) -> Result<()> {
    const LOSS: usize = StepMetrics::slot("loss");
    let Some((step, metrics)) = steps.first_bad(|m| m[LOSS].is_finite()) else {
        return Ok(());
    };
    let what = format!(
        "the loss is {} at step {step}: training diverged. {advice}",
        metrics[LOSS]
    );
    Err(Error::Diverged { step, what })
}

/// Moves the parameters along the gradients of a step's one loss, and leaves its [`StepMetrics`].
pub(crate) fn descend(
    state: &mut OptimizerState,
    loss: &Tensor,
    gradients: &[(Handle, Tensor)],
    rate: f64,
    max_norm: f32,
) -> Result<()> {
    state.metrics().begin()?;
    state
        .metrics()
        .set(const { StepMetrics::slot("loss") }, loss)?;
    if let Some(report) = state.update(gradients, rate, Some(max_norm))? {
        // The norm, the factor of the clipping, and whether all were finite.
        state
            .metrics()
            .set(const { StepMetrics::slot("gradient_norm") }, &report)?;
    }
    Ok(())
}

/// Checks that mixed precision gets on: at the least loss scale most of a row's `steps` have finite
/// gradients.
///
/// # Errors
/// If they have not; the message says what to set.
pub(crate) fn check_loss_scale(step: u64, scale: f64, skipped: f64, steps: u64) -> Result<()> {
    // One of several steps may overflow.
    if scale > 1.0 || 2.0 * skipped <= steps as f64 {
        return Ok(());
    }
    let what = "gradients are not finite at a loss scale of 1, the least: activations are beyond \
                what f16 holds. Set train.precision = f32, or lower train.lr";
    Err(Error::Diverged {
        step,
        what: what.into(),
    })
}

/// Steps of a row that were skipped because a gradient was not finite.
pub(crate) fn skipped(steps: &Steps) -> u64 {
    const FINITE: usize = StepMetrics::slot("finite");
    steps.each().filter(|m| m[FINITE] == 0.0).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_precision_that_gets_nowhere_ends() {
        assert!(check_loss_scale(40, 2.0, 20.0, 20).is_ok());
        assert!(check_loss_scale(40, 1.0, 10.0, 20).is_ok());
        assert!(check_loss_scale(40, 1.0, 0.0, 0).is_ok());
        let stuck = check_loss_scale(40, 1.0, 11.0, 20).unwrap_err();
        assert!(matches!(stuck, Error::Diverged { step: 40, .. }));
        assert!(stuck.to_string().contains("train.precision = f32"));
    }
}
