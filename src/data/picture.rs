//! One picture: from a file that may be anything to `[H, W, C]` bytes of the size asked for.
//!
//! What a file claims is checked before memory is taken for it: its length, the sides and the bytes that its header
//! names. The format is guessed from the content. Transparency is laid on white, a camera's orientation is applied, an
//! animation gives its first frame, and a picture of another size is cropped at the centre to the shape asked for and
//! scaled with a Lanczos filter.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::imageops::{self, FilterType};
use image::metadata::Orientation;
use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageReader, Limits, RgbImage};
use rayon::prelude::*;

use super::{ImageSet, MAX_SIDE, Options, budget, check_channels, check_size};
use crate::{Error, Result};

/// The most bytes that a picture may take as a file, and as pixels (three or more to a pixel).
const MAX_BYTES: u64 = 256 << 20;

/// What a file's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// After the camera's orientation.
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) grey: bool,
    /// Bytes that decoding and fitting may take at once.
    pub(super) cost: u64,
}

/// Loads one picture as `[height, width, channels]` bytes: see the module.
///
/// # Errors
/// Names the file: missing, empty, of no known format, damaged, or larger than is read ([`MAX_SIDE`] pixels a side,
/// 256 MiB). Also if the size or the number of channels asked for cannot be had.
pub fn load_image(path: impl AsRef<Path>, width: usize, height: usize, channels: usize) -> Result<Vec<u8>> {
    check_size(width, height)?;
    check_channels(channels)?;
    guarded(path.as_ref(), |reader| Ok(fit(read(reader)?, width, height, channels)))
}

/// [`load_image`] of a file's bytes, for those without files.
///
/// # Errors
/// As [`load_image`].
pub fn read_image(bytes: &[u8], width: usize, height: usize, channels: usize) -> Result<Vec<u8>> {
    check_size(width, height)?;
    check_channels(channels)?;
    let path = Path::new("the picture's bytes");
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::file(path, "are more than the 256 MiB that are read"));
    }
    let result = catch_unwind(|| decode(bytes));
    let picture = result.unwrap_or_else(|_| Err("the decoder gave up on it: damaged?".into()));
    Ok(fit(picture.map_err(|what| Error::file(path, what))?, width, height, channels))
}

/// Loads one picture at its own size: `[height, width, channels]` bytes, and width and height.
///
/// # Errors
/// As [`load_image`].
pub fn load_image_whole(path: impl AsRef<Path>, channels: usize) -> Result<(Vec<u8>, [usize; 2])> {
    check_channels(channels)?;
    let rgb = load_whole(path.as_ref())?;
    let size = [rgb.width() as usize, rgb.height() as usize];
    let pixels = match channels {
        1 => rgb.pixels().map(|pixel| luma(pixel.0)).collect(),
        _ => rgb.into_raw(),
    };
    Ok((pixels, size))
}

/// One picture in its own size and in colour.
pub(super) fn load_whole(path: &Path) -> Result<RgbImage> {
    guarded(path, |reader| Ok(on_white(read(reader)?)))
}

/// The header alone.
pub(super) fn header(path: &Path) -> Result<Header> {
    guarded(path, |reader| {
        let mut decoder = decoder(reader)?;
        let (width, height) = decoder.dimensions();
        let (width, height) = if sideways(orientation(&mut decoder)) { (height, width) } else { (width, height) };
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
        Ok(Header { width: width as usize, height: height as usize, grey, cost })
    })
}

/// A picture in memory, `[H, W, C]` of any size, as `[height, width, channels]`.
pub(super) fn fit(picture: DynamicImage, width: usize, height: usize, channels: usize) -> Vec<u8> {
    // Cropped first: scaling the whole of a picture of 16,384 x 1 would pass through one of a million columns.
    let (w, h) = (picture.width(), picture.height());
    let (to_w, to_h) = (width as u32, height as u32);
    let (crop_w, crop_h) = if u64::from(w) * u64::from(to_h) > u64::from(h) * u64::from(to_w) {
        (nearest(h, to_w, to_h).min(w), h)
    } else {
        (w, nearest(w, to_h, to_w).min(h))
    };
    let cropped = match (crop_w, crop_h) == (w, h) {
        true => picture,
        false => picture.crop_imm((w - crop_w) / 2, (h - crop_h) / 2, crop_w, crop_h),
    };
    let mut rgb = on_white(cropped);
    if crop_w > 8 * to_w && crop_h > 8 * to_h {
        // Averaging over whole pixels first costs a tenth of a wide Lanczos filter, and no eye can tell.
        rgb = imageops::thumbnail(&rgb, 4 * to_w, 4 * to_h);
    }
    if rgb.dimensions() != (to_w, to_h) {
        rgb = imageops::resize(&rgb, to_w, to_h, FilterType::Lanczos3);
    }
    in_channels(rgb, channels)
}

