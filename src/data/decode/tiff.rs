//! TIFF: the first image of a file, in strips or tiles, in grey, RGB, CMYK or YCbCr.
//!
//! Samples of 16 and 32 bits and floats, from 0 to 1, become bytes. Colours that were multiplied by
//! their alpha are divided by it. What a header claims is checked before memory is taken for it:
//! sides, samples, tiles, and the JPEG images that some files are made of.

use std::io::{Read, Seek, SeekFrom};

use image::metadata::Orientation;
use image::{DynamicImage, GrayAlphaImage, GrayImage, RgbImage, RgbaImage};
use tiff::decoder::{ChunkType, Decoder, DecodingResult, Limits};
use tiff::tags::{CompressionMethod, SampleFormat, Tag};
use tiff::{ColorType, TiffError};

use crate::data::MAX_SIDE;
use crate::data::decode::jpeg;

/// The most samples of a pixel.
const MAX_SAMPLES: u16 = 8;
/// Values of the tag `ExtraSamples`: colours multiplied by an alpha, and colours beside one.
const ASSOCIATED: u16 = 1;
const UNASSOCIATED: u16 = 2;

/// Whether a file begins as a TIFF does, of 32 or 64 bits, little or big endian.
pub(super) fn is_tiff(head: &[u8]) -> bool {
    [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"]
        .iter()
        .any(|magic| head.starts_with(*magic))
}

/// The first image of a file, whose header was read.
pub(super) struct Tiff<R: Read + Seek> {
    decoder: Decoder<R>,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) orientation: Orientation,
    /// Bytes of its samples, as the file has them.
    pub(super) bytes: u64,
    color: Color,
    compression: CompressionMethod,
}

