//! Codes of a part of a data set, and the tokens that such parts become together.

use super::writer::{Rows, save};
use super::{describe, encode, source_of, write};
use crate::codes::shards::{Batch, ShardForm, ShardManifest, ShardNumber, ShardSource, Shards};
use crate::codes::tokens::{NO_CLASS, ShardEntry, Split, Tokens};
use crate::codes::{Codes, LabelKinds, Labels};
use crate::data::{ImageSet, absolute};
use crate::inference::FirstStageModel;
use crate::inference::progress::Progress;
use crate::{Error, Result};
use std::path::Path;

/// The kind of codes that shards of a data set hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardOptions {
    /// Codes of all levels.
    Codes,
    /// Tokens of a prior over this level.
    Tokens(usize),
}

/// Returns what the codes of a data set are made of, before they are made.
///
/// # Errors
/// If its images are not of the model's size.
pub fn shard_source(
    model: &FirstStageModel,
    options: ShardOptions,
    data: &ImageSet,
) -> Result<ShardSource> {
    let [w, h, c] = model.image();
    if [data.width, data.height, data.channels] != [w, h, c] {
        let got = format!("{} x {} x {}", data.width, data.height, data.channels);
        let expected = format!("images of {w} x {h} x {c}");
        return Err(Error::shape("encode", expected, got));
    }
    Ok(match options {
        ShardOptions::Tokens(level) => source_of(&describe(model, level, data, None), data),
        ShardOptions::Codes => ShardSource::Codes {
            model: model.hash().to_owned(),
            quantizer: model.config().quantizer.kind.clone(),
            levels: model.levels().to_vec(),
            image: model.image(),
            data: absolute(&data.name),
            data_sha256: data.sha256(),
            images: data.len(),
        },
    })
}

/// Returns which labels a shard of a data set holds beside its codes.
pub fn shard_labels(source: &ShardSource, data: &ImageSet) -> LabelKinds {
    match source {
        ShardSource::Codes { .. } => LabelKinds::of(data),
        // Classes are among the tokens.
        ShardSource::Tokens { .. } => LabelKinds::default(),
    }
}

/// Encodes a shard of a data set, whose [`shard_source`] is `source`, and writes its file of codes,
/// with the labels of its images, and its manifest into `folder`. Tokens have but one form.
///
/// # Errors
/// If a file cannot be written, the device fails, or `progress` asks to stop by an error.
pub fn encode_shard(
    model: &FirstStageModel,
    source: &ShardSource,
    data: &ImageSet,
    shard: ShardNumber,
    form: ShardForm,
    folder: &Path,
    progress: &mut Progress,
) -> Result<ShardManifest> {
    let (batches, [from, to]) = (source.batches(shard), source.rows(shard));
    let path = folder.join(form.file(shard));
    let mut done = 0;
    let mut next = |images: usize| {
        done += images;
        progress(done, to - from)
    };
    let sha256 = match source {
        ShardSource::Codes { .. } => {
            let codes = codes_of(model, data, &batches, &mut next)?;
            let labels = Labels::of_images(data, from..to);
            form.save(&codes, &labels, from, &path)?
        }
        ShardSource::Tokens { about, .. } => {
            let mut rows = Rows::default();
            for batch in &batches {
                rows.append(encode(model, about, data, None, batch)?);
                next(batch.images.len())?;
            }
            save(&path, about, rows)?
        }
    };
    let gpu = &model.gpu;
    let adapter = format!("{} ({} core)", gpu.info().name, gpu.core().name());
    let labels = shard_labels(source, data);
    let manifest = ShardManifest::new(shard, source, labels, form, sha256, adapter);
    manifest.save(folder)?;
    Ok(manifest)
}

/// Encodes all images of a data set, in its order.
///
/// # Errors
/// If they are not of the model's size, the device fails, or `progress` asks to stop by an error.
pub fn encode_whole(
    model: &FirstStageModel,
    data: &ImageSet,
    progress: &mut Progress,
) -> Result<Codes> {
    let source = shard_source(model, ShardOptions::Codes, data)?;
    let batches = source.batches(ShardNumber::WHOLE);
    let mut done = 0;
    codes_of(model, data, &batches, &mut |images| {
        done += images;
        progress(done, data.len())
    })
}

fn codes_of(
    model: &FirstStageModel,
    data: &ImageSet,
    batches: &[Batch],
    next: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Codes> {
    let (mut indices, mut names) = (Vec::new(), Vec::new());
    for Batch { images, .. } in batches {
        let part: Vec<u32> = images.clone().map(|i| i as u32).collect();
        indices.extend(model.encode(&data.gather(&part)?)?);
        names.extend(images.clone().map(|i| data.items[i].name.clone()));
        next(part.len())?;
    }
    let levels = model.levels().to_vec();
    Ok(model.codes_file(indices, levels, model.image(), names))
}

/// Writes the tokens that shards hold into `folder`: what
/// [`tokenize`](super::tokenize()) makes of the data set in one process.
///
/// # Errors
/// If they hold codes of images, or a file cannot be read or written.
pub fn join_tokens(shards: &Shards, folder: &Path, progress: &mut Progress) -> Result<Tokens> {
    let ShardSource::Tokens { about, .. } = &shards.source else {
        return Err(Error::invalid(
            "shards",
            "codes of images, and no tokens of a prior",
        ));
    };
    let entries: Vec<ShardEntry> = shards
        .manifests()
        .iter()
        .map(|m| ShardEntry {
            file: m.file.clone(),
            images: m.rows[1] - m.rows[0],
            sha256: m.sha256.clone(),
        })
        .collect();
    let all = Split::open(shards.folder(), &entries, about)?;
    let none = about.vocabulary.no_class();
    let mut at = 0;
    write(about, &shards.source, folder, &mut |batch| {
        let numbers: Vec<u32> = (at as u32..).take(batch.images.len()).collect();
        at += numbers.len();
        let (codes, mut classes) = all.read(&numbers)?;
        for class in classes.iter_mut().filter(|class| **class == none) {
            *class = NO_CLASS;
        }
        progress(at, all.len())?;
        Ok(Rows {
            codes,
            classes,
            texts: all.read_texts(&numbers)?,
        })
    })?;
    Tokens::open(folder)
}
