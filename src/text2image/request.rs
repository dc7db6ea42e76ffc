//! The request of a training on captioned images, as the run keeps it: a stage that has not begun
//! yet begins by it, whenever that is.

use super::{JUDGE_STEPS, SIZE, System, VOCABULARY};
use crate::codes::tokenizer::Tokenizer;
use crate::config::Resumable;
use crate::config::contrastive::ContrastiveConfig;
use crate::config::prior::PriorConfig;
use crate::inference::texts::text_folder;
use crate::storage::atomic;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

const FILE: &str = "asked.toml";

/// The options of a training, beside the first stage's configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainRequest {
    /// Source of the captioned images.
    pub data: String,
    /// Name of the system that makes images of texts.
    pub system: String,
    /// The prior's size, by its name.
    pub size: String,
    /// Tokens to learn from the captions, at most.
    pub vocabulary: usize,
    /// Tokens of a text, or rows; 0 is the longest caption's.
    pub text_length: usize,
    /// Whether texts are read from files of embeddings.
    pub embeddings: bool,
    /// Whether a caption that is too long is an error.
    pub strict: bool,
    /// Steps of the contrastive model; 0: there is none.
    pub judge_steps: u64,
    /// Configuration of each level's prior.
    pub prior: PriorConfig,
    /// Configuration of the contrastive model.
    pub judge: ContrastiveConfig,
}

/// The options of a request that a caller gives; the others keep their value, or have their
/// default.
#[derive(Clone, Copy, Debug, Default)]
pub struct GivenOptions<'a> {
    /// The system.
    pub system: Option<System>,
    /// The prior's size.
    pub size: Option<&'a str>,
    /// Tokens to learn from the captions.
    pub vocabulary: Option<usize>,
    /// Tokens or rows of a text.
    pub text_length: Option<usize>,
    /// Whether texts are read from files of embeddings.
    pub embeddings: bool,
    /// Whether a caption that is too long is an error.
    pub strict: bool,
    /// Steps of the prior.
    pub steps: Option<u64>,
    /// Steps of the contrastive model.
    pub judge_steps: Option<u64>,
}

/// Returns the error of options that would make another run than the one that goes on. `more` are
/// the options of the caller that may be more.
pub fn other_options(others: &[&str], more: &str) -> Error {
    let what = format!(
        "goes on under the run's own configuration, and {} would be another: leave it out ({more} \
         may be more, and --data says where the same images lie now)",
        others.join(", ")
    );
    Error::config("--resume", what)
}

impl TrainRequest {
    /// Returns the request of a new training on `data`, of which `set_prior` and `set_judge` set
    /// the keys that are given.
    ///
    /// # Errors
    /// If a value is not usable.
    pub fn new(
        data: String,
        given: &GivenOptions,
        set_prior: impl FnOnce(&mut PriorConfig) -> Result<()>,
        set_judge: impl FnOnce(&mut ContrastiveConfig) -> Result<()>,
    ) -> Result<TrainRequest> {
        let (system, size) = (given.system.unwrap_or_default(), given.size.unwrap_or(SIZE));
        let mut prior = system.prior(size)?;
        prior.train.steps = given.steps.unwrap_or(prior.train.steps);
        set_prior(&mut prior)?;
        let judge_steps = given.judge_steps.unwrap_or(JUDGE_STEPS);
        let mut judge = ContrastiveConfig::default();
        judge.train.steps = judge_steps.max(1);
        set_judge(&mut judge)?;
        Ok(TrainRequest {
            data,
            system: system.name().into(),
            size: size.into(),
            vocabulary: given.vocabulary.unwrap_or(VOCABULARY),
            text_length: given.text_length.unwrap_or(0),
            embeddings: given.embeddings,
            strict: given.strict,
            judge_steps,
            prior: prior.resolve()?.into_inner(),
            judge: judge.resolve()?.into_inner(),
        })
    }

