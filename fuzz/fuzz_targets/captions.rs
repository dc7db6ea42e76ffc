//! Lists of images with their texts.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wgvq_fuzz::open_set("set.jsonl", bytes);
});
