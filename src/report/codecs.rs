//! Rates of common codecs: the bytes of their files, headers and all, and the error of what they
//! decode to.

use super::grid::Shape;
use super::metrics::{mse, psnr, ssim_where_it_fits};
use crate::{Error, Result};
use image::codecs::{jpeg::JpegEncoder, png, webp::WebPEncoder};
use image::{ExtendedColorType, ImageEncoder};
use rayon::prelude::*;

/// Rate and error of a lossy codec at one quality, over a set of images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lossy {
    /// JPEG's quality from 1 to 100, AVIF's level from 63 to 0.
    pub quality: u8,
    /// Bits of the files over the pixels of the images.
    pub bits_per_pixel: f64,
    /// Mean squared error, pixels in [0, 1].
    pub mse: f64,
    /// `-10 log10(mse)`, in dB.
    pub psnr: f64,
    /// Structural similarity, 1 for equal images; `None` of images smaller than its window.
    pub ssim: Option<f64>,
}

impl Lossy {
    /// Measures files of so many bytes, one of each image, and what they decode to.
    ///
    /// # Errors
    /// If `again` is not as many bytes as `pixels`.
    pub(super) fn of(
        quality: u8,
        files: impl ExactSizeIterator<Item = u64>,
        pixels: &[u8],
        again: &[u8],
        shape: Shape,
    ) -> Result<Lossy> {
        let error = mse(pixels, again)?;
        Ok(Lossy {
            quality,
            bits_per_pixel: rate(files, shape),
            mse: error,
            psnr: psnr(error),
            ssim: ssim_where_it_fits(pixels, again, shape)?,
        })
    }
}

/// Qualities at which JPEG is measured.
pub const QUALITIES: [u8; 16] = [1, 2, 3, 5, 8, 12, 18, 25, 35, 45, 55, 65, 75, 85, 92, 97];

fn kind(shape: Shape) -> Result<ExtendedColorType> {
    match shape.channels {
        1 => Ok(ExtendedColorType::L8),
        3 => Ok(ExtendedColorType::Rgb8),
        other => Err(Error::invalid(
            "report",
            format!("images of {other} channels: codecs are given 1 or 3"),
        )),
    }
}

/// Returns the file that `encoder` makes of each image.
fn files(
    pixels: &[u8],
    shape: Shape,
    encode: impl Fn(&[u8], &mut Vec<u8>) -> image::ImageResult<()> + Sync,
) -> Result<Vec<Vec<u8>>> {
    shape.count(pixels)?;
    let file = |image: &[u8]| {
        let mut bytes = Vec::new();
        encode(image, &mut bytes)
            .map_err(|e| Error::data(format!("an image cannot be coded: {e}")))?;
        Ok(bytes)
    };
    pixels
        .par_chunks(shape.width * shape.height * shape.channels)
        .map(file)
        .collect()
}

/// Returns the bits per pixel of images' files of so many bytes.
fn rate(files: impl ExactSizeIterator<Item = u64>, shape: Shape) -> f64 {
    let pixels = files.len() * shape.width * shape.height;
    files.map(|bytes| 8.0 * bytes as f64).sum::<f64>() / pixels as f64
}

fn lengths(files: &[Vec<u8>]) -> impl ExactSizeIterator<Item = u64> {
    files.iter().map(|file| file.len() as u64)
}

/// JPEG at one quality, as the `image` crate writes it: baseline, the standard's tables, no chroma
/// subsampling.
///
/// # Errors
/// If the bytes are not whole images of 1 or 3 channels.
pub fn jpeg(pixels: &[u8], shape: Shape, quality: u8) -> Result<Lossy> {
    let kind = kind(shape)?;
    let (w, h) = (shape.width as u32, shape.height as u32);
    let files = files(pixels, shape, |image, out| {
        JpegEncoder::new_with_quality(out, quality).write_image(image, w, h, kind)
    })?;
    let read = |file: &Vec<u8>| {
        let image =
            image::load_from_memory_with_format(file, image::ImageFormat::Jpeg).map_err(|e| {
                Error::data(format!("a JPEG that was just written cannot be read: {e}"))
            })?;
        Ok(if shape.channels == 1 {
            image.into_luma8().into_raw()
        } else {
            image.into_rgb8().into_raw()
        })
    };
    let again: Vec<u8> = files
        .par_iter()
        .map(read)
        .collect::<Result<Vec<_>>>()?
        .concat();
    Lossy::of(quality, lengths(&files), pixels, &again, shape)
}

