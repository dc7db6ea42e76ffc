//! IDX files, as of MNIST.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wgvq_fuzz::open_set("a-images-idx3-ubyte", bytes);
});