/// The meaning of a pixel's samples.
struct Color {
    model: Model,
    /// Samples of a pixel that are decoded, with those that have no meaning here.
    samples: usize,
    /// Samples of a pixel that are stored.
    stored: u64,
    /// Bits of a sample.
    bits: u8,
    alpha: Alpha,
    planar: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Model {
    Grey,
    Rgb,
    Cmyk,
    YCbCr,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Alpha {
    None,
    /// Colours are as they are seen where nothing is transparent.
    Straight,
    /// Colours are multiplied by it.
    Multiplied,
}

impl<R: Read + Seek> Tiff<R> {
    /// Reads the header of the first image of a file, which may take `most` bytes.
    pub(super) fn open(reader: R, most: u64) -> Result<Tiff<R>, String> {
        let mut limits = Limits::default();
        limits.decoding_buffer_size = usize::try_from(most).unwrap_or(usize::MAX);
        let mut decoder = Decoder::new(reader).map_err(words)?.with_limits(limits);
        let (width, height) = decoder.dimensions().map_err(words)?;
        let side = MAX_SIDE as u32;
        let tile = match decoder.get_chunk_type() {
            ChunkType::Strip => (0, 0),
            ChunkType::Tile => decoder.chunk_dimensions(),
        };
        if [width, height, tile.0, tile.1].iter().any(|n| *n > side) {
            return Err(too_large(most));
        }
        let color = Color::of(&mut decoder)?;
        let layout = decoder.image_buffer_layout().map_err(words)?;
        let bytes = layout.complete_len as u64;
        if bytes.max(3 * u64::from(width) * u64::from(height)) > most {
            return Err(format!(
                "is {width}x{height} pixels, which would take more than {} MiB",
                most >> 20
            ));
        }
        let number = |decoder: &mut Decoder<R>, tag| decoder.find_tag_unsigned::<u16>(tag);
        let compression = number(&mut decoder, Tag::Compression).map_err(words)?;
        let compression = CompressionMethod::from_u16_exhaustive(compression.unwrap_or(1));
        if color.model == Model::Cmyk && compression == CompressionMethod::ModernJPEG {
            return Err(kind("CMYK compressed as JPEG"));
        }
        // A damaged note of the orientation is none.
        let orientation = number(&mut decoder, Tag::Orientation).ok().flatten();
        let orientation = orientation.and_then(|n| Orientation::from_exif(n.min(255) as u8));
        Ok(Tiff {
            decoder,
            width,
            height,
            orientation: orientation.unwrap_or(Orientation::NoTransforms),
            bytes,
            color,
            compression,
        })
    }

    /// Whether it has no colours.
    pub(super) fn is_grey(&self) -> bool {
        self.color.model == Model::Grey
    }

    /// Decodes the image, not turned yet.
    pub(super) fn decode(mut self, most: u64) -> Result<DynamicImage, String> {
        if self.compression == CompressionMethod::ModernJPEG {
            self.check_jpeg(most)?;
        }
        let mut samples = DecodingResult::U8(Vec::new());
        let read = self.decoder.read_image_to_buffer(&mut samples);
        read.map_err(words)?;
        let (w, h) = (self.width as usize, self.height as usize);
        let Color { samples: n, .. } = self.color;
        let samples = match self.color.bits {
            bits @ (1 | 2 | 4) => unpacked(samples, w * n, bits)?,
            _ => in_bytes(samples)?,
        };
        if samples.len() < w * h * n {
            return Err(jpeg::SHORT.into());
        }
        let at = |pixel: usize, channel: usize| match self.color.planar {
            true => samples[channel * w * h + pixel],
            false => samples[pixel * n + channel],
        };
        self.color.image(self.width, self.height, at)
    }

    /// Checks that the JPEG images that it is made of are whole, and no larger than their places.
    fn check_jpeg(&mut self, most: u64) -> Result<(), String> {
        let (offsets, lengths) = match self.decoder.get_chunk_type() {
            ChunkType::Strip => (Tag::StripOffsets, Tag::StripByteCounts),
            ChunkType::Tile => (Tag::TileOffsets, Tag::TileByteCounts),
        };
        let mut numbers = |tag| -> Result<Vec<u64>, String> {
            let found = self.decoder.find_tag_unsigned_vec(tag).map_err(words)?;
            found.ok_or_else(|| String::from("lacks the places of its data: damaged"))
        };
        let (offsets, lengths) = (numbers(offsets)?, numbers(lengths)?);
        let tables = self.decoder.find_tag(Tag::JPEGTables).map_err(words)?;
        let tables = match tables {
            Some(tables) => tables.into_u8_vec().map_err(words)?,
            None => Vec::new(),
        };
        let cannot = |e: std::io::Error| format!("cannot be read: {e}");
        let file = self.decoder.inner();
        let size = file.seek(SeekFrom::End(0)).map_err(cannot)?;
        if lengths.iter().fold(0, |sum: u64, n| sum.saturating_add(*n)) > size {
            return Err("has parts that lie one over the other, or past its end: damaged".into());
        }
        let (wide, high) = self.decoder.chunk_dimensions();
        let samples = if self.color.planar {
            1
        } else {
            self.color.stored
        };
        // The rows of a part are read as they come: of another width they would shear.
        let fits = |[w, h, n]: &[u64; 3]| {
            let most_rows = u64::from(high).next_multiple_of(16);
            (*w, *n) == (u64::from(wide), samples) && (1..=most_rows).contains(h)
        };
        for (offset, length) in offsets.into_iter().zip(lengths) {
            // The tables' end marker and the image's begin marker fall between the two.
            let mut whole = tables.clone();
            whole.truncate(tables.len().saturating_sub(2));
            let file = self.decoder.inner();
            file.seek(SeekFrom::Start(offset)).map_err(cannot)?;
            let mut part = Vec::new();
            file.take(length).read_to_end(&mut part).map_err(cannot)?;
            if (part.len() as u64) < length {
                return Err(jpeg::SHORT.into());
            }
            whole.extend(
                &part[if tables.is_empty() {
                    0
                } else {
                    2.min(part.len())
                }..],
            );
            if jpeg::decoded_bytes(&whole) > most {
                return Err(too_large(most));
            }
            if !jpeg::frames(&whole).iter().all(fits) {
                return Err("has a JPEG of another size than its place: damaged".into());
            }
            jpeg::whole(&whole)?;
        }
        Ok(())
    }
}

impl Color {
    fn of<R: Read + Seek>(decoder: &mut Decoder<R>) -> Result<Color, String> {
        let mut number = |tag, default| -> Result<u16, String> {
            let found = decoder.find_tag_unsigned::<u16>(tag).map_err(words)?;
            Ok(found.unwrap_or(default))
        };
        let stored = number(Tag::SamplesPerPixel, 1)?;
        let planar = number(Tag::PlanarConfiguration, 1)? == 2;
        let predictor = number(Tag::Predictor, 1)?;
        if stored > MAX_SAMPLES {
            return Err(kind(&format!(
                "{stored} samples to a pixel, of at most {MAX_SAMPLES}"
            )));
        }
        let formats = decoder.find_tag_unsigned_vec::<u16>(Tag::SampleFormat);
        let format = formats.map_err(words)?.and_then(|all| all.first().copied());
        let float = match SampleFormat::from_u16_exhaustive(format.unwrap_or(1)) {
            SampleFormat::Uint => false,
            SampleFormat::IEEEFP => true,
            other => return Err(kind(&format!("samples of the type {other:?}"))),
        };
        let extra = decoder.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples);
        let extra = extra.map_err(words)?.unwrap_or_default();
        let alpha = match extra.first() {
            Some(&ASSOCIATED) => Alpha::Multiplied,
            Some(&UNASSOCIATED) => Alpha::Straight,
            _ => Alpha::None,
        };
        let color = decoder.colortype().map_err(words)?;
        let (model, samples, bits, alpha) = match color {
            ColorType::Gray(bits) => (Model::Grey, 1, bits, Alpha::None),
            // Grey, and what stands beside it.
            ColorType::Multiband {
                bit_depth,
                num_samples,
            } => (Model::Grey, num_samples, bit_depth, alpha),
            ColorType::RGB(bits) => (Model::Rgb, 3, bits, Alpha::None),
            // Of four samples without a note of what the last is, it is an alpha.
            ColorType::RGBA(bits) if alpha == Alpha::None => (Model::Rgb, 4, bits, Alpha::Straight),
            ColorType::RGBA(bits) => (Model::Rgb, 4, bits, alpha),
            ColorType::CMYK(bits) => (Model::Cmyk, 4, bits, Alpha::None),
            ColorType::YCbCr(bits @ 8) => (Model::YCbCr, 3, bits, Alpha::None),
            other => return Err(kind(&format!("{other:?}"))),
        };
        let read = match (bits, float) {
            (8 | 16 | 32, false) | (16 | 32 | 64, true) => true,
            (1 | 2 | 4, false) => samples == 1,
            _ => false,
        };
        if !read {
            let numbers = if float { "floats" } else { "whole numbers" };
            return Err(kind(&format!("{numbers} of {bits} bits")));
        }
        // The decoder leaves the samples out before it adds up the differences of all of them.
        if stored > samples && predictor != 1 && !planar {
            return Err(kind("a predictor over samples that are no colours"));
        }
        Ok(Color {
            model,
            samples: usize::from(samples),
            bits,
            alpha,
            planar,
            stored: u64::from(stored),
        })
    }

    /// Returns the image of a size whose pixels have the samples that `at` gives: those of a pixel,
    /// by its number and theirs.
    fn image(
        &self,
        width: u32,
        height: u32,
        at: impl Fn(usize, usize) -> u8,
    ) -> Result<DynamicImage, String> {
        let pixels = 0..width as usize * height as usize;
        let straight = |color: u8, alpha: u8| match (self.alpha, alpha) {
            (Alpha::Multiplied, 1..) => {
                let (color, alpha) = (u32::from(color), u32::from(alpha));
                ((color * 255 + alpha / 2) / alpha).min(255) as u8
            }
            _ => color,
        };
        let image = match (self.model, self.alpha) {
            (Model::Grey, Alpha::None) => {
                let all = pixels.map(|i| at(i, 0)).collect();
                GrayImage::from_raw(width, height, all).map(DynamicImage::from)
            }
            (Model::Grey, _) => {
                let of = |i| [straight(at(i, 0), at(i, 1)), at(i, 1)];
                let all = pixels.flat_map(of).collect();
                GrayAlphaImage::from_raw(width, height, all).map(DynamicImage::from)
            }
            (Model::Rgb, Alpha::Straight | Alpha::Multiplied) => {
                let of = |i| {
                    let alpha = at(i, 3);
                    let [r, g, b] = [0, 1, 2].map(|c| straight(at(i, c), alpha));
                    [r, g, b, alpha]
                };
                let all = pixels.flat_map(of).collect();
                RgbaImage::from_raw(width, height, all).map(DynamicImage::from)
            }
            (model, _) => {
                let of = |i| {
                    let [a, b, c] = [0, 1, 2].map(|n| at(i, n));
                    match model {
                        Model::Cmyk => [a, b, c].map(|ink| light(ink, at(i, 3))),
                        Model::YCbCr => rgb(a, b, c),
                        _ => [a, b, c],
                    }
                };
                let all = pixels.flat_map(of).collect();
                RgbImage::from_raw(width, height, all).map(DynamicImage::from)
            }
        };
        image.ok_or_else(|| jpeg::SHORT.into())
    }
}

/// Returns the light that an ink and the black over it leave.
fn light(ink: u8, black: u8) -> u8 {
    let [ink, black] = [ink, black].map(|n| 255 - u32::from(n));
    ((ink * black + 127) / 255) as u8
}

/// Returns a colour of ITU-R BT.601, as JPEG has it.
fn rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let [y, cb, cr] = [f32::from(y), f32::from(cb) - 128.0, f32::from(cr) - 128.0];
    [
        y + 1.402 * cr,
        y - 0.344_136 * cb - 0.714_136 * cr,
        y + 1.772 * cb,
    ]
    .map(|n| (n + 0.5).clamp(0.0, 255.0) as u8)
}

