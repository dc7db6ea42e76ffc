//! Packed codes.
#![no_main]

use wgvq::codes::{Codes, packed::unpack};
use wgvq::models::Level;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let level = |name: &str, codes| Level {
        name: name.into(),
        grid: [1, 1],
        codebook_size: codes,
        codebooks: 1,
    };
    let model = Codes {
        model: "0123456789abcdef".into(),
        quantizer: "ema".into(),
        levels: vec![level("top", 7), level("bottom", 64)],
        image: [8, 8, 3],
        names: Vec::new(),
        indices: Vec::new(),
    };
    // A right checksum, so that what lies behind it is reached.
    let mut file = bytes.to_vec();
    file.extend(crc32fast::hash(bytes).to_le_bytes());
    for groups in [unpack(bytes, &model, None), unpack(&file, &model, None)] {
        let codes: usize = groups.iter().flatten().map(|g| g.indices.len()).sum();
        assert!(4 * codes <= 6000 * (file.len() + 64));
    }
});
