//! Counts of the codes of a data set, in a file that those who pack and those who unpack share.

use super::context::Counts;
use super::{MOST_CODES, Predictor, Table, alike, empty_tables};
use crate::codes::Codes;
use crate::models::Level;
use crate::storage::checkpoint::{self, Checkpoint, HostTensor};
use crate::{Error, Result};
use safetensors::tensor::Dtype;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

/// Version of the file's layout and of how counts become probabilities: both sides must agree.
const FORMAT: u32 = 1;
/// Pairs of neighbours that a file keeps for a code: those that were met at least as often.
const LEAST: u32 = 2;

/// Counts of each code of a model in a data set, and of the neighbours beside it. They make packed
/// files small from their first code on.
///
/// ```
/// use wgvq::codes::{Codes, entropy::CodeStatistics};
/// use wgvq::models::Level;
///
/// let level = Level { name: String::new(), grid: [2, 2], codebook_size: 8, codebooks: 1 };
/// let codes = Codes {
///     model: "0".repeat(64), quantizer: "ema".into(), levels: vec![level], image: [8, 8, 3],
///     names: vec!["a".into(), "b".into()], indices: vec![1, 2, 3, 4, 1, 2, 3, 5],
/// };
/// let mut statistics = CodeStatistics::new(&codes.model, &codes.levels);
/// statistics.count(&codes.indices)?;
/// assert_eq!(statistics.images(), 2);
/// # Ok::<(), wgvq::Error>(())
/// ```
#[derive(Clone)]
pub struct CodeStatistics {
    model: String,
    levels: Vec<Level>,
    images: u64,
    tables: Vec<Table>,
    /// The tables that packing takes of them, made when they are first asked for.
    shared: OnceLock<Shared>,
}

/// Counts as a file has them, and their SHA-256.
#[derive(Clone)]
struct Shared {
    tables: Vec<Table>,
    sum: String,
}

impl std::fmt::Debug for CodeStatistics {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("CodeStatistics")
            .field("model", &self.model)
            .field("levels", &self.levels)
            .field("images", &self.images)
            .finish_non_exhaustive()
    }
}

impl CodeStatistics {
    /// Begins without any count, for the codes of the model of this SHA-256.
    pub fn new(model: &str, levels: &[Level]) -> CodeStatistics {
        CodeStatistics {
            model: model.to_owned(),
            levels: levels.to_vec(),
            images: 0,
            tables: empty_tables(levels),
            shared: OnceLock::new(),
        }
    }

    /// Counts the codes of whole images, in the order of [`Codes::indices`].
    ///
    /// # Errors
    /// If they are not whole images, or a code is past its codebook.
    pub fn count(&mut self, codes: &[u32]) -> Result<()> {
        super::super::check(&self.levels, codes)?;
        let mut predictor = Predictor {
            levels: self.levels.clone(),
            base: None,
            tables: std::mem::take(&mut self.tables),
            shares: Vec::new(),
        };
        let per_image: usize = self.levels.iter().map(Level::codes).sum();
        for image in codes.chunks(per_image) {
            for (i, place) in Predictor::places(&self.levels).enumerate() {
                predictor.learn(place, &image[..i], image[i]);
            }
            self.images += 1;
        }
        self.tables = predictor.tables;
        self.shared = OnceLock::new();
        Ok(())
    }

    /// SHA-256 of the model whose codes were counted.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Images whose codes were counted.
    pub fn images(&self) -> u64 {
        self.images
    }