/// Returns samples of less than a byte as bytes, from rows of `row` samples that begin at bytes.
fn unpacked(samples: DecodingResult, row: usize, bits: u8) -> Result<Vec<u8>, String> {
    let DecodingResult::U8(packed) = samples else {
        return Err(kind(&format!("samples of {bits} bits")));
    };
    let (bits, most) = (usize::from(bits), (1u16 << bits) - 1);
    let stride = (row * bits).div_ceil(8);
    let of = |line: &[u8], i: usize| {
        let at = i * bits;
        let value = u16::from(line[at / 8]) >> (8 - bits - at % 8) & most;
        (value * 255 / most) as u8
    };
    let lines = packed.chunks_exact(stride.max(1));
    Ok(lines
        .flat_map(|line| (0..row).map(move |i| of(line, i)))
        .collect())
}

/// Returns samples of at least a byte as bytes; floats go from 0 to 1.
fn in_bytes(samples: DecodingResult) -> Result<Vec<u8>, String> {
    Ok(match samples {
        DecodingResult::U8(all) => all,
        DecodingResult::U16(all) => {
            let byte = |n: u16| ((u32::from(n) + 128) / 257) as u8;
            all.into_iter().map(byte).collect()
        }
        DecodingResult::U32(all) => all.into_iter().map(|n| (n >> 24) as u8).collect(),
        DecodingResult::F16(all) => of_floats(all.into_iter().map(f32::from))?,
        DecodingResult::F32(all) => of_floats(all.into_iter())?,
        DecodingResult::F64(all) => of_floats(all.into_iter().map(|x| x as f32))?,
        _ => return Err(kind("samples of a type that no image here has")),
    })
}

