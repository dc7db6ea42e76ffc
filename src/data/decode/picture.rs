//! One image: from a file that may be anything to `[H, W, C]` bytes of the size asked for.
//!
//! The claims of a file are checked before memory is taken for it: its length, the sides and the
//! bytes that its header names. The format is guessed from the content. Transparency is laid on
//! white, a camera's orientation is applied, an animation gives its first frame, and an image of
//! another size is cropped at the centre to the shape asked for and scaled with a Lanczos filter.

use std::io::{BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::imageops::{self, FilterType};
use image::metadata::Orientation;
use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits,
    RgbImage,
};
use rayon::prelude::*;

use crate::data::decode::place::{Place, PlaceReader};
use crate::data::decode::tiff::{Tiff, is_tiff};
use crate::data::decode::{formats, jpeg};
use crate::data::{ImageSet, MAX_SIDE, Options, budget, check_channels, check_size};
use crate::{Error, Result};

/// The most bytes that an image may take as a file, and as pixels (three or more to a pixel).
const MAX_BYTES: u64 = 256 << 20;
/// The first bytes of a JPEG.
const JPEG: &[u8] = b"\xFF\xD8\xFF";

/// The header of an image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// After the camera's orientation.
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) grey: bool,
    /// Bytes that decoding and fitting may take at once.
    pub(crate) cost: u64,
}

/// Loads one image as `[height, width, channels]` bytes: see the module.
///
/// # Errors
/// Names the file: missing, empty, of no known format, damaged, or larger than is read
/// ([`MAX_SIDE`] pixels a side, 256 MiB). Also if the size or the number of channels asked for
/// cannot be had.
pub fn load_image(
    path: impl AsRef<Path>,
    width: usize,
    height: usize,
    channels: usize,
) -> Result<Vec<u8>> {
    load_fit(&Place::file(path), width, height, channels)
}

/// [`load_image`], wherever the image lies.
pub(crate) fn load_fit(
    place: &Place,
    width: usize,
    height: usize,
    channels: usize,
) -> Result<Vec<u8>> {
    check_size(width, height)?;
    check_channels(channels)?;
    guarded(place, |reader| {
        Ok(fit(read(reader)?, width, height, channels))
    })
}

/// [`load_image`] of a file's bytes, for those without files.
///
/// # Errors
/// As [`load_image`].
pub fn read_image(bytes: &[u8], width: usize, height: usize, channels: usize) -> Result<Vec<u8>> {
    check_size(width, height)?;
    check_channels(channels)?;
    let path = Path::new("the image's bytes");
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::file(path, "are more than the 256 MiB that are read"));
    }
    let result = catch_unwind(|| decode(bytes));
    let picture = result.unwrap_or_else(|_| Err("the decoder gave up on it: damaged?".into()));
    Ok(fit(
        picture.map_err(|what| Error::file(path, what))?,
        width,
        height,
        channels,
    ))
}

/// Loads one image at its own size: `[height, width, channels]` bytes, and width and height.
///
/// # Errors
/// As [`load_image`].
pub fn load_image_whole(path: impl AsRef<Path>, channels: usize) -> Result<(Vec<u8>, [usize; 2])> {
    check_channels(channels)?;
    let rgb = load_whole(&Place::file(path))?;
    let size = [rgb.width() as usize, rgb.height() as usize];
    let pixels = match channels {
        1 => rgb.pixels().map(|pixel| luma(pixel.0)).collect(),
        _ => rgb.into_raw(),
    };
    Ok((pixels, size))
}

/// One image in its own size and in colour.
pub(crate) fn load_whole(place: &Place) -> Result<RgbImage> {
    guarded(place, |reader| Ok(on_white(read(reader)?)))
}

