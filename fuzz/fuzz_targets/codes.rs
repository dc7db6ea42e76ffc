//! Files of codes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wgvq_fuzz::with_file("c.safetensors", bytes, |path| {
        let _ = wgvq::codes::Codes::load(path);
        for codes in wgvq::codes::load_all(path).iter().flatten() {
            assert_eq!(codes.indices.len(), codes.names.len() * codes.per_image());
            for level in 0..codes.levels.len() {
                let _ = codes.of_level(level);
            }
        }
    });
});
