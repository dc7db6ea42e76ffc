//! Under which configuration a run goes on: what of it may change, and what follows from other steps.

use super::keyed::Keyed;
use super::run_folder::RunFolder;
use super::{Start, checkpoint, learning_rate};
use crate::Result;

/// How long a run is, and the steps over which its learning rate rises and falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Steps in all.
    pub steps: u64,
    /// Steps in which the rate rises.
    pub warmup: u64,
    /// Steps in which it then falls; 0 is none.
    pub decay_steps: u64,
}

/// What stands in an identity for steps of decay that reach to the last step, whichever that is. No configuration may have it.
const TO_THE_END: u64 = (1 << 40) + 1;

impl Span {
    /// Does the rate fall until the last step?
    fn falls_to_the_end(&self) -> bool {
        self.decay_steps > 0 && self.decay_steps == learning_rate::to_the_end(self.steps, self.warmup)
    }
}

/// The configuration of a run that may go on for more steps than it began with.
pub trait Lasting: Keyed {
    /// How long it is.
    fn span(&self) -> Span;
    /// The same with other steps of decay.
    fn decaying(self, decay_steps: u64) -> Self;
    /// A hash of what a resumed run may not change, in which steps of decay stand as they are.
    ///
    /// # Errors
    /// As [`Keyed::to_toml`].
    fn plain_identity(&self) -> Result<String>;
    /// What [`Lasting::identity`] was in earlier versions, for a configuration whose folder has `kept` in its place.
    ///
    /// # Errors
    /// As [`Keyed::to_toml`].
    fn earlier_identities(&self, kept: &Self) -> Result<Vec<String>>;

    /// A hash of what a resumed run may not change. A learning rate that falls until the last step does so wherever that is.
    ///
    /// # Errors
    /// As [`Keyed::to_toml`].
    fn identity(&self) -> Result<String> {
        if self.span().falls_to_the_end() { self.identity_to_the_end() } else { self.plain_identity() }
    }

    /// The identity of a run whose learning rate falls until its last step.
    ///
    /// # Errors
    /// As [`Keyed::to_toml`].
    fn identity_to_the_end(&self) -> Result<String> {
        self.clone().decaying(TO_THE_END).plain_identity()
    }

    /// The same for a run that has `kept` in its folder: where the learning rate fell until the last step there, it falls until the
    /// last step here, however many steps were added.
    fn going_on(self, kept: &Self) -> Self {
        let (now, before) = (self.span(), kept.span());
        let same = now.decay_steps == before.decay_steps && now.warmup == before.warmup;
        if same && before.falls_to_the_end() { self.falling_to_the_end() } else { self }
    }

    /// The same with a learning rate that falls until the last step.
    fn falling_to_the_end(self) -> Self {
        let Span { steps, warmup, .. } = self.span();
        self.decaying(learning_rate::to_the_end(steps, warmup))
    }
}

/// The configuration under which a run goes on in `folder`, and the identities by which earlier versions may have known it.
pub(super) fn configured<C: Lasting>(config: C, folder: &RunFolder, start: Start) -> Result<(C, Vec<String>)> {
    if start == Start::Fresh {
        return Ok((config, Vec::new()));
    }
    // Where the folder's cannot be read, the one that is asked for is held against the checkpoints alone.
    let Ok(kept) = C::load(&folder.config()) else { return Ok((config, Vec::new())) };
    let mut config = config.going_on(&kept);
    // The folder's own may have been given other steps by hand: then the checkpoints know that the rate fell until the last.
    let Span { warmup, decay_steps, .. } = config.span();
    if let Some((step, identity)) = checkpoint::newest(&folder.checkpoints())?
        && decay_steps > 0
        && warmup.saturating_add(decay_steps) >= step
        && config.identity_to_the_end()? == identity
    {
        config = config.falling_to_the_end();
    }
    let earlier = config.earlier_identities(&kept)?;
    Ok((config, earlier))
}

#[cfg(test)]
mod tests {
    use super::super::config::RunConfig;
    use super::super::prior_config::PriorConfig;
    use super::*;

    fn prior(steps: u64, decay_steps: u64) -> PriorConfig {
        let mut config = PriorConfig::default();
        (config.train.steps, config.train.warmup, config.train.decay_steps) = (steps, 100, decay_steps);
        config.resolved()
    }

    #[test]
    fn a_rate_that_falls_to_the_end_does_so_over_other_steps_too() {
        let (short, long) = (prior(1000, 0), prior(3000, 0));
        let mut more = short.clone();
        more.train.steps = 3000;
        assert_ne!(more.identity().unwrap(), short.identity().unwrap(), "its rate would stay at the least");
        let more = more.going_on(&short);
        assert_eq!(more, long);
        assert_eq!(more.identity().unwrap(), short.identity().unwrap());
        assert_eq!(more.clone().going_on(&short), more);
        // One that was to end before is left alone.
        let (early, mut more) = (prior(1000, 300), prior(1000, 300));
        more.train.steps = 3000;
        assert_eq!(more.clone().going_on(&early), more);
        assert_eq!(more.identity().unwrap(), early.identity().unwrap());
    }

    #[test]
    fn a_first_stage_without_a_schedule_has_none_when_it_goes_on() {
        let kept = RunConfig::default();
        let mut more = kept.clone();
        more.train.steps *= 2;
        assert_eq!(more.clone().going_on(&kept), more);
        let mut kept = kept;
        kept.train.decay_steps = kept.train.steps;
        more.train.decay_steps = kept.train.steps;
        assert_eq!(more.going_on(&kept).train.decay_steps, 2 * kept.train.steps);
    }
}