/// Bits per pixel of a JPEG of an even grey picture: what its headers and tables take, however
/// little there is to say.
///
/// # Errors
/// If a picture of this shape has no pixels, or not 1 or 3 channels.
pub fn jpeg_headers(shape: Shape) -> Result<f64> {
    let grey = vec![128; shape.width * shape.height * shape.channels];
    Ok(jpeg(&grey, shape, 50)?.bits_per_pixel)
}

/// Bits per pixel of PNG, at its best compression.
///
/// # Errors
/// If the bytes are not whole images of 1 or 3 channels.
pub fn png(pixels: &[u8], shape: Shape) -> Result<f64> {
    let kind = kind(shape)?;
    let (w, h) = (shape.width as u32, shape.height as u32);
    let (best, filter) = (png::CompressionType::Best, png::FilterType::Adaptive);
    let files = files(pixels, shape, |image, out| {
        png::PngEncoder::new_with_quality(out, best, filter).write_image(image, w, h, kind)
    })?;
    Ok(rate(lengths(&files), shape))
}

/// Bits per pixel of WebP without loss; the `image` crate has no lossy encoder of it.
///
/// # Errors
/// If the bytes are not whole images of 1 or 3 channels.
pub fn webp(pixels: &[u8], shape: Shape) -> Result<f64> {
    let kind = kind(shape)?;
    let (w, h) = (shape.width as u32, shape.height as u32);
    let files = files(pixels, shape, |image, out| {
        WebPEncoder::new_lossless(out).write_image(image, w, h, kind)
    })?;
    Ok(rate(lengths(&files), shape))
}

/// A quality at which a codec was not measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum At {
    /// Its bits per pixel there, between two qualities: along a straight line of dB over the
    /// logarithm of the rate.
    Rate(f64),
    /// Below the lowest quality, which takes this rate and reaches this PSNR.
    Below(Lossy),
    /// Above the highest.
    Above(Lossy),
}

/// The rate at which a codec reaches a PSNR; `None` without a measurement.
pub fn at_psnr(curve: &[Lossy], psnr: f64) -> Option<At> {
    let mut curve = curve.to_vec();
    curve.sort_by(|a, b| a.psnr.total_cmp(&b.psnr));
    let (first, last) = (*curve.first()?, *curve.last()?);
    if psnr < first.psnr {
        return Some(At::Below(first));
    }
    let Some(pair) = curve.windows(2).find(|pair| psnr <= pair[1].psnr) else {
        return Some(if psnr > last.psnr {
            At::Above(last)
        } else {
            At::Rate(last.bits_per_pixel)
        });
    };
    let (a, b) = (pair[0], pair[1]);
    let along = if b.psnr > a.psnr {
        (psnr - a.psnr) / (b.psnr - a.psnr)
    } else {
        0.0
    };
    let log = a.bits_per_pixel.ln() + along * (b.bits_per_pixel.ln() - a.bits_per_pixel.ln());
    Some(At::Rate(log.exp()))
}

/// Quality of a codec's images at a rate at which it was not measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kept {
    /// In dB.
    pub psnr: f64,
    /// Structural similarity; `None` of images smaller than its window.
    pub ssim: Option<f64>,
}

