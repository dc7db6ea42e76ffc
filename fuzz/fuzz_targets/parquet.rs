//! Parquet files of images, with their texts and labels.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wgvq_fuzz::open_set("set.parquet", bytes);
});
