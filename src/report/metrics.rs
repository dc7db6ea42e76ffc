//! Figures for pairs of images and for codebooks: MSE, PSNR, SSIM; perplexity and codes in use.

use super::grid::Shape;
use crate::{Error, Result};
use rayon::prelude::*;

/// Mean squared error of two batches of u8 pixels taken as numbers in [0, 1].
///
/// # Errors
/// [`Error::Shape`] if the lengths differ, [`Error::Invalid`] if there are no pixels.
pub fn mse(a: &[u8], b: &[u8]) -> Result<f64> {
    same_length("mse", a, b)?;
    // Whole numbers, so that the sum is exact whatever the number of pixels.
    let sum: u64 = a
        .iter()
        .zip(b)
        .map(|(&x, &y)| u64::from(x.abs_diff(y)).pow(2))
        .sum();
    Ok(sum as f64 / (a.len() as f64 * 255.0 * 255.0))
}

/// Peak signal-to-noise ratio in dB of an MSE in [0, 1]: `-10 log10(mse)`; infinite where the MSE
/// is 0.
pub fn psnr(mse: f64) -> f64 {
    -10.0 * mse.log10()
}

/// Side and standard deviation of SSIM's Gaussian window.
const WINDOW: usize = 11;
const SIGMA: f64 = 1.5;
/// (K1 L)^2 and (K2 L)^2 with K1 = 0.01, K2 = 0.03 and pixels in [0, 1], so L = 1.
const C1: f64 = 0.01 * 0.01;
const C2: f64 = 0.03 * 0.03;

/// Structural similarity of two batches of u8 NHWC images (Wang et al. 2004, "Image quality
/// assessment: from error visibility to structural similarity"): 11 x 11 Gaussian window of sigma
/// 1.5, windows that lie wholly inside, mean over windows, channels and images. 1 for equal images.
///
/// # Errors
/// [`Error::Shape`] if the batches differ in length or are not whole images, [`Error::Invalid`] if
/// they are empty or the images are smaller than the window.
pub fn ssim(a: &[u8], b: &[u8], shape: Shape) -> Result<f64> {
    same_length("ssim", a, b)?;
    let count = shape.count(a)?;
    let Shape {
        width,
        height,
        channels,
    } = shape;
    if width < WINDOW || height < WINDOW {
        return Err(Error::invalid(
            "ssim",
            format!("images of {width} x {height}; the window needs 11 x 11 or more"),
        ));
    }
    let each = width * height * channels;
    let of_plane = |i: usize| {
        let (n, c) = (i / channels, i % channels);
        let plane = |pixels: &[u8]| -> Vec<f64> {
            let image = &pixels[n * each..(n + 1) * each];
            image
                .iter()
                .skip(c)
                .step_by(channels)
                .map(|&v| f64::from(v) / 255.0)
                .collect()
        };
        ssim_plane(&plane(a), &plane(b), width, height)
    };
    // Summed in the order of the planes, whichever was done first.
    let all: Vec<f64> = (0..count * channels)
        .into_par_iter()
        .map(of_plane)
        .collect();
    Ok(all.iter().sum::<f64>() / all.len() as f64)
}

/// Returns [`ssim`], or `None` where the images are smaller than its window.
///
/// # Errors
/// As [`ssim`].
pub fn ssim_where_it_fits(a: &[u8], b: &[u8], shape: Shape) -> Result<Option<f64>> {
    if shape.width < WINDOW || shape.height < WINDOW {
        return Ok(None);
    }
    ssim(a, b, shape).map(Some)
}

/// SSIM of one channel of one image.
fn ssim_plane(x: &[f64], y: &[f64], width: usize, height: usize) -> f64 {
    let product =
        |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a * b).collect() };
    let mean = |v: &[f64]| windows(v, width, height);
    let (mx, my) = (mean(x), mean(y));
    let (xx, yy, xy) = (
        mean(&product(x, x)),
        mean(&product(y, y)),
        mean(&product(x, y)),
    );
    let total: f64 = (0..mx.len())
        .map(|i| {
            let (vx, vy, cov) = (
                xx[i] - mx[i] * mx[i],
                yy[i] - my[i] * my[i],
                xy[i] - mx[i] * my[i],
            );
            ((2.0 * mx[i] * my[i] + C1) * (2.0 * cov + C2))
                / ((mx[i] * mx[i] + my[i] * my[i] + C1) * (vx + vy + C2))
        })
        .sum();
    total / mx.len() as f64
}

/// Gaussian means over every window wholly inside; the window is separable, so rows first, then
/// columns.
fn windows(v: &[f64], width: usize, height: usize) -> Vec<f64> {
    let raw: [f64; WINDOW] = std::array::from_fn(|i| {
        (-(i as f64 - (WINDOW / 2) as f64).powi(2) / (2.0 * SIGMA * SIGMA)).exp()
    });
    let total: f64 = raw.iter().sum();
    let weights = raw.map(|w| w / total);
    let (columns, rows) = (width - WINDOW + 1, height - WINDOW + 1);
    let mut across = vec![0.0; columns * height];
    for y in 0..height {
        for x in 0..columns {
            across[y * columns + x] = (0..WINDOW).map(|k| weights[k] * v[y * width + x + k]).sum();
        }
    }
    let mut means = vec![0.0; columns * rows];
    for y in 0..rows {
        for x in 0..columns {
            means[y * columns + x] = (0..WINDOW)
                .map(|k| weights[k] * across[(y + k) * columns + x])
                .sum();
        }
    }
    means
}

