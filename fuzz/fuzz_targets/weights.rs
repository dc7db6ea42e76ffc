//! Weights of other libraries, in safetensors.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wgvq_fuzz::with_file("w.safetensors", bytes, |path| {
        let _ = wgvq::inference::import::read(path, None);
    });
});
