//! CIFAR's binary files.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wgvq_fuzz::open_folder("data_batch_1.bin", bytes);
});
