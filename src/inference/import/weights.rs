//! The tensors of a checkpoint in one safetensors file, or in several as Hugging Face's libraries
//! write large ones: an index, `model.safetensors.index.json`, says which file has which tensor.

use super::tensors;
use crate::storage::checkpoint::read_table;
use crate::{Error, Result, files, memory};
use safetensors::tensor::Metadata;
use serde::Deserialize;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The end of an index's name.
pub(super) const INDEX: &str = ".safetensors.index.json";

/// Tensors of a checkpoint, which are read one at a time.
#[derive(Debug)]
pub(super) struct Weights {
    path: PathBuf,
    files: Vec<WeightsFile>,
    /// The number of the file that has each tensor.
    places: BTreeMap<String, usize>,
}

/// A file of tensors, opened when the first of them is read.
#[derive(Debug)]
struct WeightsFile {
    path: PathBuf,
    table: OnceCell<Table>,
}

/// An open file and what it holds where.
#[derive(Debug)]
struct Table {
    file: File,
    metadata: Metadata,
    start: u64,
}

/// The parts of an index that are read.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// Opens a safetensors file, or the index of several. Of these only those are read that have
    /// tensors which are read.
    ///
    /// # Errors
    /// If it is neither.
    pub(super) fn open(path: &Path) -> Result<Weights> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(INDEX) {
            return Weights::of_index(path);
        }
        let table = Table::open(path)?;
        let names = table.metadata.offset_keys();
        let file = WeightsFile {
            path: path.to_owned(),
            table: OnceCell::from(table),
        };
        Ok(Weights {
            path: path.to_owned(),
            files: vec![file],
            places: names.into_iter().map(|name| (name, 0)).collect(),
        })
    }

    fn of_index(path: &Path) -> Result<Weights> {
        let wrong = |what: String| Error::file(path, what);
        let bytes = files::read(path, files::LIST)?;
        let index: Index = serde_json::from_slice(&bytes)
            .map_err(|e| wrong(format!("is no index of safetensors files: {e}")))?;
        let mut files: Vec<WeightsFile> = Vec::new();
        let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
        let mut places = BTreeMap::new();
        for (tensor, name) in index.weight_map {
            if Path::new(&name).file_name() != Some(OsStr::new(&name)) {
                let what = format!("has `{tensor}` in `{name}`: only files beside it are read");
                return Err(wrong(what));
            }
            let number = *numbers.entry(name).or_insert_with_key(|name| {
                files.push(WeightsFile {
                    path: path.with_file_name(name),
                    table: OnceCell::new(),
                });
                files.len() - 1
            });
            places.insert(tensor, number);
        }
        Ok(Weights {
            path: path.to_owned(),
            files,
            places,
        })
    }

    /// Returns the tensors' names, in their order.
    pub(super) fn names(&self) -> Vec<&str> {
        self.places.keys().map(String::as_str).collect()
    }

    /// Whether there is a tensor of this name.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Reads the shape and the numbers of a tensor, as [`tensors::numbers`] has them.
    ///
    /// # Errors
    /// If there is none of that name, its file is missing or damaged, or it has another shape or
    /// other elements.
    pub(super) fn read(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let none = || Error::file(&self.path, format!("has no tensor `{name}`"));
        let file = self.places.get(name).and_then(|n| self.files.get(*n));
        let file = file.ok_or_else(none)?;
        let table = self.table(file, name)?;
        let at = |e: Error| Error::file(&file.path, e);
        let info = table.metadata.info(name).ok_or_else(|| {
            let what = format!(
                "has no tensor `{name}`, of which {} says that it lies there: the two are not of \
                 one checkpoint",
                self.path.display()
            );
            Error::file(&file.path, what)
        })?;
        let (from, to) = info.data_offsets;
        memory::check_available("a tensor of a checkpoint", Some((to - from) as u64))?;
        let mut bytes = vec![0; to - from];
        let mut own = &table.file;
        own.seek(SeekFrom::Start(table.start + from as u64))
            .and_then(|_| own.read_exact(&mut bytes))
            .map_err(|e| at(Error::data(format!("tensor `{name}` cannot be read: {e}"))))?;
        tensors::numbers(name, info.dtype, &info.shape, &bytes).map_err(at)
    }

    /// Opens the file that has this tensor, where that is not done yet.
    fn table<'a>(&self, file: &'a WeightsFile, tensor: &str) -> Result<&'a Table> {
        if let Some(table) = file.table.get() {
            return Ok(table);
        }
        if !file.path.is_file() {
            let name = file.path.file_name().unwrap_or_default().to_string_lossy();
            let what = format!(
                "`{tensor}` lies in {name}, one of {} files, which is missing: put it beside the \
                 index",
                self.files.len()
            );
            return Err(Error::file(&self.path, what));
        }
        let table = Table::open(&file.path)?;
        Ok(file.table.get_or_init(|| table))
    }
}

