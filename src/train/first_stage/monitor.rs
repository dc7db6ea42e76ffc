//! The monitor of a first stage in training: warnings from its rows, and recovery from a collapse,
//! a loss that runs away or a discriminator that breaks the model.

use super::FirstStageTask;
use super::health::{Capacity, Health, Warning};
use crate::metrics::Row;
use crate::models::Level;
use crate::objective::guard::{Guard, Sample};
use crate::storage::checkpoint::LazyCheckpoint;
use crate::trainer::task::{BackOff, Recovery, Task, check_loss_scale};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Steps between those at which a run recovers, where it may.
const RECOVER_EVERY: u64 = 100;

/// Observations of a run, and the state of its recovery.
pub(super) struct Monitor {
    /// Health of each level's codebook.
    health: Vec<Health>,
    guard: Guard,
    /// Warnings that the user has not been given yet.
    warnings: Vec<Warning>,
    recovery: RecoveryState,
}

/// Changes that a recovering run has made, and those due at the next step at which this is done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct RecoveryState {
    collapse_due: bool,
    runaway_due: bool,
    revives: bool,
    /// Times that the learning rate was halved.
    halvings: u32,
}

impl Monitor {
    /// Creates the monitor of a run with so many levels.
    pub(super) fn new(levels: usize) -> Monitor {
        Monitor {
            health: vec![Health::default(); levels],
            guard: Guard::default(),
            warnings: Vec::new(),
            recovery: RecoveryState::default(),
        }
    }

    /// Times that the learning rate was halved.
    pub(super) fn halvings(&self) -> u32 {
        self.recovery.halvings
    }

    /// Whether dead codes are placed anew because a codebook collapsed.
    pub(super) fn revives(&self) -> bool {
        self.recovery.revives
    }

    /// Adds what it keeps to a checkpoint's state.
    pub(super) fn save(&self, state: &mut serde_json::Value) {
        state["health"] = serde_json::json!(self.health);
        state["cures"] = serde_json::json!(self.recovery);
        state["guard"] = serde_json::json!(self.guard);
    }

    /// Goes back to what [`Monitor::save`] kept.
    pub(super) fn load(&mut self, state: &serde_json::Value) -> Result<()> {
        (self.health, self.recovery, self.guard) = self.taken(state)?;
        self.warnings.clear();
        Ok(())
    }

    /// Checks that [`Monitor::load`] takes a state.
    pub(super) fn check(&self, state: &serde_json::Value) -> Result<()> {
        self.taken(state).map(drop)
    }

    fn taken(&self, state: &serde_json::Value) -> Result<(Vec<Health>, RecoveryState, Guard)> {
        let damaged = |e: serde_json::Error| {
            Error::data(format!("the checkpoint's state cannot be used: {e}"))
        };
        let part = |key: &str| state[key].clone();
        let health: Vec<Health> = serde_json::from_value(part("health")).map_err(damaged)?;
        if health.len() != self.health.len() {
            let (found, own) = (health.len(), self.health.len());
            let what = format!("the checkpoint's state is of {found} levels, the model has {own}");
            return Err(Error::data(what));
        }
        let recovery = serde_json::from_value(part("cures")).map_err(damaged)?;
        let guard = serde_json::from_value(part("guard")).map_err(damaged)?;
        Ok((health, recovery, guard))
    }

    fn resolved(&mut self) {
        self.health.iter_mut().for_each(Health::resolved);
    }
}

impl FirstStageTask {
    /// Begins to place dead codes anew at every level that can and does not yet; says whether one
    /// did.
    pub(super) fn begin_revival(&mut self) -> bool {
        // All of them, whatever the first one says.
        let quantizers = self.stage.quantizers.iter_mut();
        let began: Vec<bool> = quantizers.map(|q| q.begin_revival()).collect();
        began.contains(&true)
    }

    /// Goes on at half the learning rate from a step on, with clipped gradients. Returns what was
    /// done.
    fn halve_rate(&mut self, step: u64) -> String {
        self.monitor.recovery.halvings += 1;
        self.monitor.resolved();
        format!(
            "step {step}: from here on at a learning rate of {:e}, gradients clipped to 1",
            self.rate(step) as f32
        )
    }

    /// Whether the discriminator takes part in the step that is the `step`-th.
    fn is_adversarial(&self, step: u64) -> bool {
        self.objective.adversary.is_some() && self.config.gan.share(step.saturating_sub(1)) > 0.0
    }

