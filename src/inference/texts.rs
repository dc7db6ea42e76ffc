//! The tokenizer and the judge of a run whose prior reads texts.

use crate::codes::tokenizer::Tokenizer;
use crate::data::load_embedding;
use crate::gpu::Gpu;
use crate::inference::{ContrastiveModel, Hierarchy};
use crate::models::text::Text;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Returns the folder of a run's tokenizer of texts.
pub fn text_folder(run: &Path) -> PathBuf {
    run.join("text")
}

/// Returns the folder of a run's contrastive model.
pub fn contrastive_folder(run: &Path) -> PathBuf {
    run.join("contrastive")
}

/// Returns the tokenizer of the texts that a run's priors read, and the texts' layout.
///
/// # Errors
/// If the priors read no texts, or the tokenizer is missing, damaged or another.
pub fn text_reader(run: &Path, priors: &Hierarchy) -> Result<(Tokenizer, Text)> {
    let info = priors.info();
    let Some(text) = info.vocabulary.text else {
        let what = "has a prior that reads no texts: draw from it by `wgvq sample`, or train one \
                    by `wgvq text2image train`";
        return Err(Error::file(run, what));
    };
    let tokenizer = Tokenizer::load(&text_folder(run))?;
    if info.reader != tokenizer.sha256() {
        let what = "is not the tokenizer that the prior was trained with: put that back, or train \
                    again with --overwrite";
        return Err(Error::file(text_folder(run), what));
    }
    Ok((tokenizer, text))
}

/// Returns the contrastive model of a run, which scores images against texts.
///
/// # Errors
/// If there is none, it is damaged, or was trained with another tokenizer.
pub fn load_judge(gpu: &Gpu, run: &Path, tokenizer: &Tokenizer) -> Result<ContrastiveModel> {
    let folder = contrastive_folder(run);
    let judge = ContrastiveModel::load(gpu, &folder)?;
    if judge.reader() != tokenizer.sha256() {
        return Err(Error::file(
            &folder,
            "was trained with another tokenizer than the run has now; train it again",
        ));
    }
    Ok(judge)
}

/// Returns a prompt in tokens, as a model with texts of this layout reads it; `note` is told what
/// of it cannot be read.
///
/// # Errors
/// If it is empty, or something cannot be read and `strict` asks for all.
pub fn read_prompt(
    prompt: &str,
    tokenizer: &Tokenizer,
    text: &Text,
    strict: bool,
    note: &mut dyn FnMut(&str),
) -> Result<Vec<u32>> {
    if prompt.trim().is_empty() {
        return Err(Error::config(
            "the prompt",
            "is empty: say what is to be seen",
        ));
    }
    let read = tokenizer.encode(prompt)?;
    let mut faults = Vec::new();
    if read.ids.len() + 2 > text.length {
        let kept = tokenizer.decode(&read.ids[..text.length - 2])?;
        faults.push(format!(
            "has {} tokens and the model reads {}: it is cut to `{kept}`",
            read.ids.len(),
            text.length - 2
        ));
    }
    if !read.unknown.is_empty() {
        let letters = read
            .unknown
            .iter()
            .map(|c| format!("`{c}`"))
            .collect::<Vec<_>>()
            .join(", ");
        faults.push(format!(
            "has characters that no caption had, which mean nothing to the model: {letters}"
        ));
    }
    let name = prompt.chars().take(60).collect::<String>();
    if strict && !faults.is_empty() {
        return Err(Error::config(
            "--strict",
            format!("the prompt `{name}` {}", faults.join(", and ")),
        ));
    }
    faults
        .iter()
        .for_each(|fault| note(&format!("the prompt `{name}` {fault}")));
    Ok(read.ids)
}

/// Returns the rows of one text, of so many channels, as an encoder from elsewhere made them.
///
/// # Errors
/// If the file cannot be read, or has other channels.
pub fn read_embedding(path: &Path, channels: usize) -> Result<Vec<f32>> {
    let own = load_embedding(path)?;
    if own.channels != channels {
        let what = format!("has {} channels, the model reads {channels}", own.channels);
        return Err(Error::file(path, what));
    }
    Ok(own.values)
}
