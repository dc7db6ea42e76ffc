//! Files of codes that describe themselves: which model made them, on what grids, from what images.

#[cfg(feature = "pack")]
pub mod entropy;
mod labels;
#[cfg(feature = "pack")]
pub mod packed;
#[cfg(test)]
mod planted;
#[cfg(not(target_arch = "wasm32"))]
pub mod shards;
mod sized;
#[cfg(feature = "parquet")]
mod table;
#[cfg(feature = "text")]
pub mod tokenizer;
pub mod tokens;
mod webdataset;

use crate::data::MAX_SIDE;
use crate::models::Level;
pub use labels::{LabelKinds, Labels};
pub use sized::{load_all, save_all};
pub use webdataset::ABOUT as WEBDATASET_ABOUT;

use crate::storage::{atomic, checkpoint};
use crate::{Error, Result};
use npyz::{WriteOptions, WriterBuilder};
use safetensors::tensor::Dtype;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Checks that these are the codes of whole images, each below the size of its codebook.
///
/// # Errors
/// If not: how many were expected, or the code that there is not.
pub fn check(levels: &[Level], codes: &[u32]) -> Result<()> {
    let per_image: usize = levels.iter().map(Level::codes).sum();
    if per_image == 0 || !codes.len().is_multiple_of(per_image) {
        let grid = |l: &Level| {
            format!(
                "{} x {} latents with {} codes each",
                l.grid[0], l.grid[1], l.codebooks
            )
        };
        let grids: Vec<String> = levels.iter().map(grid).collect();
        return Err(Error::shape(
            "decode",
            format!("whole grids of {}", grids.join(" and ")),
            codes.len(),
        ));
    }
    for image in codes.chunks(per_image) {
        let mut at = 0;
        for level in levels {
            let own = &image[at..at + level.codes()];
            at += own.len();
            if let Some(code) = level.first_invalid(own) {
                let of = if level.name.is_empty() {
                    String::new()
                } else {
                    format!(" of the {} level", level.name)
                };
                let what = format!(
                    "there is no code {code}: the codebook{of} has {}",
                    level.codebook_size
                );
                return Err(Error::data(what));
            }
        }
    }
    Ok(())
}

/// Codes of images.
#[derive(Clone, Debug, PartialEq)]
pub struct Codes {
    /// SHA-256 of the model file that made them.
    pub model: String,
    /// The quantizer's name.
    pub quantizer: String,
    /// Layout of the codes, level by level, the coarsest first.
    pub levels: Vec<Level>,
    /// Width, height and channels of the images.
    pub image: [usize; 3],
    /// A name for each image.
    pub names: Vec<String>,
    /// Codes, image by image; each image's level by level, row by row, those of a latent together.
    pub indices: Vec<u32>,
}

impl Codes {
    /// Codes of an image, of all levels.
    pub fn per_image(&self) -> usize {
        self.levels.iter().map(Level::codes).sum()
    }

    /// Returns the codes of one level, image by image.
    pub fn of_level(&self, level: usize) -> Vec<u32> {
        let at: usize = self.levels.iter().take(level).map(Level::codes).sum();
        let each = self.levels.get(level).map_or(0, Level::codes);
        self.indices
            .chunks(self.per_image().max(1))
            .flat_map(|image| &image[at..at + each])
            .copied()
            .collect()
    }