/// The bytes of a picture in colour, or in grey.
pub(super) fn in_channels(rgb: RgbImage, channels: usize) -> Vec<u8> {
    match channels {
        1 => rgb.pixels().map(|pixel| luma(pixel.0)).collect(),
        _ => rgb.into_raw(),
    }
}

/// The set in the size and channels asked for, with a note if that changed it.
pub(super) fn refit(mut set: ImageSet, options: &Options) -> Result<ImageSet> {
    let (width, height) = options.size.unwrap_or((set.width, set.height));
    let channels = options.channels.unwrap_or(set.channels);
    let (from, to) = ((set.width, set.height, set.channels), (width, height, channels));
    if from == to {
        return Ok(set);
    }
    let mut pixels = zeros(&set.name, budget(&set.name, set.len(), width, height, channels)?)?;
    pixels.par_chunks_mut(width * height * channels).enumerate().try_for_each(|(i, out)| {
        let whole =
            whole(&set.image(i)?, from).ok_or_else(|| Error::data(format!("{}: image {i} is short", set.name)))?;
        out.copy_from_slice(&fit(whole, width, height, channels));
        Ok(())
    })?;
    let shape = |(w, h, c): (usize, usize, usize)| format!("{w}x{h} {}", if c == 1 { "grey" } else { "colour" });
    set.notes.push(format!("images changed from {} to {}", shape(from), shape(to)));
    (set.width, set.height, set.channels, set.pixels) = (width, height, channels, pixels.into());
    Ok(set)
}

/// `bytes` zeros, or an error where memory is short.
pub(super) fn zeros(name: &str, bytes: usize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let short = |_| Error::data(format!("{name}: no memory for {bytes} bytes of pixels; ask for a smaller image size"));
    out.try_reserve_exact(bytes).map_err(short)?;
    out.resize(bytes, 0);
    Ok(out)
}

/// Decodes a picture that came with the program or lies in memory.
pub(super) fn decode(bytes: &[u8]) -> Result<DynamicImage, String> {
    read(std::io::Cursor::new(bytes))
}

/// A picture of `[H, W, C]` bytes; `None` if they are too few.
pub(super) fn whole(pixels: &[u8], (width, height, channels): (usize, usize, usize)) -> Option<DynamicImage> {
    let (w, h) = (width as u32, height as u32);
    match channels {
        1 => Some(DynamicImage::ImageLuma8(image::GrayImage::from_raw(w, h, pixels.to_vec())?)),
        _ => Some(DynamicImage::ImageRgb8(RgbImage::from_raw(w, h, pixels.to_vec())?)),
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
    for (out, &[r, g, b, a]) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(rgba.as_chunks::<4>().0) {
        *out = if a == 255 { [r, g, b] } else { [blend(r, a), blend(g, a), blend(b, a)] };
    }
    rgb
}

/// ITU-R BT.709 weights in thousandths; a grey pixel keeps its value.
pub(super) fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((213 * u32::from(r) + 715 * u32::from(g) + 72 * u32::from(b) + 500) / 1000) as u8
}

/// Runs `work` on a file that is fit to be read. Decoders are other people's code and these are other people's files:
/// should one panic, that is a damaged file and not the end of the program.
fn guarded<T>(path: &Path, work: impl FnOnce(BufReader<File>) -> Result<T, String>) -> Result<T> {
    let unreadable = |error| Error::file(path, format!("cannot be read: {error}"));
    let meta = fs::metadata(path).map_err(unreadable)?;
    if !meta.is_file() {
        return Err(Error::file(path, "is not a file"));
    }
    match meta.len() {
        0 => return Err(Error::file(path, "is empty (0 bytes)")),
        bytes if bytes > MAX_BYTES => {
            return Err(Error::file(path, format!("is {bytes} bytes; pictures of at most 256 MiB are read")));
        }
        _ => {}
    }
    let reader = BufReader::new(File::open(path).map_err(unreadable)?);
    let result = catch_unwind(AssertUnwindSafe(|| work(reader)));
    result.unwrap_or_else(|_| Err("the decoder gave up on it: damaged?".into())).map_err(|what| Error::file(path, what))
}

fn decoder<'a, R: BufRead + Seek + 'a>(reader: R) -> Result<impl ImageDecoder + 'a, String> {
    let mut reader = ImageReader::new(reader).with_guessed_format().map_err(|error| error.to_string())?;
    if reader.format().is_none() {
        return Err("is not a PNG, JPEG, GIF, BMP or WebP picture".into());
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
        return Err(format!("is {width}x{height} pixels, which would take more than 256 MiB"));
    }
    Ok(decoder)
}

