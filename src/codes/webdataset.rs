//! Codes as WebDataset reads them: tars of samples, in which the files of a sample share a name up
//! to its first dot.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::Path;

use super::{Codes, Labels, dtype, npy};
use crate::models::Level;
use crate::storage::atomic;
use crate::{Error, Result};
use safetensors::tensor::Dtype;

/// The file beside the tars that says what they hold.
pub const ABOUT: &str = "codes.json";

impl Codes {
    /// Returns the names of the files that [`Codes::save_webdataset`] writes for so many images.
    pub fn webdataset_files(images: usize, per_tar: usize) -> Vec<String> {
        let tars = images.div_ceil(per_tar.max(1));
        let names = (0..tars).map(|i| format!("codes-{i:06}.tar"));
        names.chain([ABOUT.to_owned()]).collect()
    }

    /// Writes tars of at most `per_tar` images into a folder, and beside them `codes.json`, which
    /// says what they hold. Of each image there are its codes as a NumPy array (`00000000.npy`;
    /// `00000000.top.npy` and so on of several levels), its class (`.cls`), its text (`.txt`), and
    /// the names of both (`.json`).
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save_webdataset(&self, labels: &Labels, folder: &Path, per_tar: usize) -> Result<()> {
        self.check()?;
        let (per_tar, images) = (per_tar.max(1), self.names.len());
        let files = Codes::webdataset_files(images, per_tar);
        for (i, name) in files.iter().enumerate().take(files.len() - 1) {
            let path = folder.join(name);
            let file = File::create(&path).map_err(|e| cannot_write(&path, &e))?;
            let own = i * per_tar..((i + 1) * per_tar).min(images);
            self.write_tar(labels, own, 0, &file, &path)?;
            atomic::sync(&file, &path)?;
        }
        let about = serde_json::json!({
            "model": self.model, "quantizer": self.quantizer, "image": self.image,
            "levels": self.levels, "images": images, "classes": labels.classes,
            "tars": files[..files.len() - 1],
        });
        let about = serde_json::to_vec_pretty(&about).map_err(Error::data)?;
        atomic::write(&folder.join(ABOUT), &about)
    }

    /// Writes images as samples, named by their numbers behind `first`.
    pub(super) fn write_tar(
        &self,
        labels: &Labels,
        images: Range<usize>,
        first: usize,
        file: &File,
        path: &Path,
    ) -> Result<()> {
        let failed = |e: std::io::Error| cannot_write(path, &e);
        let mut tar = tar::Builder::new(BufWriter::new(file));
        for image in images {
            self.sample(&mut tar, labels, image, first + image)
                .map_err(failed)?;
        }
        let rest = tar.into_inner().map_err(failed)?;
        rest.into_inner().map_err(|e| failed(e.into_error()))?;
        Ok(())
    }

    /// Appends the files of an image, under the sample's number.
    fn sample(
        &self,
        tar: &mut tar::Builder<impl Write>,
        labels: &Labels,
        image: usize,
        number: usize,
    ) -> std::io::Result<()> {
        let mut append = |ending: &str, bytes: &[u8]| append(tar, number, ending, bytes);
        let mut at = image * self.per_image();
        for level in &self.levels {
            let own = &self.indices[at..at + level.codes()];
            at += own.len();
            append(&ending(level), &array(level, own)?)?;
        }
        let class = labels.class_of(image);
        if let Some(class) = class {
            append("cls", class.to_string().as_bytes())?;
        }
        if let Some(text) = labels.text_of(image) {
            append("txt", text.as_bytes())?;
        }
        let class = class.and_then(|class| labels.classes.get(class as usize));
        let about = serde_json::json!({ "name": self.names[image], "class": class });
        append("json", about.to_string().as_bytes())
    }
}

fn cannot_write(path: &Path, e: &std::io::Error) -> Error {
    Error::file(path, format!("cannot be written: {e}"))
}

/// The end of the name of a level's array.
pub(super) fn ending(level: &Level) -> String {
    match level.name.as_str() {
        "" => "npy".to_owned(),
        name => format!("{name}.npy"),
    }
}

/// Returns a level's codes of one image as a NumPy file: [rows, columns], or [rows, columns, Q].
pub(super) fn array(level: &Level, codes: &[u32]) -> std::io::Result<Vec<u8>> {
    let shape = level.shape(1);
    match dtype(level) {
        Dtype::U16 => npy(&shape[1..], codes.iter().map(|code| *code as u16)),
        _ => npy(&shape[1..], codes.iter().copied()),
    }
}

/// Appends a file of a sample, with nothing of this machine or time in its header.
fn append(
    tar: &mut tar::Builder<impl Write>,
    number: usize,
    ending: &str,
    bytes: &[u8],
) -> std::io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    tar.append_data(&mut header, format!("{number:08}.{ending}"), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::planted::codes_of_three;
    use std::collections::BTreeMap;
    use std::io::Read;

    #[test]
    fn samples_lie_together_and_tars_have_their_number() {
        let (codes, labels) = codes_of_three();
        let labels = Labels {
            texts: Some(vec![Some("a dog".into()), None, None]),
            ..labels
        };
        let folder = tempfile::tempdir().unwrap();
        codes.save_webdataset(&labels, folder.path(), 2).unwrap();
        let of = |tar: &str| -> Vec<(String, Vec<u8>)> {
            let file = File::open(folder.path().join(tar)).unwrap();
            let mut archive = tar::Archive::new(file);
            let entries = archive.entries().unwrap();
            let read = |entry: std::io::Result<tar::Entry<File>>| {
                let (mut entry, mut bytes) = (entry.unwrap(), Vec::new());
                entry.read_to_end(&mut bytes).unwrap();
                (entry.path().unwrap().display().to_string(), bytes)
            };
            entries.map(read).collect()
        };
        let first = of("codes-000000.tar");
        let names: Vec<&str> = first.iter().map(|(name, _)| name.as_str()).collect();
        let expected = [
            "00000000.top.npy",
            "00000000.bottom.npy",
            "00000000.cls",
            "00000000.txt",
            "00000000.json",
            "00000001.top.npy",
            "00000001.bottom.npy",
            "00000001.json",
        ];
        assert_eq!(names, expected);
        let first: BTreeMap<String, Vec<u8>> = first.into_iter().collect();
        assert_eq!(first["00000000.cls"], b"1");
        assert_eq!(first["00000000.txt"], b"a dog");
        let array = npyz::NpyFile::new(&first["00000001.bottom.npy"][..]).unwrap();
        assert_eq!(array.shape(), [1, 2]);
        assert_eq!(array.into_vec::<u32>().unwrap(), [3, 69_999]);
        let array = npyz::NpyFile::new(&first["00000000.top.npy"][..]).unwrap();
        assert_eq!(array.into_vec::<u16>().unwrap(), [8]);
        assert_eq!(of("codes-000001.tar").len(), 4);
        let about = std::fs::read(folder.path().join(ABOUT)).unwrap();
        let about: serde_json::Value = serde_json::from_slice(&about).unwrap();
        assert_eq!(about["tars"].as_array().unwrap().len(), 2);
        let files = Codes::webdataset_files(3, 2);
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            files.len()
        );
    }
}