/// Returns the header alone.
pub(crate) fn header(place: &Place) -> Result<Header> {
    guarded(place, |mut reader| {
        if is_tiff(reader.fill_buf().map_err(unreadable)?) {
            return Ok(tiff_header(&Tiff::open(reader, MAX_BYTES)?));
        }
        let mut decoder = decoder(reader)?;
        let (width, height) = decoder.dimensions();
        let (width, height) = if sideways(orientation(&mut decoder)) {
            (height, width)
        } else {
            (width, height)
        };
        let grey = matches!(
            decoder.original_color_type(),
            ExtendedColorType::L1
                | ExtendedColorType::L2
                | ExtendedColorType::L4
                | ExtendedColorType::L8
                | ExtendedColorType::L16
                | ExtendedColorType::La1
                | ExtendedColorType::La2
                | ExtendedColorType::La4
                | ExtendedColorType::La8
                | ExtendedColorType::La16
        );
        // Decoded, then turned or cropped, then as RGBA and RGB.
        let cost = 2 * decoder.total_bytes() + 7 * u64::from(width) * u64::from(height);
        Ok(Header {
            width: width as usize,
            height: height as usize,
            grey,
            cost,
        })
    })
}

fn tiff_header<R: Read + Seek>(tiff: &Tiff<R>) -> Header {
    let (mut width, mut height) = (tiff.width, tiff.height);
    if sideways(tiff.orientation) {
        (width, height) = (height, width);
    }
    // As the file has it, as bytes with an alpha, and then as other images.
    let cost = 2 * tiff.bytes + 15 * u64::from(width) * u64::from(height);
    Header {
        width: width as usize,
        height: height as usize,
        grey: tiff.is_grey(),
        cost,
    }
}

/// Returns the middle of an image that has the shape of `to_w` x `to_h`.
fn cropped(picture: DynamicImage, to_w: u32, to_h: u32) -> DynamicImage {
    let (w, h) = (picture.width(), picture.height());
    let (crop_w, crop_h) = if u64::from(w) * u64::from(to_h) > u64::from(h) * u64::from(to_w) {
        (nearest(h, to_w, to_h).min(w), h)
    } else {
        (w, nearest(w, to_h, to_w).min(h))
    };
    match (crop_w, crop_h) == (w, h) {
        true => picture,
        false => picture.crop_imm((w - crop_w) / 2, (h - crop_h) / 2, crop_w, crop_h),
    }
}

/// Loads the mask of an image of this shape: the brightness of each pixel, row by row, cut as
/// [`load_image`] cuts an image and not scaled, and its width and height. What is transparent is
/// black.
///
/// # Errors
/// As [`load_image`].
pub fn load_mask(
    path: impl AsRef<Path>,
    width: usize,
    height: usize,
) -> Result<(Vec<u8>, [usize; 2])> {
    check_size(width, height)?;
    guarded(&Place::file(path), |reader| {
        let mask = cropped(read(reader)?, width as u32, height as u32).to_luma_alpha8();
        let size = [mask.width() as usize, mask.height() as usize];
        let on_black = |pixel: &image::LumaA<u8>| {
            let [luma, alpha] = pixel.0.map(u32::from);
            (luma * alpha / 255) as u8
        };
        Ok((mask.pixels().map(on_black).collect(), size))
    })
}

/// Returns an image in memory, `[H, W, C]` of any size, as `[height, width, channels]`.
pub(crate) fn fit(picture: DynamicImage, width: usize, height: usize, channels: usize) -> Vec<u8> {
    let (to_w, to_h) = (width as u32, height as u32);
    // Cropped first: scaling the whole of an image of 16,384 x 1 would pass through one of a
    // million columns.
    let mut rgb = on_white(cropped(picture, to_w, to_h));
    let (crop_w, crop_h) = rgb.dimensions();
    if crop_w > 8 * to_w && crop_h > 8 * to_h {
        // Averaging over whole pixels first costs a tenth of a wide Lanczos filter, and no eye can
        // tell.
        rgb = imageops::thumbnail(&rgb, 4 * to_w, 4 * to_h);
    }
    if rgb.dimensions() != (to_w, to_h) {
        rgb = imageops::resize(&rgb, to_w, to_h, FilterType::Lanczos3);
    }
    in_channels(rgb, channels)
}

/// Returns the bytes of an image in colour, or in grey.
pub(crate) fn in_channels(rgb: RgbImage, channels: usize) -> Vec<u8> {
    match channels {
        1 => rgb.pixels().map(|pixel| luma(pixel.0)).collect(),
        _ => rgb.into_raw(),
    }
}

