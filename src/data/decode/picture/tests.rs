use crate::data::decode::picture::*;
use image::ImageFormat;
use proptest::prelude::*;
use std::fs;

/// Returns a gradient that no two images share.
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
    [
        &b"\x89PNG\r\n\x1a\n\0\0\0\x0d"[..],
        &chunk,
        &sum,
        &b"\0\0\0\x08IDAT"[..],
        &[0; 12],
    ]
    .concat()
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
        assert_eq!(
            load(&encoded(&picture, format), 24, 16, 3).unwrap(),
            picture.as_bytes(),
            "{format:?}"
        );
    }
    for format in [ImageFormat::Jpeg, ImageFormat::Gif] {
        let pixels = load(&encoded(&picture, format), 24, 16, 3).unwrap();
        let off = pixels
            .iter()
            .zip(picture.as_bytes())
            .map(|(a, b)| f64::from(a.abs_diff(*b)))
            .sum::<f64>();
        assert!(off / (pixels.len() as f64) < 8.0, "{format:?}");
    }
}

#[test]
fn transparency_is_laid_on_white() {
    let pixels = [
        [255, 0, 0, 255],
        [255, 0, 0, 0],
        [0, 0, 0, 128],
        [10, 20, 30, 255],
    ];
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
    assert_eq!(
        [luma([255, 255, 255]), luma([0, 255, 0]), luma([0, 0, 255])],
        [255, 182, 18]
    );
}

#[test]
fn a_camera_held_sideways_is_turned() {
    // JPEG with an Exif segment that says "rotate by 90 degrees" (6), put in after the start
    // marker.
    let jpeg = encoded(&gradient(32, 16, 0), ImageFormat::Jpeg);
    let tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let exif = [&b"Exif\0\0"[..], tiff].concat();
    let length = (exif.len() as u16 + 2).to_be_bytes();
    let turned = [&jpeg[..2], &b"\xff\xe1"[..], &length, &exif, &jpeg[2..]].concat();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("turned.jpg");
    fs::write(&path, turned).unwrap();
    let header = header(&Place::file(&path)).unwrap();
    assert_eq!((header.width, header.height, header.grey), (16, 32, false));
    let picture = load_image(&path, 16, 32, 3).unwrap();
    // Columns of the original, from 0 (no red) to 31 (much), are now rows.
    assert!(picture[0] < 30 && picture[16 * 31 * 3] > 180);
}