impl Table {
    fn open(path: &Path) -> Result<Table> {
        let mut file = files::open(path)?;
        let (metadata, start) = read_table(&mut file).map_err(|e| {
            let what = format!(
                "is no safetensors file: {e}. A checkpoint in PyTorch's format is converted by \
                 `safetensors.torch.save_file(torch.load(..)[\"state_dict\"], ..)`"
            );
            Error::file(path, what)
        })?;
        Ok(Table {
            file,
            metadata,
            start,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::{Dtype, serialize, tensor::TensorView};

    fn write(path: &Path, names: &[&str]) {
        let bytes = 2.5f32.to_le_bytes();
        let view = || TensorView::new(Dtype::F32, vec![1], &bytes).unwrap();
        let views = names.iter().map(|name| (*name, view()));
        std::fs::write(path, serialize(views, None).unwrap()).unwrap();
    }

    #[test]
    fn tensors_are_read_from_the_file_that_the_index_names() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let [one, two] = [1, 2].map(|n| format!("model-{n:05}-of-00002.safetensors"));
        write(&at(&one), &["a", "b"]);
        write(&at(&two), &["c"]);
        let index = at("model.safetensors.index.json");
        let save = |map: serde_json::Value| {
            let all = serde_json::json!({ "metadata": { "total_size": 12 }, "weight_map": map });
            std::fs::write(&index, all.to_string()).unwrap();
        };
        save(serde_json::json!({ "a": one, "b": one, "c": two, "d": two }));
        let weights = Weights::open(&index).unwrap();
        assert_eq!(weights.names(), ["a", "b", "c", "d"]);
        assert_eq!(weights.read("c").unwrap(), (vec![1], vec![2.5]));
        let refused = |weights: &Weights, tensor: &str, words: &[&str]| {
            let said = weights.read(tensor).unwrap_err().to_string();
            assert!(words.iter().all(|word| said.contains(word)), "{said}");
        };
        refused(&weights, "d", &["`d`", &two, "index.json"]);
        refused(&weights, "e", &["`e`", "index.json"]);
        // A file is wanted when a tensor of it is.
        std::fs::remove_file(at(&two)).unwrap();
        let weights = Weights::open(&index).unwrap();
        assert_eq!(weights.read("a").unwrap().1, [2.5]);
        refused(&weights, "c", &["`c`", &two, "2 files", "missing"]);
        std::fs::write(at(&two), "cut").unwrap();
        refused(&weights, "c", &[&two, "no safetensors file"]);
        for elsewhere in ["../a.safetensors", "..", "a/b", ""] {
            save(serde_json::json!({ "a": elsewhere }));
            let said = Weights::open(&index).unwrap_err().to_string();
            assert!(said.contains("beside it"), "{said}");
        }
        std::fs::write(&index, "{}").unwrap();
        let said = Weights::open(&index).unwrap_err().to_string();
        assert!(said.contains("no index"), "{said}");
    }
}
