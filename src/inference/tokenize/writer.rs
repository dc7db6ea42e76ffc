//! Files of tokens.

use crate::codes::tokens::{SHARD_BYTES, ShardEntry, TokenDatasetInfo, code_bytes};
use crate::models::text::{TextFormat, Texts};
use crate::storage::checkpoint;
use crate::storage::checkpoint::{Checkpoint, HostTensor};
use crate::{Error, Result};
use safetensors::tensor::Dtype;
use std::collections::BTreeMap;
use std::path::Path;

/// Codes of images, with their classes and texts.
#[derive(Default)]
pub(super) struct Rows {
    pub codes: Vec<u32>,
    /// [`NO_CLASS`](crate::codes::tokens::NO_CLASS) where there is none.
    pub classes: Vec<u32>,
    pub texts: Option<Texts>,
}

impl Rows {
    pub fn append(&mut self, more: Rows) {
        self.codes.extend(more.codes);
        self.classes.extend(more.classes);
        match (&mut self.texts, more.texts) {
            (Some(texts), Some(more)) => texts.append(&more),
            (none, more) => *none = more,
        }
    }
}

/// One side of a token set, written a shard at a time.
pub(super) struct Writer<'a> {
    folder: &'a Path,
    name: &'a str,
    info: &'a TokenDatasetInfo,
    rows: Rows,
    entries: Vec<ShardEntry>,
}

impl<'a> Writer<'a> {
    pub fn new(folder: &'a Path, name: &'a str, info: &'a TokenDatasetInfo) -> Writer<'a> {
        Writer {
            folder,
            name,
            info,
            rows: Rows::default(),
            entries: Vec::new(),
        }
    }

    pub fn push(&mut self, rows: Rows) -> Result<()> {
        self.rows.append(rows);
        let words = self
            .rows
            .texts
            .as_ref()
            .map_or(0, |texts| texts.words.len());
        let bytes = self.rows.codes.len() * code_bytes(&self.info.vocabulary) + 4 * words;
        if bytes >= SHARD_BYTES {
            self.write()
        } else {
            Ok(())
        }
    }

    fn write(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        let images = rows.classes.len();
        let file = format!("{}-{:05}.safetensors", self.name, self.entries.len());
        let sha256 = save(&self.folder.join(&file), self.info, rows)?;
        self.entries.push(ShardEntry {
            file,
            images,
            sha256,
        });
        Ok(())
    }

    pub fn end(mut self) -> Result<Vec<ShardEntry>> {
        if !self.rows.classes.is_empty() {
            self.write()?;
        }
        Ok(self.entries)
    }
}

/// Writes a file of tokens, and returns its SHA-256.
pub(super) fn save(path: &Path, info: &TokenDatasetInfo, rows: Rows) -> Result<String> {
    let v = &info.vocabulary;
    let Rows {
        codes,
        classes,
        texts,
    } = rows;
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
        let Texts { words, lengths, .. } = texts.unwrap_or_default();
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
    let state = serde_json::json!({ "tokens": info });
    checkpoint::save_file(path, &Checkpoint { tensors, state })
}
