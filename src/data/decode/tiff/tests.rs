use crate::data::decode::picture::decode;
use crate::data::decode::picture::tests::{encoded, gradient};
use image::{DynamicImage, ImageFormat};

/// Tags by their numbers.
const WIDTH: u16 = 256;
const HEIGHT: u16 = 257;
const BITS: u16 = 258;
const COMPRESSION: u16 = 259;
const MEANING: u16 = 262;
const OFFSETS: u16 = 273;
const ORIENTATION: u16 = 274;
const SAMPLES: u16 = 277;
const ROWS: u16 = 278;
const LENGTHS: u16 = 279;
const PREDICTOR: u16 = 317;
const TILE_WIDTH: u16 = 322;
const TILE_HEIGHT: u16 = 323;
const TILE_OFFSETS: u16 = 324;
const TILE_LENGTHS: u16 = 325;
const EXTRA: u16 = 338;
const FORMAT: u16 = 339;

/// Where the data of a file begins.
const DATA: u32 = 8;

/// A little-endian file of these tags and data.
fn file(tags: &[(u16, u32)], data: &[u8]) -> Vec<u8> {
    let mut tags = tags.to_vec();
    tags.sort_by_key(|(tag, _)| *tag);
    let mut out = b"II*\0\0\0\0\0".to_vec();
    out.extend(data);
    let mut entries = (tags.len() as u16).to_le_bytes().to_vec();
    for (tag, value) in tags {
        // Of 16 bits, where it fits.
        let kind: u16 = if value < 1 << 16 { 3 } else { 4 };
        entries.extend(tag.to_le_bytes());
        entries.extend(kind.to_le_bytes());
        entries.extend(1u32.to_le_bytes());
        entries.extend(value.to_le_bytes());
    }
    let at = (out.len() as u32).to_le_bytes();
    out[4..8].copy_from_slice(&at);
    out.extend(entries);
    out.extend([0; 4]);
    out
}

/// One strip of pixels of `samples` numbers of so many bits, 1: black is 0, 2: RGB, with more tags.
fn strip(
    [width, height]: [u32; 2],
    [samples, bits, meaning]: [u32; 3],
    more: &[(u16, u32)],
    data: &[u8],
) -> Vec<u8> {
    let mut tags = vec![
        (WIDTH, width),
        (HEIGHT, height),
        (SAMPLES, samples),
        (BITS, bits),
        (MEANING, meaning),
        (ROWS, height),
        (OFFSETS, DATA),
        (LENGTHS, data.len() as u32),
    ];
    // A tag that is given again replaces the one before it.
    tags.retain(|(tag, _)| more.iter().all(|(other, _)| other != tag));
    tags.extend(more);
    file(&tags, data)
}

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/fixtures/pictures/", $name)).as_slice()
    };
}

#[track_caller]
fn refused(bytes: &[u8], words: &[&str]) {
    let error = decode(bytes).unwrap_err();
    for words in words {
        assert!(error.contains(words), "{words}: {error}");
    }
}

/// Files of Pillow and tifffile (scripts/fixtures/tiff.py).
#[test]
fn files_of_other_programs_are_read_to_the_byte() {
    let whole = gradient(44, 30, 9);
    for (name, bytes) in [
        ("LZW with differences", fixture!("lzw.tif")),
        ("PackBits", fixture!("packbits.tif")),
        ("CMYK", fixture!("cmyk.tif")),
        ("the first of two pages", fixture!("pages.tif")),
        (
            "tiles, big-endian, 16 bits, Deflate",
            fixture!("tiles16.tif"),
        ),
        ("a plane to each colour", fixture!("planar.tif")),
    ] {
        let image = decode(bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(image == whole, "{name}");
    }
    let red = whole
        .to_rgb8()
        .pixels()
        .map(|p| p.0[0])
        .collect::<Vec<u8>>();
    let floats = decode(fixture!("float_big.tif")).unwrap();
    assert_eq!(floats.as_luma8().unwrap().as_raw(), &red);
    let bits = decode(fixture!("bits.tif")).unwrap();
    let black_or_white: Vec<u8> = red.iter().map(|r| 255 * u8::from(*r > 127)).collect();
    assert_eq!(bits.as_luma8().unwrap().as_raw(), &black_or_white);
    let alpha = decode(fixture!("grey_alpha.tif")).unwrap();
    for (i, pixel) in alpha.as_luma_alpha8().unwrap().pixels().enumerate() {
        assert_eq!(pixel.0, [red[i], 255 * u8::from(i % 44 < 22)], "{i}");
    }
    // A loss by JPEG, and by halves that were rounded.
    for (name, bytes, most) in [
        ("YCbCr as JPEG, with tables", fixture!("ycbcr.tif"), 3.0),
        ("multiplied colours", fixture!("associated.tif"), 1.0),
    ] {
        let image = decode(bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(image.color().has_alpha(), most == 1.0);
        let image = image.to_rgb8();
        let off = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b));
        let sum: f64 = image.as_raw().iter().zip(whole.as_bytes()).map(off).sum();
        let mean = sum / image.as_raw().len() as f64;
        assert!(mean < most, "{name}: {mean}");
    }
}

