//! The Frechet wavelet distance (Veeramacheneni et al. 2025, "Frechet wavelet distance: a
//! domain-agnostic metric for image generation"): the Frechet distance of each packet of a Haar
//! wavelet transform, averaged over packets. It needs no network.

use super::Features;
use super::frechet::frechet_distance;
use crate::{Error, Result};
use rayon::prelude::*;

/// The most levels of the transform.
const MOST_LEVELS: usize = 4;

/// Returns the levels of the transform of images of this height and width: four, or as often as two
/// divides both.
///
/// # Errors
/// If it does not divide them once.
pub fn levels([height, width]: [usize; 2]) -> Result<usize> {
    let often = height.trailing_zeros().min(width.trailing_zeros()) as usize;
    if height == 0 || width == 0 || often == 0 {
        let what = format!("images of {width} x {height}: two must divide both sides");
        return Err(Error::invalid("Frechet wavelet distance", what));
    }
    Ok(often.min(MOST_LEVELS))
}

/// Computes the coefficients of one image in [0, 1], in place: each block of 2^L x 2^L pixels of
/// `side` becomes its coefficients in all 4^L packets.
fn transform(image: &mut [f64], [height, width, channels]: [usize; 3], levels: usize) {
    let at = |y: usize, x: usize, c: usize| (y * width + x) * channels + c;
    // The Haar transform of pairs that lie `step` apart; done for each step, that is the packets'.
    for level in 0..levels {
        let step = 1 << level;
        let pairs = |side: usize| (0..side).filter(move |i| i & step == 0);
        for y in pairs(height) {
            for x in pairs(width) {
                for c in 0..channels {
                    let places = [
                        at(y, x, c),
                        at(y, x + step, c),
                        at(y + step, x, c),
                        at(y + step, x + step, c),
                    ];
                    let [p, q, r, s] = places.map(|place| image[place]);
                    image[places[0]] = (p + q + r + s) / 2.0;
                    image[places[1]] = (p - q + r - s) / 2.0;
                    image[places[2]] = (p + q - r - s) / 2.0;
                    image[places[3]] = (p - q - r + s) / 2.0;
                }
            }
        }
    }
}

/// Returns the coefficients of images, u8 [N, H, W, C], in [0, 1] before the transform.
fn coefficients(pixels: &[u8], shape: [usize; 3], levels: usize) -> Vec<f64> {
    let mut all: Vec<f64> = pixels.iter().map(|v| f64::from(*v) / 255.0).collect();
    let size = shape.iter().product::<usize>();
    all.par_chunks_mut(size)
        .for_each(|image| transform(image, shape, levels));
    all
}

/// Computes the distance of two sets of images, u8 [N, H, W, C] of `shape` = [H, W, C]. Grey images
/// count as three equal channels, as the authors' program reads them.
///
/// # Errors
/// If the sides are odd, or a set has fewer than two images or is not of whole ones.
pub fn frechet_wavelet_distance(real: &[u8], samples: &[u8], shape: [usize; 3]) -> Result<f64> {
    let [height, width, channels] = shape;
    let levels = levels([height, width])?;
    let size = shape.iter().product::<usize>().max(1);
    for set in [real, samples] {
        if set.len() / size < 2 || set.len() % size != 0 {
            let what = "two images at least, whole ones";
            return Err(Error::shape("Frechet wavelet distance", what, set.len()));
        }
    }
    let sets = [real, samples].map(|set| coefficients(set, shape, levels));
    let side = 1usize << levels;
    let packet = |p: usize| -> Result<f64> {
        let (y0, x0) = (p / side, p % side);
        let of = |set: &[f64]| {
            let mut rows = Vec::with_capacity(set.len() / (side * side));
            for image in set.chunks(size) {
                for y in (y0..height).step_by(side) {
                    for x in (x0..width).step_by(side) {
                        rows.extend_from_slice(&image[(y * width + x) * channels..][..channels]);
                    }
                }
            }
            Features::of(rows, size / (side * side))
        };
        frechet_distance(&of(&sets[0])?, &of(&sets[1])?)
    };
    let each = (0..side * side)
        .into_par_iter()
        .map(packet)
        .collect::<Result<Vec<f64>>>()?;
    let mean = each.iter().sum::<f64>() / each.len() as f64;
    // Three equal channels have three times the distance of one.
    Ok(if channels == 1 { 3.0 * mean } else { mean })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The transform keeps lengths, and a constant image has all of it in the first packet.
    #[test]
    fn lengths_are_kept() {
        let pixels: Vec<u8> = (0..8 * 12 * 3).map(|i| (i * 53 % 256) as u8).collect();
        let all = coefficients(&pixels, [8, 12, 3], 2);
        let squares = |v: &[f64]| v.iter().map(|v| v * v).sum::<f64>();
        let before: Vec<f64> = pixels.iter().map(|v| f64::from(*v) / 255.0).collect();
        assert!((squares(&all) - squares(&before)).abs() < 1e-9);
        let flat = coefficients(&[255; 16], [4, 4, 1], 2);
        assert!((flat[0] - 4.0).abs() < 1e-12 && squares(&flat[1..]) < 1e-20);
    }

    #[test]
    fn odd_sides_are_refused() {
        assert_eq!(levels([32, 32]).unwrap(), 4);
        assert_eq!(levels([28, 28]).unwrap(), 2);
        assert!(levels([27, 28]).is_err());
        assert!(frechet_wavelet_distance(&[0; 4], &[0; 8], [2, 2, 1]).is_err());
    }
}
