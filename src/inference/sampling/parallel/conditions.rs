//! The conditions of images that begin at different times.

use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Tensor};
use crate::models::prior::{Conditions, Memory};

/// Conditions of the sequences of all slots: those of an image that begins take the place of those
/// of the image before it.
pub(super) struct SlotConditions {
    sequences: usize,
    /// Rows of the levels above, for each level.
    pub above: Vec<Var>,
    /// Keys and values of the encoded texts.
    pub memory: Option<Memory>,
}

impl SlotConditions {
    /// Creates the conditions of slots of which each has so many sequences; there are none yet.
    pub fn new(copies: usize, slots: usize) -> Self {
        SlotConditions {
            sequences: copies * slots,
            above: Vec::new(),
            memory: None,
        }
    }

    /// Takes in the conditions of images, whose sequences have these numbers.
    ///
    /// # Errors
    /// If the device fails.
    pub fn take(&mut self, gpu: &Gpu, new: &Conditions, numbers: &[usize]) -> Result<()> {
        if self.above.len() < new.above.len() {
            let room = |rows: &Var| self.room(gpu, rows.tensor(), numbers.len());
            self.above = new.above.iter().map(room).collect::<Result<_>>()?;
        }
        for (rows, new) in self.above.iter().zip(&new.above) {
            copy(rows.tensor(), new.tensor(), numbers)?;
        }
        let Some(new) = &new.memory else {
            return Ok(());
        };
        let memory = match self.memory.take() {
            Some(memory) => memory,
            None => {
                let room = |keys: &Var| self.room(gpu, keys.tensor(), numbers.len());
                let keys = new.keys.iter().map(room).collect::<Result<_>>()?;
                Memory {
                    keys,
                    mask: new.mask.clone(),
                    lengths: Tensor::zeros(gpu, &[self.sequences], DType::U32)?,
                }
            }
        };
        for (keys, new) in memory.keys.iter().zip(&new.keys) {
            copy(keys.tensor(), new.tensor(), numbers)?;
        }
        copy(&memory.lengths, &new.lengths, numbers)?;
        self.memory = Some(memory);
        Ok(())
    }

    /// Returns room for what all sequences have where `of` has that of `n`.
    fn room(&self, gpu: &Gpu, of: &Tensor, n: usize) -> Result<Var> {
        let mut shape = of.shape().to_vec();
        shape[0] = shape[0] / n * self.sequences;
        let zeros = Tensor::zeros(gpu, &shape, DType::F32)?;
        Ok(Tape::no_grad(gpu).constant(&zeros))
    }
}

/// Copies the part of each sequence among `numbers` to its place among all. Neighbours go together.
fn copy(to: &Tensor, from: &Tensor, numbers: &[usize]) -> Result<()> {
    let each = from.len() / numbers.len().max(1);
    let mut at = 0;
    while at < numbers.len() {
        let behind = |n: usize| numbers.get(at + n) == Some(&(numbers[at] + n));
        let run = (1..).take_while(|n| behind(*n)).count() + 1;
        to.copy_part(numbers[at] * each, from, at * each, run * each)?;
        at += run;
    }
    Ok(())
}
