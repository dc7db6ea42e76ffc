//! A prior that is about to be trained over the codes of a run: what it reads, and whether it can.

use super::check;
use crate::codes::tokens::{Captions, TokenDatasetInfo, Tokens};
use crate::config::Resolved;
use crate::config::prior::PriorConfig;
use crate::data::ImageSet;
use crate::gpu::Gpu;
use crate::inference::FirstStageModel;
use crate::inference::tokenize::describe;
use crate::models::prior::{Head, Kind};
use crate::{Error, Result};
use std::path::Path;

/// A prior that is to be trained over the codes of a model's level.
#[derive(Clone, Copy)]
pub struct PriorStage<'a> {
    /// The device.
    pub gpu: &'a Gpu,
    /// The model whose codes it reads.
    pub model: &'a FirstStageModel,
    /// The level of codes, by its number.
    pub level: usize,
    /// Its configuration.
    pub config: &'a Resolved<PriorConfig>,
}

/// The source of tokens.
#[derive(Clone, Copy)]
pub struct TokenSource<'a> {
    /// The images.
    pub images: &'a ImageSet,
    /// The images' texts, where the prior reads some.
    pub captions: Option<Captions<'a>>,
}

impl<'a> TokenSource<'a> {
    /// Returns the source of images of which no texts are read.
    pub fn of(images: &'a ImageSet) -> Self {
        TokenSource {
            images,
            captions: None,
        }
    }
}

impl PriorStage<'_> {
    /// Returns the tokens that the prior in `place` began with, where they are there. They are all
    /// that it needs, whatever became of the images.
    ///
    /// # Errors
    /// If they are damaged or of another model, or such a prior cannot be trained.
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

    /// Returns tokens of the model's codes with what a prior over them needs to know of the codes:
    /// what those of scales stand for, and the order of those that it predicts in halves.
    ///
    /// # Errors
    /// If the device fails.
    pub fn with_codes(&self, tokens: Tokens) -> Result<Tokens> {
        let level = tokens.info.level(self.model.levels())?;
        let order = match self.config.prior.head {
            Head::Factorised => self.model.code_order(level)?,
            Head::Table => None,
        };
        Ok(Tokens {
            scales: self.model.scale_tables()?,
            order,
            ..tokens
        })
    }

    /// Returns what the tokens of `source` will be, once it is known that a prior can be trained on
    /// such.
    ///
    /// # Errors
    /// If it cannot.
    pub fn describe(&self, source: &TokenSource) -> Result<TokenDatasetInfo> {
        let info = describe(self.model, self.level, source.images, source.captions);
        check(self.gpu, self.config, &info.vocabulary).map(|()| info)
    }
}

/// Returns the level of codes that a prior is over, by its number; as many as there are stands for
/// all scales, which a next-scale prior predicts one after another. `name` is the level that was
/// asked for, and `kind` that of a prior that is to begin; one that is there is gone on with.
///
/// # Errors
/// If there is no such level, none is named of several, or the model's codes have no scales for a
/// next-scale prior.
pub fn level_of(model: &FirstStageModel, name: Option<&str>, kind: Option<Kind>) -> Result<usize> {
    let scales = model.levels().len() > 1 && model.scale_tables()?.is_some();
    let all = match kind {
        Some(kind) => kind == Kind::NextScale,
        None => name.is_none() && scales,
    };
    if !all {
        return model.level(name);
    }
    if name.is_some() {
        let what = "a next-scale prior is over all scales: leave it out";
        return Err(Error::config("--level", what));
    }
    if !scales {
        let kind = &model.config().quantizer.kind;
        let what = format!(
            "`next-scale` predicts the scales of a first stage that was trained with --quantizer \
             multiscale and several scales; this run's is `{kind}`"
        );
        return Err(Error::config("prior.kind", what));
    }
    Ok(model.levels().len())
}

/// Returns the tokens in a folder, an error if they are not those that are described; `None` where
/// there are none.
pub fn made(folder: &Path, info: &TokenDatasetInfo) -> Option<Result<Tokens>> {
    Tokens::exist(folder).then(|| {
        let tokens = Tokens::open(folder)?;
        tokens.check(info).map(|()| tokens)
    })
}
