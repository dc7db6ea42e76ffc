//! The request of a run that is resumed: its own, with more steps where they are asked for now.

use super::Train;
use std::path::Path;
use wgvq::Result;
use wgvq::codes::tokens::Tokens;
use wgvq::config::contrastive::ContrastiveConfig;
use wgvq::config::prior::PriorConfig;
use wgvq::config::{DottedConfig, Resumable};
use wgvq::inference::prior_folder;
use wgvq::inference::texts::contrastive_folder;
use wgvq::models::first_stage::vqvae2::{MOST_LEVELS, level_names};
use wgvq::models::text::TextFormat;
use wgvq::text2image::{TrainRequest, other_options};

/// The options that may grow when a training goes on.
const MORE: &str = "--steps, --stage1-steps and --judge-steps";

impl Train {
    /// Returns the run's request, with more steps where these are asked for now. Its own options
    /// may be given again.
    pub(super) fn resumed_request(&self, run: &Path) -> Result<TrainRequest> {
        let Some(kept) = TrainRequest::load(run)? else {
            return self.resumed_request_from_earlier(run);
        };
        kept.resumed(
            &self.given(),
            |prior| self.prior_keys().apply(prior),
            |judge| self.judge_keys(judge),
            MORE,
        )
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
            let mut asked = request.prior.clone();
            asked.train.precision = asked.train.precision.of_run(kept.train.precision);
            if given && asked.identity()? != kept.identity()? {
                let others = "--system, --size, --set, --batch or --seed";
                return Err(other_options(&[others], MORE));
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
                return Err(other_options(&["--judge or --seed"], MORE));
            }
            (request.judge_steps, request.judge) = (kept.train.steps, kept);
        }
        request.more_steps(self.steps, self.judge_steps);
        Ok(request)
    }
}
