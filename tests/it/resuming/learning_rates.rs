//! Learning rates of what goes on for more steps.

use super::{TINY_PRIOR, as_earlier_versions_had_it, begun};
use crate::common::{SMALLEST_PRIOR, ok, run, stderr, text, tiny_config};
use std::path::Path;
use wgvq::config::prior::PriorConfig;
use wgvq::config::run::RunConfig;
use wgvq::config::{DottedConfig, Resumable};

/// Learning rates of a prior's log, a row to each step.
pub(super) fn rates(prior: &Path) -> Vec<f64> {
    let columns = wgvq::storage::metrics_log::columns(&prior.join("metrics.csv")).unwrap();
    columns
        .into_iter()
        .find(|(name, _)| name == "lr")
        .unwrap()
        .1
}

/// Checks that no step was measured twice in a prior's log.
fn measured_once(prior: &Path) {
    let columns = wgvq::storage::metrics_log::columns(&prior.join("test.csv")).unwrap();
    let steps = wgvq::storage::metrics_log::column(&columns, "step");
    assert!(
        !steps.is_empty() && steps.windows(2).all(|w| w[0] < w[1]),
        "{steps:?}"
    );
    let weights = wgvq::storage::metrics_log::column(&columns, "weights_step");
    assert!(
        weights
            .iter()
            .zip(&steps)
            .all(|(weights, step)| weights <= step),
        "{weights:?}"
    );
}

#[test]
fn a_prior_that_goes_on_for_more_steps_has_a_learning_rate_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let run_path = begun(folder.path(), "run");
    let prior = run_path.join("prior");
    ok(run(&[
        &["prior", text(&run_path), "--quiet"],
        &SMALLEST_PRIOR[..],
        &TINY_PRIOR,
    ]
    .concat()));
    let short = rates(&prior);
    // As an earlier version left it: its steps of decay stand in the hash of its configuration.
    let mut old = PriorConfig::load(&prior.join("config.toml")).unwrap();
    (old.train.steps, old.train.gradient_checkpointing) = (1, false);
    as_earlier_versions_had_it(&prior, &old.sha256().unwrap());

    let said = stderr(&ok(run(&[
        "prior",
        text(&run_path),
        "--resume",
        "--steps",
        "16",
    ])));
    assert!(
        said.contains("16 steps and not 8") && said.contains("learning rate"),
        "{said}"
    );
    let long = rates(&prior);
    assert_eq!(long[..8], short[..], "what was done stays");
    let (most, least) = (1e-3, 1e-4);
    assert!(long[8] > 3.0 * least && long[8] < most, "{long:?}");
    assert!(
        long[8..].windows(2).all(|w| w[1] < w[0]),
        "it falls over the new steps: {long:?}"
    );
    assert!(long[15] < 1.2 * least, "{long:?}");
    // Killed on its way, it ends with the same bytes.
    let whole = std::fs::read(prior.join("final.safetensors")).unwrap();
    for file in [
        "final.safetensors",
        "checkpoints/step-00000016.json",
        "checkpoints/step-00000016.safetensors",
    ] {
        std::fs::remove_file(prior.join(file)).unwrap();
    }
    let said = stderr(&ok(run(&["prior", text(&run_path), "--resume"])));
    assert!(
        said.contains("resumed at step 12") && !said.contains("and not"),
        "{said}"
    );
    assert!(
        std::fs::read(prior.join("final.safetensors")).unwrap() == whole,
        "other bytes"
    );
    assert_eq!(rates(&prior), long);
    measured_once(&prior);
    // One that is finished measures its last step again.
    std::fs::remove_file(prior.join("final.safetensors")).unwrap();
    let tests = std::fs::read(prior.join("test.csv")).unwrap();
    ok(run(&["prior", text(&run_path), "--resume", "--quiet"]));
    assert_eq!(std::fs::read(prior.join("test.csv")).unwrap(), tests);
}

#[test]
fn a_first_stage_that_goes_on_says_what_its_learning_rate_does() {
    let folder = tempfile::tempdir().unwrap();
    tiny_config(&folder.path().join("tiny.toml"), 8);
    let at = |name: &str| folder.path().join(name);
    let (tiny, falls, ends, stays) = (at("tiny.toml"), at("falls"), at("ends"), at("stays"));
    let train = |out: &Path, decay: &str| {
        let key = format!("train.decay_steps={decay}");
        ok(run(&[
            "train",
            text(&tiny),
            "--out",
            text(out),
            "--set",
            &key,
            "--quiet",
        ]));
        stderr(&ok(run(&["train", "--resume", text(out), "--steps", "12"])))
    };
    let decay = |out: &Path| {
        RunConfig::load(&out.join("config.toml"))
            .unwrap()
            .train
            .decay_steps
    };
    let said = train(&falls, "8");
    assert!(
        said.contains("schedule covers them") && decay(&falls) == 12,
        "{said}"
    );
    let said = train(&ends, "4");
    assert!(
        said.contains("the learning rate stays 3.000e-6") && decay(&ends) == 4,
        "{said}"
    );
    assert!(train(&stays, "0").contains("the learning rate stays 3.000e-4"));
    // Steps that are written into its configuration are as good.
    let config = falls.join("config.toml");
    std::fs::write(
        &config,
        std::fs::read_to_string(&config)
            .unwrap()
            .replace("\nsteps = 12", "\nsteps = 16"),
    )
    .unwrap();
    ok(run(&["train", "--resume", text(&falls)]));
    assert_eq!(decay(&falls), 16);
    assert!(RunConfig::load(&config).unwrap().identity().is_ok());
}
