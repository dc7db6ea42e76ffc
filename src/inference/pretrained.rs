//! Trained models that are part of the library, with the feature `pretrained`: decoding and drawing
//! need no training first.
//!
//! `assets/models/README.md` says how each was trained, by which commands, and what it reaches.

use crate::Result;
use crate::inference::bundle::Bundle;
use std::path::Path;

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
pub const PRETRAINED: [Pretrained; 1] = [Pretrained {
    name: "emoji32",
    about: "emoji, 32 x 32: a tokenizer of 64 codes an image, and a prior that reads texts",
    bytes: include_bytes!("../../assets/models/emoji32.bundle"),
}];

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
}
