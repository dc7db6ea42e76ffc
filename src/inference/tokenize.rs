//! Tokenizing of a data set by a trained model: the tokens that a prior trains on.

use crate::codes::tokens::{
    BATCH, Captions, FORMAT, MANIFEST, Manifest, NO_CLASS, SHARD_BYTES, ShardEntry,
    TokenDatasetInfo, Tokens, code_bytes, vocabulary_of,
};
use crate::data::{ImageSet, absolute};
use crate::inference::FirstStageModel;
use crate::inference::progress::Progress;
use crate::models::prior::Vocabulary;
use crate::models::text::{TextFormat, Texts};
use crate::storage::atomic;
use crate::storage::checkpoint;
use crate::storage::checkpoint::{Checkpoint, HostTensor};
use crate::{Error, Result};
use safetensors::tensor::Dtype;
use std::collections::BTreeMap;
use std::path::Path;

/// Returns the vocabulary of a prior over the codes of a model's level.
pub fn vocabulary(model: &FirstStageModel, level: usize, classes: usize) -> Vocabulary {
    vocabulary_of(model.levels(), level, classes)
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
        quantizer: model.quantizers()[level].name().to_owned(),
        level: model.levels()[level].name.clone(),
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
    std::fs::create_dir_all(folder)
        .map_err(|e| Error::file(folder, format!("cannot be made: {e}")))?;
    // What stands there is whole or not there: the manifest goes first, and comes last.
    let manifest_path = folder.join(MANIFEST);
    if manifest_path.exists() {
        std::fs::remove_file(&manifest_path)
            .map_err(|e| Error::file(&manifest_path, format!("cannot be removed: {e}")))?;
    }
    // The levels above come first in an image's codes, those below last.
    let (all_levels, kept) = (
        model.codes_per_image(),
        info.vocabulary.known() + info.vocabulary.tokens(),
    );
    let copies = if info.mirrored { 2 } else { 1 };
    let all = data.train.len() * copies + data.test.len();
    let mut done = 0;
    let mut side = |name: &str, items: &[u32], copies: usize| -> Result<Vec<ShardEntry>> {
        let mut writer = Writer {
            folder,
            name,
            info: &info,
            codes: Vec::new(),
            classes: Vec::new(),
            texts: Texts::default(),
            entries: Vec::new(),
        };
        for part in items.chunks(BATCH) {
            for copy in 0..copies {
                let mut pixels = data.gather(part)?;
                if copy == 1 {
                    pixels.chunks_mut(w * c).for_each(|row| mirror(row, c));
                }
                let classes = part
                    .iter()
                    .map(|i| data.items[*i as usize].class.unwrap_or(NO_CLASS));
                let codes = model.encode(&pixels)?;
                let codes = codes
                    .chunks(all_levels)
                    .flat_map(|image| &image[..kept])
                    .copied()
                    .collect();
                let texts = captions.map(|c| (c.of)(part)).transpose()?;
                writer.push(codes, classes, texts)?;
                done += part.len();
                progress(done, all)?;
            }
        }
        writer.end()
    };
    let train = side("train", &data.train, copies)?;
    let test = side("test", &data.test, 1)?;
    let version = env!("CARGO_PKG_VERSION").into();
    let manifest = Manifest {
        format: FORMAT,
        version,
        info: info.clone(),
        train,
        test,
    };
    let text = serde_json::to_string_pretty(&manifest).map_err(Error::data)?;
    atomic::write(&manifest_path, (text + "\n").as_bytes())?;
    Tokens::open(folder)
}

/// Mirrors a row of pixels.
fn mirror(row: &mut [u8], channels: usize) {
    row.reverse();
    row.chunks_mut(channels).for_each(<[u8]>::reverse);
}

struct Writer<'a> {
    folder: &'a Path,
    name: &'a str,
    info: &'a TokenDatasetInfo,
    codes: Vec<u32>,
    classes: Vec<u32>,
    texts: Texts,
    entries: Vec<ShardEntry>,
}

impl Writer<'_> {
    fn push(
        &mut self,
        codes: Vec<u32>,
        classes: impl Iterator<Item = u32>,
        texts: Option<Texts>,
    ) -> Result<()> {
        self.codes.extend(codes);
        self.classes.extend(classes);
        if let Some(texts) = texts {
            self.texts.append(&texts);
        }
        let bytes =
            self.codes.len() * code_bytes(&self.info.vocabulary) + 4 * self.texts.words.len();
        if bytes >= SHARD_BYTES {
            self.write()
        } else {
            Ok(())
        }
    }

    fn write(&mut self) -> Result<()> {
        let v = &self.info.vocabulary;
        let (codes, classes) = (
            std::mem::take(&mut self.codes),
            std::mem::take(&mut self.classes),
        );
        let mut shape = vec![classes.len(), v.grid[0], v.grid[1]];
        if v.codebooks > 1 {
            shape.push(v.codebooks);
        }
        if !v.above.is_empty() {
            shape = vec![classes.len(), v.known() + v.tokens()];
        }
        let (dtype, bytes) = if code_bytes(v) == 2 {
            (
                Dtype::U16,
                codes
                    .iter()
                    .flat_map(|c| (*c as u16).to_le_bytes())
                    .collect(),
            )
        } else {
            (
                Dtype::U32,
                codes.iter().flat_map(|c| c.to_le_bytes()).collect(),
            )
        };
        let labels = HostTensor {
            shape: vec![classes.len()],
            dtype: Dtype::U32,
            bytes: classes.iter().flat_map(|c| c.to_le_bytes()).collect(),
        };
        let mut tensors = BTreeMap::from([
            (
                "codes".to_owned(),
                HostTensor {
                    shape,
                    dtype,
                    bytes,
                },
            ),
            ("classes".to_owned(), labels),
        ]);
        if let Some(text) = &v.text {
            let Texts { words, lengths, .. } = std::mem::take(&mut self.texts);
            let n = classes.len();
            let (shape, dtype) = match text.form {
                TextFormat::Tokens(_) => (vec![n, text.length], Dtype::U32),
                TextFormat::Rows(channels) => (vec![n, text.length, channels], Dtype::F32),
            };
            let bytes = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect();
            if words.len() != n * text.words() || lengths.len() != n {
                return Err(Error::shape(
                    "tokenize",
                    format!("{n} texts"),
                    lengths.len(),
                ));
            }
            tensors.insert(
                "text".into(),
                HostTensor {
                    shape,
                    dtype,
                    bytes: bytes(&words),
                },
            );
            let lengths = HostTensor {
                shape: vec![n],
                dtype: Dtype::U32,
                bytes: bytes(&lengths),
            };
            tensors.insert("text_lengths".into(), lengths);
        }
        let file = format!("{}-{:05}.safetensors", self.name, self.entries.len());
        let state = serde_json::json!({ "tokens": self.info });
        let sha256 =
            checkpoint::save_file(&self.folder.join(&file), &Checkpoint { tensors, state })?;
        self.entries.push(ShardEntry {
            file,
            images: classes.len(),
            sha256,
        });
        Ok(())
    }

    fn end(mut self) -> Result<Vec<ShardEntry>> {
        if !self.classes.is_empty() {
            self.write()?;
        }
        Ok(self.entries)
    }
}