/// Returns the set in the size and channels asked for, with a note if that changed it.
pub(crate) fn refit(mut set: ImageSet, options: &Options) -> Result<ImageSet> {
    let (width, height) = options.size.unwrap_or((set.width, set.height));
    let channels = options.channels.unwrap_or(set.channels);
    let (from, to) = (
        (set.width, set.height, set.channels),
        (width, height, channels),
    );
    if from == to {
        return Ok(set);
    }
    let mut pixels = zeros(
        &set.name,
        budget(&set.name, set.len(), width, height, channels)?,
    )?;
    pixels
        .par_chunks_mut(width * height * channels)
        .enumerate()
        .try_for_each(|(i, out)| {
            let whole = whole(&set.image(i)?, from)
                .ok_or_else(|| Error::data(format!("{}: image {i} is short", set.name)))?;
            out.copy_from_slice(&fit(whole, width, height, channels));
            Ok(())
        })?;
    let shape = |(w, h, c): (usize, usize, usize)| {
        format!("{w}x{h} {}", if c == 1 { "grey" } else { "colour" })
    };
    set.notes.push(format!(
        "images changed from {} to {}",
        shape(from),
        shape(to)
    ));
    (set.width, set.height, set.channels, set.pixels) = (width, height, channels, pixels.into());
    Ok(set)
}

/// `bytes` zeros, or an error where memory is short.
pub(crate) fn zeros(name: &str, bytes: usize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let short = |_| {
        Error::data(format!(
            "{name}: no memory for {bytes} bytes of pixels; ask for a smaller image size"
        ))
    };
    out.try_reserve_exact(bytes).map_err(short)?;
    out.resize(bytes, 0);
    Ok(out)
}

/// Decodes an image that came with the program or lies in memory.
pub(crate) fn decode(bytes: &[u8]) -> Result<DynamicImage, String> {
    read(std::io::Cursor::new(bytes))
}

/// Returns an image of `[H, W, C]` bytes; `None` if they are too few.
pub(crate) fn whole(
    pixels: &[u8],
    (width, height, channels): (usize, usize, usize),
) -> Option<DynamicImage> {
    let (w, h) = (width as u32, height as u32);
    match channels {
        1 => Some(DynamicImage::ImageLuma8(image::GrayImage::from_raw(
            w,
            h,
            pixels.to_vec(),
        )?)),
        _ => Some(DynamicImage::ImageRgb8(RgbImage::from_raw(
            w,
            h,
            pixels.to_vec(),
        )?)),
    }
}

/// `of * numerator / denominator` to the nearest, at least 1.
fn nearest(of: u32, numerator: u32, denominator: u32) -> u32 {
    let twice = 2 * u64::from(of) * u64::from(numerator) / u64::from(denominator);
    (twice.div_ceil(2) as u32).max(1)
}

fn on_white(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let rgba = picture.into_rgba8();
    let (w, h) = rgba.dimensions();
    let blend = |value: u8, alpha: u8| {
        let (value, alpha) = (u32::from(value), u32::from(alpha));
        ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    let mut rgb = RgbImage::new(w, h);
    for (out, &[r, g, b, a]) in rgb
        .as_chunks_mut::<3>()
        .0
        .iter_mut()
        .zip(rgba.as_chunks::<4>().0)
    {
        *out = if a == 255 {
            [r, g, b]
        } else {
            [blend(r, a), blend(g, a), blend(b, a)]
        };
    }
    rgb
}

/// ITU-R BT.709 weights in thousandths; a grey pixel keeps its value.
pub(crate) fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((213 * u32::from(r) + 715 * u32::from(g) + 72 * u32::from(b) + 500) / 1000) as u8
}

