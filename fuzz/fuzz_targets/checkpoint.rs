//! Checkpoints of a training.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = wgvq::storage::checkpoint::from_bytes("c.safetensors".as_ref(), bytes);
});