    /// Warns of codebooks that collapse and of a loss that runs away.
    fn warn(&mut self, row: &Row) {
        for (i, level) in self.levels.iter().enumerate() {
            let capacity = Capacity {
                codes: level.codebook_size * level.codebooks,
                choices: Level::codes(level) * self.config.train.images(),
            };
            let options =
                crate::inference::first_stage::options(&self.config, self.stage.quantizer_of(i));
            let monitor = &mut self.monitor;
            for warning in monitor.health[i].observe(&row.of_level(i), capacity, &options) {
                match &warning {
                    Warning::Collapse(_) => monitor.recovery.collapse_due = true,
                    // The loss is that of all levels: one word of it is enough.
                    Warning::Runaway(_) if i > 0 => continue,
                    Warning::Runaway(_) => monitor.recovery.runaway_due = true,
                }
                monitor.warnings.push(warning.at_level(&level.name));
            }
        }
    }
}

impl Recovery<Row> for FirstStageTask {
    fn observe(&mut self, row: &Row) -> Result<()> {
        self.warn(row);
        if let Some(p) = &row.precision {
            let steps = self.config.train.log_every.min(row.step);
            check_loss_scale(row.step, p.loss_scale, p.skipped_steps, steps)?;
        }
        let (Some(gan), true) = (&row.gan, self.config.gan.guard) else {
            return Ok(());
        };
        // A step whose gradients overflow is skipped, and no sign of a collapse.
        let skipped = row.precision.is_some_and(|p| p.skipped_steps > 0.0);
        let norm = match gan.gradient_norm {
            norm if skipped && !norm.is_finite() => f64::NAN,
            norm => norm,
        };
        let sample = Sample {
            step: row.step,
            reconstruction: row.losses.reconstruction,
            used: row.codes.used,
            norm,
            adversarial: self.is_adversarial(row.step),
        };
        let Some(what) = self.monitor.guard.observe(sample) else {
            return Ok(());
        };
        let way_out = "lower gan.weight or gan.lr, or start the discriminator later (gan.start)";
        Err(Error::Diverged {
            step: row.step,
            what: format!("{what}. Where that does not help: {way_out}"),
        })
    }

    fn warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.monitor.warnings)
            .into_iter()
            .map(|warning| warning.text().to_owned())
            .collect()
    }

    fn is_due(&self, step: u64) -> bool {
        self.config.train.auto_heal && step.is_multiple_of(RECOVER_EVERY)
    }

    fn recover(&mut self, step: u64) -> Vec<String> {
        let mut done = Vec::new();
        if std::mem::take(&mut self.monitor.recovery.collapse_due) && self.begin_revival() {
            self.monitor.recovery.revives = true;
            self.monitor.resolved();
            done.push(format!("step {step}: from here on dead codes are revived"));
        }
        if std::mem::take(&mut self.monitor.recovery.runaway_due) {
            done.push(self.halve_rate(step));
        }
        done
    }

    fn can_restore(&self) -> bool {
        self.config.train.auto_heal || (self.config.gan.guard && self.objective.adversary.is_some())
    }

    fn back_off(&self, step: u64) -> Option<BackOff> {
        match &self.objective.adversary {
            // Before it takes part, it is not what a run diverges by.
            Some(adversary) if self.config.gan.guard && self.is_adversarial(step) => {
                Some(BackOff::Discriminator(adversary.halvings()))
            }
            _ => self
                .config
                .train
                .auto_heal
                .then_some(BackOff::Rate(self.monitor.halvings())),
        }
    }

    fn accepts(&self, checkpoint: &LazyCheckpoint, failed: Option<u64>) -> bool {
        let guard: Option<Guard> = serde_json::from_value(checkpoint.state["guard"].clone()).ok();
        let step = checkpoint.state["step"].as_u64().unwrap_or(u64::MAX);
        // A model that a discriminator broke was sound before. One that diverges by itself again
        // may have been about to at the checkpoint.
        let before = failed.is_none_or(|failed| step < failed || self.is_adversarial(failed));
        guard.is_some_and(|guard| guard.is_sound()) && before
    }

    fn apply(&mut self, step: u64, back_off: BackOff) -> String {
        let mut note = String::new();
        match (back_off, &mut self.objective.adversary) {
            (BackOff::Discriminator(times), Some(adversary)) => {
                while adversary.halvings() <= times {
                    note = adversary.weaken();
                }
            }
            (BackOff::Rate(times) | BackOff::Discriminator(times), _) => {
                while self.monitor.halvings() <= times {
                    note = self.halve_rate(step);
                }
            }
        }
        note
    }
}
