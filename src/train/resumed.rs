//! The configuration under which a run goes on: its own, of which a caller may change little.

use crate::config::prior::PriorConfig;
use crate::config::run::{ResolvedConfig, RunConfig};
use crate::config::{DottedConfig, Resolved, Resumable};
use crate::inference::priors_of;
use crate::quantize::Registry;
use crate::storage::checkpoint;
use crate::{Error, Result};
use std::path::Path;

/// An error of what would make another run; `option` is what asks for it.
fn refused(option: &str, what: &str) -> Error {
    Error::config(option, format!("goes on under the {what}"))
}

/// Returns the configuration under which a first stage goes on: `kept`, its own, with what `set`
/// makes of it. `option` is what asks for it.
///
/// # Errors
/// If that would be another run.
pub fn resumed_run(
    kept: &RunConfig,
    option: &str,
    set: impl FnOnce(&mut RunConfig) -> Result<()>,
) -> Result<ResolvedConfig> {
    let (mut config, decays) = kept.after(set)?;
    config.train.precision = config.train.precision.of_run(kept.train.precision);
    // Steps of decay that are asked for are refused where they are others, and not replaced.
    let config = if decays {
        config
    } else {
        config.resumed_from(kept)
    };
    if config.identity()? != kept.identity()? {
        return Err(refused(
            option,
            "run's own configuration: of the keys, --steps alone may be given, --data where the \
             same images lie elsewhere now, and where pixels lie (data.store, data.memory_mib, \
             data.cache_mib, data.workers)",
        ));
    }
    config.resolve(&Registry::default())
}

/// Fails where steps are still to be done by a run whose model has a prior: they would make another
/// model, whose codes the prior does not know. `again` is what trains another prior of the run.
///
/// # Errors
/// As above; the error names the priors.
pub fn keep_priors(run: &Path, steps: u64, again: &str) -> Result<()> {
    let done = checkpoint::newest(&run.join("checkpoints"))?.map_or(0, |(step, _)| step);
    let priors = priors_of(run)?;
    let own: Vec<String> = priors
        .iter()
        .filter(|(_, own)| *own)
        .map(|(p, _)| p.display().to_string())
        .collect();
    if done >= steps || own.is_empty() {
        return Ok(());
    }
    let priors = own.join(" and ");
    let what = format!(
        "{steps} steps are asked for and {done} are done, but {priors} is over the codes of the \
         model as it is, and more steps would make it useless: go on in a copy of the run that is \
         without it, or move it away, go on, and train another by `{again}`"
    );
    Err(Error::file(run, what))
}

/// Returns the configuration under which the prior in `place` goes on: its own, for as many steps
/// as `steps_of` returns once it has compared that with what is asked for.
///
/// # Errors
/// If there is none, `steps_of` fails, or more steps than those are done.
pub fn resumed_prior(
    place: &Path,
    steps_of: impl FnOnce(&PriorConfig) -> Result<u64>,
) -> Result<Resolved<PriorConfig>> {
    let kept = PriorConfig::load(&place.join("config.toml"))?;
    let mut config = kept.clone();
    config.train.steps = steps_of(&kept)?;
    let config = config.resumed_from(&kept).resolve()?;
    check_steps(place, config.train.steps).map(|()| config)
}

/// Returns the steps that `set` asks for, of a prior's configuration in which it may change nothing
/// else.
///
/// # Errors
/// If it does.
pub fn steps_alone(
    kept: &PriorConfig,
    set: impl FnOnce(&mut PriorConfig) -> Result<()>,
) -> Result<u64> {
    let ((mut asked, decays), mut same) = (kept.after(set)?, kept.clone());
    asked.train.precision = asked.train.precision.of_run(kept.train.precision);
    same.train.steps = asked.train.steps;
    if asked == same && (!decays || asked.identity()? == kept.identity()?) {
        Ok(asked.train.steps)
    } else {
        let what = "prior's own configuration: of the keys, --steps alone may be given";
        Err(refused("--resume", what))
    }
}

/// Refuses fewer steps than are done, before anything is written.
///
/// # Errors
/// If fewer are asked for than the run in `place` has done.
pub fn check_steps(place: &Path, steps: u64) -> Result<()> {
    match checkpoint::newest(&place.join("checkpoints"))? {
        Some((done, _)) if done > steps => Err(Error::config(
            "train.steps",
            format!("{steps} is not allowed: {done} steps are done"),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_goes_on_for_more_steps_and_from_elsewhere_alone() {
        let kept = RunConfig::default().resolve(&Registry::default()).unwrap();
        let more = |key: &str, value: &str| {
            resumed_run(&kept, "--resume", |config| config.set(key, value))
                .map(Resolved::into_inner)
        };
        assert_eq!(more("train.steps", "77").unwrap().train.steps, 77);
        assert_eq!(more("data.source", "b").unwrap().data.source, "b");
        let refused = more("train.lr", "0.5").unwrap_err().to_string();
        assert!(refused.contains("the run's own configuration"), "{refused}");
    }

    /// They would be others silently where the rate falls until the last step.
    #[test]
    fn steps_of_decay_that_are_asked_for_stay_or_are_refused() {
        let mut kept = RunConfig::default();
        (kept.train.steps, kept.train.decay_steps) = (100, 100);
        let kept = kept.resolve(&Registry::default()).unwrap();
        let more = |steps: &str, decay: Option<&str>| {
            resumed_run(&kept, "--resume", |config| {
                config.set("train.steps", steps)?;
                decay.map_or(Ok(()), |decay| config.set("train.decay_steps", decay))
            })
            .map(|config| config.train.decay_steps)
        };
        assert_eq!(more("200", None).unwrap(), 200);
        assert_eq!(more("200", Some("200")).unwrap(), 200);
        assert_eq!(more("100", Some("100")).unwrap(), 100);
        assert!(more("200", Some("100")).is_err());

        let kept = PriorConfig::default().resolve().unwrap();
        let decay = kept.train.decay_steps.to_string();
        let more = |steps: u64, decay: Option<&str>| {
            steps_alone(&kept, |config| {
                config.train.steps = steps;
                decay.map_or(Ok(()), |decay| config.set("train.decay_steps", decay))
            })
        };
        let steps = kept.train.steps;
        assert_eq!(more(2 * steps, None).unwrap(), 2 * steps);
        assert_eq!(more(steps, Some(&decay)).unwrap(), steps);
        assert!(more(2 * steps, Some(&decay)).is_err());
    }

    #[test]
    fn a_prior_goes_on_for_other_steps_alone() {
        let place = tempfile::tempdir().unwrap();
        let kept = PriorConfig::default().resolve().unwrap();
        let toml = kept.to_toml().unwrap();
        std::fs::write(place.path().join("config.toml"), toml).unwrap();
        let resumed = |key: &str, value: &str| {
            resumed_prior(place.path(), |kept| {
                steps_alone(kept, |config| config.set(key, value))
            })
        };
        assert_eq!(resumed("train.steps", "77").unwrap().train.steps, 77);
        let refused = resumed("train.lr", "0.5").unwrap_err().to_string();
        assert!(
            refused.contains("the prior's own configuration"),
            "{refused}"
        );
    }
}