/// Use of a codebook, from its counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CodeUsage {
    /// `exp` of the entropy of the codes' shares: 1 if one code takes all, K if all are taken
    /// alike; 0 without counts.
    pub perplexity: f64,
    /// Codes taken at least once.
    pub used: usize,
    /// Codes in the codebook, K.
    pub codes: usize,
    /// Vectors counted.
    pub total: u64,
}

/// Perplexity and codes in use, from how often each of the K codes was taken.
pub fn code_usage(counts: &[u64]) -> CodeUsage {
    let total = counts.iter().fold(0_u64, |sum, &c| sum.saturating_add(c));
    let entropy: f64 = counts
        .iter()
        .filter(|&&c| c > 0)
        .map(|&c| {
            let share = c as f64 / total as f64;
            -share * share.ln()
        })
        .sum();
    CodeUsage {
        perplexity: if total == 0 { 0.0 } else { entropy.exp() },
        used: counts.iter().filter(|&&c| c > 0).count(),
        codes: counts.len(),
        total,
    }
}

fn same_length(op: &'static str, a: &[u8], b: &[u8]) -> Result<()> {
    if a.len() != b.len() {
        return Err(Error::shape(
            op,
            format!("two batches of {} bytes", a.len()),
            format!("{} bytes", b.len()),
        ));
    }
    if a.is_empty() {
        return Err(Error::invalid(op, "there are no pixels to compare"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, expected: f64) {
        assert!(
            (got - expected).abs() <= 1e-12 * expected.abs().max(1.0),
            "{got} instead of {expected}"
        );
    }

    #[test]
    fn mse_and_psnr_by_hand() {
        // Differences 51 = 0.2 and 0: the mean square is 0.04 / 2.
        close(mse(&[51, 10], &[0, 10]).unwrap(), 0.02);
        close(mse(&[0, 255], &[255, 0]).unwrap(), 1.0);
        close(psnr(0.01), 20.0);
        close(psnr(1.0), 0.0);
        assert_eq!(psnr(mse(&[5], &[5]).unwrap()), f64::INFINITY);
        assert!(mse(&[1], &[1, 2]).is_err());
        assert!(mse(&[], &[]).is_err());
    }

    /// Two patterns of 20 x 16 pixels that differ everywhere.
    fn patterns() -> (Vec<u8>, Vec<u8>, Shape) {
        let at = |f: fn(usize, usize) -> usize| -> Vec<u8> {
            (0..16)
                .flat_map(|y| (0..20).map(move |x| (f(x, y) % 256) as u8))
                .collect()
        };
        let a = at(|x, y| x * 13 + y * 7);
        let b = at(|x, y| x * 11 + y * 9 + x * y % 17);
        (
            a,
            b,
            Shape {
                width: 20,
                height: 16,
                channels: 1,
            },
        )
    }

    #[test]
    fn ssim_is_what_scikit_image_gives() {
        // structural_similarity(.., gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        // data_range=1)
        let (a, b, shape) = patterns();
        close(ssim(&a, &b, shape).unwrap(), 0.886_578_446_125_210_9);
        close(mse(&a, &b).unwrap(), 0.038_543_396_770_472_894);
        // Channels (a, b, a / 2 + b / 2) against (b, a, a).
        let rgb = |f: fn(u8, u8) -> [u8; 3]| -> Vec<u8> {
            a.iter().zip(&b).flat_map(|(&a, &b)| f(a, b)).collect()
        };
        let (c, d) = (rgb(|a, b| [a, b, a / 2 + b / 2]), rgb(|a, b| [b, a, a]));
        close(
            ssim(
                &c,
                &d,
                Shape {
                    channels: 3,
                    ..shape
                },
            )
            .unwrap(),
            0.914_937_993_230_193,
        );
        // A batch is the mean of its images: one as above, one equal to itself.
        let batch = ssim(&[a.clone(), a.clone()].concat(), &[b, a].concat(), shape).unwrap();
        close(batch, (0.886_578_446_125_210_9 + 1.0) / 2.0);
    }

    #[test]
    fn ssim_of_flat_images_by_hand() {
        // No variance: (2 m n + C1) / (m^2 + n^2 + C1) with m = 0.4, n = 0.6.
        let shape = Shape {
            width: 11,
            height: 12,
            channels: 1,
        };
        let got = ssim(&[102; 132], &[153; 132], shape).unwrap();
        assert!((got - 0.4801 / 0.5201).abs() < 1e-9, "{got}");
    }

    #[test]
    fn ssim_refuses_what_it_cannot_window() {
        let small = Shape {
            width: 10,
            height: 20,
            channels: 1,
        };
        assert!(ssim(&[0; 200], &[0; 200], small).is_err());
        let shape = Shape {
            width: 11,
            height: 11,
            channels: 1,
        };
        assert!(ssim(&[0; 121], &[0; 242], shape).is_err());
        assert!(ssim(&[0; 120], &[0; 120], shape).is_err());
        assert!(ssim(&[], &[], shape).is_err());
    }

    #[test]
    fn perplexity_by_hand() {
        close(code_usage(&[5, 5, 5, 5]).perplexity, 4.0);
        close(code_usage(&[9, 0, 0]).perplexity, 1.0);
        // Shares 1/2, 1/4, 1/4: entropy 1.5 bits, so 2^1.5.
        let usage = code_usage(&[2, 0, 1, 1]);
        close(usage.perplexity, 8.0_f64.sqrt());
        assert_eq!((usage.used, usage.codes, usage.total), (3, 4, 4));
        assert_eq!(code_usage(&[]).perplexity, 0.0);
        assert_eq!(
            code_usage(&[0, 0]),
            CodeUsage {
                perplexity: 0.0,
                used: 0,
                codes: 2,
                total: 0
            }
        );
        assert!(code_usage(&[u64::MAX, u64::MAX]).perplexity.is_finite());
    }
}
