//! PNG, JPEG, GIF, BMP, WebP and TIFF, scaled to small images.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = wgvq::data::read_image(bytes, 9, 7, 3);
});