#[test]
fn samples_of_any_width_become_bytes() {
    let grey = |bits, more: &[(u16, u32)], data: &[u8], width| {
        let bytes = strip([width, 1], [1, bits, 1], more, data);
        decode(&bytes).unwrap().into_luma8().into_raw()
    };
    assert_eq!(grey(1, &[], &[0b1010_0000], 3), [255, 0, 255]);
    assert_eq!(grey(2, &[], &[0b0001_1011], 4), [0, 85, 170, 255]);
    assert_eq!(grey(4, &[], &[0x0f, 0x80], 3), [0, 255, 136]);
    let wide: Vec<u8> = [0u16, 128, 129, 32768, 65535]
        .iter()
        .flat_map(|n| n.to_le_bytes())
        .collect();
    assert_eq!(grey(16, &[], &wide, 5), [0, 0, 1, 128, 255]);
    let wider: Vec<u8> = [0u32, 1 << 31, u32::MAX]
        .iter()
        .flat_map(|n| n.to_le_bytes())
        .collect();
    assert_eq!(grey(32, &[], &wider, 3), [0, 128, 255]);
    // White is 0.
    assert_eq!(grey(8, &[(MEANING, 0)], &[0, 10, 255], 3), [255, 245, 0]);
    let floats = |all: &[f32]| {
        all.iter()
            .flat_map(|x| x.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let some = floats(&[f32::NAN, -1.0, 0.5, 1.0, 7.0]);
    assert_eq!(grey(32, &[(FORMAT, 3)], &some, 5), [0, 0, 128, 255, 255]);
    let scaled = floats(&[0.0, 17.0, 200.0]);
    refused(
        &strip([3, 1], [1, 32, 1], &[(FORMAT, 3)], &scaled),
        &["up to 200", "from 0, black, to 1, white"],
    );
}

#[test]
fn colours_beside_an_alpha_are_divided_where_they_were_multiplied() {
    let pixels = [50, 100, 0, 100, 10, 20, 30, 255, 9, 9, 9, 0];
    let rgba = |more: &[(u16, u32)]| {
        let image = decode(&strip([3, 1], [4, 8, 2], more, &pixels)).unwrap();
        (image.color().has_alpha(), image.into_rgba8().into_raw())
    };
    let straight = (true, pixels.to_vec());
    assert_eq!(rgba(&[(EXTRA, 2)]), straight);
    assert_eq!(rgba(&[]), straight);
    let divided = vec![128, 255, 0, 100, 10, 20, 30, 255, 9, 9, 9, 0];
    assert_eq!(rgba(&[(EXTRA, 1)]), (true, divided));
    // Of no meaning, so that it is left out.
    let opaque = vec![50, 100, 0, 255, 10, 20, 30, 255, 9, 9, 9, 255];
    assert_eq!(rgba(&[(EXTRA, 0)]), (false, opaque));
    let grey = |more: &[(u16, u32)]| decode(&strip([2, 1], [2, 8, 1], more, &[50, 100, 7, 0]));
    let image = grey(&[(EXTRA, 1)]).unwrap();
    assert_eq!(image.as_luma_alpha8().unwrap().as_raw(), &[128, 100, 7, 0]);
    assert_eq!(grey(&[]).unwrap().as_luma8().unwrap().as_raw(), &[50, 7]);
}

#[test]
fn a_camera_held_sideways_is_turned() {
    let bytes = strip([2, 1], [1, 8, 1], &[(ORIENTATION, 6)], &[10, 20]);
    let image = decode(&bytes).unwrap();
    assert_eq!((image.width(), image.height()), (1, 2));
    assert_eq!(image.as_luma8().unwrap().as_raw(), &[10, 20]);
    // A damaged note is none.
    let bytes = strip([2, 1], [1, 8, 1], &[(ORIENTATION, 600)], &[10, 20]);
    assert_eq!(decode(&bytes).unwrap().width(), 2);
}

#[test]
fn kinds_that_are_not_read_say_so_and_how_to_have_them() {
    let way_out = "magick IN.tif OUT.png";
    let with = |kind: [u32; 3], more: &[(u16, u32)]| strip([4, 4], kind, more, &[0; 512]);
    for (bytes, words) in [
        (with([1, 8, 3], &[]), "not read"),
        (with([1, 16, 1], &[(FORMAT, 2)]), "Int"),
        (with([9, 8, 1], &[]), "9 samples"),
        (with([1, 12, 1], &[]), "12 bits"),
        (with([1, 8, 1], &[(COMPRESSION, 34712)]), "not read"),
        (with([4, 8, 5], &[(COMPRESSION, 7)]), "CMYK"),
        (with([4, 8, 2], &[(EXTRA, 0), (PREDICTOR, 2)]), "predictor"),
    ] {
        refused(&bytes, &[words, way_out]);
    }
}

/// A claim of a header costs nothing before its data are known to be there.
#[test]
fn claims_beyond_the_file_are_refused() {
    let large = "16384 pixels a side";
    refused(&strip([20_000, 1], [1, 8, 1], &[], &[0; 9]), &[large]);
    refused(&strip([1, u32::MAX], [1, 8, 1], &[], &[0; 9]), &[large]);
    refused(
        &strip([16_384, 16_384], [3, 8, 2], &[], &[0; 9]),
        &["256 MiB"],
    );
    refused(
        &strip([9_000, 9_000], [1, 8, 1], &[], &[0; 9]),
        &["truncated"],
    );
    refused(
        &strip([0, 4], [1, 8, 1], &[], &[0; 9]),
        &["cannot be decoded"],
    );
    // A tile much larger than the image.
    let tile = |side: u32| {
        file(
            &[
                (WIDTH, 4),
                (HEIGHT, 4),
                (SAMPLES, 1),
                (BITS, 8),
                (MEANING, 1),
                (TILE_WIDTH, side),
                (TILE_HEIGHT, side),
                (TILE_OFFSETS, DATA),
                (TILE_LENGTHS, 256),
            ],
            &[7; 256],
        )
    };
    assert_eq!(decode(&tile(16)).unwrap().into_luma8().into_raw(), [7; 16]);
    refused(&tile(1 << 31), &[large]);
    // Places of the data outside of the file.
    let outside = strip([4, 4], [1, 8, 1], &[(OFFSETS, u32::MAX)], &[0; 16]);
    refused(&outside, &["truncated"]);
    // A JPEG that says that it is larger than its strip.
    let jpeg = encoded(&gradient(16, 16, 1), ImageFormat::Jpeg);
    let as_strip = |jpeg: &[u8]| strip([16, 16], [3, 8, 6], &[(COMPRESSION, 7)], jpeg);
    let image = decode(&as_strip(&jpeg)).unwrap();
    assert!(matches!(image, DynamicImage::ImageRgb8(_)));
    let frame = jpeg.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    let mut huge = jpeg.clone();
    huge[frame + 5..frame + 9].fill(0xFF);
    refused(&as_strip(&huge), &["256 MiB"]);
    // One of other rows than the strip's, which would come out sheared.
    for [w, h] in [[32, 8], [16, 48], [8, 32]] {
        let other = encoded(&gradient(w, h, 1), ImageFormat::Jpeg);
        refused(&as_strip(&other), &["another size than its place"]);
    }
    // And one that is cut, which a decoder would fill with grey.
    refused(&as_strip(&jpeg[..jpeg.len() / 2]), &["truncated"]);
    // Directories that lie behind the end, or follow each other round.
    for at in [9, u32::MAX] {
        let mut bytes = b"II*\0".to_vec();
        bytes.extend(at.to_le_bytes());
        refused(&bytes, &["truncated"]);
    }
}