/// Runs `work` on a file that is fit to be read. Decoders are other people's code and these are
/// other people's files: should one panic, that is a damaged file and not the end of the program.
fn guarded<T>(
    place: &Place,
    work: impl FnOnce(BufReader<PlaceReader>) -> Result<T, String>,
) -> Result<T> {
    let unreadable = |error| place.error(unreadable(error));
    if !place.is_file().map_err(unreadable)? {
        return Err(place.error("is not a file"));
    }
    match place.about().map_err(unreadable)?.0 {
        0 => return Err(place.error("is empty (0 bytes)")),
        bytes if bytes > MAX_BYTES => {
            return Err(place.error(format!(
                "is {bytes} bytes; images of at most 256 MiB are read"
            )));
        }
        _ => {}
    }
    let reader = BufReader::new(place.open().map_err(unreadable)?);
    let result = catch_unwind(AssertUnwindSafe(|| work(reader)));
    result
        .unwrap_or_else(|_| Err("the decoder gave up on it: damaged?".into()))
        .map_err(|what| place.error(what))
}

fn decoder<'a, R: BufRead + Seek + 'a>(reader: R) -> Result<impl ImageDecoder + 'a, String> {
    let mut reader = ImageReader::new(reader)
        .with_guessed_format()
        .map_err(unreadable)?;
    let is_read = |format| {
        use ImageFormat::{Bmp, Gif, Jpeg, Png, WebP};
        matches!(format, Png | Jpeg | Gif | Bmp | WebP)
    };
    if !reader.format().is_some_and(is_read) {
        let mut head = Vec::new();
        let mut reader = reader.into_inner();
        let read = reader
            .rewind()
            .and_then(|()| reader.take(72).read_to_end(&mut head));
        read.map_err(unreadable)?;
        return Err(formats::refused(&head));
    }
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(MAX_SIDE as u32);
    limits.max_image_height = Some(MAX_SIDE as u32);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(words)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err("has no pixels".into());
    }
    let pixels = u64::from(width) * u64::from(height);
    if decoder.total_bytes().max(3 * pixels) > MAX_BYTES {
        return Err(format!(
            "is {width}x{height} pixels, which would take more than 256 MiB"
        ));
    }
    Ok(decoder)
}

fn read<R: BufRead + Seek>(mut reader: R) -> Result<DynamicImage, String> {
    let head = reader.fill_buf().map_err(unreadable)?;
    if is_tiff(head) {
        let tiff = Tiff::open(reader, MAX_BYTES)?;
        let orientation = tiff.orientation;
        let mut picture = tiff.decode(MAX_BYTES)?;
        picture.apply_orientation(orientation);
        return Ok(picture);
    } else if let [
        b'R',
        b'I',
        b'F',
        b'F',
        a,
        b,
        c,
        d,
        b'W',
        b'E',
        b'B',
        b'P',
        ..,
    ] = *head
    {
        // Its decoder takes what there is of the last part for all of it.
        let said = 8 + u64::from(u32::from_le_bytes([a, b, c, d]));
        if reader.seek(SeekFrom::End(0)).map_err(unreadable)? < said {
            return Err(jpeg::SHORT.into());
        }
        reader.rewind().map_err(unreadable)?;
    } else if head.starts_with(JPEG) {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(unreadable)?;
        let decoder = decoder(Cursor::new(&bytes))?;
        jpeg::whole(&bytes)?;
        return decoded(decoder);
    }
    decoded(decoder(reader)?)
}

fn unreadable(error: std::io::Error) -> String {
    format!("cannot be read: {error}")
}

fn decoded(mut decoder: impl ImageDecoder) -> Result<DynamicImage, String> {
    let orientation = orientation(&mut decoder);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(words)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// A damaged note of the orientation is none.
fn orientation(decoder: &mut impl ImageDecoder) -> Orientation {
    decoder.orientation().unwrap_or(Orientation::NoTransforms)
}

fn sideways(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(
        orientation,
        Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH
    )
}

fn words(error: ImageError) -> String {
    match error {
        ImageError::Limits(_) => {
            format!("its header asks for more than {MAX_SIDE} pixels a side or 256 MiB")
        }
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            jpeg::SHORT.into()
        }
        ImageError::Unsupported(error) => format!("is of a kind that is not read: {error}"),
        error => format!("cannot be decoded: {error}"),
    }
}

#[cfg(test)]
pub(crate) mod tests;
