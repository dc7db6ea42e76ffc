//! The layers of a prior over scales.

use crate::gpu::{Gpu, Tensor};
use crate::models::prior::{Shape, Vocabulary};
use crate::nn::{Builder, Handle, INIT_STD, Init, Linear};
use crate::ops::attention::attention::Mask;
use crate::quantize::ScaleTables;
use crate::{Error, Result};

/// The layers that a prior over scales has beside the blocks.
#[derive(Clone, Debug)]
pub(super) struct ScaleLayers {
    pub(super) sides: Vec<usize>,
    /// From the channels of codes to the model's.
    pub(super) input: Linear,
    /// [scales, D].
    pub(super) table: Handle,
    /// The masks of the rows of the first scale, the first two, and so on: a code sees its own
    /// scale and those before.
    pub(super) masks: Vec<Mask>,
    /// The tables that turn codes into the input before the next scale.
    pub(super) tables: Option<ScaleTables>,
}

/// Returns the first scales' codes in all.
pub(super) fn rows(sides: &[usize], scales: usize) -> usize {
    sides[..scales].iter().map(|side| side * side).sum()
}

/// Returns the scale of each code.
pub(super) fn scale_of_each(sides: &[usize]) -> Vec<u32> {
    let of = |(i, side): (usize, &usize)| std::iter::repeat_n(i as u32, side * side);
    sides.iter().enumerate().flat_map(of).collect()
}

/// Returns the middles of the cells of all scales, in cells of the finest.
pub(super) fn cells(sides: &[usize]) -> Vec<[f64; 2]> {
    let finest = sides.last().copied().unwrap_or(1) as f64;
    let of = |side: &usize| {
        let (n, step) = (*side, finest / *side as f64);
        let at = move |i: usize| (i as f64 + 0.5) * step - 0.5;
        (0..n).flat_map(move |row| (0..n).map(move |column| [at(row), at(column)]))
    };
    sides.iter().flat_map(of).collect()
}

impl ScaleLayers {
    pub(super) fn new(
        gpu: &Gpu,
        b: &mut Builder,
        shape: &Shape,
        v: &Vocabulary,
    ) -> Result<ScaleLayers> {
        let Some(scales) = &v.scales else {
            let what = "`next-scale` predicts codes of several scales, and these have none: train \
                        the first stage with --quantizer multiscale";
            return Err(Error::config("prior.kind", what));
        };
        let (sides, d) = (scales.sides.clone(), shape.dim);
        let input = Linear::new(b, "scales.input", scales.channels, d, INIT_STD);
        let table = b.declare("scales.weight", &[sides.len(), d], Init::Normal(INIT_STD));
        b.without_decay(table);
        let of = scale_of_each(&sides);
        let mask = |n: usize| {
            let rows = rows(&sides, n);
            Mask::pattern(gpu, rows, rows, |i, j| of[j] <= of[i])
        };
        let masks = (1..=sides.len()).map(mask).collect::<Result<_>>()?;
        Ok(ScaleLayers {
            sides,
            input,
            table,
            masks,
            tables: None,
        })
    }

    /// Computes what stands before the second of so many scales and those behind it, of codes u32
    /// [B L]; `None` where there is one scale alone.
    pub(super) fn inputs(&self, codes: &Tensor, scales: usize) -> Result<Option<Tensor>> {
        if scales < 2 {
            return Ok(None);
        }
        let missing = || {
            let what = "a prior over scales needs what its codes stand for: see \
                        `Prior::with_scale_tables`";
            Error::invalid("prior", what)
        };
        let tables = self.tables.as_ref().ok_or_else(missing)?;
        let l = tables.codes().max(1);
        let codes = codes.reshape(&[codes.len() / l, l])?;
        tables.inputs(&codes, scales).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::{cells, rows, scale_of_each};

    #[test]
    fn cells_of_scales_lie_over_one_another() {
        let all = cells(&[1, 2, 4]);
        assert_eq!(all.len(), rows(&[1, 2, 4], 3));
        assert_eq!(all[0], [1.5, 1.5]);
        assert_eq!(all[1..5], [[0.5, 0.5], [0.5, 2.5], [2.5, 0.5], [2.5, 2.5]]);
        assert_eq!((all[5], all[20]), ([0.0, 0.0], [3.0, 3.0]));
        assert_eq!(scale_of_each(&[1, 2]), [0, 1, 1, 1, 1]);
    }
}
