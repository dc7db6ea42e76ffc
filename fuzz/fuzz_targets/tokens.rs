//! Indices of token files.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wgvq_fuzz::with_file("tokens.json", bytes, |path| {
        let folder = path.parent().expect("a folder");
        let _ = wgvq::codes::tokens::Tokens::open(folder);
    });
});