    /// Returns the request of the run that goes on, with more steps where these are asked for now.
    /// Its own options may be given again. `more` are the options of the caller that may be more.
    ///
    /// # Errors
    /// If what is given would make another run.
    pub fn resumed(
        &self,
        given: &GivenOptions,
        set_prior: impl FnOnce(&mut PriorConfig) -> Result<()>,
        set_judge: impl FnOnce(&mut ContrastiveConfig) -> Result<()>,
        more: &str,
    ) -> Result<TrainRequest> {
        let mut request = self.clone();
        set_prior(&mut request.prior)?;
        set_judge(&mut request.judge)?;
        let differs = |option: Option<usize>, own: usize| option.is_some_and(|n| n != own);
        let others: Vec<&str> = [
            (
                "--system",
                given.system.is_some_and(|s| s.name() != self.system),
            ),
            ("--size", given.size.is_some_and(|size| size != self.size)),
            ("--vocabulary", differs(given.vocabulary, self.vocabulary)),
            (
                "--text-length",
                differs(given.text_length, self.text_length),
            ),
            ("--embeddings", given.embeddings && !self.embeddings),
            (
                "--set, --batch or --seed",
                *request.prior.resolve()? != self.prior,
            ),
            ("--judge or --seed", request.judge != self.judge),
        ]
        .into_iter()
        .filter_map(|(option, other)| other.then_some(option))
        .collect();
        if !others.is_empty() {
            return Err(other_options(&others, more));
        }
        request.strict |= given.strict;
        request.more_steps(given.steps, given.judge_steps);
        request.check()?;
        Ok(request)
    }

    /// Checks that it can be trained.
    ///
    /// # Errors
    /// If a value is not usable.
    pub fn check(&self) -> Result<()> {
        self.prior.resolve()?;
        self.judge.resolve().map(drop)
    }

    /// Checks the options of texts, whatever the captions are.
    ///
    /// # Errors
    /// If the size of a vocabulary or a text is none.
    pub fn check_texts(&self) -> Result<()> {
        Tokenizer::check_size(self.vocabulary)?;
        let length = self.text_length;
        if length > 1 << 20 {
            let what = format!("{length} is not allowed: at most 2^20 tokens can be read");
            return Err(Error::config("--text-length", what));
        }
        if length != 0 && length < 3 && !self.embeddings {
            let what = "is not allowed: a text has its first and last token, and one more";
            return Err(Error::config("--text-length", format!("{length} {what}")));
        }
        Ok(())
    }

    /// Sets the steps of a run that goes on, where others are asked for now.
    pub fn more_steps(&mut self, steps: Option<u64>, judge_steps: Option<u64>) {
        let kept = self.prior.clone();
        self.prior.train.steps = steps.unwrap_or(kept.train.steps);
        self.prior = self.prior.clone().resumed_from(&kept);
        if let Some(steps) = judge_steps {
            (self.judge_steps, self.judge.train.steps) = (steps, steps.max(1));
        }
    }

    /// Writes it into the folder of a run's texts, or of those of the run that is to be.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let text = toml::to_string(self).map_err(|e| Error::config("the configuration", e))?;
        std::fs::create_dir_all(folder)
            .map_err(|e| Error::file(folder, format!("cannot be made: {e}")))?;
        atomic::write(&folder.join(FILE), text.as_bytes())
    }

    /// Reads it; `None` for a run that says nothing of it.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn load(run: &Path) -> Result<Option<TrainRequest>> {
        let path = text_folder(run).join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::file(&path, format!("cannot be read: {e}"))),
        };
        let damaged =
            |e: toml::de::Error| Error::file(&path, format!("is damaged: {}", e.message()));
        let request: TrainRequest = toml::from_str(&text).map_err(damaged)?;
        request.check().map_err(|e| Error::file(&path, e))?;
        Ok(Some(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(TrainRequest::load(run.path()).unwrap(), None);
        let mut prior = PriorConfig::default();
        prior.prior.attention = vec![crate::models::prior::Pattern::Row];
        let request = TrainRequest {
            data: "a \"b\".jsonl".into(),
            system: "parti".into(),
            size: "tiny".into(),
            vocabulary: 300,
            text_length: 0,
            embeddings: false,
            strict: true,
            judge_steps: 7,
            prior: prior.resolve().unwrap().into_inner(),
            judge: ContrastiveConfig::default(),
        };
        request.save(&text_folder(run.path())).unwrap();
        let kept = TrainRequest::load(run.path()).unwrap();
        assert_eq!(kept.as_ref(), Some(&request));
        // What may be more is named as the caller names it.
        let other = GivenOptions {
            vocabulary: Some(400),
            ..Default::default()
        };
        let resumed = request.resumed(&other, |_| Ok(()), |_| Ok(()), "`these` alone");
        let said = resumed.unwrap_err().to_string();
        assert!(said.contains("(`these` alone may be more"), "{said}");
        std::fs::write(run.path().join("text/asked.toml"), "data = 3").unwrap();
        assert!(
            TrainRequest::load(run.path())
                .unwrap_err()
                .to_string()
                .contains("asked.toml")
        );
    }
}
