//! Rows that an encoder of texts from elsewhere wrote.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wgvq_fuzz::with_file("e.npy", bytes, |path| {
        let _ = wgvq::data::load_embedding(path);
    });
});
