//! Configurations of runs that go on where they stopped: what of one may change.

use crate::Result;
use crate::config::DottedConfig;
use crate::config::learning_rate;

/// The length of a run, and the steps over which its learning rate rises and falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepSchedule {
    /// Steps in all.
    pub steps: u64,
    /// Steps in which the rate rises.
    pub warmup: u64,
    /// Steps in which it then falls; 0 is none.
    pub decay_steps: u64,
}

/// Number in an identity that stands for steps of decay that reach to the last step, whichever that
/// is. No configuration may have it.
const TO_THE_END: u64 = (1 << 40) + 1;

impl StepSchedule {
    /// Whether the rate falls until the last step.
    fn falls_to_the_end(&self) -> bool {
        self.decay_steps > 0
            && self.decay_steps == learning_rate::to_the_end(self.steps, self.warmup)
    }
}

/// The configuration of a run that may go on for more steps than it began with.
pub trait Resumable: DottedConfig {
    /// Returns its schedule.
    fn schedule(&self) -> StepSchedule;
    /// Returns the configuration with other steps of decay.
    fn decaying(self, decay_steps: u64) -> Self;
    /// A hash of what a resumed run may not change, in which steps of decay stand as they are.
    ///
    /// # Errors
    /// As [`DottedConfig::to_toml`].
    fn plain_identity(&self) -> Result<String>;
    /// Returns the values of [`Resumable::identity`] in earlier versions, for a configuration whose
    /// folder has `kept` in its place.
    ///
    /// # Errors
    /// As [`DottedConfig::to_toml`].
    fn earlier_identities(&self, kept: &Self) -> Result<Vec<String>>;

    /// A hash of what a resumed run may not change. A learning rate that falls until the last step
    /// does so wherever that is.
    ///
    /// # Errors
    /// As [`DottedConfig::to_toml`].
    fn identity(&self) -> Result<String> {
        if self.schedule().falls_to_the_end() {
            self.identity_to_the_end()
        } else {
            self.plain_identity()
        }
    }

    /// The identity of a run whose learning rate falls until its last step.
    ///
    /// # Errors
    /// As [`DottedConfig::to_toml`].
    fn identity_to_the_end(&self) -> Result<String> {
        self.clone().decaying(TO_THE_END).plain_identity()
    }

    /// Returns this configuration after `set`, and whether that set the steps of decay: they are
    /// then as they were asked for, and not those of [`Resumable::resumed_from`].
    ///
    /// # Errors
    /// If `set` fails.
    fn after(&self, set: impl FnOnce(&mut Self) -> Result<()>) -> Result<(Self, bool)> {
        let mut config = self.clone().decaying(TO_THE_END);
        set(&mut config)?;
        if config.schedule().decay_steps == TO_THE_END {
            Ok((config.decaying(self.schedule().decay_steps), false))
        } else {
            Ok((config, true))
        }
    }

    /// Returns the configuration for a run that has `kept` in its folder: where the learning rate
    /// fell until the last step there, it falls until the last step here, however many steps were
    /// added.
    fn resumed_from(self, kept: &Self) -> Self {
        let (now, before) = (self.schedule(), kept.schedule());
        let same = now.decay_steps == before.decay_steps && now.warmup == before.warmup;
        if same && before.falls_to_the_end() {
            self.falling_to_the_end()
        } else {
            self
        }
    }

    /// Returns the configuration with a learning rate that falls until the last step.
    fn falling_to_the_end(self) -> Self {
        let StepSchedule { steps, warmup, .. } = self.schedule();
        self.decaying(learning_rate::to_the_end(steps, warmup))
    }
}