/// Returns numbers from 0 to 1 as bytes.
fn of_floats(all: impl ExactSizeIterator<Item = f32>) -> Result<Vec<u8>, String> {
    let (count, mut above, mut largest) = (all.len(), 0, 0f32);
    let bytes = all
        .map(|x| {
            above += usize::from(x > 1.0);
            largest = largest.max(x);
            (x.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
        })
        .collect();
    // Highlights beyond white are cut off; an image of which most is beyond it has another scale.
    if 2 * above > count {
        return Err(format!(
            "has floats up to {largest}, of which more than half are above 1: they are read from \
             0, black, to 1, white; divide them by the largest, or write whole numbers"
        ));
    }
    Ok(bytes)
}

fn too_large(most: u64) -> String {
    format!(
        "its header asks for more than {MAX_SIDE} pixels a side or {} MiB",
        most >> 20
    )
}

/// Returns the words for a TIFF that cannot be had.
fn kind(what: &str) -> String {
    format!(
        "is a TIFF of a kind that is not read ({what}): write it as grey or RGB of 8 bits, as by \
         ImageMagick: `magick IN.tif OUT.png`"
    )
}

fn words(error: TiffError) -> String {
    match error {
        TiffError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            jpeg::SHORT.into()
        }
        TiffError::IoError(error) => format!("cannot be read: {error}"),
        TiffError::UnsupportedError(error) => kind(&error.to_string()),
        TiffError::LimitsExceeded => {
            "its header asks for more memory than an image may take".into()
        }
        error => format!("cannot be decoded: {error}"),
    }
}

#[cfg(test)]
mod tests;
