//! Indices of weights in several files, as Hugging Face's libraries write them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wgvq_fuzz::with_file("model.safetensors.index.json", bytes, |path| {
        let _ = wgvq::inference::import::read(path, None);
    });
});
