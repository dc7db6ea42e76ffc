//! Tokenizing of a data set by a trained model: the tokens that a prior trains on.

mod given;
mod made_up;
mod shards;
mod writer;

use crate::codes::shards::{Batch, ShardNumber, ShardSource};
use crate::codes::tokens::{
    Captions, FORMAT, MANIFEST, Manifest, NO_CLASS, TokenDatasetInfo, Tokens,
};
use crate::data::{ImageSet, absolute};
use crate::inference::FirstStageModel;
use crate::inference::progress::Progress;
use crate::models::prior::Vocabulary;
use crate::storage::atomic;
use crate::{Error, Result};
pub use given::{CodeRows, write_tokens};
pub(crate) use made_up::made_up;
pub use shards::{
    ShardOptions, encode_shard, encode_whole, join_tokens, shard_labels, shard_source,
};
use std::path::Path;
use writer::{Rows, Writer};

/// Returns the vocabulary of a prior over the codes of a model's level, or, with as many as there
/// are levels, over those of all scales one after another.
pub fn vocabulary(model: &FirstStageModel, level: usize, classes: usize) -> Vocabulary {
    model.vocabulary(level, classes)
}

/// Returns what describes the tokens that a model makes of a data set at a level, before they are
/// made.
pub fn describe(
    model: &FirstStageModel,
    level: usize,
    data: &ImageSet,
    captions: Option<Captions>,
) -> TokenDatasetInfo {
    let vocabulary = vocabulary(model, level, data.classes.len());
    TokenDatasetInfo {
        reader: captions.map_or(String::new(), |c| c.reader.to_owned()),
        model: model.hash().to_owned(),
        quantizer: model.quantizer_of(level).name().to_owned(),
        level: model
            .levels()
            .get(level)
            .map_or(String::new(), |level| level.name.clone()),
        vocabulary: Vocabulary {
            text: captions.map(|c| c.text),
            ..vocabulary
        },
        image: model.image(),
        classes: data.classes.clone(),
        data: absolute(&data.name),
        data_sha256: data.sha256(),
        mirrored: model.config().data.flip,
    }
}

/// Encodes a data set and writes its codes of a level, behind those of the levels above, and its
/// texts into `folder`; `progress` is called with the images done, and with how many there are.
///
/// # Errors
/// If the images are not of the model's size, a file cannot be written, or `progress` asks to stop
/// by an error.
pub fn tokenize(
    model: &FirstStageModel,
    level: usize,
    data: &ImageSet,
    captions: Option<Captions>,
    folder: &Path,
    progress: &mut Progress,
) -> Result<Tokens> {
    let info = describe(model, level, data, captions);
    let [w, h, c] = info.image;
    if [data.width, data.height, data.channels] != [w, h, c] {
        let got = format!("{} x {} x {}", data.width, data.height, data.channels);
        return Err(Error::shape(
            "tokenize",
            format!("images of {w} x {h} x {c}"),
            got,
        ));
    }
    let source = source_of(&info, data);
    let mut done = 0;
    let [_, all] = source.rows(ShardNumber::WHOLE);
    write(&info, &source, folder, &mut |batch| {
        let rows = encode(model, &info, data, captions, batch)?;
        done += batch.images.len();
        progress(done, all)?;
        Ok(rows)
    })?;
    Tokens::open(folder)
}

/// Returns what shards of the tokens of a data set are made of.
fn source_of(info: &TokenDatasetInfo, data: &ImageSet) -> ShardSource {
    ShardSource::Tokens {
        about: Box::new(info.clone()),
        train: data.train.len(),
        test: data.test.len(),
    }
}

/// Writes a folder of tokens; `rows` gives those of a batch.
fn write(
    info: &TokenDatasetInfo,
    source: &ShardSource,
    folder: &Path,
    rows: &mut dyn FnMut(&Batch) -> Result<Rows>,
) -> Result<()> {
    std::fs::create_dir_all(folder)
        .map_err(|e| Error::file(folder, format!("cannot be made: {e}")))?;
    // What stands there is whole or not there: the manifest goes first, and comes last.
    let manifest_path = folder.join(MANIFEST);
    if manifest_path.exists() {
        std::fs::remove_file(&manifest_path)
            .map_err(|e| Error::file(&manifest_path, format!("cannot be removed: {e}")))?;
    }
    let mut sides = [
        Writer::new(folder, "train", info),
        Writer::new(folder, "test", info),
    ];
    for batch in source.all_batches() {
        sides[usize::from(batch.test)].push(rows(&batch)?)?;
    }
    let [train, test] = sides.map(Writer::end);
    let manifest = Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        info: info.clone(),
        train: train?,
        test: test?,
    };
    let text = serde_json::to_string_pretty(&manifest).map_err(Error::data)?;
    atomic::write(&manifest_path, (text + "\n").as_bytes())
}

/// Encodes the images of a batch.
fn encode(
    model: &FirstStageModel,
    info: &TokenDatasetInfo,
    data: &ImageSet,
    captions: Option<Captions>,
    batch: &Batch,
) -> Result<Rows> {
    let side = if batch.test { &data.test } else { &data.train };
    let part = &side[batch.images.clone()];
    let [width, _, channels] = info.image;
    let mut pixels = data.gather(part)?;
    if batch.mirrored {
        pixels
            .chunks_mut(width * channels)
            .for_each(|row| mirror(row, channels));
    }
    // The levels above come first in an image's codes, those below last.
    let kept = info.vocabulary.known() + info.vocabulary.tokens();
    let codes = model.encode(&pixels)?;
    let class = |i: &u32| data.items[*i as usize].class.unwrap_or(NO_CLASS);
    Ok(Rows {
        codes: codes
            .chunks(model.codes_per_image())
            .flat_map(|image| &image[..kept])
            .copied()
            .collect(),
        classes: part.iter().map(class).collect(),
        texts: captions.map(|c| (c.of)(part)).transpose()?,
    })
}

/// Mirrors a row of pixels.
fn mirror(row: &mut [u8], channels: usize) {
    row.reverse();
    row.chunks_mut(channels).for_each(<[u8]>::reverse);
}
