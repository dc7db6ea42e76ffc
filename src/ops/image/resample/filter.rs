//! Filters: what each place of a line takes of the places of another.

use crate::Result;
use crate::gpu::{Gpu, Tensor};

/// A rule by which a line of pixels gets another length, as PyTorch's `interpolate` has it (with
/// `align_corners` off).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The mean of the pixels that a place touches.
    Area,
    /// The cubic convolution of Keys 1981 with a = -0.75; beyond an end lies the pixel at it.
    Bicubic,
}

/// The cubic kernel at a distance of at most 2.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.75;
    match x.abs() {
        x if x <= 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A,
        _ => 0.0,
    }
}

impl Filter {
    /// Returns the weights [to, from], row-major: each row adds up to 1.
    pub fn weights(self, from: usize, to: usize) -> Vec<f64> {
        let mut weights = vec![0.0; from * to];
        for (place, row) in weights.chunks_mut(from.max(1)).enumerate() {
            match self {
                Filter::Area => {
                    let (start, end) = (place * from / to, ((place + 1) * from).div_ceil(to));
                    row[start..end].fill(1.0 / (end - start) as f64);
                }
                Filter::Bicubic => {
                    let at = (place as f64 + 0.5) * from as f64 / to as f64 - 0.5;
                    let first = at.floor();
                    for tap in -1..=2 {
                        let pixel = first + f64::from(tap);
                        let inside = pixel.clamp(0.0, from as f64 - 1.0) as usize;
                        row[inside] += cubic(at - pixel);
                    }
                }
            }
        }
        weights
    }
}

/// The filters of rows [H, h] and of columns [W, w], on the device.
#[derive(Clone, Debug)]
pub struct Resampling {
    pub(crate) rows: Tensor,
    pub(crate) columns: Tensor,
}

impl Resampling {
    /// Returns the filters from `[h, w]` to `[H, W]`.
    ///
    /// # Errors
    /// If the device cannot hold them, or a size is 0.
    pub fn new(gpu: &Gpu, filter: Filter, from: [usize; 2], to: [usize; 2]) -> Result<Resampling> {
        let axis = |i: usize| {
            let weights: Vec<f32> = filter
                .weights(from[i], to[i])
                .into_iter()
                .map(|w| w as f32)
                .collect();
            Tensor::from_slice(gpu, &[to[i], from[i]], &weights)
        };
        Ok(Resampling {
            rows: axis(0)?,
            columns: axis(1)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Filter;

    /// `torch.nn.functional.interpolate` gives these numbers for the unit vectors of a line.
    #[test]
    fn weights_are_those_of_pytorch() {
        let close = |filter: Filter, from: usize, to: usize, row: usize, want: &[f64]| {
            let all = filter.weights(from, to);
            let got = &all[row * from..][..from];
            let near = got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-6);
            assert!(
                near && got.len() == want.len(),
                "{filter:?} {from} to {to}: {got:?}"
            );
        };
        close(
            Filter::Area,
            5,
            3,
            1,
            &[0.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.0],
        );
        close(Filter::Area, 3, 5, 1, &[0.5, 0.5, 0.0]);
        close(Filter::Bicubic, 2, 4, 0, &[1.10546875, -0.10546875]);
        close(
            Filter::Bicubic,
            4,
            8,
            3,
            &[-0.10546875, 0.8789063, 0.26171875, -0.03515625],
        );
        for filter in [Filter::Area, Filter::Bicubic] {
            for (from, to) in [(1, 6), (2, 5), (7, 3), (4, 4)] {
                for row in filter.weights(from, to).chunks(from) {
                    assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                }
            }
        }
    }
}
