//! IDX files packed by gzip.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wgvq_fuzz::open_set("a-images-idx3-ubyte.gz", bytes);
});
