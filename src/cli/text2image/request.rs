//! The request of `wgvq text2image train`, as the run keeps it: a stage that has not begun yet
//! begins by it, whenever that is.

use super::folders::text_folder;
use serde::{Deserialize, Serialize};
use std::path::Path;
use wgvq::config::contrastive::ContrastiveConfig;
use wgvq::config::prior::PriorConfig;
use wgvq::storage::atomic;
use wgvq::{Error, Result};

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

impl TrainRequest {
    /// Checks that it can be trained.
    ///
    /// # Errors
    /// If a value is not usable.
    pub fn check(&self) -> Result<()> {
        self.prior.resolve()?;
        self.judge.resolve().map(drop)
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
        prior.prior.attention = vec![wgvq::models::prior::Pattern::Row];
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
        assert_eq!(TrainRequest::load(run.path()).unwrap(), Some(request));
        std::fs::write(run.path().join("text/asked.toml"), "data = 3").unwrap();
        assert!(
            TrainRequest::load(run.path())
                .unwrap_err()
                .to_string()
                .contains("asked.toml")
        );
    }
}
