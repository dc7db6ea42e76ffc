//! A file of tokens, held against what the manifest says of it.

use super::{ShardEntry, TokenDatasetInfo, code_bytes};
use crate::models::text::TextFormat;
use crate::storage::checkpoint;
use crate::{Error, Result};
use safetensors::tensor::{Dtype, Metadata};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A file of a split.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) path: PathBuf,
    /// Number of its first image.
    pub(super) first: usize,
    pub(super) images: usize,
    /// Bytes before the codes and the classes, and of a code.
    pub(super) codes_at: u64,
    pub(super) classes_at: u64,
    /// Places in the file of the texts and of their lengths, where there are some.
    pub(super) text_at: Option<[u64; 2]>,
    pub(super) width: usize,
}

impl Shard {
    /// Opens it, and reads it once, for its sum.
    pub(super) fn open(
        folder: &Path,
        entry: &ShardEntry,
        info: &TokenDatasetInfo,
        first: usize,
    ) -> Result<Shard> {
        let path = folder.join(&entry.file);
        let cannot = |e: std::io::Error| Error::file(&path, format!("cannot be read: {e}"));
        let plain = Path::new(&entry.file).components().count() == 1 && path.is_file();
        if !plain {
            return Err(Error::file(
                &path,
                "is not there, though the manifest of tokens names it; make them again with \
                 --overwrite",
            ));
        }
        let mut file = File::open(&path).map_err(cannot)?;
        let sum = checkpoint::sum_of_rest(&mut file).map_err(cannot)?;
        if sum != entry.sha256 {
            return Err(Error::file(
                &path,
                "is damaged: its SHA-256 is not what the manifest says; make the tokens again \
                 with --overwrite",
            ));
        }
        // The sum vouches for what follows, but not for whoever wrote the manifest.
        let mut length = [0; 8];
        file.seek(SeekFrom::Start(0))
            .and_then(|_| file.read_exact(&mut length))
            .map_err(cannot)?;
        let header = u64::from_le_bytes(length);
        let wrong = || {
            Error::file(
                &path,
                "does not hold the codes and classes that the manifest says",
            )
        };
        if header > 1 << 20 {
            return Err(wrong());
        }
        let mut text = vec![0; header as usize];
        file.read_exact(&mut text).map_err(cannot)?;
        let metadata: Metadata = serde_json::from_slice(&text).map_err(|_| wrong())?;
        let width = code_bytes(&info.vocabulary);
        let at = |name: &str, dtype: Dtype, elements: usize| -> Result<u64> {
            let info = metadata.info(name).ok_or_else(wrong)?;
            let size = if dtype == Dtype::U16 { 2 } else { 4 };
            let (from, to) = info.data_offsets;
            let fits = info.dtype == dtype
                && elements
                    .checked_mul(size)
                    .is_some_and(|bytes| to.checked_sub(from) == Some(bytes));
            if fits {
                Ok(8 + header + from as u64)
            } else {
                Err(wrong())
            }
        };
        let codes = entry
            .images
            .checked_mul(info.vocabulary.known() + info.vocabulary.tokens())
            .ok_or_else(wrong)?;
        let text_at = match &info.vocabulary.text {
            Some(text) => {
                let dtype = if matches!(text.form, TextFormat::Tokens(_)) {
                    Dtype::U32
                } else {
                    Dtype::F32
                };
                let words = entry.images.checked_mul(text.words()).ok_or_else(wrong)?;
                Some([
                    at("text", dtype, words)?,
                    at("text_lengths", Dtype::U32, entry.images)?,
                ])
            }
            None => None,
        };
        Ok(Shard {
            text_at,
            codes_at: at(
                "codes",
                if width == 2 { Dtype::U16 } else { Dtype::U32 },
                codes,
            )?,
            classes_at: at("classes", Dtype::U32, entry.images)?,
            first,
            images: entry.images,
            width,
            path,
        })
    }
}
