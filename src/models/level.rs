//! A grid of codes, as a model has one or several.

use serde::{Deserialize, Serialize};

/// Layout of an image's codes at one level of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
