//! First stages whose quantizer has scales of its own: each is a level of codes.

use super::first_stage::FirstStage;
use crate::gpu::Tensor;
use crate::models::{Autoencoder, Level};
use crate::ops::elementwise::slice_columns::concat_columns;
use crate::quantize::Quantizer;
use crate::{Error, Result};

/// Checks that quantizers of several scales have maps of their size to quantize.
pub(super) fn check_scales(
    quantizers: &[Box<dyn Quantizer>],
    model: &dyn Autoencoder,
    [height, width, _]: [usize; 3],
) -> Result<()> {
    for (quantizer, f) in quantizers.iter().zip(model.factors()) {
        let Some(side) = quantizer.scales().last().copied() else {
            continue;
        };
        let name = quantizer.name();
        if quantizers.len() > 1 {
            let what = format!(
                "`{name}` has scales of its own, and this model several levels of codes; choose a \
                 model of one level by --model"
            );
            return Err(Error::config("quantizer.kind", what));
        }
        let grid = [height / f, width / f];
        if grid != [side; 2] {
            let what = format!(
                "{:?} ends at {side}, and the latents of {width} x {height} pixels are {} x {}: \
                 the last scale must be their side, and both sides the same",
                quantizer.scales(),
                grid[1],
                grid[0]
            );
            return Err(Error::config("quantizer.scales", what));
        }
    }
    Ok(())
}

impl FirstStage {
    /// Returns how many levels of codes each quantizer makes.
    pub(crate) fn levels_of_each(&self) -> Vec<usize> {
        let scales = self.quantizers.iter().map(|q| q.scales().len());
        scales.map(|n| n.max(1)).collect()
    }

    /// Returns the quantizer of a level of codes, by its number.
    pub(crate) fn quantizer_of(&self, level: usize) -> usize {
        let mut first = 0;
        let each = self.levels_of_each();
        let holds = |n: &usize| {
            first += n;
            level < first
        };
        each.iter()
            .position(holds)
            .unwrap_or(each.len().saturating_sub(1))
    }

    /// Checks that what is asked for, in words, is possible with each latent's codes its own.
    ///
    /// # Errors
    /// If a quantizer has scales.
    pub(crate) fn check_no_scales(&self, what: &str) -> Result<()> {
        match self.quantizers.iter().find(|q| !q.scales().is_empty()) {
            Some(q) => {
                let name = q.name();
                let what = format!(
                    "{what} is not possible with the quantizer `{name}`, whose \
                                    codes are of a whole image at several scales"
                );
                Err(Error::config("quantizer.kind", what))
            }
            None => Ok(()),
        }
    }
}

/// Returns images' codes of several scales, given scale by scale: [N, codes of an image].
pub(super) fn scales_together(parts: &[Tensor], levels: &[Level]) -> Result<Tensor> {
    let rows = parts.iter().zip(levels).map(|(part, level)| {
        let each = level.codes().max(1);
        part.reshape(&[part.len() / each, each])
    });
    match &rows.collect::<Result<Vec<Tensor>>>()?[..] {
        [only] => Ok(only.clone()),
        all => concat_columns(&all.iter().collect::<Vec<_>>()),
    }
}
