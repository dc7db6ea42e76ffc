//! The stages after the first: whether they can be trained, how they begin, and under which
//! configurations they go on.

use super::captions::Material;
use super::request::TrainRequest;
use crate::codes::tokens::Tokens;
use crate::config::contrastive::ContrastiveConfig;
use crate::config::prior::PriorConfig;
use crate::config::{DottedConfig, Resolved, Resumable};
use crate::gpu::Gpu;
use crate::inference::texts::contrastive_folder;
use crate::models::Level;
use crate::storage::checkpoint;
use crate::storage::run_folder::RunFolder;
use crate::train::contrastive::check_contrastive;
use crate::train::prior::{PriorStage, TokenSource, check, made};
use crate::train::{check_steps, resumed_prior};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Whether the model in a folder was trained to its end, which is at `steps`. A shorter one of
/// before may stand there while more are done.
///
/// # Errors
/// If its checkpoints cannot be read.
pub fn ended(place: &Path, steps: u64) -> Result<bool> {
    let newest = checkpoint::newest(&place.join("checkpoints"))?;
    Ok(place.join("final.safetensors").is_file() && newest.is_none_or(|(step, _)| step == steps))
}

/// Checks that the stages of a new training can begin in a run: its priors in `places`, and the
/// contrastive model. `go_on` is the command that goes on with those that are there.
///
/// # Errors
/// If one is there and may not be replaced.
pub fn check_places(run: &Path, places: &[PathBuf], overwrite: bool, go_on: &str) -> Result<()> {
    let judge = contrastive_folder(run);
    for folder in places.iter().chain([&judge]) {
        if !overwrite && folder.join("config.toml").exists() {
            let what = format!(
                "is there already: go on with it by `{go_on}`, or replace it with `--overwrite`"
            );
            return Err(Error::file(folder, what));
        }
        RunFolder::may_create(folder, overwrite)?;
    }
    match places {
        [first, ..] if overwrite => RunFolder::may_create_over_texts(run, first),
        _ => Ok(()),
    }
}

/// Checks that the stages can be trained on this.
///
/// # Errors
/// If a configuration makes no model, or the device cannot hold it.
pub fn check_stages(
    gpu: &Gpu,
    levels: &[Level],
    m: &Material,
    priors: &[Resolved<PriorConfig>],
    judge: Option<&Resolved<ContrastiveConfig>>,
) -> Result<()> {
    for (level, config) in priors.iter().enumerate() {
        check(gpu, config, &m.vocabulary(levels, level))?;
    }
    let image = [m.set.height, m.set.width, m.set.channels];
    judge.map_or(Ok(()), |judge| {
        check_contrastive(gpu, judge, image, &m.text)
    })
}

/// Checks that these are the images and texts that a prior's tokens were made of.
///
/// # Errors
/// If not.
pub fn same_images(tokens: &Tokens, m: &Material) -> Result<()> {
    if m.set.is_of_sum(&tokens.info.data_sha256) && tokens.info.reader == m.tokenizer.sha256() {
        return Ok(());
    }
    let what = format!(
        "the images or captions of `{}` are others than those that the run began with (`{}`): say \
         by --data where those lie now",
        m.set.name, tokens.info.data
    );
    Err(Error::data(what))
}

/// Returns the configuration of a level's prior in `place`, which goes on where `resumed`, for as
/// many steps as are asked for now. What has begun must be what was asked for: another may be there
/// still.
///
/// # Errors
/// If it is another, or more steps are done.
pub fn prior_of(
    place: &Path,
    request: &TrainRequest,
    resumed: bool,
    steps: Option<u64>,
) -> Result<Resolved<PriorConfig>> {
    if !resumed || !place.join("config.toml").is_file() {
        return request.prior.resolve();
    }
    resumed_prior(place, |kept| {
        let mut asked = request.prior.clone();
        asked.train.precision = asked.train.precision.of_run(kept.train.precision);
        if kept.identity()? != asked.identity()? {
            return Err(another(place));
        }
        Ok(steps.unwrap_or(kept.train.steps))
    })
}

/// Returns the configuration of the contrastive model in `place`, likewise.
///
/// # Errors
/// As [`prior_of`].
pub fn judge_of(
    place: &Path,
    request: &TrainRequest,
    resumed: bool,
    steps: Option<u64>,
) -> Result<Resolved<ContrastiveConfig>> {
    if !resumed || !place.join("config.toml").is_file() {
        return request.judge.resolve();
    }
    let mut kept = ContrastiveConfig::load(&place.join("config.toml"))?;
    if kept.identity()? != request.judge.identity()? {
        return Err(another(place));
    }
    kept.train.steps = steps.filter(|steps| *steps > 0).unwrap_or(kept.train.steps);
    check_steps(place, kept.train.steps)?;
    kept.resolve()
}

fn another(place: &Path) -> Error {
    let what = "is not what this run was asked for last: train what was asked for by the same \
                options with `--overwrite`";
    Error::file(place, what)
}

/// Makes the folder of a prior that reads texts, or opens the one that was begun, with the
/// tokenizer and the request beside it. Returns the tokens too, where they are there already.
///
/// # Errors
/// If such a prior cannot be trained, or the folder cannot be written.
pub fn begin_prior(
    run: &Path,
    place: &Path,
    stage: &PriorStage,
    source: &TokenSource,
    m: &Material,
    request: &TrainRequest,
    resume: bool,
    overwrite: bool,
) -> Result<(RunFolder, Option<Tokens>)> {
    // What is wrong with the model is found before anything is written.
    let info = stage.describe(source)?;
    let resumed = resume && place.join("config.toml").exists();
    let folder = match (resumed, stage.level) {
        (true, _) => RunFolder::resume(place)?,
        // With the first of them, all goes that the run has of texts.
        (false, 0) if overwrite => RunFolder::create_over_texts(run, place)?,
        (false, _) => RunFolder::create(place, overwrite)?,
    };
    let texts = folder.beside("text");
    m.tokenizer.save(&texts)?;
    request.save(&texts)?;
    // Those of a run that is replaced are left alone: their sums say nothing of what stands in
    // files of embeddings.
    let tokens = made(&folder.tokens(), &info).and_then(Result::ok);
    Ok((folder, tokens))
}
