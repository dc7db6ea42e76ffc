//! The sums of codes of several scales.

use crate::autograd::accumulate::add;
use crate::gpu::{Gpu, Tensor};
use crate::ops::conv::Conv;
use crate::ops::conv::conv2d::conv2d;
use crate::ops::elementwise::scale::scale;
use crate::ops::elementwise::slice_columns::{concat_columns, slice_columns};
use crate::ops::image::resample::{Filter, Resampling, resample};
use crate::ops::quantize::gather::gather;
use crate::{Error, Result};

/// The convolution over enlarged codes.
pub(super) const SAME: Conv = Conv {
    stride: 1,
    pad: 1,
    after: 0,
    relu: false,
};

/// A grid of codes.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    pub(super) side: usize,
    /// From the map of latents to this grid, and back; `None` for the last, which is the map's.
    pub(super) filters: Option<[Resampling; 2]>,
    /// The number of its convolution.
    pub(super) phi: usize,
}

impl Scale {
    /// Returns the scales of these sides, with so many convolutions between them.
    pub(super) fn all(gpu: &Gpu, sides: &[usize], convolutions: usize) -> Result<Vec<Scale>> {
        let whole = sides.last().copied().unwrap_or(1);
        let of = |(i, side): (usize, &usize)| {
            let (small, large) = ([*side; 2], [whole; 2]);
            let filters = || {
                Ok::<_, Error>([
                    Resampling::new(gpu, Filter::Area, large, small)?,
                    Resampling::new(gpu, Filter::Bicubic, small, large)?,
                ])
            };
            Ok(Scale {
                side: *side,
                filters: (*side != whole).then(filters).transpose()?,
                phi: nearest_tick(convolutions, i, sides.len()),
            })
        };
        sides.iter().enumerate().map(of).collect()
    }

    /// Cells of the grid.
    pub(super) fn cells(&self) -> usize {
        self.side * self.side
    }

    /// Brings a map [B, S, S, D] to this grid: rows [B s s, D].
    pub(super) fn shrunk(&self, map: &Tensor) -> Result<Tensor> {
        let [b, _, _, d] = map.dims("multiscale")?;
        let small = match &self.filters {
            Some([down, _]) => resample(map, down)?,
            None => map.clone(),
        };
        small.reshape(&[b * self.cells(), d])
    }
}

/// Returns which of so many convolutions scale `i` of `of` has: the nearest of ticks that are
/// spread evenly from the first scale to the last, as the authors' code spreads them.
fn nearest_tick(convolutions: usize, i: usize, of: usize) -> usize {
    let k = convolutions as f64;
    let margin = if convolutions == 4 { 3.0 } else { 2.0 };
    let first = 1.0 / margin / k;
    let step = ((1.0 - first) - first) / (k - 1.0).max(1.0);
    let at = i as f64 / (of as f64 - 1.0).max(1.0);
    let distance = |tick: usize| (first + step * tick as f64 - at).abs();
    (0..convolutions)
        .min_by(|a, b| distance(*a).total_cmp(&distance(*b)))
        .unwrap_or(0)
}

/// The trained parts of a quantizer with scales that turn codes into maps of latents, by which
/// whoever predicts a scale sees what the coarser ones add up to.
#[derive(Clone, Debug)]
pub struct ScaleTables {
    pub(super) scales: Vec<Scale>,
    /// [K, D].
    pub(super) codebook: Tensor,
    /// Weights [D, 3, 3, D] and biases `[D]`.
    pub(super) phi: Vec<[Tensor; 2]>,
    pub(super) ratio: f32,
}

impl ScaleTables {
    /// Returns the sides of the grids of codes, the coarsest first.
    pub fn sides(&self) -> Vec<usize> {
        self.scales.iter().map(|scale| scale.side).collect()
    }

    /// Codes of the codebook, K.
    pub fn codebook_size(&self) -> usize {
        self.codebook.shape()[0]
    }

