//! The request of a run that is resumed: its own, with more steps where they are asked for now.

use super::{System, Train};
use crate::cli::prior::stage::{PriorKeys, check_steps, resumed};
use crate::cli::text2image::folders::contrastive_folder;
use crate::cli::text2image::request::TrainRequest;
use std::path::Path;
use wgvq::codes::tokens::Tokens;
use wgvq::config::contrastive::ContrastiveConfig;
use wgvq::config::prior::PriorConfig;
use wgvq::config::{DottedConfig, Resolved, Resumable};
use wgvq::inference::prior_folder;
use wgvq::models::first_stage::vqvae2::{MOST_LEVELS, level_names};
use wgvq::models::text::TextFormat;
use wgvq::storage::checkpoint;
use wgvq::{Error, Result};

/// Whether the model in a folder was trained to its end, which is at `steps`. A shorter one of
/// before may stand there while more are done.
pub(super) fn ended(place: &Path, steps: u64) -> Result<bool> {
    let newest = checkpoint::newest(&place.join("checkpoints"))?;
    Ok(place.join("final.safetensors").is_file() && newest.is_none_or(|(step, _)| step == steps))
}

/// An error of options that would make another run.
fn refused(others: &[&str]) -> Error {
    let what = format!(
        "goes on under the run's own configuration, and {} would be another: leave it out \
         (--steps, --stage1-steps and --judge-steps may be more, and --data says where the same \
         images lie now)",
        others.join(", ")
    );
    Error::config("--resume", what)
}

impl Train {
    /// Returns the run's request, with more steps where these are asked for now. Its own options
    /// may be given again.
    pub(super) fn resumed_request(&self, run: &Path) -> Result<TrainRequest> {
        let Some(kept) = TrainRequest::load(run)? else {
            return self.resumed_request_from_earlier(run);
        };
        let mut request = kept.clone();
        PriorKeys {
            steps: None,
            ..self.prior_keys()
        }
        .apply(&mut request.prior)?;
        self.judge_keys(&mut request.judge)?;
        let others: Vec<&str> = [
            (
                "--system",
                self.system
                    .is_some_and(|system| system.name() != kept.system),
            ),
            (
                "--size",
                self.size.as_ref().is_some_and(|size| *size != kept.size),
            ),
            (
                "--vocabulary",
                self.vocabulary.is_some_and(|n| n != kept.vocabulary),
            ),
            (
                "--text-length",
                self.text_length.is_some_and(|n| n != kept.text_length),
            ),
            ("--embeddings", self.embeddings && !kept.embeddings),
            (
                "--set, --batch or --seed",
                *request.prior.resolve()? != kept.prior,
            ),
            ("--judge or --seed", request.judge != kept.judge),
        ]
        .into_iter()
        .filter_map(|(option, other)| other.then_some(option))
        .collect();
        if !others.is_empty() {
            return Err(refused(&others));
        }
        request.strict |= self.strict;
        self.more_steps(&mut request);
        request.check()?;
        Ok(request)
    }

    fn more_steps(&self, request: &mut TrainRequest) {
        let kept = request.prior.clone();
        request.prior.train.steps = self.steps.unwrap_or(kept.train.steps);
        request.prior = request.prior.clone().resumed_from(&kept);
        if let Some(steps) = self.judge_steps {
            (request.judge_steps, request.judge.train.steps) = (steps, steps.max(1));
        }
    }

    /// Returns the request of a run that an earlier version began: its finished stages keep their
    /// configurations, and options say the rest.
    fn resumed_request_from_earlier(&self, run: &Path) -> Result<TrainRequest> {
        let mut request = self.request(run)?;
        let levels = [String::new()]
            .into_iter()
            .chain((2..=MOST_LEVELS).flat_map(level_names));
        let begun = levels
            .map(|level| prior_folder(run, &level))
            .find(|place| place.join("config.toml").is_file());
        if let Some(place) = begun {
            let kept = PriorConfig::load(&place.join("config.toml"))?;
            let given = self.system.is_some()
                || self.size.is_some()
                || !self.set.is_empty()
                || self.batch.is_some()
                || self.seed.is_some();
            if given && request.prior.identity()? != kept.identity()? {
                return Err(refused(&["--system, --size, --set, --batch or --seed"]));
            }
            request.prior = kept;
            if Tokens::exist(&place.join("tokens")) {
                let text = Tokens::open(&place.join("tokens"))?.info.vocabulary.text;
                request.embeddings =
                    text.is_some_and(|text| matches!(text.form, TextFormat::Rows(_)));
                request.text_length = self
                    .text_length
                    .or(text.map(|text| text.length))
                    .unwrap_or(0);
            }
        }
        let judge = contrastive_folder(run).join("config.toml");
        if judge.is_file() {
            let kept = ContrastiveConfig::load(&judge)?;
            if (!self.judge.is_empty() || self.seed.is_some())
                && request.judge.identity()? != kept.identity()?
            {
                return Err(refused(&["--judge or --seed"]));
            }
            (request.judge_steps, request.judge) = (kept.train.steps, kept);
        }
        self.more_steps(&mut request);
        Ok(request)
    }

    /// Returns the configuration of a level's prior. What has begun must be what was asked for:
    /// another may be there still.
    pub(super) fn prior_of(
        &self,
        place: &Path,
        request: &TrainRequest,
    ) -> Result<Resolved<PriorConfig>> {
        if self.resume.is_none() || !place.join("config.toml").is_file() {
            return request.prior.resolve();
        }
        resumed(place, self.steps, |kept| {
            let same = kept.identity()? == request.prior.identity()?;
            if same { Ok(()) } else { Err(another(place)) }
        })
    }

    /// Returns the configuration of the contrastive model, likewise.
    pub(super) fn judge_of(
        &self,
        place: &Path,
        request: &TrainRequest,
    ) -> Result<Resolved<ContrastiveConfig>> {
        if self.resume.is_none() || !place.join("config.toml").is_file() {
            return request.judge.resolve();
        }
        let mut kept = ContrastiveConfig::load(&place.join("config.toml"))?;
        if kept.identity()? != request.judge.identity()? {
            return Err(another(place));
        }
        kept.train.steps = self
            .judge_steps
            .filter(|steps| *steps > 0)
            .unwrap_or(kept.train.steps);
        check_steps(place, kept.train.steps)?;
        kept.resolve()
    }
}

fn another(place: &Path) -> Error {
    let what = "is not what this run was asked for last: train what was asked for by the same \
                options with `--overwrite`";
    Error::file(place, what)
}

impl System {
    pub(super) fn name(self) -> &'static str {
        match self {
            System::Dalle => "dalle",
            System::Parti => "parti",
        }
    }
}