    /// Writes a safetensors file: `indices` [N, rows, columns], or [N, rows, columns, Q] of Q
    /// codebooks, u16 where the codebook allows, and the rest as metadata. With several levels,
    /// each has its own, `indices.top` and so on.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.save_file(path).map(drop)
    }

    /// [`Codes::save`], which returns the file's SHA-256.
    pub(crate) fn save_file(&self, path: &Path) -> Result<String> {
        self.save_with(&Labels::default(), path)
    }

    /// [`Codes::save_file`] with labels in tensors of their own, which [`Codes::load`] passes over.
    pub(crate) fn save_with(&self, labels: &Labels, path: &Path) -> Result<String> {
        self.check()?;
        let mut tensors: BTreeMap<_, _> = self.tensors(String::new()).collect();
        tensors.extend(labels.tensors());
        let mut about = serde_json::json!({
            "model": self.model, "quantizer": self.quantizer, "image": self.image,
            "names": self.names,
        });
        match &self.levels[..] {
            // As they were before there were levels, for readers of that time.
            [only] if only.name.is_empty() => {
                about["codebook_size"] = only.codebook_size.into();
                about["codebooks"] = only.codebooks.into();
                about["grid"] = serde_json::json!(only.grid);
            }
            levels => about["levels"] = serde_json::json!(levels),
        }
        let state = serde_json::json!({ "codes": about });
        checkpoint::save_file(path, &checkpoint::Checkpoint { tensors, state })
    }

    /// Returns the tensors of a file, each level's under its name behind `prefix`.
    fn tensors(&self, prefix: String) -> impl Iterator<Item = (String, checkpoint::HostTensor)> {
        self.levels.iter().enumerate().map(move |(i, level)| {
            let (dtype, bytes) = packed(level, &self.of_level(i));
            let shape = level.shape(self.names.len());
            (
                format!("{prefix}{}", level.tensor()),
                checkpoint::HostTensor {
                    shape,
                    dtype,
                    bytes,
                },
            )
        })
    }

    /// Checks that the parts agree. Codes past the codebook would be cut to other codes in 16 bits.
    fn check(&self) -> Result<()> {
        let sides = |sizes: &[usize]| sizes.iter().all(|n| (1..=MAX_SIDE).contains(n));
        let [width, height, channels] = self.image;
        if !sides(&[width, height]) || !(1..=4).contains(&channels) {
            let what = format!("images of {width} x {height} x {channels}");
            return Err(Error::invalid("codes", what));
        }
        if let Some(level) = self
            .levels
            .iter()
            .find(|l| !sides(&l.grid) || l.codebooks == 0)
        {
            let [rows, columns] = level.grid;
            let what = format!("{rows} x {columns} latents with {} each", level.codebooks);
            return Err(Error::invalid("codes", what));
        }
        let sizes = self.levels.iter().map(|l| {
            let parts = [l.grid[0], l.grid[1], l.codebooks];
            parts
                .into_iter()
                .try_fold(self.names.len(), |n, part| n.checked_mul(part))
        });
        let sizes: Vec<Option<usize>> = sizes.collect();
        let expected = sizes
            .into_iter()
            .try_fold(0usize, |sum, size| sum.checked_add(size?));
        if self.levels.is_empty() || expected != Some(self.indices.len()) {
            let (codes, images) = (self.indices.len(), self.names.len());
            let grid = |l: &Level| {
                format!(
                    "{} x {} latents with {} each",
                    l.grid[0], l.grid[1], l.codebooks
                )
            };
            let grids: Vec<String> = self.levels.iter().map(grid).collect();
            let what = format!(
                "{codes} codes for {images} images of {}",
                grids.join(" and ")
            );
            return Err(Error::invalid("codes", what));
        }
        for (i, level) in self.levels.iter().enumerate() {
            if let Some(code) = level.first_invalid(&self.of_level(i)) {
                return Err(Error::invalid(
                    "codes",
                    format!("there is a code {code}, of {}", level.codebook_size),
                ));
            }
        }
        Ok(())
    }

    /// Returns the files that [`Codes::save_npy`] writes: `path`, or with several levels a file for
    /// each, `codes-top.npy` and so on.
    pub fn npy_paths(path: &Path, levels: &[Level]) -> Vec<PathBuf> {
        let stem = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let place = |l: &Level| match l.name.as_str() {
            "" => path.to_owned(),
            name => path.with_file_name(format!("{stem}-{name}.npy")),
        };
        levels.iter().map(place).collect()
    }

    /// Writes the codes alone as NumPy arrays (format 1.0) of the same shapes, a file to each
    /// level.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn save_npy(&self, path: &Path) -> Result<()> {
        self.check()?;
        for (i, (level, place)) in self
            .levels
            .iter()
            .zip(Codes::npy_paths(path, &self.levels))
            .enumerate()
        {
            let (shape, codes) = (level.shape(self.names.len()), self.of_level(i));
            let file = match dtype(level) {
                Dtype::U16 => npy(&shape, codes.iter().map(|code| *code as u16)),
                _ => npy(&shape, codes.iter().copied()),
            };
            let file = file.map_err(|e| Error::file(&place, format!("cannot be made: {e}")))?;
            atomic::write(&place, &file)?;
        }
        Ok(())
    }

    /// Reads what [`Codes::save`] wrote.
    ///
    /// # Errors
    /// If it is damaged or holds no codes.
    pub fn load(path: &Path) -> Result<Codes> {
        Ok(Codes::load_with(path, &LabelKinds::default())?.0)
    }

    /// [`Codes::load`], and labels of these kinds, as [`Codes::save_with`] wrote them.
    pub(crate) fn load_with(path: &Path, kinds: &LabelKinds) -> Result<(Codes, Labels)> {
        let (file, _) = checkpoint::load_file(path)?;
        if !file.state["codes"]["images"].is_null() {
            return Err(Error::file(
                path,
                "holds codes of images that each have their own size; `wgvq decode` reads it",
            ));
        }
        let codes = Codes::of_file(path, &file)?;
        let labels = Labels::of_tensors(&file.tensors, kinds, codes.names.len());
        let bad = |what: String| Error::file(path, format!("its labels are damaged: {what}"));
        Ok((codes, labels.map_err(bad)?))
    }

    /// The codes of a file whose images have one size.
    fn of_file(path: &Path, file: &checkpoint::Checkpoint) -> Result<Codes> {
        let about = &file.state["codes"];
        let bad =
            |what: &str| Error::file(path, format!("holds no codes that can be used: {what}"));
        let numbers = |key: &str| -> Option<Vec<usize>> {
            about[key]
                .as_array()?
                .iter()
                .map(|n| n.as_u64().map(|n| n as usize))
                .collect()
        };
        let text = |key: &str| {
            about[key]
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| bad(&format!("`{key}` is missing")))
        };
        let image: [usize; 3] = numbers("image")
            .and_then(|v| v.try_into().ok())
            .ok_or_else(|| bad("`image` is missing"))?;
        let names = about["names"].as_array().map(|v| {
            v.iter()
                .map(|n| n.as_str().unwrap_or_default().to_owned())
                .collect()
        });
        let names: Vec<String> = names.ok_or_else(|| bad("`names` are missing"))?;
        let levels: Vec<Level> = if about["levels"].is_null() {
            let grid = numbers("grid")
                .and_then(|v| v.try_into().ok())
                .ok_or_else(|| bad("`grid` is missing"))?;
            let size = about["codebook_size"]
                .as_u64()
                .ok_or_else(|| bad("`codebook_size` is missing"))?;
            // Files of the first format have one code to a latent.
            let codebooks = about["codebooks"].as_u64().unwrap_or(1) as usize;
            vec![Level {
                name: String::new(),
                grid,
                codebook_size: size as usize,
                codebooks,
            }]
        } else {
            serde_json::from_value(about["levels"].clone())
                .map_err(|e| bad(&format!("its levels: {e}")))?
        };
        let indices = indices_of(file, "", &levels, names.len()).map_err(|e| bad(&e))?;
        let codes = Codes {
            model: text("model")?,
            quantizer: text("quantizer")?,
            levels,
            image,
            names,
            indices,
        };
        codes.check().map_err(|e| bad(&e.to_string()))?;
        Ok(codes)
    }

    /// Checks that the model of this hash made these codes.
    ///
    /// # Errors
    /// If not; the message says which model made them.
    pub fn check_model(&self, hash: &str) -> Result<()> {
        if self.model == hash {
            return Ok(());
        }
        let short = |h: &str| h.chars().take(12).collect::<String>();
        let sizes: Vec<String> = self
            .levels
            .iter()
            .map(|l| l.codebook_size.to_string())
            .collect();
        Err(Error::data(format!(
            "these codes were made by the model {} ({}, {} codes), this is the model {}: decode \
             them with the run that made them",
            short(&self.model),
            self.quantizer,
            sizes.join(" and "),
            short(hash)
        )))
    }
}