    /// Writes a file: the same counts give the same bytes. Pairs of neighbours beside which a code
    /// came but once are left out: there are very many, and they say little.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        crate::storage::atomic::write(path, &self.to_bytes()?)
    }

    /// Returns the bytes of the file.
    ///
    /// # Errors
    /// None is known.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let tensors = self.tensors();
        let state = serde_json::json!({ "code_statistics": {
            "format": FORMAT, "model": self.model, "levels": self.levels, "images": self.images,
        }});
        checkpoint::to_bytes(&Checkpoint { tensors, state })
    }

    /// Returns the counts as a file has them.
    fn tensors(&self) -> BTreeMap<String, HostTensor> {
        let mut tensors = BTreeMap::new();
        for (i, table) in self.tables.iter().enumerate() {
            let (mut single, mut pair) = (Vec::new(), Vec::new());
            for ((at, code), counts) in sorted(&table.single) {
                for (to, times) in counts.entries() {
                    single.extend([u32::from(*at), *code, *to, *times]);
                }
            }
            for ((left, second), counts) in sorted(&table.pair) {
                for (to, times) in counts.entries().iter().filter(|(_, n)| *n >= LEAST) {
                    pair.extend([*left, *second, *to, *times]);
                }
            }
            let all = table.all.entries().iter().flat_map(|(c, n)| [*c, *n]);
            tensors.insert(format!("{i}.all"), array(all.collect(), 2));
            tensors.insert(format!("{i}.single"), array(single, 4));
            tensors.insert(format!("{i}.pair"), array(pair, 4));
        }
        tensors
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, is damaged, or holds something else.
    pub fn load(path: &Path) -> Result<CodeStatistics> {
        let (file, _) = checkpoint::load_file(path)?;
        Self::of_file(path, &file)
    }

    /// Reads the bytes of a file, which may be anything at all.
    ///
    /// # Errors
    /// As [`CodeStatistics::load`].
    pub fn from_bytes(bytes: &[u8]) -> Result<CodeStatistics> {
        let path = Path::new("code statistics");
        Self::of_file(path, &checkpoint::from_bytes(path, bytes)?)
    }

    fn of_file(path: &Path, file: &Checkpoint) -> Result<CodeStatistics> {
        let bad = |what: &str| Error::file(path, format!("holds no statistics of codes: {what}"));
        let about = &file.state["code_statistics"];
        let format = about["format"]
            .as_u64()
            .ok_or_else(|| bad("`format` is missing; `wgvq statistics` makes such a file"))?;
        if format != u64::from(FORMAT) {
            return Err(bad(&format!(
                "they are of format {format}, and this version reads {FORMAT}; count again with \
                 `wgvq statistics`"
            )));
        }
        let model = about["model"]
            .as_str()
            .ok_or_else(|| bad("`model` is missing"))?;
        let levels: Vec<Level> = serde_json::from_value(about["levels"].clone())
            .map_err(|e| bad(&format!("`levels`: {e}")))?;
        let images = about["images"]
            .as_u64()
            .ok_or_else(|| bad("`images` is missing"))?;
        let books = levels
            .iter()
            .try_fold(0usize, |sum, l| sum.checked_add(l.codebooks));
        if books.is_none_or(|books| books > file.tensors.len()) {
            return Err(bad("tables are missing"));
        }
        if levels.iter().any(|l| l.codebook_size > MOST_CODES) {
            return Err(bad("a codebook has more codes than can be packed"));
        }
        let mut tables = empty_tables(&levels);
        for (i, table) in tables.iter_mut().enumerate() {
            let rows = |name: &str, columns: usize| {
                let name = format!("{i}.{name}");
                let tensor = file.tensors.get(&name);
                tensor
                    .and_then(|t| rows_of(t, columns))
                    .ok_or_else(|| bad(&format!("`{name}` is missing, or of another kind")))
            };
            let size = table.codes as u32;
            let known = |code: u32| {
                let past = || bad(&format!("there is no code {code} in a codebook of {size}"));
                (code < size).then_some(code).ok_or_else(past)
            };
            for row in rows("all", 2)?.chunks(2) {
                table.all.add(known(row[0])?, row[1]);
            }
            for row in rows("single", 4)?.chunks(4) {
                let key = (row[0].min(u32::from(u8::MAX)) as u8, row[1]);
                table
                    .single
                    .entry(key)
                    .or_default()
                    .add(known(row[2])?, row[3]);
            }
            for row in rows("pair", 4)?.chunks(4) {
                let key = (row[0], row[1]);
                table
                    .pair
                    .entry(key)
                    .or_default()
                    .add(known(row[2])?, row[3]);
            }
        }
        Ok(CodeStatistics {
            model: model.to_owned(),
            levels,
            images,
            tables,
            shared: OnceLock::new(),
        })
    }

    fn shared(&self) -> &Shared {
        self.shared.get_or_init(|| Shared {
            tables: self.tables.iter().map(Table::without_rare_pairs).collect(),
            sum: checkpoint::tensor_sum(&self.tensors()),
        })
    }

    /// SHA-256 of the counts, in hexadecimal, by which a packed file names those that it needs:
    /// whichever version wrote their file.
    pub fn hash(&self) -> &str {
        &self.shared().sum
    }

    /// Returns the tables of a model's levels, whatever the size of the image.
    pub(super) fn tables_of(&self, levels: &[Level]) -> Result<&[Table]> {
        if !alike(&self.levels, levels) {
            return Err(Error::invalid(
                "statistics",
                "they are of codes of other levels, or other codebooks",
            ));
        }
        Ok(&self.shared().tables)
    }

    /// Checks that these are counts of the codes of this model.
    ///
    /// # Errors
    /// If not.
    pub fn check_model(&self, codes: &Codes) -> Result<()> {
        if self.model == codes.model {
            return Ok(());
        }
        Err(Error::invalid(
            "statistics",
            "they were counted of another model's codes; count this one's with `wgvq statistics`",
        ))
    }
}

impl Table {
    fn without_rare_pairs(&self) -> Table {
        let mut table = Table {
            codes: self.codes,
            all: self.all.clone(),
            single: self.single.clone(),
            pair: Default::default(),
        };
        for (key, counts) in &self.pair {
            let mut kept = Counts::default();
            for (code, times) in counts.entries().iter().filter(|(_, n)| *n >= LEAST) {
                kept.add(*code, *times);
            }
            if !kept.entries().is_empty() {
                table.pair.insert(*key, kept);
            }
        }
        table
    }
}

fn sorted<K: Ord, V>(map: &std::collections::HashMap<K, V>) -> Vec<(&K, &V)> {
    let mut entries: Vec<(&K, &V)> = map.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    entries
}

fn array(values: Vec<u32>, columns: usize) -> HostTensor {
    HostTensor {
        shape: vec![values.len() / columns, columns],
        dtype: Dtype::U32,
        bytes: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    }
}

fn rows_of(tensor: &HostTensor, columns: usize) -> Option<Vec<u32>> {
    let whole = tensor.dtype == Dtype::U32 && tensor.shape.get(1) == Some(&columns);
    let words = tensor.bytes.as_chunks::<4>().0.iter();
    (whole && tensor.shape.len() == 2).then(|| words.map(|b| u32::from_le_bytes(*b)).collect())
}
