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
    /// The scales of the codes, where a prior predicts them one after another: the grid is then a
    /// row of all codes of an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scales: Option<Scales>,
}

/// The scales of an image's codes, as the quantizer `multiscale` makes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scales {
    /// Sides of the square grids, the coarsest first.
    pub sides: Vec<usize>,
    /// Channels of a code.
    pub channels: usize,
}

impl Scales {
    /// Codes of an image.
    fn codes(&self) -> Option<usize> {
        let squares = self.sides.iter().map(|side| side.checked_mul(*side));
        squares.sum()
    }
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
    #[serde(default)]
    scales: Option<Scales>,
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
            scales,
        } = found;
        countable(&[grid[0], grid[1], codebooks])?;
        countable(&[codebook_size, codebooks])?;
        // One more stands for none.
        countable(&[classes.saturating_add(1)])?;
        if let Some(text) = &text {
            text.check().map_err(|error| error.to_string())?;
        }
        if let Some(scales) = &scales {
            let whole = scales.codes() == Some(grid[0] * grid[1]) && codebooks == 1;
            if !whole || !(1..=4096).contains(&scales.channels) || scales.sides.contains(&0) {
                return Err(format!(
                    "scales of {:?} are not those of the codes",
                    scales.sides
                ));
            }
        }
        Ok(Vocabulary {
            codebook_size,
            codebooks,
            grid,
            classes,
            above,
            text,
            scales,
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
