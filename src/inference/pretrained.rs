//! Trained models that are part of the library, with the feature `pretrained`: decoding and drawing
//! need no training first.
//!
//! `assets/models/README.md` says how each was trained, by which commands, and what it reaches.

use crate::inference::bundle::Bundle;
use crate::storage::{atomic, checkpoint};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// A trained model that is part of the library.
///
/// ```no_run
/// use wgvq::gpu::{Gpu, Options};
/// use wgvq::inference::FirstStageModel;
/// use wgvq::inference::pretrained::Pretrained;
///
/// # fn main() -> wgvq::Result<()> {
/// let gpu = Gpu::new(Options::default())?;
/// let bundle = Pretrained::named("emoji32").expect("it is listed").bundle()?;
/// let model = FirstStageModel::from_bytes(&gpu, &bundle.file("final.safetensors")?)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Pretrained {
    /// Its name.
    pub name: &'static str,
    /// A description, in a line.
    pub about: &'static str,
    bytes: &'static [u8],
}

/// All of them.
pub const PRETRAINED: [Pretrained; 2] = [
    Pretrained {
        name: "emoji32",
        about: "emoji, 32 x 32: a tokenizer of 64 codes an image, and a prior that reads texts",
        bytes: include_bytes!("../../assets/models/emoji32.bundle"),
    },
    Pretrained {
        name: "clipart64",
        about: "drawings, 64 x 64: a tokenizer of 256 codes an image",
        bytes: include_bytes!("../../assets/models/clipart64.bundle"),
    },
];

impl Pretrained {
    /// Returns the model of that name.
    pub fn named(name: &str) -> Option<&'static Pretrained> {
        const ALL: &[Pretrained] = &PRETRAINED;
        ALL.iter().find(|model| model.name == name)
    }

    /// Returns the bytes of its bundle.
    pub fn bytes(&self) -> &'static [u8] {
        self.bytes
    }

    /// Reads its bundle.
    ///
    /// # Errors
    /// If the build is damaged.
    pub fn bundle(&self) -> Result<Bundle> {
        Bundle::from_bytes(Path::new(self.name), self.bytes)
    }

    /// Writes its run below `folder`, a place for caches, where it is not there yet, and returns
    /// the run's folder.
    ///
    /// The folder's name has the bundle's SHA-256, so that another version's model has another.
    /// Files that are missing or are not what they should be are written, each beside its place and
    /// renamed: of several processes that do so at once, all find whole files, since all write the
    /// same bytes.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn run_below(&self, folder: &Path) -> Result<PathBuf> {
        let bundle = self.bundle()?;
        let sum = checkpoint::sum(self.bytes);
        let run = folder.join(&sum[..16]).join(self.name);
        for name in bundle.names() {
            let (path, bytes) = (run.join(name), bundle.file(name)?);
            let is_there = || std::fs::read(&path).is_ok_and(|there| there == bytes);
            if is_there() {
                continue;
            }
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)
                    .map_err(|e| Error::file(parent, format!("cannot be made: {e}")))?;
            }
            // Some systems rename nothing over a file that another process reads at the moment.
            let written = atomic::write(&path, &bytes);
            if !is_there() {
                written?;
            }
        }
        Ok(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_written_once_and_mended() {
        let folder = tempfile::tempdir().unwrap();
        for model in &PRETRAINED {
            let threads: Vec<PathBuf> = std::thread::scope(|scope| {
                let one = || model.run_below(folder.path()).unwrap();
                let started: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
                started.into_iter().map(|t| t.join().unwrap()).collect()
            });
            let run = &threads[0];
            assert!(threads.iter().all(|other| other == run));
            assert!(run.ends_with(model.name));
            let bundle = model.bundle().unwrap();
            let held = || {
                let right = |name: &str| {
                    std::fs::read(run.join(name)).unwrap() == bundle.file(name).unwrap()
                };
                bundle.names().all(right)
            };
            assert!(held());
            let file = run.join("final.safetensors");
            let before = file.metadata().unwrap().modified().unwrap();
            model.run_below(folder.path()).unwrap();
            assert_eq!(file.metadata().unwrap().modified().unwrap(), before);
            std::fs::write(&file, "torn").unwrap();
            std::fs::remove_file(run.join("config.toml")).unwrap();
            assert_eq!(&model.run_below(folder.path()).unwrap(), run);
            assert!(held());
            let taken = folder.path().join("taken");
            std::fs::write(&taken, "a file").unwrap();
            let error = model.run_below(&taken).unwrap_err().to_string();
            assert!(error.contains("taken"), "{error}");
        }
    }
}