/// Cut anywhere, an image is refused, or it was all there: never a part of it.
#[test]
fn a_cut_picture_is_an_error_or_whole() {
    macro_rules! fixture {
        ($($name:literal),*) => {
            vec![$((
                $name,
                include_bytes!(concat!("../../../../tests/fixtures/pictures/", $name)).to_vec(),
            )),*]
        };
    }
    let mut files: Vec<(&str, Vec<u8>)> = fixture![
        "baseline.jpg",
        "progressive.jpg",
        "restarts.jpg",
        "restarts_progressive.jpg",
        "cmyk.jpg",
        "lossy.webp",
        "alpha.webp",
        "lossless.webp",
        "animated.webp",
        "interlaced.gif",
        "frames.gif",
        "palette.bmp",
        "runs.bmp",
        "interlaced.png",
        "lzw.tif",
        "packbits.tif",
        "ycbcr.tif",
        "cmyk.tif",
        "grey_alpha.tif",
        "bits.tif",
        "pages.tif",
        "tiles16.tif",
        "planar.tif",
        "float_big.tif",
        "associated.tif"
    ];
    let picture = gradient(44, 30, 9);
    for format in [
        ImageFormat::Png,
        ImageFormat::Bmp,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Jpeg,
    ] {
        files.push(("encoded", encoded(&picture, format)));
    }
    let mut wrong = Vec::new();
    for (name, bytes) in files {
        let all = decode(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        let with_tail = decode(&[&bytes[..], &[0; 40]].concat()).unwrap();
        assert!(with_tail == all, "{name} with bytes after it");
        for cut in 1..bytes.len() {
            let part = std::panic::catch_unwind(|| decode(&bytes[..cut]));
            if part.is_ok_and(|part| part.is_ok_and(|part| part != all)) {
                wrong.push(format!("{name}: {cut} of {}", bytes.len()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} decode in part: {wrong:#?}",
        wrong.len()
    );
}

#[test]
fn what_is_no_picture_is_refused_by_name() {
    for (bytes, words) in [
        (&b""[..], "is empty"),
        (b"hello, this is text", "is not a PNG"),
        (
            b"\0\0\0\x1cftypavif\0\0\0\0mif1avif",
            "is an AVIF file, which is not read: convert it",
        ),
        (
            &png_header(100_000, 100_000),
            "more than 16384 pixels a side or 256 MiB",
        ),
        (&png_header(16_384, 16_384), "256 MiB"),
        (&png_header(0, 4), "picture.png"),
        (&png_header(8, 8), "picture.png"),
        (
            &encoded(&gradient(64, 64, 3), ImageFormat::Png)[..200],
            "truncated",
        ),
    ] {
        let error = load(bytes, 8, 8, 3).unwrap_err().to_string();
        assert!(
            error.contains("picture.png") && error.contains(words),
            "{error}"
        );
    }
    let error = load_image("/nowhere/x.png", 8, 8, 3)
        .unwrap_err()
        .to_string();
    assert!(error.contains("/nowhere/x.png"), "{error}");
    let error = load_image(std::env::temp_dir(), 8, 8, 3)
        .unwrap_err()
        .to_string();
    assert!(error.contains("is not a file"), "{error}");
    assert!(load_image("x", 0, 8, 3).is_err());
    assert!(load_image("x", 8, 8, 4).is_err());
}

#[test]
fn bytes_are_read_as_files_are() {
    let png = encoded(&gradient(61, 40, 9), ImageFormat::Png);
    assert_eq!(
        read_image(&png, 8, 8, 3).unwrap(),
        load(&png, 8, 8, 3).unwrap()
    );
    for (bytes, words) in [
        (&png[..100], "truncated"),
        (b"text", "is not a PNG"),
        (&png_header(100_000, 9), "16384"),
    ] {
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
    let broken = guarded::<()>(&Place::file(&path), |_| panic!("a decoder's bug"));
    let error = broken.unwrap_err().to_string();
    assert!(
        error.contains("x.png") && error.contains("gave up"),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Anything may come back but a panic, a wrong length or an error that does not name the file.
    #[test]
    fn hostile_bytes(
        which in 0usize..8,
        cut in 0usize..4000,
        edits in proptest::collection::vec((0usize..4000, any::<u8>()), 0..12),
        tail in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let formats = [
            ImageFormat::Png,
            ImageFormat::Jpeg,
            ImageFormat::Gif,
            ImageFormat::Bmp,
            ImageFormat::WebP,
        ];
        let mut bytes = match which {
            5 => include_bytes!("../../../../tests/fixtures/pictures/lzw.tif").to_vec(),
            6 => include_bytes!("../../../../tests/fixtures/pictures/tiles16.tif").to_vec(),
            7 => include_bytes!("../../../../tests/fixtures/pictures/ycbcr.tif").to_vec(),
            _ => encoded(&gradient(20, 13, 5), formats[which]),
        };
        let length = bytes.len();
        for (at, value) in edits {
            bytes[at % length] = value;
        }
        if cut < 2000 {
            bytes.truncate(cut % length);
        }
        bytes.extend(tail);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("damaged");
        fs::write(&path, &bytes).unwrap();
        match load_image(&path, 9, 7, 3) {
            Ok(pixels) => prop_assert_eq!(pixels.len(), 9 * 7 * 3),
            Err(error) => prop_assert!(error.to_string().contains("damaged")),
        }
    }
}
