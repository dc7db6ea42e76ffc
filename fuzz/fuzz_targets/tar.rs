//! WebDataset archives: names, sizes, images and texts.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wgvq_fuzz::open_set("set.tar", bytes);
});
