//! Images as NumPy's arrays.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wgvq_fuzz::open_set("train-images.npy", bytes);
});