    /// Channels of a code.
    pub fn channels(&self) -> usize {
        self.codebook.shape()[1]
    }

    /// Returns the codes of an image.
    pub fn codes(&self) -> usize {
        self.scales.iter().map(Scale::cells).sum()
    }

    /// Enlarges a scale's codes [B s s, D] to a map [B, S, S, D], and convolves them.
    fn enlarged(&self, of: &Scale, codes: &Tensor) -> Result<Tensor> {
        let (s, d) = (of.side, self.channels());
        let small = codes.reshape(&[codes.len() / (of.cells() * d), s, s, d])?;
        let large = match &of.filters {
            Some([_, up]) => resample(&small, up)?,
            None => small,
        };
        let Some([weight, bias]) = self.phi.get(of.phi) else {
            return Ok(large);
        };
        let convolved = conv2d(&large, weight, Some(bias), None, SAME)?;
        let convolved = scale(&convolved, self.ratio, 0.0)?;
        add(&scale(&large, 1.0 - self.ratio, 0.0)?, &convolved)
    }

    /// Calls `f` with the number of each of the first `scales` scales and what the codes up to it
    /// add up to, [B, S, S, D], of codes u32 [B, L] or more.
    pub(super) fn sums(
        &self,
        indices: &Tensor,
        scales: usize,
        mut f: impl FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<()> {
        let [_, l] = indices.dims("scales")?;
        if l != self.codes() || indices.is_empty() {
            return Err(Error::shape(
                "scales",
                format!("u32 indices [B, {}]", self.codes()),
                format!("{indices:?}"),
            ));
        }
        let (mut first, mut sum): (usize, Option<Tensor>) = (0, None);
        for (i, of) in self.scales.iter().enumerate().take(scales) {
            let own = slice_columns(indices, first, of.cells())?;
            first += of.cells();
            let codes = gather(&self.codebook, &own.reshape(&[own.len()])?)?;
            let own = self.enlarged(of, &codes)?;
            let all = match &sum {
                Some(sum) => add(sum, &own)?,
                None => own,
            };
            f(i, &all)?;
            sum = Some(all);
        }
        Ok(())
    }

    /// Computes what stands before the scales behind the first, up to the `scales`-th: what the
    /// coarser ones of images' codes u32 [B, L] add up to, brought to each one's grid: f32 [B,
    /// codes of those scales, D]; codes of the last of them and of finer ones count for nothing.
    ///
    /// # Errors
    /// If the codes are not whole images', there are not so many scales, or the device fails.
    pub fn inputs(&self, indices: &Tensor, scales: usize) -> Result<Tensor> {
        let ([b, _], d) = (indices.dims("scales")?, self.channels());
        if !(2..=self.scales.len()).contains(&scales) {
            let expected = format!("from 2 to {} scales", self.scales.len());
            return Err(Error::shape("scales", expected, scales));
        }
        let mut parts = Vec::new();
        self.sums(indices, scales - 1, |i, sum| {
            let next = &self.scales[i + 1];
            parts.push(next.shrunk(sum)?.reshape(&[b, next.cells() * d])?);
            Ok(())
        })?;
        let all = match &parts[..] {
            [only] => only.clone(),
            several => concat_columns(&several.iter().collect::<Vec<_>>())?,
        };
        let rows = all.len() / (b * d);
        all.reshape(&[b, rows, d])
    }
}

#[cfg(test)]
mod tests {
    use super::nearest_tick;

    /// The convolutions that the authors' code chooses for ten scales and four of them, and for
    /// other numbers.
    #[test]
    fn convolutions_are_shared_by_neighbouring_scales() {
        let of = |k: usize, n: usize| (0..n).map(|i| nearest_tick(k, i, n)).collect::<Vec<_>>();
        assert_eq!(of(4, 10), [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]);
        assert_eq!(of(4, 4), [0, 1, 2, 3]);
        assert_eq!(of(2, 5), [0, 0, 0, 1, 1]);
        assert_eq!(of(1, 3), [0, 0, 0]);
    }
}
