//! Files of codes that describe themselves: which model made them, on what grid, from what images.

use crate::train::{atomic, checkpoint};
use crate::{Error, Result};
use safetensors::tensor::Dtype;
use std::collections::BTreeMap;
use std::path::Path;

/// Codes of images.
#[derive(Clone, Debug, PartialEq)]
pub struct Codes {
    /// SHA-256 of the model file that made them.
    pub model: String,
    /// The quantizer's name.
    pub quantizer: String,
    /// Codes of a codebook.
    pub codebook_size: usize,
    /// Codes of a latent, one from each codebook.
    pub codebooks: usize,
    /// Rows and columns of an image's codes.
    pub grid: [usize; 2],
    /// Width, height and channels of the images.
    pub image: [usize; 3],
    /// A name for each image.
    pub names: Vec<String>,
    /// Codes, row by row, image by image, those of a latent together.
    pub indices: Vec<u32>,
}

impl Codes {
    fn shape(&self) -> Vec<usize> {
        let mut shape = vec![self.names.len(), self.grid[0], self.grid[1]];
        if self.codebooks > 1 {
            shape.push(self.codebooks);
        }
        shape
    }

    /// Writes a safetensors file: `indices` [N, rows, columns], or [N, rows, columns, Q] of Q codebooks, u16 where the codebook allows, and the rest as metadata.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.check()?;
        let (dtype, bytes) = self.packed();
        let shape = self.shape();
        let tensors = BTreeMap::from([("indices".to_owned(), checkpoint::HostTensor { shape, dtype, bytes })]);
        let state = serde_json::json!({
            "codes": {
                "model": self.model,
                "quantizer": self.quantizer,
                "codebook_size": self.codebook_size,
                "codebooks": self.codebooks,
                "grid": self.grid,
                "image": self.image,
                "names": self.names,
            }
        });
        checkpoint::save_file(path, &checkpoint::Checkpoint { tensors, state }).map(drop)
    }

    /// Do the parts agree? Codes past the codebook would be cut to other codes in 16 bits.
    fn check(&self) -> Result<()> {
        let [rows, columns] = self.grid;
        let parts = [rows, columns, self.codebooks];
        let expected = parts.into_iter().try_fold(self.names.len(), |n, part| n.checked_mul(part));
        if expected != Some(self.indices.len()) {
            let (codes, images, books) = (self.indices.len(), self.names.len(), self.codebooks);
            let what = format!("{codes} codes for {images} images of {rows} x {columns} latents with {books} each");
            return Err(Error::invalid("codes", what));
        }
        match self.indices.iter().find(|c| **c as usize >= self.codebook_size) {
            Some(code) => Err(Error::invalid("codes", format!("there is a code {code}, of {}", self.codebook_size))),
            None => Ok(()),
        }
    }

    fn packed(&self) -> (Dtype, Vec<u8>) {
        if self.codebook_size <= 1 << 16 {
            (Dtype::U16, self.indices.iter().flat_map(|i| (*i as u16).to_le_bytes()).collect())
        } else {
            (Dtype::U32, self.indices.iter().flat_map(|i| i.to_le_bytes()).collect())
        }
    }

    /// Writes the codes alone as a NumPy array (format 1.0) of the same shape.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save_npy(&self, path: &Path) -> Result<()> {
        self.check()?;
        let (dtype, bytes) = self.packed();
        let kind = if dtype == Dtype::U16 { "<u2" } else { "<u4" };
        let sizes: Vec<String> = self.shape().iter().map(usize::to_string).collect();
        let shape = format!("({})", sizes.join(", "));
        let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
        // Magic, version, length and header together are a multiple of 64, ended by a line feed.
        let pad = 64 - (10 + header.len() + 1) % 64;
        header.push_str(&" ".repeat(pad % 64));
        header.push('\n');
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend((header.len() as u16).to_le_bytes());
        file.extend(header.as_bytes());
        file.extend(bytes);
        atomic::write(path, &file)
    }

    /// Reads what [`Codes::save`] wrote.
    ///
    /// # Errors
    /// If it is damaged or holds no codes.
    pub fn load(path: &Path) -> Result<Codes> {
        let (file, _) = checkpoint::load_file(path)?;
        let about = &file.state["codes"];
        let bad = |what: &str| Error::file(path, format!("holds no codes that can be used: {what}"));
        let numbers = |key: &str| -> Option<Vec<usize>> {
            about[key].as_array()?.iter().map(|n| n.as_u64().map(|n| n as usize)).collect()
        };
        let text =
            |key: &str| about[key].as_str().map(str::to_owned).ok_or_else(|| bad(&format!("`{key}` is missing")));
        let grid: [usize; 2] =
            numbers("grid").and_then(|v| v.try_into().ok()).ok_or_else(|| bad("`grid` is missing"))?;
        let image: [usize; 3] =
            numbers("image").and_then(|v| v.try_into().ok()).ok_or_else(|| bad("`image` is missing"))?;
        let names =
            about["names"].as_array().map(|v| v.iter().map(|n| n.as_str().unwrap_or_default().to_owned()).collect());
        let names: Vec<String> = names.ok_or_else(|| bad("`names` are missing"))?;
        let codebook_size = about["codebook_size"].as_u64().ok_or_else(|| bad("`codebook_size` is missing"))? as usize;
        // Files of the first format have one code to a latent.
        let codebooks = about["codebooks"].as_u64().unwrap_or(1) as usize;
        let tensor = file.tensors.get("indices").ok_or_else(|| bad("`indices` are missing"))?;
        let indices: Vec<u32> = match tensor.dtype {
            Dtype::U16 => tensor.bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]) as u32).collect(),
            Dtype::U32 => tensor.bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            other => return Err(bad(&format!("`indices` are {other:?}"))),
        };
        if let Some(code) = indices.iter().find(|c| **c as usize >= codebook_size) {
            return Err(bad(&format!("there is a code {code}, of {codebook_size}")));
        }
        let (model, quantizer) = (text("model")?, text("quantizer")?);
        let codes = Codes { model, quantizer, codebook_size, codebooks, grid, image, names, indices };
        if tensor.shape != codes.shape() || codes.check().is_err() {
            let images = codes.names.len();
            let what =
                format!("`indices` are {:?}, for {images} images of {grid:?} and {codebooks} codebooks", tensor.shape);
            return Err(bad(&what));
        }
        Ok(codes)
    }

    /// Were these codes made by the model of this hash?
    ///
    /// # Errors
    /// If not; the message says which model made them.
    pub fn check_model(&self, hash: &str) -> Result<()> {
        if self.model == hash {
            return Ok(());
        }
        let short = |h: &str| h.chars().take(12).collect::<String>();
        Err(Error::data(format!(
            "these codes were made by the model {} ({}, {} codes), this is the model {}: decode them with the run that made them",
            short(&self.model),
            self.quantizer,
            self.codebook_size,
            short(hash)
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(codebook_size: usize) -> Codes {
        Codes {
            model: "abcdef0123456789".into(),
            quantizer: "ema".into(),
            codebook_size,
            codebooks: 1,
            grid: [2, 3],
            image: [12, 8, 3],
            names: vec!["one".into(), "zwei".into()],
            indices: (0..12).collect(),
        }
    }

    #[test]
    fn codes_come_back_and_know_their_model() {
        let folder = tempfile::tempdir().unwrap();
        for size in [512, 1 << 20] {
            let path = folder.path().join("c.safetensors");
            sample(size).save(&path).unwrap();
            let again = Codes::load(&path).unwrap();
            assert_eq!(again, sample(size));
            again.check_model("abcdef0123456789").unwrap();
            assert!(again.check_model("fff").unwrap_err().to_string().contains("abcdef012345"));
        }
        let path = folder.path().join("stack.safetensors");
        let stack = Codes { codebooks: 2, indices: (0..24).collect(), ..sample(64) };
        stack.save(&path).unwrap();
        assert_eq!(Codes::load(&path).unwrap(), stack);
    }

    #[test]
    fn numpy_reads_the_header() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.npy");
        sample(512).save_npy(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let header = u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
        assert_eq!((10 + header) % 64, 0);
        assert_eq!(bytes.len(), 10 + header + 24);
        assert!(String::from_utf8_lossy(&bytes[10..10 + header]).contains("'shape': (2, 2, 3)"));
    }

    #[test]
    fn codes_past_the_codebook_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.safetensors");
        assert!(sample(8).save(&path).unwrap_err().to_string().contains("a code 8"));
        assert!(!path.exists());
        // A file that says it all the same: what is written is not what is believed.
        sample(512).save(&path).unwrap();
        let (mut file, _) = checkpoint::load_file(&path).unwrap();
        file.state["codes"]["codebook_size"] = 8.into();
        checkpoint::save_file(&path, &file).unwrap();
        assert!(Codes::load(&path).unwrap_err().to_string().contains("a code 8"));
    }
}
