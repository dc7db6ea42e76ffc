//! The training of a prior, whichever command asks for it: its configuration, its tokens, its run,
//! and what is said of them.

use crate::cli::Global;
use crate::cli::common::keys::set_keys;
use crate::cli::common::output;
use crate::cli::common::signals::stop_flag;
use crate::cli::common::watch::{Seen, Watch};
use crate::cli::common::watched::watched;
use std::path::Path;
use std::time::Duration;
use wgvq::Result;
use wgvq::codes::tokens::Tokens;
use wgvq::config::prior::PriorConfig;
use wgvq::inference::tokenize::tokenize;
use wgvq::storage::run_folder::RunFolder;
use wgvq::train::Start;
use wgvq::train::prior::{PriorEvaluation, PriorStage, TokenSource, run_prior};

/// The options that set keys of a prior's configuration.
#[derive(Default)]
pub struct PriorKeys<'a> {
    pub steps: Option<u64>,
    pub batch: Option<u64>,
    pub lr: Option<f64>,
    pub seed: Option<u64>,
    /// The pairs of `--set`.
    pub set: &'a [String],
}

impl PriorKeys<'_> {
    pub fn apply(&self, config: &mut PriorConfig) -> Result<()> {
        let text = |v: Option<u64>| v.map(|v| v.to_string());
        let flags = [
            ("train.steps", text(self.steps)),
            ("train.batch_size", text(self.batch)),
            ("train.lr", self.lr.map(|v| v.to_string())),
            ("train.seed", text(self.seed)),
        ];
        set_keys(config, flags, "--set", self.set)
    }
}

/// A prior that is to be trained by a command.
pub struct Training<'a> {
    pub global: &'a Global,
    pub stage: PriorStage<'a>,
    /// The command that goes on with it.
    pub go_on: &'a str,
    /// The way in which its progress is shown.
    pub seen: Seen,
}

/// The outcome of a training that reached its last step.
pub struct TrainedPrior {
    pub evaluation: PriorEvaluation,
    pub parameters: usize,
    pub elapsed: Duration,
    pub peak_bytes: u64,
}

impl Training<'_> {
    /// Turns images and their texts into tokens; `None` if this was stopped. `again` says how to
    /// begin anew where the folder replaces nothing.
    pub fn tokenize(
        &self,
        source: &TokenSource,
        folder: &RunFolder,
        again: &str,
    ) -> Result<Option<Tokens>> {
        let again = if folder.replaces() {
            "what is there is as it was, and the same command begins with the codes again"
        } else {
            again
        };
        self.tokenize_into(source, &folder.tokens(), again)
    }

    /// [`Training::tokenize`] into a folder of tokens.
    pub fn tokenize_into(
        &self,
        source: &TokenSource,
        folder: &Path,
        again: &str,
    ) -> Result<Option<Tokens>> {
        let images = source.images;
        output::note(
            self.global,
            &format!(
                "turning {} images of {} into codes",
                images.train.len() + images.test.len(),
                images.name
            ),
        );
        let (model, level) = (self.stage.model, self.stage.level);
        watched(self.global, "images", again, |progress| {
            tokenize(model, level, images, source.captions, folder, progress)
        })
    }

    /// Says what is to be trained, `about` first.
    pub fn tell(&self, about: &str) {
        let (t, p) = (&self.stage.config.train, &self.stage.config.prior);
        output::note(
            self.global,
            &format!(
                "{about}; {} blocks of {} channels; {} steps of {} on {} ({} core)",
                p.layers,
                p.dim,
                t.steps,
                t.images(),
                self.stage.gpu.info().name,
                self.stage.gpu.core().name()
            ),
        );
    }

    /// Trains to the last step; `None` if this was stopped and saved.
    pub fn train(
        &self,
        tokens: Tokens,
        folder: &RunFolder,
        start: Start,
    ) -> Result<Option<TrainedPrior>> {
        let PriorStage { gpu, config, .. } = self.stage;
        let tokens = self.stage.with_codes(tokens)?;
        let steps = config.train.steps;
        let title = format!(
            "{}: a prior of {} blocks of {} channels, on {} ({} core)",
            tokens.info.data,
            config.prior.layers,
            config.prior.dim,
            gpu.info().name,
            gpu.core().name()
        );
        let mut watch = Watch::new(self.global, steps)
            .seen(self.seen, &title, steps, gpu, (folder, start))
            .starting(gpu);
        let outcome = run_prior(gpu, config, tokens, folder, start, &mut watch, stop_flag());
        watch.finish();
        let outcome = outcome?;
        match outcome.evaluation {
            Some(evaluation) if !outcome.stopped => Ok(Some(TrainedPrior {
                evaluation,
                parameters: outcome.trainer.parameter_count(),
                elapsed: outcome.elapsed,
                peak_bytes: outcome.trainer.memory().peak,
            })),
            _ => {
                let step = outcome.trainer.step_number();
                output::note(
                    self.global,
                    &format!(
                        "stopped and saved at step {step}; go on with: {}",
                        self.go_on
                    ),
                );
                Ok(None)
            }
        }
    }
}

impl TrainedPrior {
    /// Says what it took.
    pub fn tell(&self, global: &Global) {
        let (parameters, step) = (self.parameters, self.evaluation.weights_step);
        let (time, mib) = (output::duration(self.elapsed), self.peak_bytes >> 20);
        output::note(
            global,
            &format!(
                "{parameters} parameters, those of step {step}; {time}, {mib} MiB of device \
                 memory at peak"
            ),
        );
    }
}
