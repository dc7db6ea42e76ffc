//! The codes, classes and texts that a prior is over.

use crate::models::Level;
use crate::models::level::countable;
use crate::models::text::Text;
use serde::{Deserialize, Serialize};

/// Layout of the codes that a prior models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Vocabulary {
    /// Codes of a codebook, K.
    pub codebook_size: usize,
    /// Codes of a latent, Q: one from each codebook.
    pub codebooks: usize,
    /// Rows and columns of an image's latents.
    pub grid: [usize; 2],
    /// Classes, C; 0 where images have none.
    pub classes: usize,
    /// The levels above these codes', the coarsest first: their codes are known before.
    #[serde(default)]
    pub above: Vec<Level>,
    /// Layout of the images' texts, where they have some.
    #[serde(default)]
    pub text: Option<Text>,
}

/// A vocabulary as a file has it: its sizes may be anything.
#[derive(Deserialize)]
struct Unchecked {
    codebook_size: usize,
    codebooks: usize,
    grid: [usize; 2],
    classes: usize,
    #[serde(default)]
    above: Vec<Level>,
    #[serde(default)]
    text: Option<Text>,
}

impl TryFrom<Unchecked> for Vocabulary {
    type Error = String;

    fn try_from(found: Unchecked) -> Result<Vocabulary, String> {
        let Unchecked {
            codebook_size,
            codebooks,
            grid,
            classes,
            above,
            text,
        } = found;
        countable(&[grid[0], grid[1], codebooks])?;
        countable(&[codebook_size, codebooks])?;
        // One more stands for none.
        countable(&[classes.saturating_add(1)])?;
        if let Some(text) = &text {
            text.check().map_err(|error| error.to_string())?;
        }
        Ok(Vocabulary {
            codebook_size,
            codebooks,
            grid,
            classes,
            above,
            text,
        })
    }
}

impl Vocabulary {
    /// Codes of an image, T.
    pub fn tokens(&self) -> usize {
        self.grid[0] * self.grid[1] * self.codebooks
    }

    /// Codes of an image at the levels above.
    pub fn known(&self) -> usize {
        self.above.iter().map(Level::codes).sum()
    }

    /// The class of images that have none, or whose class the model is not to see.
    pub fn no_class(&self) -> u32 {
        self.classes as u32
    }
}
