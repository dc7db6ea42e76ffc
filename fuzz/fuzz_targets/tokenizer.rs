//! Tokenizers of texts, and what they make of one.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wgvq_fuzz::with_file("tokenizer.json", bytes, |path| {
        let folder = path.parent().expect("a folder");
        if let Ok(tokenizer) = wgvq::codes::tokenizer::Tokenizer::load(folder) {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
            if let Ok(tokens) = tokenizer.encode(&text) {
                let _ = tokenizer.decode(&tokens.ids);
            }
        }
    });
});