fn read<R: BufRead + Seek>(reader: R) -> Result<DynamicImage, String> {
    let mut decoder = decoder(reader)?;
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
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

fn words(error: ImageError) -> String {
    match error {
        ImageError::Limits(_) => format!("its header asks for more than {MAX_SIDE} pixels a side or 256 MiB"),
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "ends too early: truncated".into()
        }
        ImageError::Unsupported(error) => format!("is of a kind that is not read: {error}"),
        error => format!("cannot be decoded: {error}"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use image::ImageFormat;
    use proptest::prelude::*;
    use std::io::Cursor;

    /// A gradient that no two pictures share.
    pub(crate) fn gradient(width: u32, height: u32, tint: u8) -> DynamicImage {
        let at = |x, y| image::Rgb([(x * 7) as u8, (y * 11) as u8, tint]);
        DynamicImage::ImageRgb8(RgbImage::from_fn(width, height, at))
    }

    pub(crate) fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// A PNG that is nothing but a header of that size.
    pub(crate) fn png_header(width: u32, height: u32) -> Vec<u8> {
        let mut chunk = b"IHDR".to_vec();
        chunk.extend(width.to_be_bytes());
        chunk.extend(height.to_be_bytes());
        chunk.extend([8, 2, 0, 0, 0]);
        let mut crc = flate2::Crc::new();
        crc.update(&chunk);
        let sum = crc.sum().to_be_bytes();
        [&b"\x89PNG\r\n\x1a\n\0\0\0\x0d"[..], &chunk, &sum, &b"\0\0\0\x08IDAT"[..], &[0; 12]].concat()
    }

    fn load(bytes: &[u8], width: usize, height: usize, channels: usize) -> Result<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("picture.png");
        fs::write(&path, bytes).unwrap();
        load_image(&path, width, height, channels)
    }

    #[test]
    fn every_format_is_read_whatever_its_name() {
        let picture = gradient(24, 16, 40);
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP] {
            assert_eq!(load(&encoded(&picture, format), 24, 16, 3).unwrap(), picture.as_bytes(), "{format:?}");
        }
        for format in [ImageFormat::Jpeg, ImageFormat::Gif] {
            let pixels = load(&encoded(&picture, format), 24, 16, 3).unwrap();
            let off = pixels.iter().zip(picture.as_bytes()).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>();
            assert!(off / (pixels.len() as f64) < 8.0, "{format:?}");
        }
    }

    #[test]
    fn transparency_is_laid_on_white() {
        let pixels = [[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 128], [10, 20, 30, 255]];
        let rgba = image::RgbaImage::from_fn(2, 2, |x, y| image::Rgba(pixels[(2 * y + x) as usize]));
        let out = load(&encoded(&rgba.into(), ImageFormat::Png), 2, 2, 3).unwrap();
        assert_eq!(out, [255, 0, 0, 255, 255, 255, 127, 127, 127, 10, 20, 30]);
    }

    #[test]
    fn a_wide_and_a_tall_picture_are_cropped_at_the_centre() {
        // Red, green and blue thirds; the middle one stays.
        let third = |at: u32| image::Rgb([[200, 0, 0], [0, 200, 0], [0, 0, 200]][(at / 16) as usize]);
        let wide = DynamicImage::ImageRgb8(RgbImage::from_fn(48, 16, |x, _| third(x)));
        let tall = DynamicImage::ImageRgb8(RgbImage::from_fn(16, 48, |_, y| third(y)));
        for picture in [wide, tall] {
            for side in [16, 8, 20] {
                let out = fit(picture.clone(), side, side, 3);
                assert_eq!(out, [0, 200, 0].repeat(side * side), "side {side}");
            }
        }
    }

    #[test]
    fn shapes_at_the_edge_keep_their_size() {
        for (w, h) in [(1, 1), (16_384, 1), (1, 16_384), (3, 2), (700, 700)] {
            for (to_w, to_h, c) in [(1, 1, 1), (64, 64, 3), (5, 31, 3), (200, 1, 1)] {
                let out = fit(gradient(w, h, 1), to_w, to_h, c);
                assert_eq!(out.len(), to_w * to_h * c, "{w}x{h} to {to_w}x{to_h}x{c}");
            }
        }
    }

    #[test]
    fn scaling_down_keeps_the_mean() {
        let picture = gradient(1000, 600, 90);
        let mean = |bytes: &[u8]| bytes.iter().map(|&b| f64::from(b)).sum::<f64>() / bytes.len() as f64;
        let crop = picture.crop_imm(200, 0, 600, 600);
        assert!((mean(&fit(picture, 32, 32, 3)) - mean(crop.as_bytes())).abs() < 1.0);
    }

    #[test]
    fn grey_and_colour_become_each_other() {
        let grey = image::GrayImage::from_fn(4, 2, |x, y| image::Luma([(x * 60 + y) as u8]));
        let png = encoded(&grey.clone().into(), ImageFormat::Png);
        assert_eq!(load(&png, 4, 2, 1).unwrap(), *grey.as_raw());
        let tripled: Vec<u8> = grey.as_raw().iter().flat_map(|&v| [v; 3]).collect();
        assert_eq!(load(&png, 4, 2, 3).unwrap(), tripled);
        assert_eq!([luma([255, 255, 255]), luma([0, 255, 0]), luma([0, 0, 255])], [255, 182, 18]);
    }

    #[test]
    fn a_camera_held_sideways_is_turned() {
        // JPEG with an Exif segment that says "rotate by 90 degrees" (6), put in after the start marker.
        let jpeg = encoded(&gradient(32, 16, 0), ImageFormat::Jpeg);
        let tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let exif = [&b"Exif\0\0"[..], tiff].concat();
        let length = (exif.len() as u16 + 2).to_be_bytes();
        let turned = [&jpeg[..2], &b"\xff\xe1"[..], &length, &exif, &jpeg[2..]].concat();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("turned.jpg");
        fs::write(&path, turned).unwrap();
        let header = header(&path).unwrap();
        assert_eq!((header.width, header.height, header.grey), (16, 32, false));
        let picture = load_image(&path, 16, 32, 3).unwrap();
        // Columns of the original, from 0 (no red) to 31 (much), are now rows.
        assert!(picture[0] < 30 && picture[16 * 31 * 3] > 180);
    }

    #[test]
    fn what_is_no_picture_is_refused_by_name() {
        for (bytes, words) in [
            (&b""[..], "is empty"),
            (b"hello, this is text", "is not a PNG"),
            (&png_header(100_000, 100_000), "more than 16384 pixels a side or 256 MiB"),
            (&png_header(16_384, 16_384), "256 MiB"),
            (&png_header(0, 4), "picture.png"),
            (&png_header(8, 8), "picture.png"),
            (&encoded(&gradient(64, 64, 3), ImageFormat::Png)[..200], "truncated"),
        ] {
            let error = load(bytes, 8, 8, 3).unwrap_err().to_string();
            assert!(error.contains("picture.png") && error.contains(words), "{error}");
        }
        let error = load_image("/nowhere/x.png", 8, 8, 3).unwrap_err().to_string();
        assert!(error.contains("/nowhere/x.png"), "{error}");
        let error = load_image(std::env::temp_dir(), 8, 8, 3).unwrap_err().to_string();
        assert!(error.contains("is not a file"), "{error}");
        assert!(load_image("x", 0, 8, 3).is_err());
        assert!(load_image("x", 8, 8, 4).is_err());
    }

    #[test]
    fn bytes_are_read_as_files_are() {
        let png = encoded(&gradient(61, 40, 9), ImageFormat::Png);
        assert_eq!(read_image(&png, 8, 8, 3).unwrap(), load(&png, 8, 8, 3).unwrap());
        for (bytes, words) in
            [(&png[..100], "truncated"), (b"text", "is not a PNG"), (&png_header(100_000, 9), "16384")]
        {
            let error = read_image(bytes, 8, 8, 3).unwrap_err().to_string();
            assert!(error.contains("bytes") && error.contains(words), "{error}");
        }
        assert!(read_image(&png, 8, 8, 4).is_err());
    }

    #[test]
    fn a_decoder_that_panics_is_a_damaged_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.png");
        fs::write(&path, b"x").unwrap();
        let error = guarded::<()>(&path, |_| panic!("a decoder's bug")).unwrap_err().to_string();
        assert!(error.contains("x.png") && error.contains("gave up"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Anything may come back but a panic, a wrong length or an error that does not name the file.
        #[test]
        fn hostile_bytes(
            which in 0usize..5,
            cut in 0usize..4000,
            edits in proptest::collection::vec((0usize..4000, any::<u8>()), 0..12),
            tail in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let formats =
                [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::Bmp, ImageFormat::WebP];
            let mut bytes = encoded(&gradient(20, 13, 5), formats[which]);
            let length = bytes.len();
            for (at, value) in edits {
                bytes[at % length] = value;
            }
            if cut < 2000 {
                bytes.truncate(cut % length);
            }
            bytes.extend(tail);
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("hostile");
            fs::write(&path, &bytes).unwrap();
            match load_image(&path, 9, 7, 3) {
                Ok(pixels) => prop_assert_eq!(pixels.len(), 9 * 7 * 3),
                Err(error) => prop_assert!(error.to_string().contains("hostile")),
            }
        }
    }
}