/// Returns the codes of levels, each image by image, as those of images, each level by level.
pub fn interleave(levels: &[Vec<u32>], images: usize) -> Vec<u32> {
    let each: Vec<usize> = levels
        .iter()
        .map(|codes| codes.len() / images.max(1))
        .collect();
    let of = |i: usize| {
        levels
            .iter()
            .zip(&each)
            .flat_map(move |(codes, n)| &codes[i * n..(i + 1) * n])
    };
    (0..images).flat_map(of).copied().collect()
}

/// Returns the codes of the levels of `images` images, from a file's tensors under `prefix`; or
/// what is wrong with them.
fn indices_of(
    file: &checkpoint::Checkpoint,
    prefix: &str,
    levels: &[Level],
    images: usize,
) -> std::result::Result<Vec<u32>, String> {
    let mut parts = Vec::new();
    for level in levels {
        let name = format!("{prefix}{}", level.tensor());
        let tensor = file
            .tensors
            .get(&name)
            .ok_or_else(|| format!("`{name}` are missing"))?;
        let indices: Vec<u32> = match tensor.dtype {
            Dtype::U16 => tensor
                .bytes
                .chunks_exact(2)
                .map(|b| u16::from_le_bytes([b[0], b[1]]) as u32)
                .collect(),
            Dtype::U32 => tensor
                .bytes
                .chunks_exact(4)
                .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            other => return Err(format!("`{name}` are {other:?}")),
        };
        if let Some(code) = level.first_invalid(&indices) {
            return Err(format!(
                "there is a code {code}, of {}",
                level.codebook_size
            ));
        }
        let (books, grid, shape) = (level.codebooks, level.grid, &tensor.shape);
        let size = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        if *shape != level.shape(images) || size != Some(indices.len()) {
            return Err(format!(
                "`{name}` are {shape:?}, for {images} images of {grid:?} and {books} codebooks"
            ));
        }
        parts.push(indices);
    }
    Ok(interleave(&parts, images))
}

fn packed(level: &Level, codes: &[u32]) -> (Dtype, Vec<u8>) {
    let bytes = match dtype(level) {
        Dtype::U16 => codes
            .iter()
            .flat_map(|code| (*code as u16).to_le_bytes())
            .collect(),
        _ => codes.iter().flat_map(|code| code.to_le_bytes()).collect(),
    };
    (dtype(level), bytes)
}

/// The smaller of two types that holds a level's codes.
fn dtype(level: &Level) -> Dtype {
    if level.codebook_size <= 1 << 16 {
        Dtype::U16
    } else {
        Dtype::U32
    }
}

/// Returns the bytes of an array's `.npy` file.
pub(crate) fn npy<T: npyz::AutoSerialize>(
    shape: &[usize],
    values: impl Iterator<Item = T>,
) -> std::io::Result<Vec<u8>> {
    let shape: Vec<u64> = shape.iter().map(|n| *n as u64).collect();
    let mut bytes = Vec::new();
    let mut writer = WriteOptions::new()
        .default_dtype()
        .shape(&shape)
        .writer(&mut bytes)
        .begin_nd()?;
    writer.extend(values)?;
    writer.finish()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
