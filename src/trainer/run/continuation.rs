//! Under which configuration a run goes on: what of it may change, and what follows from other
//! steps.

use super::Start;
use crate::Result;
use crate::config::{Resolved, Resumable, StepSchedule};
use crate::storage::checkpoint;
use crate::storage::run_folder::RunFolder;

/// The configuration under which a run goes on in `folder`, and the identities by which earlier
/// versions may have known it.
pub(crate) fn configured<C: Resumable>(
    config: &Resolved<C>,
    folder: &RunFolder,
    start: Start,
) -> Result<(Resolved<C>, Vec<String>)> {
    let config = config.clone();
    if start == Start::Fresh {
        return Ok((config, Vec::new()));
    }
    // Where the folder's cannot be read, the one that is asked for is held against the checkpoints
    // alone.
    let Ok(kept) = C::load(&folder.config()) else {
        return Ok((config, Vec::new()));
    };
    let mut config = config.map(|config| config.resumed_from(&kept));
    // The folder's own may have been given other steps by hand: then the checkpoints know that the
    // rate fell until the last.
    let StepSchedule {
        warmup,
        decay_steps,
        ..
    } = config.schedule();
    if let Some((step, identity)) = checkpoint::newest(&folder.checkpoints())?
        && decay_steps > 0
        && warmup.saturating_add(decay_steps) >= step
        && config.identity_to_the_end()? == identity
    {
        config = config.map(C::falling_to_the_end);
    }
    let earlier = config.earlier_identities(&kept)?;
    Ok((config, earlier))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::prior::PriorConfig;
    use crate::config::run::RunConfig;

    fn prior(steps: u64, decay_steps: u64) -> PriorConfig {
        let mut config = PriorConfig::default();
        (
            config.train.steps,
            config.train.warmup,
            config.train.decay_steps,
        ) = (steps, 100, decay_steps);
        config.resolve().unwrap().into_inner()
    }

    #[test]
    fn a_rate_that_falls_to_the_end_does_so_over_other_steps_too() {
        let (short, long) = (prior(1000, 0), prior(3000, 0));
        let mut more = short.clone();
        more.train.steps = 3000;
        assert_ne!(
            more.identity().unwrap(),
            short.identity().unwrap(),
            "its rate would stay at the least"
        );
        let more = more.resumed_from(&short);
        assert_eq!(more, long);
        assert_eq!(more.identity().unwrap(), short.identity().unwrap());
        assert_eq!(more.clone().resumed_from(&short), more);
        // One that was to end before is left alone.
        let (early, mut more) = (prior(1000, 300), prior(1000, 300));
        more.train.steps = 3000;
        assert_eq!(more.clone().resumed_from(&early), more);
        assert_eq!(more.identity().unwrap(), early.identity().unwrap());
    }

    #[test]
    fn a_first_stage_without_a_schedule_has_none_when_it_goes_on() {
        let kept = RunConfig::default();
        let mut more = kept.clone();
        more.train.steps *= 2;
        assert_eq!(more.clone().resumed_from(&kept), more);
        let mut kept = kept;
        kept.train.decay_steps = kept.train.steps;
        more.train.decay_steps = kept.train.steps;
        assert_eq!(
            more.resumed_from(&kept).train.decay_steps,
            2 * kept.train.steps
        );
    }
}