/// Returns what a codec keeps in so many bits per pixel, between two qualities: along straight
/// lines over the logarithm of the rate. `None` where its files are all smaller or all larger.
pub fn at_rate(curve: &[Lossy], bits_per_pixel: f64) -> Option<Kept> {
    let mut curve = curve.to_vec();
    curve.sort_by(|a, b| a.bits_per_pixel.total_cmp(&b.bits_per_pixel));
    let between = |pair: &&[Lossy]| {
        pair[0].bits_per_pixel <= bits_per_pixel && bits_per_pixel <= pair[1].bits_per_pixel
    };
    let pair = curve.windows(2).find(between)?;
    let (a, b) = (pair[0], pair[1]);
    let whole = (b.bits_per_pixel / a.bits_per_pixel).ln();
    let along = if whole > 0.0 {
        (bits_per_pixel / a.bits_per_pixel).ln() / whole
    } else {
        0.0
    };
    let between = |a: f64, b: f64| a + along * (b - a);
    Some(Kept {
        psnr: between(a.psnr, b.psnr),
        ssim: a.ssim.zip(b.ssim).map(|(a, b)| between(a, b)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pictures(channels: usize) -> (Vec<u8>, Shape) {
        let shape = Shape {
            width: 24,
            height: 16,
            channels,
        };
        let at = |i: usize| ((i % 71) * 3 + (i / 97) * 5 % 40) as u8;
        ((0..3 * 24 * 16 * channels).map(at).collect(), shape)
    }

    #[test]
    fn rates_are_those_of_the_files() {
        for channels in [1, 3] {
            let (pixels, shape) = pictures(channels);
            let image = &pixels[..24 * 16 * channels];
            let mut file = Vec::new();
            let kind = kind(shape).unwrap();
            JpegEncoder::new_with_quality(&mut file, 40)
                .write_image(image, 24, 16, kind)
                .unwrap();
            let one = jpeg(image, shape, 40).unwrap();
            assert_eq!(one.bits_per_pixel, 8.0 * file.len() as f64 / (24.0 * 16.0));
            let headers = jpeg_headers(shape).unwrap();
            assert!(headers > 5.0 && headers < one.bits_per_pixel, "{headers}");
            // More quality: more bits, less error. Without loss a file of noise-like pixels is
            // about as large as they are.
            let curve: Vec<Lossy> = QUALITIES
                .iter()
                .map(|q| jpeg(&pixels, shape, *q).unwrap())
                .collect();
            assert!(
                curve
                    .windows(2)
                    .all(|p| p[0].bits_per_pixel <= p[1].bits_per_pixel)
            );
            assert!(3.0 * curve[0].bits_per_pixel < 2.0 * curve[15].bits_per_pixel);
            let ssim = |l: &Lossy| l.ssim.unwrap();
            assert!(ssim(&curve[0]) < ssim(&curve[8]) && ssim(&curve[15]) > 0.9);
            assert!(
                curve[0].psnr < curve[8].psnr
                    && curve[8].psnr < curve[15].psnr
                    && curve[15].psnr > 35.0
            );
            for lossless in [png(&pixels, shape).unwrap(), webp(&pixels, shape).unwrap()] {
                assert!(
                    lossless > 0.5 && lossless < 16.0 * channels as f64,
                    "{lossless}"
                );
            }
        }
        let (pixels, shape) = pictures(3);
        assert!(jpeg(&pixels[1..], shape, 40).is_err());
        assert!(
            png(
                &pixels,
                Shape {
                    channels: 4,
                    ..shape
                }
            )
            .is_err()
        );
    }

    #[test]
    fn a_rate_between_two_qualities_lies_on_the_line() {
        let point = |bits_per_pixel: f64, psnr: f64| Lossy {
            quality: 1,
            bits_per_pixel,
            mse: 0.0,
            psnr,
            ssim: Some(psnr / 50.0),
        };
        let curve = [point(4.0, 30.0), point(1.0, 20.0), point(8.0, 40.0)];
        let Some(At::Rate(rate)) = at_psnr(&curve, 25.0) else {
            panic!("no rate")
        };
        assert!((rate - 2.0).abs() < 1e-12);
        assert_eq!(at_psnr(&curve, 20.0), Some(At::Rate(1.0)));
        assert_eq!(at_psnr(&curve, 19.0), Some(At::Below(curve[1])));
        assert_eq!(at_psnr(&curve, 41.0), Some(At::Above(curve[2])));
        assert_eq!(at_psnr(&[], 20.0), None);
        let kept = at_rate(&curve, 2.0).unwrap();
        assert!((kept.psnr - 25.0).abs() < 1e-12, "{kept:?}");
        assert!((kept.ssim.unwrap() - 0.5).abs() < 1e-12, "{kept:?}");
        let last = at_rate(&curve, 8.0).unwrap();
        assert_eq!((last.psnr, last.ssim), (40.0, Some(0.8)));
        let none = curve.map(|l| Lossy { ssim: None, ..l });
        assert_eq!(at_rate(&none, 2.0).unwrap().ssim, None);
        assert_eq!(at_rate(&curve, 0.9), None);
        assert_eq!(at_rate(&curve, 8.1), None);
        assert_eq!(at_rate(&[], 1.0), None);
    }
}
