//! The training of a prior, whichever command asks for it: its configuration, its tokens, its run,
//! and what is said of them.

use crate::cli::Global;
use crate::cli::common::keys::set_keys;
use crate::cli::common::output;
use crate::cli::common::output::{Bar, Watch};
use crate::cli::common::signals::stop_flag;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;
use wgvq::codes::tokens::{Captions, TokenDatasetInfo, Tokens};
use wgvq::config::prior::PriorConfig;
use wgvq::config::{DottedConfig, Resolved, Resumable};
use wgvq::data::ImageSet;
use wgvq::gpu::Gpu;
use wgvq::inference::FirstStageModel;
use wgvq::inference::tokenize::{describe, tokenize};
use wgvq::storage::checkpoint;
use wgvq::storage::run_folder::RunFolder;
use wgvq::train::Start;
use wgvq::train::prior::{PriorEvaluation, check, run_prior};
use wgvq::{Error, Result};

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

/// Returns the configuration that the prior in `place` goes on under: its own, once `agrees` has
/// compared that with what is asked for, and as many steps as are asked for now.
pub fn resumed(
    place: &Path,
    steps: Option<u64>,
    agrees: impl FnOnce(&PriorConfig) -> Result<()>,
) -> Result<Resolved<PriorConfig>> {
    let kept = PriorConfig::load(&place.join("config.toml"))?;
    agrees(&kept)?;
    let mut config = kept.clone();
    config.train.steps = steps.unwrap_or(kept.train.steps);
    let config = config.resumed_from(&kept).resolve()?;
    check_steps(place, config.train.steps).map(|()| config)
}

/// Fewer steps than are done are refused before anything is written.
pub fn check_steps(place: &Path, steps: u64) -> Result<()> {
    match checkpoint::newest(&place.join("checkpoints"))? {
        Some((done, _)) if done > steps => Err(Error::config(
            "train.steps",
            format!("{steps} is not allowed: {done} steps are done"),
        )),
        _ => Ok(()),
    }
}

/// Returns the tokens in a folder, an error if they are not those that are described; `None` where
/// there are none.
pub fn made(folder: &Path, info: &TokenDatasetInfo) -> Option<Result<Tokens>> {
    Tokens::exist(folder).then(|| {
        let tokens = Tokens::open(folder)?;
        tokens.check(info).map(|()| tokens)
    })
}

/// The source of tokens.
pub struct TokenSource<'a> {
    pub images: &'a ImageSet,
    /// The images' texts, where the prior reads some.
    pub captions: Option<Captions<'a>>,
}

impl<'a> TokenSource<'a> {
    /// Images of which no texts are read.
    pub fn of(images: &'a ImageSet) -> Self {
        TokenSource {
            images,
            captions: None,
        }
    }
}

/// A prior that is to be trained over the codes of a model's level.
pub struct PriorStage<'a> {
    pub global: &'a Global,
    pub gpu: &'a Gpu,
    pub model: &'a FirstStageModel,
    pub level: usize,
    pub config: &'a Resolved<PriorConfig>,
    /// The command that goes on with it.
    pub go_on: &'a str,
}

/// The outcome of a training that reached its last step.
pub struct TrainedPrior {
    pub evaluation: PriorEvaluation,
    pub parameters: usize,
    pub elapsed: Duration,
    pub peak_bytes: u64,
}

impl PriorStage<'_> {
    /// Returns the tokens that the prior in `place` began with, where they are there. They are all
    /// that it needs, whatever became of the images.
    pub fn begun(&self, place: &Path) -> Result<Option<Tokens>> {
        let folder = place.join("tokens");
        if !Tokens::exist(&folder) {
            return Ok(None);
        }
        let tokens = Tokens::open(&folder)?;
        tokens.check_model(self.model.hash())?;
        tokens.info.level(self.model.levels())?;
        check(self.gpu, self.config, &tokens.info.vocabulary)?;
        Ok(Some(tokens))
    }

    /// Returns what the tokens of `source` will be, once it is known that a prior can be trained on
    /// such.
    pub fn describe(&self, source: &TokenSource) -> Result<TokenDatasetInfo> {
        let info = describe(self.model, self.level, source.images, source.captions);
        check(self.gpu, self.config, &info.vocabulary).map(|()| info)
    }

    /// Turns images and their texts into tokens; `None` if this was stopped. `again` says how to
    /// begin anew where the folder replaces nothing.
    pub fn tokenize(
        &self,
        source: &TokenSource,
        folder: &RunFolder,
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
        let (mut bar, stop) = (Bar::new(self.global, "images"), stop_flag());
        let tokens = tokenize(
            self.model,
            self.level,
            images,
            source.captions,
            &folder.tokens(),
            &mut |done, all| {
                bar.show(done, all);
                if stop.load(Ordering::Relaxed) {
                    Err(Error::data("interrupted"))
                } else {
                    Ok(())
                }
            },
        );
        bar.finish();
        if stop.load(Ordering::Relaxed) {
            let again = if folder.replaces() {
                "what is there is as it was, and the same command begins with the codes again"
            } else {
                again
            };
            output::note(self.global, &format!("stopped; {again}"));
            return Ok(None);
        }
        tokens.map(Some)
    }

    /// Says what is to be trained, `about` first.
    pub fn tell(&self, about: &str) {
        let (t, p) = (&self.config.train, &self.config.prior);
        output::note(
            self.global,
            &format!(
                "{about}; {} blocks of {} channels; {} steps of {} on {} ({} core)",
                p.layers,
                p.dim,
                t.steps,
                t.batch_size * t.accumulate,
                self.gpu.info().name,
                self.gpu.core().name()
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
        let mut watch = Watch::new(self.global, self.config.train.steps).starting(self.gpu);
        let outcome = run_prior(
            self.gpu,
            self.config,
            tokens,
            folder,
            start,
            &mut watch,
            stop_flag(),
        );
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
        let (parameters, step) = (self.parameters, self.evaluation.step);
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
