//! A grid of codes, as a model has one or several.

use serde::{Deserialize, Serialize};

/// Layout of an image's codes at one level of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Level {
    /// `top`, `bottom`, ..; empty where there is one level.
    pub name: String,
    /// Rows and columns of latents.
    pub grid: [usize; 2],
    /// Codes of a codebook, K.
    pub codebook_size: usize,
    /// Codes of a latent, Q: one from each codebook.
    pub codebooks: usize,
}

/// A level as a file has it: its sizes may be anything.
#[derive(Deserialize)]
struct Unchecked {
    name: String,
    grid: [usize; 2],
    codebook_size: usize,
    codebooks: usize,
}

impl TryFrom<Unchecked> for Level {
    type Error = String;

    fn try_from(level: Unchecked) -> Result<Level, String> {
        let Unchecked {
            name,
            grid,
            codebook_size,
            codebooks,
        } = level;
        countable(&[grid[0], grid[1], codebooks])?;
        countable(&[codebook_size, codebooks])?;
        Ok(Level {
            name,
            grid,
            codebook_size,
            codebooks,
        })
    }
}

/// Returns the name of a level that is one of a quantizer's scales: `4x4`.
pub(crate) fn scale_name(side: usize) -> String {
    format!("{side}x{side}")
}

/// Is the product of sizes that a file names one that can be counted with? An index has 32 bits.
pub(crate) fn countable(sizes: &[usize]) -> Result<usize, String> {
    let product = sizes.iter().try_fold(1usize, |n, by| n.checked_mul(*by));
    let within = product.filter(|n| *n <= u32::MAX as usize);
    within.ok_or_else(|| format!("sizes of {sizes:?} are more than can be counted"))
}

impl Level {
    /// Codes of an image at this level.
    pub fn codes(&self) -> usize {
        self.grid[0] * self.grid[1] * self.codebooks
    }

    pub(crate) fn shape(&self, images: usize) -> Vec<usize> {
        let mut shape = vec![images, self.grid[0], self.grid[1]];
        if self.codebooks > 1 {
            shape.push(self.codebooks);
        }
        shape
    }

    /// Returns the name of this level's tensor in a file.
    pub(crate) fn tensor(&self) -> String {
        if self.name.is_empty() {
            "indices".into()
        } else {
            format!("indices.{}", self.name)
        }
    }

    /// A first code that its codebook has not.
    pub(crate) fn first_invalid(&self, codes: &[u32]) -> Option<u32> {
        codes
            .iter()
            .find(|c| **c as usize >= self.codebook_size)
            .copied()
    }
}
